//! `gradient_shap`: gradients at random points between random baselines and the input.

use serde::Serialize;

use super::smooth_grad::diagnostics;
use super::support::baseline::Baseline;
use super::support::finest::Sums;
use super::support::gradients::{self, Shown, gradient_settings};
use super::support::sampling::{self, Estimate, Moments, Sampled, Sampling};
use super::support::settings;
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Objective, Pass, SettingError, Subject};
use crate::input::{Input, Kind};
use crate::models::{Capability, TapPlan};
use crate::nn::Rule;
use crate::numerics::sampling::{generator_of, integer, uniform};

/// Baselines at most: as many kinds as there are.
const MOST_BASELINES: usize = 8;

pub struct GradientShap;

gradient_settings! {
    /// How much each token or image region moved the output away from its mean over several baselines: Shapley values
    /// of a model that is linear between them and the input.
    ///
    /// # What it computes
    /// A = E\[(x − b) · ∂f/∂x (b + u (x − b))\] over b drawn from `baselines` and u uniform on \[0, 1\], x the word
    /// embeddings (text) or the normalised pixels (image), f the target's `output`. `scores` sum A as
    /// `integrated_gradients` does. `base_value` is the mean output over the baselines; the expected scores add up to
    /// `output_value` − `base_value`, drawn ones but for `residual`, whose standard error is
    /// `diagnostics.residual_error`.
    ///
    /// # Settings
    /// `baselines` are the kinds of "nothing", each equally likely. Without `samples` 16, 32, 64, … are drawn until the
    /// largest standard error is within `tolerance` of the largest score.
    ///
    /// # Same numbers as
    /// Captum 0.9 `GradientShap` with `stdevs=0`: the same expectation, from other random numbers. Given the same
    /// numbers its scores are these within 1e-5 of the largest.
    ///
    /// # Limits
    /// With one baseline it is `integrated_gradients` by chance: that one needs fewer rows. Scores depend on the
    /// baselines. By pixel the standard errors count against `limits.response_values`.
    ///
    /// Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017; Erion et al., Improving
    /// Performance of Deep Learning Models with Axiomatic Attribution Priors and Expected Gradients, Nature Machine
    /// Intelligence 2021.
    GradientShapSettings {
        /// What stands for "nothing", 1 to 8 kinds: text `pad`, `mask`, `unk`, `zero`; images `zero` (after
        /// normalisation), `mean`, `blur`, `black`, `white`. Default: text `pad`, without a pad token `unk`, else
        /// `zero`; images `black`, `white`, `mean` and `blur`.
        #[schema(min_items = 1, max_items = 8)]
        pub baselines: Option<Vec<Baseline>>,
        /// Samples drawn, whatever their error; 1 to `limits.max_evaluations` less the baselines and the input.
        /// Default: none, drawn until `tolerance`.
        #[schema(minimum = 1)]
        pub samples: Option<usize>,
        /// Model rows at most, the baselines' and the input's included; 4 to `limits.max_evaluations`. Default: what
        /// 512 samples, the baselines and the input take; with `samples`, no less than these.
        #[schema(minimum = 4)]
        pub max_evaluations: Option<usize>,
        /// Largest standard error of a score, relative to the largest score; more than 0, at most 1. Default 0.05. With
        /// `samples` it only judges `converged`.
        #[schema(exclusive_minimum = 0, maximum = 1)]
        pub tolerance: Option<f64>,
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    baselines: Vec<Baseline>,
    #[serde(flatten)]
    sampling: Sampling,
    #[serde(flatten)]
    shown: Shown,
}

impl Method for GradientShap {
    const NAME: &'static str = "gradient_shap";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Forward, Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let asked = settings.asked();
        let Settings { samples, max_evaluations, tolerance, .. } = settings;
        let baselines = baselines(settings.baselines, subject.input)?;
        let beside = beside(&baselines);
        let resolved = Resolved {
            baselines,
            sampling: Sampling::resolve(samples, max_evaluations, tolerance, beside, subject.max_evaluations)?,
            shown: Shown::resolve(asked, subject)?,
        };
        resolved.shown.errors_fit(subject)?;
        Ok(resolved)
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        gradients::cost(resolved.baselines.len(), resolved.sampling.most(beside(&resolved.baselines)), subject)
    }

    fn values(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        resolved.shown.errors(subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let baselines = resolved.baselines.len();
        let draw = |sample: usize| {
            let mut rng = generator_of(ctx.seed(), sample as u64);
            (integer(&mut rng, 0, baselines - 1), uniform(&mut rng))
        };
        expect(resolved, ctx, &draw)
    }
}

/// Rows beside the samples: the baselines and the input.
fn beside(baselines: &[Baseline]) -> usize {
    baselines.len() + 1
}

fn baselines(asked: Option<Vec<Baseline>>, input: &Input) -> Result<Vec<Baseline>, SettingError> {
    let Some(asked) = asked else {
        return match input {
            Input::Text(_) => Ok(vec![Baseline::at("baselines", None, input)?]),
            Input::Image(_) => Ok(vec![Baseline::Black, Baseline::White, Baseline::Mean, Baseline::Blur]),
        };
    };
    if asked.is_empty() || asked.len() > MOST_BASELINES {
        let detail = format!("{} baselines; name 1 to {MOST_BASELINES}", asked.len());
        return Err(SettingError::new("baselines", detail));
    }
    let place = |(index, kind)| Baseline::at(&format!("baselines/{index}"), Some(kind), input);
    asked.into_iter().enumerate().map(place).collect()
}

/// Which baseline a sample has, and where on the way from it to the input it lies.
type Draw<'a> = &'a dyn Fn(usize) -> (usize, f64);

/// A baseline and the way from it to the input.
struct Way {
    from: Vec<f32>,
    step: Vec<f64>,
}

fn expect(resolved: &Resolved, ctx: &dyn Ctx, draw: Draw<'_>) -> Result<Vec<Attribution>, Error> {
    let Resolved { baselines, sampling, shown } = resolved;
    let objectives = shown.objectives(ctx);
    let sums = shown.finest.sums(ctx.input());
    let input = ctx.embedding(None)?;
    let mut ways = Vec::with_capacity(baselines.len());
    for baseline in baselines {
        let from = baseline.embedding(ctx)?;
        ways.push(Way { step: gradients::step(&input, &from), from });
    }
    let bases = base_values(ctx, &objectives, &ways)?;
    let write = |sample: usize, out: &mut [f32]| {
        let (baseline, u) = draw(sample);
        let Way { from, step } = &ways[baseline];
        for ((out, from), step) in out.iter_mut().zip(from).zip(step) {
            *out = (f64::from(*from) + u * step) as f32;
        }
    };
    let new =
        || Expected { sums: &sums, ways: &ways, draw, scores: Moments::new(sums.count()), total: Moments::new(1) };
    let beside = beside(baselines);
    let show = |place: usize, sampled: &Sampled<Expected<'_>>| {
        attribute(shown, ctx, &objectives[place], sampled, bases[place], beside)
    };
    let found = sampling::sample(ctx, &objectives, sampling, sampling.most(beside), &write, new, show)?;
    let answers = found.iter().enumerate().map(|(place, sampled)| {
        sampling::warn(ctx, GradientShap::NAME, sampling, &objectives[place], sampled);
        show(place, sampled)
    });
    answers.collect()
}

/// Each objective's mean over the baselines.
fn base_values(ctx: &dyn Ctx, objectives: &[Objective], ways: &[Way]) -> Result<Vec<f64>, Error> {
    let mut bases = vec![0.0; objectives.len()];
    let write = |row: usize, out: &mut [f32]| out.copy_from_slice(&ways[row].from);
    let taps = TapPlan::default();
    let pass = Pass { rows: ways.len(), embedding: Some(&write), objectives: &[], rule: Rule::Gradient, taps };
    ctx.pass(&pass, &mut |view| {
        for (base, objective) in bases.iter_mut().zip(objectives) {
            *base += ctx.task().value(view.logits, &objective.target, objective.output) / ways.len() as f64;
        }
        Ok(())
    })?;
    Ok(bases)
}

/// One target's running mean.
struct Expected<'a> {
    sums: &'a Sums,
    ways: &'a [Way],
    draw: Draw<'a>,
    scores: Moments,
    /// Of the scores' sum.
    total: Moments,
}

impl Estimate for Expected<'_> {
    fn add(&mut self, sample: usize, gradient: &[f32]) {
        let (baseline, _) = (self.draw)(sample);
        let mut terms = vec![0.0; self.sums.count()];
        self.sums.products(&self.ways[baseline].step, gradient, &mut terms);
        self.total.add(&[terms.iter().sum()]);
        self.scores.add(&terms);
    }
    fn scores(&self) -> Vec<f64> {
        self.scores.means.clone()
    }
    fn errors(&self) -> Option<Vec<f64>> {
        self.scores.errors()
    }
}

fn attribute(
    shown: &Shown,
    ctx: &dyn Ctx,
    objective: &Objective,
    sampled: &Sampled<Expected<'_>>,
    base: f64,
    beside: usize,
) -> Result<Attribution, Error> {
    let output = ctx.task().value(ctx.logits(), &objective.target, objective.output);
    let scores = sampled.estimate.scores();
    let residual = output - base - scores.iter().sum::<f64>();
    let error = sampled.estimate.total.errors().and_then(|errors| errors.first().copied());
    let known = diagnostics(shown.presentation, sampled)?;
    let diagnostics = Diagnostics {
        evaluations: known.evaluations + beside,
        convergence_delta: Some(settings::float(-residual, "the residual")?),
        residual_error: error.map(|error| settings::float(error, "the residual's error")).transpose()?,
        ..known
    };
    Ok(Attribution {
        base_value: Some(settings::float(base, "the base value")?),
        residual: Some(settings::float(residual, "the residual")?),
        partial: sampled.partial,
        ..shown.attribution(ctx, scores, output, diagnostics)?
    })
}

#[cfg(test)]
mod tests;
