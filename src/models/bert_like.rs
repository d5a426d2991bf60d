//! What BERT and the families after it share: the keys of config.json, the names of the tensors, and how both become
//! the parts of a [`TextEncoder`](super::text_encoder::TextEncoder).

use serde::Deserialize;

use super::config::{self, Common, Sizes};
use super::embeddings::{Count, Embeddings, Positions, Step};
use super::encoder::{Encoder, Layer, Mixing, NormPlace};
use super::{About, Capabilities, LoadError, Reads, Spec, Weights};
use crate::input::Kind;
use crate::nn::{Activation, Linear};

/// The keys of config.json that matter to a forward. A family's own defaults stand in [`Defaults`].
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Keys {
    vocab_size: Option<usize>,
    embedding_size: Option<usize>,
    hidden_size: Option<usize>,
    num_hidden_layers: Option<usize>,
    num_attention_heads: Option<usize>,
    intermediate_size: Option<usize>,
    hidden_act: Option<String>,
    max_position_embeddings: Option<usize>,
    type_vocab_size: Option<usize>,
    layer_norm_eps: Option<f64>,
    pad_token_id: Option<u32>,
    position_embedding_type: Option<String>,
    is_decoder: Option<bool>,
}

/// What transformers takes where config.json says nothing.
pub struct Defaults {
    pub vocab: usize,
    /// `None`: as wide as the hidden states.
    pub embedding: Option<usize>,
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate: usize,
    pub activation: &'static str,
    pub positions: usize,
    pub types: usize,
    pub epsilon: f64,
}

impl Defaults {
    /// Those of `BertConfig`.
    pub const BERT: Self = Self {
        vocab: 30_522,
        embedding: None,
        hidden: 768,
        layers: 12,
        heads: 12,
        intermediate: 3_072,
        activation: "gelu",
        positions: 512,
        types: 2,
        epsilon: 1e-12,
    };
}

/// What a model is made of, checked.
pub struct Anatomy {
    pub vocab: usize,
    /// Columns of the embedding tables.
    pub embedding: usize,
    pub sizes: Sizes,
    pub activation: Activation,
    /// Entries of the position table; without one, the longest row.
    pub positions: usize,
    /// `None`: no position is added to the embeddings.
    pub count: Option<Count>,
    pub types: usize,
    pub epsilon: f32,
}

impl Keys {
    /// # Errors
    /// Names the key whose value is out of bounds or asks for something that is not built.
    pub fn resolve(&self, defaults: &Defaults) -> Result<Anatomy, LoadError> {
        let sizes = Sizes {
            hidden: self.hidden_size.unwrap_or(defaults.hidden),
            layers: self.num_hidden_layers.unwrap_or(defaults.layers),
            heads: self.num_attention_heads.unwrap_or(defaults.heads),
            intermediate: self.intermediate_size.unwrap_or(defaults.intermediate),
        }
        .check()?;
        if self.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err(config::invalid("position_embedding_type", "only \"absolute\" is supported"));
        }
        if self.is_decoder == Some(true) {
            return Err(config::invalid("is_decoder", "a decoder is not supported"));
        }
        let embedding = self.embedding_size.or(defaults.embedding).unwrap_or(sizes.hidden);
        let activation = self.hidden_act.as_deref().unwrap_or(defaults.activation);
        Ok(Anatomy {
            vocab: config::check("vocab_size", self.vocab_size.unwrap_or(defaults.vocab), 1, 1 << 22)?,
            embedding: config::check("embedding_size", embedding, 1, 65_536)?,
            sizes,
            activation: config::activation(activation)?,
            positions: config::check(
                "max_position_embeddings",
                self.max_position_embeddings.unwrap_or(defaults.positions),
                1,
                1 << 20,
            )?,
            count: Some(Count::FromZero),
            types: config::check("type_vocab_size", self.type_vocab_size.unwrap_or(defaults.types), 0, 1_024)?,
            epsilon: config::epsilon(self.layer_norm_eps.unwrap_or(defaults.epsilon))?,
        })
    }

    /// The same, with positions counted as RoBERTa does, from `pad_token_id` on.
    ///
    /// # Errors
    /// As [`Keys::resolve`], and where the pad's id leaves no position for a token.
    pub fn resolve_from_pad(&self, defaults: &Defaults, pad: u32) -> Result<Anatomy, LoadError> {
        let mut anatomy = self.resolve(defaults)?;
        anatomy.count = Some(Count::FromPad(self.pad_token_id.unwrap_or(pad)));
        if anatomy.longest() == 0 {
            let detail = format!("leaves none of {} positions for a token", anatomy.positions);
            return Err(config::invalid("pad_token_id", detail));
        }
        Ok(anatomy)
    }
}

/// Names of a family's tensors.
pub struct Names {
    /// What the tables' and their norm's names begin with.
    pub embeddings: &'static str,
    /// What a layer's names begin with, before its number.
    pub layers: &'static str,
    pub layer: &'static LayerNames,
}

/// Names of a layer's parts, behind the layer's own.
pub struct LayerNames {
    pub query: &'static str,
    pub key: &'static str,
    pub value: &'static str,
    pub output: &'static str,
    pub attention_norm: &'static str,
    pub up: &'static str,
    pub down: &'static str,
    pub feed_forward_norm: &'static str,
}

impl LayerNames {
    /// `BertLayer`'s, which most families took over.
    pub const BERT: Self = Self {
        query: "attention.self.query",
        key: "attention.self.key",
        value: "attention.self.value",
        output: "attention.output.dense",
        attention_norm: "attention.output.LayerNorm",
        up: "intermediate.dense",
        down: "output.dense",
        feed_forward_norm: "output.LayerNorm",
    };
}

impl Anatomy {
    /// The longest row in tokens.
    pub fn longest(&self) -> usize {
        self.count.map_or(self.positions, |count| count.longest(self.positions))
    }

    /// # Errors
    /// Labels that config.json gets wrong.
    pub fn spec(&self, common: &Common) -> Result<Spec, LoadError> {
        let labels = common.labels()?;
        let about = common.about();
        Ok(Spec {
            architecture: common.model_type.clone().unwrap_or_default(),
            kind: Kind::Text,
            problem: common.problem(labels.len())?,
            labels,
            about,
            hidden: self.sizes.hidden,
            embedding: self.embedding,
            layers: self.sizes.layers,
            heads: self.sizes.heads,
            max_positions: self.longest(),
            vocab: self.vocab,
            // The one type of a model is every token's, whatever a tokenizer says.
            token_types: if self.types > 1 { self.types } else { 0 },
            image: None,
            reads: if about == About::Sequence { Reads::First } else { Reads::Each },
            capabilities: Capabilities::of_transformers().with(&[self.activation]),
        })
    }

    /// The tables, without what follows their sum.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn tables(&self, weights: &Weights<'_>, names: &Names) -> Result<Embeddings, LoadError> {
        let table = |part: &str, entries: usize| {
            weights.embedding(&format!("{}.{part}", names.embeddings), entries, self.embedding)
        };
        let positions = self.count.map(|count| -> Result<_, LoadError> {
            Ok(Positions { table: table("position_embeddings", self.positions)?, count })
        });
        let types = (self.types > 0).then(|| table("token_type_embeddings", self.types)).transpose()?;
        Ok(Embeddings {
            words: table("word_embeddings", self.vocab)?,
            positions: positions.transpose()?,
            types,
            steps: Vec::new(),
            width: self.embedding,
        })
    }

    /// The tables and the layer norm behind their sum.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn embeddings(&self, weights: &Weights<'_>, names: &Names) -> Result<Embeddings, LoadError> {
        let norm = weights.layer_norm(&format!("{}.LayerNorm", names.embeddings), self.embedding, self.epsilon)?;
        Ok(Embeddings { steps: vec![Step::Norm(norm)], ..self.tables(weights, names)? })
    }

    /// One layer per number under `names.layers`, each normalised as `norm` says.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn encoder(&self, weights: &Weights<'_>, names: &Names, norm: NormPlace) -> Result<Encoder, LoadError> {
        let layer = |index: usize| self.layer(weights, &format!("{}.{index}", names.layers), names.layer);
        let layers = (0..self.sizes.layers).map(layer).collect::<Result<_, _>>()?;
        Ok(self.encoder_of(layers, norm))
    }

    pub fn encoder_of(&self, layers: Vec<Layer>, norm: NormPlace) -> Encoder {
        Encoder::new(layers, self.sizes.heads, self.activation, norm)
    }

    /// The layer whose tensors begin with `prefix`.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn layer(&self, weights: &Weights<'_>, prefix: &str, names: &LayerNames) -> Result<Layer, LoadError> {
        let projections = [names.query, names.key, names.value].map(|part| format!("{prefix}.{part}"));
        let projections = projections.each_ref().map(|name| (name.as_str(), self.sizes.hidden));
        let qkv = weights.stacked(&projections, self.sizes.hidden, true)?;
        self.layer_around(qkv, weights, prefix, names)
    }

    /// The same around a projection that is there already.
    ///
    /// # Errors
    /// A tensor that is missing or of another shape.
    pub fn layer_around(
        &self,
        qkv: Linear,
        weights: &Weights<'_>,
        prefix: &str,
        names: &LayerNames,
    ) -> Result<Layer, LoadError> {
        let name = |part: &str| format!("{prefix}.{part}");
        let Sizes { hidden, intermediate, .. } = self.sizes;
        let norm = |part: &str| weights.layer_norm(&name(part), hidden, self.epsilon);
        Ok(Layer {
            qkv,
            mixing: Mixing::Plain,
            output: weights.linear(&name(names.output), hidden, hidden, true)?,
            attention_norm: Some(norm(names.attention_norm)?),
            up: weights.linear(&name(names.up), hidden, intermediate, true)?,
            down: weights.linear(&name(names.down), intermediate, hidden, true)?,
            feed_forward_norm: norm(names.feed_forward_norm)?,
        })
    }
}
