//! DistilBERT (Sanh et al. 2019): half of BERT's layers, no token types, and a ReLU in the head.

use serde::Deserialize;

use super::bert_like::{Anatomy, Defaults, LayerNames, Names};
use super::config::{self, Common, Sizes};
use super::embeddings::Count;
use super::encoder::NormPlace;
use super::head::{Head, HeadNames, MaskNames};
use super::text_encoder::TextEncoder;
use super::{About, Family, LoadError, Model, Spec, Weights};
use crate::hub::ModelFolder;
use crate::nn::Activation;

pub struct DistilBert;

const NAMES: Names = Names {
    embeddings: "distilbert.embeddings",
    layers: "distilbert.transformer.layer",
    layer: &LayerNames {
        query: "attention.q_lin",
        key: "attention.k_lin",
        value: "attention.v_lin",
        output: "attention.out_lin",
        attention_norm: "sa_layer_norm",
        up: "ffn.lin1",
        down: "ffn.lin2",
        feed_forward_norm: "output_layer_norm",
    },
};
const HEAD: HeadNames = HeadNames { dense: "pre_classifier", out: "classifier" };
const MASKS: MaskNames = MaskNames {
    dense: "vocab_transform",
    norm: "vocab_layer_norm",
    decoder: "vocab_projector",
    bias: "vocab_projector",
};
const WORDS: &str = "distilbert.embeddings.word_embeddings";
/// Fixed in the code of transformers, not in config.json.
const EPSILON: f32 = 1e-12;

/// `DistilBertConfig` has names of its own; transformers takes BERT's for three of them as well.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Keys {
    vocab_size: Option<usize>,
    max_position_embeddings: Option<usize>,
    dim: Option<usize>,
    hidden_size: Option<usize>,
    n_layers: Option<usize>,
    num_hidden_layers: Option<usize>,
    n_heads: Option<usize>,
    num_attention_heads: Option<usize>,
    hidden_dim: Option<usize>,
    activation: Option<String>,
}

impl Keys {
    fn resolve(&self) -> Result<Anatomy, LoadError> {
        let default = &Defaults::BERT;
        let sizes = Sizes {
            hidden: self.dim.or(self.hidden_size).unwrap_or(default.hidden),
            layers: self.n_layers.or(self.num_hidden_layers).unwrap_or(6),
            heads: self.n_heads.or(self.num_attention_heads).unwrap_or(default.heads),
            intermediate: self.hidden_dim.unwrap_or(default.intermediate),
        }
        .check_as(["dim", "n_layers", "n_heads", "hidden_dim"])?;
        let positions = self.max_position_embeddings.unwrap_or(default.positions);
        Ok(Anatomy {
            vocab: config::check("vocab_size", self.vocab_size.unwrap_or(default.vocab), 1, 1 << 22)?,
            embedding: sizes.hidden,
            sizes,
            activation: config::activation_of("activation", self.activation.as_deref().unwrap_or("gelu"))?,
            positions: config::check("max_position_embeddings", positions, 1, 1 << 20)?,
            count: Some(Count::FromZero),
            types: 0,
            epsilon: EPSILON,
        })
    }
}

impl Family for DistilBert {
    fn model_types(&self) -> &'static [&'static str] {
        &["distilbert"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &[
            "DistilBertForSequenceClassification",
            "DistilBertForTokenClassification",
            "DistilBertForQuestionAnswering",
            "DistilBertForMaskedLM",
        ]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let anatomy = keys.resolve()?;
        let spec = anatomy.spec(&common)?;
        let tied = common.tied(true).then_some(WORDS);
        let head = match spec.about {
            About::Masked => Head::masks(weights, &MASKS, tied, anatomy.activation, EPSILON, &spec)?,
            _ => Head::load(weights, &HEAD, Activation::RELU, anatomy.sizes.hidden, &spec)?,
        };
        let spec = Spec { capabilities: spec.capabilities.with(&head.activations()), ..spec };
        Ok(Box::new(TextEncoder {
            embeddings: anatomy.embeddings(weights, &NAMES)?,
            encoder: anatomy.encoder(weights, &NAMES, NormPlace::After)?,
            norm: None,
            head,
            spec,
        }))
    }
}
