//! What Llama and the families after it share: the keys of config.json, the names of the tensors, and how both become
//! the parts of a [`Decoder`](super::decoder::Decoder).

use serde::Deserialize;

use super::config::{self, Common};
use super::decoder::{Decoder, Layer, Norm, score};
use super::embeddings::Embeddings;
use super::rope::RopeOf;
use super::{About, Capabilities, LoadError, Reads, Spec, Weights};
use crate::input::Kind;
use crate::nn::{Activation, Attention, Embedding, Linear, QueryKeyNorm, Rope, Softcap, Window};

/// The keys of config.json that matter to a forward. A family's own defaults stand in [`Defaults`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Keys {
    vocab_size: Option<usize>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    /// Gemma's name for it.
    hidden_activation: Option<String>,
    max_position_embeddings: Option<usize>,
    rms_norm_eps: Option<f64>,
    /// Null: the head reads the last token whatever it is. Some files have −1, which no token is.
    #[serde(deserialize_with = "config::nullable")]
    pad_token_id: Option<Option<i64>>,
    /// Null: no window.
    #[serde(deserialize_with = "config::nullable")]
    sliding_window: Option<Option<usize>>,
    layer_types: Option<Vec<String>>,
}

/// What transformers takes where config.json says nothing.
pub struct Defaults {
    pub vocab: usize,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    /// `None`: as many as heads.
    pub kv_heads: Option<usize>,
    /// Columns of a head. `None`: the hidden size's share.
    pub depth: Option<usize>,
    pub intermediate: usize,
    pub activation: &'static str,
    pub positions: usize,
    pub epsilon: f64,
    pub pad: Option<u32>,
    /// A language model's logits come from the word embeddings.
    pub tied: bool,
}

impl Defaults {
    /// Those of `LlamaConfig`.
    pub const LLAMA: Self = Self {
        vocab: 32_000,
        hidden: 4_096,
        layers: 32,
        heads: 32,
        kv_heads: None,
        depth: None,
        intermediate: 11_008,
        activation: "silu",
        positions: 2_048,
        epsilon: 1e-6,
        pad: None,
        tied: false,
    };
}

/// What a model is made of, checked. A family changes what is its own before it loads.
pub struct Anatomy {
    pub vocab: usize,
    pub hidden: usize,
    pub layers: usize,
    /// As every layer has it, but for its window.
    pub attention: Attention,
    pub intermediate: usize,
    pub activation: Activation,
    pub positions: usize,
    pub epsilon: f32,
    pub pad: Option<u32>,
    pub tied: bool,
    /// Of a language model's logits.
    pub softcap: Option<Softcap>,
    /// For each layer, which window it sees, if any. Empty: none sees one.
    pub windows: Vec<Option<Window>>,
    /// Of the layers that see all tokens, then of those that see a window; where there is one, it is all layers'.
    pub ropes: Vec<Rope>,
    /// Biases of the projections to queries, keys and values.
    pub qkv_bias: bool,
    /// Of the projection behind the attention.
    pub output_bias: bool,
    pub feed_forward_bias: bool,
    /// Norms of every head's queries and keys.
    pub head_norms: bool,
    /// `Some`: Gemma, whose norms add 1 to their weights and stand before and behind both blocks, and whose embeddings
    /// are multiplied with this number.
    pub gemma: Option<f32>,
    /// Queries, keys and values stand in one tensor, and so do the gate's halves.
    pub fused: bool,
}

impl Keys {
    /// # Errors
    /// Names the key whose value is out of bounds or asks for something that is not built.
    pub fn resolve(&self, defaults: &Defaults) -> Result<Anatomy, LoadError> {
        let hidden = config::check("hidden_size", self.hidden_size.unwrap_or(defaults.hidden), 1, 65_536)?;
        let layers = self.num_hidden_layers.unwrap_or(defaults.layers);
        let intermediate = self.intermediate_size.unwrap_or(defaults.intermediate);
        let activation = match (&self.hidden_activation, &self.hidden_act) {
            (Some(name), _) => ("hidden_activation", name.as_str()),
            (None, name) => ("hidden_act", name.as_deref().unwrap_or(defaults.activation)),
        };
        let positions = self.max_position_embeddings.unwrap_or(defaults.positions);
        let pad = self.pad_token_id.map(|id| id.and_then(|id| u32::try_from(id).ok()));
        Ok(Anatomy {
            vocab: config::check("vocab_size", self.vocab_size.unwrap_or(defaults.vocab), 1, 1 << 22)?,
            hidden,
            layers: config::check("num_hidden_layers", layers, 1, 1_000)?,
            attention: self.attention(defaults, hidden)?,
            intermediate: config::check("intermediate_size", intermediate, 1, 1 << 20)?,
            activation: config::activation_of(activation.0, activation.1)?,
            positions: config::check("max_position_embeddings", positions, 1, 1 << 28)?,
            epsilon: config::epsilon_of("rms_norm_eps", self.rms_norm_eps.unwrap_or(defaults.epsilon))?,
            pad: pad.unwrap_or(defaults.pad),
            tied: defaults.tied,
            softcap: None,
            windows: Vec::new(),
            ropes: Vec::new(),
            qkv_bias: false,
            output_bias: false,
            feed_forward_bias: false,
            head_norms: false,
            gemma: None,
            fused: false,
        })
    }

    fn attention(&self, defaults: &Defaults, hidden: usize) -> Result<Attention, LoadError> {
        let heads = config::check("num_attention_heads", self.num_attention_heads.unwrap_or(defaults.heads), 1, 4_096)?;
        let kv_heads = self.num_key_value_heads.or(defaults.kv_heads).unwrap_or(heads);
        config::check("num_key_value_heads", kv_heads, 1, heads)?;
        if !heads.is_multiple_of(kv_heads) {
            let detail = format!("{kv_heads} does not divide num_attention_heads {heads}");
            return Err(config::invalid("num_key_value_heads", detail));
        }
        let depth = match self.head_dim.or(defaults.depth) {
            Some(depth) => depth,
            None if hidden.is_multiple_of(heads) => hidden / heads,
            None => {
                let detail = format!("{heads} does not divide hidden_size {hidden}");
                return Err(config::invalid("num_attention_heads", detail));
            }
        };
        let depth = config::check("head_dim", depth, 1, 4_096)?;
        Ok(Attention { kv_heads, causal: true, ..Attention::new(heads, depth) })
    }

    /// The window of `sliding_window`, if any; `default` where config.json does not have the key.
    ///
    /// # Errors
    /// A window of no token.
    pub fn window(&self, default: Option<usize>) -> Result<Option<Window>, LoadError> {
        let Some(size) = self.sliding_window.unwrap_or(default) else { return Ok(None) };
        // It counts the query itself.
        Ok(Some(Window { left: config::check("sliding_window", size, 1, usize::MAX)? - 1, right: 0 }))
    }

    /// For each layer of `anatomy`, whether it sees a window alone; as `pattern` says where config.json does not list
    /// `layer_types`.
    ///
    /// # Errors
    /// A list of another length or with another kind of layer.
    pub fn sliding(&self, anatomy: &Anatomy, pattern: impl Fn(usize) -> bool) -> Result<Vec<bool>, LoadError> {
        match &self.layer_types {
            Some(kinds) => config::sliding_layers(kinds, anatomy.layers),
            None => Ok((0..anatomy.layers).map(pattern).collect()),
        }
    }
}

impl Anatomy {
    /// What a rope is made for.
    pub fn rope_of(&self) -> RopeOf {
        RopeOf { depth: self.attention.depth, max_positions: self.positions }
    }

    /// The layers that `sliding` names see `window`.
    ///
    /// # Errors
    /// There is one and no window.
    pub fn see(&mut self, sliding: &[bool], window: Option<Window>) -> Result<(), LoadError> {
        if window.is_none() && sliding.contains(&true) {
            return Err(config::invalid("sliding_window", "there is none, and layers that need one"));
        }
        self.windows = sliding.iter().map(|sliding| window.filter(|_| *sliding)).collect();
        Ok(())
    }

    /// # Errors
    /// Labels that config.json gets wrong; a tensor that is missing or of another shape.
    pub fn decoder(self, common: &Common, weights: &Weights<'_>) -> Result<Decoder, LoadError> {
        let spec = self.spec(common)?;
        let layers = (0..self.layers).map(|index| self.layer(weights, index)).collect::<Result<_, _>>()?;
        let embeddings =
            Embeddings { words: self.words(weights)?, positions: None, types: None, steps: vec![], width: self.hidden };
        Ok(Decoder {
            embeddings,
            layers,
            activation: self.activation,
            gated: true,
            norm: self.norm(weights, "model.norm")?,
            score: score(weights, &spec, ("model.embed_tokens", common.tied(self.tied)))?,
            softcap: self.softcap.filter(|_| spec.about == About::Next),
            ropes: self.ropes,
            spec,
        })
    }

    fn spec(&self, common: &Common) -> Result<Spec, LoadError> {
        let labels = common.labels()?;
        Ok(Spec {
            about: common.about(),
            architecture: common.model_type.clone().unwrap_or_default(),
            kind: Kind::Text,
            problem: common.problem(labels.len())?,
            labels,
            hidden: self.hidden,
            embedding: self.hidden,
            layers: self.layers,
            heads: self.attention.heads,
            max_positions: self.positions,
            vocab: self.vocab,
            token_types: 0,
            image: None,
            reads: if common.about() == About::Next { Reads::Each } else { Reads::Last { pad: self.pad } },
            capabilities: Capabilities::of_transformers(),
        })
    }

    fn words(&self, weights: &Weights<'_>) -> Result<Embedding, LoadError> {
        let name = "model.embed_tokens";
        match self.gemma {
            Some(factor) => weights.scaled_embedding(name, self.vocab, self.hidden, factor),
            None => weights.embedding(name, self.vocab, self.hidden),
        }
    }

    fn layer(&self, weights: &Weights<'_>, index: usize) -> Result<Layer, LoadError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let norm = |part: &str| self.norm(weights, &name(part));
        let window = self.windows.get(index).copied().flatten();
        let Attention { heads, depth, .. } = self.attention;
        let gemma = self.gemma.is_some();
        Ok(Layer {
            attention_norm: norm("input_layernorm")?,
            qkv: self.qkv(weights, &name)?,
            head_norm: self.head_norms.then(|| self.head_norm(weights, &name)).transpose()?,
            rope: Some(usize::from(window.is_some()).min(self.ropes.len().saturating_sub(1))),
            attention: Attention { window, ..self.attention },
            output: weights.linear(&name("self_attn.o_proj"), heads * depth, self.hidden, self.output_bias)?,
            attended_norm: gemma.then(|| norm("post_attention_layernorm")).transpose()?,
            feed_forward_norm: norm(if gemma { "pre_feedforward_layernorm" } else { "post_attention_layernorm" })?,
            up: self.up(weights, &name)?,
            down: weights.linear(&name("mlp.down_proj"), self.intermediate, self.hidden, self.feed_forward_bias)?,
            fed_norm: gemma.then(|| norm("post_feedforward_layernorm")).transpose()?,
        })
    }

    fn norm(&self, weights: &Weights<'_>, name: &str) -> Result<Norm, LoadError> {
        Ok(Norm::Rms(weights.rms_norm(name, self.hidden, self.epsilon, self.norm_offset())?))
    }

    fn norm_offset(&self) -> f32 {
        if self.gemma.is_some() { 1.0 } else { 0.0 }
    }

    fn head_norm(&self, weights: &Weights<'_>, name: &dyn Fn(&str) -> String) -> Result<QueryKeyNorm, LoadError> {
        let Attention { heads, kv_heads, depth, .. } = self.attention;
        let norm = |part: &str| weights.rms_norm(&name(part), depth, self.epsilon, self.norm_offset());
        Ok(QueryKeyNorm { query: norm("self_attn.q_norm")?, key: norm("self_attn.k_norm")?, heads, kv_heads })
    }

    fn qkv(&self, weights: &Weights<'_>, name: &dyn Fn(&str) -> String) -> Result<Linear, LoadError> {
        if self.fused {
            return weights.linear(&name("self_attn.qkv_proj"), self.hidden, self.attention.columns(), self.qkv_bias);
        }
        let Attention { heads, kv_heads, depth, .. } = self.attention;
        let parts = [("q_proj", heads), ("k_proj", kv_heads), ("v_proj", kv_heads)];
        let parts = parts.map(|(part, heads)| (name(&format!("self_attn.{part}")), heads * depth));
        weights.stacked(&parts.each_ref().map(|(name, width)| (name.as_str(), *width)), self.hidden, self.qkv_bias)
    }

    fn up(&self, weights: &Weights<'_>, name: &dyn Fn(&str) -> String) -> Result<Linear, LoadError> {
        if self.fused {
            let columns = 2 * self.intermediate;
            return weights.linear(&name("mlp.gate_up_proj"), self.hidden, columns, self.feed_forward_bias);
        }
        let parts = ["mlp.gate_proj", "mlp.up_proj"].map(name);
        let parts = parts.each_ref().map(|name| (name.as_str(), self.intermediate));
        weights.stacked(&parts, self.hidden, self.feed_forward_bias)
    }
}
