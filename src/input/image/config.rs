//! `preprocessor_config.json`, as transformers' `ViTImageProcessor` reads it: its keys, its defaults, its shorthands.
//!
//! Only what is said about the model's input is read; unknown keys are ignored. `processor` calls it.

use serde::Deserialize;

use super::resize::Filter;
use super::{ImageError, Normalisation};

/// No processor resizes to more; a larger number is a broken file.
const MAX_SIDE: usize = 4096;

/// What happens to an image between decoding and the model, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps {
    pub resize: Option<(Resize, Filter)>,
    /// Rows and columns of the centre crop.
    pub crop: Option<(usize, usize)>,
    pub normalisation: Normalisation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resize {
    /// To these rows and columns, whatever the shape.
    To(usize, usize),
    /// The shorter side to this many pixels, the longer one in proportion.
    ShortestEdge(usize),
}

/// A missing key and a null one both mean the processor's default.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Raw {
    do_resize: Option<bool>,
    size: Option<Size>,
    resample: Option<u32>,
    do_center_crop: Option<bool>,
    crop_size: Option<Size>,
    do_rescale: Option<bool>,
    rescale_factor: Option<f64>,
    do_normalize: Option<bool>,
    image_mean: Option<PerChannel>,
    image_std: Option<PerChannel>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(untagged)]
enum Size {
    Square(usize),
    Named {
        height: Option<usize>,
        width: Option<usize>,
        shortest_edge: Option<usize>,
        longest_edge: Option<usize>,
        max_height: Option<usize>,
        max_width: Option<usize>,
    },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum PerChannel {
    One(f32),
    Three([f32; 3]),
}

impl Steps {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let raw: Raw = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| config(format!("{}: {}", error.path(), error.inner())))?;
        Ok(Self { resize: raw.resize()?, crop: raw.crop()?, normalisation: raw.normalisation()? })
    }
}

impl Raw {
    fn resize(&self) -> Result<Option<(Resize, Filter)>, ImageError> {
        if !self.do_resize.unwrap_or(true) {
            return Ok(None);
        }
        let code = self.resample.unwrap_or(2);
        let filter = Filter::from_pillow(code)
            .ok_or_else(|| config(format!("resample is {code}, which is no Pillow filter (0 to 5)")))?;
        let resize = match self.size.unwrap_or(Size::Square(224)) {
            Size::Named { shortest_edge: Some(edge), longest_edge: None, height: None, width: None, .. } => {
                Resize::ShortestEdge(side("size.shortest_edge", edge)?)
            }
            size => {
                let (rows, cols) = size.rows_cols("size")?;
                Resize::To(rows, cols)
            }
        };
        Ok(Some((resize, filter)))
    }

    fn crop(&self) -> Result<Option<(usize, usize)>, ImageError> {
        if !self.do_center_crop.unwrap_or(false) {
            return Ok(None);
        }
        match self.crop_size {
            Some(size) => size.rows_cols("crop_size").map(Some),
            None => Err(config("do_center_crop is true and crop_size is missing".to_owned())),
        }
    }

    fn normalisation(&self) -> Result<Normalisation, ImageError> {
        let scale =
            if self.do_rescale.unwrap_or(true) { self.rescale_factor.unwrap_or(1.0 / 255.0) as f32 } else { 1.0 };
        if !scale.is_finite() || scale <= 0.0 {
            return Err(config(format!("rescale_factor is {scale}; it must be above 0")));
        }
        if !self.do_normalize.unwrap_or(true) {
            return Ok(Normalisation { scale, mean: [0.0; 3], std: [1.0; 3] });
        }
        let mean = per_channel(self.image_mean.as_ref());
        let std = per_channel(self.image_std.as_ref());
        if mean.iter().any(|value| !value.is_finite()) {
            return Err(config(format!("image_mean is {mean:?}; every value must be a finite number")));
        }
        // Below this the normalised pixels overflow f32.
        if std.iter().any(|value| !value.is_finite() || value.abs() < 1e-30) {
            return Err(config(format!("image_std is {std:?}; every value must be finite and not 0")));
        }
        Ok(Normalisation { scale, mean, std })
    }
}

impl Size {
    fn rows_cols(self, key: &str) -> Result<(usize, usize), ImageError> {
        match self {
            Self::Square(edge) => side(key, edge).map(|edge| (edge, edge)),
            Self::Named {
                height: Some(height),
                width: Some(width),
                shortest_edge: None,
                longest_edge: None,
                max_height: None,
                max_width: None,
            } => Ok((side(key, height)?, side(key, width)?)),
            Self::Named { .. } => Err(config(format!(
                "{key} must have height and width{}",
                if key == "size" { ", or shortest_edge alone" } else { "" }
            ))),
        }
    }
}

fn per_channel(values: Option<&PerChannel>) -> [f32; 3] {
    match values {
        None => [0.5; 3],
        Some(PerChannel::One(value)) => [*value; 3],
        Some(PerChannel::Three(values)) => *values,
    }
}

fn side(key: &str, pixels: usize) -> Result<usize, ImageError> {
    if (1..=MAX_SIDE).contains(&pixels) {
        Ok(pixels)
    } else {
        Err(config(format!("{key} is {pixels} pixels; it must be between 1 and {MAX_SIDE}")))
    }
}

pub(super) fn config(detail: String) -> ImageError {
    ImageError::Config(detail)
}
