//! ELECTRA's discriminator (Clark et al. 2020) as a classifier: BERT with embeddings of their own width and a GELU in
//! the head.

use super::bert_like::{Defaults, Keys, LayerNames, Names};
use super::config::{self, Common};
use super::embeddings::Step;
use super::encoder::NormPlace;
use super::head::{Head, HeadNames};
use super::text_encoder::TextEncoder;
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;

pub struct Electra;

const DEFAULTS: Defaults =
    Defaults { embedding: Some(128), hidden: 256, heads: 4, intermediate: 1_024, ..Defaults::BERT };
const NAMES: Names =
    Names { embeddings: "electra.embeddings", layers: "electra.encoder.layer", layer: &LayerNames::BERT };
const HEAD: HeadNames = HeadNames { dense: "classifier.dense", out: "classifier.out_proj" };

impl Family for Electra {
    fn model_types(&self) -> &'static [&'static str] {
        &["electra"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["ElectraForSequenceClassification", "ElectraForTokenClassification", "ElectraForQuestionAnswering"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let anatomy = keys.resolve(&DEFAULTS)?;
        let (spec, hidden) = (anatomy.spec(&common)?, anatomy.sizes.hidden);
        let mut embeddings = anatomy.embeddings(weights, &NAMES)?;
        if anatomy.embedding != hidden {
            let projection = weights.linear("electra.embeddings_project", anatomy.embedding, hidden, true)?;
            embeddings.steps.push(Step::Project(projection));
        }
        Ok(Box::new(TextEncoder {
            embeddings,
            encoder: anatomy.encoder(weights, &NAMES, NormPlace::After)?,
            norm: None,
            // transformers has "gelu" here whatever `hidden_act` and `summary_activation` say.
            head: Head::load(weights, &HEAD, config::activation("gelu")?, hidden, &spec)?,
            spec,
        }))
    }
}
