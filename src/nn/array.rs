//! The value of a node: packed rows of f32 in host memory, shared without copies.

use std::sync::Arc;

/// `rows × cols` numbers, row by row.
#[derive(Debug, Clone)]
pub struct Array {
    data: Arc<Vec<f32>>,
    rows: usize,
    cols: usize,
}

impl Array {
    /// # Panics
    /// If `data` does not hold `rows × cols` numbers: layers make their outputs in these shapes.
    pub fn new(data: Vec<f32>, rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "an array of {rows} × {cols}");
        Self { data: Arc::new(data), rows, cols }
    }

    pub fn data(&self) -> &[f32] {
        &self.data
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The numbers themselves: without a copy where nobody else holds them.
    pub fn into_vec(self) -> Vec<f32> {
        Arc::try_unwrap(self.data).unwrap_or_else(|shared| shared.to_vec())
    }
}
