//! Preprocessing of timm's models, which stands in config.json under `pretrained_cfg`, as timm's
//! `transforms_imagenet_eval` does it with Pillow images.

use serde::Deserialize;

use super::config::{Centre, Crop, MAX_SIDE, Resize, Steps};
use super::resize::Filter;
use super::{ImageError, Normalisation};

#[derive(Deserialize)]
struct Config {
    pretrained_cfg: Pretrained,
}

/// Missing keys mean ImageNet's.
#[derive(Deserialize)]
#[serde(default)]
struct Pretrained {
    input_size: [usize; 3],
    interpolation: String,
    crop_pct: Option<f64>,
    crop_mode: Option<String>,
    mean: [f32; 3],
    std: [f32; 3],
}

impl Default for Pretrained {
    fn default() -> Self {
        Self {
            input_size: [3, 224, 224],
            interpolation: "bicubic".into(),
            crop_pct: None,
            crop_mode: None,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

impl Steps {
    /// Reads a timm model's config.json.
    pub(super) fn timm(config_json: &[u8]) -> Result<Self, ImageError> {
        let mut json = serde_json::Deserializer::from_slice(config_json);
        let config: Config = serde_path_to_error::deserialize(&mut json)
            .map_err(|error| wrong(format!("{}: {}", error.path(), error.inner())))?;
        config.pretrained_cfg.steps()
    }
}

impl Pretrained {
    fn steps(&self) -> Result<Steps, ImageError> {
        let [channels, rows, cols] = self.input_size;
        let sound = channels == 3 && rows == cols && (1..=MAX_SIDE).contains(&rows);
        if !sound {
            let detail = format!("{:?} is not supported; 3 channels and a square are", self.input_size);
            return Err(wrong(format!("pretrained_cfg.input_size: {detail}")));
        }
        let enlarged = (rows as f64 / self.crop_pct.unwrap_or(0.875)).floor();
        if !(1.0..=MAX_SIDE as f64).contains(&enlarged) {
            return Err(wrong(format!("pretrained_cfg.crop_pct makes {rows} pixels {enlarged}")));
        }
        let enlarged = enlarged as usize;
        let resize = match self.crop_mode.as_deref() {
            None | Some("center") => Resize::ShortestEdge(enlarged),
            Some("squash") => Resize::To(enlarged, enlarged),
            Some(other) => return Err(wrong(format!("pretrained_cfg.crop_mode: \"{other}\" is not supported"))),
        };
        if self.mean.iter().any(|mean| !mean.is_finite()) {
            return Err(wrong(format!("pretrained_cfg.mean is {:?}; every value must be a finite number", self.mean)));
        }
        if self.std.iter().any(|std| !std.is_finite() || std.abs() < 1e-30) {
            return Err(wrong(format!("pretrained_cfg.std is {:?}; every value must be finite and not 0", self.std)));
        }
        let normalisation = Normalisation { scale: 1.0 / 255.0, mean: self.mean, std: self.std };
        let crop = Some(Crop { rows, cols, centre: Centre::Even });
        Ok(Steps { resize: Some((resize, self.filter()?)), crop, normalisation })
    }

    fn filter(&self) -> Result<Filter, ImageError> {
        match self.interpolation.as_str() {
            "nearest" => Ok(Filter::Nearest),
            "bilinear" => Ok(Filter::Bilinear),
            "bicubic" => Ok(Filter::Bicubic),
            "box" => Ok(Filter::Box),
            "hamming" => Ok(Filter::Hamming),
            "lanczos" => Ok(Filter::Lanczos),
            other => Err(wrong(format!("pretrained_cfg.interpolation: \"{other}\" is not known"))),
        }
    }
}

fn wrong(detail: String) -> ImageError {
    ImageError::Config(format!("config.json: {detail}"))
}
