//! Products of activations with a frozen weight, dealt out to threads.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::prelude::*;

use super::block::{Block, Operand, Products, multiply};
use super::pieces::{left_tile, right_tiles};
use super::right::{BLOCK, Right};
use super::{Line, PIECE, PIECES, SIDE, Tiles};
use crate::nn::Precision;
use crate::nn::kernel::epilogue::{Epilogue, Sink, made};
use crate::nn::kernel::panels::{PANEL, PanelRow, Panels};
use crate::nn::kernel::transpose::block_avx512;

/// Multiplications below which a product stays on one thread.
const PARALLEL_FROM: usize = 256 * 1024;
/// Rows of a tile.
const TILE: usize = SIDE / 2;
/// Rows of a task at most: with the steps of a chunk their pieces are 1.2 MB, which stay in a second cache of two.
const ROWS: usize = 256;
/// Rows that are worth a task of their own.
const SHARE: usize = 3 * SIDE;
/// Steps of the inner dimension taken at once: 768 numbers.
const CHUNK: usize = 24;
/// Tasks a thread should find, so that none waits long for the last.
const TASKS_A_THREAD: usize = 8;
/// The same where the inner dimension is taken in chunks: every task cuts its rows anew then.
const LONG_TASKS_A_THREAD: usize = 3;
/// Groups of columns of a task at least: a thread cuts rows into pieces that another one has cut as well.
const PANELS: usize = 2;

/// left (rows × inner) · the panels' matrix, followed by `epilogue`.
pub fn product(left: &[f32], panels: &Panels, precision: Precision, epilogue: Epilogue<'_>) -> Vec<f32> {
    let rows = left.len() / panels.inner().max(1);
    let right = Right { panels, transposed: false };
    // SAFETY: the tasks write every row and column of the result.
    unsafe { made(rows, panels.cols(), epilogue, |sink| run(left, rows, right, precision, sink)) }
}

/// left (rows × cols) · the matrix's transpose, added to `sum` where there is one.
pub fn product_transposed(left: &[f32], panels: &Panels, precision: Precision, sum: Option<Vec<f32>>) -> Vec<f32> {
    let rows = left.len() / panels.cols().max(1);
    let right = Right { panels, transposed: true };
    match sum {
        Some(mut sum) => {
            assert_eq!(sum.len(), rows * panels.inner(), "a sum of another shape");
            run(left, rows, right, precision, &Sink::adding_to(&mut sum, panels.inner()));
            sum
        }
        // SAFETY: as in `product`.
        None => unsafe {
            made(rows, panels.inner(), Epilogue::default(), |sink| run(left, rows, right, precision, sink))
        },
    }
}

/// What a thread works with, kept from product to product.
#[derive(Default)]
struct Scratch {
    /// What `left` holds: the product, its first row and its first step.
    holds: (u64, usize, usize),
    /// Pieces of rows, and of a weight: left and right operand but for transposed products, where it is the other way.
    left: Vec<Line>,
    right: Vec<Line>,
    /// Numbers of the right operand that are not kept in f32.
    wide: Vec<PanelRow>,
    sums: Vec<Block>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Numbers products, so that a thread knows what its scratch holds.
static PRODUCTS: AtomicU64 = AtomicU64::new(1);

fn room<T: Clone>(vec: &mut Vec<T>, len: usize, fill: T) -> &mut [T] {
    if vec.len() < len {
        vec.resize(len, fill);
    }
    &mut vec[..len]
}

fn run(left: &[f32], rows: usize, right: Right<'_>, precision: Precision, sink: &Sink) {
    assert!(super::available(), "a product on a unit that is not there");
    if rows == 0 || right.cols() == 0 {
        return;
    }
    let product = PRODUCTS.fetch_add(1, Ordering::Relaxed);
    let (panels, threads) = (right.groups(), rayon::current_num_threads());
    let alone = threads == 1 || rows * right.inner() * right.cols() < PARALLEL_FROM;
    // A thread with rows of its own cuts no others, but all columns: worth it where the rows are more.
    let shares = if alone || rows < right.cols() { 1 } else { threads.min(rows / SHARE) };
    let row_groups = rows.div_ceil(ROWS).max(shares);
    let rows_a_task = rows.div_ceil(row_groups).next_multiple_of(SIDE);
    let each = if right.steps() > CHUNK { LONG_TASKS_A_THREAD } else { TASKS_A_THREAD };
    let wanted = if alone { 1 } else { (each * threads).div_ceil(row_groups) };
    let wanted = if alone { 1 } else { wanted.min(panels / PANELS).max(1).next_multiple_of(threads) };
    let panels_a_task = panels.div_ceil(wanted);
    let panel_groups = panels.div_ceil(panels_a_task);
    let task = |index: usize| {
        let (first_row, first_panel) = (index / panel_groups * rows_a_task, index % panel_groups * panels_a_task);
        let part = Part {
            product,
            left,
            right,
            precision,
            sink,
            rows: first_row..rows.min(first_row + rows_a_task),
            panels: first_panel..panels.min(first_panel + panels_a_task),
        };
        SCRATCH.with_borrow_mut(|scratch| {
            // SAFETY: the unit is there; rows and panels are inside the result, and this task's own.
            unsafe { part.compute(scratch) }
        });
    };
    let tasks = rows.div_ceil(rows_a_task) * panel_groups;
    if alone || tasks == 1 {
        return (0..tasks).for_each(task);
    }
    (0..tasks).into_par_iter().with_max_len(1).for_each(task);
}

/// Some rows and columns of a product.
struct Part<'a> {
    /// A number that no other product of this process has.
    product: u64,
    left: &'a [f32],
    right: Right<'a>,
    precision: Precision,
    sink: &'a Sink,
    rows: Range<usize>,
    panels: Range<usize>,
}

impl Part<'_> {
    /// # Safety
    /// The unit must be there; the part's places in the sink must be nobody else's.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn compute(&self, scratch: &mut Scratch) {
        let steps = self.right.steps();
        // Of the rows, and of the weight.
        let (pieces, own) = match self.precision {
            Precision::F32 => (PIECES, self.right.pieces()),
            Precision::Bf16 => (1, 1),
        };
        let products = if self.right.transposed { Products::of(own, pieces) } else { Products::of(pieces, own) };
        debug_assert!(pieces.max(own) * PIECE <= BLOCK);
        let heights = self.rows.len().div_ceil(SIDE);
        let several = steps > CHUNK;
        let Scratch { holds, left, right, wide, sums } = scratch;
        let sums = room(sums, if several { heights * self.panels.len() } else { 2 }, Block::ZERO);
        // SAFETY: the caller's contract.
        let tiles = unsafe { Tiles::set_up() };
        for first in (0..steps).step_by(CHUNK) {
            let chunk = first..steps.min(first + CHUNK);
            let step = pieces * PIECE;
            let left = room(left, heights * chunk.len() * step, Line::ZERO);
            let right = room(right, chunk.len() * own * PIECE, Line::ZERO);
            // SAFETY: rows, steps and panels are inside the operands; scratch is as long as they need.
            unsafe {
                // The task before this one often had the same rows.
                if std::mem::replace(holds, (self.product, self.rows.start, first))
                    != (self.product, self.rows.start, first)
                {
                    match self.right.transposed {
                        false => self.split(chunk.clone(), pieces, left),
                        true => self.split_turned(chunk.clone(), pieces, left),
                    }
                }
                // A block is finished while the next one is multiplied: what tiles have just stored cannot be read yet.
                let mut ready = None;
                for panel in self.panels.clone() {
                    let operand = self.right.operand(panel, (chunk.clone(), heights), own, (&mut *right, &mut *wide));
                    for height in 0..heights {
                        let rows = SIDE.min(self.rows.len() - height * SIDE);
                        let number = (panel - self.panels.start) * heights + height;
                        let index = if several { number } else { number % 2 };
                        let rows_here = Operand { first: left.as_ptr().add(height * chunk.len() * step), step };
                        let sum = (&mut sums[index], first > 0);
                        let next = self.right.ahead(panel, chunk.clone(), height);
                        let (operands, lines) = match self.right.transposed {
                            false => ((rows_here, operand), rows),
                            true => ((operand, rows_here), SIDE.min(self.right.cols() - panel * SIDE)),
                        };
                        multiply(&tiles, products, operands, next, chunk.len(), lines, sum);
                        if chunk.end == steps
                            && let Some((index, height, rows, panel)) = ready.replace((index, height, rows, panel))
                        {
                            self.finish(&mut sums[index], height, rows, panel);
                        }
                    }
                }
                if let Some((index, height, rows, panel)) = ready {
                    self.finish(&mut sums[index], height, rows, panel);
                }
            }
        }
    }

    /// The pieces of this part's rows in the inner dimension's `chunk`: for each 32 rows, step after step.
    ///
    /// # Safety
    /// As [`Part::compute`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn split(&self, chunk: Range<usize>, pieces: usize, to: &mut [Line]) {
        let inner = self.right.inner();
        let step = pieces * PIECE;
        for (height, to) in to.chunks_exact_mut(chunk.len() * step).enumerate() {
            for tile in 0..2 {
                let first = self.rows.start + height * SIDE + tile * TILE;
                let rows = self.rows.end.saturating_sub(first).min(TILE);
                if rows == 0 {
                    continue;
                }
                for (index, to) in chunk.clone().zip(to.chunks_exact_mut(step)) {
                    let cols = SIDE.min(inner - index * SIDE);
                    // SAFETY: these rows and columns are inside the left operand.
                    unsafe {
                        let from = self.left.as_ptr().add(first * inner + index * SIDE);
                        left_tile(from, inner, rows, cols, pieces, to.as_mut_ptr().add(tile * TILE));
                    }
                }
            }
        }
    }

    /// The same as a right operand's: of 32 rows each, turned round.
    ///
    /// # Safety
    /// As [`Part::compute`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn split_turned(&self, chunk: Range<usize>, pieces: usize, to: &mut [Line]) {
        let inner = self.right.inner();
        let step = pieces * PIECE;
        for (height, to) in to.chunks_exact_mut(chunk.len() * step).enumerate() {
            let first = self.rows.start + height * SIDE;
            let rows = self.rows.end.saturating_sub(first).min(SIDE);
            for (index, to) in chunk.clone().zip(to.chunks_exact_mut(step)) {
                let cols = SIDE.min(inner - index * SIDE);
                let mut turned = [PanelRow([0.0; PANEL]); SIDE];
                let start = first * inner + index * SIDE;
                if rows == SIDE && cols == SIDE {
                    // SAFETY: 32 rows of 32 numbers inside the left operand.
                    unsafe { turn(self.left.as_ptr().add(start), inner, turned.as_mut_ptr().cast()) };
                } else {
                    for row in 0..rows {
                        for (col, x) in self.left[start + row * inner..][..cols].iter().enumerate() {
                            turned[col].0[row] = *x;
                        }
                    }
                }
                right_tiles(&turned, pieces, to);
            }
        }
    }

    /// # Safety
    /// As [`Part::compute`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn finish(&self, sum: &mut Block, height: usize, rows: usize, panel: usize) {
        let first_col = panel * SIDE;
        let cols = SIDE.min(self.right.cols() - first_col);
        if self.right.transposed {
            let mut turned = Block::ZERO;
            // SAFETY: two blocks of 32 × 32.
            unsafe { turn(sum.0.as_ptr().cast(), SIDE, turned.0.as_mut_ptr().cast()) };
            *sum = turned;
        }
        // SAFETY: the caller's contract.
        unsafe { self.sink.store(&mut sum.0, (self.rows.start + height * SIDE, rows), (first_col, cols)) }
    }
}

/// Turns 32 × 32 numbers round; those written lie behind one another.
///
/// # Safety
/// The processor has AVX-512; rows of 32 numbers must be readable `stride` apart, and 1024 numbers writable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn turn(from: *const f32, stride: usize, to: *mut f32) {
    for (row, col) in [(0, 0), (0, TILE), (TILE, 0), (TILE, TILE)] {
        // SAFETY: corners of 16 × 16 numbers of both.
        unsafe { block_avx512(from.add(row * stride + col), stride, to.add(col * SIDE + row), SIDE) };
    }
}
