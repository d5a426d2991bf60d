//! How far the scores move when the input moves a little: the method runs again on changed inputs.
//!
//! A method that looks inside the model, and every method on images, gets noise in its embedding (or pixels), as Captum's
//! `sensitivity_max` has it. A method that takes words away sees no embedding; the least it can see is a text with one
//! word fewer, and what is compared are the scores of the others. Its masks are masks of the whole text, so those that
//! are known cost nothing.

use super::Effort;
use super::measure::Measured;
use crate::input::units::{Mask, Units};
use crate::input::{ImageInput, Input};
use crate::methods::support::parts::Parts;
use crate::methods::{
    Attribution, Cost, Ctx, ErasedMethod, Error, METHODS, Masking, Pass, Planned, RowView, Variant, of_ctx,
};
use crate::models::{Capability, Content, TapPlan};
use crate::nn::Rule;
use crate::numerics::evidence::sensitivity;
use crate::numerics::sampling::{generator_of, uniform, without_replacement};

/// The largest change of a number, as Captum's default.
const RADIUS: f64 = 0.02;
/// Perturbed images made at once.
const TOGETHER: usize = 16;

/// What the runs cost at most, given what one costs.
pub(super) fn cost(once: Cost, effort: Effort) -> Cost {
    let rows = once.rows.saturating_mul(effort.draws as u64).min(effort.rows as u64);
    Cost { rows, tokens: once.tokens.div_ceil(once.rows.max(1)).saturating_mul(rows) }
}

/// The largest relative change of the scores, or why there is none.
pub(super) fn largest(measured: Measured<'_>, parts: &Parts) -> Result<Result<f64, String>, Error> {
    let Measured { ctx, planned, attribution, effort: Effort { draws, rows }, .. } = measured;
    if draws == 0 {
        return Ok(Err("it was left out".to_owned()));
    }
    if attribution.partial {
        return Ok(Err("the explanation is not complete".to_owned()));
    }
    if attribution.auto.is_some() {
        let reason = "another input may have another method chosen; ask for the chosen one itself";
        return Ok(Err(reason.to_owned()));
    }
    let evaluations = attribution.diagnostics.evaluations;
    if evaluations.saturating_mul(draws) > rows {
        return Ok(Err(format!("{draws} more runs of {evaluations} evaluations are more than {rows}")));
    }
    if matches!((ctx.input(), masks_alone(planned)), (Input::Text(_), true)) {
        return one_less(measured, parts);
    }
    let mut largest: f64 = 0.0;
    for draw in 0..draws {
        let changed = Noisy::new(ctx, draw as u64)?;
        largest = largest.max(moved(measured, parts, &changed, None)?);
    }
    Ok(Ok(largest))
}

/// Whether the method sees masks and nothing else.
fn masks_alone(planned: &dyn Planned) -> bool {
    let method = METHODS.iter().find(|method| method.name() == planned.method());
    let forward = |method: &&dyn ErasedMethod| method.requires().iter().all(|needed| *needed == Capability::Forward);
    method.is_some_and(forward)
}

fn one_less(measured: Measured<'_>, parts: &Parts) -> Result<Result<f64, String>, Error> {
    let units = parts.units.len();
    if units < 2 {
        return Ok(Err("without its one unit there is nothing to compare".to_owned()));
    }
    let mut left_out = without_replacement(&mut generator_of(measured.ctx.seed(), 0), units, measured.effort.draws);
    left_out.sort_unstable();
    let mut largest: f64 = 0.0;
    for unit in left_out {
        let changed = Without::new(measured.ctx, parts, unit)?;
        largest = largest.max(moved(measured, parts, &changed, Some(unit))?);
    }
    Ok(Ok(largest))
}

/// ‖E(x) − E(x̃)‖ / ‖E(x)‖ over the units but `left_out`.
fn moved(measured: Measured<'_>, parts: &Parts, changed: &dyn Ctx, left_out: Option<usize>) -> Result<f64, Error> {
    let again = measured.planned.explain(changed)?;
    let again = again.get(measured.place).and_then(|again| {
        Parts::of(again, measured.planned.settings(), measured.ctx.input()).filter(|again| again.units == parts.units)
    });
    let again = again.ok_or(Error::Missing { what: "the scores of a changed input" })?;
    let others = |scores: &[f64]| {
        let kept = scores.iter().enumerate().filter(|(unit, _)| Some(*unit) != left_out);
        kept.map(|(_, score)| *score).collect::<Vec<f64>>()
    };
    Ok(sensitivity(&others(&parts.scores), &others(&again.scores)))
}

/// What a job with a changed input has in common with the job: all but what the change touches. Nobody follows it, it
/// warns of nothing, and half an answer is none.
macro_rules! as_before {
    ($($more:ident),*) => {
        of_ctx!(spec, task, targets, seed, variants, proposals, vectors, lexicon, checkpoint, rows $(, $more)*);
        fn logits(&self) -> &[f32] {
            &self.logits
        }
        fn partial(&self) -> bool {
            false
        }
        fn refine(&self, _: Vec<Attribution>) {}
        fn warn(&self, _: &'static str, _: String) {}
    };
}

/// The job of a text without one unit.
struct Without<'a> {
    ctx: &'a dyn Ctx,
    unit: usize,
    logits: Vec<f32>,
}

impl<'a> Without<'a> {
    fn new(ctx: &'a dyn Ctx, parts: &Parts, unit: usize) -> Result<Self, Error> {
        let mut mask = Mask::full(parts.units.len());
        mask.set(unit, false);
        let masking = Masking { units: &parts.units, fill: parts.fill, precision: crate::nn::Precision::F32 };
        let logits = ctx.outputs(masking, &[mask])?.pop().unwrap_or_default();
        Ok(Self { ctx, unit, logits })
    }
}

impl Ctx for Without<'_> {
    as_before!(input, pass, embedding);

    fn outputs(&self, masking: Masking<'_>, masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error> {
        let mut masks = masks.to_vec();
        masks.iter_mut().for_each(|mask| mask.set(self.unit, false));
        self.ctx.outputs(masking, &masks)
    }
}

/// The job of the input with noise in every number of its embedding or pixels.
struct Noisy<'a> {
    ctx: &'a dyn Ctx,
    /// Of an image with the noisy pixels; its colours, and so its segments, are as before.
    input: Input,
    embedding: Vec<f32>,
    logits: Vec<f32>,
}

impl<'a> Noisy<'a> {
    fn new(ctx: &'a dyn Ctx, draw: u64) -> Result<Self, Error> {
        let mut rng = generator_of(ctx.seed(), draw);
        let mut embedding = match ctx.input() {
            Input::Text(_) => ctx.embedding(None)?,
            Input::Image(image) => image.pixels.clone(),
        };
        for number in &mut embedding {
            *number = (f64::from(*number) + RADIUS * (2.0 * uniform(&mut rng) - 1.0)) as f32;
        }
        let (input, logits) = match ctx.input() {
            Input::Text(_) => (ctx.input().clone(), logits(ctx, &embedding)?),
            Input::Image(image) => {
                let logits = ctx.variants(&[Variant::Pixels(embedding.clone())])?.pop().unwrap_or_default();
                (Input::Image(ImageInput { pixels: embedding.clone(), ..image.clone() }), logits)
            }
        };
        Ok(Self { ctx, input, embedding, logits })
    }
}

/// What the model says of an embedding in the text's place.
fn logits(ctx: &dyn Ctx, embedding: &[f32]) -> Result<Vec<f32>, Error> {
    let write = |_: usize, out: &mut [f32]| out.copy_from_slice(embedding);
    let taps = TapPlan::default();
    let pass = Pass { rows: 1, embedding: Some(&write), objectives: &[], rule: Rule::Gradient, taps };
    let mut logits = Vec::new();
    ctx.pass(&pass, &mut |view| {
        logits = view.logits.to_vec();
        Ok(())
    })?;
    Ok(logits)
}

impl Ctx for Noisy<'_> {
    as_before!();

    fn input(&self) -> &Input {
        &self.input
    }

    fn pass(&self, pass: &Pass<'_>, sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>) -> Result<(), Error> {
        let own = |_: usize, out: &mut [f32]| out.copy_from_slice(&self.embedding);
        let Pass { rows, embedding, objectives, rule, ref taps } = *pass;
        let embedding = Some(embedding.unwrap_or(&own));
        self.ctx.pass(&Pass { rows, embedding, objectives, rule, taps: taps.clone() }, sink)
    }

    fn embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
        if ids.is_some() { self.ctx.embedding(ids) } else { Ok(self.embedding.clone()) }
    }

    /// Masks of a noisy image, each evaluated anew.
    fn outputs(&self, masking: Masking<'_>, masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error> {
        let Masking { units, fill, .. } = masking;
        if let Units::Text { .. } = units {
            return self.ctx.outputs(masking, masks);
        }
        let perturber = self.ctx.task().perturber(self.ctx.spec(), &self.input, units, fill)?;
        let mut all = Vec::with_capacity(masks.len());
        for chunk in masks.chunks(TOGETHER) {
            let pixels = |mask: &Mask| {
                let rows = perturber.rows(mask).into_iter();
                let mut images = rows.filter_map(|row| match row.content {
                    Content::Pixels(pixels) => Some(Variant::Pixels(pixels)),
                    _ => None,
                });
                images.next().ok_or(Error::Missing { what: "a masked image" })
            };
            all.extend(self.ctx.variants(&chunk.iter().map(pixels).collect::<Result<Vec<_>, _>>()?)?);
        }
        Ok(all)
    }
}
