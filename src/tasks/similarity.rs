//! Zero-shot classification of images by labels of a request's own, over a model that compares images with texts.
//!
//! The whole input is the image's row and one of each label's sentence; the model answers each with an embedding. A
//! label's logit is the scaled cosine of its embedding and the image's. The texts are read once: masks and passes vary
//! the image alone, and what they give is its embedding.

use super::perturb::single_row;
use super::rows::Rows;
use super::{
    Class, ClassPrediction, ClassSpec, Classification, Focus, Hypotheses, HypothesisError, InputRow, OutputSpace,
    PerturbError, Perturber, Prediction, Readout, Tail, Target, TargetError, TargetSpec, Task, Verdict,
};
use crate::input::Input;
use crate::input::units::{Fill, Units};
use crate::models::{About, Content, Row, Spec};

/// The pipelines' own.
const TEMPLATE: &str = "This is a photo of {}.";

/// Labels that are made up for a request; none where a model waits for one.
#[derive(Debug, Clone)]
pub struct Similarity {
    classes: Classification,
    scale: f64,
    template: String,
    /// Each label's sentence in tokens, from the first to the one it is read at.
    sentences: Vec<Tail>,
}

impl Similarity {
    /// Without labels: what a served model is before a request names some.
    pub fn unasked(scale: f32) -> Self {
        let (classes, template) = (Classification::softmax(Vec::new()), TEMPLATE.to_owned());
        Self { classes, scale: f64::from(scale), template, sentences: Vec::new() }
    }

    /// What `asked` makes of the model that `spec` describes; `None` where it compares nothing. The sentences are still
    /// to be tokenised.
    ///
    /// # Errors
    /// The labels or the template cannot be used.
    pub fn new(spec: &Spec, asked: &Hypotheses) -> Option<Result<Self, HypothesisError>> {
        let About::Similarity { scale } = spec.about else { return None };
        if asked.multi_label {
            let detail = "this model compares the labels with one another; leave it out".to_owned();
            return Some(Err(HypothesisError { field: "multi_label".to_owned(), detail }));
        }
        let template = match asked.checked(TEMPLATE) {
            Ok(template) => template,
            Err(error) => return Some(Err(error)),
        };
        let classes = Classification::softmax(asked.labels.clone());
        Some(Ok(Self { classes, scale: f64::from(scale), template, sentences: Vec::new() }))
    }

    /// The labels' sentences, in their order.
    pub fn sentences(&self) -> Vec<String> {
        self.classes.labels().iter().map(|label| self.template.replace(super::zero_shot::SLOT, label)).collect()
    }

    /// With the sentences in tokens, one a label.
    pub fn with_sentences(self, sentences: Vec<Tail>) -> Self {
        Self { sentences, ..self }
    }

    /// What the labels' rows say, from the logits of the whole input: the image's embedding comes first.
    fn compared(&self, logits: &[f32]) -> Compared {
        let columns = logits.len() / (self.sentences.len() + 1);
        let texts = logits.chunks_exact(columns.max(1)).skip(1).map(unit).collect();
        Compared { classes: self.classes.clone(), scale: self.scale, texts }
    }

    /// One logit a label, from the logits of the whole input.
    fn labels(&self, logits: &[f32]) -> Vec<f32> {
        let columns = logits.len() / (self.sentences.len() + 1);
        self.compared(logits).logits(logits.get(..columns).unwrap_or_default())
    }
}

/// A vector of length 1 in the direction of `values`.
fn unit(values: &[f32]) -> Vec<f64> {
    let length = length(values);
    values.iter().map(|&value| f64::from(value) / length).collect()
}

fn length(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
}

/// The labels' embeddings, of length 1: what an image's embedding is compared with.
struct Compared {
    classes: Classification,
    scale: f64,
    texts: Vec<Vec<f64>>,
}

impl Compared {
    fn logits(&self, image: &[f32]) -> Vec<f32> {
        let image = unit(image);
        let dot = |text: &Vec<f64>| text.iter().zip(&image).map(|(a, b)| a * b).sum::<f64>();
        self.texts.iter().map(|text| (self.scale * dot(text)) as f32).collect()
    }
}

impl Readout for Compared {
    fn perturber<'a>(
        &self,
        spec: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
        single_row(spec, input, units, fill)
    }

    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64 {
        self.classes.value(&self.logits(logits), target, output)
    }

    fn verdict(&self, logits: &[f32], target: &Target) -> Option<Verdict> {
        self.classes.verdict(&self.logits(logits), target)
    }

    fn said(&self, logits: &[f32], target: &Target) -> Option<ClassPrediction> {
        self.classes.said(&self.logits(logits), target)
    }

    /// d cos(e, t) / d e = (t − cos(e, t) · e / |e|) / |e|, t of length 1.
    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        let (image, length) = (unit(logits), length(logits));
        let slopes = self.classes.cotangent(&self.logits(logits), target, output);
        let mut gradient = vec![0.0_f64; logits.len()];
        for (text, &slope) in self.texts.iter().zip(&slopes) {
            let cosine: f64 = text.iter().zip(&image).map(|(a, b)| a * b).sum();
            let factor = f64::from(slope) * self.scale / length;
            for ((sum, text), image) in gradient.iter_mut().zip(text).zip(&image) {
                *sum += factor * (text - cosine * image);
            }
        }
        gradient.into_iter().map(|value| value as f32).collect()
    }
}

impl Task for Similarity {
    fn template(&self) -> Option<&str> {
        Some(&self.template)
    }

    fn decides(&self, target: &TargetSpec) -> bool {
        self.classes.decides(target)
    }

    fn class(&self, spec: &ClassSpec) -> Result<Class, TargetError> {
        self.classes.class(spec)
    }

    fn name(&self) -> &'static str {
        "zero-shot-image-classification"
    }

    fn needs_labels(&self) -> bool {
        self.classes.labels().is_empty()
    }

    fn whole(&self, spec: &Spec, input: &Input) -> Rows {
        let mut rows = Rows::whole(spec, input);
        rows.rows.extend(self.sentences.iter().map(|sentence| {
            // The last token ends the text; where it was written before, the model reads it there.
            let end = sentence.ids.iter().position(|id| Some(id) == sentence.ids.last()).unwrap_or_default();
            let content = Content::Tokens { ids: sentence.ids.clone(), type_ids: Vec::new() };
            InputRow { row: Row { content, read: vec![end] }, tokens: Vec::new() }
        }));
        rows
    }

    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError> {
        self.classes.check_target(spec)
    }

    fn targets(&self, spec: &TargetSpec, input: &Input, logits: &[f32]) -> Result<Vec<Target>, TargetError> {
        self.classes.targets(spec, input, &self.labels(logits))
    }

    fn focus(&self, spec: &Spec, input: &Input, _: &Rows, logits: &[f32], _: &[Target]) -> Focus {
        let columns = logits.len() / (self.sentences.len() + 1);
        Focus {
            readout: Box::new(self.compared(logits)),
            logits: logits.get(..columns).unwrap_or_default().to_vec(),
            rows: Rows::whole(spec, input),
            looked: Some(0),
        }
    }

    fn has_probability(&self, _target: &TargetSpec) -> bool {
        true
    }

    fn prediction(&self, _input: &Input, logits: &[f32]) -> Prediction {
        Prediction::Class(self.classes.of(&self.labels(logits)))
    }
}

#[cfg(test)]
#[path = "similarity_tests.rs"]
mod tests;
