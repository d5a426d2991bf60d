//! How far the scores move when the input moves a little: the method runs again on changed inputs.
//!
//! A method that looks inside the model, and every method on images, gets noise in its embedding (or pixels), as Captum's
//! `sensitivity_max` has it ([`noisy`]). A method that takes words away or puts others in their place sees no embedding;
//! the least it can see is a text with one word fewer, and what is compared are the scores of the others ([`without`]).
//! Its masks are masks of the whole text, so those that are known cost nothing.

mod noisy;
mod without;

use std::cell::OnceCell;

use self::noisy::Noisy;
use self::without::Without;
use super::Effort;
use super::measure::Measured;
use crate::input::Input;
use crate::input::units::Units;
use crate::methods::support::parts::Parts;
use crate::methods::{Cost, Ctx, ErasedMethod, Error, METHODS, Planned};
use crate::models::Capability;
use crate::numerics::evidence::sensitivity;
use crate::numerics::sampling::{CHANGES, generator_of, without_replacement};

/// What the runs cost at most, given what one costs: each explains every target at once.
pub(super) fn cost(once: Cost, effort: Effort) -> Cost {
    let rows = once.rows.saturating_mul(effort.draws as u64).min(effort.rows as u64);
    Cost { rows, tokens: once.tokens.div_ceil(once.rows.max(1)).saturating_mul(rows) }
}

/// A method's runs on changed inputs, which all of its explanations are compared with: made where the first of them is.
#[derive(Default)]
pub(in crate::explain) struct Again(OnceCell<Runs>);

struct Runs {
    /// What the scores are of.
    units: Units,
    runs: Vec<Run>,
}

struct Run {
    left_out: Option<usize>,
    /// One a target, as the method's attributions; `None` where one has no scores of `units`.
    scores: Vec<Option<Vec<f64>>>,
}

/// The largest relative change of the scores, or why there is none.
pub(super) fn largest(measured: Measured<'_>, parts: &Parts) -> Result<Result<f64, String>, Error> {
    let Measured { ctx, planned, attribution, once, again, effort: Effort { draws, rows }, .. } = measured;
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
    if once.saturating_mul(draws) > rows {
        return Ok(Err(format!("{draws} more runs of {once} evaluations are more than {rows}")));
    }
    let one_less = matches!((ctx.input(), masks_alone(planned)), (Input::Text(_), true));
    if one_less && parts.units.len() < 2 {
        return Ok(Err("without its one unit there is nothing to compare".to_owned()));
    }
    let Runs { units, runs } = match again.0.get() {
        Some(runs) => runs,
        None => {
            let made = if one_less { without_one(measured, parts)? } else { with_noise(measured, parts)? };
            again.0.get_or_init(|| Runs { units: parts.units.clone(), runs: made })
        }
    };
    let mut largest: f64 = 0.0;
    for run in runs {
        let scores = run.scores.get(measured.place).and_then(Option::as_ref).filter(|_| *units == parts.units);
        let scores = scores.ok_or(Error::Missing { what: "the scores of a changed input" })?;
        largest = largest.max(moved(&parts.scores, scores, run.left_out));
    }
    Ok(Ok(largest))
}

/// Whether the method sees masks, and words in the place of others, and nothing else.
fn masks_alone(planned: &dyn Planned) -> bool {
    let method = METHODS.iter().find(|method| method.name() == planned.method());
    let forward = |method: &&dyn ErasedMethod| method.requires().iter().all(|needed| *needed == Capability::Forward);
    method.is_some_and(forward)
}

fn with_noise(measured: Measured<'_>, parts: &Parts) -> Result<Vec<Run>, Error> {
    let run = |draw| run(measured, parts, &Noisy::new(measured.ctx, CHANGES + 1 + draw as u64)?, None);
    (0..measured.effort.draws).map(run).collect()
}

fn without_one(measured: Measured<'_>, parts: &Parts) -> Result<Vec<Run>, Error> {
    let mut rng = generator_of(measured.ctx.seed(), CHANGES);
    let mut left_out = without_replacement(&mut rng, parts.units.len(), measured.effort.draws);
    left_out.sort_unstable();
    let run = |unit| run(measured, parts, &Without::new(measured.ctx, parts, unit)?, Some(unit));
    left_out.into_iter().map(run).collect()
}

/// The very same method on another input.
fn run(measured: Measured<'_>, parts: &Parts, changed: &dyn Ctx, left_out: Option<usize>) -> Result<Run, Error> {
    let Measured { ctx, planned, .. } = measured;
    let scores = planned.explain(changed)?.into_iter().map(|again| {
        let again = Parts::of(&again, planned.settings(), ctx.input());
        again.filter(|again| again.units == parts.units).map(|again| again.scores)
    });
    Ok(Run { left_out, scores: scores.collect() })
}

/// ‖E(x) − E(x̃)‖ / ‖E(x)‖ over the units but `left_out`.
fn moved(before: &[f64], after: &[f64], left_out: Option<usize>) -> f64 {
    let others = |scores: &[f64]| {
        let kept = scores.iter().enumerate().filter(|(unit, _)| Some(*unit) != left_out);
        kept.map(|(_, score)| *score).collect::<Vec<f64>>()
    };
    sensitivity(&others(before), &others(after))
}

/// What a job with a changed input has in common with the job: all but what the change touches. Nobody follows it, it
/// warns of nothing, and half an answer is none.
macro_rules! as_before {
    ($($more:ident),*) => {
        $crate::methods::of_ctx!(
            spec, task, targets, seed, proposals, vectors, lexicon, checkpoint, rows $(, $more)*
        );
        fn logits(&self) -> &[f32] {
            &self.logits
        }
        fn partial(&self) -> bool {
            false
        }
        fn refine(&self, _: Vec<$crate::methods::Attribution>) {}
        fn warn(&self, _: &'static str, _: String) {}
    };
}
use as_before;

#[cfg(test)]
mod tests;
