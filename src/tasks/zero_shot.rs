//! Zero-shot classification over a model of natural language inference: does the text entail "This example is X."?
//!
//! One input is a row a label: the text, and behind it the label's hypothesis, which nothing perturbs and nothing
//! scores. A label's logit is its row's entailment logit. What gradients say of a token is the sum over its rows;
//! attention is that of one label's row.

use std::collections::HashSet;
use std::sync::Arc;

use super::perturb::text_rows;
use super::rows::Reading;
use super::{
    Class, ClassPrediction, ClassScore, ClassSpec, ClassTarget, Classification, Contrast, Focus, OutputSpace, Pairing,
    PerturbError, Perturber, Prediction, Readout, Rows, Similarity, Tail, Target, TargetError, TargetSpec, Task,
    Verdict,
};
use crate::input::units::{Fill, Units};
use crate::input::{Input, Kind};
use crate::models::{About, Problem, Spec};

use super::classification::{sigmoid, softplus};

/// The pipelines' own.
const TEMPLATE: &str = "This example is {}.";
/// Labels of one request at most: each is a row of its own, whatever is asked of the model.
pub(super) const MOST_LABELS: usize = 1000;
/// Where a template has the label.
pub(super) const SLOT: &str = "{}";

/// What a request asks about its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hypotheses {
    pub labels: Vec<String>,
    pub template: Option<String>,
    pub multi_label: bool,
}

/// What is wrong with them; `field` is the request's, as "labels" or "labels/1".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HypothesisError {
    pub field: String,
    pub detail: String,
}

impl Hypotheses {
    /// The template, `otherwise` where there is none.
    ///
    /// # Errors
    /// No labels, more than 1000, an empty one, one twice, or a template without a place for them.
    pub(super) fn checked(&self, otherwise: &str) -> Result<String, HypothesisError> {
        let error = |field: &str, detail: String| Err(HypothesisError { field: field.to_owned(), detail });
        if self.labels.is_empty() {
            return error("labels", "the list is empty; name at least one label".to_owned());
        }
        if self.labels.len() > MOST_LABELS {
            let detail = format!("{} labels are more than {MOST_LABELS}; ask in several requests", self.labels.len());
            return error("labels", detail);
        }
        let mut known = HashSet::new();
        for (place, label) in self.labels.iter().enumerate() {
            let own = format!("labels/{place}");
            if label.trim().is_empty() {
                return error(&own, "it is empty; give the label a name".to_owned());
            }
            if !known.insert(label) {
                return error(&own, format!("{} is named twice; name each label once", super::quote(label)));
            }
        }
        let template = self.template.as_deref().unwrap_or(otherwise);
        if !template.contains(SLOT) {
            return error(
                "hypothesis_template",
                format!("it has no {SLOT}, where the label goes, as in \"{otherwise}\""),
            );
        }
        Ok(template.to_owned())
    }
}

/// The task over a request's labels: an inference model's over texts, or a comparing model's over images.
pub enum Labelled {
    Text(ZeroShot),
    Image(Similarity),
}

impl Labelled {
    /// What `asked` makes of the model that `spec` describes; its texts are still to be tokenised.
    ///
    /// # Errors
    /// The model takes no labels, or these or the template cannot be used.
    pub fn new(spec: &Spec, asked: Hypotheses) -> Result<Self, HypothesisError> {
        match Similarity::new(spec, &asked) {
            Some(task) => task.map(Self::Image),
            None => ZeroShot::new(spec, asked).map(Self::Text),
        }
    }

    /// What the labels make: hypotheses that stand behind a text, or sentences of their own.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Text(task) => task.hypotheses().collect(),
            Self::Image(task) => task.sentences(),
        }
    }

    pub fn task(&self) -> &dyn Task {
        match self {
            Self::Text(task) => task,
            Self::Image(task) => task,
        }
    }

    /// With the texts in tokens, one a label.
    pub fn with_tokens(self, texts: Vec<Tail>) -> Arc<dyn Task> {
        match self {
            Self::Text(task) => Arc::new(task.with_tails(texts)),
            Self::Image(task) => Arc::new(task.with_sentences(texts)),
        }
    }
}

/// The outputs of an inference model that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Verdicts {
    entailment: usize,
    contradiction: usize,
    count: usize,
}

impl Verdicts {
    /// `None`: the model is no inference model.
    fn of(spec: &Spec) -> Option<Self> {
        if spec.kind != Kind::Text || spec.about != About::Sequence || spec.problem != Problem::SingleLabel {
            return None;
        }
        let begins = |start: &str| spec.labels.iter().position(|label| label.to_lowercase().starts_with(start));
        let (entailment, count) = (begins("entail")?, spec.labels.len());
        // Of two outputs, or where none is called so, the pipelines take the far end.
        let far = if entailment == 0 { count.checked_sub(1)? } else { 0 };
        Some(Self { entailment, contradiction: begins("contradict").unwrap_or(far), count })
    }
}

/// Labels that are made up for a request.
#[derive(Debug, Clone)]
pub struct ZeroShot {
    /// Over the labels; what a label's logit means is decided here alone.
    classes: Classification,
    verdicts: Verdicts,
    /// Each label by itself, entailment against contradiction; else a softmax over the labels.
    alone: bool,
    template: String,
    /// A label's hypothesis in tokens, as it stands behind the text.
    tails: Vec<Tail>,
}

impl ZeroShot {
    /// What `asked` makes of the model that `spec` describes; the hypotheses are still to be tokenised.
    ///
    /// # Errors
    /// The model knows no entailment, or the labels or the template cannot be used.
    pub fn new(spec: &Spec, asked: Hypotheses) -> Result<Self, HypothesisError> {
        let error = |field: &str, detail: String| Err(HypothesisError { field: field.to_owned(), detail });
        let Some(verdicts) = Verdicts::of(spec) else {
            let detail = "only models of natural language inference, which have a label \"entailment\", and for images \
                          CLIP classify by labels of your own; leave \"labels\" out or name another model";
            return error("labels", detail.to_owned());
        };
        let template = asked.checked(TEMPLATE)?;
        let Hypotheses { labels, multi_label, .. } = asked;
        let alone = multi_label || labels.len() == 1;
        Ok(Self { classes: Classification::softmax(labels), verdicts, alone, template, tails: Vec::new() })
    }

    /// The labels' hypotheses, in their order.
    pub fn hypotheses(&self) -> impl Iterator<Item = String> + '_ {
        self.classes.labels().iter().map(|label| self.template.replace(SLOT, label))
    }

    /// With the hypotheses in tokens, one a label.
    pub fn with_tails(self, tails: Vec<Tail>) -> Self {
        Self { tails, ..self }
    }

    /// A label's entailment and contradiction.
    fn judged(&self, logits: &[f32], index: usize) -> (f32, f32) {
        let row = index * self.verdicts.count;
        let at = |verdict: usize| logits.get(row + verdict).copied().unwrap_or(f32::NAN);
        (at(self.verdicts.entailment), at(self.verdicts.contradiction))
    }

    /// The entailment logits, one a label.
    fn entailments(&self, logits: &[f32]) -> Vec<f32> {
        logits.chunks(self.verdicts.count.max(1)).filter_map(|row| row.get(self.verdicts.entailment)).copied().collect()
    }

    /// What the largest of is the predicted label.
    fn ranks(&self, logits: &[f32]) -> Vec<f32> {
        let rank = |index: usize| {
            let (entailment, contradiction) = self.judged(logits, index);
            if self.alone { entailment - contradiction } else { entailment }
        };
        (0..self.classes.labels().len()).map(rank).collect()
    }

    fn output(&self, logits: &[f32], index: usize, output: OutputSpace) -> f64 {
        let (entailment, contradiction) = self.judged(logits, index);
        let odds = f64::from(entailment) - f64::from(contradiction);
        match output {
            OutputSpace::Logit => f64::from(entailment),
            OutputSpace::Probability if self.alone => sigmoid(odds),
            OutputSpace::LogProbability if self.alone => -softplus(-odds),
            OutputSpace::LogOdds if self.alone => odds,
            _ => self.classes.output(&self.entailments(logits), index, output),
        }
    }

    fn add_gradient(&self, logits: &[f32], index: usize, output: OutputSpace, sign: f64, gradient: &mut [f64]) {
        let (entailment, contradiction) = self.judged(logits, index);
        let odds = f64::from(entailment) - f64::from(contradiction);
        let slope = match output {
            OutputSpace::Probability => sigmoid(odds) * sigmoid(-odds),
            OutputSpace::LogOdds => 1.0,
            _ => sigmoid(-odds),
        };
        let row = index * self.verdicts.count;
        let mut add = |verdict: usize, value: f64| {
            if let Some(slot) = gradient.get_mut(row + verdict) {
                *slot += sign * value;
            }
        };
        match output {
            OutputSpace::Logit => add(self.verdicts.entailment, 1.0),
            _ if self.alone => {
                add(self.verdicts.entailment, slope);
                add(self.verdicts.contradiction, -slope);
            }
            _ => {
                let entailments = self.entailments(logits);
                let mut of_labels = vec![0.0; entailments.len()];
                self.classes.add_gradient(&entailments, index, output, sign, &mut of_labels);
                for (label, value) in of_labels.into_iter().enumerate() {
                    gradient[label * self.verdicts.count + self.verdicts.entailment] += value;
                }
            }
        }
    }

    fn readings(&self) -> Vec<Reading> {
        self.tails.iter().map(|tail| Reading { tail: tail.clone(), ..Reading::default() }).collect()
    }

    /// What the labels' rows say.
    fn of(&self, logits: &[f32]) -> ClassPrediction {
        let best = self.classes.predicted(&self.ranks(logits));
        let score = |index: usize| ClassScore {
            label: self.classes.label(index),
            index,
            logit: self.judged(logits, index).0,
            probability: Some(self.output(logits, index, OutputSpace::Probability) as f32),
        };
        let scores: Vec<ClassScore> = (0..self.classes.labels().len()).map(score).collect();
        ClassPrediction {
            label: self.classes.label(best),
            index: best,
            probability: scores.get(best).and_then(|score| score.probability),
            scores,
        }
    }

    /// The labels whose rows `target` reads, at most two of them.
    fn labels_of(target: &Target) -> impl Iterator<Item = (usize, f64)> + '_ {
        let Target::Class(ClassTarget { index, against, .. }) = target else { return None.into_iter().chain(None) };
        let against = against.as_ref().map(|against| (against.index, -1.0));
        Some((*index, 1.0)).into_iter().chain(against)
    }
}

impl Readout for ZeroShot {
    fn perturber<'a>(
        &self,
        spec: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
        text_rows(spec, input, units, fill, self.readings())
    }

    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64 {
        let labels = Self::labels_of(target).map(|(label, sign)| sign * self.output(logits, label, output));
        labels.reduce(|sum, value| sum + value).unwrap_or(f64::NAN)
    }

    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        let mut gradient = vec![0.0; logits.len()];
        for (label, sign) in Self::labels_of(target) {
            self.add_gradient(logits, label, output, sign, &mut gradient);
        }
        gradient.into_iter().map(|value| value as f32).collect()
    }

    fn depends(&self, target: &Target, output: OutputSpace, position: usize) -> bool {
        let over_labels = !self.alone && output != OutputSpace::Logit;
        over_labels || Self::labels_of(target).any(|(label, _)| label == position)
    }

    fn verdict(&self, logits: &[f32], target: &Target) -> Option<Verdict> {
        let Target::Class(target) = target else { return None };
        let ranks = self.ranks(logits);
        if self.alone && target.against.is_none() {
            let margin = f64::from(*ranks.get(target.index)?);
            return Some(Verdict { answers: margin >= 0.0, margin });
        }
        self.classes.verdict_of(&ranks, target.index, target.against.as_ref().map(|against| against.index))
    }

    fn said(&self, logits: &[f32], _target: &Target) -> Option<ClassPrediction> {
        Some(self.of(logits))
    }
}

impl Task for ZeroShot {
    fn template(&self) -> Option<&str> {
        Some(&self.template)
    }

    fn name(&self) -> &'static str {
        "zero-shot-classification"
    }

    fn pairing(&self) -> Pairing {
        Pairing::Refused("with \"labels\" the second text is the hypothesis that each of them makes")
    }

    fn whole(&self, spec: &Spec, input: &Input) -> Rows {
        input.as_text().map(|text| Rows::of_text(spec, text, &self.readings())).unwrap_or_default()
    }

    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError> {
        self.classes.check_target(spec)
    }

    fn targets(&self, spec: &TargetSpec, input: &Input, logits: &[f32]) -> Result<Vec<Target>, TargetError> {
        self.classes.targets(spec, input, &self.ranks(logits))
    }

    fn focus(&self, _: &Spec, _: &Input, rows: &Rows, logits: &[f32], targets: &[Target]) -> Focus {
        // The one label that a look into layers may be about: see `one_row`.
        let looked = targets.first().map(Target::index).filter(|_| rows.rows.len() == self.tails.len());
        Focus { readout: Box::new(self.clone()), logits: logits.to_vec(), rows: rows.clone(), looked }
    }

    fn has_probability(&self, _target: &TargetSpec) -> bool {
        true
    }

    fn one_row(&self, target: &TargetSpec, output: Option<OutputSpace>) -> Result<(), String> {
        let contrast =
            |(_, spec): &(String, &TargetSpec)| matches!(spec, TargetSpec::Contrast(Contrast { against: Some(_), .. }));
        let several = self.check_target(target).is_ok_and(|targets| targets > 1) || target.flat().iter().any(contrast);
        if several {
            return Err(
                "each label is a row of its own, and this method looks into one; send one label as target, or \
                        use another method"
                    .to_owned(),
            );
        }
        if !self.alone && output.is_some_and(|output| output != OutputSpace::Logit) {
            return Err(
                "a probability over the labels comes from all their rows, and this method looks into one; use \
                        \"output\": \"logit\", \"multi_label\": true, or another method"
                    .to_owned(),
            );
        }
        Ok(())
    }

    fn rows_a_pass(&self) -> usize {
        self.classes.labels().len()
    }

    fn rows_a_mask(&self, _targets: usize) -> usize {
        self.classes.labels().len()
    }

    fn tail(&self) -> usize {
        self.tails.iter().map(|tail| tail.ids.len()).max().unwrap_or(0)
    }

    fn decides(&self, _target: &TargetSpec) -> bool {
        true
    }

    fn class(&self, spec: &ClassSpec) -> Result<Class, TargetError> {
        self.classes.class_of(spec)
    }

    fn prediction(&self, _input: &Input, logits: &[f32]) -> Prediction {
        Prediction::Class(self.of(logits))
    }
}

#[cfg(test)]
#[path = "zero_shot_tests.rs"]
mod tests;
