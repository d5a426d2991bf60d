//! GPT-2 (Radford et al. 2019) with a sequence-classification or a language model's head: learned positions, layer norms,
//! and weights stored inputs × outputs.

use serde::Deserialize;

use super::config::{self, Common, Sizes};
use super::decoder::{Decoder, Layer, Norm, score};
use super::embeddings::{Count, Embeddings, Positions};
use super::{About, Capabilities, Family, LoadError, Model, Reads, Spec, Weights};
use crate::hub::ModelFolder;
use crate::input::Kind;
use crate::nn::{Activation, Attention};

pub struct Gpt2;

/// The keys of `GPT2Config` that matter to a forward, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    n_positions: usize,
    n_embd: usize,
    n_layer: usize,
    n_head: usize,
    n_inner: Option<usize>,
    activation_function: String,
    layer_norm_epsilon: f64,
    scale_attn_weights: bool,
    scale_attn_by_inverse_layer_idx: bool,
    pad_token_id: Option<i64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50_257,
            n_positions: 1_024,
            n_embd: 768,
            n_layer: 12,
            n_head: 12,
            n_inner: None,
            activation_function: "gelu_new".into(),
            layer_norm_epsilon: 1e-5,
            scale_attn_weights: true,
            scale_attn_by_inverse_layer_idx: false,
            pad_token_id: None,
        }
    }
}

impl Config {
    fn sizes(&self) -> Result<Sizes, LoadError> {
        let intermediate = self.n_inner.unwrap_or(self.n_embd.saturating_mul(4));
        Sizes { hidden: self.n_embd, layers: self.n_layer, heads: self.n_head, intermediate }
            .check_as(["n_embd", "n_layer", "n_head", "n_inner"])
    }

    fn attention(&self, layer: usize) -> Attention {
        let plain = Attention { causal: true, ..Attention::new(self.n_head, self.n_embd / self.n_head) };
        let scale = if self.scale_attn_weights { plain.scale } else { 1.0 };
        let share = if self.scale_attn_by_inverse_layer_idx { layer + 1 } else { 1 };
        Attention { scale: scale / share as f32, ..plain }
    }

    fn spec(&self, common: &Common) -> Result<Spec, LoadError> {
        let labels = common.labels()?;
        Ok(Spec {
            about: common.about(),
            architecture: "gpt2".into(),
            kind: Kind::Text,
            problem: common.problem(labels.len())?,
            labels,
            hidden: self.n_embd,
            embedding: self.n_embd,
            layers: self.n_layer,
            heads: self.n_head,
            max_positions: config::check("n_positions", self.n_positions, 1, 1 << 20)?,
            vocab: config::check("vocab_size", self.vocab_size, 1, 1 << 22)?,
            token_types: 0,
            image: None,
            reads: match common.about() {
                About::Next => Reads::Each,
                _ => Reads::Last { pad: self.pad_token_id.and_then(|id| u32::try_from(id).ok()) },
            },
            capabilities: Capabilities::of_transformers().with(&[self.activation()?]),
        })
    }

    fn activation(&self) -> Result<Activation, LoadError> {
        config::activation_of("activation_function", &self.activation_function)
    }

    fn norm(&self, weights: &Weights<'_>, name: &str) -> Result<Norm, LoadError> {
        let epsilon = config::epsilon_of("layer_norm_epsilon", self.layer_norm_epsilon)?;
        Ok(Norm::Layer(weights.layer_norm(name, self.n_embd, epsilon)?))
    }

    fn layer(&self, weights: &Weights<'_>, index: usize, inner: usize) -> Result<Layer, LoadError> {
        let root = root(weights);
        let (name, hidden) = (|part: &str| format!("{root}h.{index}.{part}"), self.n_embd);
        Ok(Layer {
            attention_norm: self.norm(weights, &name("ln_1"))?,
            qkv: weights.conv1d(&name("attn.c_attn"), hidden, 3 * hidden)?,
            head_norm: None,
            rope: None,
            attention: self.attention(index),
            output: weights.conv1d(&name("attn.c_proj"), hidden, hidden)?,
            attended_norm: None,
            feed_forward_norm: self.norm(weights, &name("ln_2"))?,
            up: weights.conv1d(&name("mlp.c_fc"), hidden, inner)?,
            down: weights.conv1d(&name("mlp.c_proj"), inner, hidden)?,
            fed_norm: None,
        })
    }

    fn embeddings(&self, weights: &Weights<'_>) -> Result<Embeddings, LoadError> {
        let table = weights.embedding(&format!("{}wpe", root(weights)), self.n_positions, self.n_embd)?;
        Ok(Embeddings {
            words: weights.embedding(&format!("{}wte", root(weights)), self.vocab_size, self.n_embd)?,
            positions: Some(Positions { table, count: Count::FromZero }),
            types: None,
            steps: Vec::new(),
            width: self.n_embd,
        })
    }
}

/// What tensors' names begin with: nothing in OpenAI's own files.
fn root(weights: &Weights<'_>) -> &'static str {
    if weights.contains("wte.weight") { "" } else { "transformer." }
}

impl Family for Gpt2 {
    fn model_types(&self) -> &'static [&'static str] {
        &["gpt2"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["GPT2ForSequenceClassification", "GPT2LMHeadModel"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        let Sizes { layers, intermediate, .. } = config.sizes()?;
        let spec = config.spec(&common)?;
        let layers = (0..layers).map(|index| config.layer(weights, index, intermediate)).collect::<Result<_, _>>()?;
        Ok(Box::new(Decoder {
            embeddings: config.embeddings(weights)?,
            layers,
            activation: config.activation()?,
            gated: false,
            ropes: Vec::new(),
            norm: config.norm(weights, &format!("{}ln_f", root(weights)))?,
            score: score(weights, &spec, (&format!("{}wte", root(weights)), common.tied(true)))?,
            softcap: None,
            spec,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_scaled_as_config_json_says() {
        let config = Config { n_embd: 32, n_head: 2, ..Config::default() };
        assert_eq!([0, 3].map(|layer| config.attention(layer).scale), [0.25; 2]);
        let config = Config { scale_attn_by_inverse_layer_idx: true, ..config };
        assert_eq!([0, 3].map(|layer| config.attention(layer).scale), [0.25, 0.0625]);
        let config = Config { scale_attn_weights: false, ..config };
        assert_eq!([0, 3].map(|layer| config.attention(layer).scale), [1.0, 0.25]);
        assert!(config.attention(0).causal);
    }
}
