//! The one forward of the decoders: causal attention and feed-forward, each behind a norm and added to what came in,
//! and a linear head on the positions read: labels, or the vocabulary's logits of what follows. A family is the parts that its file puts in.

use std::sync::Arc;

use super::batch::Batch;
use super::embeddings::Embeddings;
use super::encoder::outputs;
use super::tap::Recorder;
use super::{About, LoadError, Model, Outputs, Spec, TapPlan, Weights};
use crate::nn::{
    self, Activation, Angles, Attention, Gate, LayerNorm, Linear, Node, Past, QueryKeyNorm, Recall, RmsNorm, Rope,
    Rotary, Softcap, Tape, add, select, silence,
};

/// A decoder with a head on the positions read.
pub struct Decoder {
    pub spec: Spec,
    pub embeddings: Embeddings,
    pub layers: Vec<Layer>,
    pub activation: Activation,
    /// activation(a) ∘ b in place of activation(a), [a | b] being what `up` gives.
    pub gated: bool,
    pub ropes: Vec<Rope>,
    /// Behind the last layer.
    pub norm: Norm,
    pub score: Linear,
    /// Keeps the logits within a cap (Gemma 2).
    pub softcap: Option<Softcap>,
}

/// The norms of a family.
pub enum Norm {
    Layer(LayerNorm),
    Rms(RmsNorm),
}

/// The weights of one layer.
pub struct Layer {
    pub attention_norm: Norm,
    /// Query, key and value side by side.
    pub qkv: Linear,
    /// Of every head's queries and keys.
    pub head_norm: Option<QueryKeyNorm>,
    /// Turns queries and keys by their positions: the rope's place in [`Decoder::ropes`].
    pub rope: Option<usize>,
    pub attention: Attention,
    pub output: Linear,
    /// Of the attention's result, before it is added.
    pub attended_norm: Option<Norm>,
    pub feed_forward_norm: Norm,
    /// With a gate, both of its halves side by side.
    pub up: Linear,
    pub down: Linear,
    /// Of the feed-forward's result, before it is added.
    pub fed_norm: Option<Norm>,
}

impl Norm {
    fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, nn::Error> {
        match self {
            Self::Layer(norm) => norm.forward(tape, x),
            Self::Rms(norm) => norm.forward(tape, x),
        }
    }
}

/// x + norm(linear(y)); without a norm in one product.
fn added(tape: &mut Tape<'_>, linear: &Linear, norm: Option<&Norm>, y: &Node, x: &Node) -> Result<Node, nn::Error> {
    let Some(norm) = norm else { return linear.forward_add(tape, y, x) };
    let y = linear.forward(tape, y)?;
    let y = norm.forward(tape, &y)?;
    add(tape, x, &y)
}

/// The head that `spec`'s architecture has: of a classifier `score`, of a language model `lm_head`, or where that is
/// `tied` the word embeddings of that name.
///
/// # Errors
/// Names the tensor that is missing: a head is never filled in.
pub fn score(weights: &Weights<'_>, spec: &Spec, (words, tied): (&str, bool)) -> Result<Linear, LoadError> {
    let name = match spec.about {
        About::Next if tied => words,
        About::Next => "lm_head",
        _ => "score",
    };
    weights.require_of_head([format!("{name}.weight")])?;
    weights.linear(name, spec.hidden, spec.outputs(), false)
}

impl Decoder {
    /// The angles of every rope: all layers share them.
    fn angles(&self, offsets: &[usize], batch: &Batch) -> Result<Vec<Arc<Angles>>, nn::Error> {
        if self.ropes.is_empty() {
            return Ok(Vec::new());
        }
        let rows = batch.before().zip(&batch.rows);
        let positions: Vec<usize> = rows.flat_map(|(before, row)| before..before + row.len()).collect();
        self.ropes.iter().map(|rope| rope.angles(offsets, &positions).map(Arc::new)).collect()
    }

    fn feed_forward(
        &self,
        tape: &mut Tape<'_>,
        index: usize,
        x: &Node,
        recorder: &mut Recorder<'_>,
    ) -> Result<Node, nn::Error> {
        let layer = &self.layers[index];
        let inner = layer.feed_forward_norm.forward(tape, x)?;
        let up = match self.gated {
            true => {
                let up = layer.up.forward(tape, &inner)?;
                Gate { activation: self.activation }.forward(tape, &up)?
            }
            false => layer.up.forward_activated(tape, &inner, self.activation)?,
        };
        recorder.activations(index, &up);
        added(tape, &layer.down, layer.fed_norm.as_ref(), &up, x)
    }
}

impl Layer {
    fn attend(
        &self,
        tape: &mut Tape<'_>,
        x: &Node,
        (offsets, past): (&[usize], Option<Past<'_>>),
        angles: &[Arc<Angles>],
        (index, recorder): (usize, &mut Recorder<'_>),
    ) -> Result<Node, nn::Error> {
        let normed = self.attention_norm.forward(tape, x)?;
        let mut qkv = self.qkv.forward(tape, &normed)?;
        if let Some(norm) = &self.head_norm {
            qkv = norm.forward(tape, qkv)?;
        }
        if let Some(angles) = self.rope.and_then(|rope| angles.get(rope)) {
            let Attention { heads, kv_heads, depth, .. } = self.attention;
            qkv = Rotary { heads, kv_heads, depth }.forward(tape, qkv, angles)?;
        }
        let silenced = recorder.silenced();
        if !silenced.is_empty() {
            let Attention { heads, kv_heads, depth, .. } = self.attention;
            qkv = silence(tape, &qkv, &silenced, (heads + kv_heads) * depth..qkv.cols())?;
        }
        recorder.read(&self.attention, &qkv, past)?;
        if let Some(past) = past {
            return self.attention.behind(tape, &qkv, offsets, past);
        }
        let (out, map) = self.attention.forward(tape, &qkv, offsets, None, recorder.probabilities(index))?;
        recorder.attended(index, map, || Recall::plain(self.attention, None, (&qkv, &out), offsets))?;
        Ok(out)
    }
}

impl Model for Decoder {
    /// Unless a rope turns rows of that length otherwise than shorter ones.
    fn reuses(&self, tokens: usize) -> bool {
        !self.ropes.iter().any(|rope| rope.depends_on(tokens))
    }

    fn kept(&self) -> usize {
        self.layers.iter().map(|layer| 2 * layer.attention.kv_heads * layer.attention.depth).sum()
    }

    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        self.embeddings.words(tape, batch)
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let Outputs { input, logits: states, mut tapped } = self.states(tape, batch, taps)?;
        let logits = self.head(tape, &states)?;
        tapped.read_lenses((self.layers.len(), &logits), |states| self.head(tape, states))?;
        outputs(input, logits, tapped)
    }

    /// The logits of last hidden states.
    fn head(&self, tape: &mut Tape<'_>, states: &Node) -> Result<Node, nn::Error> {
        let x = self.norm.forward(tape, states)?;
        let logits = self.score.forward(tape, &x)?;
        Ok(match self.softcap {
            Some(softcap) => softcap.forward(tape, logits),
            None => logits,
        })
    }

    fn states(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let input = self.embed(tape, batch)?;
        let mut x = self.embeddings.forward(tape, &input, batch)?;
        let (offsets, read) = (batch.offsets(), batch.read());
        let angles = self.angles(&offsets, batch)?;
        let mut recorder = Recorder::new(taps, self.spec.heads, &offsets, &read);
        let layers = self.layers.len();
        for (index, layer) in self.layers.iter().enumerate() {
            x = recorder.enter(tape, index, x)?;
            let rows = (&offsets[..], batch.past(index));
            let mut attended = layer.attend(tape, &x, rows, &angles, (index, &mut recorder))?;
            // After the last attention only the positions read are computed, unless a tap looks at the others.
            let (last, whole) = (index + 1 == layers, recorder.whole(layers));
            if last && !whole {
                attended = select(tape, &attended, &read)?;
                x = select(tape, &x, &read)?;
            }
            x = added(tape, &layer.output, layer.attended_norm.as_ref(), &attended, &x)?;
            x = self.feed_forward(tape, index, &x, &mut recorder)?;
            if last {
                recorder.hidden(layers, &x);
            }
            if last && whole {
                x = select(tape, &x, &read)?;
            }
            tape.step()?;
        }
        recorder.read_lenses(tape, (layers, &x), |_, x| Ok(x.clone()))?;
        Ok(Outputs { input, logits: x, tapped: recorder.finish()? })
    }
}
