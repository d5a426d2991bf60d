//! The one forward of the text encoders: embeddings, layers, head. A family is the parts that its file puts in.

use super::batch::Batch;
use super::embeddings::Embeddings;
use super::encoder::{Encoder, Sequences, outputs};
use super::head::Head;
use super::{Model, Outputs, Reads, Spec, TapPlan};
use crate::nn::{self, LayerNorm, Node, Tape, mean};

/// A text encoder with a head on the positions read, or on the mean of all.
pub struct TextEncoder {
    pub spec: Spec,
    pub embeddings: Embeddings,
    pub encoder: Encoder,
    /// Behind the last layer, in families that normalise before each.
    pub norm: Option<LayerNorm>,
    pub head: Head,
}

impl Model for TextEncoder {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        self.embeddings.words(tape, batch)
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let input = self.embed(tape, batch)?;
        let x = self.embeddings.forward(tape, &input, batch)?;
        let averaged = self.spec.reads == Reads::Mean;
        let read = if averaged { (0..x.rows()).collect() } else { batch.read() };
        let sequences = Sequences { offsets: batch.offsets(), read };
        let (mut x, maps) = self.encoder.forward(tape, x, &sequences, taps)?;
        if let Some(norm) = &self.norm {
            x = norm.forward(tape, &x)?;
        }
        if averaged {
            x = mean(tape, &x, &sequences.offsets)?;
        }
        let logits = self.head.forward(tape, &x)?;
        outputs(input, logits, maps)
    }
}
