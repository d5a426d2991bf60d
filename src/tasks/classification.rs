//! Text and image classification: single label (softmax), several (a sigmoid each), regression (no probability).
//!
//! One input is one row (of a text in windows, one a window), and its logits are one per label.

use std::collections::HashSet;

use super::perturb::single_row;
use super::{
    Class, ClassPrediction, ClassScore, ClassSpec, ClassTarget, Focus, OutputSpace, Outputs, PerturbError, Perturber,
    Prediction, Readout, Rows, Target, TargetError, TargetSpec, Task, Verdict, quote,
};
use crate::input::units::{Fill, Units};
use crate::input::{Input, Kind};
use crate::models::{Problem, Spec};

/// How many labels an error message lists.
const LISTED: usize = 20;

/// A classifier's labels and how its logits become probabilities.
#[derive(Debug, Clone)]
pub struct Classification {
    kind: Kind,
    labels: Vec<String>,
    problem: Problem,
}

/// One entry of a request's target, before the prediction is known.
enum Selection {
    One(ClassTarget),
    Predicted,
    All,
}

impl Classification {
    /// A softmax over `labels`, as other tasks have one at each of their tokens.
    pub(super) fn softmax(labels: Vec<String>) -> Self {
        Self { kind: Kind::Text, labels, problem: Problem::SingleLabel }
    }

    /// The task of the classifier that `spec` describes.
    pub fn new(spec: &Spec) -> Self {
        Self { kind: spec.kind, labels: spec.labels.clone(), problem: spec.problem }
    }

    /// What a softmax over the labels has: with a single one nothing is left to weigh it against.
    pub(super) fn shared(&self) -> Outputs {
        if self.labels.len() > 1 { Outputs::Odds } else { Outputs::Probability }
    }

    pub(super) fn labels(&self) -> &[String] {
        &self.labels
    }

    pub(super) fn label(&self, index: usize) -> String {
        self.labels.get(index).cloned().unwrap_or_default()
    }

    fn class(&self, index: usize) -> ClassTarget {
        ClassTarget { label: self.label(index), index, against: None }
    }

    /// The classes there are, for an error's detail.
    fn known(&self) -> String {
        let listed = self.labels.iter().take(LISTED).enumerate().map(|(index, label)| format!("{index} \"{label}\""));
        let listed = listed.collect::<Vec<_>>().join(", ");
        match self.labels.len().saturating_sub(LISTED) {
            0 => format!("the model has {listed}"),
            more => format!("the model has {listed} and {more} more"),
        }
    }

    fn index(&self, index: u64, path: &str) -> Result<usize, TargetError> {
        usize::try_from(index).ok().filter(|&index| index < self.labels.len()).ok_or_else(|| TargetError {
            path: path.to_owned(),
            detail: format!("there is no class {index}: {}", self.known()),
        })
    }

    fn position(&self, label: &str) -> Option<usize> {
        self.labels.iter().position(|known| known == label)
    }

    /// A string: first a label, then (`digits`: from a query or a command line) an index, then `predicted` or `all`.
    fn named(&self, text: &str, digits: bool, path: &str) -> Result<Selection, TargetError> {
        if let Some(index) = self.position(text) {
            return Ok(Selection::One(self.class(index)));
        }
        if digits && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            let index = text.parse().unwrap_or(u64::MAX);
            return self.index(index, path).map(|index| Selection::One(self.class(index)));
        }
        match text {
            "predicted" => Ok(Selection::Predicted),
            "all" => Ok(Selection::All),
            _ => Err(TargetError {
                path: path.to_owned(),
                detail: format!("{} is no label, nor \"predicted\" or \"all\": {}", quote(text), self.known()),
            }),
        }
    }

    pub(super) fn side(&self, class: &ClassSpec, path: &str) -> Result<usize, TargetError> {
        match class {
            ClassSpec::Index(index) => self.index(*index, path),
            ClassSpec::Label(label) => self.position(label).ok_or_else(|| TargetError {
                path: path.to_owned(),
                detail: format!("{} is no label: {}", quote(label), self.known()),
            }),
            ClassSpec::Class(Class { label, index }) => {
                let index = self.index(*index as u64, path)?;
                match self.labels.get(index) {
                    Some(own) if own == label => Ok(index),
                    _ => Err(TargetError {
                        path: path.to_owned(),
                        detail: format!("class {index} is not {}: {}", quote(label), self.known()),
                    }),
                }
            }
        }
    }

    /// The class that is subtracted from class `index`, if one is named.
    pub(super) fn against(
        &self,
        against: Option<&ClassSpec>,
        index: usize,
        path: &str,
    ) -> Result<Option<Class>, TargetError> {
        let Some(against) = against else { return Ok(None) };
        let path = format!("{path}/against");
        let other = self.side(against, &path)?;
        if other == index {
            let detail = "a class's difference to itself is always 0; name another class".to_owned();
            return Err(TargetError { path, detail });
        }
        Ok(Some(Class { label: self.label(other), index: other }))
    }

    /// `spec` as a flat list of selections; `path` is where it stands in the request's target.
    fn selections(&self, spec: &TargetSpec, path: &str) -> Result<Vec<Selection>, TargetError> {
        Ok(match spec {
            TargetSpec::Index(index) => vec![Selection::One(self.class(self.index(*index, path)?))],
            TargetSpec::Name(text) => vec![self.named(text, false, path)?],
            TargetSpec::Text(text) => vec![self.named(text, true, path)?],
            TargetSpec::Predicted => vec![Selection::Predicted],
            TargetSpec::Token(_) | TargetSpec::Start(_) | TargetSpec::End(_) => {
                let detail = format!("this model is asked for a class, not for a token: {}", self.known());
                return Err(TargetError { path: path.to_owned(), detail });
            }
            TargetSpec::Contrast(contrast) => {
                let mut target = self.class(self.side(&contrast.index, &format!("{path}/index"))?);
                target.against = self.against(contrast.against.as_ref(), target.index, path)?;
                vec![Selection::One(target)]
            }
            TargetSpec::List(list) if list.is_empty() => {
                return Err(TargetError {
                    path: path.to_owned(),
                    detail: "the list is empty; name a target, or leave it out for the predicted class".to_owned(),
                });
            }
            TargetSpec::List(list) => {
                let mut all = Vec::with_capacity(list.len());
                for (position, spec) in list.iter().enumerate() {
                    all.extend(self.selections(spec, &format!("{path}/{position}"))?);
                }
                all
            }
        })
    }

    /// The class with the largest logit, the first of equals. A regression is about its first output.
    pub(super) fn predicted(&self, logits: &[f32]) -> usize {
        if self.problem == Problem::Regression {
            return 0;
        }
        let mut best = 0;
        for (index, logit) in logits.iter().enumerate() {
            if *logit > logits[best] {
                best = index;
            }
        }
        best
    }

    /// One class's output. A class the model did not answer gives NaN, which no answer lets pass.
    pub(super) fn output(&self, logits: &[f32], index: usize, output: OutputSpace) -> f64 {
        let Some(&logit) = logits.get(index) else { return f64::NAN };
        let logit = f64::from(logit);
        match (output, self.problem) {
            // Methods refuse the other spaces for a regression, which has no probability.
            (OutputSpace::Logit, _) | (_, Problem::Regression) => logit,
            (OutputSpace::Probability, Problem::SingleLabel) => (logit - log_sum_exp(logits)).exp(),
            (OutputSpace::LogProbability, Problem::SingleLabel) => logit - log_sum_exp(logits),
            (OutputSpace::LogOdds, Problem::SingleLabel) => logit - log_sum_exp(&others(logits, index)),
            (OutputSpace::LogOdds, Problem::MultiLabel) => logit,
            (OutputSpace::Entropy, _) => entropy(logits),
            (OutputSpace::Probability, Problem::MultiLabel) => sigmoid(logit),
            (OutputSpace::LogProbability, Problem::MultiLabel) => -softplus(-logit),
        }
    }

    /// Whether class `index` is the one predicted, or its logit larger than that of `against`.
    pub(super) fn verdict_of(&self, logits: &[f32], index: usize, against: Option<usize>) -> Option<Verdict> {
        let own = f64::from(*logits.get(index)?);
        match (against, self.problem) {
            (_, Problem::Regression) => None,
            (Some(against), _) => {
                let margin = own - f64::from(*logits.get(against)?);
                Some(Verdict { answers: margin > 0.0, margin })
            }
            (None, Problem::MultiLabel) => Some(Verdict { answers: own >= 0.0, margin: own }),
            (None, Problem::SingleLabel) => {
                let others = logits.iter().enumerate().filter(|&(other, _)| other != index);
                let best = others.map(|(_, &logit)| f64::from(logit)).fold(f64::NEG_INFINITY, f64::max);
                Some(Verdict { answers: self.predicted(logits) == index, margin: own - best })
            }
        }
    }

    /// The class that `spec` names.
    pub(super) fn class_of(&self, spec: &ClassSpec) -> Result<Class, TargetError> {
        self.side(spec, "").map(|index| Class { label: self.label(index), index })
    }

    /// Adds `sign` × d output / d logits to `gradient`.
    pub(super) fn add_gradient(
        &self,
        logits: &[f32],
        index: usize,
        output: OutputSpace,
        sign: f64,
        gradient: &mut [f64],
    ) {
        let Some(&logit) = logits.get(index) else { return };
        let logit = f64::from(logit);
        match (output, self.problem) {
            (OutputSpace::Logit, _) | (_, Problem::Regression) | (OutputSpace::LogOdds, Problem::MultiLabel) => {
                gradient[index] += sign;
            }
            (OutputSpace::LogOdds, Problem::SingleLabel) => {
                let normaliser = log_sum_exp(&others(logits, index));
                for (other, &logit) in logits.iter().enumerate().filter(|&(other, _)| other != index) {
                    gradient[other] -= sign * (f64::from(logit) - normaliser).exp();
                }
                gradient[index] += sign;
            }
            (OutputSpace::Entropy, _) => {
                let (normaliser, entropy) = (log_sum_exp(logits), entropy(logits));
                for (slope, &logit) in gradient.iter_mut().zip(logits) {
                    let log = f64::from(logit) - normaliser;
                    *slope -= sign * log.exp() * (log + entropy);
                }
            }
            (OutputSpace::Probability, Problem::MultiLabel) => {
                gradient[index] += sign * sigmoid(logit) * sigmoid(-logit)
            }
            (OutputSpace::LogProbability, Problem::MultiLabel) => gradient[index] += sign * sigmoid(-logit),
            (OutputSpace::Probability | OutputSpace::LogProbability, Problem::SingleLabel) => {
                let normaliser = log_sum_exp(logits);
                let scale = if output == OutputSpace::Probability { (logit - normaliser).exp() } else { 1.0 };
                // 1 − p as the sum of the others: exact where p is close to 1.
                let mut others = 0.0;
                for (other, &logit) in logits.iter().enumerate().filter(|&(other, _)| other != index) {
                    let probability = (f64::from(logit) - normaliser).exp();
                    others += probability;
                    gradient[other] -= sign * scale * probability;
                }
                gradient[index] += sign * scale * others;
            }
        }
    }

    /// One per logit; `None` for a regression.
    fn probabilities(&self, logits: &[f32]) -> Vec<Option<f32>> {
        let normaliser = log_sum_exp(logits);
        let probability = |&logit: &f32| match self.problem {
            Problem::SingleLabel => Some((f64::from(logit) - normaliser).exp() as f32),
            Problem::MultiLabel => Some(sigmoid(f64::from(logit)) as f32),
            Problem::Regression => None,
        };
        logits.iter().map(probability).collect()
    }
}

impl Readout for Classification {
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
        let Target::Class(target) = target else { return f64::NAN };
        let value = self.output(logits, target.index, output);
        target.against.as_ref().map_or(value, |against| value - self.output(logits, against.index, output))
    }

    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        let mut gradient = vec![0.0; logits.len()];
        if let Target::Class(target) = target {
            self.add_gradient(logits, target.index, output, 1.0, &mut gradient);
            if let Some(against) = &target.against {
                self.add_gradient(logits, against.index, output, -1.0, &mut gradient);
            }
        }
        gradient.into_iter().map(|value| value as f32).collect()
    }

    fn verdict(&self, logits: &[f32], target: &Target) -> Option<Verdict> {
        let Target::Class(target) = target else { return None };
        self.verdict_of(logits, target.index, target.against.as_ref().map(|against| against.index))
    }

    fn said(&self, logits: &[f32], _target: &Target) -> Option<ClassPrediction> {
        Some(self.of(logits))
    }
}

impl Task for Classification {
    fn name(&self) -> &'static str {
        match self.kind {
            Kind::Text => "text-classification",
            Kind::Image => "image-classification",
        }
    }

    fn whole(&self, spec: &Spec, input: &Input) -> Rows {
        Rows::whole(spec, input)
    }

    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError> {
        let mut known = HashSet::new();
        let (mut predicted, mut all) = (false, false);
        for selection in self.selections(spec, "")? {
            match selection {
                Selection::One(target) => {
                    known.insert(target);
                }
                Selection::All => all = true,
                Selection::Predicted => predicted = true,
            }
        }
        if all {
            known.extend((0..self.labels.len()).map(|index| self.class(index)));
        }
        // The predicted class is one of those named already where all are.
        let all = (0..self.labels.len()).all(|index| known.contains(&self.class(index)));
        Ok(known.len() + usize::from(predicted && !all))
    }

    fn targets(&self, spec: &TargetSpec, _input: &Input, logits: &[f32]) -> Result<Vec<Target>, TargetError> {
        let mut seen = HashSet::new();
        let mut targets = Vec::new();
        let mut all = false;
        let mut push = |target: ClassTarget| {
            if seen.insert(target.clone()) {
                targets.push(Target::Class(target));
            }
        };
        for selection in self.selections(spec, "")? {
            match selection {
                Selection::One(target) => push(target),
                Selection::Predicted => push(self.class(self.predicted(logits))),
                // Once is enough, however often it is written.
                Selection::All if all => {}
                Selection::All => {
                    all = true;
                    (0..self.labels.len()).for_each(|index| push(self.class(index)));
                }
            }
        }
        Ok(targets)
    }

    fn focus(&self, _: &Spec, _: &Input, rows: &Rows, logits: &[f32], _: &[Target]) -> Focus {
        let looked = (rows.rows.len() == 1).then_some(0);
        Focus { readout: Box::new(self.clone()), logits: logits.to_vec(), rows: rows.clone(), looked }
    }

    fn outputs(&self, _target: &TargetSpec) -> Outputs {
        match self.problem {
            Problem::Regression => Outputs::Number,
            Problem::MultiLabel => Outputs::Odds,
            Problem::SingleLabel => self.shared(),
        }
    }

    fn decides(&self, _target: &TargetSpec) -> bool {
        self.problem != Problem::Regression
    }

    fn class(&self, spec: &ClassSpec) -> Result<Class, TargetError> {
        self.class_of(spec)
    }

    fn prediction(&self, _input: &Input, logits: &[f32]) -> Prediction {
        Prediction::Class(self.of(logits))
    }
}

impl Classification {
    /// What a softmax, sigmoids or a regression say.
    pub(super) fn of(&self, logits: &[f32]) -> ClassPrediction {
        let index = self.predicted(logits);
        let probabilities = self.probabilities(logits);
        let scores = logits.iter().zip(&probabilities).enumerate();
        let scores = scores.map(|(index, (&logit, &probability))| ClassScore {
            label: self.label(index),
            index,
            logit,
            probability,
        });
        ClassPrediction {
            label: self.label(index),
            index,
            probability: probabilities.get(index).copied().flatten(),
            scores: scores.collect(),
        }
    }
}

/// −Σ p log p of the softmax.
pub(super) fn entropy(logits: &[f32]) -> f64 {
    let normaliser = log_sum_exp(logits);
    let term = |&logit: &f32| {
        let log = f64::from(logit) - normaliser;
        // A term of probability 0 is 0, however far its logarithm.
        if log.is_finite() { log.exp() * log } else { 0.0 }
    };
    -logits.iter().map(term).sum::<f64>()
}

/// The ids of the `count` largest logits, largest first; of equal ones the first.
pub(super) fn largest(logits: &[f32], count: usize) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(count + 1);
    for (index, &logit) in logits.iter().enumerate() {
        if best.len() < count || best.last().is_some_and(|&last| logit > logits[last]) {
            let at = best.partition_point(|&known| logits[known] >= logit);
            best.insert(at, index);
            best.truncate(count);
        }
    }
    best
}

/// The logits of all classes but one.
fn others(logits: &[f32], index: usize) -> Vec<f32> {
    logits.iter().enumerate().filter(|&(other, _)| other != index).map(|(_, &logit)| logit).collect()
}

/// log Σ e^logit without overflow.
pub fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits.iter().map(|&logit| (f64::from(logit) - largest).exp()).sum();
    largest + sum.ln()
}

pub(super) fn sigmoid(logit: f64) -> f64 {
    if logit >= 0.0 { 1.0 / (1.0 + (-logit).exp()) } else { logit.exp() / (1.0 + logit.exp()) }
}

/// log(1 + e^x) without overflow.
pub(super) fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
#[path = "classification_tests.rs"]
mod tests;
