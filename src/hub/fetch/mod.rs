//! Downloads: brings a model's files into the hub's cache, resumable and verified, and says which snapshot they form.
//!
//! The protocol and the cache's layout (`models--org--name/{blobs, snapshots, refs}`) are those of Python's
//! `huggingface_hub`, so that both share one cache. Written against ureq rather than with the crate hf-hub 0.5, which
//! takes no timeouts, loses the headers that tell a missing model from a gated one, names nothing to verify by, and
//! panics on some answers; hf-hub 1.0 does not resume and keeps error pages as files.
//!
//! `client.rs` speaks HTTP (`address.rs` reads its URLs), `transfer.rs` resumes, `verify.rs` checks, `cache.rs` knows the paths.

mod address;
mod cache;
mod client;
#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
mod transfer;
mod verify;

use std::path::PathBuf;
use std::time::Duration;

use self::cache::RepoCache;
use self::client::{Client, Listing, Metadata};
use super::{DownloadError, HubError, HubOptions, layout};

/// How long a hub may take to say whether a cached model is still the newest.
const ANSWER: Duration = Duration::from_secs(10);

/// A model's files in the cache.
pub(super) struct Snapshot {
    pub folder: PathBuf,
    pub commit: String,
}

/// Brings a model into the cache, unless it is there; `file` is the one of its GGUF files that is meant, if any.
pub(super) fn fetch(
    (id, file): (&str, Option<&str>),
    revision: &str,
    options: &HubOptions,
) -> Result<Snapshot, HubError> {
    fetch_with_pause((id, file), revision, options, Duration::from_millis(500))
}

/// As [`fetch`]; `pause` is the time before the first retry, which doubles with each (zero in tests).
pub(super) fn fetch_with_pause(
    (id, file): (&str, Option<&str>),
    revision: &str,
    options: &HubOptions,
    pause: Duration,
) -> Result<Snapshot, HubError> {
    let cache = RepoCache::new(&options.cache, id);
    let name = if revision == "main" { id.to_owned() } else { format!("{id}@{revision}") };
    let result = if options.offline {
        from_cache(&cache, revision, file)
            .map_err(|file| Stop::Download(DownloadError::Offline { file, cache: options.cache.clone() }))
    } else {
        Client::new(id, options, pause)
            .map_err(Stop::Download)
            .and_then(|client| Fetch { client, cache, revision, file }.run())
    };
    result.map_err(|stop| match stop {
        Stop::Download(why) => HubError::Download { id: name, why },
        Stop::Pickle(file) => HubError::Pickle { what: name, file },
    })
}

/// Why a fetch ended without a snapshot.
enum Stop {
    Download(DownloadError),
    Pickle(String),
}

impl From<DownloadError> for Stop {
    fn from(error: DownloadError) -> Self {
        Self::Download(error)
    }
}

/// The cached snapshot of a revision, or the name of the first file that it lacks.
fn from_cache(cache: &RepoCache, revision: &str, file: Option<&str>) -> Result<Snapshot, String> {
    let commit = cache.commit(revision).ok_or(file.unwrap_or(layout::CONFIG))?;
    match cache.missing(&commit, file) {
        Some(file) => Err(file),
        None => Ok(Snapshot { folder: cache.snapshot(&commit), commit }),
    }
}

struct Fetch<'a> {
    client: Client<'a>,
    cache: RepoCache,
    revision: &'a str,
    /// The GGUF file that is meant.
    file: Option<&'a str>,
}

impl Fetch<'_> {
    fn run(&self) -> Result<Snapshot, Stop> {
        let cached = from_cache(&self.cache, self.revision, self.file).ok();
        // A commit never changes. That a reader of inputs is there shows that not somebody else fetched weights alone.
        if let Some(snapshot) = cached {
            let has = |file: &str| snapshot.folder.join(file).exists();
            if snapshot.commit == self.revision
                && (has("tokenizer.json") || has("preprocessor_config.json") || self.file.is_some())
            {
                return Ok(snapshot);
            }
            return match self.client.hurried(ANSWER).listing(self.revision, 1) {
                Err(why) if passes(&why) => {
                    tracing::warn!(%why, commit = snapshot.commit, "the hub did not answer; the cached model is used");
                    Ok(snapshot)
                }
                listing => self.complete(listing?),
            };
        }
        self.complete(self.client.listing(self.revision, client::TRIES)?)
    }

    /// Fetches what is missing. Weights come last, so that a snapshot with weights is a whole one; the ref comes after
    /// them, so that offline mode never finds half a model.
    fn complete(&self, listing: Option<Listing>) -> Result<Snapshot, Stop> {
        let config = match &listing {
            Some(_) => None,
            None => {
                let first = self.file.unwrap_or(layout::CONFIG);
                Some(self.client.metadata(self.revision, first)?.ok_or_else(|| self.client.no_model())?)
            }
        };
        let commit = match (&listing, config.and_then(|config| config.commit)) {
            (Some(listing), _) => listing.commit.clone(),
            (None, Some(commit)) => commit,
            (None, None) => return Err(client::nonsense("neither a listing nor a x-repo-commit header").into()),
        };
        let of = Commit { fetch: self, commit: &commit, files: listing.map(|listing| listing.files) };
        let weights = of.plan()?;
        if !matches!(weights, Plan::Gguf(_)) {
            of.need(layout::CONFIG)?;
        }
        for file in layout::OPTIONAL {
            of.want(file)?;
        }
        match weights {
            Plan::Single => of.need(layout::SINGLE)?,
            Plan::Sharded => of.shards()?,
            Plan::Gguf(file) => of.need(&file)?,
        }
        self.cache.write_ref(self.revision, &commit)?;
        Ok(Snapshot { folder: self.cache.snapshot(&commit), commit })
    }
}

/// Whether an error says nothing about the model, so that a cached copy may stand in.
fn passes(why: &DownloadError) -> bool {
    use DownloadError::{Deadline, RateLimited, Server, Unreachable};
    matches!(why, Unreachable { .. } | Server { .. } | RateLimited { .. } | Deadline { .. })
}

enum Plan {
    Single,
    Sharded,
    /// A file that describes itself.
    Gguf(String),
}

/// The files of one commit; `files` is `None` where the hub does not list them (some mirrors), and each is asked for.
struct Commit<'a> {
    fetch: &'a Fetch<'a>,
    commit: &'a str,
    files: Option<Vec<String>>,
}

impl Commit<'_> {
    /// Which weights there are, before anything is fetched.
    fn plan(&self) -> Result<Plan, Stop> {
        if let Some(file) = self.fetch.file {
            return Ok(Plan::Gguf(file.to_owned()));
        }
        if self.has(layout::SINGLE)? {
            return Ok(Plan::Single);
        }
        if self.has(layout::INDEX)? {
            return Ok(Plan::Sharded);
        }
        match layout::ggufs(self.files.iter().flatten().map(String::as_str)).as_slice() {
            [] => {}
            [file] => return Ok(Plan::Gguf((*file).to_owned())),
            several => return Err(DownloadError::SeveralGguf { files: several.join(", ") }.into()),
        }
        let pickle = match &self.files {
            Some(files) => files.iter().filter(|file| layout::is_pickle(file)).min().cloned(),
            None => self.has(layout::PICKLE)?.then(|| layout::PICKLE.to_owned()),
        };
        Err(pickle.map_or_else(|| missing(layout::SINGLE), Stop::Pickle))
    }

    fn has(&self, file: &str) -> Result<bool, DownloadError> {
        match &self.files {
            Some(files) => Ok(files.iter().any(|known| known == file)),
            None => {
                Ok(self.fetch.cache.has(self.commit, file) || self.fetch.client.metadata(self.commit, file)?.is_some())
            }
        }
    }

    fn need(&self, file: &str) -> Result<(), Stop> {
        if self.want(file)? { Ok(()) } else { Err(missing(file)) }
    }

    fn shards(&self) -> Result<(), Stop> {
        self.need(layout::INDEX)?;
        let path = self.fetch.cache.pointer(self.commit, layout::INDEX);
        let index = std::fs::read(&path).map_err(|error| self.fetch.cache.fault(&error))?;
        for shard in layout::shards(&index).map_err(|detail| client::nonsense(&detail))? {
            self.need(&shard)?;
        }
        Ok(())
    }

    /// Brings a file into the snapshot; false if the model has none of that name.
    fn want(&self, file: &str) -> Result<bool, DownloadError> {
        let Fetch { client, cache, .. } = self.fetch;
        if cache.has(self.commit, file) {
            return Ok(true);
        }
        if self.files.as_ref().is_some_and(|files| !files.iter().any(|known| known == file)) {
            return Ok(false);
        }
        let Some(metadata) = client.metadata(self.commit, file)? else {
            return Ok(false);
        };
        if !cache.has_blob(&metadata) {
            self.download(file, &metadata)?;
        }
        cache.link(&metadata.etag, self.commit, file)?;
        Ok(true)
    }

    fn download(&self, file: &str, metadata: &Metadata) -> Result<(), DownloadError> {
        let Fetch { client, cache, .. } = self.fetch;
        if file.ends_with(".json") && metadata.size.is_some_and(|size| size > layout::JSON_BYTES) {
            return Err(client::nonsense(&format!("{file} is larger than {} MiB", layout::JSON_BYTES >> 20)));
        }
        let _lock = cache.lock(&metadata.etag, client)?;
        // Another process may have brought it while this one waited for the lock.
        if cache.has_blob(metadata) {
            return Ok(());
        }
        let part = cache.part(&metadata.etag);
        transfer::download(client, cache, self.commit, file, metadata, &part)?;
        if let Err(detail) = verify::check(&part, metadata).map_err(|error| cache.fault(&error))? {
            std::fs::remove_file(&part).map_err(|error| cache.fault(&error))?;
            return Err(DownloadError::Damaged { file: file.to_owned(), detail });
        }
        std::fs::rename(&part, cache.blob(&metadata.etag)).map_err(|error| cache.fault(&error))
    }
}

fn missing(file: &str) -> Stop {
    Stop::Download(DownloadError::NoFile { file: file.to_owned() })
}
