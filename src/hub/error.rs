//! Why a model's files are not there. Every message says what to do.

use std::path::PathBuf;

/// Why a source could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{path}: {detail}")]
    Folder { path: PathBuf, detail: String },
    #[error("no bundled model is named \"{name}\"; bundled are {known}")]
    UnknownBundled { name: String, known: String },
    #[error(
        "this build has no bundled models, so not \"{name}\" either; build it with the feature `bundled`, or give a folder or a hub id"
    )]
    NotBundled { name: String },
    #[error("{what} has only a pickle ({file}), which can run code when it is read; convert it to model.safetensors")]
    Pickle { what: String, file: String },
    /// `id` is the model's, with `@revision` where one was given.
    #[error("{id}: {why}")]
    Download { id: String, why: DownloadError },
    #[error(
        "\"{0}\" is no model source: give an id (org/name, org/name@revision or org/name/FILE.gguf), a folder, a GGUF file, or bundled:NAME"
    )]
    BadSource(String),
}

/// Why a hub model is not in the cache and could not be brought there.
#[derive(Debug, thiserror::Error)]
pub enum DownloadError {
    #[error(
        "this build cannot reach a hub; build it with the feature `hub`, or download the model and give its folder"
    )]
    NotBuilt,
    #[error(
        "{file} is not in the cache {cache} and offline mode is on (HF_HUB_OFFLINE or hub.offline); start once with it \
         off, or copy the model's cache folder there"
    )]
    Offline { file: String, cache: PathBuf },
    #[error(
        "401, the hub asks for a token: the model is private, gated, or does not exist under this name; check the name, \
         then set HF_TOKEN to a token that may read it"
    )]
    Unauthorized,
    #[error("401, the hub refused the token in HF_TOKEN; make a new one that may read this model, or unset it")]
    BadToken,
    #[error("this model is gated: ask for access on {page}, then set HF_TOKEN to a token of that account")]
    Gated { page: String },
    #[error("403, the hub forbids this download{said}; the token in HF_TOKEN needs the right to read this model")]
    Forbidden { said: String },
    #[error("404, there is no such model on {endpoint}; check the name (private models need HF_TOKEN)")]
    NoModel { endpoint: String },
    #[error("404, the model has no revision \"{revision}\"; give a branch, tag or commit after @")]
    NoRevision { revision: String },
    #[error("the model has no {file}, which is needed; choose one with config.json and model.safetensors")]
    NoFile { file: String },
    #[error(
        "the model has no safetensors and several GGUF files; name one of them behind the id, as in ORG/NAME/FILE.gguf: \
         {files}"
    )]
    SeveralGguf { files: String },
    #[error("cannot reach {host}: {detail}; check the network, HTTPS_PROXY and HF_ENDPOINT")]
    Unreachable { host: String, detail: String },
    #[error("{host} answered {status} while {file} was asked for; this passes as a rule, try again later")]
    Server { host: String, status: u16, file: String },
    #[error("429, the hub limits how often this address may ask{wait}; wait, or set HF_TOKEN for a higher limit")]
    RateLimited { wait: String },
    #[error("the download did not end within {seconds} s (hub.deadline_seconds); start again, it goes on from there")]
    Deadline { seconds: u64 },
    #[error("{file} arrived damaged: {detail}; it was deleted, start again to fetch it anew")]
    Damaged { file: String, detail: String },
    #[error("the disk of the cache {cache} is full; free some space, or set hub.cache to another disk")]
    DiskFull { cache: PathBuf },
    #[error(
        "cannot write the cache {cache}: {detail}; set hub.cache (or HF_HUB_CACHE) to a folder that can be written"
    )]
    Cache { cache: PathBuf, detail: String },
    #[error("the hub's answer makes no sense: {detail}; check HF_ENDPOINT")]
    Protocol { detail: String },
}
