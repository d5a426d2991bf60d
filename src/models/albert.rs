//! ALBERT (Lan et al. 2019): narrow embeddings projected once, and layers that share their weights. A group's layers
//! are loaded once and applied again and again; each application has its own attention map.

use serde::Deserialize;

use super::bert_like::{Defaults, Keys, LayerNames, Names};
use super::config::{self, Common};
use super::embeddings::Step;
use super::encoder::{Layer, NormPlace};
use super::head::{Head, HeadNames};
use super::text_encoder::TextEncoder;
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;
use crate::nn::Activation;

pub struct Albert;

const DEFAULTS: Defaults = Defaults {
    vocab: 30_000,
    embedding: Some(128),
    hidden: 4_096,
    heads: 64,
    intermediate: 16_384,
    activation: "gelu_new",
    ..Defaults::BERT
};
const NAMES: Names = Names {
    embeddings: "albert.embeddings",
    layers: "albert.encoder.albert_layer_groups",
    layer: &LayerNames {
        query: "attention.query",
        key: "attention.key",
        value: "attention.value",
        output: "attention.dense",
        attention_norm: "attention.LayerNorm",
        up: "ffn",
        down: "ffn_output",
        feed_forward_norm: "full_layer_layer_norm",
    },
};
const HEAD: HeadNames = HeadNames { dense: "albert.pooler", out: "classifier" };

/// The keys that ALBERT alone has.
#[derive(Deserialize)]
#[serde(default)]
struct Sharing {
    num_hidden_groups: usize,
    inner_group_num: usize,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { num_hidden_groups: 1, inner_group_num: 1 }
    }
}

impl Family for Albert {
    fn model_types(&self) -> &'static [&'static str] {
        &["albert"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["AlbertForSequenceClassification", "AlbertForTokenClassification", "AlbertForQuestionAnswering"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys): (Common, Keys) = (config::read(bytes)?, config::read(bytes)?);
        let sharing: Sharing = config::read(bytes)?;
        let anatomy = keys.resolve(&DEFAULTS)?;
        let (mut spec, hidden, rounds) = (anatomy.spec(&common)?, anatomy.sizes.hidden, anatomy.sizes.layers);
        config::check("num_hidden_groups", sharing.num_hidden_groups, 1, rounds)?;
        config::check("inner_group_num", sharing.inner_group_num, 1, 1_000)?;
        spec.layers = rounds * sharing.inner_group_num;

        let layer = |group: usize, inner: usize| {
            anatomy.layer(weights, &format!("{}.{group}.albert_layers.{inner}", NAMES.layers), NAMES.layer)
        };
        let group = |group: usize| (0..sharing.inner_group_num).map(|inner| layer(group, inner)).collect();
        let groups: Vec<Vec<Layer>> = (0..sharing.num_hidden_groups).map(group).collect::<Result<_, LoadError>>()?;
        // transformers divides in floating point, so a round on a border may fall into the group before.
        let per_group = rounds as f64 / groups.len() as f64;
        let layers = (0..rounds).flat_map(|round| groups[(round as f64 / per_group) as usize].clone()).collect();

        let mut embeddings = anatomy.embeddings(weights, &NAMES)?;
        let projection =
            weights.linear("albert.encoder.embedding_hidden_mapping_in", anatomy.embedding, hidden, true)?;
        embeddings.steps.push(Step::Project(projection));
        Ok(Box::new(TextEncoder {
            embeddings,
            encoder: anatomy.encoder_of(layers, NormPlace::After),
            norm: None,
            head: Head::load(weights, &HEAD, Activation::TANH, hidden, &spec)?,
            spec,
        }))
    }
}
