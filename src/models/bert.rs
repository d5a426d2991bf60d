//! BERT (Devlin et al. 2018) with a sequence-classification head, as transformers' `BertForSequenceClassification`.

use super::bert_like::{Defaults, Keys, LayerNames, Names};
use super::config::{self, Common};
use super::encoder::NormPlace;
use super::head::{Head, HeadNames};
use super::text_encoder::TextEncoder;
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;
use crate::nn::Activation;

pub struct Bert;

const NAMES: Names = Names { embeddings: "bert.embeddings", layers: "bert.encoder.layer", layer: &LayerNames::BERT };
const HEAD: HeadNames = HeadNames { dense: "bert.pooler.dense", out: "classifier" };

impl Family for Bert {
    fn model_types(&self) -> &'static [&'static str] {
        &["bert"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["BertForSequenceClassification", "BertForTokenClassification", "BertForQuestionAnswering"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let anatomy = keys.resolve(&Defaults::BERT)?;
        let spec = anatomy.spec(&common)?;
        Ok(Box::new(TextEncoder {
            embeddings: anatomy.embeddings(weights, &NAMES)?,
            encoder: anatomy.encoder(weights, &NAMES, NormPlace::After)?,
            norm: None,
            head: Head::load(weights, &HEAD, Activation::TANH, anatomy.sizes.hidden, &spec)?,
            spec,
        }))
    }
}
