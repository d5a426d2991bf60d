//! What can be wrong with settings. Every message names the key, where it was set and what is allowed.

use std::fmt;
use std::path::PathBuf;

/// Where a value was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    Default,
    File {
        path: PathBuf,
        /// Counts from 1.
        line: usize,
    },
    /// The variable's name.
    Variable(String),
    /// The flag's name without dashes.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { path, line } => write!(formatter, "{}:{line}", path.display()),
            Self::Variable(name) => formatter.write_str(name),
            Self::Flag(name) => write!(formatter, "--{name}"),
        }
    }
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read the settings file {path}: {source}")]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{origin}: not TOML: {detail}")]
    Syntax { origin: Origin, detail: String },
    #[error("{origin}: unknown setting \"{key}\"; {hint}")]
    Unknown { origin: Origin, key: String, hint: String },
    #[error("{origin}: {key} is {given}, but must be {allowed}")]
    Invalid { origin: Origin, key: String, given: String, allowed: String },
}
