//! The white-box seam of a job: variants of the input's embedding through forwards with gradients and taps.

use super::super::evaluate::{Evaluation, Question};
use super::super::sizing;
use super::JobCtx;
use crate::methods::{Error, Objective, Pass, RowView, TappedAttention};
use crate::models::{AttentionMap, Batch, Content, Row};
use crate::nn::{self, Precision};
use crate::tasks::Readout;

impl JobCtx<'_> {
    /// As [`crate::methods::Ctx::pass`].
    pub(super) fn run_pass(
        &self,
        pass: &Pass<'_>,
        sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let row = self.single_row()?;
        if let Some(evaluation) = self.known(pass) {
            return self.deliver(pass, 0, 1, &evaluation, sink);
        }
        let objectives = pass.objectives.len();
        let tokens = self.spec().row_tokens(row.len());
        let weight = sizing::weight(self.spec(), tokens, objectives > 0, &pass.taps);
        let rows_a_turn = sizing::rows_a_turn(self.lead.means.tokens_per_turn, weight);
        let (readout, objectives_of) = (&*self.focus.readout, pass.objectives);
        let tail = if pass.embedding.is_some() { self.tail(row)? } else { Vec::new() };
        let mut first = 0;
        while first < pass.rows {
            let rows = rows_a_turn.min(pass.rows - first);
            let seed = |index: usize, logits: &[f32]| {
                seed(readout, &objectives_of[index], (logits.len() / rows).max(1), logits)
            };
            let question = Question { taps: &pass.taps, objectives, seed: &seed, precision: Precision::F32 };
            let variants = (first..first + rows).map(|index| self.variant(pass, row, &tail, index));
            let batch = Batch::new(variants.collect());
            let evaluation = self.lead.evaluate(self.work.model, &batch, question)?;
            self.deliver(pass, first, rows, &evaluation, sink)?;
            first += rows;
        }
        Ok(())
    }

    /// As [`crate::methods::Ctx::embedding`].
    pub(super) fn word_embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
        let row = self.single_row()?;
        let content = match (&row.content, ids) {
            (Content::Pixels(pixels), _) => return Ok(pixels.clone()),
            (Content::Tokens { type_ids, .. }, Some(ids)) => {
                Content::Tokens { ids: ids.to_vec(), type_ids: type_ids.iter().take(ids.len()).copied().collect() }
            }
            (content, _) => content.clone(),
        };
        let own = self.embedding_len(row);
        let mut values = self.embed(Row { content, read: row.read.clone() })?;
        if ids.is_none() {
            values.truncate(own);
        }
        if values.len() == own {
            return Ok(values);
        }
        let detail = format!("{} numbers for an input of {own}", values.len());
        Err(nn::Error::Shape { op: "embedding", detail }.into())
    }

    /// The row that variants are made of. An input of several rows may have no single embedding to vary.
    fn single_row(&self) -> Result<&Row, nn::Error> {
        let none = || nn::Error::Shape { op: "pass", detail: "no single row answers it".to_owned() };
        self.focus.row.as_ref().ok_or_else(none)
    }

    /// Numbers in the embedding of all of `row`.
    fn row_len(&self, row: &Row) -> usize {
        match &row.content {
            Content::Pixels(pixels) => pixels.len(),
            _ => row.len() * self.spec().embedding,
        }
    }

    /// Numbers in the embedding of the input's own part of `row`: what methods vary.
    fn embedding_len(&self, row: &Row) -> usize {
        match self.work.input.as_text() {
            Some(text) => text.tokens.len().min(row.len()) * self.spec().embedding,
            None => self.row_len(row),
        }
    }

    /// The embedding of `row`, as the model makes it.
    fn embed(&self, row: Row) -> Result<Vec<f32>, Error> {
        let len = self.row_len(&row);
        let _turn = self.lead.seat.take(self.lead.means.watch).map_err(nn::Error::from)?;
        let values = self.work.model.embed(&self.lead.pace(), &Batch::new(vec![row]))?;
        if values.len() == len {
            return Ok(values);
        }
        let detail = format!("{} numbers for a row of {len}", values.len());
        Err(nn::Error::Shape { op: "embedding", detail }.into())
    }

    /// What no variant changes: the embedding of the tokens behind the input's own.
    fn tail(&self, row: &Row) -> Result<Vec<f32>, Error> {
        match self.embedding_len(row) {
            own if own < self.row_len(row) => Ok(self.embed(row.clone())?.split_off(own)),
            _ => Ok(Vec::new()),
        }
    }

    /// Variant `index` of the input's row.
    fn variant(&self, pass: &Pass<'_>, row: &Row, tail: &[f32], index: usize) -> Row {
        let Some(embedding) = pass.embedding else { return row.clone() };
        let mut values = vec![0.0; self.embedding_len(row)];
        embedding(index, &mut values);
        values.extend_from_slice(tail);
        let content = match &row.content {
            Content::Pixels(_) => Content::Pixels(values),
            Content::Tokens { type_ids, .. } | Content::Embedded { type_ids, .. } => {
                Content::Embedded { values, tokens: row.len(), type_ids: type_ids.clone() }
            }
        };
        Row { content, read: row.read.clone() }
    }

    /// What the prediction's forward already knows of `pass`: logits and tapped layers of the input itself.
    fn known(&self, pass: &Pass<'_>) -> Option<Evaluation> {
        if self.several() || pass.rows != 1 || pass.embedding.is_some() || !pass.objectives.is_empty() {
            return None;
        }
        let map = |layer: &usize| {
            let place = self.work.taps.attention.iter().position(|recorded| recorded == layer)?;
            self.attention.get(place).cloned()
        };
        let attention = pass.taps.attention.iter().map(map).collect::<Option<Vec<_>>>()?;
        let logits = self.focus.logits.clone();
        Some(Evaluation { labels: logits.len(), logits, gradients: Vec::new(), attention })
    }

    /// Hands the rows of a chunk that begins at variant `first` to the sink.
    fn deliver(
        &self,
        pass: &Pass<'_>,
        first: usize,
        rows: usize,
        evaluation: &Evaluation,
        sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let row = self.single_row()?;
        let (size, own) = (self.row_len(row), self.embedding_len(row));
        let per_row = evaluation.logits.len() / rows.max(1);
        if evaluation.gradients.iter().any(|gradient| gradient.len() != rows * size) {
            let detail = format!("a gradient is not {rows} rows of {size}");
            return Err(nn::Error::Shape { op: "backward", detail }.into());
        }
        if evaluation.attention.iter().any(|map| map.lengths.len() != rows) {
            let detail = format!("a tapped layer is not {rows} rows");
            return Err(nn::Error::Shape { op: "attention", detail }.into());
        }
        for row in 0..rows {
            let logits = &evaluation.logits[row * per_row..][..per_row];
            let value = |objective: &Objective| self.focus.readout.value(logits, &objective.target, objective.output);
            let values: Vec<f64> = pass.objectives.iter().map(value).collect();
            let gradients: Vec<&[f32]> =
                evaluation.gradients.iter().map(|gradient| &gradient[row * size..][..own]).collect();
            let attention: Vec<_> = evaluation.attention.iter().map(|map| tapped(map, row)).collect();
            let view =
                RowView { row: first + row, logits, values: &values, gradients: &gradients, attention: &attention };
            sink(&view)?;
        }
        Ok(())
    }
}

/// d objective / d logits for every row of a chunk at once.
fn seed(readout: &dyn Readout, objective: &Objective, per_row: usize, logits: &[f32]) -> Result<Vec<f32>, nn::Error> {
    let mut seed = Vec::with_capacity(logits.len());
    for row in logits.chunks_exact(per_row) {
        seed.extend(readout.cotangent(row, &objective.target, objective.output));
    }
    if seed.len() == logits.len() {
        return Ok(seed);
    }
    let detail = format!("a seed of {} for {} logits", seed.len(), logits.len());
    Err(nn::Error::Shape { op: "cotangent", detail })
}

/// One row of a tapped layer.
fn tapped(map: &AttentionMap, row: usize) -> TappedAttention<'_> {
    TappedAttention { layer: map.layer, heads: map.heads, length: map.lengths[row], values: map.row(row) }
}
