//! The transformer layer that encoders share: attention and feed-forward with residuals, normalised before (vision,
//! ModernBERT) or after (BERT) each of them.

use std::sync::Arc;

use super::Outputs;
use super::tap::{Recorder, Tapped};
use crate::nn::{
    self, Activation, Angles, Attention, Bias, Disentangled, Gate, LayerNorm, Linear, Node, Recall, Rope, Rotary, Tape,
    Window, add, neighbours, relative_bucket, select, silence,
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

    /// The last hidden states at the positions read. After the last attention only these are computed, unless a tap
    /// looks at the others.
    pub fn forward(
        &self,
        tape: &mut Tape<'_>,
        x: Node,
        sequences: &Sequences,
        recorder: &mut Recorder<'_>,
    ) -> Result<Node, nn::Error> {
        let shared = self.shared(&sequences.offsets)?;
        let mut x = recorder.enter(tape, 0, x)?;
        let convolved = self.convolve(tape, &x, &sequences.offsets)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            if index > 0 {
                x = recorder.enter(tape, index, x)?;
            }
            let attended = self.attend(tape, (index, layer), &x, &shared, recorder)?;
            // Where everything is read there is nothing to pick.
            let picks = last && !sequences.read.iter().copied().eq(0..x.rows());
            let early = picks && !recorder.whole(self.layers.len());
            let (attended, residual) = if early {
                (select(tape, &attended, &sequences.read)?, select(tape, &x, &sequences.read)?)
            } else {
                (attended, x)
            };
            x = self.feed_forward(tape, (index, layer), &attended, residual, recorder)?;
            if index == 0
                && let Some((convolved, norm)) = &convolved
            {
                let convolved = if early { select(tape, convolved, &sequences.read)? } else { convolved.clone() };
                x = add(tape, &x, &convolved)?;
                x = norm.forward(tape, &x)?;
            }
            if last {
                recorder.hidden(index + 1, &x);
            }
            if picks && !early {
                x = select(tape, &x, &sequences.read)?;
            }
            tape.step()?;
        }
        Ok(x)
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
        (index, layer): (usize, &Layer),
        x: &Node,
        shared: &Shared<'_>,
        recorder: &mut Recorder<'_>,
    ) -> Result<Node, nn::Error> {
        let normed = match (self.norm, &layer.attention_norm) {
            (NormPlace::Before, Some(norm)) => Some(norm.forward(tape, x)?),
            _ => None,
        };
        let mut qkv = layer.qkv.forward(tape, normed.as_ref().unwrap_or(x))?;
        let silenced = recorder.silenced();
        if !silenced.is_empty() {
            qkv = silence(tape, &qkv, &silenced, qkv.cols() / 3 * 2..qkv.cols())?;
        }
        let (depth, offsets) = (qkv.cols() / 3 / self.heads.max(1), shared.offsets);
        let mut attention = Attention::new(self.heads, depth);
        let (mut bias, tapped) = (shared.bias.as_ref(), recorder.probabilities(index));
        match &layer.mixing {
            Mixing::Disentangled(attention) => {
                let (out, map) = attention.forward(tape, &qkv, offsets, tapped)?;
                recorder.attended(index, map, || Recall::disentangled(attention, (&qkv, &out), offsets))?;
                return Ok(out);
            }
            Mixing::Plain => {}
            Mixing::Biased(own) => bias = Some(own),
            Mixing::Rotary { rope, window } => {
                let rotary = Rotary { heads: self.heads, kv_heads: self.heads, depth };
                qkv = rotary.forward(tape, qkv, &shared.angles[*rope])?;
                attention.window = *window;
            }
        }
        let (out, map) = attention.forward(tape, &qkv, offsets, bias, tapped)?;
        recorder.attended(index, map, || Recall::plain(attention, bias, (&qkv, &out), offsets))?;
        Ok(out)
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
        (index, layer): (usize, &Layer),
        attended: &Node,
        residual: Node,
        recorder: &mut Recorder<'_>,
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
        recorder.activations(index, &up);
        let x = layer.down.forward_add(tape, &up, &x)?;
        match self.norm {
            NormPlace::Before => Ok(x),
            NormPlace::After => layer.feed_forward_norm.forward(tape, &x),
        }
    }
}

/// Refuses what JSON cannot hold.
pub fn outputs(input: Node, logits: Node, tapped: Tapped) -> Result<Outputs, nn::Error> {
    if logits.numbers()?.iter().any(|logit| !logit.is_finite()) {
        return Err(nn::Error::NotFinite);
    }
    Ok(Outputs { input, logits, tapped })
}
