//! `lime`: settings, units and answer. Which procedure the settings name is `lime/procedure`; the sampling and the linear
//! model are `support::surrogate`.

mod procedure;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::procedure::Procedure;
use super::support::precision;
use super::support::settings::{self, Precision, Presentation};
use super::support::surrogate::{self, Plan, Surrogate};
use super::support::units::{self, Choice, Scored, perturbation_settings};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::input::units::Units;
use crate::models::Capability;
use crate::tasks::{OutputSpace, Target};

pub struct Lime;

/// Which linear model is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = LimeVariant)]
pub enum Variant {
    /// Near masks weigh more, every unit has a score.
    #[default]
    Lime,
    /// ContextCite: all masks weigh the same, and few units have a score.
    Sparse,
}

perturbation_settings! {
    /// How much each word or image region counts for the output, by taking parts of the input away and fitting a linear
    /// model to what the model then says.
    ///
    /// # What it computes
    /// The coefficients of argmin Σ π(z) (f(z) − β₀ − zβ)², z the masks of present units, f the target's `output` with
    /// the absent ones filled, π(z) = exp(−D² / 2w²) with w = `kernel_width` and D = 1 − √(share of units present), times
    /// 100 for text. At most 12 units whose 2^units masks fit into `max_evaluations` are enumerated: all masks but the
    /// full one (a single unit: with it), each weighted by the chance that lime draws it, without penalty, so there is no
    /// sampling error. More units are drawn in batches until the largest standard error (HC0) is within `tolerance` of
    /// the largest score. Equal masks are evaluated once and count as often as they are drawn.
    ///
    /// `"variant": "sparse"` is ContextCite, made for a prompt of sentences or documents of which few made a language model
    /// say what it said: a few dozen masks of coins, and the minimum of Σ (f(z) − β₀ − zβ)² / 2n + `lasso` Σ |βⱼ sⱼ|, sⱼ the
    /// standard deviation of unit j over the n masks. Where all masks are no more than `samples`, each is taken once.
    ///
    /// # Settings
    /// `samples` fixes the number of draws and reproduces lime's procedure: the input and N − 1 draws, ridge 1, all units
    /// kept. `kernel_width`, `ridge`, `tolerance` and `max_evaluations` are of the variant `lime`, `lasso` of `sparse`.
    /// `absolute`, then `normalize`, change the scores (and the standard errors with them) after everything else.
    ///
    /// # Same numbers as
    /// lime 0.2.0.1, `LimeTextExplainer(bow=False)` with these units as its split and `LimeImageExplainer`, with all
    /// features kept: with `samples` the same estimator over another random stream, so equal within lime's own spread
    /// between seeds; enumerated, the limit of many samples. `sparse`: scikit-learn 1.9.1's `Lasso` behind `StandardScaler`
    /// on the same masks, within 1e-7 of the largest score; ContextCite's of one completion token (of several it fits their
    /// mean, here each token has its own fit and the list is their sum).
    ///
    /// # Limits
    /// The scores depend on what absence looks like (`fill`) and need not add up to the output. A low `diagnostics.r2`
    /// says that a linear model does not describe the output. `not_converged` warns where `max_evaluations` did not
    /// suffice. At most 2000 units. `sparse`: what has a score of 0 is not told from what has a small one, and there are no
    /// standard errors.
    ///
    /// Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016; White, A Heteroskedasticity-Consistent Covariance
    /// Matrix Estimator, Econometrica 48, 1980; Cohen-Wang, Shah, Georgiev and Mądry, ContextCite: Attributing Model
    /// Generation to Context, NeurIPS 2024.
    LimeSettings {
        /// Which linear model is fitted: `lime`, or `sparse`. Default `lime`.
        pub variant: Option<Variant>,
        /// Draws of lime's own procedure, repeated masks counted; 2 to `limits.max_evaluations`. Default: none, all
        /// masks of few units, else draws until `tolerance`; `sparse` 64.
        #[schema(minimum = 2)]
        pub samples: Option<usize>,
        /// Different masks evaluated at most, 4 to `limits.max_evaluations`. Default: text 5000, image 1000. With
        /// `samples`, no less than these.
        #[schema(minimum = 4)]
        pub max_evaluations: Option<usize>,
        /// Largest standard error of a score, relative to the largest score; more than 0, at most 1. Default 0.05. With
        /// `samples` nothing is judged by it.
        #[schema(exclusive_minimum = 0, maximum = 1)]
        pub tolerance: Option<f64>,
        /// Width of the kernel, in cosine distance × 100 (text) or cosine distance (images); more than 0. Default: text 25,
        /// image 0.25.
        #[schema(exclusive_minimum = 0)]
        pub kernel_width: Option<f64>,
        /// Penalty on the squared scores, 0 or more, with `samples` alone. Default: lime's 1 with `samples`, else 0.
        #[schema(minimum = 0)]
        pub ridge: Option<f64>,
        /// Variant `sparse`: the penalty on the scores' sizes, in the output's space; more than 0. The larger, the fewer
        /// units have a score. Default 0.01.
        #[schema(exclusive_minimum = 0)]
        pub lasso: Option<f64>,
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    #[serde(flatten)]
    units: Choice,
    #[serde(flatten)]
    procedure: Procedure,
    output: OutputSpace,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
}

impl Method for Lime {
    const NAME: &'static str = "lime";
    const GROUP: &'static str = "perturbation";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(mut settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let units = Choice::resolve(settings.units(), subject)?;
        units.fitted()?;
        let procedure = Procedure::resolve(&settings, subject)?;
        let output = match procedure {
            Procedure::Lime { .. } => OutputSpace::Probability,
            Procedure::Sparse { .. } => OutputSpace::LogOdds,
        };
        Ok(Resolved {
            units,
            procedure,
            output: settings::output(settings.output, output, subject)?,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::precision(settings.precision, subject)?,
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let rows = resolved.procedure.rows(resolved.units.count());
        units::cost(rows + precision::cost(resolved.precision), subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let units = resolved.units.units(ctx.input(), ctx.seed())?;
        if units.is_empty() {
            return ctx.targets().iter().map(|target| nothing(resolved, ctx, target)).collect();
        }
        let (kernel, draw) = resolved.procedure.drawing(ctx.input().kind());
        let plan = Plan {
            ctx,
            units: &units,
            fill: resolved.units.fill,
            precision: resolved.precision,
            output: resolved.output,
            kernel,
            draw,
            mode: resolved.procedure.mode(units.len()),
            refined: &|surrogates| {
                ctx.refine(attributions(resolved, ctx, &units, surrogates)?);
                Ok(())
            },
        };
        let surrogates = surrogate::explain(&plan)?;
        for (surrogate, target) in surrogates.iter().zip(ctx.targets()) {
            warn(resolved, ctx, surrogate, &target.to_string());
        }
        attributions(resolved, ctx, &units, surrogates)
    }
}

fn warn(resolved: &Resolved, ctx: &dyn Ctx, surrogate: &Surrogate, label: &str) {
    if let (Procedure::Lime { tolerance, .. }, Some(false), false) =
        (&resolved.procedure, surrogate.converged, surrogate.partial)
    {
        let detail = format!(
            "lime of \"{label}\" reached a relative standard error of {:.3} after {} evaluations (tolerance {}); raise \
             max_evaluations or tolerance",
            surrogate.relative_error(),
            surrogate.evaluations,
            tolerance
        );
        ctx.warn("not_converged", detail);
    }
    if !surrogate.fit.unique {
        let detail = format!(
            "lime of \"{label}\" has too few different masks of any weight to tell its units apart, so the smallest \
             scores that fit are given; raise max_evaluations, samples or kernel_width"
        );
        ctx.warn("unstable", detail);
    }
    if !surrogate.fit.settled && !surrogate.partial {
        let detail = format!(
            "the sparse scores of \"{label}\" were still moving when their search ended; raise lasso or samples"
        );
        ctx.warn("not_converged", detail);
    }
}

/// A text without units.
fn nothing(resolved: &Resolved, ctx: &dyn Ctx, target: &Target) -> Result<Attribution, Error> {
    let mut attribution = units::nothing(&resolved.units, ctx, target, resolved.output, false)?;
    let diagnostics = std::mem::take(&mut attribution.diagnostics);
    attribution.diagnostics = Diagnostics {
        converged: Some(true),
        samples: Some(0),
        standard_error: resolved.procedure.estimates().then(Vec::new),
        intercept: attribution.output_value,
        ..diagnostics
    };
    Ok(attribution)
}

fn attributions(
    resolved: &Resolved,
    ctx: &dyn Ctx,
    units: &Units,
    surrogates: Vec<Surrogate>,
) -> Result<Vec<Attribution>, Error> {
    surrogates.into_iter().map(|surrogate| attribute(resolved, ctx, units, surrogate)).collect()
}

fn attribute(resolved: &Resolved, ctx: &dyn Ctx, units: &Units, surrogate: Surrogate) -> Result<Attribution, Error> {
    let Surrogate { fit, base, output, samples, evaluations, exact, converged, partial, precision_error } = surrogate;
    let errors = resolved.procedure.estimates().then_some(fit.standard_errors.as_slice());
    let scored = Scored { scores: &fit.coefficients, errors, base, output, complete: false };
    let mut attribution = units::answer(&resolved.units, resolved.presentation, ctx.input(), units, &scored)?;
    attribution.partial = partial;
    attribution.diagnostics = Diagnostics {
        evaluations,
        converged,
        exact: Some(exact),
        samples: Some(samples),
        r2: Some(settings::float(fit.r2, "r²")?),
        intercept: Some(settings::float(fit.intercept, "the intercept")?),
        precision_error: precision_error.map(|error| settings::float(error, "the precision's error")).transpose()?,
        ..attribution.diagnostics
    };
    Ok(attribution)
}

#[cfg(test)]
mod tests;
