//! Settings: raw ones (a TOML file, the environment, flags; every key optional, unknown keys refused) merged into
//! resolved ones. A flag wins, then the environment, then the file, then the default.
//!
//! `keys.rs` is the table that drives it all. Called by `cli`, which turns [`Settings`] into what the other modules
//! want. No setting is a secret: API keys stay in their file and the hub's token in its own variable, so [`Settings`]
//! may be printed as it is.

mod error;
mod file;
mod keys;
mod machine;
mod raw;
mod resolve;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Serialize, Serializer};

pub use error::{ConfigError, Origin};
pub use keys::{KEYS, Key, Kind};
pub use raw::RawSettings;

/// The name of the list of models, which has no row in [`KEYS`].
const MODELS: &str = "models";

/// Merges flags, environment and file (the one given, else the one that `EXPLAIND_CONFIG` names, else none) over the
/// defaults.
///
/// # Errors
/// A file that cannot be read or is not TOML, an unknown key, or a value out of range, with where it was set.
pub fn load(
    flags: RawSettings,
    file: Option<&Path>,
    env: impl Iterator<Item = (String, String)>,
) -> Result<Settings, ConfigError> {
    let env: Vec<_> = env.collect();
    let named = env.iter().find(|(name, path)| name == "EXPLAIND_CONFIG" && !path.is_empty());
    let path = file.map(Path::to_owned).or_else(|| named.map(|(_, path)| PathBuf::from(path)));
    let from_file = match path {
        Some(path) => read(&path)?,
        None => RawSettings::default(),
    };
    Ok(resolve::resolve(from_file.overlaid(RawSettings::from_env(env.into_iter())?).overlaid(flags)))
}

fn read(path: &Path) -> Result<RawSettings, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
    file::parse(&text, path)
}

/// Every setting at its default.
impl Default for Settings {
    fn default() -> Self {
        resolve::resolve(RawSettings::default())
    }
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// All settings, resolved. Serialised, they bear the names they have in the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    pub server: Server,
    pub limits: Limits,
    pub queue: Queue,
    pub compute: Compute,
    pub hub: Hub,
    pub auth: Auth,
    pub audit: Audit,
    pub cors: Cors,
    pub log: Log,
    /// Empty: the two bundled models.
    pub models: Vec<ModelSetting>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Server {
    pub listen: SocketAddr,
    /// Open connections at once.
    pub connections: usize,
    #[serde(rename = "header_seconds", serialize_with = "seconds")]
    pub header_timeout: Duration,
    #[serde(rename = "body_seconds", serialize_with = "seconds")]
    pub body_timeout: Duration,
    /// How long running work may take after SIGTERM.
    #[serde(rename = "drain_seconds", serialize_with = "seconds")]
    pub drain: Duration,
}

/// Bounds on a single request.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Limits {
    pub body_bytes: usize,
    pub pixels: u64,
    pub text_chars: usize,
    /// Explanations (methods × targets) of one request.
    pub explanations: usize,
    pub max_evaluations: usize,
    pub response_values: usize,
    pub deadline_ms: u64,
    pub batch_lines: usize,
    /// 0: no limit.
    pub requests_per_minute_per_address: u32,
}

/// Bounds on what waits.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Queue {
    /// Planned rows × tokens of all admitted requests.
    pub cost: u64,
    pub requests: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compute {
    /// At least 1: 0 is resolved to one per available core.
    pub threads: usize,
    /// Tokens of one batch: what a job computes before it looks up.
    pub tokens_per_turn: usize,
    /// What methods that need no gradient compute in, unless a request says.
    pub precision: Precision,
    pub device: Device,
}

/// What computes models.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Device {
    Cpu,
    /// NVIDIA's graphics processors.
    Cuda,
    /// Apple's.
    Metal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    F32,
    Bf16,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Hub {
    /// `None`: as the environment says (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, home).
    pub cache: Option<PathBuf>,
    /// `None`: as HF_HUB_OFFLINE says.
    pub offline: Option<bool>,
    #[serde(rename = "deadline_seconds", serialize_with = "seconds")]
    pub deadline: Duration,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Auth {
    /// One key a line, or `sha256:HEX` of one; blank lines and `#` comments skipped.
    pub keys_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Audit {
    /// `None`: answers are not recorded.
    pub file: Option<PathBuf>,
    pub inputs: AuditInputs,
}

/// What a record keeps of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditInputs {
    Hash,
    Full,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Cors {
    pub origins: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Log {
    pub format: LogFormat,
    /// A tracing filter: `info`, `explaind=debug,warn`, …
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    Pretty,
    Json,
}

/// A model to serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ModelSetting {
    /// `None`: the source's default name.
    pub name: Option<String>,
    pub source: String,
}

impl ModelSetting {
    /// Reads `NAME=SOURCE` or `SOURCE`. What stands before the first `=` is a name only if it could be one, so a path
    /// that holds `=` needs no quoting.
    pub fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((name, source)) if raw::is_model_name(name) => {
                Self { name: Some(name.to_owned()), source: source.to_owned() }
            }
            _ => Self { name: None, source: text.to_owned() },
        }
    }
}
