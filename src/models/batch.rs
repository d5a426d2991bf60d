//! Rows packed behind one another without padding: only attention sees the borders.

use std::sync::Arc;

use crate::nn::{Array, Past};

/// What a row holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    /// Token ids and, where the model takes them, token types (else empty). Positions are counted by the family.
    Tokens { ids: Vec<u32>, type_ids: Vec<u32> },
    /// Word embeddings (tokens × the width of the model's table) in place of ids.
    Embedded { values: Vec<f32>, tokens: usize, type_ids: Vec<u32> },
    /// Normalised pixels: channels × height × width.
    Pixels(Vec<f32>),
}

/// What stands before every row of a batch and was computed before: it never changes, so rows and forwards share it.
#[derive(Debug)]
pub struct Prefix {
    pub tokens: usize,
    /// Of each layer, its tokens' keys and values as attention reads them, in parts one behind another: tokens × columns.
    pub layers: Vec<Vec<Array>>,
}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        let layer = |parts: &Vec<Array>| parts.iter().flat_map(|part| part.data().to_vec()).collect::<Vec<_>>();
        let data = |prefix: &Self| prefix.layers.iter().map(layer).collect::<Vec<_>>();
        self.tokens == other.tokens && data(self) == data(other)
    }
}

/// One evaluation of the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    pub content: Content,
    /// Positions of this row whose outputs are wanted. They stand here and are never derived from pad ids.
    pub read: Vec<usize>,
}

impl Row {
    /// Tokens of a text row; 1 for an image (the family knows its sequence).
    pub fn len(&self) -> usize {
        match &self.content {
            Content::Tokens { ids, .. } => ids.len(),
            Content::Embedded { tokens, .. } => *tokens,
            Content::Pixels(_) => 1,
        }
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Rows for one forward. All hold the same kind of content.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub rows: Vec<Row>,
    /// What rows stand behind. Only for models that say so ([`super::Model::reuses`]), and without gradients.
    pub prefix: Option<Arc<Prefix>>,
    /// How many of the prefix's tokens, from the first on, stand before each row.
    before: Vec<usize>,
}

impl Batch {
    pub fn new(rows: Vec<Row>) -> Self {
        Self { rows, prefix: None, before: Vec::new() }
    }
    /// `rows` without what stands before each of them: all of `prefix`.
    pub fn behind(prefix: Arc<Prefix>, rows: Vec<Row>) -> Self {
        let before = vec![prefix.tokens; rows.len()];
        Self { rows, prefix: Some(prefix), before }
    }
    /// `rows` without what stands before each of them: as many of the prefix's first tokens as are named with it.
    pub fn branching(prefix: Arc<Prefix>, rows: Vec<(usize, Row)>) -> Self {
        let (before, rows) = rows.into_iter().unzip();
        Self { rows, prefix: Some(prefix), before }
    }
    /// Tokens before each row, in their order.
    pub fn before(&self) -> impl Iterator<Item = usize> {
        (0..self.rows.len()).map(|row| self.before.get(row).copied().unwrap_or(0))
    }
    /// Layer `layer` of what stands before the rows.
    pub fn past(&self, layer: usize) -> Option<Past<'_>> {
        let parts = self.prefix.as_ref()?.layers.get(layer)?;
        Some(Past { parts, counts: &self.before })
    }
    /// Where each row begins in the packed sequence, and at the end its length: rows + 1 numbers.
    pub fn offsets(&self) -> Vec<usize> {
        let mut offsets = Vec::with_capacity(self.rows.len() + 1);
        let mut end = 0;
        offsets.push(end);
        for row in &self.rows {
            end += row.len();
            offsets.push(end);
        }
        offsets
    }
    /// The packed positions whose outputs are wanted, row after row.
    pub fn read(&self) -> Vec<usize> {
        let offsets = self.offsets();
        let places = self.rows.iter().zip(offsets).flat_map(|(row, start)| row.read.iter().map(move |at| start + at));
        places.collect()
    }
}
