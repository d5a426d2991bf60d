//! Layer normalisation, two-pass as on the host.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::weights::Constants;
use super::{Backward, Session, Uploaded};
use crate::nn::{Error, Node, Tape};

/// A layer's constants on the host, and their copies on the device.
pub(in crate::nn) struct Norm<'a> {
    pub weight: &'a [f32],
    pub bias: &'a [f32],
    pub epsilon: f32,
    pub uploaded: &'a Uploaded,
}

impl Norm<'_> {
    /// Normalises the rows of `x`, which have as many columns as the weight numbers.
    ///
    /// # Errors
    /// `Device`.
    pub fn forward(&self, tape: &mut Tape<'_>, session: &Arc<Session>, x: &Node) -> std::result::Result<Node, Error> {
        session.apply(tape, "layer norm", (x, None), |x, _| {
            let Constants { weight, bias } = self.uploaded.on(session.device(), || {
                let upload = |numbers| Tensor::from_slice(numbers, numbers.len(), session.device());
                Ok(Constants { weight: upload(self.weight)?, bias: Some(upload(self.bias)?) })
            })?;
            let (standardised, _) = standardise(x, self.epsilon)?;
            let mut y = standardised.broadcast_mul(&weight)?;
            if let Some(bias) = &bias {
                y = y.broadcast_add(bias)?;
            }
            Ok((y, NormBackward { x: x.clone(), weight, epsilon: self.epsilon }))
        })
    }
}

/// x̂ = (x − mean) / σ, and 1 / σ of every row.
fn standardise(x: &Tensor, epsilon: f32) -> Result<(Tensor, Tensor)> {
    let deviation = x.broadcast_sub(&x.mean_keepdim(1)?)?;
    let scale = (deviation.sqr()?.mean_keepdim(1)? + f64::from(epsilon))?.sqrt()?.recip()?;
    Ok((deviation.broadcast_mul(&scale)?, scale))
}

struct NormBackward {
    x: Tensor,
    weight: Tensor,
    epsilon: f32,
}

impl Backward for NormBackward {
    /// With g = grad ∘ weight: dx = (g − mean(g) − x̂ mean(g ∘ x̂)) / σ. x̂ is computed again rather than kept.
    fn backward(&self, grad: &Tensor, _wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let (standardised, scale) = standardise(&self.x, self.epsilon)?;
        let g = grad.broadcast_mul(&self.weight)?;
        let along = (&g * &standardised)?.mean_keepdim(1)?;
        let centered = g.broadcast_sub(&g.mean_keepdim(1)?)?;
        let dx = (centered - standardised.broadcast_mul(&along)?)?.broadcast_mul(&scale)?;
        Ok([Some(dx), None])
    }
}
