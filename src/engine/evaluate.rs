//! What a job asks of a model, in plain numbers: the seam between a job's caching and chunking, which tests run over
//! a function, and the tape.

use super::condensed::{self, Condensed};
use crate::models::{Batch, Model, Recording, Spec, StateMap, TapPlan};
use crate::nn::{self, Device, Pace, Precision, Rule, Tape};
use crate::tasks::{TOLD, likeliest};

/// What one chunk of rows gave.
#[derive(Debug, Default)]
pub struct Evaluation {
    /// Positions read × `labels`, row after row; or what is kept of them, as many of each position.
    pub logits: Vec<f32>,
    pub labels: usize,
    /// One per objective: as long as the chunk's embeddings (or pixels), row after row; none where the plan asks for
    /// gradients at its taps.
    pub gradients: Vec<Vec<f32>>,
    /// What the plan names.
    pub taps: Recording,
}

/// d objective / d logits for all logits of a chunk at once, given the objective's index and the logits. Rows do not
/// mix, so one backward serves all of them. Of condensed logits, those at the objective's one position of some rows.
pub type Seed<'a> = &'a (dyn Fn(usize, &[f32]) -> Result<Vec<f32>, nn::Error> + Sync);

/// What is asked about a chunk of rows.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    pub taps: &'a TapPlan,
    pub objectives: usize,
    pub seed: Seed<'a>,
    /// What stands in the gradients' place; DeepLIFT's rows are pairs as [`Rule::DeepLift`] has them.
    pub rule: Rule,
    pub precision: Precision,
    /// What is kept of the logits, in their place; `None`: all.
    pub condensed: Option<Condensed<'a>>,
}

impl Question<'_> {
    /// The logits alone.
    pub fn logits(precision: Precision) -> Self {
        let (taps, rule) = (TapPlan::NOTHING, Rule::Gradient);
        Self { taps, objectives: 0, seed: &no_seed, rule, precision, condensed: None }
    }
}

/// A model that can be asked.
pub trait Evaluate {
    fn spec(&self) -> &Spec;
    /// As [`Model::reuses`].
    fn reuses(&self, _tokens: usize) -> bool {
        false
    }
    /// The batch's embeddings, row after row.
    fn embed(&self, pace: &dyn Pace, batch: &Batch) -> Result<Vec<f32>, nn::Error>;
    /// One forward and a backward for each of the objectives. Logits that are not finite are an error.
    fn evaluate(&self, pace: &dyn Pace, batch: &Batch, question: Question<'_>) -> Result<Evaluation, nn::Error>;
}

/// A model, and where it computes.
#[derive(Clone, Copy)]
pub struct Placed<'a> {
    pub model: &'a dyn Model,
    pub device: &'a Device,
}

impl Evaluate for Placed<'_> {
    fn spec(&self) -> &Spec {
        self.model.spec()
    }

    fn reuses(&self, tokens: usize) -> bool {
        self.model.reuses(tokens)
    }

    fn embed(&self, pace: &dyn Pace, batch: &Batch) -> Result<Vec<f32>, nn::Error> {
        let mut tape = Tape::new(pace, false);
        Ok(self.model.embed(&mut tape, batch)?.value().to_vec())
    }

    fn evaluate(&self, pace: &dyn Pace, batch: &Batch, question: Question<'_>) -> Result<Evaluation, nn::Error> {
        let Question { taps, objectives, seed, rule, precision, condensed } = question;
        let Self { model, device } = *self;
        // On a thread of the pool: every product would otherwise be handed over to it and waited for.
        rayon::scope(|_| {
            if let Some(condensed) = condensed {
                return condensed::evaluate(*self, pace, batch, question, condensed);
            }
            let mut tape = Tape::new(pace, objectives > 0).computing_in(precision).under(rule).on(device);
            let outputs = model.forward(&mut tape, batch, taps)?;
            let logits = outputs.logits.numbers()?.to_vec();
            finite(&logits)?;
            let (labels, mut tapped, mut gradients) = (outputs.logits.cols(), outputs.tapped, Vec::new());
            let seeds = (0..objectives).map(|objective| seed(objective, &logits)).collect::<Result<Vec<_>, _>>()?;
            match taps.gradients {
                true => seeds.iter().try_for_each(|seed| tapped.differentiate(&tape, &outputs.logits, seed))?,
                false => gradients = tape.backward_all(&outputs.logits, &seeds, &outputs.input)?,
            }
            let mut recording = tapped.record()?;
            if taps.likeliest > 0 {
                recording.likeliest = recording.lens.iter().map(|lens| told(lens, taps.likeliest)).collect();
            }
            Ok(Evaluation { logits, labels, gradients, taps: recording })
        })
    }
}

/// Numbers that JSON cannot hold end the work where they appear, before anything is derived from them.
pub fn finite(logits: &[f32]) -> Result<(), nn::Error> {
    if logits.iter().all(|logit| logit.is_finite()) { Ok(()) } else { Err(nn::Error::NotFinite) }
}

/// The `count` likeliest tokens of every position of `lens`, which are logits.
fn told(lens: &StateMap, count: usize) -> StateMap {
    let positions = lens.values.chunks(lens.width.max(1));
    StateMap {
        layer: lens.layer,
        width: TOLD * count.min(lens.width),
        lengths: lens.lengths.clone(),
        values: positions.flat_map(|logits| likeliest(logits, count)).collect(),
        ..StateMap::default()
    }
}

/// No objectives: never called.
fn no_seed(_objective: usize, _logits: &[f32]) -> Result<Vec<f32>, nn::Error> {
    Ok(Vec::new())
}
