//! `lime`: settings, units and answer. The sampling and the linear model are `support::surrogate`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::support::settings::{self, Normalize, Precision, Presentation};
use super::support::surrogate::{self, Draw, Kernel, Mode, Plan, Surrogate};
use super::support::{precision, reduce};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Grid, Method, Scores, SettingError, Subject};
use crate::input::segment;
use crate::input::units::{Fill, UnitKind, Units};
use crate::input::{ImageInput, Input, Kind};
use crate::models::Capability;
use crate::tasks::{OutputSpace, check_fill};

/// "Few units": at most so many are enumerated.
const FEW: usize = 12;
/// The fewest rows a budget may have: what two units need in full.
const LEAST_EVALUATIONS: usize = 4;
const MOST_SEGMENTS: usize = 1000;

pub struct Lime;

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
/// # Settings
/// `samples` fixes the number of draws and reproduces lime's procedure: the input and N − 1 draws, ridge 1, all units
/// kept. `absolute`, then `normalize`, change the scores (and the standard errors with them) after everything else.
///
/// # Same numbers as
/// lime 0.2.0.1, `LimeTextExplainer(bow=False)` with these units as its split and `LimeImageExplainer`, with all
/// features kept: with `samples` the same estimator over another random stream, so equal within lime's own spread
/// between seeds; enumerated, the limit of many samples.
///
/// # Limits
/// The scores depend on what absence looks like (`fill`) and need not add up to the output. A low `diagnostics.r2`
/// says that a linear model does not describe the output. `not_converged` warns where `max_evaluations` did not
/// suffice.
///
/// Ribeiro, Singh and Guestrin, "Why Should I Trust You?", KDD 2016; White, A Heteroskedasticity-Consistent Covariance
/// Matrix Estimator, Econometrica 48, 1980.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LimeSettings)]
pub struct Settings {
    /// What is taken away together: text `word` (default) or `token`; image `segment` (default) or `patch` (a cell
    /// of the model's own grid).
    pub unit: Option<UnitKind>,
    /// Images, unit `segment`: how superpixels are made. Default `slic`.
    pub segmenter: Option<Segmenter>,
    /// Images, `slic`: about how many segments; 1 to 1000. Default 50.
    #[schema(minimum = 1, maximum = 1000)]
    pub segments: Option<usize>,
    /// What an absent unit becomes: text `remove` (default: its tokens are deleted), `mask`, `pad`, `unk`; image
    /// `mean` (default: each segment's own mean colour), `blur` (σ = 10 % of the shorter side), `zero` (after
    /// normalisation).
    pub fill: Option<Fill>,
    /// Draws of lime's own procedure, repeated masks counted; 2 to `limits.max_evaluations`. Default: none, all masks
    /// of few units, else draws until `tolerance`.
    #[schema(minimum = 2)]
    pub samples: Option<usize>,
    /// Different masks evaluated at most, 4 to `limits.max_evaluations`. Default: text 5000, image 1000. With
    /// `samples`, no less than these.
    #[schema(minimum = 4)]
    pub max_evaluations: Option<usize>,
    /// Largest standard error of a score, relative to the largest score; more than 0, at most 1. Default 0.05.
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub tolerance: Option<f64>,
    /// Width of the kernel, in cosine distance × 100 (text, default 25) or cosine distance (images, default 0.25);
    /// more than 0.
    #[schema(exclusive_minimum = 0)]
    pub kernel_width: Option<f64>,
    /// Penalty on the squared scores, 0 or more, with `samples` alone. Default: lime's 1 with `samples`, else 0.
    #[schema(minimum = 0)]
    pub ridge: Option<f64>,
    /// The space of the explained output. Default `probability`; a regression has only `logit`.
    pub output: Option<OutputSpace>,
    /// Images: the grid that the segments' scores are drawn on is N × N cells, 1 to the model input's shorter side.
    /// Default: the model's own grid.
    #[schema(minimum = 1)]
    pub cells: Option<usize>,
    /// Divides each list by its largest (`max`) or summed (`sum`) absolute score. Default `none`.
    pub normalize: Option<Normalize>,
    /// Scores without their sign. Default false.
    pub absolute: Option<bool>,
    /// What the model's products are made of: `f32`, or `bf16` where the processor has it (AMX, AVX512-BF16): faster,
    /// and `diagnostics.precision_error` says what it costs. Default: `compute.precision`, `f32`. The regression is f64.
    pub precision: Option<Precision>,
}

/// How an image is cut into superpixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Segmenter {
    Slic,
    Quickshift,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    unit: UnitKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmenter: Option<Segmenter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<usize>,
    fill: Fill,
    /// Null: enumerated, or drawn until `tolerance`.
    samples: Option<usize>,
    max_evaluations: usize,
    tolerance: f64,
    kernel_width: f64,
    ridge: f64,
    output: OutputSpace,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<usize>,
    #[serde(skip)]
    grid: Option<Grid>,
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

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let text = subject.input.kind() == Kind::Text;
        let (unit, fill) = match subject.input {
            Input::Text(_) => text_choice(&settings)?,
            Input::Image(_) => image_choice(&settings)?,
        };
        check_fill(subject.input, fill).map_err(|error| SettingError::new("fill", error.to_string()))?;
        let (segmenter, segments) = segmentation(&settings, unit)?;
        let (samples, max_evaluations) = budget(&settings, subject, if text { 5000 } else { 1000 })?;
        let kernel_width = settings.kernel_width.unwrap_or(if text { 25.0 } else { 0.25 });
        if !(kernel_width > 0.0 && kernel_width.is_finite()) {
            let detail = format!("{kernel_width:?} is out of range; use more than 0");
            return Err(SettingError::new("kernel_width", detail));
        }
        let grid = match text {
            true => None,
            false => Some(settings::grid(settings.cells, settings::image_spec(subject)?)?),
        };
        Ok(Resolved {
            unit,
            segmenter,
            segments,
            fill,
            samples,
            max_evaluations,
            tolerance: settings::tolerance(settings.tolerance, 0.05)?,
            kernel_width,
            ridge: ridge(settings.ridge, samples)?,
            output: settings::output(settings.output, OutputSpace::Probability, subject)?,
            cells: settings.cells,
            grid,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::precision(settings.precision, subject)?,
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let (length, units) = match subject.input {
            Input::Text(text) if resolved.unit == UnitKind::Word => (text.tokens.len(), Some(text.words.len())),
            Input::Text(text) => (text.tokens.len(), Some(text.tokens.iter().filter(|token| !token.special).count())),
            Input::Image(_) => (1, None),
        };
        let rows = match units.map(|units| resolved.mode(units)) {
            Some(Mode::Exact) => 1 << units.unwrap_or_default(),
            _ => resolved.samples.map_or(resolved.max_evaluations, |samples| samples + 1),
        };
        let rows = (rows + precision::cost(resolved.precision)) as u64;
        Cost { rows, tokens: rows.saturating_mul(subject.spec.row_tokens(length) as u64) }
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let units = resolved.units(ctx)?;
        if units.is_empty() {
            return ctx.targets().iter().map(|target| nothing(resolved, ctx, target)).collect();
        }
        let text = ctx.input().kind() == Kind::Text;
        let plan = Plan {
            ctx,
            units: &units,
            fill: resolved.fill,
            precision: resolved.precision,
            output: resolved.output,
            kernel: Kernel { scale: if text { 100.0 } else { 1.0 }, width: resolved.kernel_width },
            draw: if text { Draw::Sizes } else { Draw::Coins },
            mode: resolved.mode(units.len()),
        };
        let surrogates = surrogate::explain(&plan)?;
        for (surrogate, target) in surrogates.iter().zip(ctx.targets()) {
            warn(resolved, ctx, surrogate, &target.to_string());
        }
        surrogates.into_iter().map(|surrogate| attribute(resolved, ctx, &units, surrogate)).collect()
    }
}

impl Resolved {
    fn mode(&self, units: usize) -> Mode {
        if let Some(samples) = self.samples {
            return Mode::Fixed { samples, ridge: self.ridge };
        }
        if units <= FEW && 1_usize << units <= self.max_evaluations {
            return Mode::Exact;
        }
        Mode::Adaptive { tolerance: self.tolerance, evaluations: self.max_evaluations }
    }

    fn units(&self, ctx: &dyn Ctx) -> Result<Units, Error> {
        Ok(match ctx.input() {
            Input::Text(text) if self.unit == UnitKind::Token => Units::tokens(text),
            Input::Text(text) => Units::words(text),
            Input::Image(image) => Units::Image { kind: self.unit, segmentation: self.segmentation(ctx, image)? },
        })
    }

    fn segmentation(&self, ctx: &dyn Ctx, image: &ImageInput) -> Result<segment::Segmentation, Error> {
        let (rows, cols) = (image.rows, image.cols);
        Ok(match self.segmenter {
            Some(Segmenter::Slic) => segment::slic(&image.rgb, rows, cols, self.segments.unwrap_or(DEFAULT_SEGMENTS)),
            Some(Segmenter::Quickshift) => segment::quickshift(&image.rgb, rows, cols, ctx.seed()),
            None => {
                let spec = ctx.spec().image.as_ref().ok_or(Error::Missing { what: "an image model's grid" })?;
                segment::patches(rows, cols, spec.grid_rows, spec.grid_cols)
            }
        })
    }
}

const DEFAULT_SEGMENTS: usize = 50;

fn text_choice(settings: &Settings) -> Result<(UnitKind, Fill), SettingError> {
    settings::refuse("segmenter", &settings.segmenter, "images")?;
    settings::refuse("segments", &settings.segments, "images")?;
    settings::refuse("cells", &settings.cells, "images")?;
    let unit = settings.unit.unwrap_or(UnitKind::Word);
    if !matches!(unit, UnitKind::Word | UnitKind::Token) {
        return Err(SettingError::new("unit", "this unit is for images; for text use \"word\" or \"token\""));
    }
    Ok((unit, settings.fill.unwrap_or(Fill::Remove)))
}

fn image_choice(settings: &Settings) -> Result<(UnitKind, Fill), SettingError> {
    let unit = settings.unit.unwrap_or(UnitKind::Segment);
    if !matches!(unit, UnitKind::Segment | UnitKind::Patch) {
        return Err(SettingError::new("unit", "this unit is for text; for images use \"segment\" or \"patch\""));
    }
    Ok((unit, settings.fill.unwrap_or(Fill::Mean)))
}

/// How the image is cut, where it is.
fn segmentation(settings: &Settings, unit: UnitKind) -> Result<(Option<Segmenter>, Option<usize>), SettingError> {
    if unit != UnitKind::Segment {
        settings::refuse("segmenter", &settings.segmenter, "the unit \"segment\"")?;
        settings::refuse("segments", &settings.segments, "the unit \"segment\"")?;
        return Ok((None, None));
    }
    let segmenter = settings.segmenter.unwrap_or(Segmenter::Slic);
    if segmenter == Segmenter::Quickshift {
        settings::refuse("segments", &settings.segments, "the segmenter \"slic\"")?;
        return Ok((Some(segmenter), None));
    }
    let segments = settings.segments.unwrap_or(DEFAULT_SEGMENTS);
    Ok((Some(segmenter), Some(settings::within("segments", segments, 1..=MOST_SEGMENTS, "")?)))
}

/// `samples` and `max_evaluations`.
fn budget(settings: &Settings, subject: &Subject<'_>, default: usize) -> Result<(Option<usize>, usize), SettingError> {
    let (limit, from) = (subject.max_evaluations, " (limits.max_evaluations)");
    let evaluations = settings.max_evaluations.unwrap_or(default.min(limit));
    let evaluations = settings::within("max_evaluations", evaluations, LEAST_EVALUATIONS..=limit, from)?;
    let Some(samples) = settings.samples else { return Ok((None, evaluations)) };
    settings::within("samples", samples, 2..=limit, from)?;
    if settings.max_evaluations.is_some() && samples > evaluations {
        let detail = format!("{samples} samples may need more than max_evaluations ({evaluations}); drop one of them");
        return Err(SettingError::new("samples", detail));
    }
    Ok((Some(samples), evaluations.max(samples)))
}

/// Only lime's own procedure has a penalty: elsewhere it would move the limit.
fn ridge(asked: Option<f64>, samples: Option<usize>) -> Result<f64, SettingError> {
    let ridge = asked.unwrap_or(if samples.is_some() { 1.0 } else { 0.0 });
    if !(ridge >= 0.0 && ridge.is_finite()) {
        return Err(SettingError::new("ridge", format!("{ridge:?} is out of range; use 0 or more")));
    }
    if ridge > 0.0 && samples.is_none() {
        return Err(SettingError::new("ridge", "only a fixed number of samples has a penalty; add \"samples\""));
    }
    Ok(ridge)
}

fn warn(resolved: &Resolved, ctx: &dyn Ctx, surrogate: &Surrogate, label: &str) {
    if surrogate.converged == Some(false) && !surrogate.partial {
        let detail = format!(
            "lime of \"{label}\" reached a relative standard error of {:.3} after {} evaluations (tolerance {}); raise \
             max_evaluations or tolerance",
            surrogate.relative_error(),
            surrogate.evaluations,
            resolved.tolerance
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
}

/// A text without units: the lists are empty.
fn nothing(resolved: &Resolved, ctx: &dyn Ctx, target: &crate::tasks::Target) -> Result<Attribution, Error> {
    let value = settings::float(ctx.task().value(ctx.logits(), target, resolved.output), "the output value")?;
    let mut scores = Scores::default();
    match ctx.input() {
        Input::Text(_) if resolved.unit == UnitKind::Token => scores.tokens = Some(Vec::new()),
        _ => scores.words = Some(Vec::new()),
    }
    Ok(Attribution {
        scores,
        base_value: Some(value),
        output_value: Some(value),
        diagnostics: Diagnostics {
            evaluations: 1,
            converged: Some(true),
            exact: Some(true),
            samples: Some(0),
            standard_error: Some(Vec::new()),
            intercept: Some(value),
            ..Diagnostics::default()
        },
        ..Attribution::default()
    })
}

fn attribute(resolved: &Resolved, ctx: &dyn Ctx, units: &Units, surrogate: Surrogate) -> Result<Attribution, Error> {
    let Surrogate { fit, base, output, samples, evaluations, exact, converged, partial, precision_error } = surrogate;
    let mut attribution = Attribution {
        base_value: Some(settings::float(base, "the base value")?),
        output_value: Some(settings::float(output, "the output value")?),
        partial,
        ..Attribution::default()
    };
    let raw = fit.coefficients;
    let mut shown = raw.clone();
    let scale = resolved.presentation.apply(&mut shown);
    let errors: Vec<f64> = fit.standard_errors.iter().map(|error| error * scale).collect();
    let mut list = settings::floats(&shown, "a score")?;
    let mut errors = settings::floats(&errors, "a standard error")?;
    match (units, ctx.input()) {
        (Units::Text { kind: UnitKind::Token, members }, Input::Text(text)) => {
            errors = aligned(&errors, members, text.tokens.len());
            attribution.scores.tokens = Some(aligned(&list, members, text.tokens.len()));
        }
        (Units::Image { segmentation, .. }, Input::Image(image)) => {
            if let Some(grid) = resolved.grid {
                let place = reduce::cells(image.rows, image.cols, grid);
                let cells = reduce::segment_cells(&segmentation.labels, &raw, &place, grid);
                let cells = resolved.presentation.list(cells, "a cell's score")?;
                attribution.scores.grid = Some(reduce::rows(&cells, grid));
                attribution.grid = Some(grid);
            }
            attribution.segments = Some(reduce::segment_picture(segmentation));
            attribution.scores.segments = Some(std::mem::take(&mut list));
        }
        _ => attribution.scores.words = Some(std::mem::take(&mut list)),
    }
    attribution.diagnostics = Diagnostics {
        evaluations,
        converged,
        exact: Some(exact),
        samples: Some(samples),
        standard_error: Some(errors),
        r2: Some(settings::float(fit.r2, "r²")?),
        intercept: Some(settings::float(fit.intercept, "the intercept")?),
        precision_error: precision_error.map(|error| settings::float(error, "the precision's error")).transpose()?,
        ..Diagnostics::default()
    };
    Ok(attribution)
}

/// One entry a token, 0 at those of no unit.
fn aligned(scores: &[f32], members: &[Vec<usize>], tokens: usize) -> Vec<f32> {
    let mut list = vec![0.0; tokens];
    for (&score, &token) in scores.iter().zip(members.iter().flatten()) {
        if let Some(entry) = list.get_mut(token) {
            *entry = score;
        }
    }
    list
}

#[cfg(test)]
mod tests;
