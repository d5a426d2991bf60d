//! f(gate) ∘ up, row by row: both factors and their product pass through the caches once.

use std::mem::MaybeUninit;

use super::math::{ActivationKind, by_kind, value, value_and_slope};
use super::vectorised;

/// out = f(gate) ∘ up, of as many numbers each.
pub fn gate_row(kind: ActivationKind, gate: &[f32], up: &[f32], out: &mut [MaybeUninit<f32>]) {
    by_kind!(kind, |KIND| vectorised(
        #[inline(always)]
        || {
            for ((out, &gate), up) in out.iter_mut().zip(gate).zip(up) {
                out.write(value(KIND, gate) * up);
            }
        }
    ));
}

/// The gradients of both factors: f′(gate) ∘ up ∘ grad and f(gate) ∘ grad.
pub fn gate_row_backward(
    kind: ActivationKind,
    (gate, up): (&[f32], &[f32]),
    grad: &[f32],
    (to_gate, to_up): (&mut [MaybeUninit<f32>], &mut [MaybeUninit<f32>]),
) {
    by_kind!(kind, |KIND| vectorised(
        #[inline(always)]
        || {
            let inputs = gate.iter().zip(up).zip(grad);
            for ((to_gate, to_up), ((&gate, up), grad)) in to_gate.iter_mut().zip(to_up).zip(inputs) {
                let (y, slope) = value_and_slope(KIND, gate);
                to_gate.write(slope * up * grad);
                to_up.write(y * grad);
            }
        }
    ));
}
