//! A model's files, whatever their origin; and the reading of folders in Hugging Face layout, a user's own or a
//! snapshot in the hub's cache.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::bytes::{FileBytes, OnDisk};
use super::{HubError, layout};

/// A model in Hugging Face layout.
#[derive(Debug, Clone)]
pub struct ModelFolder {
    /// As given: an id, a path, or `bundled:NAME`.
    pub source: String,
    /// Commit of a hub model; null for folders and bundled ones (their `sha256` says which they are).
    pub revision: Option<String>,
    /// config.json, tokenizer.json, preprocessor_config.json, … and the safetensors files.
    pub files: BTreeMap<String, FileBytes>,
    /// The safetensors files in order: one, or the shards of model.safetensors.index.json; or one GGUF file, beside
    /// which there is no config.json: it describes itself.
    pub weights: Vec<String>,
    /// SHA-256 (hex) over the weights: of the file, or of the shards' hashes (32 bytes each) in order.
    pub sha256: String,
}

impl ModelFolder {
    /// A file held in memory: config.json and the like.
    pub fn file(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name)?.in_memory()
    }

    /// A file wherever it is: the weights of a folder stay on the disk.
    pub fn bytes(&self, name: &str) -> Option<&FileBytes> {
        self.files.get(name)
    }

    /// Puts the parts together and hashes the weights. Every name in `weights` is in `files`.
    ///
    /// # Errors
    /// Weights that cannot be read, by the file's name.
    pub(super) fn new(
        source: String,
        revision: Option<String>,
        files: BTreeMap<String, FileBytes>,
        weights: Vec<String>,
    ) -> Result<Self, (String, std::io::Error)> {
        let bytes = weights.iter().filter_map(|name| Some((name, files.get(name)?)));
        let hashes: Vec<[u8; 32]> = bytes
            .map(|(name, bytes)| bytes.sha256().map_err(|error| (name.clone(), error)))
            .collect::<Result<_, _>>()?;
        let hash = match hashes.as_slice() {
            [hash] => *hash,
            hashes => Sha256::digest(hashes.concat()).into(),
        };
        Ok(Self { source, revision, files, weights, sha256: hex(&hash) })
    }
}

pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether somebody may change a folder's files while the model is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// A user's own folder: nothing of it is mapped.
    Changeable,
    /// Blobs of the hub's cache, which are written once under the name of their content.
    #[cfg(feature = "hub")]
    Immutable,
}

/// Reads a folder in Hugging Face layout.
///
/// # Errors
/// Names the file that is missing or broken; [`HubError::Pickle`] where the only weights are a pickle.
pub(super) fn read(
    folder: &Path,
    source: String,
    revision: Option<String>,
    kept: Kept,
) -> Result<ModelFolder, HubError> {
    let folder = &expand_home(folder);
    if let Some((folder, name)) = gguf_file(folder) {
        return read_gguf(folder, name, source, revision, kept);
    }
    let wrong = |detail: String| HubError::Folder { path: folder.clone(), detail };
    let entries = std::fs::read_dir(folder)
        .map_err(|error| wrong(format!("cannot open this model folder: {error}; give the path of an existing one")))?;
    let names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let has = |name: &str| folder.join(name).exists();

    if !has(layout::SINGLE) && !has(layout::INDEX) {
        match layout::ggufs(names.iter().map(String::as_str)).as_slice() {
            [] => {}
            [name] => return read_gguf(folder, name, source, revision, kept),
            several => {
                let several = several.join(", ");
                let detail = format!("there are several .gguf files; give the path of one of {several}");
                return Err(wrong(detail));
            }
        }
    }
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
        files.insert(name.clone(), open_weights(&folder.join(name), kept)?);
    }
    ModelFolder::new(source, revision, files, weights).map_err(|(name, error)| unreadable(&folder.join(name), &error))
}

/// The folder and the name of a path that leads to a GGUF file.
fn gguf_file(path: &Path) -> Option<(&Path, &str)> {
    let name = path.file_name()?.to_str().filter(|name| name.ends_with(layout::GGUF))?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    (!path.is_dir()).then_some((folder, name))
}

/// A GGUF file, with the tokenizer that lies beside it.
fn read_gguf(
    folder: &Path,
    name: &str,
    source: String,
    revision: Option<String>,
    kept: Kept,
) -> Result<ModelFolder, HubError> {
    let mut files = BTreeMap::from([(name.to_owned(), open_weights(&folder.join(name), kept)?)]);
    for beside in layout::OPTIONAL.into_iter().filter(|beside| folder.join(beside).exists()) {
        files.insert(beside.to_owned(), FileBytes::Owned(Arc::new(read_json(&folder.join(beside))?)));
    }
    ModelFolder::new(source, revision, files, vec![name.to_owned()])
        .map_err(|(name, error)| unreadable(&folder.join(name), &error))
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

fn open_weights(path: &Path, kept: Kept) -> Result<FileBytes, HubError> {
    let file = OnDisk::new(open(path)?, kept != Kept::Changeable).map_err(|error| unreadable(path, &error))?;
    Ok(FileBytes::OnDisk(Arc::new(file)))
}
