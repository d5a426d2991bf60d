//! The transformer layer that encoders share: attention and feed-forward with residuals, normalised before (vision,
//! ModernBERT) or after (BERT) each of them.

use std::sync::Arc;

use super::tap::Tapped;
use super::{AttentionMap, Outputs, TapPlan};
use crate::nn::{
    self, Activation, Angles, Attention, Bias, Disentangled, Gate, LayerNorm, Linear, Node, Rope, Rotary, Tape, Window,
    add, neighbours, relative_bucket, select,
};

/// Where the normalisation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// x + f(norm(x)), as in ViT.
    Before,
    /// norm(x + f(x)), as in BERT.
    After,
}

/// How the tokens of a sequence look at one another.
#[derive(Clone)]
pub enum Mixing {
    /// Softmax of queries against keys.
    Plain,
    /// The same, with a number added to every score.
    Biased(Bias),
    /// The same within a window, queries and keys turned by their positions: the rope's place in [`Encoder::ropes`].
    Rotary { rope: usize, window: Option<Window> },
    /// The same with relative positions, as in DeBERTa.
    Disentangled(Arc<Disentangled>),
}

/// A number for every head and distance between tokens, added to all layers' scores, as in MPNet.
pub struct RelativeBias {
    /// Buckets × heads.
    pub table: Vec<f32>,
    pub buckets: usize,
    /// Distances beyond share the last bucket.
    pub furthest: usize,
}

/// A convolution over the sequence whose result is added behind the first layer, as in DeBERTa v2:
/// norm(x₁ + activation(conv(x₀))).
pub struct Convolution {
    /// Tokens side by side, an odd number.
    pub width: usize,
    /// Over `width` tokens side by side.
    pub linear: Linear,
    pub activation: Activation,
    pub norm: LayerNorm,
}

/// The weights of one layer. A copy shares them.
#[derive(Clone)]
pub struct Layer {
    /// Query, key and value side by side.
    pub qkv: Linear,
    pub mixing: Mixing,
    pub output: Linear,
    /// `None`: ModernBERT's first layer, behind the embeddings' own norm.
    pub attention_norm: Option<LayerNorm>,
    /// With a gate, both of its halves side by side.
    pub up: Linear,
    pub down: Linear,
    pub feed_forward_norm: LayerNorm,
}

pub struct Encoder {
    pub layers: Vec<Layer>,
    pub heads: usize,
    pub activation: Activation,
    pub norm: NormPlace,
    /// activation(a) ∘ b in place of activation(a), [a | b] being what `up` gives.
    pub gated: bool,
    pub ropes: Vec<Rope>,
    pub bias: Option<RelativeBias>,
    pub convolution: Option<Convolution>,
}

/// Packed sequences: their borders, and the packed positions whose last hidden states are wanted.
pub struct Sequences {
    pub offsets: Vec<usize>,
    pub read: Vec<usize>,
}

/// What a batch's layers share.
struct Shared<'a> {
    offsets: &'a [usize],
    bias: Option<Bias>,
    /// Of every rope.
    angles: Vec<Arc<Angles>>,
}

impl Encoder {
    /// Plain layers, as most families have.
    pub fn new(layers: Vec<Layer>, heads: usize, activation: Activation, norm: NormPlace) -> Self {
        Self { layers, heads, activation, norm, gated: false, ropes: Vec::new(), bias: None, convolution: None }
    }

    /// The last hidden states at the positions read, and the tapped attention maps. After the last attention only
    /// the positions read are computed.
    pub fn forward(
        &self,
        tape: &mut Tape<'_>,
        x: Node,
        sequences: &Sequences,
        taps: &TapPlan,
    ) -> Result<(Node, Vec<AttentionMap>), nn::Error> {
        let shared = self.shared(&sequences.offsets)?;
        let convolved = self.convolve(tape, &x, &sequences.offsets)?;
        let mut x = x;
        let mut tapped = Tapped::new(taps, self.heads, &sequences.offsets);
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            let (attended, map) = self.attend(tape, layer, &x, &shared, tapped.wants(index))?;
            // Where everything is read there is nothing to pick.
            let (attended, residual) = if last && !sequences.read.iter().copied().eq(0..x.rows()) {
                (select(tape, &attended, &sequences.read)?, select(tape, &x, &sequences.read)?)
            } else {
                (attended, x)
            };
            x = self.feed_forward(tape, layer, &attended, residual)?;
            if index == 0
                && let Some((convolved, norm)) = &convolved
            {
                let convolved = if last { select(tape, convolved, &sequences.read)? } else { convolved.clone() };
                x = add(tape, &x, &convolved)?;
                x = norm.forward(tape, &x)?;
            }
            tapped.keep(index, map);
            tape.step()?;
        }
        Ok((x, tapped.finish()?))
    }

    fn shared<'a>(&self, offsets: &'a [usize]) -> Result<Shared<'a>, nn::Error> {
        let bias = self.bias.as_ref().map(|bias| {
            Bias::relative(self.heads, offsets, |head, distance| {
                bias.table[relative_bucket(distance, bias.buckets, bias.furthest, true) * self.heads + head]
            })
        });
        let positions: Vec<usize> = match self.ropes.is_empty() {
            true => Vec::new(),
            false => offsets.windows(2).flat_map(|pair| 0..pair[1] - pair[0]).collect(),
        };
        let angles = self.ropes.iter().map(|rope| rope.angles(offsets, &positions).map(Arc::new));
        Ok(Shared { offsets, bias, angles: angles.collect::<Result<_, _>>()? })
    }

    fn attend(
        &self,
        tape: &mut Tape<'_>,
        layer: &Layer,
        x: &Node,
        shared: &Shared<'_>,
        tapped: bool,
    ) -> Result<(Node, Option<nn::Probabilities>), nn::Error> {
        let normed = match (self.norm, &layer.attention_norm) {
            (NormPlace::Before, Some(norm)) => Some(norm.forward(tape, x)?),
            _ => None,
        };
        let mut qkv = layer.qkv.forward(tape, normed.as_ref().unwrap_or(x))?;
        let depth = qkv.cols() / 3 / self.heads.max(1);
        let mut attention = Attention::new(self.heads, depth);
        match &layer.mixing {
            Mixing::Disentangled(attention) => return attention.forward(tape, &qkv, shared.offsets, tapped),
            Mixing::Plain => {}
            Mixing::Biased(bias) => return attention.forward(tape, &qkv, shared.offsets, Some(bias), tapped),
            Mixing::Rotary { rope, window } => {
                let rotary = Rotary { heads: self.heads, kv_heads: self.heads, depth };
                qkv = rotary.forward(tape, qkv, &shared.angles[*rope])?;
                attention.window = *window;
            }
        }
        attention.forward(tape, &qkv, shared.offsets, shared.bias.as_ref(), tapped)
    }

    /// activation(conv(x)) of every token, and the norm of its sum with the first layer's result.
    fn convolve(
        &self,
        tape: &mut Tape<'_>,
        x: &Node,
        offsets: &[usize],
    ) -> Result<Option<(Node, &LayerNorm)>, nn::Error> {
        let Some(convolution) = &self.convolution else { return Ok(None) };
        let x = neighbours(tape, x, offsets, convolution.width)?;
        let x = convolution.linear.forward_activated(tape, &x, convolution.activation)?;
        Ok(Some((x, &convolution.norm)))
    }

    fn feed_forward(
        &self,
        tape: &mut Tape<'_>,
        layer: &Layer,
        attended: &Node,
        residual: Node,
    ) -> Result<Node, nn::Error> {
        let x = layer.output.forward_add(tape, attended, &residual)?;
        let (inner, x) = match (self.norm, &layer.attention_norm) {
            (NormPlace::Before, _) => (layer.feed_forward_norm.forward(tape, &x)?, x),
            (NormPlace::After, Some(norm)) => {
                let x = norm.forward(tape, &x)?;
                (x.clone(), x)
            }
            (NormPlace::After, None) => (x.clone(), x),
        };
        let up = match self.gated {
            true => {
                let up = layer.up.forward(tape, &inner)?;
                Gate { activation: self.activation }.forward(tape, &up)?
            }
            false => layer.up.forward_activated(tape, &inner, self.activation)?,
        };
        let x = layer.down.forward_add(tape, &up, &x)?;
        match self.norm {
            NormPlace::Before => Ok(x),
            NormPlace::After => layer.feed_forward_norm.forward(tape, &x),
        }
    }
}

/// Refuses what JSON cannot hold.
pub fn outputs(input: Node, logits: Node, attention: Vec<AttentionMap>) -> Result<Outputs, nn::Error> {
    if logits.numbers()?.iter().any(|logit| !logit.is_finite()) {
        return Err(nn::Error::NotFinite);
    }
    Ok(Outputs { input, logits, attention })
}
