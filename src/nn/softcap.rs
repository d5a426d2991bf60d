//! Numbers kept within a cap: what Gemma 2 does to its logits.

use super::kernel::{for_rows, tanh, vectorised};
use super::rule::for_pairs;
use super::tape::{Backward, Inputs};
use super::{Array, Node, Tape};

/// c · tanh(x / c).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Softcap {
    pub cap: f32,
}

impl Softcap {
    /// Works in place where nobody else holds `x`.
    pub fn forward(self, tape: &mut Tape<'_>, x: Node) -> Node {
        let (rows, cols, tracked) = (x.rows(), x.cols(), tape.tracks(&[&x]));
        let input = tracked.then(|| x.clone());
        let saved = tracked.then(|| x.array().clone());
        let mut y = if tracked { x.value().to_vec() } else { x.into_array().into_vec() };
        for_rows(&mut y, cols, |_, row| {
            vectorised(
                #[inline(always)]
                || row.iter_mut().for_each(|x| *x = self.cap * tanh(*x / self.cap)),
            );
        });
        match (input, saved) {
            (Some(input), Some(x)) => {
                tape.record(Array::new(y, rows, cols), [Some(&input), None], || SoftcapBackward { cap: self.cap, x })
            }
            _ => Node::constant(Array::new(y, rows, cols)),
        }
    }
}

struct SoftcapBackward {
    cap: f32,
    x: Array,
}

impl SoftcapBackward {
    fn slope(&self, x: f32) -> f32 {
        let t = tanh(x / self.cap);
        1.0 - t * t
    }
}

impl Backward for SoftcapBackward {
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let cols = self.x.cols();
        for_rows(&mut grad, cols, |row, grad| {
            let x = &self.x.data()[row * cols..][..cols];
            grad.iter_mut().zip(x).for_each(|(grad, &x)| *grad *= self.slope(x));
        });
        inputs.add(0, grad);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        let cap = f64::from(self.cap);
        let value = |x: f32| cap * (f64::from(x) / cap).tanh();
        let own = for_pairs(self.x.data(), self.x.cols(), multiplier, |x, baseline, multiplier| {
            for ((multiplier, &x), &baseline) in multiplier.iter_mut().zip(x).zip(baseline) {
                let step = f64::from(x) - f64::from(baseline);
                *multiplier *= match step.abs() < 1e-3 * (1.0 + f64::from(x).abs()) {
                    true => self.slope(0.5 * (x + baseline)),
                    false => ((value(x) - value(baseline)) / step) as f32,
                };
            }
        });
        inputs.add(0, own);
    }
}
