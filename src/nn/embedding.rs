//! Look-up tables.

use std::sync::Arc;

use super::{Array, Error};

/// As `torch.nn.Embedding` with a constant table (entries × width).
#[derive(Debug, Clone)]
pub struct Embedding {
    table: Arc<Vec<f32>>,
    width: usize,
}

impl Embedding {
    pub fn new(table: Vec<f32>, width: usize) -> Result<Self, Error> {
        if width == 0 || !table.len().is_multiple_of(width) {
            return Err(Error::shape("embedding", format!("{} numbers in rows of {width}", table.len())));
        }
        Ok(Self { table: Arc::new(table), width })
    }

    pub fn entries(&self) -> usize {
        self.table.len() / self.width
    }

    /// One entry.
    pub fn entry(&self, index: usize) -> Result<&[f32], Error> {
        self.table
            .get(index * self.width..(index + 1) * self.width)
            .ok_or_else(|| Error::shape("embedding", format!("entry {index} of {}", self.entries())))
    }

    /// The entries of `indices`, one a row.
    pub fn look_up(&self, indices: impl ExactSizeIterator<Item = usize>) -> Result<Array, Error> {
        let rows = indices.len();
        let mut out = Vec::with_capacity(rows * self.width);
        for index in indices {
            out.extend_from_slice(self.entry(index)?);
        }
        Ok(Array::new(out, rows, self.width))
    }
}
