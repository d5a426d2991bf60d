//! What every perturbation method has in common: the settings that say what is taken away, the units they make of an
//! input, and the lists that scores of units become.
//!
//! A method's settings are declared by [`perturbation_settings!`](crate::methods::support::units::perturbation_settings),
//! which puts the shared fields around the method's own; [`Choice`] is those of the units, resolved.

mod answer;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings::{image_spec, refuse, within};
use crate::input::segment::{self, Segmentation};
use crate::input::units::{Fill, UnitKind, Units};
use crate::input::{ImageInput, Input};
use crate::methods::{Cost, Error, Grid, SettingError, Subject};
use crate::models::Spec;
use crate::tasks::check_fill;

pub use answer::{Scored, answer, nothing};

const DEFAULT_SEGMENTS: usize = 50;
const MOST_SEGMENTS: usize = 1000;

/// Declares the `Settings` of a perturbation method: the method's own fields between those that all of them have.
/// `Settings::units` gives the part that [`Choice::resolve`] reads.
macro_rules! perturbation_settings {
    ($(#[$($about:tt)*])* $name:ident { $($own:tt)* }) => {
        $(#[$($about)*])*
        #[derive(Debug, Default, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = $name)]
        pub struct Settings {
            /// What is taken away together: text `word` (default) or `token`; image `segment` (default) or `patch` (a
            /// cell of the model's own grid).
            pub unit: Option<$crate::input::units::UnitKind>,
            /// Images, unit `segment`: how superpixels are made. Default `slic`.
            pub segmenter: Option<$crate::methods::support::units::Segmenter>,
            /// Images, `slic`: about how many segments; 1 to 1000. Default 50.
            #[schema(minimum = 1, maximum = 1000)]
            pub segments: Option<usize>,
            /// What an absent unit becomes: text `remove` (default: its tokens are deleted), `mask`, `pad`, `unk`;
            /// image `mean` (default: each segment's own mean colour), `blur` (σ = 10 % of the shorter side), `zero`
            /// (after normalisation).
            pub fill: Option<$crate::input::units::Fill>,
            $($own)*
            /// The space of the explained output. Default `probability`; a regression has only `logit`.
            pub output: Option<$crate::tasks::OutputSpace>,
            /// Images: the grid that the segments' scores are drawn on is N × N cells, 1 to the model input's shorter
            /// side. Default: the model's own grid.
            #[schema(minimum = 1)]
            pub cells: Option<usize>,
            /// Divides each list by its largest (`max`) or summed (`sum`) absolute score. Default `none`.
            pub normalize: Option<$crate::methods::support::settings::Normalize>,
            /// Scores without their sign. Default false.
            pub absolute: Option<bool>,
            /// What the model's products are made of: `f32`, or `bf16` where the processor has it (AMX, AVX512-BF16):
            /// faster, and `diagnostics.precision_error` says what it costs. Default: `compute.precision`, `f32`.
            /// Everything after the model is f64.
            pub precision: Option<$crate::methods::support::settings::Precision>,
        }

        impl Settings {
            fn units(&mut self) -> $crate::methods::support::units::Asked {
                $crate::methods::support::units::Asked {
                    unit: self.unit,
                    segmenter: self.segmenter,
                    segments: self.segments,
                    fill: self.fill,
                    cells: self.cells,
                }
            }
        }
    };
}
pub(crate) use perturbation_settings;

/// How an image is cut into superpixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Segmenter {
    Slic,
    Quickshift,
}

/// The settings of units, as a caller wrote them.
#[derive(Debug, Default)]
pub struct Asked {
    pub unit: Option<UnitKind>,
    pub segmenter: Option<Segmenter>,
    pub segments: Option<usize>,
    pub fill: Option<Fill>,
    pub cells: Option<usize>,
}

/// The settings of units with their values: part of a method's `Resolved`, flattened.
#[derive(Debug, Clone, Serialize)]
pub struct Choice {
    pub unit: UnitKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmenter: Option<Segmenter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<usize>,
    pub fill: Fill,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<usize>,
    /// What an image's scores are drawn on.
    #[serde(skip)]
    grid: Option<Grid>,
}

impl Choice {
    /// Fills in the defaults and checks that the units and the fill are this input's.
    ///
    /// # Errors
    /// A setting of the other kind of input, out of range, or a fill whose token the tokenizer lacks.
    pub fn resolve(asked: Asked, subject: &Subject<'_>) -> Result<Self, SettingError> {
        let choice = match subject.input {
            Input::Text(_) => Self::of_text(&asked)?,
            Input::Image(_) => Self::of_image(&asked, subject)?,
        };
        check_fill(subject.input, choice.fill).map_err(|error| SettingError::new("fill", error.to_string()))?;
        Ok(choice)
    }

    fn of_text(asked: &Asked) -> Result<Self, SettingError> {
        refuse("segmenter", &asked.segmenter, "images")?;
        refuse("segments", &asked.segments, "images")?;
        refuse("cells", &asked.cells, "images")?;
        let unit = asked.unit.unwrap_or(UnitKind::Word);
        if !matches!(unit, UnitKind::Word | UnitKind::Token) {
            return Err(SettingError::new("unit", "this unit is for images; for text use \"word\" or \"token\""));
        }
        let fill = asked.fill.unwrap_or(Fill::Remove);
        Ok(Self { unit, segmenter: None, segments: None, fill, cells: None, grid: None })
    }

    fn of_image(asked: &Asked, subject: &Subject<'_>) -> Result<Self, SettingError> {
        let unit = asked.unit.unwrap_or(UnitKind::Segment);
        if !matches!(unit, UnitKind::Segment | UnitKind::Patch) {
            return Err(SettingError::new("unit", "this unit is for text; for images use \"segment\" or \"patch\""));
        }
        let (segmenter, segments) = segmentation(asked, unit)?;
        let grid = super::settings::grid(asked.cells, image_spec(subject)?)?;
        let fill = asked.fill.unwrap_or(Fill::Mean);
        Ok(Self { unit, segmenter, segments, fill, cells: asked.cells, grid: Some(grid) })
    }

    /// The units of `input`; the same for the same seed.
    ///
    /// # Errors
    /// Patches of a model that has no grid.
    pub fn units(&self, input: &Input, spec: &Spec, seed: u64) -> Result<Units, Error> {
        Ok(match input {
            Input::Text(text) if self.unit == UnitKind::Token => Units::tokens(text),
            Input::Text(text) => Units::words(text),
            Input::Image(image) => Units::Image { kind: self.unit, segmentation: self.cut(image, spec, seed)? },
        })
    }

    fn cut(&self, image: &ImageInput, spec: &Spec, seed: u64) -> Result<Segmentation, Error> {
        let (rows, cols) = (image.rows, image.cols);
        Ok(match self.segmenter {
            Some(Segmenter::Slic) => segment::slic(&image.rgb, rows, cols, self.segments.unwrap_or(DEFAULT_SEGMENTS)),
            Some(Segmenter::Quickshift) => segment::quickshift(&image.rgb, rows, cols, seed),
            None => {
                let spec = spec.image.as_ref().ok_or(Error::Missing { what: "an image model's grid" })?;
                segment::patches(rows, cols, spec.grid_rows, spec.grid_cols)
            }
        })
    }

    /// How many units there will be; `None` where only cutting the image tells.
    pub fn count(&self, subject: &Subject<'_>) -> Option<usize> {
        match subject.input {
            Input::Text(text) if self.unit == UnitKind::Token => {
                Some(text.tokens.iter().filter(|token| !token.special).count())
            }
            Input::Text(text) => Some(text.words.len()),
            Input::Image(_) if self.unit == UnitKind::Patch => {
                subject.spec.image.as_ref().map(|image| image.grid_rows * image.grid_cols)
            }
            Input::Image(_) => None,
        }
    }
}

/// What `rows` perturbed inputs cost at most.
pub fn cost(rows: usize, subject: &Subject<'_>) -> Cost {
    let length = subject.input.as_text().map_or(1, |text| text.tokens.len());
    let rows = rows as u64;
    Cost { rows, tokens: rows.saturating_mul(subject.spec.row_tokens(length) as u64) }
}

/// How the image is cut, where it is.
fn segmentation(asked: &Asked, unit: UnitKind) -> Result<(Option<Segmenter>, Option<usize>), SettingError> {
    if unit != UnitKind::Segment {
        refuse("segmenter", &asked.segmenter, "the unit \"segment\"")?;
        refuse("segments", &asked.segments, "the unit \"segment\"")?;
        return Ok((None, None));
    }
    let segmenter = asked.segmenter.unwrap_or(Segmenter::Slic);
    if segmenter == Segmenter::Quickshift {
        refuse("segments", &asked.segments, "the segmenter \"slic\"")?;
        return Ok((Some(segmenter), None));
    }
    let segments = asked.segments.unwrap_or(DEFAULT_SEGMENTS);
    Ok((Some(segmenter), Some(within("segments", segments, 1..=MOST_SEGMENTS, "")?)))
}
