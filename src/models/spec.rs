//! What a loaded model says about itself, in the terms methods and tasks need.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::input::Kind;
use crate::nn::Activation;

/// What a model can give. No method names a family, no family names a method: these decide what fits what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    Forward,
    Gradient,
    /// Attention probabilities over one sequence.
    Attention,
    /// Hidden states, feed-forward activations, and the head on any layer's state.
    Hidden,
    /// Maps over the image that keep its rows and columns.
    FeatureMap,
    /// ReLUs, beside other activations or not.
    Relu,
}

/// A set of [`Capability`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Capabilities(pub Vec<Capability>);

impl Capabilities {
    /// What every transformer over text has.
    pub fn of_transformers() -> Self {
        Self(vec![Capability::Forward, Capability::Gradient, Capability::Attention, Capability::Hidden])
    }

    /// The same and what `activations` add, which are those that stand between the input and the logits. One in a gate
    /// does not count: gradients go around it as well.
    pub fn with(mut self, activations: &[Activation]) -> Self {
        if activations.contains(&Activation::RELU) && !self.0.contains(&Capability::Relu) {
            self.0.push(Capability::Relu);
        }
        self
    }

    pub fn covers(&self, required: &[Capability]) -> bool {
        required.iter().all(|capability| self.0.contains(capability))
    }
}

/// How the logits of a classifier become probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// Softmax over the labels.
    SingleLabel,
    /// A sigmoid per label (also a single logit without `problem_type`, as in the pipelines).
    MultiLabel,
    /// No probability.
    Regression,
}

/// What the head's outputs are about, as the end of the architecture's name says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum About {
    /// The whole input: `…ForSequenceClassification`, `…ForImageClassification`.
    Sequence,
    /// Every token by itself: `…ForTokenClassification`.
    Tokens,
    /// Where an answer begins and ends, two logits a token: `…ForQuestionAnswering`.
    Span,
    /// The token that follows each: `…ForCausalLM`, `…LMHeadModel`.
    Next,
    /// The token that stands at each, of which masked ones are asked: `…ForMaskedLM`.
    Masked,
    /// A row's embedding, an image's or a text's: how like two are is `scale` × their cosine.
    Similarity { scale: f32 },
}

impl About {
    /// Whether the outputs are one a token of the vocabulary rather than one a label.
    pub fn over_vocabulary(self) -> bool {
        matches!(self, Self::Next | Self::Masked)
    }
}

/// Which positions of a row the head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reads {
    First,
    /// Any: a row names those it wants, and each gives an output.
    Each,
    /// The mean of all of them. A row names one position, which stands for its one output.
    Mean,
    /// The last token of the input that is no pad: causal classifiers. `pad` is `pad_token_id` of config.json, as
    /// transformers has it; `None`: the last token whatever it is.
    Last {
        pad: Option<u32>,
    },
}

impl Reads {
    /// The position that a row of these tokens names; 0 where all are pads. The tokens are the input's own: what
    /// stands in for one, be it a pad, does not move the position.
    pub fn position(self, ids: impl Iterator<Item = u32>) -> usize {
        match self {
            Self::First | Self::Mean | Self::Each => 0,
            Self::Last { pad } => {
                ids.enumerate().filter(|(_, id)| Some(*id) != pad).last().map_or(0, |(position, _)| position)
            }
        }
    }
}

/// One position of an image model's sequence, as `input.sequence` names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum SequenceItem {
    /// `"cls"`, `"distillation"`, `"register"`.
    Named(String),
    /// `[row, col]` of the patch grid.
    Patch([usize; 2]),
}

/// The input of an image model.
#[derive(Debug, Clone, PartialEq)]
pub struct ImageSpec {
    pub channels: usize,
    pub rows: usize,
    pub cols: usize,
    /// The patch grid (the last feature map's for convolutional models).
    pub grid_rows: usize,
    pub grid_cols: usize,
    /// What query and key count over; empty for models without attention over a sequence.
    pub sequence: Vec<SequenceItem>,
    /// As many feature maps as [`super::TapPlan`] can ask for.
    pub maps: usize,
}

impl ImageSpec {
    /// What an image costs in tokens: its sequence, or without one as many as a transformer with patches of 16 × 16
    /// would make of it.
    pub fn tokens(&self) -> usize {
        match self.sequence.len() {
            0 => (self.rows * self.cols).div_ceil(256).max(1),
            length => length,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Spec {
    /// `model_type`, as in `model.architecture` of an answer.
    pub architecture: String,
    pub kind: Kind,
    pub labels: Vec<String>,
    pub about: About,
    pub problem: Problem,
    pub hidden: usize,
    /// Text: columns of the word embedding, where gradients are taken. Not `hidden` where the model projects it.
    pub embedding: usize,
    /// Attention layers: as many maps as [`super::TapPlan`] can ask for.
    pub layers: usize,
    pub heads: usize,
    /// Text: the longest row in tokens.
    pub max_positions: usize,
    /// Text: rows of the word embedding.
    pub vocab: usize,
    /// Text: how many token types tell apart; 0: types are not sent.
    pub token_types: usize,
    pub image: Option<ImageSpec>,
    pub reads: Reads,
    pub capabilities: Capabilities,
}

impl Spec {
    /// Numbers that the head gives at a position.
    pub fn outputs(&self) -> usize {
        if self.about.over_vocabulary() { self.vocab } else { self.labels.len() }
    }

    /// What the head's work at `positions` positions is in tokens of a forward, whose layers multiply a token with about
    /// 12 · hidden² numbers each.
    pub fn head_tokens(&self, positions: usize) -> usize {
        positions.saturating_mul(self.outputs()) / (12 * self.hidden * self.layers).max(1)
    }

    /// Length in tokens of a row of `tokens` tokens (text) or of any row (images), for costs.
    pub fn row_tokens(&self, tokens: usize) -> usize {
        self.image.as_ref().map_or(tokens, ImageSpec::tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_is_much_of_a_forward() {
        let text = Kind::Text;
        let gpt2 = Spec {
            architecture: "gpt2".into(),
            kind: text,
            labels: Vec::new(),
            about: About::Next,
            problem: Problem::SingleLabel,
            hidden: 768,
            embedding: 768,
            layers: 12,
            heads: 12,
            max_positions: 1024,
            vocab: 50_257,
            token_types: 0,
            image: None,
            reads: Reads::Each,
            capabilities: Capabilities::of_transformers(),
        };
        // 38.6 million numbers against 85 million of the layers.
        assert_eq!(gpt2.head_tokens(1000), 454);
        assert_eq!(Spec { about: About::Sequence, ..gpt2 }.head_tokens(1000), 0);
    }

    #[test]
    fn the_last_token_is_no_pad() {
        let position = |reads: Reads, ids: &[u32]| reads.position(ids.iter().copied());
        let last = Reads::Last { pad: Some(2) };
        assert_eq!(
            [&[5, 6, 7][..], &[5, 2, 7], &[5, 2, 7, 2, 2], &[2, 2], &[]].map(|ids| position(last, ids)),
            [2, 2, 2, 0, 0]
        );
        assert_eq!(position(Reads::Last { pad: None }, &[5, 2, 2]), 2);
        assert_eq!([Reads::First, Reads::Mean].map(|reads| position(reads, &[5, 6])), [0, 0]);
    }
}
