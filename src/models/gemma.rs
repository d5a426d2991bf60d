//! Gemma 2 and the text models of Gemma 3 (Gemma Team 2024, 2025) with a sequence-classification or a language model's
//! head: norms before and behind both blocks, layers that see a window between layers that see all. Gemma 2 caps its
//! scores and a language model's logits; Gemma 3 has norms of every head's queries and keys, and another rope where
//! layers see a window, and a classifier of it may let every token see both sides (`use_bidirectional_attention`).

use serde::Deserialize;

use super::config::{self, Common};
use super::llama_like::{Anatomy, Defaults, Keys};
use super::rope::{RopeKeys, RopeParameters};
use super::{About, Family, LoadError, Model, Weights};
use crate::hub::ModelFolder;
use crate::nn::{Rope, Softcap};

pub struct Gemma2;
pub struct Gemma3;

const GEMMA2: Defaults = Defaults {
    vocab: 256_000,
    hidden: 2_304,
    layers: 26,
    heads: 8,
    kv_heads: Some(4),
    depth: Some(256),
    intermediate: 9_216,
    activation: "gelu_pytorch_tanh",
    positions: 8_192,
    epsilon: 1e-6,
    pad: Some(0),
    tied: true,
};
const GEMMA3: Defaults = Defaults { vocab: 262_208, positions: 131_072, ..GEMMA2 };
const WINDOW: usize = 4_096;
const GLOBAL_THETA: f64 = 1_000_000.0;

#[derive(Deserialize)]
#[serde(default)]
struct Own {
    attention_bias: bool,
    query_pre_attn_scalar: f64,
    use_bidirectional_attention: Option<bool>,
    /// Gemma 2 alone: transformers has it in Gemma 3's keys as well and leaves it out of its attention.
    #[serde(deserialize_with = "config::nullable")]
    attn_logit_softcapping: Option<Option<f64>>,
    /// Of a language model's logits; 30 in Gemma 2 where nothing is said.
    #[serde(deserialize_with = "config::nullable")]
    final_logit_softcapping: Option<Option<f64>>,
    /// Gemma 3: every so many layers one sees all tokens.
    sliding_window_pattern: usize,
}

impl Default for Own {
    fn default() -> Self {
        Self {
            attention_bias: false,
            query_pre_attn_scalar: 256.0,
            use_bidirectional_attention: None,
            attn_logit_softcapping: None,
            final_logit_softcapping: None,
            sliding_window_pattern: 6,
        }
    }
}

/// Gemma 3's ropes: transformers 5 has one entry a kind of layer.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Ropes {
    rope_parameters: ByLayer,
    rope_theta: Option<f64>,
    rope_scaling: Option<RopeParameters>,
    rope_local_base_freq: Option<f64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ByLayer {
    full_attention: Option<RopeParameters>,
    sliding_attention: Option<RopeParameters>,
}

/// What both share.
fn resolve(bytes: &[u8], defaults: &Defaults, keys: &Keys, own: &Own) -> Result<(Common, Anatomy), LoadError> {
    let mut anatomy = keys.resolve(defaults)?;
    anatomy.gemma = Some((anatomy.hidden as f64).sqrt() as f32);
    anatomy.qkv_bias = own.attention_bias;
    anatomy.output_bias = own.attention_bias;
    let scalar = positive("query_pre_attn_scalar", own.query_pre_attn_scalar)?;
    anatomy.attention.scale = (1.0 / scalar.sqrt()) as f32;
    Ok((config::read(bytes)?, anatomy))
}

impl Own {
    /// Whether tokens see those behind them as well, which Gemma 3's classifiers can.
    ///
    /// # Errors
    /// A language model, which would see what it is to say.
    fn both_sides(&self, common: &Common, known: bool) -> Result<bool, LoadError> {
        let asked = self.use_bidirectional_attention == Some(true);
        if asked && (!known || common.about() == About::Next) {
            let detail = "is for Gemma 3 with a sequence-classification head alone: a language model must not see what \
                          follows; set it to false";
            return Err(config::invalid("use_bidirectional_attention", detail));
        }
        Ok(asked)
    }

    fn softcap(&self, default: Option<f64>) -> Result<Option<Softcap>, LoadError> {
        let cap = self.final_logit_softcapping.unwrap_or(default);
        let cap = cap.map(|cap| positive("final_logit_softcapping", cap)).transpose()?;
        Ok(cap.map(|cap| Softcap { cap: cap as f32 }))
    }
}

fn positive(key: &str, value: f64) -> Result<f64, LoadError> {
    if value > 0.0 { Ok(value) } else { Err(config::invalid(key, format!("{value} is not above 0"))) }
}

impl Ropes {
    /// Of layers that see all tokens, and of those that see a window.
    fn resolve(self, anatomy: &Anatomy) -> Result<Vec<Rope>, LoadError> {
        let ByLayer { full_attention, sliding_attention } = self.rope_parameters;
        let (key, mut full) = match self.rope_scaling {
            Some(scaling) => ("rope_scaling", scaling),
            None => ("rope_parameters.full_attention", full_attention.unwrap_or_default()),
        };
        full.rope_theta = full.rope_theta.or(self.rope_theta).or(Some(GLOBAL_THETA));
        let mut local = sliding_attention.unwrap_or_default();
        local.rope_theta = local.rope_theta.or(self.rope_local_base_freq);
        let (depth, positions) = (anatomy.attention.depth, anatomy.positions);
        Ok(vec![full.rope(key, depth, positions)?, local.rope("rope_parameters.sliding_attention", depth, positions)?])
    }
}

impl Family for Gemma2 {
    fn model_types(&self) -> &'static [&'static str] {
        &["gemma2"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Gemma2ForSequenceClassification", "Gemma2ForCausalLM"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (keys, own): (Keys, Own) = (config::read(bytes)?, config::read(bytes)?);
        let (common, mut anatomy) = resolve(bytes, &GEMMA2, &keys, &own)?;
        own.both_sides(&common, false)?;
        anatomy.ropes = vec![config::read::<RopeKeys>(bytes)?.rope(anatomy.rope_of())?];
        let cap = own.attn_logit_softcapping.unwrap_or(Some(50.0));
        let cap = cap.map(|cap| positive("attn_logit_softcapping", cap)).transpose()?;
        anatomy.attention.softcap = cap.map(|cap| cap as f32);
        anatomy.softcap = own.softcap(Some(30.0))?;
        let sliding = keys.sliding(&anatomy, |layer| layer.is_multiple_of(2))?;
        anatomy.see(&sliding, keys.window(Some(WINDOW))?)?;
        Ok(Box::new(anatomy.decoder(&common, weights)?))
    }
}

impl Family for Gemma3 {
    fn model_types(&self) -> &'static [&'static str] {
        &["gemma3_text"]
    }

    fn architectures(&self) -> &'static [&'static str] {
        &["Gemma3TextForSequenceClassification", "Gemma3ForCausalLM"]
    }

    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError> {
        let bytes = folder.file("config.json").unwrap_or_default();
        let (keys, own): (Keys, Own) = (config::read(bytes)?, config::read(bytes)?);
        let (common, mut anatomy) = resolve(bytes, &GEMMA3, &keys, &own)?;
        anatomy.ropes = config::read::<Ropes>(bytes)?.resolve(&anatomy)?;
        anatomy.head_norms = true;
        anatomy.softcap = own.softcap(None)?;
        let both_sides = own.both_sides(&common, true)?;
        anatomy.attention.causal = !both_sides;
        let every = config::check("sliding_window_pattern", own.sliding_window_pattern, 1, 1_000)?;
        let sliding = keys.sliding(&anatomy, |layer| !(layer + 1).is_multiple_of(every))?;
        let mut window = keys.window(Some(WINDOW))?;
        if let Some(window) = window.as_mut().filter(|_| both_sides) {
            // Half of it on each side; `left` is one less than the whole.
            let half = window.left.div_ceil(2);
            (window.left, window.right) = (half, half);
        }
        anatomy.see(&sliding, window)?;
        Ok(Box::new(anatomy.decoder(&common, weights)?))
    }
}
