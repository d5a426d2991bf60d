//! The one forward of the text encoders: embeddings, layers, head. A family is the parts that its file puts in.

use super::batch::Batch;
use super::embeddings::Embeddings;
use super::encoder::{Encoder, Sequences, outputs};
use super::head::Head;
use super::tap::Recorder;
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

impl TextEncoder {
    /// What the head reads of last hidden states: of the positions read, or the mean of all those between `offsets`.
    fn settled(&self, tape: &mut Tape<'_>, x: &Node, offsets: &[usize]) -> Result<Node, nn::Error> {
        let x = match &self.norm {
            Some(norm) => norm.forward(tape, x)?,
            None => x.clone(),
        };
        match self.spec.reads {
            Reads::Mean => mean(tape, &x, offsets),
            Reads::First | Reads::Each | Reads::Last { .. } => Ok(x),
        }
    }
}

impl Model for TextEncoder {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        self.embeddings.words(tape, batch)
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let Outputs { input, logits: states, mut tapped } = self.states(tape, batch, taps)?;
        let logits = self.head(tape, &states)?;
        tapped.read_lenses((self.encoder.layers.len(), &logits), |states| self.head(tape, states))?;
        outputs(input, logits, tapped)
    }

    fn head(&self, tape: &mut Tape<'_>, states: &Node) -> Result<Node, nn::Error> {
        self.head.forward(tape, states)
    }

    fn states(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let input = self.embed(tape, batch)?;
        let x = self.embeddings.forward(tape, &input, batch)?;
        let averaged = self.spec.reads == Reads::Mean;
        let read = if averaged { (0..x.rows()).collect() } else { batch.read() };
        let sequences = Sequences { offsets: batch.offsets(), read };
        let mut recorder = Recorder::new(taps, self.spec.heads, &sequences.offsets, &sequences.read);
        let x = self.encoder.forward(tape, x, &sequences, &mut recorder)?;
        let states = self.settled(tape, &x, &sequences.offsets)?;
        let lens = (self.encoder.layers.len(), &states);
        recorder.read_lenses(tape, lens, |tape, x| self.settled(tape, x, &sequences.offsets))?;
        Ok(Outputs { input, logits: states, tapped: recorder.finish()? })
    }
}
