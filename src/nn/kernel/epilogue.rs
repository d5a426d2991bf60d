//! What follows a product, done to its numbers while they are in the first cache.

use super::math::{ActivationKind, activate_row};

/// What follows a product: `activation(result + bias) + residual`.
#[derive(Default)]
pub struct Epilogue<'a> {
    /// A number a column.
    pub bias: Option<&'a [f32]>,
    /// As many numbers as the result.
    pub residual: Option<&'a [f32]>,
    pub activation: Option<ActivationKind>,
    /// The activation's slope at every number of the result is put here.
    pub slope: Option<&'a mut Vec<f32>>,
}

/// Where the numbers of a product go; shared by tasks that write to disjoint places.
pub struct Sink {
    pub out: *mut f32,
    /// Null where slopes are not wanted.
    pub slope: *mut f32,
    /// Null where there is none.
    pub bias: *const f32,
    /// Null where there is none; perhaps `out` itself.
    pub residual: *const f32,
    pub activation: Option<ActivationKind>,
    pub cols: usize,
}

// SAFETY: each task reads and writes the places of its own rows and columns behind the pointers, and no other.
unsafe impl Sync for Sink {}

impl Sink {
    /// Adds to what `sum` holds (rows × `cols`).
    pub fn adding_to(sum: &mut [f32], cols: usize) -> Self {
        let out = sum.as_mut_ptr();
        let none = std::ptr::null;
        Self { out, slope: std::ptr::null_mut(), bias: none(), residual: out, activation: None, cols }
    }

    /// Finishes a block of `rows` × `cols` numbers and stores it from `first_row` and `first_col` on.
    ///
    /// # Safety
    /// These places must be inside the result, and no other thread's.
    #[inline(always)]
    pub unsafe fn store<const SIDE: usize>(
        &self,
        block: &mut [[f32; SIDE]; SIDE],
        (first_row, rows): (usize, usize),
        (first_col, cols): (usize, usize),
    ) {
        let block = &mut block[..rows];
        // SAFETY: the caller's contract; `made` checked that every array is as long as the result or its columns.
        unsafe {
            if !self.bias.is_null() {
                let mut bias = [0.0; SIDE];
                std::ptr::copy_nonoverlapping(self.bias.add(first_col), bias.as_mut_ptr(), cols);
                for values in block.iter_mut() {
                    for col in 0..SIDE {
                        values[col] += bias[col];
                    }
                }
            }
            if let Some(kind) = self.activation {
                let mut slopes = [[0.0; SIDE]; SIDE];
                let slope =
                    if self.slope.is_null() { std::ptr::null_mut() } else { slopes.as_flattened_mut().as_mut_ptr() };
                activate_row(kind, block.as_flattened_mut(), slope);
                if !slope.is_null() {
                    for (row, slopes) in slopes.iter().enumerate().take(rows) {
                        let place = (first_row + row) * self.cols + first_col;
                        copy(slopes, self.slope.add(place), cols);
                    }
                }
            }
            for (row, values) in block.iter_mut().enumerate() {
                let place = (first_row + row) * self.cols + first_col;
                if !self.residual.is_null() {
                    let mut residual = [0.0; SIDE];
                    read(self.residual.add(place), &mut residual, cols);
                    for col in 0..SIDE {
                        values[col] += residual[col];
                    }
                }
                copy(values, self.out.add(place), cols);
            }
        }
    }
}

/// # Safety
/// `to` must have room for `count` numbers.
#[inline(always)]
unsafe fn copy<const SIDE: usize>(from: &[f32; SIDE], to: *mut f32, count: usize) {
    // SAFETY: the caller's contract. A length known beforehand is a few vectors.
    unsafe {
        match count == SIDE {
            true => std::ptr::copy_nonoverlapping(from.as_ptr(), to, SIDE),
            false => std::ptr::copy_nonoverlapping(from.as_ptr(), to, count),
        }
    }
}

/// # Safety
/// `from` must have `count` numbers.
#[inline(always)]
unsafe fn read<const SIDE: usize>(from: *const f32, to: &mut [f32; SIDE], count: usize) {
    // SAFETY: as in `copy`.
    unsafe {
        match count == SIDE {
            true => std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), SIDE),
            false => std::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), count),
        }
    }
}

/// The rows × cols numbers that `fill` puts into the sink it is given. Clearing them first would cost a pass over
/// memory.
///
/// # Safety
/// `fill` must write every number of the result, and every slope where `epilogue` wants them.
///
/// # Panics
/// If an array of the epilogue does not fit: layers check shapes.
pub unsafe fn made(rows: usize, cols: usize, epilogue: Epilogue<'_>, fill: impl FnOnce(&Sink)) -> Vec<f32> {
    let Epilogue { bias, residual, activation, slope } = epilogue;
    assert!(
        bias.is_none_or(|bias| bias.len() == cols) && residual.is_none_or(|residual| residual.len() == rows * cols)
    );
    assert!(activation.is_none() || residual.is_none(), "a residual is added behind an activation by nobody");
    let mut out: Vec<f32> = Vec::with_capacity(rows * cols);
    let mut none = Vec::new();
    let keep = slope.is_some();
    let slope = slope.unwrap_or(&mut none);
    if keep {
        slope.clear();
        slope.reserve_exact(rows * cols);
    }
    fill(&Sink {
        out: out.as_mut_ptr(),
        slope: if keep { slope.as_mut_ptr() } else { std::ptr::null_mut() },
        bias: bias.map_or(std::ptr::null(), <[f32]>::as_ptr),
        residual: residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
        activation,
        cols,
    });
    // SAFETY: the caller's contract.
    unsafe {
        out.set_len(rows * cols);
        if keep {
            slope.set_len(rows * cols);
        }
    }
    out
}
