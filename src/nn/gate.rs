//! Gated feed-forward (Shazeer 2020): what stands between a packed projection [gate | up] and the one back down.

use super::kernel::{for_rows, gate_row, gate_row_backward, made_rows, secant, value};
use super::rule::{Unit, both};
use super::tape::{Backward, Inputs};
use super::{Activation, Array, Error, Node, Rule, Tape};

/// activation(gate) ∘ up: SwiGLU with SiLU (Llama, Qwen, Phi 3), GeGLU with GELU (ModernBERT, Gemma, T5 1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gate {
    pub activation: Activation,
}

impl Gate {
    /// `x`: tokens × [gate | up], both of the same width. Gives tokens × width.
    ///
    /// # Errors
    /// `Shape` where the columns are no two halves.
    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        if !x.cols().is_multiple_of(2) {
            return Err(Error::shape("gate", format!("{} columns for gate and up", x.cols())));
        }
        let width = x.cols() / 2;
        let row = |row: usize, y: &mut [std::mem::MaybeUninit<f32>]| {
            let (gate, up) = x.value()[row * 2 * width..][..2 * width].split_at(width);
            gate_row(self.activation.kind(), gate, up, y);
        };
        // SAFETY: gate and up have as many numbers as the row written.
        let y = unsafe { made_rows(x.rows(), width, row) };
        let saved = x.array().clone();
        Ok(tape.record(Array::new(y, x.rows(), width), [Some(x), None], || GateBackward { gate: *self, x: saved }))
    }
}

struct GateBackward {
    gate: Gate,
    x: Array,
}

impl Backward for GateBackward {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let width = self.x.cols() / 2;
        let row = |row: usize, out: &mut [std::mem::MaybeUninit<f32>]| {
            let factors = self.x.data()[row % self.x.rows() * 2 * width..][..2 * width].split_at(width);
            let grad = &grad[row * width..][..width];
            gate_row_backward(self.gate.activation.kind(), factors, grad, out.split_at_mut(width));
        };
        // SAFETY: gate, up and gradient have as many numbers as each half of the row written.
        inputs.add(0, unsafe { made_rows(grad.len() / width.max(1), 2 * width, row) });
    }

    fn takes_several(&self, rule: Rule) -> bool {
        rule != Rule::DeepLift
    }

    /// The product rule, and the rescale rule for the activation.
    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        let (width, kind) = (self.x.cols() / 2, self.gate.activation.kind());
        let pairs = self.x.rows() / 2;
        let mut out = vec![0.0; pairs * 2 * width];
        for_rows(&mut out, 2 * width, |row, out| {
            let factors = |row: usize| self.x.data()[row * 2 * width..][..2 * width].split_at(width);
            let ((gate, up), (gate_of, up_of)) = (factors(row), factors(row + pairs));
            let (of_gate, of_up) = out.split_at_mut(width);
            for (at, multiplier) in multiplier[row * width..][..width].iter().enumerate() {
                let open = value(kind, gate[at]) + value(kind, gate_of[at]);
                of_up[at] = multiplier * 0.5 * open;
                of_gate[at] = multiplier * 0.5 * (up[at] + up_of[at]) * secant(kind, gate[at], gate_of[at]);
            }
        });
        inputs.add(0, both(out));
    }

    /// A gate hands gradients on to its other factor too, so it is none of the ReLUs that are clipped.
    fn unit(&self) -> Unit {
        Unit::Other(self.gate.activation.kind().name())
    }
}
