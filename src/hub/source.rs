//! The `SOURCE` of `--model`.

use super::HubError;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    Hub { id: String, revision: Option<String> },
    Folder(std::path::PathBuf),
    Bundled(String),
}

impl Source {
    /// `bundled:NAME`; an existing folder, or a path that begins with `.`, `/` or `~`; else `org/name[@revision]`.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        let _ = text;
        todo!()
    }
    /// The name a model is served under unless one is given: the last part, without `@…`.
    pub fn default_name(&self) -> String {
        todo!()
    }
}
