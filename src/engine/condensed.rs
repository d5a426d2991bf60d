//! Forwards whose logits are never there all at once: a vocabulary's, at every token of a completion, are more than the
//! rest of a forward.
//!
//! The head reads some positions at a time, and of each only what [`Condense`] keeps stays. An objective is of one
//! position, so its gradient goes back through the head there alone and from the states on through the whole forward.

use rayon::prelude::*;

use super::evaluate::{Evaluate, Evaluation, Placed, Question, Seed, finite};
use crate::models::{Batch, Model, Recording, Spec, StateMap};
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
    let places = &condensed.places[..objectives.min(condensed.places.len())];
    let seeds = head.back(states, places, seed)?;
    match taps.gradients {
        true => seeds.iter().try_for_each(|seed| tapped.differentiate(&whole, &outputs.logits, seed))?,
        false => gradients = whole.backward_all(&outputs.logits, &seeds, &outputs.input)?,
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
            told_of.push(StateMap {
                layer: lens.layer,
                width: told.width() - width,
                lengths: lens.lengths.clone(),
                values: rows().flat_map(|row| &row[width..]).copied().collect(),
                ..StateMap::default()
            });
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

    /// For each objective d objective / d `states`, which are of several rows: all zeros but at its place. Objectives go
    /// through the head together, as many as may be there at once; DeepLIFT's alone, whose rows are pairs.
    fn back(&self, states: &[f32], places: &[usize], seed: Seed<'_>) -> Result<Vec<Vec<f32>>, nn::Error> {
        let mut slopes = vec![vec![0.0; states.len()]; places.len()];
        let rows_of = |place: usize| (0..self.read.len()).filter(move |&row| self.read[row] == place);
        let most = places.iter().map(|&place| rows_of(place).count()).max().unwrap_or(0);
        let together = if self.rule == Rule::DeepLift { 1 } else { (self.at_once / most.max(1)).max(1) };
        for (chunk, places) in places.chunks(together).enumerate() {
            let objectives = places.iter().enumerate();
            let own: Vec<(usize, usize)> = objectives
                .flat_map(|(at, &place)| rows_of(place).map(move |row| (chunk * together + at, row)))
                .collect();
            for own in own.chunks(self.at_once) {
                let found = self.back_through(states, own, seed)?;
                let cols = found.len() / own.len();
                for (&(objective, row), found) in own.iter().zip(found.chunks(cols.max(1))) {
                    slopes[objective][row * cols..][..cols].copy_from_slice(found);
                }
            }
        }
        Ok(slopes)
    }

    /// The same at some rows of the states, each for the objective beside it; an objective's rows stand together.
    fn back_through(&self, states: &[f32], own: &[(usize, usize)], seed: Seed<'_>) -> Result<Vec<f32>, nn::Error> {
        let cols = states.len() / self.read.len().max(1);
        let numbers: Vec<f32> = own.iter().flat_map(|(_, row)| &states[row * cols..][..cols]).copied().collect();
        let slopes_by = |rule: Rule| {
            let mut tape = (self.tape)(true, rule);
            let numbers = tape.variable(Array::new(numbers.clone(), own.len(), cols));
            let logits = self.model.head(&mut tape, &numbers)?;
            let (all, labels) = (logits.numbers()?, logits.cols());
            let (mut seeds, mut first) = (Vec::with_capacity(all.len()), 0);
            for rows in own.chunk_by(|a, b| a.0 == b.0) {
                seeds.extend(seed(rows[0].0, &all[first * labels..][..rows.len() * labels])?);
                first += rows.len();
            }
            tape.backward(&logits, &seeds, &numbers)
        };
        match slopes_by(self.rule) {
            // Guided backpropagation wants a ReLU: most heads have none, and the layers say whether they do.
            Err(nn::Error::NoRule { .. }) if self.rule == Rule::Guided => slopes_by(Rule::Gradient),
            found => found,
        }
    }
}

#[cfg(test)]
mod tests;
