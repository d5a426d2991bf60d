//! How the hub is reached: from the variables that Hugging Face's own tools read, under settings that override them.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// How the hub is reached.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// `hub.cache`, else `HF_HUB_CACHE`, else `HF_HOME`/hub, else ~/.cache/huggingface/hub.
    pub cache: PathBuf,
    /// `HF_ENDPOINT` without a closing slash, default https://huggingface.co.
    pub endpoint: String,
    /// `HF_TOKEN`, or the content of the file `HF_TOKEN_PATH` (default `HF_HOME`/token).
    pub token: Option<Secret>,
    /// `hub.offline` or `HF_HUB_OFFLINE`: nothing but the cache.
    pub offline: bool,
    /// `hub.deadline_seconds`: a whole model's download.
    pub deadline: Duration,
    /// Draw progress bars on standard error.
    pub progress: bool,
}

/// What the caller's own settings say, over the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubOverrides {
    /// `None`: as the environment says.
    pub cache: Option<PathBuf>,
    /// `None`: as the environment says.
    pub offline: Option<bool>,
    pub deadline: Duration,
    pub progress: bool,
}

impl HubOptions {
    /// Reads the environment through `get` (which the caller may back by `std::env::var`). As in Python, an empty
    /// variable counts as unset. Reads the token's file, and nothing else.
    pub fn from_env(get: impl Fn(&str) -> Option<String>, overrides: HubOverrides) -> Self {
        let get = |name: &str| get(name).map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        let truthy = |name: &str| {
            get(name).is_some_and(|text| ["1", "ON", "YES", "TRUE"].contains(&text.to_uppercase().as_str()))
        };
        let user = get("HOME").map(PathBuf::from).or_else(std::env::home_dir).unwrap_or_else(|| PathBuf::from("."));
        let path = |name: &str| get(name).map(|text| expand(&text, &user));
        let home = path("HF_HOME")
            .unwrap_or_else(|| path("XDG_CACHE_HOME").unwrap_or_else(|| user.join(".cache")).join("huggingface"));
        let token = || {
            let text = get("HF_TOKEN").or_else(|| get("HUGGING_FACE_HUB_TOKEN")).or_else(|| {
                let file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
                std::fs::read_to_string(file).ok()
            })?;
            // A line break inside would end the header that it goes into.
            Some(text.trim().to_owned()).filter(|token| !token.is_empty() && !token.contains(char::is_control))
        };
        Self {
            cache: overrides
                .cache
                .or_else(|| path("HF_HUB_CACHE"))
                .or_else(|| path("HUGGINGFACE_HUB_CACHE"))
                .unwrap_or_else(|| home.join("hub")),
            endpoint: get("HF_ENDPOINT")
                .map_or_else(|| "https://huggingface.co".to_owned(), |url| url.trim_end_matches('/').to_owned()),
            token: if truthy("HF_HUB_DISABLE_IMPLICIT_TOKEN") { None } else { token().map(Secret::new) },
            offline: overrides.offline.unwrap_or_else(|| truthy("HF_HUB_OFFLINE") || truthy("TRANSFORMERS_OFFLINE")),
            deadline: overrides.deadline,
            progress: overrides.progress,
        }
    }
}

/// `~/…` under the user's home, as Python's `expanduser`.
fn expand(text: &str, user: &Path) -> PathBuf {
    match text.strip_prefix("~/") {
        Some(rest) => user.join(rest),
        None if text == "~" => user.to_owned(),
        None => PathBuf::from(text),
    }
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
