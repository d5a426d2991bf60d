//! The rows that a pass runs, and what their logits make of a variant.

use std::borrow::Cow;

use crate::methods::Objective;
use crate::nn::{self, Rule};
use crate::tasks::{Focus, InputRow};

/// The rows that a pass needs of every variant.
pub(super) struct Course<'a> {
    pub focus: &'a Focus,
    pub rows: Vec<&'a InputRow>,
    /// Behind each row's own tokens: embeddings that no variant changes.
    pub tails: Vec<Vec<f32>>,
    /// Where each row's positions begin among those of all rows of the input.
    pub places: Vec<usize>,
    /// Positions of all rows of the input.
    pub positions: usize,
}

impl Course<'_> {
    fn condensed(&self) -> bool {
        self.focus.readout.condense().is_some()
    }

    /// Positions of this course's rows.
    fn read(&self) -> usize {
        self.rows.iter().map(|row| row.row.read.len()).sum()
    }

    /// Of logits of this course's rows those of all of the input's, 0 where nothing depends on them. A vocabulary's are
    /// not copied where the rows are all there are.
    fn spread<'l>(&self, logits: &'l [f32]) -> Cow<'l, [f32]> {
        let read = self.read();
        if read == self.positions {
            return Cow::Borrowed(logits);
        }
        let labels = logits.len() / read.max(1);
        let mut all = vec![0.0; self.positions * labels];
        let mut rest = logits;
        for (row, &place) in self.rows.iter().zip(&self.places) {
            let (own, others) = rest.split_at((row.row.read.len() * labels).min(rest.len()));
            all[place * labels..][..own.len()].copy_from_slice(own);
            rest = others;
        }
        Cow::Owned(all)
    }

    /// Of numbers for all of the input's positions those of this course's rows.
    fn gather(&self, all: Cow<'_, [f32]>) -> Vec<f32> {
        if self.read() == self.positions {
            return all.into_owned();
        }
        let labels = all.len() / self.positions.max(1);
        let own = |(row, &place): (&&InputRow, &usize)| {
            all.iter().skip(place * labels).take(row.row.read.len() * labels).copied().collect::<Vec<_>>()
        };
        self.rows.iter().zip(&self.places).flat_map(own).collect()
    }

    /// The input's logits from those of a variant's rows. What is condensed is of one row, and so the input's already.
    pub fn composed<'l>(&self, logits: &'l [f32]) -> Cow<'l, [f32]> {
        if self.condensed() {
            return Cow::Borrowed(logits);
        }
        let composition = &self.focus.rows.composition;
        match self.spread(logits) {
            Cow::Borrowed(logits) => composition.apply(logits),
            Cow::Owned(logits) => Cow::Owned(composition.apply(&logits).into_owned()),
        }
    }

    /// d objective / d logits of the rows of `variants` variants, where logits are condensed of those at the objective's
    /// position; under DeepLIFT, of a pair, the objective's multipliers for the input and its baseline alike.
    pub fn seeds(
        &self,
        rule: Rule,
        objective: &Objective,
        logits: &[f32],
        variants: usize,
    ) -> Result<Vec<f32>, nn::Error> {
        let size = (logits.len() / variants.max(1)).max(1);
        if let (Rule::DeepLift, Some((own, baseline))) = (rule, logits.split_at_checked(size)) {
            let (own, baseline) = (self.composed(own), self.composed(baseline));
            let multiplier = self.focus.readout.multiplier(&own, &baseline, &objective.target, objective.output);
            return self.fitting(multiplier, size).map(|seed| seed.repeat(2));
        }
        let mut seeds = Vec::with_capacity(logits.len());
        for logits in logits.chunks(size) {
            seeds.extend(self.seed(objective, logits)?);
        }
        Ok(seeds)
    }

    /// d objective / d logits of a variant's rows.
    fn seed(&self, objective: &Objective, logits: &[f32]) -> Result<Vec<f32>, nn::Error> {
        let readout = &*self.focus.readout;
        let cotangent = readout.cotangent(&self.composed(logits), &objective.target, objective.output);
        self.fitting(cotangent, logits.len())
    }

    /// What a slope of the input's logits is of those of this course's rows, of which there are `len`.
    fn fitting(&self, slope: Vec<f32>, len: usize) -> Result<Vec<f32>, nn::Error> {
        let composition = &self.focus.rows.composition;
        let seed = if self.condensed() {
            slope
        } else if composition.is_the_inputs() {
            self.gather(Cow::Owned(slope))
        } else {
            self.gather(composition.back(&slope))
        };
        if seed.len() == len {
            return Ok(seed);
        }
        let detail = format!("a seed of {} for {len} logits", seed.len());
        Err(nn::Error::Shape { op: "cotangent", detail })
    }
}
