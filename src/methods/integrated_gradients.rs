//! `integrated_gradients`: settings and answer. The path itself is `path`.

mod path;

use serde::Serialize;

use self::path::{Ladder, PathResult};
use super::support::baseline::Baseline;
use super::support::gradients::{self, Shown, gradient_settings};
use super::support::settings;
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Objective, SettingError, Subject};
use crate::input::Kind;
use crate::models::Capability;
use crate::numerics::quadrature;

/// Nodes of the largest `steps`.
const MOST_STEPS: usize = 1024;
/// Rows beside the nodes: the baseline and the input.
const ENDS: usize = 2;
/// Rows that the smallest and the largest nested rule take.
const LEAST_EVALUATIONS: usize = 3 + ENDS;
const MOST_EVALUATIONS: usize = 511 + ENDS;
/// Below this the change of the output no longer tightens the tolerance.
const LEAST_CHANGE: f64 = 0.01;

pub struct IntegratedGradients;

gradient_settings! {
    /// How much each token or image region moved the output, counted along the straight way from an empty input to this
    /// one, so that the scores add up to the change of the output.
    ///
    /// # What it computes
    /// A_i = (x_i − x′_i) · ∫₀¹ ∂f/∂x_i (x′ + α(x − x′)) dα, x the word embeddings (text) or the normalised pixels
    /// (image), x′ the baseline, f the target's `output`. `scores.tokens` sums A over a token's embedding, `words` over
    /// a word's tokens, `grid` over the channels and pixels of a cell. Without `steps` the integral is refined by
    /// nested rules of 3, 7, 15, … 511 nodes (Gauss-Patterson, evened out by a conformal map), every one reusing all
    /// gradients before it, until the residual (f(x) − f(x′) − ΣA) and the estimated error of the largest score are
    /// both within `tolerance` × max(|f(x) − f(x′)|, 0.01).
    ///
    /// # Settings
    /// `steps` fixes the rule to N-point Gauss-Legendre. `baseline` is what "nothing" looks like; `output` the space
    /// that is explained. `absolute`, then `normalize`, change every list by itself and after everything else:
    /// `residual` and `convergence_delta` are those of the raw scores.
    ///
    /// # Same numbers as
    /// Captum 0.9 `LayerIntegratedGradients` over the word embeddings (text) and `IntegratedGradients` over the pixels
    /// with `n_steps = steps`, within 1e-3 of the largest score.
    ///
    /// # Limits
    /// The scores depend on the baseline. 511 nodes (or `max_evaluations` rows) without convergence give
    /// `converged: false` and the warning `not_converged`; `residual` says how far the sum is off.
    ///
    /// Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017; Patterson, The Optimum Addition
    /// of Points to Quadrature Formulae, Math. Comp. 22, 1968.
    IntegratedGradientsSettings {
        /// Nodes of a fixed Gauss-Legendre rule, as Captum's `n_steps`; 1 to 1024. Default: none, refined until
        /// `tolerance`.
        #[schema(minimum = 1, maximum = 1024)]
        pub steps: Option<usize>,
        /// Model rows at most, the baseline's and the input's included; 5 to `limits.max_evaluations`. Default: 513,
        /// the largest nested rule; with `steps`, no less than these take.
        #[schema(minimum = 5)]
        pub max_evaluations: Option<usize>,
        /// Largest residual and largest estimated error of a score, relative to the change of the output; more than 0,
        /// at most 1. Default 0.01. With `steps` it only judges `converged`.
        #[schema(exclusive_minimum = 0, maximum = 1)]
        pub tolerance: Option<f64>,
        /// What replaces every non-special token (`pad`, `mask`, `unk`, `zero`) or the image (`zero` after
        /// normalisation, `mean` colour, `blur` with σ = 10 % of the shorter side, `black`, `white`). Default: text
        /// `pad`, without a pad token `unk`, else `zero`; image `zero`.
        pub baseline: Option<Baseline>,
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    /// Null: refined until `tolerance`.
    steps: Option<usize>,
    max_evaluations: usize,
    tolerance: f64,
    baseline: Baseline,
    #[serde(flatten)]
    shown: Shown,
    /// Largest nested rule within `max_evaluations`, as an index.
    #[serde(skip)]
    last_rule: usize,
}

impl Method for IntegratedGradients {
    const NAME: &'static str = "integrated_gradients";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Forward, Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let max_evaluations = budget(&settings, subject.max_evaluations)?;
        let last_rule = quadrature::NESTED.iter().rposition(|&nodes| nodes + ENDS <= max_evaluations);
        Ok(Resolved {
            steps: settings.steps,
            max_evaluations,
            tolerance: settings::tolerance(settings.tolerance, 0.01)?,
            baseline: Baseline::resolve(settings.baseline, subject)?,
            shown: Shown::resolve(settings.asked(), subject)?,
            last_rule: last_rule.unwrap_or(0),
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        gradients::cost(1, resolved.steps.unwrap_or(quadrature::NESTED[resolved.last_rule]), subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let objectives = resolved.shown.objectives(ctx);
        let path = path::Path {
            ctx,
            input: ctx.embedding(None)?,
            baseline: resolved.baseline.embedding(ctx)?,
            sums: resolved.shown.finest.sums(ctx.input()),
            objectives: &objectives,
            tolerance: resolved.tolerance,
            least_change: LEAST_CHANGE,
            refined: &|results| {
                ctx.refine(attributions(resolved, ctx, results)?);
                Ok(())
            },
        };
        let ladder = match resolved.steps {
            Some(steps) => Ladder::fixed(steps),
            None => Ladder::nested(resolved.last_rule),
        };
        let results = path.integrate(&ladder)?;
        let adaptive = resolved.steps.is_none();
        for (objective, result) in objectives.iter().zip(&results) {
            if adaptive && !result.converged && !result.partial {
                ctx.warn("not_converged", not_converged(objective, result, resolved.tolerance));
            }
        }
        attributions(resolved, ctx, results)
    }
}

/// `max_evaluations`, given `limits.max_evaluations`; checks `steps` against both.
fn budget(settings: &Settings, limit: usize) -> Result<usize, SettingError> {
    if limit < LEAST_EVALUATIONS {
        return Err(SettingError::new("", "limits.max_evaluations is below 5, too few for any rule; raise it"));
    }
    let evaluations = settings.max_evaluations.unwrap_or(MOST_EVALUATIONS.min(limit));
    let range = LEAST_EVALUATIONS..=limit;
    let evaluations = settings::within("max_evaluations", evaluations, range, " (limits.max_evaluations)")?;
    let Some(steps) = settings.steps else { return Ok(evaluations) };
    let range = 1..=MOST_STEPS.min(limit - ENDS);
    let rows = ENDS + settings::within("steps", steps, range, " (limits.max_evaluations less 2 at most)")?;
    if settings.max_evaluations.is_some() && rows > evaluations {
        let detail = format!("{steps} steps take {rows} rows and max_evaluations is {evaluations}; drop one of them");
        return Err(SettingError::new("steps", detail));
    }
    Ok(evaluations.max(rows))
}

fn not_converged(objective: &Objective, result: &PathResult, tolerance: f64) -> String {
    format!(
        "integrated_gradients of \"{}\" left a residual of {:.3e} of {:.3e} after {} nodes (tolerance {tolerance}); \
         try another baseline, \"output\": \"logit\" or, below {MOST_EVALUATIONS}, a larger max_evaluations",
        objective.target,
        result.residual(),
        result.output - result.base,
        result.nodes
    )
}

fn attributions(resolved: &Resolved, ctx: &dyn Ctx, results: Vec<PathResult>) -> Result<Vec<Attribution>, Error> {
    results.into_iter().map(|result| attribute(resolved, ctx, result)).collect()
}

fn attribute(resolved: &Resolved, ctx: &dyn Ctx, result: PathResult) -> Result<Attribution, Error> {
    let residual = result.residual();
    let diagnostics = Diagnostics {
        evaluations: result.evaluations,
        converged: Some(result.converged),
        convergence_delta: Some(settings::float(-residual, "the residual")?),
        nodes: Some(result.nodes),
        ..Diagnostics::default()
    };
    Ok(Attribution {
        base_value: Some(settings::float(result.base, "the base value")?),
        residual: Some(settings::float(residual, "the residual")?),
        partial: result.partial,
        ..resolved.shown.attribution(ctx, result.scores, result.output, diagnostics)?
    })
}

#[cfg(test)]
mod tests;
