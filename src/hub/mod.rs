//! Where models come from: a Hugging Face hub, a folder, or the binary itself. What leaves here is a [`ModelFolder`]:
//! the files by name, whatever their origin.

mod bundled;
#[cfg(feature = "hub")]
mod fetch;
mod folder;
mod source;

use std::path::PathBuf;
use std::time::Duration;

pub use folder::{FileBytes, ModelFolder};
pub use source::Source;

/// How the hub is reached. Built by `config` from settings and the usual environment variables.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// `HF_HUB_CACHE`, else `HF_HOME`/hub, else ~/.cache/huggingface/hub; or `hub.cache`.
    pub cache: PathBuf,
    /// `HF_ENDPOINT`, default https://huggingface.co.
    pub endpoint: String,
    /// `HF_TOKEN`, or the file `HF_TOKEN_PATH` (default `HF_HOME`/token).
    pub token: Option<Secret>,
    /// `HF_HUB_OFFLINE` or `hub.offline`: nothing but the cache.
    pub offline: bool,
    /// `hub.deadline_seconds`: a whole model's download.
    pub deadline: Duration,
    /// Draw progress bars on standard error.
    pub progress: bool,
}

/// A secret that no `Debug` output shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(secret: String) -> Self {
        Self(secret)
    }
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Secret(…)")
    }
}

/// Why a model's files are not there. Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{path}: {detail}")]
    Folder { path: PathBuf, detail: String },
    #[error("no bundled model is named \"{name}\"; bundled are {known}")]
    UnknownBundled { name: String, known: String },
    #[error("{what} has only a pickle ({file}), which can run code when it is read; convert it to model.safetensors")]
    Pickle { what: String, file: String },
    #[error("{id}: {detail}")]
    Download { id: String, detail: String },
    #[error("\"{0}\" is no model source: give an id (org/name or org/name@revision), a folder, or bundled:NAME")]
    BadSource(String),
}

/// Fetches (if need be) and opens a source.
pub fn open(source: &Source, options: &HubOptions) -> Result<ModelFolder, HubError> {
    let _ = (source, options);
    todo!()
}
