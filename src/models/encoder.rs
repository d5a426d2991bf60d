//! The transformer layer that encoders share: attention and feed-forward with residuals, normalised before (vision)
//! or after (BERT) each of them.

use super::{AttentionMap, Outputs, TapPlan};
use crate::nn::{self, Activation, Attention, LayerNorm, Linear, Node, Tape, select};

/// Where the normalisation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NormPlace {
    /// x + f(norm(x)), as in ViT.
    Before,
    /// norm(x + f(x)), as in BERT.
    After,
}

/// The weights of one layer.
pub struct Layer {
    /// Query, key and value side by side.
    pub qkv: Linear,
    pub output: Linear,
    pub attention_norm: LayerNorm,
    pub up: Linear,
    pub down: Linear,
    pub feed_forward_norm: LayerNorm,
}

pub struct Encoder {
    pub layers: Vec<Layer>,
    pub heads: usize,
    pub activation: Activation,
    pub norm: NormPlace,
}

/// Packed sequences: their borders, and the packed positions whose last hidden states are wanted.
pub struct Sequences {
    pub offsets: Vec<usize>,
    pub read: Vec<usize>,
}

impl Encoder {
    /// The last hidden states at the positions read, and the tapped attention maps. After the last attention only
    /// the positions read are computed.
    pub fn forward(
        &self,
        tape: &mut Tape<'_>,
        x: Node,
        sequences: &Sequences,
        taps: &TapPlan,
    ) -> Result<(Node, Vec<AttentionMap>), nn::Error> {
        let mut x = x;
        let mut maps: Vec<Option<AttentionMap>> = taps.attention.iter().map(|_| None).collect();
        for (index, layer) in self.layers.iter().enumerate() {
            let last = index + 1 == self.layers.len();
            let tapped = taps.attention.contains(&index);
            let (attended, map) = self.attend(tape, layer, &x, &sequences.offsets, tapped)?;
            let (attended, residual) = if last {
                (select(tape, &attended, &sequences.read)?, select(tape, &x, &sequences.read)?)
            } else {
                (attended, x)
            };
            x = self.feed_forward(tape, layer, &attended, residual)?;
            if let Some(values) = map {
                let lengths: Vec<usize> = sequences.offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
                let map = AttentionMap { layer: index, heads: self.heads, lengths, values: values.values };
                for (slot, _) in maps.iter_mut().zip(&taps.attention).filter(|(_, wanted)| **wanted == index) {
                    *slot = Some(map.clone());
                }
            }
            tape.step()?;
        }
        let maps = maps.into_iter().zip(&taps.attention).map(|(map, wanted)| {
            map.ok_or_else(|| nn::Error::Shape { op: "tap", detail: format!("the model has no layer {wanted}") })
        });
        Ok((x, maps.collect::<Result<_, _>>()?))
    }

    fn attend(
        &self,
        tape: &mut Tape<'_>,
        layer: &Layer,
        x: &Node,
        offsets: &[usize],
        tapped: bool,
    ) -> Result<(Node, Option<nn::Probabilities>), nn::Error> {
        let normed = match self.norm {
            NormPlace::Before => Some(layer.attention_norm.forward(tape, x)?),
            NormPlace::After => None,
        };
        let qkv = layer.qkv.forward(tape, normed.as_ref().unwrap_or(x))?;
        Attention { heads: self.heads }.forward(tape, &qkv, offsets, tapped)
    }

    fn feed_forward(
        &self,
        tape: &mut Tape<'_>,
        layer: &Layer,
        attended: &Node,
        residual: Node,
    ) -> Result<Node, nn::Error> {
        let x = layer.output.forward_add(tape, attended, &residual)?;
        let (inner, x) = match self.norm {
            NormPlace::Before => (layer.feed_forward_norm.forward(tape, &x)?, x),
            NormPlace::After => {
                let x = layer.attention_norm.forward(tape, &x)?;
                (x.clone(), x)
            }
        };
        let up = layer.up.forward_activated(tape, &inner, self.activation)?;
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
