//! Loops over plain slices. Nothing here knows a tape or a node; layers call it.

#[cfg(target_arch = "x86_64")]
mod amx;
mod epilogue;
mod frozen;
mod gate;
#[cfg(target_arch = "x86_64")]
mod half;
mod math;
mod panels;
mod product;
#[cfg(test)]
mod tests;
mod tile;
mod transpose;

use std::mem::MaybeUninit;

use rayon::prelude::*;

pub use epilogue::Epilogue;
pub use frozen::Frozen;
pub use gate::{gate_row, gate_row_backward};
pub use math::{ActivationKind, activate, activate_backward, exp, secant, tanh, value};
pub use panels::{PANEL, PanelRow, Scratch};
pub use tile::{Block, Finish, compute};

/// Whether this processor multiplies in bf16.
pub fn multiplies_bf16() -> bool {
    #[cfg(target_arch = "x86_64")]
    return amx::available() || half::available();
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Numbers of a slice below which a second thread costs more than it brings.
const PARALLEL_FROM: usize = 16 * 1024;

/// Runs `body` compiled for the widest vectors of this processor. `body` must be inlined into it to profit, and so must
/// what it calls: loops in it are loops, since a closure handed to an iterator is compiled by itself, for any processor.
#[inline(always)]
pub fn vectorised<R>(body: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(body)
}

/// Sum of products in 16 fixed lanes: the same bits whatever the vector width.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a_body, a_tail) = a.as_chunks::<16>();
    let (b_body, b_tail) = b.as_chunks::<16>();
    for (a, b) in a_body.iter().zip(b_body) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    for (lane, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
        lanes[lane] += a * b;
    }
    fold(lanes)
}

/// Sum in 16 fixed lanes.
#[inline(always)]
pub fn sum(a: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (body, tail) = a.as_chunks::<16>();
    for a in body {
        for lane in 0..16 {
            lanes[lane] += a[lane];
        }
    }
    for (lane, a) in tail.iter().enumerate() {
        lanes[lane] += a;
    }
    fold(lanes)
}

/// The largest number, in 16 lanes; −∞ of none.
#[inline(always)]
pub fn largest(a: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; 16];
    let (body, tail) = a.as_chunks::<16>();
    for a in body {
        for lane in 0..16 {
            lanes[lane] = if a[lane] > lanes[lane] { a[lane] } else { lanes[lane] };
        }
    }
    for (lane, &a) in lanes.iter_mut().zip(tail) {
        *lane = if a > *lane { a } else { *lane };
    }
    lanes.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
fn fold(mut lanes: [f32; 16]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
    }
    lanes[0]
}

/// a += b.
pub fn add_assign(a: &mut [f32], b: &[f32]) {
    pairwise(a, b, |a, b| {
        vectorised(
            #[inline(always)]
            || add_assign_here(a, b),
        );
    });
}

/// a += b, to be called inside [`vectorised`].
#[inline(always)]
pub fn add_assign_here(a: &mut [f32], b: &[f32]) {
    for (a, b) in a.iter_mut().zip(b) {
        *a += b;
    }
}

/// a *= b.
pub fn multiply_assign(a: &mut [f32], b: &[f32]) {
    pairwise(a, b, |a, b| {
        vectorised(
            #[inline(always)]
            || {
                for (a, b) in a.iter_mut().zip(b) {
                    *a *= b;
                }
            },
        );
    });
}

fn pairwise(a: &mut [f32], b: &[f32], body: impl Fn(&mut [f32], &[f32]) + Sync) {
    if a.len() < PARALLEL_FROM {
        return body(a, b);
    }
    a.par_chunks_mut(PARALLEL_FROM).zip(b.par_chunks(PARALLEL_FROM)).for_each(|(a, b)| body(a, b));
}

/// Sum of (a − center)² in 16 fixed lanes.
#[inline(always)]
pub fn sum_of_squares(a: &[f32], center: f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (body, tail) = a.as_chunks::<16>();
    for a in body {
        for lane in 0..16 {
            let deviation = a[lane] - center;
            lanes[lane] += deviation * deviation;
        }
    }
    for (lane, a) in tail.iter().enumerate() {
        let deviation = a - center;
        lanes[lane] += deviation * deviation;
    }
    fold(lanes)
}

/// Σ a (b − center) in 16 fixed lanes.
#[inline(always)]
pub fn dot_with_deviation(a: &[f32], b: &[f32], center: f32) -> f32 {
    let mut lanes = [0.0f32; 16];
    let (a_body, a_tail) = a.as_chunks::<16>();
    let (b_body, b_tail) = b.as_chunks::<16>();
    for (a, b) in a_body.iter().zip(b_body) {
        for lane in 0..16 {
            lanes[lane] += a[lane] * (b[lane] - center);
        }
    }
    for (lane, (a, b)) in a_tail.iter().zip(b_tail).enumerate() {
        lanes[lane] += a * (b - center);
    }
    fold(lanes)
}

/// The numbers `body(row, numbers of the row)` writes, `cols` a row, on several threads where it is worth it. Clearing
/// them first would cost a pass over memory.
///
/// # Safety
/// `body` must write every number that it is given.
pub unsafe fn made_rows(rows: usize, cols: usize, body: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * cols);
    each_row(&mut out.spare_capacity_mut()[..rows * cols], cols, body);
    // SAFETY: the caller's contract.
    unsafe { out.set_len(rows * cols) };
    out
}

/// Calls `body` with every row of `out` (`cols` numbers each) and its index, on several threads where it is worth it.
pub fn for_rows(out: &mut [f32], cols: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
    each_row(out, cols, body);
}

fn each_row<T: Send>(out: &mut [T], cols: usize, body: impl Fn(usize, &mut [T]) + Sync) {
    if cols == 0 {
        return;
    }
    if out.len() < PARALLEL_FROM {
        return out.chunks_exact_mut(cols).enumerate().for_each(|(row, out)| body(row, out));
    }
    let rows = PARALLEL_FROM.div_ceil(cols);
    out.par_chunks_mut(rows * cols).enumerate().for_each(|(chunk, out)| {
        for (row, out) in out.chunks_exact_mut(cols).enumerate() {
            body(chunk * rows + row, out);
        }
    });
}
