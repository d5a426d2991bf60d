//! `smooth_grad`: settings and answer. The running means are `estimate`, how many samples are drawn is
//! `support::sampling`.

mod estimate;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::estimate::Smoothed;
use super::support::gradients::{self, Shown, gradient_settings};
use super::support::sampling::{self, Estimate, Sampled, Sampling};
use super::support::settings::{self, Presentation};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Objective, SettingError, Subject, WriteEmbedding};
use crate::input::Kind;
use crate::models::Capability;
use crate::numerics::sampling::{generator_of, normal};

/// Numbers of mean gradients kept at once at most, all targets' together (512 MiB).
const MOST_MEANS: usize = 64 << 20;

pub struct SmoothGrad;

gradient_settings! {
    /// How strongly the output answers to a small change of each token or image region, averaged over noisy copies of
    /// the input, so that the gradient's own noise cancels.
    ///
    /// # What it computes
    /// Over samples x + ε, ε normal with deviation σ in every number of the word embeddings (text, specials included)
    /// or the normalised pixels (image), and g the gradient of the target's `output` there: E\[g\] (`mean`), E\[g²\]
    /// (`squared`) or E\[g²\] − E\[g\]² (`variance`), number by number. A token's score is the L2 norm of E\[g\] over
    /// its embedding, or the sum of the other two; a cell's is the sum of absolute numbers over its channels and
    /// pixels. `words` sums a word's tokens.
    ///
    /// # Settings
    /// `noise` is σ as a fraction of the input's range: the largest number of its embedding less the smallest. Without
    /// `samples` 16, 32, 64, … are drawn until the largest standard error is within `tolerance` of the largest score.
    ///
    /// # Same numbers as
    /// Captum 0.9 `NoiseTunnel` (`smoothgrad`, `smoothgrad_sq`, `vargrad`) over `Saliency` with `abs=False`, given the
    /// same noise, within 1e-5 of the largest score; `stdevs` is `noise` × range.
    ///
    /// # Limits
    /// A standard error says how far the samples' mean is from its limit, not how good the limit is: that hangs on
    /// `noise`. Of a mean it is taken along the direction that the mean had before each sample, which is exact in the
    /// limit. `mean` and `variance` keep the mean gradient of every target: targets times numbers of the embedding may
    /// be 64 Mi at most. By pixel the standard errors count against `limits.response_values`.
    ///
    /// Smilkov et al., SmoothGrad: removing noise by adding noise, 2017; Hooker et al., A Benchmark for
    /// Interpretability Methods in Deep Neural Networks, NeurIPS 2019 (`squared`); Adebayo et al., Local Explanation
    /// Methods for Deep Neural Networks Lack Sensitivity to Parameter Values, 2018 (`variance`).
    SmoothGradSettings {
        /// What is taken of the samples' gradients: their mean, their mean square or their variance. Default `mean`.
        pub variant: Option<Variant>,
        /// The noise's standard deviation as a fraction of the input's range, as in the paper; more than 0, at most 10.
        /// Default 0.15.
        #[schema(exclusive_minimum = 0, maximum = 10)]
        pub noise: Option<f64>,
        /// Samples drawn, whatever their error; 1 to `limits.max_evaluations`. Default: none, drawn until `tolerance`.
        #[schema(minimum = 1)]
        pub samples: Option<usize>,
        /// Model rows at most; 2 to `limits.max_evaluations`. Default: 512; with `samples`, no less than these take.
        #[schema(minimum = 2)]
        pub max_evaluations: Option<usize>,
        /// Largest standard error of a score, relative to the largest score; more than 0, at most 1. Default 0.05. With
        /// `samples` it only judges `converged`.
        #[schema(exclusive_minimum = 0, maximum = 1)]
        pub tolerance: Option<f64>,
    }
}

/// What is taken of the samples' gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = SmoothGradVariant)]
pub enum Variant {
    #[default]
    Mean,
    Squared,
    Variance,
}

impl Variant {
    /// Whether the mean gradient is kept, number by number.
    fn keeps_means(self) -> bool {
        self != Self::Squared
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    variant: Variant,
    noise: f64,
    #[serde(flatten)]
    sampling: Sampling,
    #[serde(flatten)]
    shown: Shown,
}

impl Method for SmoothGrad {
    const NAME: &'static str = "smooth_grad";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Forward, Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const SIGNED: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let Settings { samples, max_evaluations, tolerance, .. } = settings;
        let resolved = Resolved {
            variant: settings.variant.unwrap_or_default(),
            noise: noise(settings.noise)?,
            sampling: Sampling::resolve(samples, max_evaluations, tolerance, 0, subject.max_evaluations)?,
            shown: Shown::resolve(settings.asked(), subject)?,
        };
        if resolved.variant.keeps_means() {
            means_fit(subject)?;
        }
        resolved.shown.errors_fit(subject)?;
        Ok(resolved)
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        gradients::cost(0, resolved.sampling.most(0), subject)
    }

    fn values(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        resolved.shown.errors(subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let input = ctx.embedding(None)?;
        let deviation = resolved.noise * range(&input);
        let write = |sample: usize, out: &mut [f32]| {
            let mut rng = generator_of(ctx.seed(), sample as u64);
            for (out, x) in out.iter_mut().zip(&input) {
                *out = (f64::from(*x) + deviation * normal(&mut rng)) as f32;
            }
        };
        smooth(resolved, ctx, &write)
    }
}

/// Whether the mean gradients of all targets may be kept.
fn means_fit(subject: &Subject<'_>) -> Result<(), SettingError> {
    let (targets, numbers) = (subject.targets, gradients::numbers(subject));
    if targets.saturating_mul(numbers) <= MOST_MEANS {
        return Ok(());
    }
    let detail = format!(
        "the mean gradients of {targets} targets over {numbers} numbers of the embedding are more than {MOST_MEANS} \
         numbers; send fewer targets or a shorter text, or use \"squared\""
    );
    Err(SettingError::new("variant", detail))
}

fn noise(asked: Option<f64>) -> Result<f64, SettingError> {
    let noise = asked.unwrap_or(0.15);
    if noise > 0.0 && noise <= 10.0 {
        return Ok(noise);
    }
    Err(SettingError::new("noise", format!("{noise:?} is out of range; use more than 0 and at most 10")))
}

/// The largest number less the smallest.
fn range(numbers: &[f32]) -> f64 {
    let low = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let high = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if numbers.is_empty() { 0.0 } else { f64::from(high) - f64::from(low) }
}

/// `write` makes the noisy samples.
fn smooth(resolved: &Resolved, ctx: &dyn Ctx, write: WriteEmbedding<'_>) -> Result<Vec<Attribution>, Error> {
    let Resolved { sampling, shown, variant, .. } = resolved;
    let objectives = shown.objectives(ctx);
    let sums = shown.finest.sums(ctx.input());
    let new = || Smoothed::new(*variant, &sums);
    let show = |place: usize, sampled: &Sampled<Smoothed<'_>>| {
        let Objective { target, output } = &objectives[place];
        let output = ctx.task().value(ctx.logits(), target, *output);
        let known = diagnostics(shown.presentation, sampled)?;
        let answer = shown.attribution(ctx, sampled.estimate.scores(), output, known)?;
        Ok(Attribution { partial: sampled.partial, ..answer })
    };
    let found = sampling::sample(ctx, &objectives, sampling, sampling.most(0), write, new, show)?;
    let answers = found.iter().enumerate().map(|(place, sampled)| {
        sampling::warn(ctx, SmoothGrad::NAME, sampling, &objectives[place], sampled);
        show(place, sampled)
    });
    answers.collect()
}

/// What is known of a sampled estimate; standard errors are those of the list as it is shown.
pub(super) fn diagnostics<E: Estimate>(show: Presentation, sampled: &Sampled<E>) -> Result<Diagnostics, Error> {
    let factor = show.apply(&mut sampled.estimate.scores());
    let shown = |errors: Vec<f64>| -> Vec<f64> { errors.iter().map(|error| error * factor).collect() };
    let errors = sampled.estimate.errors().map(|errors| settings::floats(&shown(errors), "a standard error"));
    Ok(Diagnostics {
        evaluations: sampled.samples,
        samples: Some(sampled.samples),
        converged: Some(sampled.converged),
        standard_error: errors.transpose()?,
        ..Diagnostics::default()
    })
}

#[cfg(test)]
mod tests;
