//! Explanation methods: one file a method, written against the two seams of [`Ctx`] alone. No method knows HTTP, a
//! clock, a tensor library or a model family.
//!
//! Adding a method is a file here and a line in [`METHODS`]: `/methods`, the OpenAPI document, `explaind methods` and
//! the registry tests follow from it.

mod adversarial;
mod anchors;
mod attention;
mod attention_relevance;
mod attention_rollout;
pub mod attribution;
mod auto;
mod counterfactual;
mod ctx;
mod decision_tree;
mod deep_lift;
mod erased;
mod findings;
mod grad_cam;
mod gradient;
mod gradient_shap;
mod guided_backprop;
mod input_x_gradient;
mod integrated_gradients;
mod kernel_shap;
mod lime;
mod logit_lens;
mod neurons;
mod occlusion;
mod of_ctx;
mod partition_shap;
mod portions;
mod shapley_sampling;
mod smooth_grad;
pub mod support;
#[cfg(test)]
mod tests;
mod value_zeroing;

use serde::Serialize;
use serde::de::DeserializeOwned;
use utoipa::ToSchema;

use crate::input::{Input, Kind, TextInput};
use crate::models::{Capability, Spec, TapPlan};
use crate::nn::{self, Precision};
use crate::numerics::least_squares::SolveError;
use crate::tasks::{PerturbError, TargetSpec, Task};

pub use attribution::{
    Agreement, Amount, Attribution, Auto, Candidate, Change, Diagnostics, Edit, Grid, LensLayer, Neuron, PixelMap,
    Rule, Scores, Tree, Warning,
};
pub use ctx::{
    Ctx, Inside, Masking, Objective, Pass, Proposal, RowView, Splice, TappedAttention, TappedMap, TappedState, Variant,
    WriteEmbedding,
};
pub use erased::{ErasedMethod, Planned, masks_cost};
pub(crate) use of_ctx::of_ctx;

/// Every method, in the order `/methods` lists them (that of API.md).
pub static METHODS: &[&dyn ErasedMethod] = &[
    &gradient::Gradient,
    &input_x_gradient::InputXGradient,
    &integrated_gradients::IntegratedGradients,
    &smooth_grad::SmoothGrad,
    &gradient_shap::GradientShap,
    &deep_lift::DeepLift,
    &grad_cam::GradCam,
    &guided_backprop::GuidedBackprop,
    &attention::Attention,
    &attention_rollout::AttentionRollout,
    &attention_relevance::AttentionRelevance,
    &value_zeroing::ValueZeroing,
    &occlusion::Occlusion,
    &lime::Lime,
    &kernel_shap::KernelShap,
    &shapley_sampling::ShapleySampling,
    &partition_shap::PartitionShap,
    &anchors::Anchors,
    &decision_tree::DecisionTree,
    &counterfactual::Counterfactual,
    &adversarial::Adversarial,
    &neurons::Neurons,
    &logit_lens::LogitLens,
    &auto::Auto,
];

/// What a method may look at while it resolves its settings: everything but the model's answers.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub spec: &'a Spec,
    pub task: &'a dyn Task,
    pub input: &'a Input,
    pub target: &'a TargetSpec,
    /// How many targets will be explained, at most.
    pub targets: usize,
    pub seed: u64,
    /// `limits.max_evaluations`: no method may plan more rows.
    pub max_evaluations: usize,
    /// What methods that only run forwards compute in, unless they are told.
    pub precision: Precision,
    /// What the methods before this one leave of `limits.response_values`: no answer may hold more numbers.
    pub response_values: usize,
    pub helpers: &'a dyn Helpers,
}

/// The loaded models beside the one that is explained.
pub trait Helpers: Sync {
    /// Whether the model of that name fills masks; else why not and what to do.
    fn fills_masks(&self, name: &str) -> Result<(), String>;
}

impl Subject<'_> {
    /// Tokens of a row that is the whole input, a task's own beside them left out.
    pub fn row_tokens(&self) -> usize {
        self.spec.row_tokens(self.input.as_text().map_or(1, TextInput::length))
    }
}

/// What a job will need at most, known before it runs; admission adds them up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cost {
    /// Model rows, at most, differentiated or not: what `progress.budget` says.
    pub rows: u64,
    /// Tokens of the rows: what the queue is bounded in. Those of a row that is differentiated for one target count three
    /// times, two more for each other target.
    pub tokens: u64,
}

impl Cost {
    /// Where each row, of `length` tokens, is `rows` of them with `tail` more tokens, which count as often as its own.
    pub(crate) fn over(self, rows: usize, length: usize, tail: usize) -> Self {
        let tails = u128::from(self.tokens) * tail as u128 / length.max(1) as u128;
        let tokens = u64::try_from(u128::from(self.tokens) + tails).unwrap_or(u64::MAX);
        Self { rows: self.rows.saturating_mul(rows as u64), tokens: tokens.saturating_mul(rows as u64) }
    }
}

impl std::ops::Add for Cost {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self { rows: self.rows.saturating_add(other.rows), tokens: self.tokens.saturating_add(other.tokens) }
    }
}

/// A name as a segment of a JSON pointer (RFC 6901).
pub fn pointer_segment(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

/// A setting that cannot be. `path` is a JSON pointer inside the method's item (`/steps`, or empty for the whole).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct SettingError {
    pub path: String,
    pub detail: String,
}

impl SettingError {
    pub fn new(field: &str, detail: impl Into<String>) -> Self {
        let path = if field.is_empty() { String::new() } else { format!("/{field}") };
        Self { path, detail: detail.into() }
    }
}

/// Why a method gave no explanation.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Model(#[from] nn::Error),
    #[error(transparent)]
    Perturb(#[from] PerturbError),
    #[error("{what} is not finite")]
    NotFinite { what: &'static str },
    #[error("the linear system has no solution: {0}")]
    Solve(#[from] SolveError),
    /// A pass did not give what its plan asked for.
    #[error("the model did not give {what}")]
    Missing { what: &'static str },
}

impl Error {
    /// The deadline or the caller, not the work, ended it.
    pub fn stopped(&self) -> Option<nn::Stopped> {
        match self {
            Self::Model(nn::Error::Stopped(why)) => Some(*why),
            _ => None,
        }
    }
}

/// One explanation method. `Settings`' doc comment is its documentation: one sentence, then `# What it computes`,
/// `# Settings`, `# Same numbers as`, `# Limits`, the paper.
pub trait Method: Sync + 'static {
    const NAME: &'static str;
    /// `gradients`, `attention`, `perturbation`, …
    const GROUP: &'static str;
    const REQUIRES: &'static [Capability];
    const INPUTS: &'static [Kind];
    /// False for methods that answer once, with `"target": null`.
    const TARGETED: bool;
    /// Whether what it says of several targets makes one explanation by adding up, as of a completion's tokens; what
    /// [`Attribution::adds_up`] says of its attributions.
    const ADDS_UP: bool = true;
    /// Whether a score above 0 speaks for the target and one below against it.
    const SIGNED: bool = true;
    /// It runs other methods, so that its cost counts already what the task makes of each row.
    const COMPOSED: bool = false;
    /// What a caller writes: every field an `Option`, unknown fields refused.
    type Settings: DeserializeOwned + ToSchema;
    /// All settings with their values, as the answer's `settings` echo them.
    type Resolved: Serialize + Send + Sync;

    /// Fills in the defaults (they depend on kind, task and model) and checks ranges.
    fn resolve(settings: Self::Settings, subject: &Subject<'_>) -> Result<Self::Resolved, SettingError>;
    fn cost(resolved: &Self::Resolved, subject: &Subject<'_>) -> Cost;
    /// Numbers that count against `limits.response_values`: those of lists that grow faster than the input.
    fn values(_resolved: &Self::Resolved, _subject: &Subject<'_>) -> usize {
        0
    }
    /// Of a method over gradients: the numbers that each target keeps of one variant of the input, at most. Targets that
    /// would together keep too many are explained a portion at a time.
    fn kept(_resolved: &Self::Resolved, subject: &Subject<'_>) -> usize {
        support::gradients::numbers(subject)
    }
    /// The other loaded model that it asks, by name.
    fn asks(_resolved: &Self::Resolved) -> Option<&str> {
        None
    }
    /// What it will tap of the whole input's forward without gradients: recorded by the prediction's forward, so that
    /// the method's own pass costs nothing.
    fn taps(_resolved: &Self::Resolved) -> TapPlan {
        TapPlan::default()
    }
    /// One attribution per target of `ctx`, in their order; a single one for a method without targets.
    fn explain(resolved: &Self::Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error>;
}
