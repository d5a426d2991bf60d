//! The `SOURCE` of `--model`: what a user may write, and the name it is served under.

use std::fmt;
use std::path::{Path, PathBuf};

use super::HubError;
use super::layout::GGUF;

/// Where a model comes from. `Display` gives it back as a user would write it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// `file` is a GGUF file among the model's.
    Hub {
        id: String,
        file: Option<String>,
        revision: Option<String>,
    },
    Folder(PathBuf),
    Bundled(String),
}

impl Source {
    /// `bundled:NAME`; an existing folder or GGUF file, or a path that begins with `.`, `/` or `~`; else `org/name[@revision]`,
    /// `name[@revision]` or `org/name/FILE.gguf[@revision]`.
    ///
    /// # Errors
    /// [`HubError::BadSource`] for all else: what a URL or a file path cannot be made of safely is no id.
    pub fn parse(text: &str) -> Result<Self, HubError> {
        if let Some(name) = text.strip_prefix("bundled:") {
            return Ok(Self::Bundled(name.to_owned()));
        }
        let path = Path::new(text);
        if text.starts_with(['.', '/', '~'])
            || path.is_absolute()
            || (!text.is_empty() && (path.is_dir() || is_gguf(path)))
        {
            return Ok(Self::Folder(path.to_owned()));
        }
        let (id, revision) = match text.split_once('@') {
            Some((id, revision)) => (id, Some(revision)),
            None => (text, None),
        };
        let (id, file) = match id.rsplit_once('/') {
            Some((id, file)) if id.contains('/') && file.ends_with(GGUF) => (id, Some(file)),
            _ => (id, None),
        };
        if !is_id(id) || !file.is_none_or(is_plain_name) || !revision.is_none_or(is_revision) {
            return Err(HubError::BadSource(text.to_owned()));
        }
        let [file, revision] = [file, revision].map(|part| part.map(str::to_owned));
        Ok(Self::Hub { id: id.to_owned(), file, revision })
    }

    /// The name a model is served under unless one is given: the last part, without `@…`; characters other than
    /// letters, digits, `.`, `_` and `-` become `-`. Never empty.
    pub fn default_name(&self) -> String {
        let last = match self {
            Self::Hub { file: Some(file), .. } => file.trim_end_matches(GGUF).to_owned(),
            Self::Hub { id, .. } => id.rsplit('/').next().unwrap_or(id).to_owned(),
            // `.` and `..` have no name of their own; the folder they lead to has.
            Self::Folder(path) => match path.file_name() {
                Some(_) if is_gguf(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
                Some(name) => name.to_string_lossy().into_owned(),
                None => std::fs::canonicalize(path)
                    .ok()
                    .and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()))
                    .unwrap_or_default(),
            },
            Self::Bundled(name) => name.clone(),
        };
        if last.is_empty() {
            return "model".to_owned();
        }
        let fits = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
        last.chars().map(|letter| if fits(letter) { letter } else { '-' }).collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub { id, file, revision } => {
                formatter.write_str(id)?;
                file.iter().try_for_each(|file| write!(formatter, "/{file}"))?;
                revision.iter().try_for_each(|revision| write!(formatter, "@{revision}"))
            }
            Self::Folder(path) => path.display().fmt(formatter),
            Self::Bundled(name) => write!(formatter, "bundled:{name}"),
        }
    }
}

/// An existing GGUF file.
fn is_gguf(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.ends_with(GGUF)) && path.is_file()
}

/// As the hub itself limits ids: one or two parts of letters, digits, `.`, `_`, `-`, neither beginning nor ending with
/// `.` or `-`, without `--` and `..`.
fn is_id(id: &str) -> bool {
    id.split('/').count() <= 2
        && id.split('/').all(|part| {
            (1..=96).contains(&part.len())
                && part.bytes().all(is_word)
                && !part.starts_with(['.', '-'])
                && !part.ends_with(['.', '-'])
                && !part.contains("--")
                && !part.contains("..")
        })
}

/// A branch, tag, `refs/pr/N` or commit. It becomes part of a URL and of a path in the cache.
fn is_revision(revision: &str) -> bool {
    revision.len() <= 200 && revision.split('/').all(is_plain_name)
}

/// A single name that is safe as a part of a path and of a URL.
pub(super) fn is_plain_name(name: &str) -> bool {
    (1..=250).contains(&name.len()) && name.bytes().all(is_word) && name != "." && !name.contains("..")
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._-".contains(&byte)
}
