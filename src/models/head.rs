//! Classification heads over the positions read: one dense layer with its activation, then the logits.

use super::{LoadError, Weights};
use crate::nn::{self, Activation, LayerNorm, Linear, Node, Tape};

/// `out(norm(activation(dense(x))))`: BERT's pooler and classifier, RoBERTa's, DistilBERT's, ELECTRA's head alike,
/// without a norm, and ModernBERT's with one.
pub struct Head {
    pub dense: Linear,
    pub activation: Activation,
    pub norm: Option<LayerNorm>,
    pub out: Linear,
}

/// The tensors of a [`Head`].
pub struct HeadNames {
    pub dense: &'static str,
    pub out: &'static str,
}

impl Head {
    /// # Errors
    /// Names every tensor that is missing: a head is never filled in.
    pub fn load(
        weights: &Weights<'_>,
        names: &HeadNames,
        activation: Activation,
        hidden: usize,
        labels: usize,
    ) -> Result<Self, LoadError> {
        weights.require_head(&[names.dense, names.out], true)?;
        Ok(Self {
            dense: weights.linear(names.dense, hidden, hidden, true)?,
            activation,
            norm: None,
            out: weights.linear(names.out, hidden, labels, true)?,
        })
    }

    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, nn::Error> {
        let mut x = self.dense.forward_activated(tape, x, self.activation)?;
        if let Some(norm) = &self.norm {
            x = norm.forward(tape, &x)?;
        }
        self.out.forward(tape, &x)
    }
}
