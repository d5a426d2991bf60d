//! The matrix unit's products against sums in f64, whatever the shape, the neighbours and the number of threads. On a
//! processor without the unit nothing is tested here.

use super::*;
use crate::nn::Precision;
use crate::nn::kernel::math::{ActivationKind, activate};
use crate::nn::kernel::{Epilogue, add_assign};

/// Rows, inputs, outputs: around the borders of tiles, blocks, chunks (768 inputs) and tasks.
const SHAPES: [(usize, usize, usize); 14] = [
    (1, 1, 1),
    (1, 31, 5),
    (2, 33, 1),
    (1, 769, 33),
    (15, 32, 32),
    (16, 64, 31),
    (17, 33, 65),
    (31, 769, 1),
    (33, 31, 100),
    (64, 96, 96),
    (65, 1, 33),
    (97, 769, 40),
    (260, 70, 130),
    (40, 1600, 35),
];

fn numbers(len: usize, salt: usize) -> Vec<f32> {
    (0..len).map(|i| (((i + salt) * 7919) % 1009) as f32 / 1009.0 - 0.5).collect()
}

fn full(x: &[f32], weight: &Weight) -> Vec<f32> {
    product(x, weight, Precision::F32, Epilogue::default())
}

/// Runs `body` in pools of several sizes.
fn with_threads(mut body: impl FnMut() + Send) {
    for threads in [1, 2, 5] {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&mut body);
    }
}

/// Whether `result` differs from Σ left · right + `rest` by no more than a sum in f32 may: each of k roundings is at
/// most 2⁻²⁴ of a partial sum, and their signs are a random walk's.
fn as_exact_as_f32(result: f32, terms: impl Iterator<Item = (f32, f32)>, rest: f32) -> bool {
    let (mut sum, mut sizes, mut count) = (f64::from(rest), f64::from(rest.abs()), 1.0);
    for (left, right) in terms {
        let term = f64::from(left) * f64::from(right);
        (sum, sizes, count) = (sum + term, sizes + term.abs(), count + 1.0);
    }
    (f64::from(result) - sum).abs() <= 2f64.powi(-24) * sizes * (3.0 + f64::sqrt(count))
}

#[test]
fn products_are_as_exact_as_f32() {
    if !available() {
        return;
    }
    for (m, k, n) in SHAPES {
        let (x, w) = (numbers(m * k, 0), numbers(n * k, 1));
        let y = full(&x, &Weight::new(&w, k, n));
        assert_eq!(y.len(), m * n);
        for (at, &y) in y.iter().enumerate() {
            let terms = (0..k).map(|i| (x[at / n * k + i], w[at % n * k + i]));
            assert!(as_exact_as_f32(y, terms, 0.0), "{m} × {k} × {n} at {at}");
        }
    }
}

/// Neither numbers far apart in size nor digits down to the last are lost.
#[test]
fn pieces_hold_every_digit() {
    if !available() {
        return;
    }
    let (m, k, n) = (5, 40, 7);
    let sized = |(i, x): (usize, &f32)| x * 10f32.powi((i % 31) as i32 - 15);
    let x: Vec<f32> = numbers(m * k, 3).iter().enumerate().map(sized).collect();
    let w: Vec<f32> = numbers(n * k, 4).iter().enumerate().map(sized).collect();
    let y = full(&x, &Weight::new(&w, k, n));
    for (at, &y) in y.iter().enumerate() {
        let terms = (0..k).map(|i| (x[at / n * k + i], w[at % n * k + i]));
        assert!(as_exact_as_f32(y, terms, 0.0), "{at}: {y}");
    }
    // One factor of 1: the other one comes back as it was.
    for x in x {
        assert_eq!(full(&[x], &Weight::new(&[1.0], 1, 1)), [x]);
        assert_eq!(full(&[1.0], &Weight::new(&[x], 1, 1)), [x]);
    }
}

#[test]
fn a_row_has_the_same_bits_in_every_company() {
    if !available() {
        return;
    }
    for (m, k, n) in SHAPES {
        let (x, w) = (numbers(m * k, 5), numbers(n * k, 6));
        let weight = Weight::new(&w, k, n);
        let (y, back) = (full(&x, &weight), |x: &[f32]| product_transposed(x, &weight, Precision::F32, None));
        let gradient = back(&y);
        with_threads(|| {
            assert_eq!(full(&x, &weight), y, "{m} × {k} × {n} on other threads");
            assert_eq!(back(&y), gradient, "{m} × {k} × {n} on other threads, transposed");
        });
        for (first, count) in [(0, 1), (m / 2, 1), (m - 1, 1), (m / 3, m.div_ceil(2)), (0, m.min(33))] {
            let some = full(&x[first * k..][..count * k], &weight);
            assert_eq!(some, y[first * n..][..count * n], "{m} × {k} × {n}: {count} rows from {first}");
            let some = back(&y[first * n..][..count * n]);
            assert_eq!(some, gradient[first * k..][..count * k], "{m} × {k} × {n}: {count} rows from {first}");
        }
    }
}

#[test]
fn transposed_products_add_to_a_sum() {
    if !available() {
        return;
    }
    for (m, k, n) in SHAPES {
        let (grad, w, sum) = (numbers(m * n, 7), numbers(n * k, 8), numbers(m * k, 9));
        let weight = Weight::new(&w, k, n);
        let plain = product_transposed(&grad, &weight, Precision::F32, None);
        for (at, &y) in plain.iter().enumerate() {
            let terms = (0..n).map(|i| (grad[at / k * n + i], w[i * k + at % k]));
            assert!(as_exact_as_f32(y, terms, 0.0), "{m} × {k} × {n} at {at}");
        }
        let mut expected = plain;
        add_assign(&mut expected, &sum);
        assert_eq!(product_transposed(&grad, &weight, Precision::F32, Some(sum)), expected, "{m} × {k} × {n}");
    }
}

#[test]
fn epilogues_are_what_follows() {
    if !available() {
        return;
    }
    for (m, k, n) in SHAPES {
        let (x, w, bias, residual) = (numbers(m * k, 10), numbers(n * k, 11), numbers(n, 12), numbers(m * n, 13));
        let weight = Weight::new(&w, k, n);
        let mut expected = full(&x, &weight);
        for row in expected.chunks_exact_mut(n) {
            add_assign(row, &bias);
        }
        let biased = || Epilogue { bias: Some(&bias), ..Epilogue::default() };
        assert_eq!(product(&x, &weight, Precision::F32, biased()), expected);

        let (mut values, mut slope) = (expected.clone(), Vec::new());
        activate(ActivationKind::Gelu, &mut values);
        let epilogue = Epilogue { activation: Some(ActivationKind::Gelu), slope: Some(&mut slope), ..biased() };
        assert_eq!(product(&x, &weight, Precision::F32, epilogue), values);
        let mut slopes = vec![1.0; m * n];
        crate::nn::kernel::activate_backward(ActivationKind::Gelu, &expected, &mut slopes);
        assert_eq!(slope, slopes);

        add_assign(&mut expected, &residual);
        let epilogue = Epilogue { residual: Some(&residual), ..biased() };
        assert_eq!(product(&x, &weight, Precision::F32, epilogue), expected);
    }
}

#[test]
fn bf16_is_that_of_rounded_numbers() {
    if !available() {
        return;
    }
    let round = |x: f32| ::half::bf16::from_f32(x).to_f32();
    for (m, k, n) in SHAPES {
        let (x, w) = (numbers(m * k, 14), numbers(n * k, 15));
        let y = product(&x, &Weight::new(&w, k, n), Precision::Bf16, Epilogue::default());
        for (at, &y) in y.iter().enumerate() {
            let terms = (0..k).map(|i| (round(x[at / n * k + i]), round(w[at % n * k + i])));
            assert!(as_exact_as_f32(y, terms, 0.0), "{m} × {k} × {n} at {at}");
        }
    }
}

#[test]
fn no_rows_give_no_rows() {
    if !available() {
        return;
    }
    let weight = Weight::new(&numbers(12, 0), 4, 3);
    assert!(full(&[], &weight).is_empty());
    assert!(product_transposed(&[], &weight, Precision::F32, None).is_empty());
}
