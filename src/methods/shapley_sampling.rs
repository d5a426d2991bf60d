//! `shapley_sampling`: the settings. The estimator is `support::shapley::orders`.

use super::support::shapley::{Resolved, Sampler, orders, shared};
use super::support::units::perturbation_settings;
use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::models::Capability;

pub struct ShapleySampling;

const SAMPLER: Sampler =
    Sampler { name: ShapleySampling::NAME, fits: false, rows: orders::rows, least: orders::least, run: orders::run };

perturbation_settings! {
    /// How much each word or image region moved the output, as its Shapley value, estimated by adding the units one by
    /// one in random orders. The scores add up to the change of the output.
    ///
    /// # What it computes
    /// φ_i = the mean over orders of v(before i, with i) − v(before i), v(S) the target's `output` with only the units of
    /// S present, the others filled. At most 12 units whose 2^units coalitions fit into `max_evaluations` are enumerated,
    /// which is the mean over all orders. Otherwise orders are drawn, each with its reverse, until the largest standard
    /// error (of the mean over such pairs) is within `tolerance` of the largest score. Equal coalitions are evaluated
    /// once.
    ///
    /// # Settings
    /// `samples` fixes the number of orders. `interactions` adds the Shapley interaction index of each pair, of few
    /// units. `absolute`, then `normalize`, change the scores and their errors after everything else: `residual` is that
    /// of the raw scores.
    ///
    /// # Same numbers as
    /// Captum 0.9 `ShapleyValues` over these units and fills where all coalitions are enumerated, within 1e-6; otherwise
    /// another random sample of what `ShapleyValueSampling` estimates, with less spread.
    ///
    /// # Limits
    /// An order takes units − 1 evaluations; `kernel_shap` estimates the same values from fewer. The values depend on
    /// what absence looks like (`fill`). `not_converged` warns where `max_evaluations` did not suffice.
    ///
    /// Castro, Gómez and Tejada, Polynomial Calculation of the Shapley Value Based on Sampling, 2009; Mitchell et al.,
    /// Sampling Permutations for Shapley Value Estimation, JMLR 2022.
    ShapleySamplingSettings {
        /// Orders drawn, in pairs of an order and its reverse: an even number from 2. Default: none, all of few units,
        /// else until `tolerance`.
        #[schema(minimum = 2)]
        pub samples: Option<usize>,
        /// Different coalitions evaluated at most, from 2 · units (or all) to `limits.max_evaluations`. Default: text
        /// 5000, image 1000. With `samples`, no less than these take.
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

impl Method for ShapleySampling {
    const NAME: &'static str = "shapley_sampling";
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
