//! DINOv2 (Oquab et al. 2023; with registers, Darcet et al. 2023) with a linear head over the class token and the
//! patches' mean, as transformers' `Dinov2ForImageClassification` and `Dinov2WithRegistersForImageClassification`.
//!
//! The image's size is the processor's (224), the positions' is config.json's (518): they are resampled.

use serde::Deserialize;

use super::config::{self, Common};
use super::positions::Resampling;
use super::vision;
use super::vision_transformer::{Design, Head, Keys, Positions, Reading, Token, VisionTransformer};
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;

pub struct Dinov2;

const REGISTERS: &str = "dinov2_with_registers";

impl Family for Dinov2 {
    fn model_types(&self) -> &'static [&'static str] {
        &["dinov2", REGISTERS]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Dinov2ForImageClassification", "Dinov2WithRegistersForImageClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, own): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        let mut keys: Keys = config::read(bytes)?;
        keys.intermediate_size = own.intermediate(keys.hidden_size)?;
        let registers = common.model_type.as_deref() == Some(REGISTERS);
        let size = vision::input_size(folder, keys.image_size.pair("image_size")?)?;
        let design = own.design(registers, size)?;
        Ok(Box::new(VisionTransformer::new(&design, &common, &keys, weights)?))
    }
}

/// The keys of `Dinov2Config` that others do not have.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    mlp_ratio: f64,
    use_swiglu_ffn: bool,
    num_register_tokens: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { mlp_ratio: 4.0, use_swiglu_ffn: false, num_register_tokens: 4 }
    }
}

impl Config {
    /// Columns between the products of the feed-forward block; a gated block's are two thirds of them, rounded up to a
    /// multiple of 8.
    fn intermediate(&self, hidden: usize) -> Result<usize, LoadError> {
        if !(self.mlp_ratio > 0.0 && self.mlp_ratio <= 64.0) {
            return Err(config::invalid("mlp_ratio", format!("{} is outside 0 … 64", self.mlp_ratio)));
        }
        config::check("hidden_size", hidden, 1, 65_536)?;
        let full = (hidden as f64 * self.mlp_ratio) as usize;
        let own = if self.use_swiglu_ffn { (full * 2 / 3).div_ceil(8) * 8 } else { full };
        config::check("mlp_ratio", own, 1, 1 << 20)
    }

    fn design(&self, registers: bool, size: (usize, usize)) -> Result<Design, LoadError> {
        let mut tokens = vec![Token::CLASS];
        if registers {
            let count = config::check("num_register_tokens", self.num_register_tokens, 0, 1_024)?;
            tokens.push(Token { tensor: "register_tokens", name: "register", count, placed: false });
        }
        Ok(Design {
            name: if registers { REGISTERS } else { "dinov2" },
            size,
            patch: if registers { 16 } else { 14 },
            epsilon: 1e-6,
            tokens,
            positions: Positions::Resampled(if registers { Resampling::Antialiased } else { Resampling::Plain }),
            relative: [None; 2],
            key_bias: true,
            norms: ["norm1", "norm2"],
            scales: Some(["layer_scale1.lambda1", "layer_scale2.lambda1"]),
            gated: self.use_swiglu_ffn,
            heads: vec![Head { tensor: "classifier", reads: vec![Reading::Token(0), Reading::Patches], factor: 1.0 }],
            norm: "layernorm",
            norm_after_mean: false,
        })
    }
}
