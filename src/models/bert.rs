//! BERT (Devlin et al. 2018) with a sequence-classification head, as transformers' `BertForSequenceClassification`.

use serde::Deserialize;

use super::batch::{Batch, Content};
use super::config::{self, Common, Sizes};
use super::encoder::{Encoder, Layer, NormPlace, Sequences, outputs};
use super::{Capabilities, Capability, Family, LoadError, Model, Outputs, Reads, Spec, TapPlan, Weights};
use crate::hub::ModelFolder;
use crate::input::Kind;
use crate::nn::{self, Activation, Array, Embedding, LayerNorm, Linear, Node, Tape, add_constant};

pub struct Bert;

impl Family for Bert {
    fn model_types(&self) -> &'static [&'static str] {
        &["bert"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["BertForSequenceClassification"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        Ok(Box::new(BertModel::new(&common, &config, weights)?))
    }
}

/// The keys of `BertConfig` that matter to a forward, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: String,
    max_position_embeddings: usize,
    type_vocab_size: usize,
    layer_norm_eps: f64,
    position_embedding_type: Option<String>,
    is_decoder: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3_072,
            hidden_act: "gelu".into(),
            max_position_embeddings: 512,
            type_vocab_size: 2,
            layer_norm_eps: 1e-12,
            position_embedding_type: None,
            is_decoder: false,
        }
    }
}

struct BertModel {
    spec: Spec,
    words: Embedding,
    positions: Embedding,
    types: Option<Embedding>,
    norm: LayerNorm,
    encoder: Encoder,
    pooler: Linear,
    classifier: Linear,
}

impl BertModel {
    fn new(common: &Common, config: &Config, weights: &Weights<'_>) -> Result<Self, LoadError> {
        let sizes = Sizes {
            hidden: config.hidden_size,
            layers: config.num_hidden_layers,
            heads: config.num_attention_heads,
            intermediate: config.intermediate_size,
        }
        .check()?;
        if config.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err(config::invalid("position_embedding_type", "only \"absolute\" is supported"));
        }
        if config.is_decoder {
            return Err(config::invalid("is_decoder", "a BERT decoder is not supported"));
        }
        config::check("vocab_size", config.vocab_size, 1, 1 << 22)?;
        config::check("max_position_embeddings", config.max_position_embeddings, 1, 1 << 20)?;
        config::check("type_vocab_size", config.type_vocab_size, 0, 1_024)?;
        let (labels, hidden) = (common.labels()?, sizes.hidden);
        let epsilon = config::epsilon(config.layer_norm_eps)?;
        let embeddings = |name: &str| format!("bert.embeddings.{name}");
        let types = (config.type_vocab_size > 0)
            .then(|| weights.embedding(&embeddings("token_type_embeddings"), config.type_vocab_size, hidden))
            .transpose()?;
        let layers = (0..sizes.layers).map(|index| layer(weights, index, &sizes, epsilon)).collect::<Result<_, _>>()?;
        Ok(Self {
            words: weights.embedding(&embeddings("word_embeddings"), config.vocab_size, hidden)?,
            positions: weights.embedding(&embeddings("position_embeddings"), config.max_position_embeddings, hidden)?,
            types,
            norm: weights.layer_norm(&embeddings("LayerNorm"), hidden, epsilon)?,
            encoder: Encoder {
                layers,
                heads: sizes.heads,
                activation: config::activation(&config.hidden_act)?,
                gated: false,
                norm: NormPlace::After,
            },
            pooler: weights.linear("bert.pooler.dense", hidden, hidden, true)?,
            classifier: weights.linear("classifier", hidden, labels.len(), true)?,
            spec: Spec {
                architecture: "bert".into(),
                kind: Kind::Text,
                problem: common.problem(labels.len())?,
                labels,
                hidden,
                layers: sizes.layers,
                heads: sizes.heads,
                max_positions: config.max_position_embeddings,
                vocab: config.vocab_size,
                token_types: config.type_vocab_size,
                image: None,
                reads: Reads::First,
                capabilities: Capabilities(vec![Capability::Forward, Capability::Gradient, Capability::Attention]),
            },
        })
    }

    /// Position and type embeddings of every packed token: constants of the forward.
    fn places(&self, batch: &Batch) -> Result<Array, nn::Error> {
        let positions: Vec<usize> = batch.rows.iter().flat_map(|row| 0..row.len()).collect();
        let count = positions.len();
        let mut sum = self.positions.look_up(positions.into_iter())?.into_vec();
        let Some(types) = &self.types else { return Ok(Array::new(sum, count, self.spec.hidden)) };
        let mut token = 0;
        for row in &batch.rows {
            let (Content::Tokens { type_ids, .. } | Content::Embedded { type_ids, .. }) = &row.content else {
                return Err(nn::Error::Shape { op: "bert", detail: "an image for a text model".into() });
            };
            for position in 0..row.len() {
                let entry = types.entry(type_ids.get(position).map_or(0, |&id| id as usize))?;
                let place = &mut sum[token * self.spec.hidden..][..self.spec.hidden];
                place.iter_mut().zip(entry).for_each(|(sum, entry)| *sum += entry);
                token += 1;
            }
        }
        Ok(Array::new(sum, count, self.spec.hidden))
    }
}

fn layer(weights: &Weights<'_>, index: usize, sizes: &Sizes, epsilon: f32) -> Result<Layer, LoadError> {
    let name = |part: &str| format!("bert.encoder.layer.{index}.{part}");
    let hidden = sizes.hidden;
    let square = |part: &str| weights.linear(&name(part), hidden, hidden, true);
    let projections = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
    let projections = projections.each_ref().map(|name| (name.as_str(), hidden));
    Ok(Layer {
        qkv: weights.stacked(&projections, hidden, true)?,
        output: square("attention.output.dense")?,
        bias: None,
        attention_norm: weights.layer_norm(&name("attention.output.LayerNorm"), hidden, epsilon)?,
        up: weights.linear(&name("intermediate.dense"), hidden, sizes.intermediate, true)?,
        down: weights.linear(&name("output.dense"), sizes.intermediate, hidden, true)?,
        feed_forward_norm: weights.layer_norm(&name("output.LayerNorm"), hidden, epsilon)?,
    })
}

impl Model for BertModel {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        let hidden = self.spec.hidden;
        let mut out = Vec::new();
        for row in &batch.rows {
            match &row.content {
                Content::Tokens { ids, .. } => {
                    out.extend_from_slice(self.words.look_up(ids.iter().map(|&id| id as usize))?.data());
                }
                Content::Embedded { values, tokens, .. } if values.len() == tokens * hidden => {
                    out.extend_from_slice(values);
                }
                _ => return Err(nn::Error::Shape { op: "bert", detail: "rows that are no text".into() }),
            }
        }
        let rows = out.len() / hidden;
        Ok(tape.variable(Array::new(out, rows, hidden)))
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let input = self.embed(tape, batch)?;
        let x = add_constant(tape, &input, &self.places(batch)?)?;
        let x = self.norm.forward(tape, &x)?;
        let offsets = batch.offsets();
        let read = batch.read();
        let (x, maps) = self.encoder.forward(tape, x, &Sequences { offsets, read }, taps)?;
        let pooled = self.pooler.forward_activated(tape, &x, Activation::TANH)?;
        let logits = self.classifier.forward(tape, &pooled)?;
        outputs(input, logits, maps)
    }
}
