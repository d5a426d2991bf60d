//! Elementwise non-linearities. Backward keeps the input and nothing else.

use super::device;
pub use super::kernel::ActivationKind;
use super::kernel::{activate, activate_backward, secant};
use super::rule::{Unit, for_pairs};
use super::tape::{Backward, Inputs};
use super::{Array, Node, Tape};

/// A non-linearity, by the name config.json gives it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activation(ActivationKind);

impl Activation {
    pub const TANH: Self = Self(ActivationKind::Tanh);
    pub const RELU: Self = Self(ActivationKind::Relu);
    pub const GELU: Self = Self(ActivationKind::Gelu);

    /// The names transformers' `ACT2FN` knows for these functions; `None` for others.
    pub fn named(name: &str) -> Option<Self> {
        Some(Self(match name {
            "gelu" | "gelu_python" => ActivationKind::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_python_tanh" | "gelu_fast" | "gelu_accurate" => {
                ActivationKind::GeluTanh
            }
            "relu" => ActivationKind::Relu,
            "silu" | "swish" => ActivationKind::Silu,
            "tanh" => ActivationKind::Tanh,
            _ => return None,
        }))
    }

    /// The names of [`Activation::named`], for error messages.
    pub const NAMES: &'static str = "gelu, gelu_new, gelu_pytorch_tanh, gelu_fast, relu, silu, swish, tanh";

    pub(super) fn kind(self) -> ActivationKind {
        self.0
    }

    /// f(x). Works in place where nobody else holds `x`.
    pub fn forward(&self, tape: &mut Tape<'_>, x: Node) -> Node {
        let (kind, rows, cols) = (self.0, x.rows(), x.cols());
        // What a device refuses is computed here, where an error has no way out; the tape's next step has one.
        if let Some(node) = tape.device_of(&x).and_then(|session| device::activation(tape, &session, kind, &x)) {
            return node;
        }
        if tape.tracks(&[&x]) {
            let mut y = x.value().to_vec();
            activate(kind, &mut y);
            let saved = x.array().clone();
            return tape.record(Array::new(y, rows, cols), [Some(&x), None], || ActivationBackward { kind, x: saved });
        }
        let mut y = x.into_array().into_vec();
        activate(kind, &mut y);
        Node::constant(Array::new(y, rows, cols))
    }
}

struct ActivationBackward {
    kind: ActivationKind,
    x: Array,
}

impl Backward for ActivationBackward {
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        activate_backward(self.kind, self.x.data(), &mut grad);
        inputs.add(0, grad);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        let own = for_pairs(self.x.data(), self.x.cols(), multiplier, |x, baseline, multiplier| {
            for ((multiplier, x), baseline) in multiplier.iter_mut().zip(x).zip(baseline) {
                *multiplier *= secant(self.kind, *x, *baseline);
            }
        });
        inputs.add(0, own);
    }

    fn unit(&self) -> Unit {
        if self.kind == ActivationKind::Relu { Unit::Relu } else { Unit::Other(self.kind.name()) }
    }
}
