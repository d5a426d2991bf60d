//! Products in bf16 on the vector units (AVX512-BF16): pairs of the inner dimension are multiplied and added in f32.

use std::arch::x86_64::*;

use rayon::prelude::*;

use super::epilogue::{Epilogue, Sink, made};
use super::for_rows;
use super::panels::{PANEL, Panels};

/// Rows of a tile: 12 × 32 sums fill 24 of 32 registers.
const TALLEST: usize = 12;
/// Rows of a task.
const ROWS: usize = PANEL;

/// A pair of the inner dimension for each of a panel's columns: the first in the lower half of a number.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Pairs([u32; PANEL]);

/// [`Panels`] rounded to bf16, of half their size.
#[derive(Debug, Clone)]
pub struct HalfPanels {
    /// Panel after panel, each a row for two rows of the inner dimension.
    pairs: Vec<Pairs>,
    inner: usize,
    cols: usize,
}

/// Whether this processor has the instructions.
pub fn available() -> bool {
    std::arch::is_x86_feature_detected!("avx512f") && std::arch::is_x86_feature_detected!("avx512bf16")
}

impl HalfPanels {
    /// # Panics
    /// Where the instructions are not [`available`].
    pub fn new(panels: &Panels) -> Self {
        assert!(available(), "a product in bf16 where there is none");
        let (inner, cols) = (panels.inner(), panels.cols());
        let bits = |number: f32| u32::from(::half::bf16::from_f32(number).to_bits());
        let mut pairs = vec![Pairs([0; PANEL]); inner.div_ceil(2) * panels.panels()];
        pairs.par_chunks_mut(inner.div_ceil(2).max(1)).enumerate().for_each(|(panel, pairs)| {
            let mut room = Vec::new();
            for (pair, rows) in pairs.iter_mut().zip(panels.wide(panel, 0..inner, &mut room).chunks(2)) {
                for (col, pair) in pair.0.iter_mut().enumerate() {
                    *pair = bits(rows[0].0[col]) | rows.get(1).map_or(0, |row| bits(row.0[col]) << 16);
                }
            }
        });
        Self { pairs, inner, cols }
    }

    fn steps(&self) -> usize {
        self.inner.div_ceil(2)
    }

    /// left (rows × inner) rounded to bf16 · these panels, followed by `epilogue`.
    pub fn product(&self, left: &[f32], epilogue: Epilogue<'_>) -> Vec<f32> {
        let rows = left.len() / self.inner.max(1);
        let left = self.rounded(left, rows);
        // SAFETY: the tasks write every row and column of the result.
        unsafe {
            made(rows, self.cols, epilogue, |sink| {
                let groups = rows.div_ceil(ROWS);
                let tasks = groups * self.cols.div_ceil(PANEL);
                (0..tasks).into_par_iter().with_min_len(groups.div_ceil(8)).for_each(|task| {
                    let (panel, first_row) = (task / groups, task % groups * ROWS);
                    self.block(&left, panel, first_row, ROWS.min(rows - first_row), sink);
                });
            })
        }
    }

    /// Each row as pairs.
    fn rounded(&self, left: &[f32], rows: usize) -> Vec<u32> {
        let mut pairs = vec![0.0_f32; rows * self.steps()];
        for_rows(&mut pairs, self.steps(), |row, pairs| {
            // SAFETY: the instructions are there since this was made.
            unsafe { round(&left[row * self.inner..][..self.inner], pairs) }
        });
        bytemuck::cast_vec(pairs)
    }

    /// # Safety
    /// Rows and panel are inside the result, and no other thread's.
    unsafe fn block(&self, left: &[u32], panel: usize, first_row: usize, rows: usize, sink: &Sink) {
        let steps = self.steps();
        let pairs = &self.pairs[panel * steps..][..steps];
        let mut sums = [[0.0; PANEL]; ROWS];
        for first in (0..rows).step_by(TALLEST) {
            let here = TALLEST.min(rows - first);
            let left = &left[(first_row + first) * steps..][..here * steps];
            let sums = &mut sums[first..first + here];
            // SAFETY: as many rows as each says, and the instructions are there since this was made.
            unsafe {
                match here {
                    12 => tile::<12>(left, pairs, sums),
                    8.. => halves::<8>(left, pairs, sums),
                    4.. => halves::<4>(left, pairs, sums),
                    _ => halves::<1>(left, pairs, sums),
                }
            }
        }
        let first_col = panel * PANEL;
        // SAFETY: the caller's contract.
        unsafe { sink.store(&mut sums, (first_row, rows), (first_col, PANEL.min(self.cols - first_col))) }
    }
}

/// Tiles of `HEIGHT` rows, and single rows for what is left. Every sum is one chain whatever the height.
#[target_feature(enable = "avx512f,avx512bf16")]
fn halves<const HEIGHT: usize>(left: &[u32], pairs: &[Pairs], sums: &mut [[f32; PANEL]]) {
    let steps = pairs.len();
    let mut left = left;
    let mut sums = sums;
    while sums.len() >= HEIGHT {
        let (now, later) = sums.split_at_mut(HEIGHT);
        tile::<HEIGHT>(&left[..HEIGHT * steps], pairs, now);
        (left, sums) = (&left[HEIGHT * steps..], later);
    }
    for (row, sums) in sums.chunks_mut(1).enumerate() {
        tile::<1>(&left[row * steps..][..steps], pairs, sums);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn tile<const HEIGHT: usize>(left: &[u32], pairs: &[Pairs], sums: &mut [[f32; PANEL]]) {
    let steps = pairs.len();
    assert!(left.len() == HEIGHT * steps && sums.len() == HEIGHT);
    let mut own = [[_mm512_setzero_ps(); 2]; HEIGHT];
    for (step, pairs) in pairs.iter().enumerate() {
        // SAFETY: 32 numbers; all types are 64 bytes of any bits.
        let (first, second) = unsafe {
            let at = pairs.0.as_ptr();
            (bf16(_mm512_load_si512(at.cast())), bf16(_mm512_load_si512(at.add(16).cast())))
        };
        for (row, sums) in own.iter_mut().enumerate() {
            // SAFETY: checked above for every row and step.
            let pair = unsafe { *left.get_unchecked(row * steps + step) };
            let pair = bf16(_mm512_set1_epi32(pair.cast_signed()));
            sums[0] = _mm512_dpbf16_ps(sums[0], pair, first);
            sums[1] = _mm512_dpbf16_ps(sums[1], pair, second);
        }
    }
    for (own, sums) in own.iter().zip(sums) {
        // SAFETY: 32 numbers.
        unsafe {
            _mm512_storeu_ps(sums.as_mut_ptr(), own[0]);
            _mm512_storeu_ps(sums.as_mut_ptr().add(16), own[1]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bf16(bits: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes of any bits.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(bits) }
}

/// Numbers rounded to the nearest bf16, two in each place of `pairs`.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
fn round(numbers: &[f32], pairs: &mut [f32]) {
    let mask = |left: usize| if left >= 16 { u16::MAX } else { (1 << left) - 1 };
    for (index, pairs) in pairs.chunks_mut(16).enumerate() {
        let from = &numbers[index * 32..];
        // SAFETY: masked lanes are not read or written; both types are 64 bytes of any bits.
        unsafe {
            let low = _mm512_maskz_loadu_ps(mask(from.len()), from.as_ptr());
            let high = _mm512_maskz_loadu_ps(mask(from.len().saturating_sub(16)), from.as_ptr().wrapping_add(16));
            let rounded = std::mem::transmute::<__m512bh, __m512>(_mm512_cvtne2ps_pbh(high, low));
            _mm512_mask_storeu_ps(pairs.as_mut_ptr(), mask(pairs.len()), rounded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize, salt: usize) -> Vec<f32> {
        (0..len).map(|i| (((i + salt) * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
    }

    #[test]
    fn products_are_those_of_rounded_numbers() {
        if !available() {
            return;
        }
        for (m, k, n) in [(1, 1, 1), (3, 5, 2), (12, 16, 32), (13, 33, 33), (47, 70, 65), (200, 131, 100)] {
            let (x, w) = (numbers(m * k, 0), numbers(n * k, 1));
            let panels = HalfPanels::new(&Panels::of_transposed(&w, k, n));
            let y = panels.product(&x, Epilogue::default());
            let round = |x: f32| f64::from(::half::bf16::from_f32(x).to_f32());
            for (at, &y) in y.iter().enumerate() {
                let exact: f64 = (0..k).map(|i| round(x[at / n * k + i]) * round(w[at % n * k + i])).sum();
                assert!((f64::from(y) - exact).abs() < 1e-5, "{m} {k} {n} at {at}: {y} for {exact}");
            }
            for row in [0, m / 2, m - 1] {
                let alone = panels.product(&x[row * k..][..k], Epilogue::default());
                assert_eq!(alone, y[row * n..][..n], "{m} {k} {n} row {row}");
            }
        }
    }
}
