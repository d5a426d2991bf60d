//! A frozen weight as the right operand of x Wᵀ, in pieces.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};

use rayon::prelude::*;

use super::pieces::{left_tile, rows_to_columns, rows_to_pairs};
use super::{Line, PIECE, PIECES, SIDE};

/// Lines of a 32 × 32 block.
pub const BLOCK: usize = PIECES * PIECE;

/// Where a piece stands in a right operand's block.
const fn place(piece: usize) -> usize {
    PIECES - 1 - piece
}

/// Wᵀ (inputs × outputs): for each 32 outputs the blocks of their inputs behind one another. 6 bytes a number, from
/// which the f32 could be put together again.
#[derive(Debug, Clone)]
pub struct Weight {
    lines: Vec<Line>,
    inputs: usize,
    outputs: usize,
}

impl Weight {
    /// `weight`: outputs × inputs, row by row.
    ///
    /// # Panics
    /// Where the unit is not [`super::available`], or the lengths do not fit.
    pub fn new(weight: &[f32], inputs: usize, outputs: usize) -> Self {
        assert!(super::available() && weight.len() == inputs * outputs, "a weight of {outputs} × {inputs}");
        let steps = inputs.div_ceil(SIDE);
        let mut lines = vec![Line::ZERO; outputs.div_ceil(SIDE) * steps * BLOCK];
        lines.par_chunks_exact_mut((steps * BLOCK).max(1)).enumerate().for_each(|(panel, lines)| {
            let mut rows = [Line::ZERO; BLOCK];
            for (step, block) in lines.chunks_exact_mut(BLOCK).enumerate() {
                let (first, col) = (panel * SIDE, step * SIDE);
                let cols = SIDE.min(inputs - col);
                rows.fill(Line::ZERO);
                for tile in 0..2 {
                    let first = first + tile * 16;
                    let here = outputs.saturating_sub(first).min(16);
                    if here == 0 {
                        continue;
                    }
                    // SAFETY: the unit comes with AVX512-BF16; rows and columns are inside the weight.
                    unsafe {
                        let from = weight.as_ptr().add(first * inputs + col);
                        left_tile(from, inputs, here, cols, PIECES, rows.as_mut_ptr().add(tile * 16));
                    }
                }
                for piece in 0..PIECES {
                    // SAFETY: 32 lines each, in different arrays.
                    unsafe {
                        rows_to_columns(rows.as_ptr().add(piece * PIECE), block.as_mut_ptr().add(place(piece) * PIECE))
                    }
                }
            }
        });
        Self { lines, inputs, outputs }
    }

    pub fn inputs(&self) -> usize {
        self.inputs
    }

    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Steps of the inner dimension.
    pub fn steps(&self) -> usize {
        self.inputs.div_ceil(SIDE)
    }

    /// Groups of 32 outputs.
    pub fn panels(&self) -> usize {
        self.outputs.div_ceil(SIDE)
    }

    /// The block of one panel's outputs and one step's inputs, and those behind it.
    pub(super) fn block(&self, panel: usize, step: usize) -> &[Line] {
        &self.lines[(panel * self.steps() + step) * BLOCK..]
    }

    /// The same block as W's right operand (reduced over outputs): `pieces` pieces in `to`.
    ///
    /// # Safety
    /// The processor has AVX-512.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) unsafe fn transposed_block(&self, panel: usize, step: usize, pieces: usize, to: &mut [Line]) {
        let block = self.block(panel, step);
        if panel + 1 < self.panels() {
            // The next panel's block is far away in memory.
            let next = self.block(panel + 1, step)[(PIECES - pieces) * PIECE..].as_ptr();
            for line in 0..pieces * PIECE {
                _mm_prefetch::<_MM_HINT_T1>(next.wrapping_add(line).cast());
            }
        }
        let mut rows = [Line::ZERO; PIECE];
        for index in 0..pieces {
            let from = &block[(PIECES - pieces + index) * PIECE..][..PIECE];
            let to = &mut to[index * PIECE..][..PIECE];
            // SAFETY: 32 lines each, in different arrays. A transposition of pairs undoes itself.
            unsafe {
                rows_to_columns(from.as_ptr(), rows.as_mut_ptr());
                rows_to_pairs(rows.as_ptr(), to.as_mut_ptr());
            }
        }
    }
}
