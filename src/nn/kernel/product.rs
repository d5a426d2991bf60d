//! Matrix products: `gemm` where its results do not depend on neighbouring rows, own fixed-order loops elsewhere.
//!
//! `gemm` 0.19 gives a row the same bits in any batch, except for one row or column, tiny results, and results of at
//! most 64 × 64 (another split of the inner dimension). So products run with at least 8 rows, and outputs of at most
//! 64 columns are computed here.

use gemm::Parallelism;

use super::{dot, for_rows, vectorised};

/// Outputs of at most this many columns are computed by own loops.
const NARROW: usize = 64;
/// Products have at least this many rows.
const MIN_ROWS: usize = 8;
/// Multiplications below which a product stays on one thread.
const PARALLEL_FROM: usize = 256 * 1024;

/// A strided view of a matrix inside a slice: element (i, j) is at `offset + i · row_stride + j · col_stride`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    pub data: &'a [f32],
    pub offset: usize,
    pub row_stride: usize,
    pub col_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Row by row without gaps.
    pub fn packed(data: &'a [f32], cols: usize) -> Self {
        Self { data, offset: 0, row_stride: cols, col_stride: 1 }
    }

    pub fn transposed(self) -> Self {
        Self { row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    fn holds(&self, rows: usize, cols: usize) -> bool {
        rows == 0
            || cols == 0
            || self.offset + (rows - 1) * self.row_stride + (cols - 1) * self.col_stride < self.data.len()
    }
}

/// out[m × n, strided] = scale · lhs[m × k] · rhs[k × n] on this thread.
///
/// # Safety
/// `out + i · row_stride + j` for i < m, j < n must be valid for writes, and no other thread may touch these places.
pub unsafe fn product(
    (m, n, k): (usize, usize, usize),
    scale: f32,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    out: *mut f32,
    row_stride: usize,
) {
    assert!(lhs.holds(m, k) && rhs.holds(k, n), "a product of {m} × {k} × {n}");
    // SAFETY: the operands are inside their slices (checked above); the caller answers for `out`.
    unsafe { multiply((m, n, k), scale, lhs, rhs, out, row_stride, Parallelism::None) }
}

unsafe fn multiply(
    (m, n, k): (usize, usize, usize),
    scale: f32,
    lhs: Matrix<'_>,
    rhs: Matrix<'_>,
    out: *mut f32,
    row_stride: usize,
    parallelism: Parallelism,
) {
    // SAFETY: strides of slices fit isize; validity is the callers' contract.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out,
            1,
            row_stride as isize,
            false,
            lhs.data.as_ptr().add(lhs.offset),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr().add(rhs.offset),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            0.0,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// y = x · Wᵀ for packed x (m × inputs) and W (outputs × inputs).
pub fn project(x: &[f32], weight: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    if outputs > NARROW {
        return wide(x, Matrix::packed(weight, inputs).transposed(), inputs, outputs);
    }
    let mut y = vec![0.0; x.len() / inputs.max(1) * outputs];
    for_rows(&mut y, outputs, |row, y| {
        let x = &x[row * inputs..][..inputs];
        vectorised(|| {
            for (y, weight) in y.iter_mut().zip(weight.chunks_exact(inputs)) {
                *y = dot(x, weight);
            }
        });
    });
    y
}

/// x = y · W for packed y (m × outputs) and W (outputs × inputs): the gradient of [`project`].
pub fn project_transposed(y: &[f32], weight: &[f32], inputs: usize, outputs: usize) -> Vec<f32> {
    if inputs > NARROW && outputs > 1 {
        return wide(y, Matrix::packed(weight, inputs), outputs, inputs);
    }
    let mut x = vec![0.0; y.len() / outputs.max(1) * inputs];
    for_rows(&mut x, inputs, |row, x| {
        let y = &y[row * outputs..][..outputs];
        vectorised(|| {
            for (y, weight) in y.iter().zip(weight.chunks_exact(inputs)) {
                for (x, weight) in x.iter_mut().zip(weight) {
                    *x += y * weight;
                }
            }
        });
    });
    x
}

/// lhs (m × k, packed) · rhs (k × n) with n > [`NARROW`].
fn wide(lhs: &[f32], rhs: Matrix<'_>, k: usize, n: usize) -> Vec<f32> {
    let m = lhs.len() / k.max(1);
    if m < MIN_ROWS {
        let mut padded = vec![0.0; MIN_ROWS * k];
        padded[..lhs.len()].copy_from_slice(lhs);
        let mut out = wide(&padded, rhs, k, n);
        out.truncate(m * n);
        return out;
    }
    let threads = rayon::current_num_threads();
    let parallelism =
        if threads > 1 && m * n * k >= PARALLEL_FROM { Parallelism::Rayon(threads) } else { Parallelism::None };
    assert!(rhs.holds(k, n), "a product of {m} × {k} × {n}");
    let mut out = Vec::with_capacity(m * n);
    // SAFETY: `lhs` holds m × k numbers, `rhs` was checked, and `out` has room for m × n, all of which a product that
    // does not read its destination writes; clearing them first would cost a pass over memory.
    unsafe {
        multiply((m, n, k), 1.0, Matrix::packed(lhs, k), rhs, out.as_mut_ptr(), n, parallelism);
        out.set_len(m * n);
    }
    out
}
