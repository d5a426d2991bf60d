//! Tasks: what the rows of a model mean. Input and masks become rows, rows' outputs become predictions and the
//! scalars that are explained.
//!
//! [`Task`] is the seam that `explain`, `engine` and the methods work against; one file a task. `perturb` makes the
//! rows, `target` holds how targets are written.

mod classification;
mod perturb;
mod target;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::input::Input;
use crate::input::units::{Fill, Units};
use crate::models::{Row, Spec};

pub use classification::Classification;
pub use perturb::{PerturbError, Perturber, check_fill};
pub(crate) use target::quote;
pub use target::{Class, ClassSpec, Contrast, Target, TargetError, TargetSpec};

/// The space the explained output is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputSpace {
    Logit,
    Probability,
    LogProbability,
}

/// One class's share in a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassScore {
    pub label: String,
    pub index: usize,
    pub logit: f32,
    /// Null for a regression.
    pub probability: Option<f32>,
}

/// What the model says of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Prediction {
    pub label: String,
    pub index: usize,
    /// Null for a regression.
    pub probability: Option<f32>,
    /// One per label, in the order of the labels.
    pub scores: Vec<ClassScore>,
}

/// The meaning of a model's rows. An input may be several rows; `logits` are always the whole input's or a mask's.
pub trait Task: Send + Sync {
    /// Hugging Face's name: `text-classification`, `image-classification`.
    fn name(&self) -> &'static str;
    /// What turns masks over `units` into rows of `input`. Everything that no mask changes is computed here, once.
    fn perturber<'a>(
        &self,
        spec: &Spec,
        input: &'a Input,
        units: &'a Units,
        fill: Fill,
    ) -> Result<Box<dyn Perturber + 'a>, PerturbError>;
    /// The rows of the whole input.
    fn whole(&self, spec: &Spec, input: &Input) -> Vec<Row>;
    /// Checks a request's `target` before anything is computed and counts its targets at most (repeated ones once,
    /// `predicted` as one).
    fn check_target(&self, spec: &TargetSpec) -> Result<usize, TargetError>;
    /// The targets a request's `target` names, repeated ones once, in the order written. `logits` are the whole
    /// input's, for `predicted`.
    fn targets(&self, spec: &TargetSpec, logits: &[f32]) -> Result<Vec<Target>, TargetError>;
    /// Whether outputs have a probability at all.
    fn has_probability(&self) -> bool;
    /// What the model says. Finite for finite logits.
    fn prediction(&self, logits: &[f32]) -> Prediction;
    /// The explained scalar, in f64.
    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64;
    /// d value / d logits.
    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32>;
}
