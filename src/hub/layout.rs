//! The Hugging Face layout: which files make a model, which are refused. Shared by folders and downloads; reads no
//! files itself.

use super::source::is_plain_name;

pub(super) const CONFIG: &str = "config.json";
pub(super) const SINGLE: &str = "model.safetensors";
pub(super) const INDEX: &str = "model.safetensors.index.json";

/// Taken where present.
pub(super) const OPTIONAL: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "preprocessor_config.json",
    "chat_template.jinja",
    "generation_config.json",
];

/// The end of the name of a file of llama.cpp's, which holds a whole model.
pub(super) const GGUF: &str = ".gguf";

/// The usual name of pickled weights.
#[cfg(feature = "hub")]
pub(super) const PICKLE: &str = "pytorch_model.bin";

/// Largest JSON file that is read: large vocabularies take some 20 MB.
pub(super) const JSON_BYTES: u64 = 64 << 20;

/// Largest number of shards that an index may name.
const SHARDS: usize = 1000;

/// The GGUF files among a model's.
pub(super) fn ggufs<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut found: Vec<&str> = names.filter(|name| name.ends_with(GGUF) && is_plain_name(name)).collect();
    found.sort_unstable();
    found
}

/// Formats that run code when they are read, or may.
pub(super) fn is_pickle(name: &str) -> bool {
    [".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle"].iter().any(|ending| name.ends_with(ending))
        && name != "training_args.bin"
}

/// The shards that an index names, in order of name and each once.
pub(super) fn shards(index: &[u8]) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| format!("{INDEX} is no index: {error}"))?;
    let names: std::collections::BTreeSet<String> = index.weight_map.into_values().collect();
    if let Some(bad) = names.iter().find(|name| !is_plain_name(name) || !name.ends_with(".safetensors")) {
        return Err(format!("{INDEX} names the shard \"{bad}\", which is no plain name of a .safetensors file"));
    }
    match names.len() {
        0 => Err(format!("{INDEX} names no shard")),
        1..=SHARDS => Ok(names.into_iter().collect()),
        many => Err(format!("{INDEX} names {many} shards; at most {SHARDS} are read")),
    }
}
