//! XLM-RoBERTa-XL (Goyal et al. 2021): RoBERTa normalised before every block and once behind the last, with no norm
//! behind its embeddings.

use super::bert_like::{Defaults, Keys, LayerNames, Names};
use super::config::{self, Common};
use super::encoder::NormPlace;
use super::head::Head;
use super::text_encoder::TextEncoder;
use super::{Family, LoadError, Model, Weights, roberta};
use crate::hub::ModelFolder;
use crate::nn::Activation;

pub struct XlmRobertaXl;

const DEFAULTS: Defaults = Defaults {
    vocab: 250_880,
    hidden: 2_560,
    layers: 36,
    heads: 32,
    intermediate: 10_240,
    positions: 514,
    types: 1,
    epsilon: 1e-5,
    ..Defaults::BERT
};
const NAMES: Names = Names {
    embeddings: "roberta.embeddings",
    layers: "roberta.encoder.layer",
    layer: &LayerNames {
        attention_norm: "attention.self_attn_layer_norm",
        feed_forward_norm: "LayerNorm",
        ..LayerNames::BERT
    },
};

impl Family for XlmRobertaXl {
    fn model_types(&self) -> &'static [&'static str] {
        &["xlm-roberta-xl"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &[
            "XLMRobertaXLForSequenceClassification",
            "XLMRobertaXLForTokenClassification",
            "XLMRobertaXLForQuestionAnswering",
        ]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let anatomy = keys.resolve_from_pad(&DEFAULTS, roberta::PAD)?;
        let (spec, hidden) = (anatomy.spec(&common)?, anatomy.sizes.hidden);
        Ok(Box::new(TextEncoder {
            embeddings: anatomy.tables(weights, &NAMES)?,
            encoder: anatomy.encoder(weights, &NAMES, NormPlace::Before)?,
            norm: Some(weights.layer_norm("roberta.encoder.LayerNorm", hidden, anatomy.epsilon)?),
            head: Head::load(weights, &roberta::HEAD, Activation::TANH, hidden, &spec)?,
            spec,
        }))
    }
}
