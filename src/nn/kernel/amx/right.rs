//! A frozen weight's panels as the right operand: blocks of 32 × 32 are cut into pieces when they are multiplied. Pieces
//! take half as much memory again as the numbers do, and reading them takes longer than cutting.

use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
use std::ops::Range;

use super::block::{AHEAD, Operand};
use super::pieces::{right_tiles, right_tiles_of_bf16, widen};
use super::{Line, PIECE, PIECES, SIDE};
use crate::nn::Narrow;
use crate::nn::kernel::panels::{Kept, NarrowRow, PANEL, PanelRow, Panels};
use crate::nn::kernel::transpose::block_avx512;

const _: () = assert!(PANEL == SIDE, "a panel is as wide as a block");

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

    /// The pieces of one group's steps, cut into `room`; in `wide` is room for numbers in f32.
    ///
    /// # Safety
    /// The unit must be there; `room` has `pieces` × [`PIECE`] lines a step.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub unsafe fn operand(
        self,
        group: usize,
        steps: Range<usize>,
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
                // SAFETY: the processor has AVX-512.
                unsafe { self.transposed_block(index, group, pieces, (to, &mut *wide)) };
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

    /// The pieces of W's block that reduces over `panel`'s columns.
    ///
    /// # Safety
    /// The processor has AVX-512.
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn transposed_block(
        self,
        panel: usize,
        step: usize,
        pieces: usize,
        (to, wide): (&mut [Line], &mut Vec<PanelRow>),
    ) {
        let block = self.block(panel, step);
        if panel + 1 < self.panels.panels() {
            // The next panel's block is far away in memory.
            fetch(self.block(panel + 1, step).first(), block.lines());
        }
        let mut whole = [PanelRow([0.0; PANEL]); SIDE];
        let from = match block {
            Kept::F32(block) if block.len() == SIDE => block.as_ptr(),
            Kept::F32(block) => {
                whole[..block.len()].copy_from_slice(block);
                whole.as_ptr()
            }
            Kept::Narrow(kind, block) => {
                widen(kind, block, &mut whole);
                whole.as_ptr()
            }
            Kept::Stored => {
                let first = step * SIDE;
                let block = self.panels.wide(panel, first..self.panels.inner().min(first + SIDE), wide);
                whole[..block.len()].copy_from_slice(block);
                whole.as_ptr()
            }
        };
        let mut turned = [PanelRow([0.0; PANEL]); SIDE];
        for (row, col) in [(0, 0), (0, 16), (16, 0), (16, 16)] {
            // SAFETY: corners of 16 × 16 numbers of two blocks of 32 × 32.
            unsafe {
                let from = from.cast::<f32>().add(row * PANEL + col);
                block_avx512(from, PANEL, turned.as_mut_ptr().cast::<f32>().add(col * PANEL + row), PANEL);
            }
        }
        right_tiles(&turned, pieces, to);
    }

    /// What the next group will read, from where the `height`-th block of this one should fetch it.
    pub fn ahead(self, group: usize, steps: Range<usize>, height: usize) -> *const Line {
        if self.transposed || group + 1 == self.groups() {
            return self.panels.kept(0).first();
        }
        let block = self.block(group + 1, steps.start);
        block.first().wrapping_add((height * steps.len() * AHEAD).min(steps.len() * block.lines()))
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
