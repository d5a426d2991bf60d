//! Forwards whose logits are never there all at once: a vocabulary's, at every token of a completion, are more than the
//! rest of a forward.
//!
//! The head reads some positions at a time, and of each only what [`Condense`] keeps stays. An objective is of one
//! position, so its gradient goes back through the head there alone and from the states on through the whole forward.

use rayon::prelude::*;

use super::evaluate::{Evaluate, Evaluation, Placed, Question, Seed, finite};
use crate::models::{Batch, Model, Recording, Spec};
use crate::nn::{self, Array, Pace, Rule, Tape};
use crate::tasks::{Condense, TOLD, likeliest};

/// Logits that are there at once (64 MiB).
const AT_ONCE: usize = 16 << 20;

/// What is kept of logits.
#[derive(Clone, Copy)]
pub struct Condensed<'a> {
    pub by: &'a dyn Condense,
    /// For each objective, the position that its value depends on, among those that a row reads.
    pub places: &'a [usize],
}

/// A model of whose logits that is kept.
pub struct Reading<'a> {
    pub model: &'a dyn Evaluate,
    pub condensed: Option<Condensed<'a>>,
}

impl Evaluate for Reading<'_> {
    fn spec(&self) -> &Spec {
        self.model.spec()
    }

    fn reuses(&self, tokens: usize) -> bool {
        self.model.reuses(tokens)
    }

    fn embed(&self, pace: &dyn Pace, batch: &Batch) -> Result<Vec<f32>, nn::Error> {
        self.model.embed(pace, batch)
    }

    fn evaluate(&self, pace: &dyn Pace, batch: &Batch, question: Question<'_>) -> Result<Evaluation, nn::Error> {
        self.model.evaluate(pace, batch, Question { condensed: self.condensed, ..question })
    }
}

/// As [`Evaluate::evaluate`], with what `condensed` keeps of the logits.
///
/// # Errors
/// Those of the model; logits that are not finite.
pub fn evaluate(
    placed: Placed<'_>,
    pace: &dyn Pace,
    batch: &Batch,
    question: Question<'_>,
    condensed: Condensed<'_>,
) -> Result<Evaluation, nn::Error> {
    // An even number, since DeepLIFT's rows are pairs.
    let at_once = (AT_ONCE / placed.model.spec().outputs().max(1)).max(2) & !1;
    evaluate_by(at_once, placed, (pace, batch), question, condensed)
}

fn evaluate_by(
    at_once: usize,
    Placed { model, device }: Placed<'_>,
    (pace, batch): (&dyn Pace, &Batch),
    question: Question<'_>,
    condensed: Condensed<'_>,
) -> Result<Evaluation, nn::Error> {
    let Question { taps, objectives, seed, rule, precision, .. } = question;
    let tape = |recording: bool, rule: Rule| Tape::new(pace, recording).computing_in(precision).under(rule).on(device);
    let mut whole = tape(objectives > 0, rule);
    let outputs = model.states(&mut whole, batch, taps)?;
    let head =
        Head { model, read: batch.rows.iter().flat_map(|row| 0..row.read.len()).collect(), at_once, rule, tape: &tape };
    let states = outputs.logits.numbers()?;
    let (by, width) = (condensed.by, condensed.by.width());
    let logits = head.condense(by, states)?;
    let (mut tapped, mut gradients) = (outputs.tapped, Vec::new());
    for (objective, &place) in condensed.places.iter().take(objectives).enumerate() {
        let seed = head.back(states, (objective, place), seed)?;
        match taps.gradients {
            true => tapped.differentiate(&whole, &outputs.logits, &seed)?,
            false => gradients.push(whole.backward(&outputs.logits, &seed, &outputs.input)?),
        }
    }
    let mut taps = tapped.record()?;
    let Recording { lens, likeliest: told_of, .. } = &mut taps;
    for lens in lens {
        // Once through the head for both.
        let told = Told { by, count: question.taps.likeliest.min(model.spec().outputs()) };
        let all = head.condense(&told, &lens.values)?;
        let rows = || all.chunks(told.width().max(1));
        lens.values = rows().flat_map(|row| &row[..width]).copied().collect();
        lens.width = width;
        if told.count > 0 {
            let likeliest = rows().flat_map(|row| &row[width..]).copied().collect();
            told_of.push(lens.beside(told.width() - width, likeliest));
        }
    }
    Ok(Evaluation { logits, labels: width, gradients, taps })
}

/// What `by` keeps, and behind it the `count` likeliest tokens.
struct Told<'a> {
    by: &'a dyn Condense,
    count: usize,
}

impl Condense for Told<'_> {
    fn width(&self) -> usize {
        self.by.width() + TOLD * self.count
    }

    fn condense(&self, position: usize, logits: &[f32], kept: &mut [f32]) {
        let (own, told) = kept.split_at_mut(self.by.width());
        self.by.condense(position, logits, own);
        if self.count > 0 {
            told.iter_mut().zip(likeliest(logits, self.count)).for_each(|(told, number)| *told = number);
        }
    }
}

/// The head over some positions at a time.
struct Head<'a> {
    model: &'a dyn Model,
    /// Of each row of the states, its place among the positions that its row of the batch reads.
    read: Vec<usize>,
    /// Positions at a time.
    at_once: usize,
    rule: Rule,
    tape: &'a dyn Fn(bool, Rule) -> Tape<'a>,
}

impl Head<'_> {
    /// What is kept of the logits of `states`, a row for each of `read`.
    fn condense(&self, by: &dyn Condense, states: &[f32]) -> Result<Vec<f32>, nn::Error> {
        let (cols, width) = (states.len() / self.read.len().max(1), by.width());
        let mut kept = vec![0.0; self.read.len() * width];
        let blocks = states.chunks((self.at_once * cols).max(1)).zip(self.read.chunks(self.at_once));
        for ((states, read), kept) in blocks.zip(kept.chunks_mut((self.at_once * width).max(1))) {
            let mut tape = (self.tape)(false, self.rule);
            let states = tape.variable(Array::new(states.to_vec(), read.len(), cols));
            let logits = self.model.head(&mut tape, &states)?;
            let numbers = logits.numbers()?;
            finite(numbers)?;
            let positions = kept.par_chunks_mut(width.max(1)).zip(numbers.par_chunks(logits.cols().max(1))).zip(read);
            positions.for_each(|((kept, logits), &position)| by.condense(position, logits, kept));
            tape.step()?;
        }
        Ok(kept)
    }

    /// d `objective` / d `states`, which are of several rows: all zeros but at `place`.
    fn back(&self, states: &[f32], (objective, place): (usize, usize), seed: Seed<'_>) -> Result<Vec<f32>, nn::Error> {
        let cols = states.len() / self.read.len().max(1);
        let rows: Vec<usize> = (0..self.read.len()).filter(|&row| self.read[row] == place).collect();
        let mut slopes = vec![0.0; states.len()];
        for rows in rows.chunks(self.at_once) {
            let own: Vec<f32> = rows.iter().flat_map(|row| &states[row * cols..][..cols]).copied().collect();
            let slopes_by = |rule: Rule| {
                let mut tape = (self.tape)(true, rule);
                let own = tape.variable(Array::new(own.clone(), rows.len(), cols));
                let logits = self.model.head(&mut tape, &own)?;
                let seeds = seed(objective, logits.numbers()?)?;
                tape.backward(&logits, &seeds, &own)
            };
            let found = match slopes_by(self.rule) {
                // Guided backpropagation wants a ReLU: most heads have none, and the layers say whether they do.
                Err(nn::Error::NoRule { .. }) if self.rule == Rule::Guided => slopes_by(Rule::Gradient),
                found => found,
            }?;
            for (row, found) in rows.iter().zip(found.chunks(cols.max(1))) {
                slopes[row * cols..][..cols].copy_from_slice(found);
            }
        }
        Ok(slopes)
    }
}

#[cfg(test)]
mod tests;
