//! Images into normalised pixels, exactly as Hugging Face's PIL image processors do it.
//!
//! Here are the types; `config` reads `preprocessor_config.json`, `timm` what its models have instead, `decode` turns a file's bytes into RGB under limits,
//! `resize` is Pillow's resampling, `processor` puts them together, `blur` is the Gaussian of fills and baselines.
//! `explain` calls it through [`ImageProcessor`]. Nothing here knows a model.

mod blur;
mod config;
mod decode;
mod processor;
mod resize;
#[cfg(test)]
mod tests;
mod timm;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use blur::blur;
pub use processor::ImageProcessor;

/// Bounds on what is decoded.
#[derive(Debug, Clone, Copy)]
pub struct ImageLimits {
    /// Width × height of the image as sent.
    pub pixels: u64,
}

/// The part of the image as sent (after EXIF rotation) that the model sees, in its pixels. Where a centre crop is
/// larger than the image, the model sees black around it: the region then begins before 0 and ends after the image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Region {
    pub x: f32,
    pub y: f32,
    pub width: f32,
    pub height: f32,
}

/// How bytes become model values: `(byte · scale − mean[c]) / std[c]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalisation {
    pub scale: f32,
    pub mean: [f32; 3],
    pub std: [f32; 3],
}

impl Normalisation {
    /// The model's value of one channel (0 red, 1 green, 2 blue) of a pixel; `byte` may lie between two bytes.
    pub fn value(&self, byte: f32, channel: usize) -> f32 {
        (byte * self.scale - self.mean[channel]) / self.std[channel]
    }

    /// The byte that becomes `value`; it may lie between two bytes.
    pub fn byte(&self, value: f32, channel: usize) -> f32 {
        (value * self.std[channel] + self.mean[channel]) / self.scale
    }
}

/// An image as the model reads it.
#[derive(Debug, Clone)]
pub struct ImageInput {
    /// Size as sent, after EXIF rotation.
    pub width: usize,
    pub height: usize,
    pub region: Region,
    /// Size of the model's input.
    pub rows: usize,
    pub cols: usize,
    /// What the model sees before normalisation: rows × cols × 3 bytes (RGB, row by row).
    pub rgb: Vec<u8>,
    /// The model's input: 3 × rows × cols.
    pub pixels: Vec<f32>,
    pub normalisation: Normalisation,
    /// The bytes as sent, kept for `echo`.
    pub bytes: Vec<u8>,
    /// SHA-256 (hex) of `bytes`.
    pub sha256: String,
}

impl ImageInput {
    /// What the model sees under a Gaussian blur, σ = 10 % of the shorter side: rows × cols × 3, on the scale of bytes.
    pub fn blurred(&self) -> Vec<f32> {
        blur(&self.rgb, self.rows, self.cols, 0.1 * self.rows.min(self.cols) as f64)
    }

    /// The picture of the model's input `pixels` (3 × rows × cols): its colours rounded to bytes, rows × cols × 3.
    pub fn rounded(&self, pixels: &[f32]) -> Vec<u8> {
        let plane = (self.rows * self.cols).max(1);
        let byte = |index: usize| {
            let (pixel, channel) = (index / 3, index % 3);
            let value = pixels.get(channel * plane + pixel).copied().unwrap_or_default();
            self.normalisation.byte(value, channel).round().clamp(0.0, 255.0) as u8
        };
        (0..3 * self.rows * self.cols).map(byte).collect()
    }

    /// Colours on the scale of bytes (rows × cols × 3) as the model reads them (3 × rows × cols).
    pub fn normalised(&self, rgb: &[f32]) -> Vec<f32> {
        let plane = |channel: usize| {
            let bytes = rgb.iter().skip(channel).step_by(3);
            bytes.map(move |&byte| self.normalisation.value(byte, channel))
        };
        (0..3).flat_map(plane).collect()
    }
}

/// A PNG of colours (rows × cols × 3 bytes).
///
/// # Panics
/// `rgb` is of another length.
pub fn png8(rgb: Vec<u8>, rows: usize, cols: usize) -> Vec<u8> {
    let mut png = std::io::Cursor::new(Vec::new());
    let image = image::RgbImage::from_raw(cols as u32, rows as u32, rgb);
    let written = image.map(|image| image.write_to(&mut png, image::ImageFormat::Png));
    assert!(matches!(written, Some(Ok(()))), "writing to memory cannot fail");
    png.into_inner()
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// Begins with the file's name.
    #[error("{0}")]
    Config(String),
    #[error("the image could not be decoded: {0}; send a PNG, JPEG or WebP file")]
    Decode(String),
    #[error(
        "the image of {width} x {height} pixels becomes {became_width} x {became_height} by the model's preprocessing and \
         the model takes {cols} x {rows}; send an image of that shape"
    )]
    Shape { width: usize, height: usize, became_width: usize, became_height: usize, rows: usize, cols: usize },
    #[error("the image has {pixels} pixels and the limit is {max}; send a smaller one or raise limits.pixels")]
    TooLarge { pixels: u64, max: u64 },
}
