//! Elementwise non-linearities, and their slopes.

use std::f64::consts::{FRAC_1_SQRT_2, PI};
use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::{Backward, Session};
use crate::nn::kernel::ActivationKind;
use crate::nn::{Node, Tape};

/// f(x); `None` where it failed, which the session keeps.
pub(in crate::nn) fn activation(
    tape: &mut Tape<'_>,
    session: &Arc<Session>,
    kind: ActivationKind,
    x: &Node,
) -> Option<Node> {
    let run = |x: &Tensor, _: Option<&Tensor>| Ok((value(kind, x)?, ActivationBackward { kind, x: x.clone() }));
    session.apply_or_fail(tape, "activation", x, run)
}

struct ActivationBackward {
    kind: ActivationKind,
    x: Tensor,
}

impl Backward for ActivationBackward {
    fn backward(&self, grad: &Tensor, _wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        Ok([Some((grad * slope(self.kind, &self.x)?)?), None])
    }
}

const CUBIC: f64 = 0.044_715;

pub(super) fn value(kind: ActivationKind, x: &Tensor) -> Result<Tensor> {
    match kind {
        ActivationKind::Gelu => x.gelu_erf(),
        ActivationKind::GeluTanh => (x * (inner(x)?.tanh()? + 1.0)?)? * 0.5,
        ActivationKind::Relu => x.relu(),
        ActivationKind::Silu => x * sigmoid(x)?,
        ActivationKind::Tanh => x.tanh(),
    }
}

/// d value / d x; at 0 the ReLU's is 0, as PyTorch's.
pub(super) fn slope(kind: ActivationKind, x: &Tensor) -> Result<Tensor> {
    match kind {
        ActivationKind::Gelu => {
            let cdf = (((x * FRAC_1_SQRT_2)?.erf()? + 1.0)? * 0.5)?;
            let density = ((x.sqr()? * -0.5)?.exp()? * (1.0 / (2.0 * PI).sqrt()))?;
            cdf + (x * density)?
        }
        ActivationKind::GeluTanh => {
            let t = inner(x)?.tanh()?;
            let of_inner = ((x.sqr()? * (3.0 * CUBIC))? + 1.0)? * (2.0 / PI).sqrt();
            let rising = ((x * one_minus_square(&t)?)? * of_inner?)?;
            (((t + 1.0)? + rising)?) * 0.5
        }
        ActivationKind::Relu => x.gt(0.0)?.to_dtype(x.dtype()),
        ActivationKind::Silu => {
            let s = sigmoid(x)?;
            // s (1 + x (1 − s))
            &s * ((x * s.affine(-1.0, 1.0)?)? + 1.0)?
        }
        ActivationKind::Tanh => one_minus_square(&x.tanh()?),
    }
}

/// √(2/π) (x + 0.044715 x³).
fn inner(x: &Tensor) -> Result<Tensor> {
    let cube = (x * x.sqr()?)?;
    (x + (cube * CUBIC)?)? * (2.0 / PI).sqrt()
}

fn one_minus_square(t: &Tensor) -> Result<Tensor> {
    t.sqr()?.affine(-1.0, 1.0)
}

/// Where e^−x overflows, 1 / ∞ is the right 0.
fn sigmoid(x: &Tensor) -> Result<Tensor> {
    (x.neg()?.exp()? + 1.0)?.recip()
}
