//! `kernel_shap`: the settings. The estimator is `support::shapley::coalitions`.

use super::support::shapley::{Resolved, Sampler, coalitions, shared};
use super::support::units::perturbation_settings;
use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::models::Capability;

pub struct KernelShap;

const SAMPLER: Sampler = Sampler {
    name: KernelShap::NAME,
    fits: true,
    rows: coalitions::rows,
    least: coalitions::least,
    run: coalitions::run,
};

perturbation_settings! {
    /// How much each word or image region moved the output, as its Shapley value: its gain, averaged fairly over all
    /// ways of adding the units one by one. The scores add up to the change of the output.
    ///
    /// # What it computes
    /// φ_i = Σ_{S ∌ i} |S|! (n − |S| − 1)! / n! · (v(S ∪ i) − v(S)), v(S) the target's `output` with only the units of S
    /// present, the others filled. At most 12 units whose 2^units coalitions fit into `max_evaluations` are enumerated.
    /// Otherwise φ is the weighted least squares fit of v over drawn coalitions under the constraint
    /// Σ φ = v(all) − v(none). Every coalition comes with its complement; the smallest and the largest are complete
    /// first. Of a probability only what a logistic curve over units and their pairs misses is sampled: the curve's own
    /// values cost no evaluation. More are drawn until the largest standard error is within `tolerance` of the largest
    /// score.
    ///
    /// # Settings
    /// `samples` fixes the number of coalitions. `interactions` adds the Shapley interaction index of each pair, of few
    /// units. `absolute`, then `normalize`, change the scores and their errors after everything else: `residual` is that
    /// of the raw scores.
    ///
    /// # Same numbers as
    /// shap 0.51 `KernelExplainer` and `ExactExplainer` over these units and fills where all coalitions are enumerated,
    /// within 1e-6; otherwise another random sample of what `KernelExplainer` with `l1_reg=0` estimates.
    ///
    /// # Limits
    /// The values depend on what absence looks like (`fill`). `not_converged` warns where `max_evaluations` did not
    /// suffice, `unstable` where fewer pairs than units were drawn: then there are no standard errors. At most 2000
    /// units.
    ///
    /// Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017; Covert and Lee, Improving
    /// KernelSHAP, AISTATS 2021; Witter et al., Regression-adjusted Monte Carlo Estimators for Shapley Values and
    /// Probabilistic Values, 2025; Grabisch and Roubens, An Axiomatic Approach to the Concept of Interaction, 1999.
    KernelShapSettings {
        /// Coalitions drawn beside the empty and the full one, an even number from 2. Default: none, all of few units,
        /// else until `tolerance`.
        #[schema(minimum = 2)]
        pub samples: Option<usize>,
        /// Different coalitions evaluated at most, from 2 · units + 2 (or all) to `limits.max_evaluations`. Default: text
        /// 5000, image 1000. With `samples`, no less than these.
        #[schema(minimum = 2)]
        pub max_evaluations: Option<usize>,
        /// Largest standard error of a score, relative to the largest score; more than 0, at most 1. Default 0.05. With
        /// `samples` nothing is judged by it.
        #[schema(exclusive_minimum = 0, maximum = 1)]
        pub tolerance: Option<f64>,
        /// Adds the matrix `interactions`, where all coalitions are evaluated. Default false.
        pub interactions: Option<bool>,
    }
}

impl Method for KernelShap {
    const NAME: &'static str = "kernel_shap";
    const GROUP: &'static str = "perturbation";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(mut settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        SAMPLER.resolve(shared!(settings), subject)
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        resolved.cost(subject)
    }

    fn values(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        resolved.values(subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        SAMPLER.explain(resolved, ctx)
    }
}

#[cfg(test)]
mod tests;
