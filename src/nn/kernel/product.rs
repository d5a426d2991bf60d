//! Products of activations with weights, dealt out to threads, with what follows them done while the numbers are in
//! the first cache.

use std::cell::RefCell;

use rayon::prelude::*;

use super::epilogue::{Epilogue, Sink, made};
use super::math::{ActivationKind, activate_row};
use super::panels::{Kept, PANEL, PanelRow, Panels};
use super::tile::{After, Block, Finish, TALLEST, compute};

/// Multiplications below which a product stays on one thread.
const PARALLEL_FROM: usize = 256 * 1024;
/// Rows of a task: with 768 columns these are 150 KB, so they and a panel stay in a second cache of half a megabyte.
const ROWS: usize = 4 * TALLEST;
/// Tasks a thread should find, so that none waits long for the last.
const TASKS_A_THREAD: usize = 8;

/// left (m × k, row by row) · right (k × n), followed by `epilogue`.
pub fn product(left: &[f32], right: &Panels, epilogue: Epilogue<'_>) -> Vec<f32> {
    let rows = left.len() / right.inner().max(1);
    // SAFETY: `left` holds rows × inner numbers, and the tasks write every number of the result.
    unsafe { made(rows, right.cols(), epilogue, |sink| run(left, right, rows, sink)) }
}

/// sum += left · right.
///
/// # Panics
/// If `sum` has not the result's length.
pub fn product_add(left: &[f32], right: &Panels, sum: &mut [f32]) {
    let rows = left.len() / right.inner().max(1);
    assert_eq!(sum.len(), rows * right.cols(), "a sum of another shape");
    // SAFETY: as in `product`; each number is read as residual by the task that then overwrites it.
    unsafe { run(left, right, rows, &Sink::adding_to(sum, right.cols())) };
}

thread_local! {
    /// The numbers of a panel that is kept in two bytes a number, widened once a task.
    static WIDE: RefCell<Vec<PanelRow>> = const { RefCell::new(Vec::new()) };
}

/// What all tasks of one product share.
struct Shared<'a> {
    left: &'a [f32],
    right: &'a Panels,
    rows: usize,
    sink: &'a Sink,
    rows_a_task: usize,
    panels_a_task: usize,
    columns_of_tasks: usize,
}

/// # Safety
/// `left` holds rows × inner numbers; the sink's arrays are as long as [`Epilogue`] says.
unsafe fn run(left: &[f32], right: &Panels, rows: usize, sink: &Sink) {
    if rows == 0 || right.cols() == 0 {
        return;
    }
    let threads = rayon::current_num_threads();
    let one = threads == 1 || rows * right.cols() * right.inner() < PARALLEL_FROM;
    let rows_a_task = if one { rows } else { ROWS };
    let heights = rows.div_ceil(rows_a_task);
    let groups = if one { 1 } else { (TASKS_A_THREAD * threads).div_ceil(heights).min(right.panels()) };
    let panels_a_task = right.panels().div_ceil(groups);
    let columns_of_tasks = right.panels().div_ceil(panels_a_task);
    let shared = Shared { left, right, rows, sink, rows_a_task, panels_a_task, columns_of_tasks };
    let tasks = heights * columns_of_tasks;
    if tasks == 1 {
        return shared.task(0);
    }
    (0..tasks).into_par_iter().with_max_len(1).for_each(|task| shared.task(task));
}

impl Shared<'_> {
    fn task(&self, task: usize) {
        let first_row = task / self.columns_of_tasks * self.rows_a_task;
        let first = task % self.columns_of_tasks * self.panels_a_task;
        let panels = first..self.right.panels().min(first + self.panels_a_task);
        if let Kept::F32(rows) = self.right.kept(first) {
            // The panels after the first lie behind it.
            return self.block(first_row, first, panels.len(), rows.as_ptr());
        }
        WIDE.with_borrow_mut(|room| {
            for panel in panels {
                let rows = self.right.wide(panel, 0..self.right.inner(), room);
                self.block(first_row, panel, 1, rows.as_ptr());
            }
        });
    }

    /// The task's rows from `first_row` on against some `panels` from the `first` on, whose rows are at `right`.
    fn block(&self, first_row: usize, first: usize, panels: usize, right: *const PanelRow) {
        let (inner, stride) = (self.right.inner(), self.right.cols());
        let (rows, first_col) = (self.rows_a_task.min(self.rows - first_row), first * PANEL);
        let cols = (panels * PANEL).min(stride - first_col);
        let offset = first_row * stride + first_col;
        // SAFETY: the task's rows and columns are inside the arrays by the contract of `run`, and its own.
        unsafe {
            let Sink { out, slope, bias, residual, activation, .. } = *self.sink;
            let finish = Finish {
                scale: 1.0,
                bias: if bias.is_null() { bias } else { bias.add(first_col) },
                residual: if residual.is_null() { residual } else { residual.add(offset) },
            };
            let block = Block {
                rows,
                inner,
                left: self.left.as_ptr().add(first_row * inner),
                left_row: inner,
                left_col: 1,
                panels: right,
                panel_step: inner,
                cols,
                out: out.add(offset),
                out_row: stride,
                finish,
            };
            let Some(kind) = activation else { return compute(&block, &()) };
            let slope = if slope.is_null() { slope } else { slope.add(offset) };
            compute(&block, &Activate { kind, out: block.out, slope, stride });
        }
    }
}

/// Applies an activation to every finished strip.
struct Activate {
    kind: ActivationKind,
    out: *mut f32,
    slope: *mut f32,
    stride: usize,
}

impl After for Activate {
    #[inline(always)]
    fn strip(&self, first_row: usize, rows: usize, first_col: usize, cols: usize) {
        for row in first_row..first_row + rows {
            let place = row * self.stride + first_col;
            // SAFETY: the strip is this task's own and written; a slope not yet written is only written.
            unsafe {
                let out = std::slice::from_raw_parts_mut(self.out.add(place), cols);
                let slope = if self.slope.is_null() { self.slope } else { self.slope.add(place) };
                activate_row(self.kind, out, slope);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::Narrow;
    use crate::nn::narrow::narrow;

    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| (((i + salt) * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
    }

    /// (m, k, n): around the borders of tiles, panels and tasks, and of one thread's share.
    const SHAPES: [(usize, usize, usize); 9] = [
        (1, 1, 1),
        (3, 5, 2),
        (12, 16, 32),
        (13, 17, 33),
        (25, 64, 31),
        (97, 70, 65),
        (200, 130, 100),
        (11, 768, 96),
        (1, 300, 1500),
    ];

    /// The smallest alone where an interpreter runs them.
    fn shapes() -> impl Iterator<Item = (usize, usize, usize)> {
        SHAPES.into_iter().filter(|(m, k, n)| !cfg!(miri) || m * k * n < 10_000)
    }

    #[test]
    fn products_are_sums_of_products() {
        for (m, k, n) in shapes() {
            let (x, w, bias, residual) = (numbers(m * k, 0), numbers(n * k, 1), numbers(n, 2), numbers(m * n, 3));
            let panels = Panels::of_transposed(&w, k, n);
            let epilogue = Epilogue { bias: Some(&bias), residual: Some(&residual), ..Epilogue::default() };
            let y = product(&x, &panels, epilogue);
            let mut sum = residual.clone();
            product_add(&x, &panels, &mut sum);
            for (at, (&y, &sum)) in y.iter().zip(&sum).enumerate() {
                let (row, col) = (at / n, at % n);
                let terms = || (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[col * k + i]));
                let exact = terms().sum::<f64>() + f64::from(residual[at]);
                // Each of k roundings is at most 2⁻²⁴ of a partial sum, and their signs are a random walk's.
                let sizes = terms().map(f64::abs).sum::<f64>() + 1.0;
                let tolerance = 2f64.powi(-24) * sizes * (4.0 + (k as f64).sqrt());
                assert!((f64::from(sum) - exact).abs() < tolerance, "{m} {k} {n} at {at}");
                assert!((f64::from(y) - exact - f64::from(bias[col])).abs() < tolerance, "{m} {k} {n} at {at}");
            }
        }
    }

    #[test]
    fn narrow_weights_give_the_bits_of_the_same_numbers_in_f32() {
        for (m, k, n) in shapes() {
            let (x, bias, residual) = (numbers(m * k, 0), numbers(n, 2), numbers(m * n, 3));
            for kind in [Narrow::Bf16, Narrow::F16] {
                let (bits, w) = narrow(kind, &numbers(n * k, 1));
                let (wide, own) = (Panels::of_transposed(&w, k, n), Panels::of_transposed_narrow(&bits, kind, k, n));
                let all = |panels: &Panels| {
                    let gelu = Epilogue { activation: Some(ActivationKind::Gelu), ..Epilogue::default() };
                    let biased = Epilogue { bias: Some(&bias), residual: Some(&residual), ..Epilogue::default() };
                    [product(&x, panels, gelu), product(&x, panels, biased)]
                };
                assert_eq!(all(&own), all(&wide), "{kind:?} {m} {k} {n}");
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone() {
        for (m, k, n) in shapes() {
            let (x, w) = (numbers(m * k, 5), numbers(n * k, 6));
            let panels = Panels::of_transposed(&w, k, n);
            let gelu = || Epilogue { activation: Some(ActivationKind::Gelu), ..Epilogue::default() };
            let all = product(&x, &panels, gelu());
            for row in [0, m / 2, m - 1] {
                let one = product(&x[row * k..][..k], &panels, gelu());
                assert_eq!(one, all[row * n..][..n], "{m} {k} {n} row {row}");
            }
        }
    }
}
