//! Tasks: what the rows of a model mean. Input and masks become rows, rows' outputs become predictions and the
//! scalars that are explained.
//!
//! [`Task`] is the seam that `explain` and `engine` work against, [`Readout`] what the methods see of it once the
//! targets are known; one file a task. `rows` makes the rows of inputs, `perturb` those of masks, `target` and
//! `target_spec` hold how targets are written, `output` in what spaces they are measured, `prediction` how answers write
//! what a model says.

mod blank;
mod classification;
mod completion;
mod fill_mask;
mod output;
mod perturb;
mod prediction;
mod rows;
mod similarity;
mod span;
mod target;
mod target_spec;
#[cfg(test)]
mod test_input;
mod tokens;
mod zero_shot;

use std::borrow::Cow;
use std::sync::Arc;

use crate::input::Input;
use crate::input::units::{Fill, Units};
use crate::models::{About, Spec};
use crate::numerics::quadrature;

pub use blank::Blanks;
pub use classification::{Classification, log_sum_exp};
pub use completion::{Completion, TOLD, likeliest, log_probability};
pub use fill_mask::FillMask;
pub use output::{OutputSpace, Outputs};
pub use perturb::{PerturbError, Perturber, Tail, check_fill};
pub use prediction::{
    AnswerPrediction, ClassPrediction, ClassScore, CompletionPrediction, Finish, Prediction, TokenPrediction,
    TokensPrediction, WrittenToken,
};
pub use rows::{Composition, InputRow, Rows};
pub use similarity::Similarity;
pub use span::QuestionAnswering;
pub(crate) use target::quote;
pub use target::{
    AnswerTarget, Class, ClassTarget, CompletionTarget, EndTarget, StartTarget, Target, TargetError, TokenTarget,
};
pub use target_spec::{ClassSpec, Contrast, TargetSpec, TokenSpec};
pub use tokens::TokenClassification;
pub use zero_shot::{Hypotheses, HypothesisError, Labelled, ZeroShot};

/// Nodes of the way between two rows' logits: a sigmoid over a change of 50 is integrated within 1e-5.
const PATH: usize = 64;

/// The task of the model that `spec` describes.
pub fn of_model(spec: &Spec) -> Arc<dyn Task> {
    match spec.about {
        About::Sequence => Arc::new(Classification::new(spec)),
        About::Tokens => Arc::new(TokenClassification::new(spec)),
        About::Span => Arc::new(QuestionAnswering),
        About::Next => Arc::new(Completion),
        About::Masked => Arc::new(FillMask::new(spec, Arc::default())),
        About::Similarity { scale } => Arc::new(Similarity::unasked(scale)),
    }
}

/// Whether a second text goes with the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    Optional,
    /// Never, and why.
    Refused(&'static str),
    /// Always, and what it is.
    Required(&'static str),
}

/// Whether the model answers a target, and how clearly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    pub answers: bool,
    /// In logits: from 0 up where it answers, from 0 down where it does not.
    pub margin: f64,
}

/// Reads logits that are too many to keep: a position at a time, as soon as they are there.
pub trait Condense: Send + Sync {
    /// How many numbers are kept of a position.
    fn width(&self) -> usize;
    /// Writes what is kept of `logits`, those at the `position`th of the positions that a row reads, into `kept`, which
    /// is `width` long and holds zeros.
    fn condense(&self, position: usize, logits: &[f32], kept: &mut [f32]);
}

/// The explained scalars as functions of the logits that the targets need: `logits` are always the whole input's, a
/// mask's or a pass's, composed, in the layout of [`Focus::logits`]. With [`Readout::condense`] they are what is kept of
/// them.
pub trait Readout: Send + Sync {
    /// What is kept of the logits of masks and passes where they are too many. `None`: all.
    fn condense(&self) -> Option<&dyn Condense> {
        None
    }
    /// Out of what is kept of the whole input's logits, what is kept of those of masks and passes.
    fn part<'l>(&self, whole: &'l [f32]) -> Cow<'l, [f32]> {
        Cow::Borrowed(whole)
    }
    /// Of the positions that the whole input reads, those that masks and passes read, in the order of [`Focus::logits`].
    /// `None`: all.
    fn positions(&self) -> Option<Vec<usize>> {
        None
    }
    /// With [`Readout::condense`]: the one position, of masks and passes, that the value of `target` depends on.
    fn position(&self, _target: &Target) -> Option<usize> {
        None
    }
    /// What turns masks over `units` into rows of `input`. Everything that no mask changes is computed here, once.
    fn perturber<'a>(
        &self,
        spec: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError>;
    /// The explained scalar, in f64.
    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64;
    /// d value / d logits: with [`Readout::condense`] of all logits at the target's position, and of no others.
    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32>;
    /// Whether the value depends on what position `position` gives. Passes leave rows out that nothing depends on.
    fn depends(&self, _target: &Target, _output: OutputSpace, _position: usize) -> bool {
        true
    }
    /// DeepLIFT's multipliers of the logits: the derivative's mean on the straight way from `baseline` to `logits`, so
    /// that Σ multiplier · Δ logit is Δ value. For a value of one logit that is the rescale rule. Of the same logits as
    /// [`Readout::cotangent`].
    fn multiplier(&self, logits: &[f32], baseline: &[f32], target: &Target, output: OutputSpace) -> Vec<f32> {
        mean_cotangent(self, logits, baseline, target, output)
    }
    /// Whether the model answers `target`: its class is the one predicted; with `against` its output is the larger; of
    /// several labels at once its probability is one half or more; an end's token is the likeliest. `None` where the
    /// output is a number that chooses nothing.
    fn verdict(&self, _logits: &[f32], _target: &Target) -> Option<Verdict> {
        None
    }
    /// What the model says where `target` asks. `None` where that is no class.
    fn said(&self, _logits: &[f32], _target: &Target) -> Option<ClassPrediction> {
        None
    }
    /// The token that `target` is read at; `None`: what the head reads of every input.
    fn reading(&self, _target: &Target) -> Option<usize> {
        None
    }
}

/// The mean of the cotangents on the straight way from `baseline` to `logits`.
fn mean_cotangent<R: Readout + ?Sized>(
    readout: &R,
    logits: &[f32],
    baseline: &[f32],
    target: &Target,
    output: OutputSpace,
) -> Vec<f32> {
    let rule = quadrature::gauss_legendre(PATH);
    let mut mean = vec![0.0; logits.len()];
    let mut between = vec![0.0; logits.len()];
    for (node, weight) in rule.nodes.iter().zip(&rule.weights) {
        for ((between, x), from) in between.iter_mut().zip(logits).zip(baseline) {
            *between = (f64::from(*from) + node * (f64::from(*x) - f64::from(*from))) as f32;
        }
        let slopes = readout.cotangent(&between, target, output);
        mean.iter_mut().zip(slopes).for_each(|(mean, slope)| *mean += weight * f64::from(slope));
    }
    mean.into_iter().map(|x| x as f32).collect()
}

/// One explanation of a request: its target, and which of the job's targets it is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    pub target: Target,
    pub of: Vec<usize>,
}

/// What the targets of a request need of the input: all that masks and passes read.
pub struct Focus {
    pub readout: Box<dyn Readout>,
    /// The whole input's logits, without those that no target needs.
    pub logits: Vec<f32>,
    /// What passes vary.
    pub rows: Rows,
    /// The one of them that taps look into; `None` where several answer alike.
    pub looked: Option<usize>,
}

/// The meaning of a model's rows. An input may be several rows; `logits` are the whole input's, composed, or what
/// [`Task::condense`] keeps of them.
pub trait Task: Send + Sync {
    /// Hugging Face's name: `text-classification`, `token-classification`, …
    fn name(&self) -> &'static str;
    /// Whether it takes pairs of texts.
    fn pairing(&self) -> Pairing {
        Pairing::Optional
    }
    /// Whether its text is a prompt, which a completion follows.
    fn prompted(&self) -> bool {
        false
    }
    /// What makes the text none for this task, and what to do.
    fn check_text(&self, _input: &Input) -> Result<(), String> {
        Ok(())
    }
    /// `input` with what is no method's to take away marked as special.
    fn marked(&self, input: Input) -> Input {
        input
    }
    /// Whether a request must name labels of its own.
    fn needs_labels(&self) -> bool {
        false
    }
    /// What makes a sentence of a label of a request's own.
    fn template(&self) -> Option<&str> {
        None
    }
    /// Whether there is no explanation without a named target.
    fn needs_target(&self) -> bool {
        false
    }
    /// The rows of the whole input.
    fn whole(&self, spec: &Spec, input: &Input) -> Rows;
    /// Checks a request's `target` before anything is computed and counts its explanations at most (repeated targets
    /// once, `predicted` as one).
    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError>;
    /// Checks what of the target only the input shows to be wrong.
    fn check_input(&self, _spec: &TargetSpec, _input: &Input) -> Result<(), TargetError> {
        Ok(())
    }
    /// The targets a request's `target` names, repeated ones once, in the order written. `logits` are for
    /// `predicted`.
    fn targets(&self, spec: &TargetSpec, input: &Input, logits: &[f32]) -> Result<Vec<Target>, TargetError>;
    /// Which explanations the targets make, in the order asked: one each.
    fn explained(&self, _spec: &TargetSpec, _input: &Input, targets: &[Target]) -> Vec<Explained> {
        targets.iter().cloned().enumerate().map(|(index, target)| Explained { target, of: vec![index] }).collect()
    }
    /// How many targets `explanations` explanations are of, at most.
    fn objectives(&self, _spec: &TargetSpec, _input: &Input, explanations: usize) -> usize {
        explanations
    }
    /// What is kept of the whole input's logits where they are too many; `spec` is a request's target. `None`: all.
    fn condense(&self, _spec: &TargetSpec, _input: &Input) -> Option<Box<dyn Condense>> {
        None
    }
    /// What [`Task::prediction`] needs of the whole input's logits.
    fn condensed(&self, _input: &Input, logits: Vec<f32>) -> Vec<f32> {
        logits
    }
    /// What `targets` need of the input, whose rows are `rows` and `logits` composed.
    fn focus(&self, spec: &Spec, input: &Input, rows: &Rows, logits: &[f32], targets: &[Target]) -> Focus;
    /// The output spaces that all that `target` names has, whatever a mask takes away.
    fn outputs(&self, target: &TargetSpec) -> Outputs;
    /// Whether all that `target` names is a choice: [`Readout::verdict`] gives one.
    fn decides(&self, _target: &TargetSpec) -> bool {
        false
    }
    /// The class that `spec` names, which a target could be about instead. `path` of an error continues `spec`'s own.
    fn class(&self, _spec: &ClassSpec) -> Result<Class, TargetError> {
        let detail = "a change is towards another class, which this model's targets have not got; leave it out, for any other answer".to_owned();
        Err(TargetError { path: String::new(), detail })
    }
    /// Whether one row answers what methods that look at layers ask (of `output`); else why not and what to do.
    fn one_row(&self, _target: &TargetSpec, _output: Option<OutputSpace>) -> Result<(), String> {
        Ok(())
    }
    /// Rows that a mask takes, at most.
    fn rows_a_mask(&self, _targets: usize) -> usize {
        1
    }
    /// Rows that a variant of the input takes, at most.
    fn rows_a_pass(&self) -> usize {
        1
    }
    /// Tokens behind the input's in each of its rows, at most.
    fn tail(&self) -> usize {
        0
    }
    /// What the model says, from what [`Task::condensed`] gave. Finite for finite logits.
    fn prediction(&self, input: &Input, logits: &[f32]) -> Prediction;
}
