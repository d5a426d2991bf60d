//! Qwen 2, 2.5 and 3 (Yang et al. 2024, 2025) with a sequence-classification or a language model's head. Qwen 2 has biases in queries, keys
//! and values; Qwen 3 norms of every head's queries and keys in their place.

use serde::Deserialize;

use super::config::{self, Common};
use super::llama_like::{Anatomy, Defaults, Keys};
use super::rope::RopeKeys;
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;

pub struct Qwen2;
pub struct Qwen3;

const DEFAULTS: Defaults =
    Defaults { vocab: 151_936, kv_heads: Some(32), intermediate: 22_016, positions: 32_768, ..Defaults::LLAMA };
const WINDOW: usize = 4_096;

#[derive(Deserialize)]
#[serde(default)]
struct Own {
    /// Qwen 3 alone.
    attention_bias: bool,
    use_sliding_window: bool,
    /// The first layers, which see all tokens, where there is no list of layers.
    max_window_layers: usize,
}

impl Default for Own {
    fn default() -> Self {
        Self { attention_bias: false, use_sliding_window: false, max_window_layers: 28 }
    }
}

/// What both share, and their own keys.
fn resolve(bytes: &[u8], defaults: &Defaults) -> Result<(Common, Anatomy, Own), LoadError> {
    let (keys, own): (Keys, Own) = (config::read(bytes)?, config::read(bytes)?);
    let mut anatomy = keys.resolve(defaults)?;
    anatomy.ropes = vec![config::read::<RopeKeys>(bytes)?.rope(anatomy.rope_of())?];
    let window = if own.use_sliding_window { keys.window(Some(WINDOW))? } else { None };
    let sliding = keys.sliding(&anatomy, |layer| window.is_some() && layer >= own.max_window_layers)?;
    anatomy.see(&sliding, window)?;
    Ok((config::read(bytes)?, anatomy, own))
}

impl Family for Qwen2 {
    fn model_types(&self) -> &'static [&'static str] {
        &["qwen2"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Qwen2ForSequenceClassification", "Qwen2ForCausalLM"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let (common, mut anatomy, _) = resolve(folder.file("config.json").unwrap_or_default(), &DEFAULTS)?;
        anatomy.qkv_bias = true;
        Ok(Box::new(anatomy.decoder(&common, weights)?))
    }
}

impl Family for Qwen3 {
    fn model_types(&self) -> &'static [&'static str] {
        &["qwen3"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Qwen3ForSequenceClassification", "Qwen3ForCausalLM"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let defaults = Defaults { depth: Some(128), ..DEFAULTS };
        let (common, mut anatomy, own) = resolve(folder.file("config.json").unwrap_or_default(), &defaults)?;
        anatomy.qkv_bias = own.attention_bias;
        anatomy.output_bias = own.attention_bias;
        anatomy.head_norms = true;
        Ok(Box::new(anatomy.decoder(&common, weights)?))
    }
}
