//! MPNet (Song et al. 2020): RoBERTa's positions, no token types, and relative positions as a bias that all layers'
//! scores share.

use serde::Deserialize;

use super::bert_like::{Defaults, Keys, LayerNames, Names};
use super::config::{self, Common};
use super::embeddings::Count;
use super::encoder::{NormPlace, RelativeBias};
use super::head::{Head, HeadNames};
use super::text_encoder::TextEncoder;
use super::{Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;
use crate::nn::Activation;

pub struct MpNet;

const DEFAULTS: Defaults = Defaults { vocab: 30_527, types: 0, ..Defaults::BERT };
const NAMES: Names = Names {
    embeddings: "mpnet.embeddings",
    layers: "mpnet.encoder.layer",
    layer: &LayerNames {
        query: "attention.attn.q",
        key: "attention.attn.k",
        value: "attention.attn.v",
        output: "attention.attn.o",
        attention_norm: "attention.LayerNorm",
        ..LayerNames::BERT
    },
};
const HEAD: HeadNames = HeadNames { dense: "classifier.dense", out: "classifier.out_proj" };
/// transformers has these three in its code; `pad_token_id` and `relative_attention_num_buckets` change neither where
/// positions begin nor which bucket a distance falls into.
const PAD: u32 = 1;
const BUCKETS: usize = 32;
const FURTHEST: usize = 128;

#[derive(Deserialize)]
#[serde(default)]
struct Own {
    relative_attention_num_buckets: usize,
}

impl Default for Own {
    fn default() -> Self {
        Self { relative_attention_num_buckets: BUCKETS }
    }
}

impl Family for MpNet {
    fn model_types(&self) -> &'static [&'static str] {
        &["mpnet"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["MPNetForSequenceClassification", "MPNetForTokenClassification", "MPNetForQuestionAnswering"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, keys, own): (Common, Keys, Own) =
            (config::read(bytes)?, config::read(bytes)?, config::read(bytes)?);
        let mut anatomy = keys.resolve(&DEFAULTS)?;
        anatomy.types = 0;
        anatomy.count = Some(Count::FromPad(PAD));
        config::check("max_position_embeddings", anatomy.positions, PAD as usize + 2, usize::MAX)?;
        let rows = own.relative_attention_num_buckets;
        config::check("relative_attention_num_buckets", rows, BUCKETS, 1 << 20)?;
        let (spec, heads) = (anatomy.spec(&common)?, anatomy.sizes.heads);
        let mut encoder = anatomy.encoder(weights, &NAMES, NormPlace::After)?;
        let table = weights.tensor("mpnet.encoder.relative_attention_bias.weight", &[rows, heads])?;
        encoder.bias = Some(RelativeBias { table, buckets: BUCKETS, furthest: FURTHEST });
        Ok(Box::new(TextEncoder {
            embeddings: anatomy.embeddings(weights, &NAMES)?,
            encoder,
            norm: None,
            head: Head::load(weights, &HEAD, Activation::TANH, anatomy.sizes.hidden, &spec)?,
            spec,
        }))
    }
}
