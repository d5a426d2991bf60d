//! The innermost loop of every product: a few rows of the left operand times one panel of the right one, in registers.
//!
//! Every number of a result is one chain of multiply-adds over the inner dimension, first to last, whatever the tile's
//! height: a row's bits depend neither on its neighbours nor on how work is dealt out.

use pulp::{Simd, WithSimd};

use super::panels::{PANEL, PanelRow};

/// Rows of the tallest tile: 12 × 32 numbers fill 24 of AVX-512's 32 registers, and leave room for the operands.
pub const TALLEST: usize = 12;

/// One block of a product: `rows` rows of the left operand against panels that lie behind one another.
#[derive(Clone, Copy)]
pub struct Block {
    pub rows: usize,
    /// The inner dimension.
    pub inner: usize,
    /// Element (i, k) of the left operand is at `left + i · left_row + k · left_col`.
    pub left: *const f32,
    pub left_row: usize,
    pub left_col: usize,
    pub panels: *const PanelRow,
    /// Rows from panel to panel: `inner`, or more where a part of the panels' rows is multiplied.
    pub panel_step: usize,
    /// Columns of the result in this block; the last panel may be partly used.
    pub cols: usize,
    pub out: *mut f32,
    pub out_row: usize,
    pub finish: Finish,
}

/// What is done to a result before it leaves the registers: `scale · result + bias + residual`.
#[derive(Clone, Copy)]
pub struct Finish {
    pub scale: f32,
    /// A number a column, or null.
    pub bias: *const f32,
    /// In the places of the result (and perhaps the result's own memory), or null.
    pub residual: *const f32,
}

impl Finish {
    pub const NONE: Self = Self { scale: 1.0, bias: std::ptr::null(), residual: std::ptr::null() };

    pub fn scaled(scale: f32) -> Self {
        Self { scale, ..Self::NONE }
    }

    /// For results `rows` further down and `cols` further right.
    ///
    /// # Safety
    /// These places must exist in the arrays behind the pointers.
    unsafe fn moved(self, offset: usize, cols: usize) -> Self {
        let step = |pointer: *const f32, by: usize| match pointer.is_null() {
            true => pointer,
            // SAFETY: the caller's contract.
            false => unsafe { pointer.add(by) },
        };
        Self { scale: self.scale, bias: step(self.bias, cols), residual: step(self.residual, offset) }
    }
}

/// Called with every strip of rows when it is finished, while it is in the first cache: first row, rows, first column,
/// columns.
pub trait After {
    fn strip(&self, first_row: usize, rows: usize, first_col: usize, cols: usize);
}

impl After for () {
    #[inline(always)]
    fn strip(&self, _: usize, _: usize, _: usize, _: usize) {}
}

/// Computes a [`Block`] with this processor's widest vectors.
///
/// # Safety
/// All places of `block` must be valid to read, those of `out` to write, and no other thread may touch the latter.
pub unsafe fn compute(block: &Block, after: &impl After) {
    pulp::Arch::new().dispatch(Compute { block, after });
}

/// A block and what is done to its strips.
pub(super) struct Compute<'a, A> {
    pub block: &'a Block,
    pub after: &'a A,
}

impl<A: After> WithSimd for Compute<'_, A> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let block = self.block;
        let tallest = if S::F32_LANES == 16 { TALLEST } else { TALLEST / 2 };
        for (panel, first_col) in (0..block.cols).step_by(PANEL).enumerate() {
            let cols = PANEL.min(block.cols - first_col);
            for first_row in (0..block.rows).step_by(tallest) {
                let rows = tallest.min(block.rows - first_row);
                // SAFETY: rows and columns are inside the block, whose places are valid by the contract of `compute`.
                unsafe {
                    let offset = first_row * block.out_row + first_col;
                    let part = Block {
                        rows,
                        cols,
                        left: block.left.add(first_row * block.left_row),
                        panels: block.panels.add(panel * block.panel_step),
                        out: block.out.add(offset),
                        finish: block.finish.moved(offset, first_col),
                        ..*block
                    };
                    strip(simd, &part);
                }
                self.after.strip(first_row, rows, first_col, cols);
            }
        }
    }
}

/// At most [`TALLEST`] rows against one panel.
#[inline(always)]
unsafe fn strip<S: Simd>(simd: S, block: &Block) {
    if block.cols == PANEL {
        // SAFETY: as the caller's.
        return unsafe { by_height(simd, block) };
    }
    // A panel that is partly used is computed aside, where its full width has a place.
    let mut aside = [0.0f32; TALLEST * PANEL];
    // SAFETY: `aside` holds the tallest strip; the copies stay inside the block's columns.
    unsafe {
        let whole = Block { out: aside.as_mut_ptr(), out_row: PANEL, cols: PANEL, finish: Finish::NONE, ..*block };
        by_height(simd, &whole);
        let Finish { scale, bias, residual } = block.finish;
        for row in 0..block.rows {
            for col in 0..block.cols {
                let at = row * block.out_row + col;
                let mut value = aside[row * PANEL + col] * scale;
                if !bias.is_null() {
                    value += *bias.add(col);
                }
                if !residual.is_null() {
                    value += *residual.add(at);
                }
                *block.out.add(at) = value;
            }
        }
    }
}

#[inline(always)]
unsafe fn by_height<S: Simd>(simd: S, block: &Block) {
    // SAFETY: as the caller's, for every height.
    unsafe {
        // As many sums as the registers hold: 24 of 32, or 12 of AVX2's 16.
        if S::F32_LANES == 16 {
            match block.rows {
                12 => tile::<S, 12, 2>(simd, block),
                11 => tile::<S, 11, 2>(simd, block),
                10 => tile::<S, 10, 2>(simd, block),
                9 => tile::<S, 9, 2>(simd, block),
                8 => tile::<S, 8, 2>(simd, block),
                7 => tile::<S, 7, 2>(simd, block),
                rows => up_to_six::<S, 2>(simd, block, rows),
            }
        } else if S::F32_LANES == 4 {
            up_to_six::<S, 4>(simd, block, block.rows);
        } else {
            up_to_six::<S, 2>(simd, block, block.rows);
        }
    }
}

#[inline(always)]
unsafe fn up_to_six<S: Simd, const VECTORS: usize>(simd: S, block: &Block, rows: usize) {
    // SAFETY: as the caller's, for every height.
    unsafe {
        match rows {
            6 => tile::<S, 6, VECTORS>(simd, block),
            5 => tile::<S, 5, VECTORS>(simd, block),
            4 => tile::<S, 4, VECTORS>(simd, block),
            3 => tile::<S, 3, VECTORS>(simd, block),
            2 => tile::<S, 2, VECTORS>(simd, block),
            _ => tile::<S, 1, VECTORS>(simd, block),
        }
    }
}

/// ROWS rows × one full panel, VECTORS vectors of its columns at a time.
#[inline(always)]
unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(simd: S, block: &Block) {
    let wide = VECTORS * S::F32_LANES;
    for first in (0..PANEL).step_by(wide) {
        // SAFETY: a panel's row holds PANEL numbers, and `out`, `bias` and `residual` as many columns from here on.
        unsafe {
            let mut sums = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
            let mut left = block.left;
            let mut right = block.panels.cast::<f32>().add(first);
            for _ in 0..block.inner {
                let mut columns = [simd.splat_f32s(0.0); VECTORS];
                for (vector, columns) in columns.iter_mut().enumerate() {
                    *columns = load::<S>(right.add(vector * S::F32_LANES));
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let factor = simd.splat_f32s(*left.add(row * block.left_row));
                    for (sum, columns) in sums.iter_mut().zip(columns) {
                        *sum = simd.mul_add_e_f32s(factor, columns, *sum);
                    }
                }
                left = left.add(block.left_col);
                right = right.add(PANEL);
            }
            finish::<S, ROWS, VECTORS>(simd, block, first, sums);
        }
    }
}

#[inline(always)]
unsafe fn finish<S: Simd, const ROWS: usize, const VECTORS: usize>(
    simd: S,
    block: &Block,
    first: usize,
    sums: [[S::f32s; VECTORS]; ROWS],
) {
    let Finish { scale, bias, residual } = block.finish;
    let factor = simd.splat_f32s(scale);
    for vector in 0..VECTORS {
        let col = first + vector * S::F32_LANES;
        for (row, sums) in sums.iter().enumerate() {
            let at = row * block.out_row + col;
            let mut value = simd.mul_f32s(sums[vector], factor);
            // SAFETY: the caller's contract.
            unsafe {
                if !bias.is_null() {
                    value = simd.add_f32s(value, load::<S>(bias.add(col)));
                }
                if !residual.is_null() {
                    value = simd.add_f32s(value, load::<S>(residual.add(at)));
                }
                block.out.add(at).cast::<S::f32s>().write_unaligned(value);
            }
        }
    }
}

#[inline(always)]
unsafe fn load<S: Simd>(from: *const f32) -> S::f32s {
    // SAFETY: the caller has F32_LANES numbers there.
    unsafe { from.cast::<S::f32s>().read_unaligned() }
}
