//! Vision transformer (Dosovitskiy et al. 2020) with a classification head, as transformers'
//! `ViTForImageClassification`.

use super::config::{self, Common};
use super::vision_transformer::{Design, Head, Keys, Positions, Token, VisionTransformer};
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;

pub struct Vit;

impl Family for Vit {
    fn model_types(&self) -> &'static [&'static str] {
        &["vit"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["ViTForImageClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let design = design("vit", &keys)?;
        Ok(Box::new(VisionTransformer::new(&design, &common, &keys, weights)?))
    }
}

/// The plain vision transformer.
pub fn design(name: &'static str, keys: &Keys) -> Result<Design, LoadError> {
    Ok(Design {
        name,
        size: keys.image_size.pair("image_size")?,
        patch: 16,
        epsilon: 1e-12,
        tokens: vec![Token::CLASS],
        positions: Positions::Fixed,
        relative: [None; 2],
        key_bias: true,
        norms: ["layernorm_before", "layernorm_after"],
        scales: None,
        gated: false,
        heads: vec![Head::classifier()],
        norm: "layernorm",
        norm_after_mean: false,
    })
}
