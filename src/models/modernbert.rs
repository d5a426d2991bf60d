//! ModernBERT (Warner et al. 2024): rotary positions, layers that see all tokens between layers that see a window,
//! a gated feed-forward, hardly a bias, and a head on the first token or on the mean of all.

use serde::Deserialize;

use super::config::{self, Common, Sizes};
use super::embeddings::{Embeddings, Step};
use super::encoder::{Encoder, Layer, Mixing, NormPlace};
use super::head::{Dense, Head};
use super::text_encoder::TextEncoder;
use super::{About, Capabilities, Family, LoadError, Model, Reads, Spec, Weights};
use crate::hub::ModelFolder;
use crate::input::Kind;
use crate::nn::{Activation, LayerNorm, Rope, RopeScaling, Window};

pub struct ModernBert;

/// The keys of `ModernBertConfig` that matter to a forward, with its defaults.
#[derive(Deserialize)]
#[serde(default)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    hidden_activation: String,
    max_position_embeddings: usize,
    norm_eps: f64,
    norm_bias: bool,
    attention_bias: bool,
    mlp_bias: bool,
    /// Since transformers 5; `None`: by `global_attn_every_n_layers`.
    layer_types: Option<Vec<String>>,
    global_attn_every_n_layers: usize,
    local_attention: usize,
    /// Since transformers 5; before, the two thetas.
    rope_parameters: Option<RopeParameters>,
    global_rope_theta: f64,
    local_rope_theta: Option<f64>,
    rope_scaling: Option<serde_json::Value>,
    classifier_pooling: String,
    classifier_bias: bool,
    classifier_activation: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            vocab_size: 50_368,
            hidden_size: 768,
            intermediate_size: 1_152,
            num_hidden_layers: 22,
            num_attention_heads: 12,
            hidden_activation: "gelu".into(),
            max_position_embeddings: 8_192,
            norm_eps: 1e-5,
            norm_bias: false,
            attention_bias: false,
            mlp_bias: false,
            layer_types: None,
            global_attn_every_n_layers: 3,
            local_attention: 128,
            rope_parameters: None,
            global_rope_theta: 160_000.0,
            local_rope_theta: None,
            rope_scaling: None,
            classifier_pooling: "cls".into(),
            classifier_bias: false,
            classifier_activation: "gelu".into(),
        }
    }
}

/// By kind of layer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct RopeParameters {
    full_attention: Option<RopeOf>,
    sliding_attention: Option<RopeOf>,
}

#[derive(Deserialize)]
struct RopeOf {
    rope_type: Option<String>,
    rope_theta: Option<f64>,
}

const LOCAL_THETA: f64 = 10_000.0;

impl Config {
    fn sizes(&self) -> Result<Sizes, LoadError> {
        Sizes {
            hidden: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            intermediate: self.intermediate_size,
        }
        .check()
    }

    /// For each layer, whether it sees a window alone.
    fn sliding(&self) -> Result<Vec<bool>, LoadError> {
        let layers = self.num_hidden_layers;
        let Some(kinds) = &self.layer_types else {
            config::check("global_attn_every_n_layers", self.global_attn_every_n_layers, 1, 1_000)?;
            return Ok((0..layers).map(|layer| !layer.is_multiple_of(self.global_attn_every_n_layers)).collect());
        };
        config::sliding_layers(kinds, layers)
    }

    /// Of layers that see all tokens, and of those that see a window.
    fn ropes(&self) -> Result<Vec<Rope>, LoadError> {
        if self.rope_scaling.is_some() {
            return Err(config::invalid("rope_scaling", "is not supported"));
        }
        let parameters = self.rope_parameters.as_ref();
        let own = [
            ("full_attention", parameters.and_then(|own| own.full_attention.as_ref()), Some(self.global_rope_theta)),
            ("sliding_attention", parameters.and_then(|own| own.sliding_attention.as_ref()), self.local_rope_theta),
        ];
        let rope = |(kind, own, theta): (&str, Option<&RopeOf>, Option<f64>)| {
            if let Some(other) = own.and_then(|own| own.rope_type.as_deref()).filter(|name| *name != "default") {
                let detail = format!("\"{other}\" is not supported; supported is default");
                return Err(config::invalid(&format!("rope_parameters.{kind}.rope_type"), detail));
            }
            let theta = own.and_then(|own| own.rope_theta).or(theta).unwrap_or(LOCAL_THETA);
            let depth = self.hidden_size / self.num_attention_heads;
            Rope::new(theta, depth, RopeScaling::None)
                .map_err(|error| config::invalid(&format!("rope_parameters.{kind}"), error.to_string()))
        };
        own.into_iter().map(rope).collect()
    }

    fn reads(&self) -> Result<Reads, LoadError> {
        match self.classifier_pooling.as_str() {
            "cls" => Ok(Reads::First),
            "mean" => Ok(Reads::Mean),
            other => {
                let detail = format!("\"{other}\" is not known; known are cls, mean");
                Err(config::invalid("classifier_pooling", detail))
            }
        }
    }

    fn spec(&self, common: &Common) -> Result<Spec, LoadError> {
        let labels = common.labels()?;
        let about = common.about();
        Ok(Spec {
            architecture: "modernbert".into(),
            kind: Kind::Text,
            problem: common.problem(labels.len())?,
            labels,
            about,
            hidden: self.hidden_size,
            embedding: self.hidden_size,
            layers: self.num_hidden_layers,
            heads: self.num_attention_heads,
            max_positions: config::check("max_position_embeddings", self.max_position_embeddings, 1, 1 << 20)?,
            vocab: config::check("vocab_size", self.vocab_size, 1, 1 << 22)?,
            token_types: 0,
            image: None,
            reads: if about == About::Sequence { self.reads()? } else { Reads::Each },
            capabilities: Capabilities::of_transformers().with(&[self.activation_of_head()?]),
        })
    }

    fn norm(&self, weights: &Weights<'_>, name: &str) -> Result<LayerNorm, LoadError> {
        let epsilon = config::epsilon_of("norm_eps", self.norm_eps)?;
        match self.norm_bias {
            true => weights.layer_norm(name, self.hidden_size, epsilon),
            false => weights.layer_norm_unbiased(name, self.hidden_size, epsilon),
        }
    }

    fn layer(&self, weights: &Weights<'_>, index: usize, sliding: bool) -> Result<Layer, LoadError> {
        let name = |part: &str| format!("model.layers.{index}.{part}");
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        // `local_attention` counts both sides of a token.
        let reach = self.local_attention / 2;
        let window = sliding.then_some(Window { left: reach, right: reach });
        Ok(Layer {
            qkv: weights.linear(&name("attn.Wqkv"), hidden, 3 * hidden, self.attention_bias)?,
            mixing: Mixing::Rotary { rope: usize::from(sliding), window },
            output: weights.linear(&name("attn.Wo"), hidden, hidden, self.attention_bias)?,
            attention_norm: (index > 0).then(|| self.norm(weights, &name("attn_norm"))).transpose()?,
            up: weights.linear(&name("mlp.Wi"), hidden, 2 * inner, self.mlp_bias)?,
            down: weights.linear(&name("mlp.Wo"), inner, hidden, self.mlp_bias)?,
            feed_forward_norm: self.norm(weights, &name("mlp_norm"))?,
        })
    }

    fn encoder(&self, weights: &Weights<'_>) -> Result<Encoder, LoadError> {
        let layers =
            self.sliding()?.into_iter().enumerate().map(|(index, sliding)| self.layer(weights, index, sliding));
        let layers = layers.collect::<Result<_, _>>()?;
        let activation = config::activation_of("hidden_activation", &self.hidden_activation)?;
        let plain = Encoder::new(layers, self.num_attention_heads, activation, NormPlace::Before);
        Ok(Encoder { gated: true, ropes: self.ropes()?, ..plain })
    }

    fn activation_of_head(&self) -> Result<Activation, LoadError> {
        config::activation_of("classifier_activation", &self.classifier_activation)
    }

    /// The same for sequences, tokens and spans.
    fn head(&self, weights: &Weights<'_>, labels: usize) -> Result<Head, LoadError> {
        let hidden = self.hidden_size;
        weights.require_head(&["head.dense", "classifier"], self.classifier_bias)?;
        let dense = Dense {
            linear: weights.linear("head.dense", hidden, hidden, self.classifier_bias)?,
            activation: self.activation_of_head()?,
            norm: Some(self.norm(weights, "head.norm")?),
        };
        Ok(Head { dense: Some(dense), out: weights.linear("classifier", hidden, labels, true)? })
    }
}

impl Family for ModernBert {
    fn model_types(&self) -> &'static [&'static str] {
        &["modernbert"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["ModernBertForSequenceClassification", "ModernBertForTokenClassification", "ModernBertForQuestionAnswering"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (common, config): (Common, Config) = (config::read(bytes)?, config::read(bytes)?);
        config.sizes()?;
        let spec = config.spec(&common)?;
        let words = weights.embedding("model.embeddings.tok_embeddings", config.vocab_size, config.hidden_size)?;
        let norm = config.norm(weights, "model.embeddings.norm")?;
        Ok(Box::new(TextEncoder {
            embeddings: Embeddings {
                words,
                positions: None,
                types: None,
                steps: vec![Step::Norm(norm)],
                width: config.hidden_size,
            },
            encoder: config.encoder(weights)?,
            norm: Some(config.norm(weights, "model.final_norm")?),
            head: config.head(weights, spec.labels.len())?,
            spec,
        }))
    }
}
