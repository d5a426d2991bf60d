//! Look-up tables.

use std::sync::Arc;

use super::{Array, Error, Narrow, StoredRows};

/// A table's numbers, wherever they are: in memory, or in a file that nobody changes.
#[derive(Clone)]
pub enum Table {
    F32(Arc<dyn AsRef<[f32]> + Send + Sync>),
    /// Widened entry by entry.
    Narrow(Narrow, Arc<dyn AsRef<[u16]> + Send + Sync>),
    /// Whole rows, read entry by entry.
    Stored(StoredRows),
}

impl Table {
    /// Entries of `width` numbers, if there are whole ones alone.
    fn entries(&self, width: usize) -> Option<usize> {
        let entries = |len: usize| len.is_multiple_of(width.max(1)).then(|| len / width.max(1));
        match self {
            Self::F32(numbers) => entries((**numbers).as_ref().len()),
            Self::Narrow(_, bits) => entries((**bits).as_ref().len()),
            Self::Stored(rows) => {
                let size = rows.kind.size(width)?.checked_mul(rows.rows)?;
                (size == (*rows.bytes).as_ref().len()).then_some(rows.rows)
            }
        }
        .filter(|_| width > 0)
    }
}

/// As `torch.nn.Embedding` with a constant table (entries × width).
#[derive(Clone)]
pub struct Embedding {
    table: Table,
    entries: usize,
    width: usize,
    /// What every number is multiplied with when it is read.
    factor: Option<f32>,
}

impl Embedding {
    pub fn new(table: Table, width: usize) -> Result<Self, Error> {
        let entries = table.entries(width);
        let entries = entries.ok_or_else(|| Error::shape("embedding", format!("a table not of rows of {width}")))?;
        Ok(Self { table, entries, width, factor: None })
    }

    /// The same, every number times `factor`.
    pub fn scaled(self, factor: f32) -> Self {
        Self { factor: Some(factor), ..self }
    }

    pub fn entries(&self) -> usize {
        self.entries
    }

    /// Puts one entry behind what `out` holds.
    pub fn read(&self, index: usize, out: &mut Vec<f32>) -> Result<(), Error> {
        if index >= self.entries {
            return Err(Error::shape("embedding", format!("entry {index} of {}", self.entries)));
        }
        let (place, start) = (index * self.width..(index + 1) * self.width, out.len());
        match &self.table {
            Table::F32(numbers) => out.extend_from_slice(&(**numbers).as_ref()[place]),
            Table::Narrow(kind, bits) => {
                out.resize(start + self.width, 0.0);
                kind.widen(&(**bits).as_ref()[place], &mut out[start..]);
            }
            Table::Stored(rows) => {
                out.resize(start + self.width, 0.0);
                rows.kind.widen(rows.part(index, self.width, 0, self.width), &mut out[start..]);
            }
        }
        if let Some(factor) = self.factor {
            out[start..].iter_mut().for_each(|number| *number *= factor);
        }
        Ok(())
    }

    /// The entries of `indices`, one a row.
    pub fn look_up(&self, indices: impl ExactSizeIterator<Item = usize>) -> Result<Array, Error> {
        let rows = indices.len();
        let mut out = Vec::with_capacity(rows * self.width);
        for index in indices {
            self.read(index, &mut out)?;
        }
        Ok(Array::new(out, rows, self.width))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::narrow::narrow;

    #[test]
    fn entries_are_read_whatever_they_are_stored_in() {
        let numbers: Vec<f32> = (0..12).map(|at| at as f32 / 7.0 - 0.8).collect();
        for kind in [Narrow::Bf16, Narrow::F16] {
            let (bits, wide) = narrow(kind, &numbers);
            let wide = Embedding::new(Table::F32(Arc::new(wide)), 3).unwrap();
            let own = Embedding::new(Table::Narrow(kind, Arc::new(bits)), 3).unwrap();
            assert_eq!(own.entries(), 4);
            for (own, wide) in [(own.clone(), wide.clone()), (own.scaled(1.7), wide.scaled(1.7))] {
                let read = |table: &Embedding| table.look_up([3, 0, 3].into_iter()).unwrap().into_vec();
                assert_eq!(read(&own), read(&wide), "{kind:?}");
                assert!(own.look_up([4].into_iter()).is_err() && wide.look_up([4].into_iter()).is_err());
            }
        }
        let scaled = Embedding::new(Table::F32(Arc::new(vec![1.0, 2.0])), 2).unwrap().scaled(3.0);
        assert_eq!(scaled.look_up([0].into_iter()).unwrap().into_vec(), [3.0, 6.0]);
        assert!(Embedding::new(Table::Narrow(Narrow::F16, Arc::new(vec![0; 5])), 2).is_err());
    }
}
