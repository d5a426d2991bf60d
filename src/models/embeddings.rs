//! Tokens into the first hidden states: word, position and type embeddings, and what follows them before the first
//! layer. Text families share it; positions are counted here and nowhere else.

use super::batch::{Batch, Content, Row};
use crate::nn::{self, Array, Embedding, LayerNorm, Linear, Node, Tape, add_constant};

/// The embedding module of a text encoder.
pub struct Embeddings {
    pub words: Embedding,
    pub positions: Option<Positions>,
    /// A model of one type adds it to every token.
    pub types: Option<Embedding>,
    /// What is done to the sum, in this order.
    pub steps: Vec<Step>,
    /// Columns of the tables.
    pub width: usize,
}

/// What follows the sum of the embeddings.
pub enum Step {
    Norm(LayerNorm),
    /// From the tables' width to the hidden size.
    Project(Linear),
}

/// Learned absolute positions.
pub struct Positions {
    pub table: Embedding,
    pub count: Count,
}

/// How positions are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// 0, 1, 2, … as BERT.
    FromZero,
    /// As RoBERTa, from the id of the pad token on: a token that is not the pad token stands one further than those
    /// before it, a pad token itself at the pad's id. Rows of embeddings cannot tell and have none: transformers counts
    /// them through as well.
    FromPad(u32),
}

impl Count {
    /// How many tokens a table of `entries` has positions for.
    pub fn longest(self, entries: usize) -> usize {
        match self {
            Self::FromZero => entries,
            Self::FromPad(pad) => entries.saturating_sub(pad as usize + 1),
        }
    }

    /// Of a row behind `before` other tokens.
    fn behind(self, before: usize, row: &Row) -> Vec<usize> {
        self.of(row).into_iter().map(|position| before + position).collect()
    }

    fn of(self, row: &Row) -> Vec<usize> {
        match (self, &row.content) {
            (Self::FromZero, _) => (0..row.len()).collect(),
            (Self::FromPad(pad), Content::Tokens { ids, .. }) => {
                let mut last = pad as usize;
                let position = |&id: &u32| {
                    if id == pad {
                        return pad as usize;
                    }
                    last += 1;
                    last
                };
                ids.iter().map(position).collect()
            }
            (Self::FromPad(pad), _) => (1..=row.len()).map(|index| pad as usize + index).collect(),
        }
    }
}

impl Embeddings {
    /// The word embeddings of a batch, or those that its rows bring along: a variable of the tape.
    pub fn words(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        let mut out = Vec::new();
        for row in &batch.rows {
            match &row.content {
                Content::Tokens { ids, .. } => {
                    out.extend_from_slice(self.words.look_up(ids.iter().map(|&id| id as usize))?.data());
                }
                Content::Embedded { values, tokens, .. } if values.len() == tokens * self.width => {
                    out.extend_from_slice(values);
                }
                _ => return Err(nn::Error::Shape { op: "embeddings", detail: "rows that are no text".into() }),
            }
        }
        let rows = out.len() / self.width;
        Ok(tape.variable(Array::new(out, rows, self.width)))
    }

    /// The first hidden states, from the word embeddings of `batch`.
    pub fn forward(&self, tape: &mut Tape<'_>, words: &Node, batch: &Batch) -> Result<Node, nn::Error> {
        let mut x = match self.places(batch)? {
            Some(places) => add_constant(tape, words, &places)?,
            None => words.clone(),
        };
        for step in &self.steps {
            x = match step {
                Step::Norm(norm) => norm.forward(tape, &x)?,
                Step::Project(projection) => projection.forward(tape, &x)?,
            };
        }
        Ok(x)
    }

    /// Position and type embeddings of every packed token: constants of the forward.
    fn places(&self, batch: &Batch) -> Result<Option<Array>, nn::Error> {
        if self.positions.is_none() && self.types.is_none() {
            return Ok(None);
        }
        let tokens = batch.rows.iter().map(Row::len).sum();
        let mut sum = match &self.positions {
            Some(Positions { table, count }) => {
                let rows = batch.before().zip(&batch.rows);
                let positions: Vec<usize> = rows.flat_map(|(before, row)| count.behind(before, row)).collect();
                table.look_up(positions.into_iter())?.into_vec()
            }
            None => vec![0.0; tokens * self.width],
        };
        if let Some(types) = &self.types {
            let mut places = sum.chunks_exact_mut(self.width);
            let mut entry = Vec::with_capacity(self.width);
            for row in &batch.rows {
                let (Content::Tokens { type_ids, .. } | Content::Embedded { type_ids, .. }) = &row.content else {
                    return Err(nn::Error::Shape { op: "embeddings", detail: "rows that are no text".into() });
                };
                for (token, place) in places.by_ref().take(row.len()).enumerate() {
                    entry.clear();
                    types.read(type_ids.get(token).map_or(0, |&id| id as usize), &mut entry)?;
                    place.iter_mut().zip(&entry).for_each(|(sum, entry)| *sum += entry);
                }
            }
        }
        Ok(Some(Array::new(sum, tokens, self.width)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(ids: &[u32]) -> Row {
        Row { content: Content::Tokens { ids: ids.to_vec(), type_ids: Vec::new() }, read: vec![0] }
    }

    #[test]
    fn positions_of_roberta_skip_pads() {
        let count = Count::FromPad(1);
        assert_eq!(count.of(&row(&[0, 7, 1, 8, 1, 2])), [2, 3, 1, 4, 1, 5]);
        // Where the pad token is the end token as well, the end is not counted either.
        assert_eq!(Count::FromPad(2).of(&row(&[0, 7, 2])), [3, 4, 2]);
        assert_eq!(count.of(&row(&[])), [0usize; 0]);
        let embedded = Content::Embedded { values: vec![0.0; 6], tokens: 3, type_ids: Vec::new() };
        assert_eq!(count.of(&Row { content: embedded, read: vec![0] }), [2, 3, 4]);
        assert_eq!((count.longest(514), Count::FromZero.longest(512)), (512, 512));
        assert_eq!(Count::FromZero.of(&row(&[5, 1, 5])), [0, 1, 2]);
    }
}
