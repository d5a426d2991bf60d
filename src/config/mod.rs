//! Settings: raw ones (a TOML file, the environment, flags; every field optional, unknown keys refused) merged into
//! resolved ones. A flag wins, then the environment, then the file, then the default.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// All settings, resolved.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub server: Server,
    pub limits: Limits,
    pub queue: Queue,
    pub compute: Compute,
    pub hub: Hub,
    pub auth: Auth,
    pub cors: Cors,
    pub log: Log,
    /// Empty: the two bundled models.
    pub models: Vec<ModelSetting>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    pub listen: SocketAddr,
    /// Open connections at once.
    pub connections: usize,
    pub header_timeout: Duration,
    pub body_timeout: Duration,
    /// How long running work may take after SIGTERM.
    pub drain: Duration,
}

/// Bounds on a single request.
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
pub struct Queue {
    /// Planned rows × tokens of all admitted requests.
    pub cost: u64,
    pub requests: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Compute {
    pub threads: usize,
    /// Tokens of one batch: what a job computes before it looks up.
    pub tokens_per_turn: usize,
    pub precision: Precision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    F32,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Hub {
    /// `None`: as the environment says (HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME, home).
    pub cache: Option<PathBuf>,
    /// HF_HUB_OFFLINE where not set.
    pub offline: bool,
    pub deadline: Duration,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Auth {
    /// One key a line, or `sha256:HEX` of one; blank lines and `#` comments skipped.
    pub keys_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Cors {
    pub origins: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    pub format: LogFormat,
    /// A tracing filter: `info`, `explaind=debug,warn`, …
    pub level: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Pretty on a terminal, JSON elsewhere.
    Auto,
    Pretty,
    Json,
}

#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSetting {
    pub name: Option<String>,
    pub source: String,
}
