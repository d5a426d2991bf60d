//! `occlusion`: settings and answer. What is taken away at once is `windows`.

mod windows;

use serde::Serialize;

use self::windows::Windows;
use super::support::game::{CHUNK, Game};
use super::support::settings::{self, Precision, Presentation};
use super::support::units::{self, Choice, Scored, perturbation_settings};
use super::support::{precision, settings::float};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Masking, Method, SettingError, Subject};
use crate::input::units::{Fill, UnitKind, Units};
use crate::input::{Input, Kind};
use crate::models::Capability;
use crate::tasks::OutputSpace;

/// Labels of a picture of segments.
const MOST_CELLS: usize = 1 << 16;

pub struct Occlusion;

perturbation_settings! {
    /// How much the output drops when a word or image region is taken away, everything else left in place.
    ///
    /// # What it computes
    /// f(x) − f(x without the unit), f the target's `output`, the absent unit filled. With `window` several units go at
    /// once: a unit's score is the mean of f(x) − f(x without the window) over the windows that cover it. Over a text a
    /// window is so many consecutive units; over an image it is a box of so many pixels a side, sliding by `stride`, and
    /// `scores.grid` holds the mean over each cell's pixels.
    ///
    /// # Settings
    /// Without `window` each unit is taken away alone. With one an image has no segments: `unit`, `segmenter` and
    /// `segments` are left out, and the fill is `zero` unless `blur` is asked for. `absolute`, then `normalize`, change
    /// the scores after everything else.
    ///
    /// # Same numbers as
    /// Captum 0.9 `FeatureAblation` with these units as its feature mask and `Occlusion` with the same windows and
    /// strides, with the fill as its baseline, within 1e-6.
    ///
    /// # Limits
    /// Units that stand in for each other hide each other: with one away the other still tells, and both score low.
    /// The scores do not add up to the output. They depend on what absence looks like (`fill`).
    ///
    /// Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, ECCV 2014.
    OcclusionSettings {
        /// Taken away at once: text so many consecutive units, image a box of so many pixels a side; from 1, an image's
        /// at most its shorter side. Default: none, each unit alone.
        #[schema(minimum = 1)]
        pub window: Option<usize>,
        /// From one window to the next, in the same measure; 1 to `window`, which alone takes it. Default: text 1, image a
        /// quarter of the window.
        #[schema(minimum = 1)]
        pub stride: Option<usize>,
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    #[serde(flatten)]
    units: Choice,
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride: Option<usize>,
    output: OutputSpace,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
    #[serde(skip)]
    windows: Windows,
    /// Whether they are boxes, over cells that are nobody's segments.
    #[serde(skip)]
    boxes: bool,
}

impl Method for Occlusion {
    const NAME: &'static str = "occlusion";
    const GROUP: &'static str = "perturbation";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(mut settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let boxes = subject.input.kind() == Kind::Image && settings.window.is_some();
        let (window, stride) = measures(&settings, subject)?;
        if boxes {
            check_boxes(&mut settings)?;
        }
        let mut units = Choice::resolve(settings.units(), subject)?;
        let windows = match (subject.input, window, stride) {
            (Input::Image(image), Some(window), Some(stride)) => {
                let (windows, cells) = windows::size(image, window, stride);
                within_limits(windows, cells, subject)?;
                let (windows, segmentation) = windows::boxes(image, window, stride);
                units.replace(Units::Image { kind: UnitKind::Patch, segmentation });
                windows
            }
            _ => {
                let (count, window, stride) = (units.settle(subject), window.unwrap_or(1), stride.unwrap_or(1));
                within_limits(windows::count(count, window, stride), 0, subject)?;
                Windows::runs(count, window, stride)
            }
        };
        Ok(Resolved {
            units,
            window,
            stride,
            output: settings::output(settings.output, OutputSpace::Probability, subject)?,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::precision(settings.precision, subject)?,
            windows,
            boxes,
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        units::cost(resolved.windows.len() + 2 + precision::cost(resolved.precision), subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let units = resolved.units.units(ctx.input(), ctx.seed())?;
        if units.is_empty() {
            let nothing = |target| units::nothing(&resolved.units, ctx, target, resolved.output, false);
            return ctx.targets().iter().map(nothing).collect();
        }
        let masking = Masking { units: &units, fill: resolved.units.fill, precision: resolved.precision };
        let game = Game::new(ctx, masking, resolved.output)?;
        let windows = &resolved.windows;
        let Worths { values, new, in_time } = worths(&game, windows)?;
        if !in_time && new == 0 {
            return Err(game.stopped());
        }
        let check = precision::check(ctx, masking, resolved.output, |index| windows.mask(index), &values)?;
        let answer = |target: usize| {
            let (base, output) = game.ends(target)?;
            let drops: Vec<f64> = values[target].iter().map(|value| output - value).collect();
            let scores = windows.scores(&drops);
            let scored = Scored { scores: &scores, errors: None, base, output, complete: false };
            let shown = units::answer(&resolved.units, resolved.presentation, ctx.input(), &units, &scored)?;
            let error = check.as_ref().and_then(|check| check.errors.get(target));
            let diagnostics = Diagnostics {
                evaluations: game.evaluations() + new + check.as_ref().map_or(0, |check| check.evaluations),
                exact: Some(in_time),
                precision_error: error.map(|&error| float(error, "the precision's error")).transpose()?,
                ..Diagnostics::default()
            };
            let mut answer = Attribution { diagnostics, partial: !in_time, ..shown };
            if resolved.boxes {
                (answer.segments, answer.scores.segments) = (None, None);
            }
            Ok(answer)
        };
        (0..game.targets()).map(answer).collect()
    }
}

/// What is left without each window.
struct Worths {
    /// Per target, one a window.
    values: Vec<Vec<f64>>,
    /// Masks that were not known before.
    new: usize,
    /// False where the deadline passed before all were evaluated.
    in_time: bool,
}

/// Evaluates the windows, of whose masks a few are held at once: over an image each may have thousands of cells.
fn worths(game: &Game<'_>, windows: &Windows) -> Result<Worths, Error> {
    let mut worths = Worths { values: vec![Vec::new(); game.targets()], new: 0, in_time: true };
    for start in (0..windows.len()).step_by(CHUNK) {
        let masks: Vec<_> = (start..windows.len().min(start + CHUNK)).map(|index| windows.mask(index)).collect();
        let Some(found) = game.passing(&masks)? else { return Ok(Worths { in_time: false, ..worths }) };
        worths.values.iter_mut().zip(found).for_each(|(values, found)| values.extend(found));
        worths.new += masks.iter().filter(|mask| game.index(mask).is_none()).count();
    }
    Ok(worths)
}

/// `window` and `stride` with their defaults and ranges.
fn measures(settings: &Settings, subject: &Subject<'_>) -> Result<(Option<usize>, Option<usize>), SettingError> {
    let Some(window) = settings.window else {
        settings::refuse("stride", &settings.stride, "a \"window\"")?;
        return Ok((None, None));
    };
    let (most, why, default) = match subject.input {
        Input::Text(text) => (text.tokens.len().max(1), ", the text's tokens", 1),
        Input::Image(image) => {
            (image.rows.min(image.cols).max(1), ", the model input's shorter side in pixels", window.div_ceil(4))
        }
    };
    let window = settings::within("window", window, 1..=most, why)?;
    let stride = settings.stride.unwrap_or(default);
    let stride = settings::within("stride", stride, 1..=window, ", the window: nothing may be left out")?;
    Ok((Some(window), Some(stride)))
}

/// Boxes have cells of their own, which are no segments and have no colour of their own.
fn check_boxes(settings: &mut Settings) -> Result<(), SettingError> {
    if settings.unit.is_some_and(|unit| unit != UnitKind::Patch) {
        let detail = "a window over an image is a box of pixels and takes no unit; leave unit or window out";
        return Err(SettingError::new("unit", detail));
    }
    settings.unit = Some(UnitKind::Patch);
    if settings.fill == Some(Fill::Mean) {
        let detail = "\"mean\" is each segment's own colour and boxes overlap; use \"zero\" or \"blur\"";
        return Err(SettingError::new("fill", detail));
    }
    settings.fill.get_or_insert(Fill::Zero);
    Ok(())
}

fn within_limits(windows: usize, cells: usize, subject: &Subject<'_>) -> Result<(), SettingError> {
    let most = subject.max_evaluations;
    if windows + 2 > most {
        let detail =
            format!("{windows} windows are more evaluations than {most} (limits.max_evaluations); use a longer stride");
        return Err(SettingError::new("stride", detail));
    }
    if cells > MOST_CELLS {
        let detail =
            format!("the windows cut the image into {cells} cells, more than {MOST_CELLS}; use a longer stride");
        return Err(SettingError::new("stride", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
