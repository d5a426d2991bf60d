//! A model's files, whatever their origin; and the reading of folders in Hugging Face layout, a user's own or a
//! snapshot in the hub's cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::{HubError, layout};

/// The bytes of one file: inside the binary, in memory, or mapped from an immutable hub blob.
#[derive(Clone)]
pub enum FileBytes {
    Static(&'static [u8]),
    Owned(Arc<Vec<u8>>),
    #[cfg(feature = "hub")]
    Mapped(Arc<memmap2::Mmap>),
}

impl Deref for FileBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Static(bytes) => bytes,
            Self::Owned(bytes) => bytes,
            #[cfg(feature = "hub")]
            Self::Mapped(map) => map,
        }
    }
}

impl std::fmt::Debug for FileBytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "FileBytes({} bytes)", self.len())
    }
}

/// A model in Hugging Face layout.
#[derive(Debug)]
pub struct ModelFolder {
    /// As given: an id, a path, or `bundled:NAME`.
    pub source: String,
    /// Commit of a hub model; null for folders and bundled ones (their `sha256` says which they are).
    pub revision: Option<String>,
    /// config.json, tokenizer.json, preprocessor_config.json, … and the safetensors files.
    pub files: BTreeMap<String, FileBytes>,
    /// The safetensors files in order: one, or the shards of model.safetensors.index.json.
    pub weights: Vec<String>,
    /// SHA-256 (hex) over the weights: of the file, or of the shards' hashes (32 bytes each) in order.
    pub sha256: String,
}

impl ModelFolder {
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name).map(|bytes| &**bytes)
    }

    /// Puts the parts together and hashes the weights. Every name in `weights` is in `files`.
    pub(super) fn new(
        source: String,
        revision: Option<String>,
        files: BTreeMap<String, FileBytes>,
        weights: Vec<String>,
    ) -> Self {
        let mut hashes: Vec<_> =
            weights.iter().filter_map(|name| files.get(name)).map(|bytes| Sha256::digest(&**bytes)).collect();
        let hash = match hashes.len() {
            1 => hashes.remove(0),
            _ => Sha256::digest(hashes.concat()),
        };
        Self { source, revision, files, weights, sha256: hex(&hash) }
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// How weights come into memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weights {
    /// Read: for folders, whose files somebody may change or cut while the model is served.
    Read,
    /// Mapped: for blobs of the hub's cache, which are written once under the name of their content.
    #[cfg(feature = "hub")]
    Map,
}

/// Reads a folder in Hugging Face layout.
///
/// # Errors
/// Names the file that is missing or broken; [`HubError::Pickle`] where the only weights are a pickle.
pub(super) fn read(
    folder: &Path,
    source: String,
    revision: Option<String>,
    how: Weights,
) -> Result<ModelFolder, HubError> {
    let folder = &expand_home(folder);
    let wrong = |detail: String| HubError::Folder { path: folder.clone(), detail };
    let entries = std::fs::read_dir(folder)
        .map_err(|error| wrong(format!("cannot open this model folder: {error}; give the path of an existing one")))?;
    let names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let has = |name: &str| folder.join(name).exists();

    if !has(layout::CONFIG) {
        return Err(wrong(format!("{} is missing; a model folder needs it", layout::CONFIG)));
    }
    let mut files = BTreeMap::new();
    for name in [layout::CONFIG].into_iter().chain(layout::OPTIONAL).filter(|name| has(name)) {
        files.insert(name.to_owned(), FileBytes::Owned(Arc::new(read_json(&folder.join(name))?)));
    }
    let weights = if has(layout::SINGLE) {
        vec![layout::SINGLE.to_owned()]
    } else if has(layout::INDEX) {
        let index = read_json(&folder.join(layout::INDEX))?;
        let shards = layout::shards(&index).map_err(wrong)?;
        files.insert(layout::INDEX.to_owned(), FileBytes::Owned(Arc::new(index)));
        shards
    } else if let Some(file) = names.iter().filter(|name| layout::is_pickle(name)).min() {
        return Err(HubError::Pickle { what: folder.display().to_string(), file: file.clone() });
    } else {
        return Err(wrong(format!("there are no weights: neither {} nor {}", layout::SINGLE, layout::INDEX)));
    };
    for name in &weights {
        if !has(name) {
            return Err(wrong(format!("{name} is missing, which {} names", layout::INDEX)));
        }
        files.insert(name.clone(), read_weights(&folder.join(name), how)?);
    }
    Ok(ModelFolder::new(source, revision, files, weights))
}

/// `~` and `~/…` as a shell would read them; a shell itself leaves `--model=name=~/…` alone.
fn expand_home(path: &Path) -> PathBuf {
    match (path.strip_prefix("~"), std::env::home_dir()) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.to_owned(),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> HubError {
    HubError::Folder { path: path.to_owned(), detail: format!("cannot read this file: {error}") }
}

/// Opens a regular file: a pipe or a device would block or never end.
fn open(path: &Path) -> Result<File, HubError> {
    let kind = std::fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if !kind.is_file() {
        return Err(HubError::Folder { path: path.to_owned(), detail: "this is not a regular file".to_owned() });
    }
    File::open(path).map_err(|error| unreadable(path, &error))
}

fn read_json(path: &Path) -> Result<Vec<u8>, HubError> {
    let mut bytes = Vec::new();
    open(path)?.take(layout::JSON_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > layout::JSON_BYTES {
        let detail =
            format!("this file is larger than {} MiB, too large for a settings file", layout::JSON_BYTES >> 20);
        return Err(HubError::Folder { path: path.to_owned(), detail });
    }
    Ok(bytes)
}

fn read_weights(path: &Path, how: Weights) -> Result<FileBytes, HubError> {
    let mut file = open(path)?;
    match how {
        Weights::Read => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
            Ok(FileBytes::Owned(Arc::new(bytes)))
        }
        #[cfg(feature = "hub")]
        Weights::Map => map(&file).map_err(|error| unreadable(path, &error)),
    }
}

/// Maps a blob of the hub's cache, so that processes serving the same model share its pages and a start reads only
/// what it uses.
#[cfg(feature = "hub")]
#[allow(unsafe_code, reason = "a file can only be mapped so; see the comment inside")]
fn map(file: &File) -> std::io::Result<FileBytes> {
    // SAFETY: a map must not change or shrink below its reader. Blobs of the cache bear the name of their content and
    // are never written again: downloads (ours, and Python's) go to another file that is renamed once it is whole, and
    // deleting a blob leaves mapped pages alone. Whoever truncates a blob in place breaks the cache for every user.
    let map = unsafe { memmap2::Mmap::map(file)? };
    Ok(FileBytes::Mapped(Arc::new(map)))
}
