//! BEiT (Bao et al. 2021), as transformers' `BeitForImageClassification`: a vision transformer whose scores get a
//! learnt bias for every relative position.

use serde::Deserialize;

use super::config::{self, Common};
use super::vision_transformer::{Design, Head, Keys, Positions, Reading, Token, VisionTransformer};
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;

pub struct Beit;

impl Family for Beit {
    fn model_types(&self) -> &'static [&'static str] {
        &["beit"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["BeitForImageClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, own): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        let keys: Keys = config::read(bytes)?;
        let design = own.design(&keys)?;
        Ok(Box::new(VisionTransformer::new(&design, &common, &keys, weights)?))
    }
}

/// The keys of `BeitConfig` that others do not have.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    use_absolute_position_embeddings: bool,
    use_relative_position_bias: bool,
    use_shared_relative_position_bias: bool,
    layer_scale_init_value: f64,
    use_mean_pooling: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            use_absolute_position_embeddings: false,
            use_relative_position_bias: false,
            use_shared_relative_position_bias: false,
            layer_scale_init_value: 0.1,
            use_mean_pooling: true,
        }
    }
}

/// A layer's own table, and the one that all layers share: as the hub names them, and transformers 5's modules.
const OWN: [&str; 2] = ["attention.attention.relative_position_bias", "relative_position_bias"];
const SHARED: [&str; 2] = ["encoder.relative_position_bias", "shared_position_bias"];

impl Config {
    fn design(&self, keys: &Keys) -> Result<Design, LoadError> {
        let size = keys.image_size.pair("image_size")?;
        let relative = self.use_relative_position_bias || self.use_shared_relative_position_bias;
        if relative && size.0 != size.1 {
            // transformers reads the table of such an image with its sides exchanged.
            return Err(config::invalid("image_size", "relative positions are supported for square images alone"));
        }
        let mean = self.use_mean_pooling;
        Ok(Design {
            name: "beit",
            size,
            patch: 16,
            epsilon: 1e-12,
            tokens: vec![Token { placed: self.use_absolute_position_embeddings, ..Token::CLASS }],
            positions: if self.use_absolute_position_embeddings { Positions::Fixed } else { Positions::None },
            relative: [(self.use_relative_position_bias, OWN), (self.use_shared_relative_position_bias, SHARED)]
                .map(|(used, names)| used.then_some(names)),
            key_bias: false,
            norms: ["layernorm_before", "layernorm_after"],
            scales: (self.layer_scale_init_value > 0.0).then_some(["lambda_1", "lambda_2"]),
            gated: false,
            heads: match mean {
                true => vec![Head { reads: vec![Reading::Patches], ..Head::classifier() }],
                false => vec![Head::classifier()],
            },
            norm: if mean { "pooler.layernorm" } else { "layernorm" },
            norm_after_mean: mean,
        })
    }
}
