//! A frozen weight's panels as an operand: blocks of 32 × 32 are cut into pieces when they are multiplied. Pieces take half
//! as much memory again as the numbers do, and reading them takes longer than cutting.
//!
//! Forward a weight is the right operand: pairs of a panel's rows. Backward reduces over a panel's columns, which lie beside
//! one another in its rows as a *left* operand's do: there the weight stands on the left and the gradient on the right, so
//! that no block of a weight has to be turned round.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::ops::Range;

use super::block::{AHEAD, Ahead, Operand};
use super::pieces::{left_tile, right_tiles};
use super::{Line, PIECE, PIECES, SIDE};
use crate::nn::kernel::panels::{PANEL, PanelRow, Panels};

const _: () = assert!(PANEL == SIDE, "a panel is as wide as a block");

/// Rows of a tile.
const TILE: usize = SIDE / 2;
/// Lines of a block's pieces.
pub const BLOCK: usize = PIECES * PIECE;
/// Lines of a block's numbers.
const NUMBERS: usize = SIDE * SIDE * size_of::<f32>() / size_of::<Line>();

/// Blocks between the one that is cut and the one that is fetched meanwhile.
const DISTANCE: usize = 2;

/// Fetches a block's numbers, which need not exist, into the second cache.
#[inline(always)]
fn fetch(block: *const Line) {
    for line in 0..NUMBERS {
        // SAFETY: a prefetch reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(block.wrapping_add(line).cast()) };
    }
}

/// The panels of Wᵀ (inner × cols) in one of their directions.
#[derive(Clone, Copy)]
pub struct Right<'a> {
    pub panels: &'a Panels,
    /// W: reduced over the panels' columns.
    pub transposed: bool,
}

impl<'a> Right<'a> {
    pub fn inner(self) -> usize {
        if self.transposed { self.panels.cols() } else { self.panels.inner() }
    }

    /// Steps of the inner dimension, 32 numbers each.
    pub fn steps(self) -> usize {
        self.inner().div_ceil(SIDE)
    }

    pub fn cols(self) -> usize {
        if self.transposed { self.panels.inner() } else { self.panels.cols() }
    }

    /// Groups of 32 columns.
    pub fn groups(self) -> usize {
        self.cols().div_ceil(SIDE)
    }

    /// The pieces of one group's steps, cut into `room`, for `heights` blocks to be multiplied with. Many of them fetch the
    /// next group's numbers ahead; where they are few, cutting does.
    ///
    /// # Safety
    /// The unit must be there; `room` has `pieces` × [`PIECE`] lines a step.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub unsafe fn operand(
        self,
        group: usize,
        (steps, heights): (Range<usize>, usize),
        pieces: usize,
        room: &mut [Line],
    ) -> Operand {
        let step = pieces * PIECE;
        for (index, to) in steps.zip(room.chunks_exact_mut(step)) {
            if self.transposed {
                // SAFETY: the unit is there, and `to` is a step's lines.
                unsafe { self.transposed_block(group, (index, heights * AHEAD < NUMBERS), pieces, to) };
            } else {
                let block = self.block(group, index);
                fetch(block.as_ptr().cast::<Line>().wrapping_add(DISTANCE * NUMBERS));
                right_tiles(block, pieces, to);
            }
        }
        Operand { first: room.as_ptr(), step }
    }

    /// The rows of one panel that belong to a step; the last one may have fewer than 32.
    fn block(self, panel: usize, step: usize) -> &'a [PanelRow] {
        let rows = &self.panels.panel(panel)[step * SIDE..];
        &rows[..rows.len().min(SIDE)]
    }

    /// The pieces of W's block that reduces over the columns of the `step`-th panel, as a left operand: its rows are those
    /// of the panel. `fetches` a later step's numbers meanwhile.
    ///
    /// # Safety
    /// The processor has AVX512-BF16; `to` has `pieces` × [`PIECE`] lines.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn transposed_block(self, group: usize, (step, fetches): (usize, bool), pieces: usize, to: &mut [Line]) {
        let block = self.block(step, group);
        if fetches && step + DISTANCE < self.panels.panels() {
            // The next panels' blocks are far away in memory.
            fetch(self.block(step + DISTANCE, group).as_ptr().cast());
        }
        for tile in 0..2 {
            let rows = block.len().saturating_sub(tile * TILE).min(TILE);
            if rows > 0 {
                // SAFETY: rows of the block, 32 numbers each; the lines of `to` that a tile has in every piece.
                unsafe {
                    let from = block.as_ptr().add(tile * TILE).cast::<f32>();
                    left_tile(from, PANEL, rows, PANEL, pieces, to.as_mut_ptr().add(tile * TILE));
                }
            }
        }
    }

    /// What the next group will read, from where the `height`-th block of this one should fetch it.
    pub fn ahead(self, group: usize, steps: Range<usize>, height: usize) -> Ahead {
        let next = if group + 1 < self.groups() { group + 1 } else { 0 };
        if self.transposed {
            // A step's block lies a panel behind the one before it.
            let first = self.block(steps.start, next).as_ptr().cast::<Line>();
            let step = self.panels.inner() * size_of::<PanelRow>() / size_of::<Line>();
            return Ahead { first: first.wrapping_add((height * AHEAD).min(NUMBERS - AHEAD)), step };
        }
        let offset = (height * steps.len() * AHEAD).min(steps.len() * NUMBERS);
        let first = self.block(next, steps.start).as_ptr().cast::<Line>();
        Ahead { first: first.wrapping_add(offset), step: AHEAD }
    }
}
