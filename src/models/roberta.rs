//! RoBERTa (Liu et al. 2019), and CamemBERT and XLM-RoBERTa, which are the same model trained on other texts.
//!
//! Positions are counted from the id of the pad token on ([`Count::FromPad`](super::embeddings::Count)), so a table of
//! 514 entries holds 512 tokens. There is no pooler: the head reads the first token.

use super::bert_like::{Defaults, Keys, LayerNames, Names};
use super::config::{self, Common};
use super::encoder::NormPlace;
use super::head::{Head, HeadNames, MaskNames};
use super::text_encoder::TextEncoder;
use super::{About, Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;
use crate::nn::Activation;

pub struct Roberta;

const NAMES: Names =
    Names { embeddings: "roberta.embeddings", layers: "roberta.encoder.layer", layer: &LayerNames::BERT };
/// Also XLM-RoBERTa-XL's.
pub const HEAD: HeadNames = HeadNames { dense: "classifier.dense", out: "classifier.out_proj" };
const MASKS: MaskNames =
    MaskNames { dense: "lm_head.dense", norm: "lm_head.layer_norm", decoder: "lm_head.decoder", bias: "lm_head" };
const WORDS: &str = "roberta.embeddings.word_embeddings";
/// `pad_token_id` where config.json names none.
pub const PAD: u32 = 1;

impl Family for Roberta {
    fn model_types(&self) -> &'static [&'static str] {
        &["roberta", "camembert", "xlm-roberta"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &[
            "RobertaForSequenceClassification",
            "CamembertForSequenceClassification",
            "XLMRobertaForSequenceClassification",
            "RobertaForTokenClassification",
            "CamembertForTokenClassification",
            "XLMRobertaForTokenClassification",
            "RobertaForQuestionAnswering",
            "CamembertForQuestionAnswering",
            "XLMRobertaForQuestionAnswering",
            "RobertaForMaskedLM",
            "CamembertForMaskedLM",
            "XLMRobertaForMaskedLM",
        ]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let vocab = if common.model_type.as_deref() == Some("roberta") { 50_265 } else { Defaults::BERT.vocab };
        let anatomy = keys.resolve_from_pad(&Defaults { vocab, ..Defaults::BERT }, PAD)?;
        let spec = anatomy.spec(&common)?;
        let tied = common.tied(true).then_some(WORDS);
        let head = match spec.about {
            // The activation is not that of config.json.
            About::Masked => Head::masks(weights, &MASKS, tied, Activation::GELU, anatomy.epsilon, &spec)?,
            _ => Head::load(weights, &HEAD, Activation::TANH, anatomy.sizes.hidden, &spec)?,
        };
        Ok(Box::new(TextEncoder {
            embeddings: anatomy.embeddings(weights, &NAMES)?,
            encoder: anatomy.encoder(weights, &NAMES, NormPlace::After)?,
            norm: None,
            head,
            spec,
        }))
    }
}
