//! Look-up tables.

use std::sync::Arc;

use super::{Array, Error};

/// A table's numbers, wherever they are: in memory, or in a file that nobody changes.
pub type Table = Arc<dyn AsRef<[f32]> + Send + Sync>;

/// As `torch.nn.Embedding` with a constant table (entries × width).
#[derive(Clone)]
pub struct Embedding {
    table: Table,
    width: usize,
}

impl Embedding {
    pub fn new(table: Table, width: usize) -> Result<Self, Error> {
        let len = (*table).as_ref().len();
        if width == 0 || !len.is_multiple_of(width) {
            return Err(Error::shape("embedding", format!("{len} numbers in rows of {width}")));
        }
        Ok(Self { table, width })
    }

    fn table(&self) -> &[f32] {
        (*self.table).as_ref()
    }

    pub fn entries(&self) -> usize {
        self.table().len() / self.width
    }

    /// One entry.
    pub fn entry(&self, index: usize) -> Result<&[f32], Error> {
        self.table()
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
