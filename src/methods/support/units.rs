//! What every perturbation method has in common: the settings that say what is taken away, the units they make of an
//! input, and the lists that scores of units become.
//!
//! A method's settings are declared by [`perturbation_settings!`](crate::methods::support::units::perturbation_settings),
//! which puts the shared fields around the method's own; [`Choice`] is those of the units, resolved.

mod answer;
#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::settings::{image_spec, refuse, within};
use crate::input::segment::{self, Segmentation};
use crate::input::spans::{Span, SpanError};
use crate::input::units::{Fill, UnitKind, Units};
use crate::input::{ImageInput, Input, TextInput};
use crate::methods::{Cost, Error, Grid, SettingError, Subject};
use crate::tasks::check_fill;

pub use answer::{Scored, answer, matrix, nothing};

const DEFAULT_SEGMENTS: usize = 50;
const MOST_SEGMENTS: usize = 1000;
/// "Few units": at most so many are enumerated.
pub const FEW: usize = 12;
/// Units that a regression is fitted over at most: its matrix has units² numbers, and is inverted.
const MOST_FITTED: usize = 2000;

/// Declares the `Settings` of a perturbation method: the method's own fields between those that all of them have.
/// `Settings::units` gives the part that [`Choice::resolve`] reads.
macro_rules! perturbation_settings {
    ($(#[$($about:tt)*])* $name:ident { $($own:tt)* }) => {
        $(#[$($about)*])*
        #[derive(Debug, Default, serde::Deserialize, utoipa::ToSchema)]
        #[serde(deny_unknown_fields)]
        #[schema(as = $name)]
        pub struct Settings {
            /// What is taken away together: text `word` (default), `token`, `sentence` (of Unicode, UAX #29) or `span`;
            /// image `segment` (default) or `patch` (a cell of the model's own grid).
            pub unit: Option<$crate::input::units::UnitKind>,
            /// Unit `span`: `[start, end]` of each, characters of the text as sent; with a pair `[start, end, 1]` counts
            /// in the second text. They do not overlap, and what is in none of them always stays. Default: none, the
            /// unit `span` needs them.
            #[schema(value_type = Option<Vec<Vec<usize>>>, min_items = 1)]
            pub spans: Option<Vec<$crate::input::spans::Span>>,
            /// Images, unit `segment`: how superpixels are made; `mask` takes yours. Default `slic`.
            pub segmenter: Option<$crate::methods::support::units::Segmenter>,
            /// Images, `slic`: about how many segments; 1 to 1000. Default 50.
            #[schema(minimum = 1, maximum = 1000)]
            pub segments: Option<usize>,
            /// Images, segmenter `mask`: base64 of a PNG of the model input's size, or of the image's, in which each grey
            /// level or colour is a segment; at most 1000. Default: none, the segmenter `mask` needs it.
            pub mask: Option<String>,
            /// What an absent unit becomes: text `remove` (default: its tokens are deleted), `mask`, `pad`, `unk`;
            /// image `mean` (default: each segment's own mean colour), `blur` (σ = 10 % of the shorter side), `zero`
            /// (after normalisation).
            pub fill: Option<$crate::input::units::Fill>,
            $($own)*
            /// The space of the explained output. Default `probability` (lime's `sparse`: `log_odds`), or `logit` where the
            /// target has not got that.
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
            /// faster, and `diagnostics.precision_error` says what it costs. Default `f32`, or what `compute.precision`
            /// says. Everything after the model is f64.
            pub precision: Option<$crate::methods::support::settings::Precision>,
        }

        impl Settings {
            /// The units' part; takes what cannot be copied.
            fn units(&mut self) -> $crate::methods::support::units::Asked {
                $crate::methods::support::units::Asked {
                    unit: self.unit,
                    spans: self.spans.take(),
                    segmenter: self.segmenter,
                    segments: self.segments,
                    mask: self.mask.take(),
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
    /// The caller's own.
    Mask,
}

/// The settings of units, as a caller wrote them.
#[derive(Debug, Default)]
pub struct Asked {
    pub unit: Option<UnitKind>,
    pub spans: Option<Vec<Span>>,
    pub segmenter: Option<Segmenter>,
    pub segments: Option<usize>,
    pub mask: Option<String>,
    pub fill: Option<Fill>,
    pub cells: Option<usize>,
}

/// The settings of units with their values: part of a method's `Resolved`, flattened.
#[derive(Debug, Clone, Serialize)]
pub struct Choice {
    pub unit: UnitKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    spans: Option<Vec<Span>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segmenter: Option<Segmenter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    segments: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mask: Option<String>,
    pub fill: Fill,
    #[serde(skip_serializing_if = "Option::is_none")]
    cells: Option<usize>,
    /// What an image's scores are drawn on.
    #[serde(skip)]
    grid: Option<Grid>,
    /// The units, where resolving finds them: everything but superpixels.
    #[serde(skip)]
    known: Option<Units>,
}

impl Choice {
    /// Fills in the defaults and checks that the units and the fill are this input's.
    ///
    /// # Errors
    /// A setting of the other kind of input, out of range, or a fill whose token the tokenizer lacks.
    pub fn resolve(asked: Asked, subject: &Subject<'_>) -> Result<Self, SettingError> {
        let choice = match subject.input {
            Input::Text(text) => Self::of_text(asked, text)?,
            Input::Image(image) => Self::of_image(asked, image, subject)?,
        };
        check_fill(subject.input, choice.fill).map_err(|error| SettingError::new("fill", error.to_string()))?;
        Ok(choice)
    }

    fn of_text(asked: Asked, text: &TextInput) -> Result<Self, SettingError> {
        refuse("segmenter", &asked.segmenter, "images")?;
        refuse("segments", &asked.segments, "images")?;
        refuse("mask", &asked.mask, "images")?;
        refuse("cells", &asked.cells, "images")?;
        let unit = asked.unit.unwrap_or(UnitKind::Word);
        if unit != UnitKind::Span {
            refuse("spans", &asked.spans, "the unit \"span\"")?;
        }
        let known = match unit {
            UnitKind::Word => Units::words(text),
            UnitKind::Token => Units::tokens(text),
            UnitKind::Sentence => Units::sentences(text),
            UnitKind::Span => named(asked.spans.as_deref(), text)?,
            UnitKind::Segment | UnitKind::Patch => {
                let detail = "this unit is for images; for text use \"word\", \"token\", \"sentence\" or \"span\"";
                return Err(SettingError::new("unit", detail));
            }
        };
        let fill = asked.fill.unwrap_or(Fill::Remove);
        let spans = asked.spans;
        let known = Some(known);
        Ok(Self { unit, spans, segmenter: None, segments: None, mask: None, fill, cells: None, grid: None, known })
    }

    fn of_image(asked: Asked, image: &ImageInput, subject: &Subject<'_>) -> Result<Self, SettingError> {
        refuse("spans", &asked.spans, "text")?;
        let unit = asked.unit.unwrap_or(UnitKind::Segment);
        if !matches!(unit, UnitKind::Segment | UnitKind::Patch) {
            return Err(SettingError::new("unit", "this unit is for text; for images use \"segment\" or \"patch\""));
        }
        let (segmenter, segments) = segmentation(&asked, unit)?;
        let spec = image_spec(subject)?;
        let cut = match segmenter {
            None => Some(segment::patches(image.rows, image.cols, spec.grid_rows, spec.grid_cols)),
            Some(Segmenter::Mask) => Some(drawn(asked.mask.as_deref(), image)?),
            Some(Segmenter::Slic | Segmenter::Quickshift) => None,
        };
        let known = cut.map(|segmentation| Units::Image { kind: unit, segmentation });
        let grid = Some(super::settings::grid(asked.cells, spec)?);
        let fill = asked.fill.unwrap_or(Fill::Mean);
        let Asked { mask, cells, .. } = asked;
        Ok(Self { unit, spans: None, segmenter, segments, mask, fill, cells, grid, known })
    }

    /// The units of `input`; the same for the same seed.
    ///
    /// # Errors
    /// An input of another kind than the one that was resolved.
    pub fn units(&self, input: &Input, seed: u64) -> Result<Units, Error> {
        if let Some(units) = &self.known {
            return Ok(units.clone());
        }
        let image = input.as_image().ok_or(Error::Missing { what: "units of the input's kind" })?;
        let (rows, cols) = (image.rows, image.cols);
        let segmentation = match self.segmenter {
            Some(Segmenter::Quickshift) => segment::quickshift(&image.rgb, rows, cols, seed),
            _ => segment::slic(&image.rgb, rows, cols, self.segments.unwrap_or(DEFAULT_SEGMENTS)),
        };
        Ok(Units::Image { kind: self.unit, segmentation })
    }

    /// Finds the units now, superpixels too, and says how many there are.
    pub fn settle(&mut self, subject: &Subject<'_>) -> usize {
        if self.known.is_none() {
            self.known = self.units(subject.input, subject.seed).ok();
        }
        self.count().unwrap_or(0)
    }

    /// Puts a method's own units in the place of the chosen ones.
    pub fn replace(&mut self, units: Units) {
        self.known = Some(units);
    }

    /// How long the list of scores is that a unit has an entry in.
    pub fn entries(&self, input: &Input) -> usize {
        match input {
            Input::Text(text) if self.unit == UnitKind::Token => text.tokens.len(),
            _ => self.count().unwrap_or(0),
        }
    }

    /// For methods that fit a regression over the units.
    ///
    /// # Errors
    /// More units than its matrix may have rows.
    pub fn fitted(&self) -> Result<(), SettingError> {
        match self.count() {
            Some(units) if units > MOST_FITTED => Err(SettingError::new(
                "unit",
                format!(
                    "{units} units are more than the {MOST_FITTED} that a regression is fitted over; use the unit \
                     \"sentence\" or \"span\", or the method occlusion or partition_shap"
                ),
            )),
            _ => Ok(()),
        }
    }

    /// How many units there will be; `None` where only cutting the image tells.
    pub fn count(&self) -> Option<usize> {
        self.known.as_ref().map(Units::len)
    }
}

/// Whether all sets of so many units are evaluated.
pub fn few(units: usize, evaluations: usize) -> bool {
    units <= FEW && 1_usize << units <= evaluations
}

/// The spans as units.
fn named(spans: Option<&[Span]>, text: &TextInput) -> Result<Units, SettingError> {
    let Some(spans) = spans else {
        return Err(SettingError::new("spans", "the unit \"span\" needs them: [[start, end], …]"));
    };
    Units::spans(text, spans).map_err(|SpanError { index, detail }| {
        let field = index.map_or_else(|| "spans".to_owned(), |index| format!("spans/{index}"));
        SettingError::new(&field, detail)
    })
}

/// The mask as segments.
fn drawn(mask: Option<&str>, image: &ImageInput) -> Result<Segmentation, SettingError> {
    let refused = |detail: String| SettingError::new("mask", detail);
    let mask = mask.ok_or_else(|| refused("the segmenter \"mask\" needs it: a PNG in base64".to_owned()))?;
    let png = STANDARD
        .decode(mask)
        .map_err(|error| refused(format!("this is no base64 ({error}); send a PNG in standard base64")))?;
    segment::given(&png, image, MOST_SEGMENTS).map_err(refused)
}

/// What `rows` perturbed inputs cost at most.
pub fn cost(rows: usize, subject: &Subject<'_>) -> Cost {
    let rows = rows as u64;
    Cost { rows, tokens: rows.saturating_mul(subject.row_tokens() as u64) }
}

/// How the image is cut, where it is.
fn segmentation(asked: &Asked, unit: UnitKind) -> Result<(Option<Segmenter>, Option<usize>), SettingError> {
    if asked.segmenter != Some(Segmenter::Mask) {
        refuse("mask", &asked.mask, "the segmenter \"mask\"")?;
    }
    if unit != UnitKind::Segment {
        refuse("segmenter", &asked.segmenter, "the unit \"segment\"")?;
        refuse("segments", &asked.segments, "the unit \"segment\"")?;
        return Ok((None, None));
    }
    let segmenter = asked.segmenter.unwrap_or(Segmenter::Slic);
    if segmenter != Segmenter::Slic {
        refuse("segments", &asked.segments, "the segmenter \"slic\"")?;
        return Ok((Some(segmenter), None));
    }
    let segments = asked.segments.unwrap_or(DEFAULT_SEGMENTS);
    Ok((Some(segmenter), Some(within("segments", segments, 1..=MOST_SEGMENTS, "")?)))
}
