//! BERT (Devlin et al. 2018) with a head over the whole text, its tokens, or its masks, as transformers'
//! `BertForSequenceClassification`, `BertForMaskedLM` and their like.

use super::bert_like::{Defaults, Keys, LayerNames, Names};
use super::config::{self, Common};
use super::encoder::NormPlace;
use super::head::{Head, HeadNames, MaskNames};
use super::text_encoder::TextEncoder;
use super::{About, Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;
use crate::nn::Activation;

pub struct Bert;

const NAMES: Names = Names { embeddings: "bert.embeddings", layers: "bert.encoder.layer", layer: &LayerNames::BERT };
const HEAD: HeadNames = HeadNames { dense: "bert.pooler.dense", out: "classifier" };
const MASKS: MaskNames = MaskNames {
    dense: "cls.predictions.transform.dense",
    norm: "cls.predictions.transform.LayerNorm",
    decoder: "cls.predictions.decoder",
    bias: "cls.predictions",
};
const WORDS: &str = "bert.embeddings.word_embeddings";

impl Family for Bert {
    fn model_types(&self) -> &'static [&'static str] {
        &["bert"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering", "BertForMaskedLM"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let anatomy = keys.resolve(&Defaults::BERT)?;
        let spec = anatomy.spec(&common)?;
        let tied = common.tied(true).then_some(WORDS);
        let head = match spec.about {
            About::Masked => Head::masks(weights, &MASKS, tied, anatomy.activation, anatomy.epsilon, &spec)?,
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
