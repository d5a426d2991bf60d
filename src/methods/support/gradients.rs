//! What methods over gradients share: their settings, one pass over the input itself, and their answer.

use serde::Serialize;

use super::finest::{Finest, Resolution};
use super::settings::{self, Normalize, Precision, Presentation};
use crate::input::Input;
use crate::methods::{Attribution, Cost, Ctx, Diagnostics, Error, Objective, Pass, SettingError, Subject};
use crate::models::TapPlan;
use crate::nn::Rule;
use crate::tasks::OutputSpace;

/// Declares the `Settings` of a method over gradients: the method's own fields before those that all of them have.
/// `Settings::asked` gives the part that [`Shown::resolve`] reads.
macro_rules! gradient_settings {
    ($(#[$($about:tt)*])* $name:ident { $($own:tt)* }) => {
        $(#[$($about)*])*
        #[derive(Debug, Default, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = $name)]
        pub struct Settings {
            $($own)*
            /// The space of the explained output. Default `logit`; a regression has no other.
            pub output: Option<$crate::tasks::OutputSpace>,
            /// Images: the grid is N × N cells, 1 to the model input's shorter side. Default: the model's own grid.
            #[schema(minimum = 1)]
            pub cells: Option<usize>,
            /// Images: `pixel` adds a score for every pixel as `scores.pixels`. Default `cell`.
            pub resolution: Option<$crate::methods::support::finest::Resolution>,
            /// Divides each list by its largest (`max`) or summed (`sum`) absolute score. Default `none`.
            pub normalize: Option<$crate::methods::support::settings::Normalize>,
            /// Scores without their sign. Default false.
            pub absolute: Option<bool>,
            /// Numbers computed in. Default `f32`; sums are f64.
            pub precision: Option<$crate::methods::support::settings::Precision>,
        }

        impl Settings {
            /// The shared part.
            fn asked(&self) -> $crate::methods::support::gradients::Asked {
                $crate::methods::support::gradients::Asked {
                    output: self.output,
                    cells: self.cells,
                    resolution: self.resolution,
                    normalize: self.normalize,
                    absolute: self.absolute,
                    precision: self.precision,
                }
            }
        }
    };
}
pub(crate) use gradient_settings;

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

    /// Numbers of `diagnostics.standard_error` by pixel, all targets' together: unlike the scores they are no base64.
    pub fn errors(&self, subject: &Subject<'_>) -> usize {
        subject.targets.saturating_mul(self.finest.pixels(subject.input))
    }

    /// For methods that answer with standard errors.
    ///
    /// # Errors
    /// More of them than the answer may hold.
    pub fn errors_fit(&self, subject: &Subject<'_>) -> Result<(), SettingError> {
        let (numbers, left) = (self.errors(subject), subject.response_values);
        if numbers <= left {
            return Ok(());
        }
        let detail = format!(
            "standard errors of {} targets by pixel are {numbers} numbers and limits.response_values leaves {left}; send \
             fewer targets or use \"cell\"",
            subject.targets
        );
        Err(SettingError::new("resolution", detail))
    }

    /// What is differentiated, one a target.
    pub fn objectives(&self, ctx: &dyn Ctx) -> Vec<Objective> {
        Objective::of_targets(ctx, self.output)
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

/// Numbers of the input's embedding: what a gradient has.
pub fn numbers(subject: &Subject<'_>) -> usize {
    match subject.input {
        Input::Text(text) => text.length().saturating_mul(subject.spec.embedding),
        Input::Image(image) => image.pixels.len(),
    }
}

/// `plain` rows run forwards, and `differentiated` ones with a backward, as dear as two forwards, for each target.
pub fn cost(plain: usize, differentiated: usize, subject: &Subject<'_>) -> Cost {
    let (plain, differentiated) = (plain as u64, differentiated as u64);
    let forwards = differentiated.saturating_mul(1 + 2 * subject.targets.max(1) as u64).saturating_add(plain);
    Cost { rows: differentiated.saturating_add(plain), tokens: forwards.saturating_mul(subject.row_tokens() as u64) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::METHODS;
    use crate::methods::support::fake::{self, Fake};

    /// A row is one row, however dear.
    #[test]
    fn a_differentiated_row_costs_its_backwards_in_tokens() {
        let mut fake = Fake::text(4);
        fake.targets = vec![fake::target(0), fake::target(1)];
        assert_eq!(cost(2, 10, &fake.subject()), Cost { rows: 12, tokens: (2 + 5 * 10) * 6 });
        for (method, rows, tokens) in [
            ("gradient", 1, 30),
            ("deep_lift", 2, 60),
            ("integrated_gradients", 9, 246),
            ("attention_relevance", 1, 30),
            ("neurons", 1, 30),
        ] {
            let method = METHODS.iter().find(|known| known.name() == method).unwrap();
            let settings = match method.name() {
                "integrated_gradients" => serde_json::json!({"steps": 8}),
                _ => serde_json::json!({}),
            };
            let planned = method.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
            assert_eq!(planned.cost(), Cost { rows, tokens }, "{}", method.name());
        }
    }
}
