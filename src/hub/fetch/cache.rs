//! The hub's cache on disk: paths, locks, links. Python's `huggingface_hub` uses the same ones.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::client::{Client, Metadata};
use crate::hub::source::is_plain_name;
use crate::hub::{DownloadError, layout};

/// One model's part of the cache.
pub(super) struct RepoCache {
    cache: PathBuf,
    /// `models--org--name`
    name: String,
}

impl RepoCache {
    pub(super) fn new(cache: &Path, id: &str) -> Self {
        Self { cache: cache.to_owned(), name: format!("models--{}", id.replace('/', "--")) }
    }

    fn root(&self) -> PathBuf {
        self.cache.join(&self.name)
    }

    pub(super) fn blob(&self, etag: &str) -> PathBuf {
        self.root().join("blobs").join(etag)
    }

    /// Where a download grows. Python's name, which it also takes up again.
    pub(super) fn part(&self, etag: &str) -> PathBuf {
        self.root().join("blobs").join(format!("{etag}.incomplete"))
    }

    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.root().join("snapshots").join(commit)
    }

    pub(super) fn pointer(&self, commit: &str, file: &str) -> PathBuf {
        self.snapshot(commit).join(file)
    }

    pub(super) fn has(&self, commit: &str, file: &str) -> bool {
        self.pointer(commit, file).exists()
    }

    /// Whether a snapshot has a file that is a whole model.
    fn has_gguf(&self, commit: &str) -> bool {
        let entries = fs::read_dir(self.snapshot(commit)).into_iter().flatten().flatten();
        let names: Vec<String> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        !layout::ggufs(names.iter().map(String::as_str)).is_empty()
    }

    /// Whether the content is there already, perhaps from another revision.
    pub(super) fn has_blob(&self, metadata: &Metadata) -> bool {
        fs::metadata(self.blob(&metadata.etag)).is_ok_and(|blob| metadata.size.is_none_or(|size| blob.len() == size))
    }

    /// The commit that a revision stood for when it was last fetched.
    pub(super) fn commit(&self, revision: &str) -> Option<String> {
        if self.snapshot(revision).is_dir() {
            return Some(revision.to_owned());
        }
        let text = fs::read_to_string(self.root().join("refs").join(revision)).ok()?;
        Some(text.trim().to_owned()).filter(|commit| is_plain_name(commit))
    }

    /// The first file that a snapshot lacks, if any; `gguf` is the one that is meant.
    pub(super) fn missing(&self, commit: &str, gguf: Option<&str>) -> Option<String> {
        if let Some(file) = gguf {
            return (!self.has(commit, file)).then(|| file.to_owned());
        }
        if !self.has(commit, layout::SINGLE) && !self.has(commit, layout::INDEX) && self.has_gguf(commit) {
            return None;
        }
        if !self.has(commit, layout::CONFIG) {
            return Some(layout::CONFIG.to_owned());
        }
        if self.has(commit, layout::SINGLE) {
            return None;
        }
        let Ok(index) = fs::read(self.pointer(commit, layout::INDEX)) else {
            return Some(layout::SINGLE.to_owned());
        };
        match layout::shards(&index) {
            Ok(shards) => shards.into_iter().find(|shard| !self.has(commit, shard)),
            Err(_) => Some(layout::INDEX.to_owned()),
        }
    }

    /// Points the snapshot's file at the blob, relatively, so that the cache may be moved.
    ///
    /// The link is made under another name and renamed: to write to a pointer in place could follow it, and empty the
    /// blob that another process has just linked.
    pub(super) fn link(&self, etag: &str, commit: &str, file: &str) -> Result<(), DownloadError> {
        let folder = self.snapshot(commit);
        let draft = folder.join(draft_name());
        let linked = || {
            fs::create_dir_all(&folder)?;
            // Some file systems know no links; a copy serves as well and costs the space twice.
            symlink(&Path::new("../../blobs").join(etag), &draft)
                .or_else(|_| fs::copy(self.blob(etag), &draft).map(drop))?;
            fs::rename(&draft, folder.join(file))
        };
        linked().map_err(|error| self.fault(&error))
    }

    /// Notes which commit a branch or tag stands for, in one step.
    pub(super) fn write_ref(&self, revision: &str, commit: &str) -> Result<(), DownloadError> {
        if revision == commit {
            return Ok(());
        }
        let refs = self.root().join("refs");
        let (path, draft) = (refs.join(revision), refs.join(draft_name()));
        let written = || {
            fs::create_dir_all(path.parent().unwrap_or(&refs))?;
            fs::write(&draft, commit)?;
            fs::rename(&draft, &path)
        };
        written().map_err(|error| self.fault(&error))
    }

    /// Waits until no other process downloads this blob, at most to the deadline. Held until dropped.
    pub(super) fn lock(&self, etag: &str, client: &Client<'_>) -> Result<File, DownloadError> {
        let folder = self.cache.join(".locks").join(&self.name);
        let open = || {
            fs::create_dir_all(self.root().join("blobs"))?;
            fs::create_dir_all(&folder)?;
            File::create(folder.join(format!("{etag}.lock")))
        };
        let file = open().map_err(|error| self.fault(&error))?;
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(TryLockError::WouldBlock) => client.wait(std::time::Duration::from_millis(100))?,
                // Some network file systems have no locks; then two processes may fetch a file twice, each checked.
                Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => return Ok(file),
                Err(TryLockError::Error(error)) => return Err(self.fault(&error)),
            }
        }
    }

    /// What an error of the disk means to the user.
    pub(super) fn fault(&self, error: &std::io::Error) -> DownloadError {
        let cache = self.cache.clone();
        match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DownloadError::DiskFull { cache },
            _ => DownloadError::Cache { cache, detail: error.to_string() },
        }
    }
}

/// A name that no other thread or process writes to.
fn draft_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!(".{}-{}.draft", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> std::io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

/// Elsewhere links take rights that few users have.
#[cfg(not(unix))]
fn symlink(_: &Path, _: &Path) -> std::io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}
