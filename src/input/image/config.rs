//! `preprocessor_config.json`, as transformers' image processors read it: their keys, defaults and shorthands; and the
//! `pretrained_cfg` of a timm model.
//!
//! Only what is said about the model's input is read; unknown keys are ignored. `processor` calls it.

use serde::Deserialize;

use super::resize::Filter;
use super::{ImageError, Normalisation};

/// No processor resizes to more; a larger number is a broken file.
pub(super) const MAX_SIDE: usize = 4096;

/// What happens to an image between decoding and the model, in this order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Steps {
    pub resize: Option<(Resize, Filter)>,
    pub crop: Option<Crop>,
    pub normalisation: Normalisation,
}

/// A centre crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Crop {
    pub rows: usize,
    pub cols: usize,
    pub centre: Centre,
}

/// Where a crop begins that cannot be centred to the pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Centre {
    /// transformers: half a pixel towards the first; around an image that is smaller, half a pixel to the last.
    Before,
    /// torchvision: to the even pixel; around an image that is smaller, half a pixel to the first.
    Even,
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
    image_processor_type: Option<String>,
    /// What files of old have in its place.
    feature_extractor_type: Option<String>,
    crop_pct: Option<f64>,
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

/// What a processor does where its file is silent.
struct Defaults {
    size: Size,
    /// Whether one number as `size` is the shorter side and not both.
    shorter_side: bool,
    /// Pillow's number of the filter.
    resample: u32,
    crop: bool,
    crop_size: Option<Size>,
    mean: [f32; 3],
    std: [f32; 3],
}

const HALF: [f32; 3] = [0.5; 3];
const SHORTER_384: Size = Size::shorter_side(384);
const SHORTER_224: Size = Size::shorter_side(224);

impl Defaults {
    /// By the class's name without what says which of its implementations it is.
    fn of(class: &str) -> Self {
        let vit = Self {
            size: Size::Square(224),
            shorter_side: false,
            resample: 2,
            crop: false,
            crop_size: None,
            mean: HALF,
            std: HALF,
        };
        match class {
            "DeiT" => {
                Self { size: Size::Square(256), resample: 3, crop: true, crop_size: Some(Size::Square(224)), ..vit }
            }
            "Beit" => Self { resample: 3, crop_size: Some(Size::Square(224)), ..vit },
            "ConvNext" => Self { size: SHORTER_384, shorter_side: true, resample: 3, ..vit },
            "Bit" | "CLIP" => Self {
                size: SHORTER_224,
                shorter_side: true,
                resample: 3,
                crop: true,
                crop_size: Some(Size::Square(224)),
                mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
                std: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            },
            _ => vit,
        }
    }
}

impl Steps {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, ImageError> {
        let mut json = serde_json::Deserializer::from_slice(bytes);
        let raw: Raw = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| config(format!("{}: {}", error.path(), error.inner())))?;
        let defaults = Defaults::of(raw.class());
        let normalisation = raw.normalisation(&defaults)?;
        if raw.class() == "ConvNext" {
            return raw.resized_by_percentage(&defaults, normalisation);
        }
        Ok(Self { resize: raw.resize(&defaults)?, crop: raw.crop(&defaults)?, normalisation })
    }

    /// Rows and columns of what comes out; those of square images where the shape depends on the image.
    pub(super) fn makes(&self) -> Option<(usize, usize)> {
        let resized = self.resize.map(|(resize, _)| match resize {
            Resize::To(rows, cols) => (rows, cols),
            Resize::ShortestEdge(edge) => (edge, edge),
        });
        self.crop.map(|crop| (crop.rows, crop.cols)).or(resized)
    }
}

impl Raw {
    /// `ConvNext` of `ConvNextImageProcessorFast` or `ConvNextFeatureExtractor`.
    fn class(&self) -> &str {
        let name = self.image_processor_type.as_ref().or(self.feature_extractor_type.as_ref());
        let name = name.map_or("", String::as_str);
        ["ImageProcessor", "FeatureExtractor"].iter().find_map(|part| name.find(part)).map_or("", |end| &name[..end])
    }

    fn filter(&self, defaults: &Defaults) -> Result<Filter, ImageError> {
        let code = self.resample.unwrap_or(defaults.resample);
        Filter::from_pillow(code)
            .ok_or_else(|| config(format!("resample is {code}, which is no Pillow filter (0 to 5)")))
    }

    fn resize(&self, defaults: &Defaults) -> Result<Option<(Resize, Filter)>, ImageError> {
        if !self.do_resize.unwrap_or(true) {
            return Ok(None);
        }
        let filter = self.filter(defaults)?;
        let resize = match self.size(defaults) {
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

    fn size(&self, defaults: &Defaults) -> Size {
        match self.size.unwrap_or(defaults.size) {
            Size::Square(edge) if defaults.shorter_side => Size::shorter_side(edge),
            size => size,
        }
    }

    fn crop(&self, defaults: &Defaults) -> Result<Option<Crop>, ImageError> {
        if !self.do_center_crop.unwrap_or(defaults.crop) {
            return Ok(None);
        }
        match self.crop_size.or(defaults.crop_size) {
            Some(size) => {
                let (rows, cols) = size.rows_cols("crop_size")?;
                Ok(Some(Crop { rows, cols, centre: Centre::Before }))
            }
            None => Err(config("do_center_crop is true and crop_size is missing".to_owned())),
        }
    }

    /// ConvNeXt's: below 384 the shorter side becomes size ÷ `crop_pct`, and the centre is cropped; from there on the
    /// image is squeezed into a square.
    fn resized_by_percentage(&self, defaults: &Defaults, normalisation: Normalisation) -> Result<Steps, ImageError> {
        let mut crop = self.crop(defaults)?;
        if !self.do_resize.unwrap_or(true) {
            return Ok(Steps { resize: None, crop, normalisation });
        }
        let filter = self.filter(defaults)?;
        let Size::Named { shortest_edge: Some(edge), .. } = self.size(defaults) else {
            return Err(config("size must have shortest_edge".to_owned()));
        };
        let edge = side("size.shortest_edge", edge)?;
        if edge >= 384 {
            return Ok(Steps { resize: Some((Resize::To(edge, edge), filter)), crop, normalisation });
        }
        let enlarged = edge as f64 / self.crop_pct.unwrap_or(0.875);
        if !(edge as f64 <= enlarged && enlarged <= MAX_SIDE as f64) {
            return Err(config(format!("crop_pct makes {edge} pixels {enlarged}; it must be above 0 and at most 1")));
        }
        crop = crop.or(Some(Crop { rows: edge, cols: edge, centre: Centre::Before }));
        Ok(Steps { resize: Some((Resize::ShortestEdge(enlarged as usize), filter)), crop, normalisation })
    }

    fn normalisation(&self, defaults: &Defaults) -> Result<Normalisation, ImageError> {
        let scale =
            if self.do_rescale.unwrap_or(true) { self.rescale_factor.unwrap_or(1.0 / 255.0) as f32 } else { 1.0 };
        if !scale.is_finite() || scale <= 0.0 {
            return Err(config(format!("rescale_factor is {scale}; it must be above 0")));
        }
        if !self.do_normalize.unwrap_or(true) {
            return Ok(Normalisation { scale, mean: [0.0; 3], std: [1.0; 3] });
        }
        let mean = per_channel(self.image_mean.as_ref(), defaults.mean);
        let std = per_channel(self.image_std.as_ref(), defaults.std);
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
    const fn shorter_side(edge: usize) -> Self {
        Self::Named {
            height: None,
            width: None,
            shortest_edge: Some(edge),
            longest_edge: None,
            max_height: None,
            max_width: None,
        }
    }

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

fn per_channel(values: Option<&PerChannel>, default: [f32; 3]) -> [f32; 3] {
    match values {
        None => default,
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
    ImageError::Config(format!("preprocessor_config.json: {detail}"))
}
