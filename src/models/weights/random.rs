//! Weights with parts replaced by random numbers, for the check whether explanations depend on them (Adebayo et al. 2018,
//! "Sanity checks for saliency maps"). Which part a tensor belongs to is read from its name.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

use crate::numerics::sampling;

/// First parts of the names of a head's tensors.
const HEADS: [&str; 13] = [
    "classifier",
    "score",
    "cls",
    "lm_head",
    "vocab_transform",
    "vocab_layer_norm",
    "vocab_projector",
    "head",
    "pre_logits",
    "pooler",
    "qa_outputs",
    "logit_scale",
    "fc",
];
/// Words in the names of what stands before the first layer.
const BEFORE: [&str; 10] =
    ["embed", "wte", "wpe", "stem", "cls_token", "mask_token", "position", "register_tokens", "patch", "dist_token"];

/// A part of a model, in the order from the head down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All that stands after the last layer.
    Head,
    /// By how many layers stand above it.
    Layer(usize),
    /// All that stands before the first layer.
    Embeddings,
}

/// Which weights are random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Randomised {
    pub seed: u64,
    /// How many parts, from the head down.
    pub parts: usize,
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Head => formatter.write_str("head"),
            Self::Layer(above) => write!(formatter, "layer −{}", above + 1),
            Self::Embeddings => formatter.write_str("embeddings"),
        }
    }
}

/// The number of the layer that `name` belongs to, from below; `Err(true)` before the layers, `Err(false)` after them.
fn place(name: &str) -> Result<usize, bool> {
    let parts: Vec<&str> = name.split('.').collect();
    if parts.iter().any(|part| HEADS.contains(part)) {
        return Err(false);
    }
    if let Some(layer) = parts.iter().find_map(|part| part.parse().ok()) {
        return Ok(layer);
    }
    Err(BEFORE.iter().any(|word| name.contains(word)))
}

/// The parts that tensors of `names` belong to, from the head down.
pub fn parts<'a>(names: impl Iterator<Item = &'a str> + Clone) -> Vec<Part> {
    let last = last_layer(names.clone());
    let found: BTreeSet<Part> = names.map(|name| part(name, last)).collect();
    found.into_iter().collect()
}

/// The largest number of a layer.
pub(super) fn last_layer<'a>(names: impl Iterator<Item = &'a str>) -> usize {
    names.filter_map(|name| place(name).ok()).max().unwrap_or(0)
}

/// The part of the tensor `name` in a model whose last layer is `last`.
pub(super) fn part(name: &str, last: usize) -> Part {
    match place(name) {
        Ok(layer) => Part::Layer(last.saturating_sub(layer)),
        Err(true) => Part::Embeddings,
        Err(false) => Part::Head,
    }
}

/// Normal numbers with the mean and the standard deviation of `values` in their place; they follow from the seed and the
/// tensor's name alone, in whatever order tensors are read. What does not vary stays.
pub(super) fn scramble(seed: u64, name: &str, values: &mut [f32]) {
    let count = values.len().max(1) as f64;
    let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
    let deviation = (values.iter().map(|value| (f64::from(*value) - mean).powi(2)).sum::<f64>() / count).sqrt();
    let hash = Sha256::digest(name.as_bytes());
    let stream = hash.iter().take(7).fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let mut rng = sampling::generator_of(seed, stream);
    if deviation > 0.0 {
        values.iter_mut().for_each(|value| *value = (mean + deviation * sampling::normal(&mut rng)) as f32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_part() {
        for (name, expected) in [
            ("classifier.weight", Part::Head),
            ("classifier.0.weight", Part::Head),
            ("bert.pooler.dense.bias", Part::Head),
            ("vit.layernorm.weight", Part::Head),
            ("model.norm.weight", Part::Head),
            ("bert.encoder.layer.5.output.dense.weight", Part::Layer(0)),
            ("transformer.h.0.ln_1.weight", Part::Layer(5)),
            ("bert.embeddings.LayerNorm.bias", Part::Embeddings),
            ("vit.embeddings.patch_embeddings.projection.weight", Part::Embeddings),
            ("transformer.wte.weight", Part::Embeddings),
            ("vit.embeddings.cls_token", Part::Embeddings),
        ] {
            assert_eq!(part(name, 5), expected, "{name}");
        }
        let names = ["a.embeddings.x", "a.layer.0.x", "a.layer.1.x", "classifier.x"];
        let found: Vec<String> = parts(names.into_iter()).iter().map(Part::to_string).collect();
        assert_eq!(found, ["head", "layer −1", "layer −2", "embeddings"]);
    }

    #[test]
    fn mean_and_deviation_stay_and_the_name_decides() {
        let drawn = |name: &str| {
            let mut values: Vec<f32> = (0..10_000).map(|index| 3.0 + (index % 2) as f32).collect();
            scramble(1, name, &mut values);
            values
        };
        let values = drawn("a");
        assert_eq!(values, drawn("a"));
        assert_ne!(values, drawn("b"));
        let mean = values.iter().sum::<f32>() / 10_000.0;
        let deviation = (values.iter().map(|value| (value - mean).powi(2)).sum::<f32>() / 10_000.0).sqrt();
        assert!((mean - 3.5).abs() < 0.03 && (deviation - 0.5).abs() < 0.02, "{mean} {deviation}");
        let mut even = [2.0; 4];
        scramble(1, "a", &mut even);
        assert_eq!(even, [2.0; 4]);
    }
}
