//! Layer normalisation, two-pass: variance as E[(x − mean)²], which keeps its digits where mean ≫ deviation.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::device::{self, Uploaded};
use super::kernel::{dot_with_deviation, for_rows, made_rows, sum, sum_of_squares, vectorised};
use super::rule::{for_pairs, lift_norm};
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Rule, Tape};

/// As `torch.nn.LayerNorm` over the last dimension, with constant weight and bias.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Arc<Vec<f32>>,
    bias: Arc<Vec<f32>>,
    epsilon: f32,
    uploaded: Uploaded,
}

impl LayerNorm {
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, epsilon: f32) -> Result<Self, Error> {
        if weight.len() != bias.len() || weight.is_empty() {
            return Err(Error::shape("layer norm", "weight and bias of different lengths"));
        }
        Ok(Self { weight: Arc::new(weight), bias: Arc::new(bias), epsilon, uploaded: Uploaded::default() })
    }

    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        let cols = self.weight.len();
        if x.cols() != cols {
            return Err(Error::shape("layer norm", format!("{} columns for {cols}", x.cols())));
        }
        if let Some(session) = tape.device_of(x) {
            let Self { weight, bias, epsilon, uploaded } = self;
            return device::Norm { weight, bias, epsilon: *epsilon, uploaded }.forward(tape, &session, x);
        }
        let row = |row: usize, y: &mut [MaybeUninit<f32>]| {
            let x = &x.value()[row * cols..][..cols];
            vectorised(
                #[inline(always)]
                || {
                    let (mean, scale) = statistics(x, self.epsilon);
                    for (((y, x), w), b) in y.iter_mut().zip(x).zip(self.weight.iter()).zip(self.bias.iter()) {
                        y.write((x - mean) * scale * w + b);
                    }
                },
            );
        };
        // SAFETY: x's row, the weight and the bias have as many numbers as the row written.
        let y = unsafe { made_rows(x.rows(), cols, row) };
        let saved = x.array().clone();
        Ok(tape.record(Array::new(y, x.rows(), cols), [Some(x), None], || NormBackward {
            x: saved,
            weight: self.weight.clone(),
            epsilon: self.epsilon,
        }))
    }
}

/// Mean and 1 / √(variance + ε).
#[inline(always)]
fn statistics(row: &[f32], epsilon: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = sum(row) / n;
    (mean, 1.0 / (sum_of_squares(row, mean) / n + epsilon).sqrt())
}

struct NormBackward {
    x: Array,
    weight: Arc<Vec<f32>>,
    epsilon: f32,
}

impl Backward for NormBackward {
    /// With x̂ the standardised row, g = grad ∘ weight and r = 1/σ: dx = r (g − mean(g) − x̂ mean(g ∘ x̂)). The row's
    /// statistics are computed again: cheaper than keeping x̂.
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let cols = self.weight.len();
        let n = cols as f32;
        for_rows(&mut grad, cols, |row, grad| {
            let x = &self.x.data()[row % self.x.rows() * cols..][..cols];
            vectorised(
                #[inline(always)]
                || {
                    let (center, r) = statistics(x, self.epsilon);
                    for (grad, weight) in grad.iter_mut().zip(self.weight.iter()) {
                        *grad *= weight;
                    }
                    let mean = sum(grad) / n;
                    // mean(g ∘ x̂), from the deviations that x̂ is a multiple of.
                    let slope = dot_with_deviation(grad, x, center) * r / n;
                    for (grad, x) in grad.iter_mut().zip(x) {
                        *grad = r * (*grad - mean - (x - center) * r * slope);
                    }
                },
            );
        });
        inputs.add(0, grad);
    }

    fn takes_several(&self, rule: Rule) -> bool {
        rule != Rule::DeepLift
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        let own = for_pairs(self.x.data(), self.weight.len(), multiplier, |x, baseline, multiplier| {
            lift_norm((x, baseline), &self.weight, self.epsilon, true, multiplier);
        });
        inputs.add(0, own);
    }
}
