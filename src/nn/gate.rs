//! Gated feed-forward: what stands between the products of SwiGLU and GeGLU blocks.

use super::kernel::{activate, activate_backward, for_rows, vectorised};
use super::tape::{Backward, Inputs};
use super::{Activation, Array, Error, Node, Tape};

/// `activation(gate) ∘ up` of rows that hold gate and up side by side: rows × 2n into rows × n.
///
/// # Errors
/// `Shape` where the columns cannot be halved.
pub fn gate(tape: &mut Tape<'_>, x: &Node, activation: Activation) -> Result<Node, Error> {
    if !x.cols().is_multiple_of(2) || x.cols() == 0 {
        return Err(Error::shape("gate", format!("{} columns cannot be halved", x.cols())));
    }
    let (rows, cols) = (x.rows(), x.cols() / 2);
    let mut y = half(x.value(), cols, 0);
    activate(activation.kind(), &mut y);
    times_half(&mut y, x.value(), cols, 1);
    let saved = x.array().clone();
    let op = || GateBackward { x: saved, activation };
    Ok(tape.record(Array::new(y, rows, cols), [Some(x), None], op))
}

/// The first (0) or second (1) half of every row.
fn half(x: &[f32], cols: usize, which: usize) -> Vec<f32> {
    x.chunks_exact(2 * cols).flat_map(|row| &row[which * cols..][..cols]).copied().collect()
}

/// y *= a half of every row.
fn times_half(y: &mut [f32], x: &[f32], cols: usize, which: usize) {
    for_rows(y, cols, |row, y| {
        let x = &x[row * 2 * cols + which * cols..][..cols];
        vectorised(
            #[inline(always)]
            || {
                for (y, x) in y.iter_mut().zip(x) {
                    *y *= x;
                }
            },
        );
    });
}

struct GateBackward {
    x: Array,
    activation: Activation,
}

impl Backward for GateBackward {
    /// d gate = grad ∘ up ∘ f′(gate); d up = grad ∘ f(gate).
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let (x, cols, kind) = (self.x.data(), self.x.cols() / 2, self.activation.kind());
        let gate = half(x, cols, 0);
        let mut to_gate = grad.clone();
        times_half(&mut to_gate, x, cols, 1);
        activate_backward(kind, &gate, &mut to_gate);
        let mut value = gate;
        activate(kind, &mut value);
        let mut out = vec![0.0; x.len()];
        for_rows(&mut out, 2 * cols, |row, out| {
            let place = row * cols..(row + 1) * cols;
            let (to_gate, value, grad) = (&to_gate[place.clone()], &value[place.clone()], &grad[place]);
            out[..cols].copy_from_slice(to_gate);
            for ((out, value), grad) in out[cols..].iter_mut().zip(value).zip(grad) {
                *out = value * grad;
            }
        });
        inputs.add(0, out);
    }
}
