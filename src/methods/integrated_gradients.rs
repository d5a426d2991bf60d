//! `integrated_gradients`: settings and answer. The path itself is `path`.

mod path;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::path::{Ladder, PathResult, Sums};
use super::support::reduce;
use super::support::settings::{self, Normalize, Precision, Presentation};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Grid, Method, Objective, Scores, SettingError, Subject};
use crate::input::image::ImageInput;
use crate::input::text::TextInput;
use crate::input::{Input, Kind};
use crate::models::Capability;
use crate::numerics::quadrature;
use crate::tasks::OutputSpace;

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

/// How much each token or image region moved the output, counted along the straight way from an empty input to this
/// one, so that the scores add up to the change of the output.
///
/// # What it computes
/// A_i = (x_i − x′_i) · ∫₀¹ ∂f/∂x_i (x′ + α(x − x′)) dα, x the word embeddings (text) or the normalised pixels (image),
/// x′ the baseline, f the target's `output`. `scores.tokens` sums A over a token's embedding, `words` over a word's
/// tokens, `grid` over the channels and pixels of a cell. Without `steps` the integral is refined by nested rules of
/// 3, 7, 15, … 511 nodes (Gauss-Patterson, evened out by a conformal map), every one reusing all
/// gradients before it, until the residual (f(x) − f(x′) − ΣA) and the estimated error of the largest score are both
/// within `tolerance` × max(|f(x) − f(x′)|, 0.01).
///
/// # Settings
/// `steps` fixes the rule to N-point Gauss-Legendre. `baseline` is what "nothing" looks like; `output` the space that
/// is explained. `absolute`, then `normalize`, change every list by itself and after everything else: `residual` and
/// `convergence_delta` are those of the raw scores.
///
/// # Same numbers as
/// Captum 0.9 `LayerIntegratedGradients` over the word embeddings (text) and `IntegratedGradients` over the pixels
/// with `n_steps = steps`, within 1e-3 of the largest score.
///
/// # Limits
/// The scores depend on the baseline. 511 nodes (or `max_evaluations` rows) without convergence give
/// `converged: false` and the warning `not_converged`; `residual` says how far the sum is off.
///
/// Sundararajan, Taly and Yan, Axiomatic Attribution for Deep Networks, ICML 2017; Patterson, The Optimum Addition of
/// Points to Quadrature Formulae, Math. Comp. 22, 1968.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = IntegratedGradientsSettings)]
pub struct Settings {
    /// Nodes of a fixed Gauss-Legendre rule, as Captum's `n_steps`; 1 to 1024. Default: none, refined until
    /// `tolerance`.
    #[schema(minimum = 1, maximum = 1024)]
    pub steps: Option<usize>,
    /// Model rows at most, the baseline's and the input's included; 5 to `limits.max_evaluations`. Default: 513, the
    /// largest nested rule; with `steps`, no less than these take.
    #[schema(minimum = 5)]
    pub max_evaluations: Option<usize>,
    /// Largest residual and largest estimated error of a score, relative to the change of the output; more than 0, at
    /// most 1. Default 0.01. With `steps` it only judges `converged`.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub tolerance: Option<f64>,
    /// What replaces every non-special token (`pad`, `mask`, `unk`, `zero`) or the image (`zero` after normalisation,
    /// `mean` colour, `blur` with σ = 10 % of the shorter side, `black`, `white`). Default: text `pad`, without a pad
    /// token `unk`, else `zero`; image `zero`.
    pub baseline: Option<Baseline>,
    /// The space of the explained output. Default `logit`; a regression has no other.
    pub output: Option<OutputSpace>,
    /// Images: the grid is N × N cells, 1 to the model input's shorter side. Default: the model's own grid.
    #[schema(minimum = 1)]
    pub cells: Option<usize>,
    /// Images: `pixel` adds a score for every pixel as `scores.pixels`. Default `cell`.
    pub resolution: Option<Resolution>,
    /// Divides each list by its largest (`max`) or summed (`sum`) absolute score. Default `none`.
    pub normalize: Option<Normalize>,
    /// Scores without their sign. Default false.
    pub absolute: Option<bool>,
    /// Numbers computed in. Default `f32`; sums over nodes are f64.
    pub precision: Option<Precision>,
}

/// The input that stands for "nothing".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Baseline {
    Pad,
    Mask,
    Unk,
    Zero,
    Mean,
    Blur,
    Black,
    White,
}

impl Baseline {
    /// The token it puts in a text's place.
    fn token(self) -> Option<&'static str> {
        match self {
            Self::Pad => Some("pad"),
            Self::Mask => Some("mask"),
            Self::Unk => Some("unk"),
            Self::Zero | Self::Mean | Self::Blur | Self::Black | Self::White => None,
        }
    }
}

/// How fine an image's scores are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Resolution {
    Cell,
    Pixel,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    /// Null: refined until `tolerance`.
    steps: Option<usize>,
    max_evaluations: usize,
    tolerance: f64,
    baseline: Baseline,
    output: OutputSpace,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<Resolution>,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
    #[serde(skip)]
    grid: Option<Grid>,
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
        let (baseline, grid, resolution) = match subject.input {
            Input::Text(text) => {
                settings::refuse("cells", &settings.cells, "images")?;
                settings::refuse("resolution", &settings.resolution, "images")?;
                (baseline_of_text(settings.baseline, text)?, None, None)
            }
            Input::Image(_) => {
                let grid = settings::grid(settings.cells, settings::image_spec(subject)?)?;
                let resolution = settings.resolution.unwrap_or(Resolution::Cell);
                (baseline_of_image(settings.baseline)?, Some(grid), Some(resolution))
            }
        };
        let max_evaluations = budget(&settings, subject.max_evaluations)?;
        let last_rule = quadrature::NESTED.iter().rposition(|&nodes| nodes + ENDS <= max_evaluations);
        Ok(Resolved {
            steps: settings.steps,
            max_evaluations,
            tolerance: settings::tolerance(settings.tolerance, 0.01)?,
            baseline,
            output: settings::output(settings.output, OutputSpace::Logit, subject)?,
            cells: settings.cells,
            resolution,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::gradient_precision(settings.precision)?,
            grid,
            last_rule: last_rule.unwrap_or(0),
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let nodes = resolved.steps.unwrap_or(quadrature::NESTED[resolved.last_rule]) as u64;
        // One forward a node, and a backward, as dear as two forwards, for each target.
        let rows = nodes.saturating_mul(1 + 2 * subject.targets.max(1) as u64).saturating_add(1);
        let length = subject.spec.row_tokens(subject.input.as_text().map_or(1, |text| text.tokens.len()));
        Cost { rows, tokens: rows.saturating_mul(length as u64) }
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let output = resolved.output;
        let objectives: Vec<Objective> =
            ctx.targets().iter().map(|target| Objective { target: target.clone(), output }).collect();
        let path = path::Path {
            ctx,
            input: ctx.embedding(None)?,
            baseline: baseline_of(resolved.baseline, ctx)?,
            sums: sums(resolved, ctx),
            objectives: &objectives,
            tolerance: resolved.tolerance,
            least_change: LEAST_CHANGE,
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
        results.into_iter().map(|result| attribute(resolved, ctx, result)).collect()
    }
}

/// `max_evaluations`, given `limits.max_evaluations`; checks `steps` against both.
fn budget(settings: &Settings, limit: usize) -> Result<usize, SettingError> {
    if limit < LEAST_EVALUATIONS {
        return Err(SettingError::new("", "limits.max_evaluations is below 5, too few for any rule"));
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

/// The baseline asked for, or the input's own default.
pub(super) fn baseline_for(asked: Option<Baseline>, subject: &Subject<'_>) -> Result<Baseline, SettingError> {
    match subject.input {
        Input::Text(text) => baseline_of_text(asked, text),
        Input::Image(_) => baseline_of_image(asked),
    }
}

fn baseline_of_text(asked: Option<Baseline>, text: &TextInput) -> Result<Baseline, SettingError> {
    let Some(baseline) = asked else {
        let fallback = if text.specials.unk.is_some() { Baseline::Unk } else { Baseline::Zero };
        return Ok(if text.specials.pad.is_some() { Baseline::Pad } else { fallback });
    };
    match baseline {
        Baseline::Zero => {}
        Baseline::Pad | Baseline::Mask | Baseline::Unk => {
            settings::token("baseline", baseline.token().unwrap_or_default(), &text.specials)?;
        }
        Baseline::Mean | Baseline::Blur | Baseline::Black | Baseline::White => {
            let detail = "this baseline is for images; for text use \"pad\", \"mask\", \"unk\" or \"zero\"";
            return Err(SettingError::new("baseline", detail));
        }
    }
    Ok(baseline)
}

fn baseline_of_image(asked: Option<Baseline>) -> Result<Baseline, SettingError> {
    match asked.unwrap_or(Baseline::Zero) {
        Baseline::Pad | Baseline::Mask | Baseline::Unk => Err(SettingError::new(
            "baseline",
            "this baseline is for text; for images use \"zero\", \"mean\", \"blur\", \"black\" or \"white\"",
        )),
        baseline => Ok(baseline),
    }
}

/// x′ in the embedding's layout.
pub(super) fn baseline_of(baseline: Baseline, ctx: &dyn Ctx) -> Result<Vec<f32>, Error> {
    match ctx.input() {
        Input::Text(text) => baseline_embedding(baseline, text, ctx),
        Input::Image(image) => Ok(baseline_pixels(baseline, image)),
    }
}

/// Every non-special token's embedding is replaced; positions, types and specials stay.
fn baseline_embedding(baseline: Baseline, text: &TextInput, ctx: &dyn Ctx) -> Result<Vec<f32>, Error> {
    let token = baseline.token().and_then(|name| settings::token("baseline", name, &text.specials).ok());
    if let Some(id) = token {
        let ids: Vec<u32> = text.tokens.iter().map(|token| if token.special { token.id } else { id }).collect();
        return ctx.embedding(Some(&ids));
    }
    let mut values = ctx.embedding(None)?;
    let hidden = (values.len() / text.tokens.len().max(1)).max(1);
    for (token, row) in text.tokens.iter().zip(values.chunks_mut(hidden)) {
        if !token.special {
            row.fill(0.0);
        }
    }
    Ok(values)
}

/// 3 × rows × cols, normalised; colours are made from bytes and then normalised.
fn baseline_pixels(baseline: Baseline, image: &ImageInput) -> Vec<f32> {
    let size = image.rows * image.cols;
    let colour = |byte: [f32; 3]| {
        (0..3)
            .flat_map(|channel| std::iter::repeat_n(image.normalisation.value(byte[channel], channel), size))
            .collect()
    };
    match baseline {
        Baseline::Black => colour([0.0; 3]),
        Baseline::White => colour([255.0; 3]),
        Baseline::Mean => colour(mean_colour(image)),
        Baseline::Blur => image.normalised(&image.blurred()),
        Baseline::Zero | Baseline::Pad | Baseline::Mask | Baseline::Unk => vec![0.0; image.pixels.len()],
    }
}

fn mean_colour(image: &ImageInput) -> [f32; 3] {
    let size = (image.rgb.len() / 3).max(1) as f64;
    [0, 1, 2].map(|channel| {
        let sum: u64 = image.rgb.iter().skip(channel).step_by(3).map(|&byte| u64::from(byte)).sum();
        (sum as f64 / size) as f32
    })
}

/// Which finest score each number of the embedding counts in.
fn sums(resolved: &Resolved, ctx: &dyn Ctx) -> Sums {
    match (ctx.input(), resolved.grid) {
        (Input::Image(image), Some(_)) if resolved.resolution == Some(Resolution::Pixel) => {
            let size = image.rows * image.cols;
            Sums::Planes { place: (0..size as u32).collect(), count: size }
        }
        (Input::Image(image), Some(grid)) => {
            Sums::Planes { place: reduce::cells(image.rows, image.cols, grid), count: grid.rows * grid.cols }
        }
        (input, _) => Sums::Chunks { count: input.as_text().map_or(1, |text| text.tokens.len()) },
    }
}

fn attribute(resolved: &Resolved, ctx: &dyn Ctx, result: PathResult) -> Result<Attribution, Error> {
    let residual = result.residual();
    let show = resolved.presentation;
    let mut scores = Scores::default();
    match (ctx.input(), resolved.grid) {
        (Input::Text(text), _) => {
            scores.words = Some(show.list(reduce::words(text, &result.scores), "a word's score")?);
            scores.tokens = Some(show.list(result.scores, "a token's score")?);
        }
        (Input::Image(image), Some(grid)) => {
            let mut cells = result.scores;
            if resolved.resolution == Some(Resolution::Pixel) {
                let mut pixels = std::mem::replace(&mut cells, vec![0.0; grid.rows * grid.cols]);
                for (&cell, score) in reduce::cells(image.rows, image.cols, grid).iter().zip(&pixels) {
                    cells[cell as usize] += score;
                }
                show.apply(&mut pixels);
                scores.pixels = Some(reduce::pixel_map(&pixels, image.rows, image.cols)?);
            }
            scores.grid = Some(reduce::rows(&show.list(cells, "a cell's score")?, grid));
        }
        (Input::Image(_), None) => return Err(Error::Missing { what: "an image's grid" }),
    }
    Ok(Attribution {
        scores,
        grid: resolved.grid,
        base_value: Some(settings::float(result.base, "the base value")?),
        output_value: Some(settings::float(result.output, "the output value")?),
        residual: Some(settings::float(residual, "the residual")?),
        diagnostics: Diagnostics {
            evaluations: result.evaluations,
            converged: Some(result.converged),
            convergence_delta: Some(settings::float(-residual, "the residual")?),
            nodes: Some(result.nodes),
            ..Diagnostics::default()
        },
        partial: result.partial,
        ..Attribution::default()
    })
}

#[cfg(test)]
mod tests;
