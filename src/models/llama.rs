//! Llama (Touvron et al. 2023), 1 to 3, with a sequence-classification or a language model's head, and what took over its names.

use serde::Deserialize;

use super::config::{self, Common};
use super::llama_like::{Defaults, Keys};
use super::rope::RopeKeys;
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;

pub struct Llama;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Own {
    attention_bias: bool,
    mlp_bias: bool,
}

impl Family for Llama {
    fn model_types(&self) -> &'static [&'static str] {
        &["llama"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["LlamaForSequenceClassification", "LlamaForCausalLM"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys, own): (Common, Keys, Own) =
            (config::read(bytes)?, config::read(bytes)?, config::read(bytes)?);
        let mut anatomy = keys.resolve(&Defaults::LLAMA)?;
        anatomy.ropes = vec![config::read::<RopeKeys>(bytes)?.rope(anatomy.rope_of())?];
        anatomy.qkv_bias = own.attention_bias;
        anatomy.output_bias = own.attention_bias;
        anatomy.feed_forward_bias = own.mlp_bias;
        Ok(Box::new(anatomy.decoder(&common, weights)?))
    }
}
