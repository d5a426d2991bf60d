//! y = x Wᵀ + b and what follows it.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::activation::{slope, value};
use super::weights::Constants;
use super::{Backward, Session, Uploaded};
use crate::nn::kernel::{ActivationKind, Frozen};
use crate::nn::{Error, Node, Tape};

/// What follows the product.
pub(in crate::nn) enum After<'a> {
    Nothing,
    Residual(&'a Node),
    Activation(ActivationKind),
}

/// A layer's weight and bias on the host, and their copies on the device.
pub(in crate::nn) struct Layer<'a> {
    pub weight: &'a Frozen,
    pub bias: Option<&'a [f32]>,
    pub uploaded: &'a Uploaded,
}

impl Layer<'_> {
    /// rows × inputs to rows × outputs.
    ///
    /// # Errors
    /// `Device`.
    pub fn forward(
        &self,
        tape: &mut Tape<'_>,
        session: &Arc<Session>,
        x: &Node,
        after: &After<'_>,
    ) -> std::result::Result<Node, Error> {
        let residual = match after {
            After::Residual(node) => Some(*node),
            After::Nothing | After::Activation(_) => None,
        };
        session.apply(tape, "linear", (x, residual), |x, residual| {
            let Constants { weight, bias } = self.constants(session)?;
            let mut y = x.matmul(&weight.t()?)?;
            if let Some(bias) = &bias {
                y = y.broadcast_add(bias)?;
            }
            if let Some(residual) = residual {
                y = (y + residual)?;
            }
            match *after {
                After::Activation(kind) => {
                    Ok((value(kind, &y)?, LinearBackward { weight, activated: Some((kind, y)) }))
                }
                After::Nothing | After::Residual(_) => Ok((y, LinearBackward { weight, activated: None })),
            }
        })
    }

    /// The weight as outputs × inputs, and the bias.
    fn constants(&self, session: &Session) -> Result<Constants> {
        let device = session.device();
        self.uploaded.on(device, || {
            let shape = (self.weight.outputs(), self.weight.inputs());
            Ok(Constants {
                weight: Tensor::from_vec(self.weight.rows(), shape, device)?,
                bias: self.bias.map(|bias| Tensor::from_slice(bias, bias.len(), device)).transpose()?,
            })
        })
    }
}

struct LinearBackward {
    weight: Tensor,
    /// What an activation was applied to.
    activated: Option<(ActivationKind, Tensor)>,
}

impl Backward for LinearBackward {
    fn backward(&self, grad: &Tensor, wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let grad = match &self.activated {
            Some((kind, z)) => (grad * slope(*kind, z)?)?,
            None => grad.clone(),
        };
        let x = if wanted[0] { Some(grad.matmul(&self.weight)?) } else { None };
        Ok([x, wanted[1].then_some(grad)])
    }
}
