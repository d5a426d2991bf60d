//! Rotary position embedding (Su et al. 2021) of packed queries and keys. `table` holds the angles.

mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use table::{Angles, Rope, RopeScaling};

use super::kernel::{for_rows, vectorised};
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Rule, Tape};

/// Turns every head's queries and keys by their token's angles: the columns i and i + dimension / 2 of a head's first
/// `dimension` are a pair (transformers' `rotate_half`), what stands behind them passes as it is, and so do values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotary {
    pub heads: usize,
    pub kv_heads: usize,
    /// Columns of one head.
    pub depth: usize,
}

impl Rotary {
    /// `qkv`: tokens × [heads·depth | kv_heads·depth | kv_heads·depth], as [`super::Attention`] reads it. Works in
    /// place where nobody else holds it.
    ///
    /// # Errors
    /// `Shape` where tokens or columns do not fit.
    pub fn forward(&self, tape: &mut Tape<'_>, qkv: Node, angles: &Arc<Angles>) -> Result<Node, Error> {
        let (rows, cols) = (qkv.rows(), qkv.cols());
        let fits = cols == (self.heads + 2 * self.kv_heads) * self.depth && angles.dimension() <= self.depth;
        if !fits || angles.tokens() != rows {
            let detail = format!(
                "{} angles for {} tokens, {} of {} columns a head, {cols} in all",
                angles.tokens(),
                rows,
                angles.dimension(),
                self.depth
            );
            return Err(Error::shape("rotary", detail));
        }
        let (array, place) = qkv.into_parts();
        let mut y = array.into_vec();
        self.turn(&mut y, angles, 1.0);
        let op = || RotaryBackward { rotary: *self, angles: angles.clone() };
        Ok(tape.record(Array::new(y, rows, cols), [Some(&place), None], op))
    }

    /// Forwards (1) or backwards (−1); the tokens once or several times behind one another.
    fn turn(&self, qkv: &mut [f32], angles: &Angles, direction: f32) {
        let half = angles.dimension() / 2;
        for_rows(qkv, (self.heads + 2 * self.kv_heads) * self.depth, |token, row| {
            let (cos, sin) = angles.of_token(token % angles.tokens());
            vectorised(
                #[inline(always)]
                || {
                    for head in row.chunks_exact_mut(self.depth).take(self.heads + self.kv_heads) {
                        let (first, rest) = head.split_at_mut(half);
                        for (((first, second), cos), sin) in first.iter_mut().zip(rest).zip(cos).zip(sin) {
                            let (x, y, sin) = (*first, *second, direction * sin);
                            *first = x * cos - y * sin;
                            *second = y * cos + x * sin;
                        }
                    }
                },
            );
        });
    }
}

struct RotaryBackward {
    rotary: Rotary,
    angles: Arc<Angles>,
}

impl Backward for RotaryBackward {
    /// The rotation by the negative angle is the transpose.
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        self.rotary.turn(&mut grad, &self.angles, -1.0);
        inputs.add(0, grad);
    }

    fn takes_several(&self, _rule: Rule) -> bool {
        true
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}
