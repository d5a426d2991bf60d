//! What a request with `"evaluate": true` learns of each explanation: whether its scores are what the model goes by.
//!
//! The types are here. `effort` is what a caller may ask for, `measure` evaluates them, `sensitivity` runs a method again
//! on changed inputs; curves over masks are `methods::support::curves` (the method `auto` uses them too), formulas over
//! plain numbers `numerics::evidence` and `numerics::ranking`. [`super::run`] calls it.

mod effort;
mod measure;
mod sensitivity;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::tasks::{OutputSpace, Target};

pub use crate::numerics::{evidence, ranking};
pub use effort::{Effort, Evaluate, EvaluateOptions};
pub use measure::Measuring;
pub(super) use measure::{Measured, plan};
pub(super) use sensitivity::Again;

/// How far the scores of an explanation agree with what the model does when units of the input are taken away.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Faithfulness {
    /// The space that curves and `loo_correlation` are measured in: `probability`, of targets without one `logit`.
    pub output: OutputSpace,
    /// What was measured, where the explanation has no target of its own: the request's first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Units that were ranked: words, tokens, sentences, spans, segments or cells, as the scores are.
    pub units: usize,
    /// Shares of the units, 0.1 to 1.
    pub fractions: Vec<f32>,
    /// Output of the input less that without its foremost units, at each fraction. High where they were needed.
    pub comprehensiveness: Vec<f32>,
    /// Output of the input less that of its foremost units alone, at each fraction. Low where they are enough.
    pub sufficiency: Vec<f32>,
    /// Means over the fractions.
    pub aopc_comprehensiveness: f32,
    pub aopc_sufficiency: f32,
    /// The same at ERASER's fractions.
    pub eraser: Bins,
    /// The curves, from the whole input to nothing and back.
    pub curves: Curves,
    /// Mean height of `curves.deletion`: low where the foremost units carry the output.
    pub deletion_auc: f32,
    /// Mean height of `curves.insertion`: high where the foremost units bring it back.
    pub insertion_auc: f32,
    /// Kendall's τ-b between the scores and what leaving each unit out takes from the output.
    pub loo_correlation: Option<f32>,
    /// Mean square of what random masks were said to do less what they did, in `settings.output`.
    pub infidelity: Option<f32>,
    /// The same with the scores scaled as well as one factor can.
    pub infidelity_scaled: Option<f32>,
    /// Largest relative change of the scores over small changes of the input.
    pub max_sensitivity: Option<f32>,
    /// Gini index of the absolute scores: 0 where all are alike, towards 1 where one has everything.
    pub sparsity: Option<f32>,
    /// Why a number above is null.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unmeasured: Vec<Unmeasured>,
    /// Model rows computed for this, beyond those that were known already.
    pub evaluations: usize,
}

/// ERASER's fractions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Bins {
    pub fractions: Vec<f32>,
    pub comprehensiveness: Vec<f32>,
    pub sufficiency: Vec<f32>,
    pub aopc_comprehensiveness: f32,
    pub aopc_sufficiency: f32,
}

/// The output as units go or come, the foremost first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Curves {
    /// How many units were taken, from 0 to all.
    pub taken: Vec<usize>,
    /// Without the units taken.
    pub deletion: Vec<f32>,
    /// With the units taken alone.
    pub insertion: Vec<f32>,
}

/// A number that could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unmeasured {
    /// The field's name.
    pub measure: String,
    pub reason: String,
}
