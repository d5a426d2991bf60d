//! A model's files, whatever their origin.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

/// The bytes of one file: inside the binary, in memory, or mapped from an immutable hub blob.
#[derive(Clone)]
pub enum FileBytes {
    Static(&'static [u8]),
    Owned(Arc<Vec<u8>>),
}

impl Deref for FileBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
        }
    }
}

/// A model in Hugging Face layout.
pub struct ModelFolder {
    /// As given: an id, a path, or `bundled:NAME`.
    pub source: String,
    /// Commit of a hub model; null for folders and bundled ones (their `sha256` says which they are).
    pub revision: Option<String>,
    /// config.json, tokenizer.json, preprocessor_config.json, … and the safetensors files.
    pub files: BTreeMap<String, FileBytes>,
    /// The safetensors files in order: one, or the shards of model.safetensors.index.json.
    pub weights: Vec<String>,
    /// SHA-256 (hex) over the weights: of the file, or of the shards' hashes in order.
    pub sha256: String,
}

impl ModelFolder {
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(|bytes| &**bytes)
    }
}
