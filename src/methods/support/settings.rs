//! Settings that several methods have, their defaults and their checks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::spread;
use crate::input::text::SpecialIds;
use crate::methods::{Error, Grid, SettingError, Subject};
use crate::models::ImageSpec;
pub use crate::nn::Precision;
use crate::tasks::{OutputSpace, Outputs};

/// What each list of scores is divided by: nothing, its largest absolute score, or the sum of its absolute scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Normalize {
    #[default]
    None,
    Max,
    Sum,
}

/// How scores are shown: the last step, after which completeness no longer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Presentation {
    pub normalize: Normalize,
    pub absolute: bool,
}

impl Presentation {
    pub fn new(normalize: Option<Normalize>, absolute: Option<bool>) -> Self {
        Self { normalize: normalize.unwrap_or_default(), absolute: absolute.unwrap_or_default() }
    }

    /// Applied to one list of scores; returns what every score was multiplied by, for standard errors. A list of
    /// zeros stays.
    pub fn apply(self, scores: &mut [f64]) -> f64 {
        if self.absolute {
            scores.iter_mut().for_each(|score| *score = score.abs());
        }
        let size = match self.normalize {
            Normalize::None => return 1.0,
            Normalize::Max => spread::largest(scores),
            Normalize::Sum => scores.iter().map(|score| score.abs()).sum(),
        };
        if size <= 0.0 {
            return 1.0;
        }
        scores.iter_mut().for_each(|score| *score /= size);
        size.recip()
    }

    /// [`Self::apply`] and the answer's f32; `what` names the list in an error.
    pub fn list(self, mut scores: Vec<f64>, what: &'static str) -> Result<Vec<f32>, Error> {
        self.apply(&mut scores);
        floats(&scores, what)
    }
}

/// Numbers of an answer: f32, and an error where one is not finite.
pub fn floats(numbers: &[f64], what: &'static str) -> Result<Vec<f32>, Error> {
    numbers.iter().map(|&number| float(number, what)).collect()
}

pub fn float(number: f64, what: &'static str) -> Result<f32, Error> {
    let number = number as f32;
    if number.is_finite() { Ok(number) } else { Err(Error::NotFinite { what }) }
}

/// `max_evaluations`: `asked`, or as many of `default` as `limits.max_evaluations` allows; at least `least`.
pub fn evaluations(
    asked: Option<usize>,
    default: usize,
    least: usize,
    subject: &Subject<'_>,
) -> Result<usize, SettingError> {
    let limit = subject.max_evaluations;
    within("max_evaluations", asked.unwrap_or(default.min(limit)), least..=limit, " (limits.max_evaluations)")
}

/// `asked` or `default`; the logit where the target has not got the default's space; one it has not got may not be asked for.
pub fn output(
    asked: Option<OutputSpace>,
    default: OutputSpace,
    subject: &Subject<'_>,
) -> Result<OutputSpace, SettingError> {
    let outputs = subject.task.outputs(subject.target);
    let Some(asked) = asked else {
        return Ok(if outputs.has(default) { default } else { OutputSpace::Logit });
    };
    if outputs.has(asked) {
        return Ok(asked);
    }
    let detail = match (asked, outputs) {
        (OutputSpace::Entropy, _) => "entropy is of a language model's tokens, each by itself; use another output",
        (_, Outputs::Number) => "this target's output is no probability; use \"logit\"",
        _ => {
            "odds are against something else, and here the target may be all that there is to choose from; use \
             \"logit\" or \"log_probability\""
        }
    };
    Err(SettingError::new("output", detail))
}

/// A positive finite tolerance of at most 1.
pub fn tolerance(asked: Option<f64>, default: f64) -> Result<f64, SettingError> {
    let tolerance = asked.unwrap_or(default);
    if tolerance > 0.0 && tolerance <= 1.0 {
        return Ok(tolerance);
    }
    Err(SettingError::new("tolerance", format!("{tolerance:?} is out of range; use more than 0 and at most 1")))
}

/// What a method that only runs forwards computes in.
pub fn precision(asked: Option<Precision>, subject: &Subject<'_>) -> Result<Precision, SettingError> {
    let precision = asked.unwrap_or(subject.precision);
    if precision.available() {
        return Ok(precision);
    }
    Err(SettingError::new("precision", "this processor has neither AMX nor AVX512-BF16; use \"f32\""))
}

/// What a method that differentiates computes in: f32 alone.
pub fn gradient_precision(asked: Option<Precision>) -> Result<Precision, SettingError> {
    match asked {
        Some(Precision::Bf16) => Err(SettingError::new("precision", "gradients are computed in f32; use \"f32\"")),
        _ => Ok(Precision::F32),
    }
}

/// A whole number inside `range`; `why` says where the upper end comes from.
pub fn within(
    field: &str,
    number: usize,
    range: std::ops::RangeInclusive<usize>,
    why: &str,
) -> Result<usize, SettingError> {
    if range.contains(&number) {
        return Ok(number);
    }
    let (low, high) = (range.start(), range.end());
    Err(SettingError::new(field, format!("{number} is out of range; use {low} to {high}{why}")))
}

/// The explanation's grid: `cells` × `cells`, or the model's own.
pub fn grid(cells: Option<usize>, image: &ImageSpec) -> Result<Grid, SettingError> {
    let Some(cells) = cells else {
        return Ok(Grid { rows: image.grid_rows, cols: image.grid_cols });
    };
    let most = image.rows.min(image.cols).max(1);
    let cells = within("cells", cells, 1..=most, ", the model input's shorter side in pixels")?;
    Ok(Grid { rows: cells, cols: cells })
}

/// A setting that only the other kind of input has.
pub fn refuse<T>(field: &str, given: &Option<T>, only: &str) -> Result<(), SettingError> {
    match given {
        Some(_) => Err(SettingError::new(field, format!("{field} is for {only} only; leave it out"))),
        None => Ok(()),
    }
}

/// The token that `setting: name` puts in a text's place, by the tokenizer.
pub fn token(field: &str, name: &str, specials: &SpecialIds) -> Result<u32, SettingError> {
    let id = match name {
        "pad" => specials.pad,
        "mask" => specials.mask,
        "unk" => specials.unk,
        _ => None,
    };
    id.ok_or_else(|| {
        SettingError::new(field, format!("the model's tokenizer has no {name} token; use another {field}"))
    })
}

/// The model's image description; images are only read by models that have one.
pub fn image_spec<'a>(subject: &Subject<'a>) -> Result<&'a ImageSpec, SettingError> {
    let spec = subject.spec.image.as_ref();
    spec.ok_or_else(|| SettingError::new("", "this model reads no images; send a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presentation_scales_each_list() {
        let show =
            |normalize, absolute| Presentation { normalize, absolute }.list(vec![1.0, -4.0, 3.0], "scores").unwrap();
        assert_eq!(show(Normalize::None, false), [1.0, -4.0, 3.0]);
        assert_eq!(show(Normalize::None, true), [1.0, 4.0, 3.0]);
        assert_eq!(show(Normalize::Max, false), [0.25, -1.0, 0.75]);
        assert_eq!(show(Normalize::Sum, true), [0.125, 0.5, 0.375]);
        assert_eq!(Presentation::new(Some(Normalize::Max), None).list(vec![0.0; 2], "scores").unwrap(), [0.0; 2]);
    }

    #[test]
    fn what_is_not_finite_is_an_error() {
        for number in [f64::NAN, f64::INFINITY, 1e300] {
            assert!(matches!(floats(&[0.0, number], "scores"), Err(Error::NotFinite { what: "scores" })));
        }
    }

    #[test]
    fn tolerances_are_positive() {
        assert_eq!(tolerance(None, 0.05).unwrap(), 0.05);
        for bad in [0.0, -1.0, f64::NAN, 1.5, 1e300] {
            let error = tolerance(Some(bad), 0.05).unwrap_err();
            assert_eq!(error.path, "/tolerance");
            assert!(error.detail.len() < 64, "{}", error.detail);
        }
    }
}
