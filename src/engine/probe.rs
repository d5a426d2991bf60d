//! The first forward of a model and the proof, after something went wrong, that it still computes what it did then.

use super::evaluate::{Evaluate, Question};
use crate::models::{Batch, Capability, Content, Reads, Row, Spec};
use crate::nn::{self, Precision};

/// The probe row's logits as they were when the model was loaded.
#[derive(Debug, Clone)]
pub struct Probe {
    logits: Vec<u32>,
}

impl Probe {
    /// Runs a short forward and, where the model has gradients, a backward, so that the first request meets warm
    /// pages and a running thread pool.
    ///
    /// # Errors
    /// The model cannot compute a row that follows its own description, or its logits are not finite.
    pub fn warm_up(model: &dyn Evaluate) -> Result<Self, nn::Error> {
        let batch = batch(model.spec());
        let logits = logits(model, &batch)?;
        if model.spec().capabilities.covers(&[Capability::Gradient]) {
            let seed = |_, logits: &[f32]| Ok(vec![1.0; logits.len()]);
            model.evaluate(&(), &batch, Question { objectives: 1, seed: &seed, ..Question::logits(Precision::F32) })?;
        }
        Ok(Self { logits })
    }

    /// Whether the probe row still gives the same bits.
    pub fn holds(&self, model: &dyn Evaluate) -> bool {
        logits(model, &batch(model.spec())).is_ok_and(|logits| logits == self.logits)
    }
}

fn logits(model: &dyn Evaluate, batch: &Batch) -> Result<Vec<u32>, nn::Error> {
    let evaluation = model.evaluate(&(), batch, Question::logits(Precision::F32))?;
    Ok(evaluation.logits.iter().map(|logit| logit.to_bits()).collect())
}

/// One short row of varied content that every model of this description can read.
fn batch(spec: &Spec) -> Batch {
    let content = match &spec.image {
        Some(image) => {
            let size = image.channels * image.rows * image.cols;
            Content::Pixels((0..size).map(|index| (index % 17) as f32 / 8.0 - 1.0).collect())
        }
        None => {
            let tokens = spec.max_positions.clamp(1, 16);
            let ids = (0..tokens).map(|index| ((index * 31 + 1) % spec.vocab.max(1)) as u32).collect();
            Content::Tokens { ids, type_ids: vec![0; if spec.token_types > 0 { tokens } else { 0 }] }
        }
    };
    let read = match spec.reads {
        Reads::First | Reads::Mean | Reads::Each => vec![0],
    };
    Batch::new(vec![Row { content, read }])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::Fake;

    #[test]
    fn a_sound_model_holds() {
        let model = Fake::new();
        let probe = Probe::warm_up(&model).unwrap();
        assert!(probe.holds(&model));
        assert_eq!(model.gradients.get(), 1, "the warm-up differentiates");
    }

    #[test]
    fn a_model_that_answers_otherwise_does_not_hold() {
        let mut model = Fake::new();
        let probe = Probe::warm_up(&model).unwrap();
        model.bias = f32::EPSILON * 64.0;
        assert!(!probe.holds(&model));
        model.bias = f32::NAN;
        assert!(!probe.holds(&model));
    }
}
