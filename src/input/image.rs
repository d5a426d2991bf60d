//! Images into normalised pixels, exactly as Hugging Face's PIL image processors do it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Bounds on what is decoded.
#[derive(Debug, Clone, Copy)]
pub struct ImageLimits {
    /// Width × height of the image as sent.
    pub pixels: u64,
}

/// The part of the image as sent (after EXIF rotation) that the model sees, in its pixels.
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
    pub fn value(&self, byte: f32, channel: usize) -> f32 {
        (byte * self.scale - self.mean[channel]) / self.std[channel]
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
    pub sha256: String,
}

#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("preprocessor_config.json: {0}")]
    Config(String),
    #[error("the image could not be decoded: {0}; send a PNG, JPEG or WebP file")]
    Decode(String),
    #[error("the image has {pixels} pixels and the limit is {max}; send a smaller one or raise limits.pixels")]
    TooLarge { pixels: u64, max: u64 },
}

/// What `preprocessor_config.json` says, as transformers' `ViTImageProcessor` reads it.
#[derive(Debug, Clone)]
pub struct ImageProcessor {}

impl ImageProcessor {
    /// `size` is the model's own input size (rows, cols), which the processor's must equal.
    pub fn new(preprocessor_config: &[u8], size: (usize, usize)) -> Result<Self, ImageError> {
        let _ = (preprocessor_config, size);
        todo!()
    }
    /// Decodes (PNG, JPEG, WebP; EXIF orientation applied; alpha dropped; 16 bit and grey handled), resizes and
    /// normalises.
    pub fn prepare(&self, bytes: Vec<u8>, limits: ImageLimits) -> Result<ImageInput, ImageError> {
        let _ = (bytes, limits);
        todo!()
    }
}

/// Gaussian blur of rows × cols × 3 bytes (RGB, row by row), σ in pixels, borders repeated.
pub fn blur(rgb: &[u8], rows: usize, cols: usize, sigma: f32) -> Vec<f32> {
    let _ = (rows, cols, sigma);
    rgb.iter().map(|&byte| f32::from(byte)).collect()
}
