//! A job's way to the model: its turn at the compute, the pace between layers, and what it has spent.

use std::cell::Cell;

use super::super::deadline::Watch;
use super::super::evaluate::{Evaluate, Evaluation, Question};
use super::super::executor::Seat;
use super::super::sizing;
use super::{Means, Spent, Work};
use crate::models::{AttentionMap, Batch, Row};
use crate::nn::{self, Pace, Precision, Stopped};

/// The way to the model: takes the turn, keeps the pace and counts.
pub(super) struct Lead<'a> {
    pub means: Means<'a>,
    pub seat: Seat<'a>,
    pub spent: &'a Cell<Spent>,
}

/// What a forward looks at between two layers. Shared with the threads that compute.
pub(super) struct Between<'a> {
    watch: Watch<'a>,
    seat: &'a Seat<'a>,
}

impl Pace for Between<'_> {
    fn step(&self) -> Result<(), Stopped> {
        self.watch.check()?;
        self.seat.offer(self.watch)
    }
}

impl Lead<'_> {
    pub fn pace(&self) -> Between<'_> {
        Between { watch: self.means.watch, seat: &self.seat }
    }

    /// Evaluates `batch` while holding the turn. The logits are as many as the rows' positions read.
    pub fn evaluate(
        &self,
        model: &dyn Evaluate,
        batch: &Batch,
        question: Question<'_>,
    ) -> Result<Evaluation, nn::Error> {
        let evaluation = {
            let _turn = self.seat.take(self.means.watch)?;
            model.evaluate(&self.pace(), batch, question)?
        };
        let positions: usize = batch.rows.iter().map(|row| row.read.len()).sum();
        if evaluation.logits.len() != positions * evaluation.labels {
            let detail =
                format!("{} logits for {positions} positions of {} labels", evaluation.logits.len(), evaluation.labels);
            return Err(nn::Error::Shape { op: "forward", detail });
        }
        let tokens = batch.rows.iter().map(|row| model.spec().row_tokens(row.len())).sum();
        let spent = self.spent.get();
        self.spent.set(Spent { rows: spent.rows + batch.rows.len() as u64, tokens: spent.tokens + tokens as u64 });
        self.seat.spend(sizing::spent(tokens, question.objectives));
        Ok(evaluation)
    }

    /// The logits of the whole input's rows, and of a single one what the job taps.
    pub fn whole(&self, work: Work<'_>, rows: &[Row]) -> Result<(Vec<f32>, Vec<AttentionMap>), nn::Error> {
        if let [row] = rows {
            let question = Question { taps: work.taps, ..Question::logits(Precision::F32) };
            let evaluation = self.evaluate(work.model, &Batch::new(vec![row.clone()]), question)?;
            return Ok((evaluation.logits, evaluation.attention));
        }
        let mut logits = Vec::new();
        let mut rest = rows;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |row: &&Row| {
                tokens += work.model.spec().row_tokens(row.len());
                tokens <= self.means.tokens_per_turn
            };
            let (chunk, later) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            let batch = Batch::new(chunk.to_vec());
            logits.extend(self.evaluate(work.model, &batch, Question::logits(Precision::F32))?.logits);
            rest = later;
        }
        Ok((logits, Vec::new()))
    }
}
