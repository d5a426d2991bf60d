//! Every dispatch level that this processor has, one after the other: what other processors compute.

use pulp::Simd;

use super::math::{ActivationKind, activate_row, exp, tanh};
use super::tile::{Block, Compute, Finish};
use super::*;

/// Runs `$body` with `$simd` standing for each level.
macro_rules! at_every_level {
    (|$simd:ident, $name:ident| $body:expr) => {{
        let ($simd, $name) = (pulp::Scalar::new(), "scalar");
        $body;
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            if let Some($simd) = pulp::x86::V3::try_new() {
                let $name = "AVX2";
                $body;
            }
            if let Some($simd) = pulp::x86::V4::try_new() {
                let $name = "AVX-512";
                $body;
            }
        }
    }};
}

fn numbers(len: usize, salt: usize) -> Vec<f32> {
    (0..len).map(|i| (((i + salt) * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
}

/// One product of strided operands, with everything that may follow it.
struct Case {
    shape: (usize, usize, usize),
    /// The left operand is read by columns.
    transposed: bool,
    finished: bool,
}

impl Case {
    /// Checks one level against sums in f64.
    fn check<S: Simd>(&self, simd: S, level: &str) {
        let (rows, inner, cols) = self.shape;
        let (left_row, left_col) = if self.transposed { (1, rows + 3) } else { (inner + 3, 1) };
        let left = numbers((rows + 3) * (inner + 3), 1);
        let step = inner + 2;
        let mut panels = vec![PanelRow([7.0; PANEL]); step * cols.div_ceil(PANEL)];
        let right = numbers(inner * cols, 2);
        for (at, &number) in right.iter().enumerate() {
            let (k, col) = (at / cols, at % cols);
            panels[col / PANEL * step + k].0[col % PANEL] = number;
        }
        let out_row = cols + 5;
        let (bias, before) = (numbers(cols.next_multiple_of(PANEL), 3), numbers(rows * out_row, 4));
        let mut out = before.clone();
        let scale = if self.finished { 0.7 } else { 1.0 };
        let pointer = |numbers: &[f32]| if self.finished { numbers.as_ptr() } else { std::ptr::null() };
        let residual = if self.finished { out.as_ptr() } else { std::ptr::null() };
        let block = Block {
            rows,
            inner,
            left: left.as_ptr(),
            left_row,
            left_col,
            panels: panels.as_ptr(),
            panel_step: step,
            cols,
            out: out.as_mut_ptr(),
            out_row,
            finish: Finish { scale, bias: pointer(&bias), residual },
        };
        simd.vectorize(Compute { block: &block, after: &() });
        for (at, (&value, &before)) in out.iter().zip(&before).enumerate() {
            let (row, col) = (at / out_row, at % out_row);
            if col >= cols {
                assert_eq!(value, before, "{level}: wrote beside the result");
                continue;
            }
            let term = |k: usize| f64::from(left[row * left_row + k * left_col]) * f64::from(right[k * cols + col]);
            let mut exact = (0..inner).map(term).sum::<f64>() * f64::from(scale);
            if self.finished {
                exact += f64::from(bias[col]) + f64::from(before);
            }
            let close = (f64::from(value) - exact).abs() < 1e-6 * (1.0 + inner as f64).sqrt();
            assert!(close, "{level}, {:?} at {row}, {col}: {value} for {exact}", self.shape);
        }
    }
}

#[test]
fn products_at_every_level() {
    let shapes = match cfg!(miri) {
        true => vec![(1, 1, 1), (7, 3, 33)],
        false => {
            let rows = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 25];
            rows.into_iter().flat_map(|rows| [(rows, 0, 3), (rows, 1, 1), (rows, 17, 33), (rows, 40, 96)]).collect()
        }
    };
    for shape in shapes {
        for (transposed, finished) in [(false, false), (true, false), (false, true), (true, true)] {
            let case = Case { shape, transposed, finished };
            at_every_level!(|simd, level| case.check(simd, level));
        }
    }
}

/// Every sum and function of a row, at one level.
fn functions<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> Vec<f32> {
    simd.vectorize(
        #[inline(always)]
        || {
            let mut out = vec![
                dot(a, b),
                sum(a),
                sum_of_squares(a, 0.25),
                dot_with_deviation(a, b, 0.125),
                if a.is_empty() { 0.0 } else { largest(a) },
            ];
            for &x in a {
                out.push(exp(40.0 * x));
                out.push(tanh(8.0 * x));
            }
            for kind in [
                ActivationKind::Gelu,
                ActivationKind::GeluTanh,
                ActivationKind::Relu,
                ActivationKind::Silu,
                ActivationKind::Tanh,
            ] {
                let (mut values, mut slopes) = (b.to_vec(), vec![0.0; b.len()]);
                for x in &mut values {
                    *x *= 9.0;
                }
                // SAFETY: as many slopes as numbers.
                unsafe { activate_row(kind, &mut values, slopes.as_mut_ptr()) };
                out.extend(values);
                out.extend(slopes);
            }
            out
        },
    )
}

/// Sums run in fixed lanes, and multiply-adds are fused everywhere or nowhere: a level does not show.
#[test]
fn functions_have_the_same_bits_at_every_level() {
    for len in [0, 1, 3, 15, 16, 17, 31, 33, 100, 769] {
        if cfg!(miri) && len > 33 {
            continue;
        }
        let (a, b) = (numbers(len, 5), numbers(len, 6));
        let expected: Vec<u32> = functions(pulp::Scalar::new(), &a, &b).iter().map(|x| x.to_bits()).collect();
        at_every_level!(|simd, level| {
            let bits: Vec<u32> = functions(simd, &a, &b).iter().map(|x| x.to_bits()).collect();
            assert_eq!(bits, expected, "{level}, {len} numbers");
        });
    }
}
