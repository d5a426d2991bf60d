//! Classification heads over the positions read: one dense layer with its activation, then the logits.

use super::{LoadError, Weights};
use crate::nn::{self, Activation, Linear, Node, Tape};

/// `out(activation(dense(x)))`: BERT's pooler and classifier, RoBERTa's, DistilBERT's, ELECTRA's head alike.
pub struct Head {
    dense: Linear,
    activation: Activation,
    out: Linear,
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
        weights.require(&[names.dense, names.out])?;
        Ok(Self {
            dense: weights.linear(names.dense, hidden, hidden, true)?,
            activation,
            out: weights.linear(names.out, hidden, labels, true)?,
        })
    }

    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, nn::Error> {
        let x = self.dense.forward_activated(tape, x, self.activation)?;
        self.out.forward(tape, &x)
    }
}
