//! What masked inputs share with the whole one: its first tokens, up to the first that is away. Where a model is causal
//! they are the same in every layer, so their keys and values are computed once and rows stand behind them, with the
//! bits that they have as a whole.

use std::cell::RefCell;
use std::sync::Arc;

use super::super::evaluate::{Evaluate, Question};
use super::lead::Lead;
use crate::models::{Batch, Content, Prefix, Row, TapPlan};
use crate::nn::{self, Precision};
use crate::tasks::InputRow;

/// Numbers of keys and values that a job keeps at most, in all precisions (512 MiB).
const MOST: usize = 128 << 20;

/// The ids of the whole input's row, and what was computed of them.
pub(super) struct Stem {
    ids: Vec<u32>,
    /// Tokens that there is room for.
    room: usize,
    known: RefCell<Vec<(Precision, Arc<Prefix>)>>,
}

/// A row, of which the first tokens are the whole input's.
pub(super) struct Branch {
    /// How many.
    pub shared: usize,
    /// The others.
    pub row: Row,
}

impl Stem {
    /// `None` where nothing can be shared: an input of several rows, or a model that is not causal.
    pub fn of(model: &dyn Evaluate, rows: &[InputRow]) -> Option<Self> {
        let [InputRow { row: Row { content: Content::Tokens { ids, type_ids }, .. }, .. }] = rows else { return None };
        if !type_ids.is_empty() || !model.reuses(ids.len()) {
            return None;
        }
        Some(Self { ids: ids.clone(), room: MOST / model.kept().max(1), known: RefCell::default() })
    }

    /// How many of `tokens` shared tokens may be shared: those that there is room for beside what other precisions keep.
    pub fn most(&self, tokens: usize, precision: Precision) -> usize {
        let known = self.known.borrow();
        let others: usize = known.iter().filter(|(own, _)| *own != precision).map(|(_, prefix)| prefix.tokens).sum();
        tokens.min(self.ids.len()).min(self.room.saturating_sub(others))
    }

    /// `row`, less what it shares of the first `most` tokens. What is read is always its own.
    pub fn branch(&self, mut row: Row, most: usize) -> Branch {
        let Content::Tokens { ids, .. } = &mut row.content else { return Branch { shared: 0, row } };
        let equal = ids.iter().zip(&self.ids).take_while(|(own, whole)| own == whole).count();
        let shared = row.read.iter().copied().fold(equal.min(most), usize::min);
        ids.drain(..shared);
        row.read.iter_mut().for_each(|at| *at -= shared);
        Branch { shared, row }
    }

    /// The first `tokens` tokens at least, computed once a precision.
    pub fn prefix(
        &self,
        lead: &Lead<'_>,
        model: &dyn Evaluate,
        tokens: usize,
        precision: Precision,
    ) -> Result<Arc<Prefix>, nn::Error> {
        let position = self.known.borrow().iter().position(|(own, _)| *own == precision);
        let known = position.map(|at| self.known.borrow()[at].1.clone());
        if let Some(known) = known.as_ref().filter(|known| known.tokens >= tokens) {
            return Ok(known.clone());
        }
        let from = known.as_ref().map_or(0, |known| known.tokens);
        let ids = self.ids.get(from..tokens).unwrap_or_default().to_vec();
        let read = vec![ids.len().saturating_sub(1)];
        let rows = vec![Row { content: Content::Tokens { ids, type_ids: Vec::new() }, read }];
        let batch = match known {
            Some(known) => Batch::behind(known, rows),
            None => Batch::new(rows),
        };
        let taps = &TapPlan { prefix: true, ..TapPlan::default() };
        let evaluation = lead.run(model, &batch, Question { taps, ..Question::logits(precision) })?;
        let missing = || nn::Error::Shape { op: "prefix", detail: "the model keeps nothing".to_owned() };
        let prefix = evaluation.taps.prefix.ok_or_else(missing)?;
        let mut all = self.known.borrow_mut();
        all.retain(|(own, _)| *own != precision);
        all.push((precision, prefix.clone()));
        Ok(prefix)
    }
}

impl Branch {
    /// A row that shares nothing.
    pub fn whole(row: Row) -> Self {
        Self { shared: 0, row }
    }
}

#[cfg(test)]
#[path = "stem_tests.rs"]
mod tests;
