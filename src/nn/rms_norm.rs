//! Root-mean-square normalisation (Zhang and Sennrich 2019): of whole rows, and of each head's columns of packed
//! queries and keys.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::kernel::{dot, for_rows, made_rows, sum_of_squares, vectorised};
use super::rule::{for_pairs, lift_norm};
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Rule, Tape};

/// x / √(mean(x²) + ε) ∘ (offset + weight) over the last dimension, with a constant weight: transformers'
/// `LlamaRMSNorm` with offset 0, `GemmaRMSNorm` with offset 1.
#[derive(Debug, Clone)]
pub struct RmsNorm {
    /// The offset is in it.
    weight: Arc<Vec<f32>>,
    epsilon: f32,
}

impl RmsNorm {
    /// # Errors
    /// `Shape` where there is no weight.
    pub fn new(mut weight: Vec<f32>, epsilon: f32, offset: f32) -> Result<Self, Error> {
        if weight.is_empty() {
            return Err(Error::shape("rms norm", "a weight without numbers"));
        }
        for weight in &mut weight {
            *weight += offset;
        }
        Ok(Self { weight: Arc::new(weight), epsilon })
    }

    /// # Errors
    /// `Shape` where `x` has not as many columns as the weight numbers.
    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        let cols = self.weight.len();
        if x.cols() != cols {
            return Err(Error::shape("rms norm", format!("{} columns for {cols}", x.cols())));
        }
        let row = |row: usize, y: &mut [MaybeUninit<f32>]| {
            let x = &x.value()[row * cols..][..cols];
            vectorised(
                #[inline(always)]
                || {
                    let scale = self.scale(x);
                    for ((y, x), w) in y.iter_mut().zip(x).zip(self.weight.iter()) {
                        y.write(x * scale * w);
                    }
                },
            );
        };
        // SAFETY: x's row and the weight have as many numbers as the row written.
        let y = unsafe { made_rows(x.rows(), cols, row) };
        let saved = x.array().clone();
        let op = || RmsNormBackward { x: saved, norm: self.clone() };
        Ok(tape.record(Array::new(y, x.rows(), cols), [Some(x), None], op))
    }

    /// 1 / √(mean(x²) + ε).
    #[inline(always)]
    fn scale(&self, x: &[f32]) -> f32 {
        1.0 / (sum_of_squares(x, 0.0) / x.len() as f32 + self.epsilon).sqrt()
    }

    #[inline(always)]
    fn normalise(&self, x: &mut [f32]) {
        let scale = self.scale(x);
        for (x, w) in x.iter_mut().zip(self.weight.iter()) {
            *x *= scale * w;
        }
    }

    /// With r = 1 / √(mean(x²) + ε) and g = grad ∘ weight: dx = r (g − x r² mean(g ∘ x)), in place of grad.
    #[inline(always)]
    fn gradient(&self, x: &[f32], grad: &mut [f32]) {
        let r = self.scale(x);
        for (grad, w) in grad.iter_mut().zip(self.weight.iter()) {
            *grad *= w;
        }
        let slope = r * r * dot(grad, x) / x.len() as f32;
        for (grad, x) in grad.iter_mut().zip(x) {
            *grad = r * (*grad - x * slope);
        }
    }

    fn lift(&self, pair: (&[f32], &[f32]), multiplier: &mut [f32]) {
        lift_norm(pair, &self.weight, self.epsilon, false, multiplier);
    }
}

struct RmsNormBackward {
    x: Array,
    norm: RmsNorm,
}

impl Backward for RmsNormBackward {
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let cols = self.norm.weight.len();
        for_rows(&mut grad, cols, |row, grad| {
            let x = &self.x.data()[row % self.x.rows() * cols..][..cols];
            vectorised(
                #[inline(always)]
                || self.norm.gradient(x, grad),
            );
        });
        inputs.add(0, grad);
    }

    fn takes_several(&self, rule: Rule) -> bool {
        rule != Rule::DeepLift
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        let norm = &self.norm;
        let own = for_pairs(self.x.data(), norm.weight.len(), multiplier, |x, baseline, multiplier| {
            norm.lift((x, baseline), multiplier);
        });
        inputs.add(0, own);
    }
}

/// An RMS norm of every head's queries and another one of every head's keys, as in Qwen 3 and Gemma 3. Values pass as
/// they are.
#[derive(Debug, Clone)]
pub struct QueryKeyNorm {
    /// Over a head's depth.
    pub query: RmsNorm,
    pub key: RmsNorm,
    pub heads: usize,
    pub kv_heads: usize,
}

impl QueryKeyNorm {
    /// `qkv`: tokens × [heads·depth | kv_heads·depth | kv_heads·depth], as [`super::Attention`] reads it. Works in
    /// place where nobody else holds it.
    ///
    /// # Errors
    /// `Shape` where weights and columns do not fit.
    pub fn forward(&self, tape: &mut Tape<'_>, qkv: Node) -> Result<Node, Error> {
        let (depth, cols, rows) = (self.query.weight.len(), qkv.cols(), qkv.rows());
        if self.key.weight.len() != depth || cols != (self.heads + 2 * self.kv_heads) * depth {
            let detail = format!("{cols} columns for {} + 2 · {} heads of {depth}", self.heads, self.kv_heads);
            return Err(Error::shape("query and key norm", detail));
        }
        let saved = tape.tracks(&[&qkv]).then(|| qkv.clone());
        let mut y = qkv.into_array().into_vec();
        for_rows(&mut y, cols, |_, row| {
            vectorised(
                #[inline(always)]
                || {
                    for (head, x) in row.chunks_exact_mut(depth).take(self.heads + self.kv_heads).enumerate() {
                        self.of_head(head).normalise(x);
                    }
                },
            );
        });
        let y = Array::new(y, rows, cols);
        let Some(saved) = saved else { return Ok(Node::constant(y)) };
        let op = || QueryKeyNormBackward { qkv: saved.array().clone(), norm: self.clone() };
        Ok(tape.record(y, [Some(&saved), None], op))
    }

    #[inline(always)]
    fn of_head(&self, head: usize) -> &RmsNorm {
        if head < self.heads { &self.query } else { &self.key }
    }
}

struct QueryKeyNormBackward {
    qkv: Array,
    norm: QueryKeyNorm,
}

impl Backward for QueryKeyNormBackward {
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let (depth, cols) = (self.norm.query.weight.len(), self.qkv.cols());
        for_rows(&mut grad, cols, |row, grad| {
            let x = &self.qkv.data()[row % self.qkv.rows() * cols..][..cols];
            vectorised(
                #[inline(always)]
                || {
                    let heads = grad.chunks_exact_mut(depth).zip(x.chunks_exact(depth));
                    for (head, (grad, x)) in heads.take(self.norm.heads + self.norm.kv_heads).enumerate() {
                        self.norm.of_head(head).gradient(x, grad);
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
        let norm = &self.norm;
        let depth = norm.query.weight.len();
        let own = for_pairs(self.qkv.data(), self.qkv.cols(), multiplier, |x, baseline, multiplier| {
            let pairs = x.chunks_exact(depth).zip(baseline.chunks_exact(depth));
            let heads = multiplier.chunks_exact_mut(depth).zip(pairs).take(norm.heads + norm.kv_heads);
            heads.enumerate().for_each(|(head, (multiplier, pair))| norm.of_head(head).lift(pair, multiplier));
        });
        inputs.add(0, own);
    }
}
