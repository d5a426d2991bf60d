//! Tasks: what the rows of a model mean. Input and masks become rows, rows' outputs become predictions and the
//! scalars that are explained.

mod classification;
mod perturb;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::input::Input;
use crate::input::units::{Fill, Mask, Units};
use crate::models::{Row, Spec};

pub use classification::Classification;
pub use perturb::{PerturbError, Perturber};

/// The space the explained output is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputSpace {
    Logit,
    Probability,
    LogProbability,
}

/// A class, as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Class {
    pub label: String,
    pub index: usize,
}

/// What is explained: one class's output, or the difference of two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Target {
    pub label: String,
    pub index: usize,
    /// Contrastive: this class's output is subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Class>,
}

/// A target as a caller writes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TargetSpec {
    /// A class index.
    Index(u64),
    /// A label, or `predicted`, or `all`.
    Name(String),
    /// One class, or the difference of two.
    Contrast(Contrast),
    /// Several targets.
    List(Vec<TargetSpec>),
}

/// One class (`index`: a label or an index), or with `against` the difference of two.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Contrast {
    pub index: ClassSpec,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<ClassSpec>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum ClassSpec {
    Index(u64),
    Label(String),
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
    pub probability: Option<f32>,
    pub scores: Vec<ClassScore>,
}

/// A target that this task does not have. `path` continues the request's `/target` pointer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{detail}")]
pub struct TargetError {
    pub path: String,
    pub detail: String,
}

/// The meaning of a model's rows. An input may be several rows; `outputs` of a mask are what `compose` makes of them.
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
    /// The rows of `input` with only the units of `mask` present. For several masks ask for a
    /// [`Task::perturber`] once.
    fn rows(
        &self,
        spec: &Spec,
        input: &Input,
        units: &Units,
        fill: Fill,
        mask: &Mask,
    ) -> Result<Vec<Row>, PerturbError> {
        Ok(self.perturber(spec, input, units, fill)?.rows(mask))
    }
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
    fn prediction(&self, logits: &[f32]) -> Prediction;
    /// The explained scalar, in f64.
    fn value(&self, logits: &[f32], target: &Target, output: OutputSpace) -> f64;
    /// d value / d logits.
    fn cotangent(&self, logits: &[f32], target: &Target, output: OutputSpace) -> Vec<f32>;
}
