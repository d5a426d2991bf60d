//! Heads over the positions read: of a sequence, a dense layer with its activation and then the logits; of tokens and
//! spans, mostly the logits alone.

use super::{About, LoadError, Spec, Weights};
use crate::nn::{self, Activation, LayerNorm, Linear, Node, Tape};

/// `out(norm(activation(dense(x))))`: BERT's pooler and classifier, RoBERTa's, DistilBERT's, ELECTRA's head alike,
/// without a norm, and ModernBERT's with one. Heads of tokens and spans have no dense layer, but for ModernBERT's.
pub struct Head {
    pub dense: Option<Dense>,
    pub out: Linear,
}

/// What stands before the logits.
pub struct Dense {
    pub linear: Linear,
    pub activation: Activation,
    pub norm: Option<LayerNorm>,
}

/// The tensors of a sequence's [`Head`]. Those of tokens and spans have the same names in every family.
pub struct HeadNames {
    pub dense: &'static str,
    pub out: &'static str,
}

const TOKENS: &str = "classifier";
const SPAN: &str = "qa_outputs";

impl Head {
    /// The head that `spec`'s architecture has; `names` and `activation` are those of a sequence's.
    ///
    /// # Errors
    /// Names every tensor that is missing: a head is never filled in.
    pub fn load(
        weights: &Weights<'_>,
        names: &HeadNames,
        activation: Activation,
        hidden: usize,
        spec: &Spec,
    ) -> Result<Self, LoadError> {
        let labels = spec.labels.len();
        let plain = match spec.about {
            About::Sequence | About::Similarity { .. } => {
                weights.require_head(&[names.dense, names.out], true)?;
                let linear = weights.linear(names.dense, hidden, hidden, true)?;
                let dense = Some(Dense { linear, activation, norm: None });
                return Ok(Self { dense, out: weights.linear(names.out, hidden, labels, true)? });
            }
            // No encoder's head says what follows.
            About::Tokens | About::Next => TOKENS,
            About::Span => SPAN,
        };
        weights.require_head(&[plain], true)?;
        Ok(Self { dense: None, out: weights.linear(plain, hidden, labels, true)? })
    }

    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, nn::Error> {
        let Some(dense) = &self.dense else { return self.out.forward(tape, x) };
        let mut x = dense.linear.forward_activated(tape, x, dense.activation)?;
        if let Some(norm) = &dense.norm {
            x = norm.forward(tape, &x)?;
        }
        self.out.forward(tape, &x)
    }
}
