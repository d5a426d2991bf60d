//! DeBERTa (He et al. 2020, 2021): relative positions in attention ([`Disentangled`]), mostly none in the embeddings.
//! The first (`model_type` `deberta`) packs a layer's projections head by head; v2 and v3 (`deberta-v2`) have them
//! apart, put far distances into buckets, and v2's larger models have a convolution beside their first layer.

use std::sync::Arc;

use serde::Deserialize;

use super::bert_like::{Anatomy, Defaults, Keys, LayerNames, Names};
use super::config::{self, Common};
use super::embeddings::{Embeddings, Step};
use super::encoder::{Convolution, Encoder, Layer, Mixing, NormPlace};
use super::head::{Head, HeadNames};
use super::text_encoder::TextEncoder;
use super::{Family, LoadError, Model, Spec, Weights};
use crate::hub::ModelFolder;
use crate::nn::{Array, Disentangled, Distances, Linear, Node, Tape};

pub struct Deberta;
pub struct DebertaV2;

const FIRST_DEFAULTS: Defaults = Defaults { vocab: 50_265, types: 0, epsilon: 1e-7, ..Defaults::BERT };
const DEFAULTS: Defaults = Defaults {
    vocab: 128_100,
    embedding: None,
    hidden: 1_536,
    layers: 24,
    heads: 24,
    intermediate: 6_144,
    activation: "gelu",
    positions: 512,
    types: 0,
    epsilon: 1e-7,
};
const NAMES: Names = Names {
    embeddings: "deberta.embeddings",
    layers: "deberta.encoder.layer",
    layer: &LayerNames {
        query: "attention.self.query_proj",
        key: "attention.self.key_proj",
        value: "attention.self.value_proj",
        ..LayerNames::BERT
    },
};
const HEAD: HeadNames = HeadNames { dense: "pooler.dense", out: "classifier" };

#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    First,
    Second,
}

/// The keys that DeBERTa alone has.
#[derive(Deserialize)]
#[serde(default)]
struct Own {
    relative_attention: bool,
    /// Below 1: as many as `max_position_embeddings`.
    max_relative_positions: i64,
    /// Below 1: every distance has an entry of its own.
    position_buckets: i64,
    position_biased_input: bool,
    pos_att_type: Option<Kinds>,
    share_att_key: bool,
    norm_rel_ebd: String,
    conv_kernel_size: usize,
    conv_groups: usize,
    conv_act: String,
    pooler_hidden_act: String,
    pooler_hidden_size: Option<usize>,
    attention_head_size: Option<usize>,
    talking_head: bool,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            relative_attention: false,
            max_relative_positions: -1,
            position_buckets: -1,
            position_biased_input: true,
            pos_att_type: None,
            share_att_key: false,
            norm_rel_ebd: "none".into(),
            conv_kernel_size: 0,
            conv_groups: 1,
            conv_act: "tanh".into(),
            pooler_hidden_act: "gelu".into(),
            pooler_hidden_size: None,
            attention_head_size: None,
            talking_head: false,
        }
    }
}

/// `pos_att_type`: `"c2p|p2c"` or a list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kinds {
    Joined(String),
    List(Vec<String>),
}

impl Own {
    fn has(&self, kind: &str) -> bool {
        match &self.pos_att_type {
            Some(Kinds::Joined(kinds)) => kinds.to_lowercase().split('|').any(|own| own.trim() == kind),
            Some(Kinds::List(kinds)) => kinds.iter().any(|own| own == kind),
            None => false,
        }
    }

    fn check(&self, anatomy: &Anatomy) -> Result<(), LoadError> {
        let (hidden, heads) = (anatomy.sizes.hidden, anatomy.sizes.heads);
        if self.pooler_hidden_size.is_some_and(|size| size != hidden) {
            return Err(config::invalid("pooler_hidden_size", format!("only hidden_size ({hidden}) is supported")));
        }
        if self.attention_head_size.is_some_and(|size| size * heads != hidden) {
            let detail = format!("{heads} heads of it are not hidden_size {hidden}");
            return Err(config::invalid("attention_head_size", detail));
        }
        if self.conv_kernel_size > 0 {
            config::check("conv_kernel_size", self.conv_kernel_size, 1, 99)?;
            config::check("conv_groups", self.conv_groups, 1, hidden)?;
            if self.conv_kernel_size.is_multiple_of(2) {
                return Err(config::invalid("conv_kernel_size", "an even number does not keep the text's length"));
            }
            if !hidden.is_multiple_of(self.conv_groups) {
                return Err(config::invalid("conv_groups", format!("does not divide hidden_size {hidden}")));
            }
        }
        Ok(())
    }

    fn distances(&self, positions: usize) -> Result<Distances, LoadError> {
        let furthest = match usize::try_from(self.max_relative_positions) {
            Ok(furthest) if furthest > 0 => config::check("max_relative_positions", furthest, 1, 1 << 20)?,
            _ => positions,
        };
        match usize::try_from(self.position_buckets) {
            Ok(span) if span > 0 => {
                // One or two buckets have no logarithm to tell them apart by.
                config::check("position_buckets", span, 4, 1 << 20)?;
                config::check("max_relative_positions", furthest, span / 2 + 2, 1 << 20)?;
                Ok(Distances { span, logarithmic: Some(furthest) })
            }
            _ => Ok(Distances { span: furthest, logarithmic: None }),
        }
    }
}

impl Family for Deberta {
    fn model_types(&self) -> &'static [&'static str] {
        &["deberta"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["DebertaForSequenceClassification", "DebertaForTokenClassification", "DebertaForQuestionAnswering"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        load(Version::First, folder, weights)
    }
}

impl Family for DebertaV2 {
    fn model_types(&self) -> &'static [&'static str] {
        &["deberta-v2"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["DebertaV2ForSequenceClassification", "DebertaV2ForTokenClassification", "DebertaV2ForQuestionAnswering"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        load(Version::Second, folder, weights)
    }
}

fn load(version: Version, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
    let bytes = folder.file("config.json").unwrap_or_default();
    let (common, keys, mut own): (Common, Keys, Own) =
        (config::read(bytes)?, config::read(bytes)?, config::read(bytes)?);
    let mut anatomy = keys.resolve(if version == Version::First { &FIRST_DEFAULTS } else { &DEFAULTS })?;
    if version == Version::First {
        if own.talking_head {
            return Err(config::invalid("talking_head", "is not supported"));
        }
        // Keys that the first version does not know.
        (own.position_buckets, own.conv_kernel_size, own.attention_head_size) = (-1, 0, None);
        (own.share_att_key, own.norm_rel_ebd) = (false, "none".into());
    }
    own.check(&anatomy)?;
    if !own.position_biased_input {
        anatomy.count = None;
    }
    let spec = anatomy.spec(&common)?;
    let activation = config::activation_of("pooler_hidden_act", &own.pooler_hidden_act)?;
    let encoder = encoder(version, &anatomy, &own, weights)?;
    let head = Head::load(weights, &HEAD, activation, anatomy.sizes.hidden, &spec)?;
    let convolved = encoder.convolution.iter().map(|convolution| convolution.activation);
    let capabilities = spec.capabilities.with(&convolved.chain(head.activations()).collect::<Vec<_>>());
    let spec = Spec { capabilities, ..spec };
    Ok(Box::new(TextEncoder { embeddings: embeddings(&anatomy, weights)?, encoder, norm: None, head, spec }))
}

/// Projected before the norm, where ELECTRA projects behind it.
fn embeddings(anatomy: &Anatomy, weights: &Weights<'_>) -> Result<Embeddings, LoadError> {
    let (hidden, mut steps) = (anatomy.sizes.hidden, Vec::new());
    if anatomy.embedding != hidden {
        let projection = weights.linear("deberta.embeddings.embed_proj", anatomy.embedding, hidden, false)?;
        steps.push(Step::Project(projection));
    }
    steps.push(Step::Norm(weights.layer_norm("deberta.embeddings.LayerNorm", hidden, anatomy.epsilon)?));
    Ok(Embeddings { steps, ..anatomy.tables(weights, &NAMES)? })
}

fn encoder(version: Version, anatomy: &Anatomy, own: &Own, weights: &Weights<'_>) -> Result<Encoder, LoadError> {
    let distances = own.distances(anatomy.positions)?;
    let positions =
        own.relative_attention.then(|| relative_embeddings(anatomy, own, distances, weights)).transpose()?;
    let layer = |index: usize| -> Result<Layer, LoadError> {
        let prefix = format!("{}.{index}", NAMES.layers);
        let layer = match version {
            Version::First => {
                let qkv = packed_projection(anatomy, &format!("{prefix}.attention.self"), weights)?;
                anatomy.layer_around(qkv, weights, &prefix, NAMES.layer)?
            }
            Version::Second => anatomy.layer(weights, &prefix, NAMES.layer)?,
        };
        let (keys, queries) = match &positions {
            Some(positions) => tables(version, anatomy, own, positions, (&layer, &prefix), weights)?,
            None => (None, None),
        };
        // Kinds named in `pos_att_type` count in the scale whether or not positions are relative.
        let kinds = 1 + usize::from(own.has("c2p")) + usize::from(own.has("p2c"));
        let scale = 1.0 / ((anatomy.sizes.hidden / anatomy.sizes.heads * kinds) as f32).sqrt();
        let attention = Disentangled { heads: anatomy.sizes.heads, scale, distances, keys, queries };
        Ok(Layer { mixing: Mixing::Disentangled(Arc::new(attention)), ..layer })
    };
    let layers = (0..anatomy.sizes.layers).map(layer).collect::<Result<_, _>>()?;
    let convolution = (own.conv_kernel_size > 0).then(|| convolution(anatomy, own, weights)).transpose()?;
    Ok(Encoder { convolution, ..anatomy.encoder_of(layers, NormPlace::After) })
}

/// One row for every distance, 2 · span in all.
fn relative_embeddings(
    anatomy: &Anatomy,
    own: &Own,
    distances: Distances,
    weights: &Weights<'_>,
) -> Result<Node, LoadError> {
    let (entries, hidden) = (2 * distances.span, anatomy.sizes.hidden);
    let table = weights.tensor("deberta.encoder.rel_embeddings.weight", &[entries, hidden])?;
    let table = Node::constant(Array::new(table, entries, hidden));
    if !own.norm_rel_ebd.to_lowercase().split('|').any(|part| part.trim() == "layer_norm") {
        return Ok(table);
    }
    let norm = weights.layer_norm("deberta.encoder.LayerNorm", hidden, anatomy.epsilon)?;
    Ok(norm.forward(&mut Tape::new(&(), false), &table)?)
}

type PositionTable = Option<Arc<Vec<f32>>>;

/// A layer's projections of the relative embeddings: keys for content to position, queries for position to content.
fn tables(
    version: Version,
    anatomy: &Anatomy,
    own: &Own,
    positions: &Node,
    (layer, prefix): (&Layer, &str),
    weights: &Weights<'_>,
) -> Result<(PositionTable, PositionTable), LoadError> {
    let hidden = anatomy.sizes.hidden;
    let project = |linear: &Linear| linear.forward(&mut Tape::new(&(), false), positions);
    if own.share_att_key {
        // The content's own projection, whose columns are queries, keys and values.
        let qkv = project(&layer.qkv)?;
        let part = |part: usize| -> PositionTable {
            let rows = qkv.value().chunks_exact(3 * hidden);
            Some(Arc::new(rows.flat_map(|row| &row[part * hidden..][..hidden]).copied().collect()))
        };
        return Ok((part(1).filter(|_| own.has("c2p")), part(0).filter(|_| own.has("p2c"))));
    }
    let table = |kind: &str, name: &str, bias: bool| -> Result<PositionTable, LoadError> {
        if !own.has(kind) {
            return Ok(None);
        }
        let linear = weights.linear(&format!("{prefix}.attention.self.{name}"), hidden, hidden, bias)?;
        Ok(Some(Arc::new(project(&linear)?.value().to_vec())))
    };
    match version {
        Version::First => Ok((table("c2p", "pos_proj", false)?, table("p2c", "pos_q_proj", true)?)),
        Version::Second => Ok((table("c2p", "pos_key_proj", true)?, table("p2c", "pos_query_proj", true)?)),
    }
}

/// The first version's `in_proj`: query, key and value of one head behind one another, then those of the next; keys
/// have no bias.
fn packed_projection(anatomy: &Anatomy, prefix: &str, weights: &Weights<'_>) -> Result<Linear, LoadError> {
    let (hidden, heads) = (anatomy.sizes.hidden, anatomy.sizes.heads);
    let packed = weights.tensor(&format!("{prefix}.in_proj.weight"), &[3 * hidden, hidden])?;
    let head = hidden / heads * hidden;
    let part = |part: usize| {
        (0..heads).flat_map({
            let packed = &packed;
            move |index| &packed[(3 * index + part) * head..][..head]
        })
    };
    let weight: Vec<f32> = (0..3).flat_map(part).copied().collect();
    let mut bias = weights.tensor(&format!("{prefix}.q_bias"), &[hidden])?;
    bias.resize(2 * hidden, 0.0);
    bias.extend(weights.tensor(&format!("{prefix}.v_bias"), &[hidden])?);
    Ok(Linear::new(weight, Some(bias), hidden, 3 * hidden)?)
}

/// `torch.nn.Conv1d`'s weight (outputs × inputs of a group × width) as a linear layer over `width` tokens side by side.
fn convolution(anatomy: &Anatomy, own: &Own, weights: &Weights<'_>) -> Result<Convolution, LoadError> {
    let (hidden, width) = (anatomy.sizes.hidden, own.conv_kernel_size);
    let inputs = hidden / own.conv_groups;
    let kernel = weights.tensor("deberta.encoder.conv.conv.weight", &[hidden, inputs, width])?;
    let bias = weights.tensor("deberta.encoder.conv.conv.bias", &[hidden])?;
    let mut weight = vec![0.0; hidden * width * hidden];
    for (output, kernel) in kernel.chunks_exact(inputs * width).enumerate() {
        let first = output / inputs * inputs;
        for (input, kernel) in kernel.chunks_exact(width).enumerate() {
            for (place, value) in kernel.iter().enumerate() {
                weight[(output * width + place) * hidden + first + input] = *value;
            }
        }
    }
    Ok(Convolution {
        width,
        linear: Linear::new(weight, Some(bias), width * hidden, hidden)?,
        activation: config::activation_of("conv_act", &own.conv_act)?,
        norm: weights.layer_norm("deberta.encoder.conv.LayerNorm", hidden, anatomy.epsilon)?,
    })
}
