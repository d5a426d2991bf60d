//! What methods over gradients share: their settings, one pass over the input itself, and their answer.

use serde::Serialize;

use super::finest::{Finest, Resolution};
use super::settings::{self, Normalize, Precision, Presentation};
use crate::methods::{Attribution, Cost, Ctx, Diagnostics, Error, Objective, Pass, SettingError, Subject};
use crate::models::TapPlan;
use crate::nn::Rule;
use crate::tasks::OutputSpace;

/// The settings that every one of them has, as a caller wrote them.
pub struct Asked {
    pub output: Option<OutputSpace>,
    pub cells: Option<usize>,
    pub resolution: Option<Resolution>,
    pub normalize: Option<Normalize>,
    pub absolute: Option<bool>,
    pub precision: Option<Precision>,
}

/// The same, resolved.
#[derive(Debug, Serialize)]
pub struct Shown {
    pub output: OutputSpace,
    #[serde(flatten)]
    pub finest: Finest,
    #[serde(flatten)]
    pub presentation: Presentation,
    pub precision: Precision,
}

impl Shown {
    pub fn resolve(asked: Asked, subject: &Subject<'_>) -> Result<Self, SettingError> {
        Ok(Self {
            output: settings::output(asked.output, OutputSpace::Logit, subject)?,
            finest: Finest::resolve(asked.cells, asked.resolution, subject)?,
            presentation: Presentation::new(asked.normalize, asked.absolute),
            precision: settings::gradient_precision(asked.precision)?,
        })
    }

    /// What is differentiated, one a target.
    pub fn objectives(&self, ctx: &dyn Ctx) -> Vec<Objective> {
        ctx.targets().iter().map(|target| Objective { target: target.clone(), output: self.output }).collect()
    }

    /// An answer of `scores`, the finest, with what is known of it but `base_value` and `residual`.
    pub fn attribution(
        &self,
        ctx: &dyn Ctx,
        scores: Vec<f64>,
        output: f64,
        diagnostics: Diagnostics,
    ) -> Result<Attribution, Error> {
        Ok(Attribution {
            scores: self.finest.lists(self.presentation, ctx.input(), scores)?,
            grid: self.finest.grid,
            output_value: Some(settings::float(output, "the output value")?),
            diagnostics,
            ..Attribution::default()
        })
    }

    /// One attribution a target from the gradient at the input itself under `rule`, by `scores`.
    pub fn at_input(
        &self,
        ctx: &dyn Ctx,
        rule: Rule,
        scores: impl Fn(&[f32]) -> Vec<f64>,
    ) -> Result<Vec<Attribution>, Error> {
        let objectives = self.objectives(ctx);
        let mut found = Vec::with_capacity(objectives.len());
        let pass = Pass { rows: 1, embedding: None, objectives: &objectives, rule, taps: TapPlan::default() };
        ctx.pass(&pass, &mut |view| {
            for (gradient, value) in view.gradients.iter().zip(view.values) {
                let diagnostics = Diagnostics { evaluations: 1, ..Diagnostics::default() };
                found.push(self.attribution(ctx, scores(gradient), *value, diagnostics)?);
            }
            Ok(())
        })?;
        Ok(found)
    }
}

/// Numbers in f64.
pub fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().copied().map(f64::from).collect()
}

/// input − baseline.
pub fn step(input: &[f32], baseline: &[f32]) -> Vec<f64> {
    input.iter().zip(baseline).map(|(x, from)| f64::from(*x) - f64::from(*from)).collect()
}

/// `plain` forwards, and `differentiated` ones with a backward, as dear as two forwards, for each target.
pub fn cost(plain: usize, differentiated: usize, subject: &Subject<'_>) -> Cost {
    let backwards = 1 + 2 * subject.targets.max(1) as u64;
    let rows = (differentiated as u64).saturating_mul(backwards).saturating_add(plain as u64);
    let length = subject.spec.row_tokens(subject.input.as_text().map_or(1, |text| text.tokens.len()));
    Cost { rows, tokens: rows.saturating_mul(length as u64) }
}
