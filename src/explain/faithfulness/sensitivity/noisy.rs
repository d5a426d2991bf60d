//! The job of an input with noise in every number of its embedding or pixels.

use super::as_before;
use crate::input::units::{Mask, Units};
use crate::input::{ImageInput, Input, TextInput};
use crate::methods::{Ctx, Error, Masking, Pass, RowView, Variant};
use crate::models::{Content, TapPlan};
use crate::nn::Rule;
use crate::numerics::sampling::{generator_of, uniform};

/// The largest change of a number, as Captum's default.
const RADIUS: f64 = 0.02;
/// Changed inputs made at once.
const TOGETHER: usize = 16;

pub(super) struct Noisy<'a> {
    ctx: &'a dyn Ctx,
    /// Of an image with the noisy pixels; its colours, and so its segments, are as before.
    input: Input,
    embedding: Vec<f32>,
    logits: Vec<f32>,
}

impl<'a> Noisy<'a> {
    /// The noise is the generator's draw `draw`.
    pub fn new(ctx: &'a dyn Ctx, draw: u64) -> Result<Self, Error> {
        let mut rng = generator_of(ctx.seed(), draw);
        let mut embedding = match ctx.input() {
            Input::Text(_) => ctx.embedding(None)?,
            Input::Image(image) => image.pixels.clone(),
        };
        for number in &mut embedding {
            *number = (f64::from(*number) + RADIUS * (2.0 * uniform(&mut rng) - 1.0)) as f32;
        }
        let (input, logits) = match ctx.input() {
            Input::Text(_) => (ctx.input().clone(), logits(ctx, std::slice::from_ref(&embedding))?),
            Input::Image(image) => {
                let logits = ctx.variants(&[Variant::Pixels(embedding.clone())])?;
                (Input::Image(ImageInput { pixels: embedding.clone(), ..image.clone() }), logits)
            }
        };
        let logits = logits.into_iter().next().unwrap_or_default();
        Ok(Self { ctx, input, embedding, logits })
    }

    /// The noisy text with other words: these have their own embedding, all that stays keeps its noise.
    fn with(&self, text: &TextInput, ids: &[u32]) -> Result<Vec<f32>, Error> {
        let width = self.embedding.len() / text.tokens.len().max(1);
        let other = text.tokens.iter().zip(ids).enumerate().filter(|(_, (token, id))| token.id != **id);
        let (places, new): (Vec<usize>, Vec<u32>) = other.map(|(place, (_, id))| (place, *id)).unzip();
        let mut embedding = self.embedding.clone();
        if new.is_empty() {
            return Ok(embedding);
        }
        let vectors = self.ctx.vectors(&new)?;
        for (place, vector) in places.into_iter().zip(vectors.chunks_exact(width.max(1))) {
            if let Some(slot) = embedding.get_mut(place * width..(place + 1) * width) {
                slot.copy_from_slice(vector);
            }
        }
        Ok(embedding)
    }
}

/// What the model says of embeddings in the text's place.
fn logits(ctx: &dyn Ctx, embeddings: &[Vec<f32>]) -> Result<Vec<Vec<f32>>, Error> {
    let write = |row: usize, out: &mut [f32]| {
        if let Some(embedding) = embeddings.get(row) {
            out.copy_from_slice(embedding);
        }
    };
    let (rows, taps) = (embeddings.len(), TapPlan::default());
    let pass = Pass { rows, embedding: Some(&write), objectives: &[], rule: Rule::Gradient, taps };
    let mut logits = Vec::with_capacity(rows);
    ctx.pass(&pass, &mut |view| {
        logits.push(view.logits.to_vec());
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

    /// Of a text its other words among the noisy ones; pixels are made of the noisy ones already.
    fn variants(&self, variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error> {
        let Input::Text(text) = &self.input else { return self.ctx.variants(variants) };
        let mut all = Vec::with_capacity(variants.len());
        for chunk in variants.chunks(TOGETHER) {
            let embedding = |variant: &Variant| match variant {
                Variant::Ids(ids) if ids.len() == text.tokens.len() => self.with(text, ids),
                _ => Err(Error::Missing { what: "the embedding of other words in a noisy text" }),
            };
            all.extend(logits(self.ctx, &chunk.iter().map(embedding).collect::<Result<Vec<_>, _>>()?)?);
        }
        Ok(all)
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
