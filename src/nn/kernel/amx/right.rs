//! A frozen weight's panels as an operand: blocks of 32 × 32 are cut into pieces when they are multiplied. Pieces take half
//! as much memory again as the numbers do, and reading them takes longer than cutting.
//!
//! Forward a weight is the right operand: pairs of a panel's rows. Backward reduces over a panel's columns, which lie beside
//! one another in its rows as a *left* operand's do: there the weight stands on the left and the gradient on the right, so
//! that no block of a weight has to be turned round.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::ops::Range;

use super::block::{AHEAD, Ahead, Operand};
use super::pieces::{left_tile, right_tiles, right_tiles_of_bf16, widen};
use super::{Line, PIECE, PIECES, SIDE};
use crate::nn::Narrow;
use crate::nn::kernel::panels::{Kept, NarrowRow, PANEL, PanelRow, Panels};

const _: () = assert!(PANEL == SIDE, "a panel is as wide as a block");

/// Rows of a tile.
const TILE: usize = SIDE / 2;
/// Lines of a block's pieces.
pub const BLOCK: usize = PIECES * PIECE;
/// Lines of a block's numbers.
const NUMBERS: usize = SIDE * size_of::<PanelRow>() / size_of::<Line>();
/// The same of numbers of two bytes.
const NARROW: usize = SIDE * size_of::<NarrowRow>() / size_of::<Line>();

/// What is fetched ahead where nothing can be.
static NOTHING: Line = Line::ZERO;

/// Blocks between the one that is cut and the one that is fetched meanwhile.
const DISTANCE: usize = 2;

/// Fetches the `lines` of a block's numbers, which need not exist, into the second cache.
#[inline(always)]
fn fetch(block: *const Line, lines: usize) {
    for line in 0..lines {
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

    /// Into how many pieces a number of the panels can be cut: those after them are zero.
    pub fn pieces(self) -> usize {
        match self.panels.kept(0) {
            Kept::F32(_) | Kept::Stored => PIECES,
            Kept::Narrow(Narrow::F16, _) => 2,
            Kept::Narrow(Narrow::Bf16, _) => 1,
        }
    }

    /// The pieces of one group's steps, cut into `room`, for `heights` blocks to be multiplied with. Many of them fetch the
    /// next group's numbers ahead; where they are few, cutting does. In `wide` is room for numbers in f32.
    ///
    /// # Safety
    /// The unit must be there; `room` has `pieces` × [`PIECE`] lines a step.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    pub unsafe fn operand(
        self,
        group: usize,
        (steps, heights): (Range<usize>, usize),
        pieces: usize,
        (room, wide): (&mut [Line], &mut Vec<PanelRow>),
    ) -> Operand {
        let step = pieces * PIECE;
        if !self.transposed && matches!(self.panels.kept(group), Kept::Stored) {
            let rows = steps.start * SIDE..self.panels.inner().min(steps.end * SIDE);
            let rows = self.panels.wide(group, rows, wide);
            for (block, to) in rows.chunks(SIDE).zip(room.chunks_exact_mut(step)) {
                right_tiles(block, pieces, to);
            }
            return Operand { first: room.as_ptr(), step };
        }
        for (index, to) in steps.zip(room.chunks_exact_mut(step)) {
            if self.transposed {
                // SAFETY: the unit is there, and `to` is a step's lines.
                unsafe { self.transposed_block(group, (index, heights), pieces, (to, &mut *wide)) };
                continue;
            }
            let block = self.block(group, index);
            fetch(block.first().wrapping_add(DISTANCE * block.lines()), block.lines());
            match block {
                Kept::F32(block) => right_tiles(block, pieces, to),
                Kept::Narrow(Narrow::Bf16, block) => right_tiles_of_bf16(block, to),
                Kept::Narrow(Narrow::F16, block) => {
                    let mut wide = [PanelRow([0.0; PANEL]); SIDE];
                    widen(Narrow::F16, block, &mut wide);
                    right_tiles(&wide, pieces, to);
                }
                Kept::Stored => {}
            }
        }
        Operand { first: room.as_ptr(), step }
    }

    /// The rows of one panel that belong to a step; the last one may have fewer than 32.
    fn block(self, panel: usize, step: usize) -> Kept<'a> {
        let first = step * SIDE;
        match self.panels.kept(panel) {
            Kept::F32(rows) => Kept::F32(&rows[first..rows.len().min(first + SIDE)]),
            Kept::Narrow(kind, rows) => Kept::Narrow(kind, &rows[first..rows.len().min(first + SIDE)]),
            Kept::Stored => Kept::Stored,
        }
    }

    /// The pieces of W's block that reduces over the columns of the `step`-th panel, as a left operand: its rows are those
    /// of the panel. Where few blocks are multiplied with it, it fetches a later step's numbers meanwhile.
    ///
    /// # Safety
    /// The processor has AVX512-BF16; `to` has `pieces` × [`PIECE`] lines.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn transposed_block(
        self,
        group: usize,
        (step, heights): (usize, usize),
        pieces: usize,
        (to, wide): (&mut [Line], &mut Vec<PanelRow>),
    ) {
        let block = self.block(step, group);
        if heights * AHEAD < block.lines() && step + DISTANCE < self.panels.panels() {
            // The next panels' blocks are far away in memory.
            fetch(self.block(step + DISTANCE, group).first(), block.lines());
        }
        match block {
            // SAFETY: as the caller's.
            Kept::F32(block) => unsafe { left_tiles(block, pieces, to) },
            Kept::Narrow(Narrow::Bf16, block) => {
                // A row is a line of a tile as it is.
                for (to, row) in to.iter_mut().zip(block) {
                    *to = Line(row.0);
                }
            }
            Kept::Narrow(Narrow::F16, block) => {
                let mut wide = [PanelRow([0.0; PANEL]); SIDE];
                widen(Narrow::F16, block, &mut wide);
                // SAFETY: as the caller's.
                unsafe { left_tiles(&wide[..block.len()], pieces, to) }
            }
            Kept::Stored => {
                let rows = group * SIDE..self.panels.inner().min(group * SIDE + SIDE);
                // SAFETY: as the caller's.
                unsafe { left_tiles(self.panels.wide(step, rows, wide), pieces, to) }
            }
        }
    }

    /// What the next group will read, from where the `height`-th block of this one should fetch it.
    pub fn ahead(self, group: usize, steps: Range<usize>, height: usize) -> Ahead {
        let next = if group + 1 < self.groups() { group + 1 } else { 0 };
        if self.transposed {
            // A step's block lies a panel behind the one before it.
            let block = self.block(steps.start, next);
            let (lines, step) = (block.lines(), self.panels.inner() * block.lines() / SIDE);
            return Ahead {
                first: block.first().wrapping_add((height * AHEAD).min(lines.saturating_sub(AHEAD))),
                step,
            };
        }
        let block = self.block(next, steps.start);
        let offset = (height * steps.len() * AHEAD).min(steps.len() * block.lines());
        Ahead { first: block.first().wrapping_add(offset), step: AHEAD.min(block.lines()) }
    }
}

/// The pieces of up to 32 rows as a left operand's.
///
/// # Safety
/// The processor has AVX512-BF16; `to` has `pieces` × [`PIECE`] lines.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn left_tiles(block: &[PanelRow], pieces: usize, to: &mut [Line]) {
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

impl Kept<'_> {
    /// The first line of these rows; of what is read out of a file, a line that is there.
    fn first(&self) -> *const Line {
        match self {
            Self::F32(rows) => rows.as_ptr().cast(),
            Self::Narrow(_, rows) => rows.as_ptr().cast(),
            Self::Stored => &raw const NOTHING,
        }
    }

    /// Lines of a block of such rows.
    fn lines(&self) -> usize {
        match self {
            Self::F32(_) => NUMBERS,
            Self::Narrow(..) => NARROW,
            Self::Stored => 0,
        }
    }
}
