//! Loops over plain slices. Nothing here knows a tape or a node; layers call it.

mod math;
mod product;

use rayon::prelude::*;

pub use math::{ActivationKind, activate, activate_backward, softmax_row};
pub use product::{Matrix, product, project, project_transposed};

/// Numbers of a slice below which a second thread costs more than it brings.
const PARALLEL_FROM: usize = 16 * 1024;

/// Runs `body` compiled for the widest vectors of this processor. `body` must be inlined into it to profit.
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
    let body = |a: &mut [f32], b: &[f32]| vectorised(|| a.iter_mut().zip(b).for_each(|(a, b)| *a += b));
    if a.len() < PARALLEL_FROM {
        return body(a, b);
    }
    a.par_chunks_mut(PARALLEL_FROM).zip(b.par_chunks(PARALLEL_FROM)).for_each(|(a, b)| body(a, b));
}

/// Calls `body` with every row of `out` (`cols` numbers each) and its index, on several threads where it is worth it.
pub fn for_rows(out: &mut [f32], cols: usize, body: impl Fn(usize, &mut [f32]) + Sync) {
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
