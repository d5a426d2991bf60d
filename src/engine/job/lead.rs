//! A job's way to the model: its turn at the compute, the pace between layers, and what it has spent.

use std::cell::Cell;
use std::sync::Arc;

use super::super::deadline::Watch;
use super::super::evaluate::{Evaluate, Evaluation, Question};
use super::super::executor::Seat;
use super::super::sizing;
use super::stem::Branch;
use super::{Means, Spent, Work};
use crate::models::{Batch, Prefix, Recording, Row};
use crate::nn::{self, Pace, Precision, Stopped};
use crate::tasks::InputRow;

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

    /// [`Lead::run`] of rows that were asked for, which count.
    pub fn evaluate(
        &self,
        model: &dyn Evaluate,
        batch: &Batch,
        question: Question<'_>,
    ) -> Result<Evaluation, nn::Error> {
        let evaluation = self.run(model, batch, question)?;
        let spent = self.spent.get();
        self.spent.set(Spent { rows: spent.rows + batch.rows.len() as u64, ..spent });
        self.means.audience.evaluated(batch.rows.len());
        Ok(evaluation)
    }

    /// Evaluates `batch` while holding the turn. The logits are as many as the rows' positions read.
    pub fn run(&self, model: &dyn Evaluate, batch: &Batch, question: Question<'_>) -> Result<Evaluation, nn::Error> {
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
        self.spent.set(Spent { tokens: spent.tokens + tokens as u64, ..spent });
        self.seat.spend(sizing::spent(tokens, question.objectives));
        Ok(evaluation)
    }

    /// The logits of the whole input's rows, and of a single one what the job taps.
    pub fn whole(&self, work: Work<'_>, rows: &[InputRow]) -> Result<(Vec<f32>, Recording), nn::Error> {
        if let [row] = rows {
            let question = Question { taps: work.taps, ..Question::logits(Precision::F32) };
            let evaluation = self.evaluate(work.model, &Batch::new(vec![row.row.clone()]), question)?;
            return Ok((evaluation.logits, evaluation.taps));
        }
        let rows = rows.iter().map(|row| row.row.clone()).collect();
        Ok((self.logits(work.model, rows, Precision::F32)?.0, Recording::default()))
    }

    /// The logits of `rows`, in forwards of a turn's budget, and how many labels each position has.
    pub fn logits(
        &self,
        model: &dyn Evaluate,
        rows: Vec<Row>,
        precision: Precision,
    ) -> Result<(Vec<f32>, usize), nn::Error> {
        self.logits_behind(model, None, rows.into_iter().map(Branch::whole).collect(), precision)
    }

    /// The same of rows behind as much of `prefix` as each shares.
    pub fn logits_behind(
        &self,
        model: &dyn Evaluate,
        prefix: Option<&Arc<Prefix>>,
        mut rows: Vec<Branch>,
        precision: Precision,
    ) -> Result<(Vec<f32>, usize), nn::Error> {
        let (mut logits, mut labels) = (Vec::new(), 0);
        while !rows.is_empty() {
            let mut tokens = 0;
            // An image and the texts that it is compared with go apart.
            let kind = rows.first().map(|branch| std::mem::discriminant(&branch.row.content));
            let fits = |Branch { row, .. }: &&Branch| {
                tokens += model.spec().row_tokens(row.len());
                tokens <= self.means.tokens_per_turn && Some(std::mem::discriminant(&row.content)) == kind
            };
            let later = rows.split_off(rows.iter().take_while(fits).count().max(1));
            let batch = match prefix {
                Some(prefix) => Batch::branching(
                    Arc::clone(prefix),
                    rows.into_iter().map(|Branch { shared, row }| (shared, row)).collect(),
                ),
                None => Batch::new(rows.into_iter().map(|branch| branch.row).collect()),
            };
            let evaluation = self.evaluate(model, &batch, Question::logits(precision))?;
            logits.extend(evaluation.logits);
            labels = evaluation.labels;
            rows = later;
        }
        Ok((logits, labels))
    }
}
