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

/// The tensors of the [`Head`] that fills masks.
pub struct MaskNames {
    pub dense: &'static str,
    pub norm: &'static str,
    /// The logits' weight where it is not the word embeddings.
    pub decoder: &'static str,
    /// The module that the logits' bias stands in.
    pub bias: &'static str,
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
            // No encoder's head says what follows; what fills masks is [`Head::masks`].
            About::Tokens | About::Next | About::Masked => TOKENS,
            About::Span => SPAN,
        };
        weights.require_head(&[plain], true)?;
        Ok(Self { dense: None, out: weights.linear(plain, hidden, labels, true)? })
    }

    /// The head that fills masks: the logits of every word of the vocabulary. `tied` is the name of the word embeddings,
    /// where the logits' weight is theirs.
    ///
    /// # Errors
    /// Names every tensor that is missing.
    pub fn masks(
        weights: &Weights<'_>,
        names: &MaskNames,
        tied: Option<&str>,
        activation: Activation,
        epsilon: f32,
        spec: &Spec,
    ) -> Result<Self, LoadError> {
        let MaskNames { dense, norm, decoder, bias } = *names;
        let weight = format!("{}.weight", tied.unwrap_or(decoder));
        // Where the matrix is its own the bias beside it counts; else files hold it once, under either name.
        let (own, shared) = (format!("{decoder}.bias"), format!("{bias}.bias"));
        let beside = weights.contains(&own) && (tied.is_none() || !weights.contains(&shared));
        let bias = if beside { own } else { shared };
        let parts = [format!("{dense}.weight"), format!("{dense}.bias"), weight.clone(), bias.clone()];
        weights.require_of_head(parts)?;
        let linear = weights.linear(dense, spec.hidden, spec.hidden, true)?;
        let norm = Some(weights.layer_norm(norm, spec.hidden, epsilon)?);
        let out = weights.linear_of(&weight, &bias, spec.hidden, spec.outputs())?;
        Ok(Self { dense: Some(Dense { linear, activation, norm }), out })
    }

    /// What stands before the logits, if anything does.
    pub fn activations(&self) -> Vec<Activation> {
        self.dense.iter().map(|dense| dense.activation).collect()
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
