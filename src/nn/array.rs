//! The value of a node: packed rows of f32, shared without copies. They are in host memory or on a device.

use std::sync::Arc;

use super::device::Resident;

/// `rows × cols` numbers, row by row.
#[derive(Debug, Clone)]
pub struct Array {
    held: Held,
    rows: usize,
    cols: usize,
}

#[derive(Debug, Clone)]
enum Held {
    Host(Arc<Vec<f32>>),
    Device(Arc<Resident>),
}

impl Array {
    /// # Panics
    /// If `data` does not hold `rows × cols` numbers: layers make their outputs in these shapes.
    pub fn new(data: Vec<f32>, rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "an array of {rows} × {cols}");
        Self { held: Held::Host(Arc::new(data)), rows, cols }
    }

    /// What a device holds; `resident` is of this shape.
    pub(super) fn on_device(resident: Resident, rows: usize, cols: usize) -> Self {
        Self { held: Held::Device(Arc::new(resident)), rows, cols }
    }

    /// The numbers. An array on a device is downloaded when this is first called; should that fail, they are NaN and
    /// the tape's next step is an error.
    pub fn data(&self) -> &[f32] {
        match &self.held {
            Held::Host(data) => data,
            Held::Device(resident) => resident.numbers(),
        }
    }

    pub fn rows(&self) -> usize {
        self.rows
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The numbers themselves, as [`Array::data`]: without a copy where nobody else holds them.
    pub fn into_vec(self) -> Vec<f32> {
        Arc::try_unwrap(self.into_shared()).unwrap_or_else(|shared| shared.to_vec())
    }

    fn into_shared(self) -> Arc<Vec<f32>> {
        match self.held {
            Held::Host(data) => data,
            Held::Device(resident) => Arc::clone(resident.numbers()),
        }
    }

    /// The numbers, as [`Array::data`], shared.
    pub(super) fn shared(&self) -> Arc<Vec<f32>> {
        self.clone().into_shared()
    }

    pub(super) fn resident(&self) -> Option<&Resident> {
        match &self.held {
            Held::Host(_) => None,
            Held::Device(resident) => Some(resident),
        }
    }
}
