//! Phi-3, 3.5 and 4 mini (Abdin et al. 2024) with a sequence-classification or a language model's head: Llama with fused projections, of
//! whose heads a part may turn.

use super::config::{self, Common};
use super::llama_like::{Defaults, Keys};
use super::rope::RopeKeys;
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;

pub struct Phi3;

const DEFAULTS: Defaults = Defaults {
    vocab: 32_064,
    hidden: 3_072,
    intermediate: 8_192,
    positions: 4_096,
    epsilon: 1e-5,
    pad: Some(32_000),
    ..Defaults::LLAMA
};
const ORIGINAL_POSITIONS: usize = 4_096;

impl Family for Phi3 {
    fn model_types(&self) -> &'static [&'static str] {
        &["phi3"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Phi3ForSequenceClassification", "Phi3ForCausalLM"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let mut anatomy = keys.resolve(&DEFAULTS)?;
        let ropes = config::read::<RopeKeys>(bytes)?;
        anatomy.ropes = vec![ropes.partial_rope(anatomy.rope_of(), ORIGINAL_POSITIONS)?];
        anatomy.windows = vec![keys.window(None)?; anatomy.layers];
        anatomy.fused = true;
        Ok(Box::new(anatomy.decoder(&common, weights)?))
    }
}
