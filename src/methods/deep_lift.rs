//! `deep_lift`: multipliers of a pair of rows, the input and its baseline. The rules of every layer are `nn`'s.

use serde::Serialize;

use super::support::baseline::Baseline;
use super::support::gradients::{self, Shown, gradient_settings};
use super::support::settings;
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Pass, RowView, SettingError, Subject};
use crate::input::Kind;
use crate::models::{Capability, TapPlan};
use crate::nn::Rule;

pub struct DeepLift;

gradient_settings! {
    /// How much each token or image region moved the output away from what an empty input gives, by following every
    /// difference through the model's layers. Two rows of the model, and the scores add up.
    ///
    /// # What it computes
    /// A_i = m_i · (x_i − x′_i), x the word embeddings (text) or the normalised pixels (image), x′ the baseline. The
    /// multipliers m go backwards through the layers as gradients do, with the rescale rule: an elementwise function
    /// hands on Δoutput ÷ Δinput (its slope where Δinput is next to nothing), a product a·b the mean of the other
    /// factor over both rows, linear layers their weights, a max pool as Captum's. Softmax, layer norm, RMS norm,
    /// attention and gates are composed of these; the quotient y = c/σ of a norm is the product c = y·σ. `scores` sum A
    /// as `integrated_gradients` does, and add up to f(x) − f(x′) but for rounding, which `residual` shows.
    ///
    /// # Settings
    /// `baseline` is what "nothing" looks like. Of `output`, `probability` and `log_probability` get the mean of their
    /// derivative between both rows' logits. `absolute`, then `normalize`, change every list by itself and after
    /// everything else: `residual` and `convergence_delta` are those of the raw scores.
    ///
    /// # Same numbers as
    /// Captum 0.9 `DeepLift` on networks of linear layers, convolutions, ReLUs and max pools that do not overlap,
    /// within 1e-4 of the largest score. Captum's softmax rule subtracts a mean over the whole tensor, and layer norms,
    /// GELU and attention get plain gradients there, so that its sums are off on transformers; here they hold.
    ///
    /// # Limits
    /// The scores depend on the baseline. A softmax's rule is applied to scores centred to Σ exp = 1 in both rows,
    /// which changes no probability and keeps large numbers from cancelling: it is not the only way to split an
    /// attention. A layer without a rule is refused with 422, which names it. Computed on the host, wherever the model
    /// is.
    ///
    /// Shrikumar, Greenside and Kundaje, Learning Important Features Through Propagating Activation Differences, ICML
    /// 2017.
    DeepLiftSettings {
        /// What replaces every non-special token (`pad`, `mask`, `unk`, `zero`) or the image (`zero` after
        /// normalisation, `mean` colour, `blur` with σ = 10 % of the shorter side, `black`, `white`). Default: text
        /// `pad`, without a pad token `unk`, else `zero`; image `zero`.
        pub baseline: Option<Baseline>,
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    baseline: Baseline,
    #[serde(flatten)]
    shown: Shown,
}

impl Method for DeepLift {
    const NAME: &'static str = "deep_lift";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Forward, Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        Ok(Resolved {
            baseline: Baseline::resolve(settings.baseline, subject)?,
            shown: Shown::resolve(settings.asked(), subject)?,
        })
    }

    fn cost(_: &Resolved, subject: &Subject<'_>) -> Cost {
        gradients::cost(0, 2, subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let shown = &resolved.shown;
        let objectives = shown.objectives(ctx);
        let sums = shown.finest.sums(ctx.input());
        let pair = [ctx.embedding(None)?, resolved.baseline.embedding(ctx)?];
        let step = gradients::step(&pair[0], &pair[1]);
        let mut found: Vec<(Vec<f64>, f64)> = Vec::with_capacity(objectives.len());
        let mut bases = Vec::new();
        let write = |row: usize, out: &mut [f32]| out.copy_from_slice(&pair[row]);
        let taps = TapPlan::default();
        let pass = Pass { rows: 2, embedding: Some(&write), objectives: &objectives, rule: Rule::DeepLift, taps };
        ctx.pass(&pass, &mut |view: &RowView<'_>| {
            if view.row > 0 {
                bases.extend_from_slice(view.values);
                return Ok(());
            }
            for (multiplier, value) in view.gradients.iter().zip(view.values) {
                let mut scores = vec![0.0; sums.count()];
                sums.products(&step, multiplier, &mut scores);
                found.push((scores, *value));
            }
            Ok(())
        })?;
        found
            .into_iter()
            .zip(bases)
            .map(|((scores, output), base)| attribute(shown, ctx, scores, output, base))
            .collect()
    }
}

fn attribute(shown: &Shown, ctx: &dyn Ctx, scores: Vec<f64>, output: f64, base: f64) -> Result<Attribution, Error> {
    let residual = output - base - scores.iter().sum::<f64>();
    let diagnostics = Diagnostics {
        evaluations: 2,
        convergence_delta: Some(settings::float(-residual, "the residual")?),
        ..Diagnostics::default()
    };
    Ok(Attribution {
        base_value: Some(settings::float(base, "the base value")?),
        residual: Some(settings::float(residual, "the residual")?),
        ..shown.attribution(ctx, scores, output, diagnostics)?
    })
}

#[cfg(test)]
mod tests;
