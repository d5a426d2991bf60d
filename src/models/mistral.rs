//! Mistral (Jiang et al. 2023) with a sequence-classification or a language model's head: Llama whose layers all see a window, if
//! config.json has one.

use super::config::{self, Common};
use super::llama_like::{Defaults, Keys};
use super::rope::RopeKeys;
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;

pub struct Mistral;

const DEFAULTS: Defaults = Defaults { kv_heads: Some(8), intermediate: 14_336, positions: 131_072, ..Defaults::LLAMA };
const WINDOW: usize = 4_096;

impl Family for Mistral {
    fn model_types(&self) -> &'static [&'static str] {
        &["mistral"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["MistralForSequenceClassification", "MistralForCausalLM"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let mut anatomy = keys.resolve(&DEFAULTS)?;
        anatomy.ropes = vec![config::read::<RopeKeys>(bytes)?.rope(anatomy.rope_of())?];
        // transformers leaves `layer_types` to other families.
        anatomy.windows = vec![keys.window(Some(WINDOW))?; anatomy.layers];
        Ok(Box::new(anatomy.decoder(&common, weights)?))
    }
}
