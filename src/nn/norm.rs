//! Layer normalisation, two-pass: variance as E[(x − mean)²], which keeps its digits where mean ≫ deviation.

use std::sync::Arc;

use super::kernel::{dot, for_rows, sum, vectorised};
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Tape};

/// As `torch.nn.LayerNorm` over the last dimension, with constant weight and bias.
#[derive(Debug, Clone)]
pub struct LayerNorm {
    weight: Arc<Vec<f32>>,
    bias: Arc<Vec<f32>>,
    epsilon: f32,
}

impl LayerNorm {
    pub fn new(weight: Vec<f32>, bias: Vec<f32>, epsilon: f32) -> Result<Self, Error> {
        if weight.len() != bias.len() || weight.is_empty() {
            return Err(Error::shape("layer norm", "weight and bias of different lengths"));
        }
        Ok(Self { weight: Arc::new(weight), bias: Arc::new(bias), epsilon })
    }

    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        let cols = self.weight.len();
        if x.cols() != cols {
            return Err(Error::shape("layer norm", format!("{} columns for {cols}", x.cols())));
        }
        let mut y = x.value().to_vec();
        for_rows(&mut y, cols, |_, y| {
            vectorised(|| {
                standardise(y, self.epsilon);
                for ((y, w), b) in y.iter_mut().zip(self.weight.iter()).zip(self.bias.iter()) {
                    *y = *y * w + b;
                }
            });
        });
        let saved = x.array().clone();
        Ok(tape.record(Array::new(y, x.rows(), cols), [Some(x), None], || NormBackward {
            x: saved,
            weight: self.weight.clone(),
            epsilon: self.epsilon,
        }))
    }
}

/// row = (row − mean) / √(variance + ε); returns the last factor.
#[inline(always)]
fn standardise(row: &mut [f32], epsilon: f32) -> f32 {
    let n = row.len() as f32;
    let mean = sum(row) / n;
    row.iter_mut().for_each(|x| *x -= mean);
    let scale = 1.0 / (dot(row, row) / n + epsilon).sqrt();
    row.iter_mut().for_each(|x| *x *= scale);
    scale
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
            let mut x = self.x.data()[row * cols..][..cols].to_vec();
            vectorised(|| {
                let r = standardise(&mut x, self.epsilon);
                for (grad, weight) in grad.iter_mut().zip(self.weight.iter()) {
                    *grad *= weight;
                }
                let mean = sum(grad) / n;
                let slope = dot(grad, &x) / n;
                for (grad, x) in grad.iter_mut().zip(&x) {
                    *grad = r * (*grad - mean - x * slope);
                }
            });
        });
        inputs.add(0, grad);
    }
}
