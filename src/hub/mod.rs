//! Where models come from: a Hugging Face hub, a folder, or the binary itself. What leaves here is a [`ModelFolder`]:
//! the files by name, whatever their origin. Not here: what is inside the files. Called by `cli` and tests.

mod bundled;
mod bytes;
mod error;
#[cfg(feature = "hub")]
mod fetch;
mod folder;
mod layout;
mod options;
mod source;
#[cfg(test)]
mod tests;

pub use bundled::bundled_names;
pub use bytes::{FileBytes, Shared};
pub use error::{DownloadError, HubError};
pub use folder::ModelFolder;
pub use options::{HubOptions, HubOverrides, Secret};
pub use source::Source;

/// Fetches (if need be) and opens a source. Blocks: for a download up to `options.deadline`.
///
/// # Errors
/// See [`HubError`]; every message says what to do.
pub fn open(source: &Source, options: &HubOptions) -> Result<ModelFolder, HubError> {
    match source {
        Source::Bundled(name) => bundled::open(name, source.to_string()),
        Source::Folder(path) => folder::read(path, source.to_string(), None, folder::Kept::Changeable),
        #[cfg(feature = "hub")]
        Source::Hub { id, file, revision } => {
            let revision = revision.as_deref().unwrap_or("main");
            let snapshot = fetch::fetch((id, file.as_deref()), revision, options)?;
            let path = file.iter().fold(snapshot.folder, |folder, file| folder.join(file));
            folder::read(&path, source.to_string(), Some(snapshot.commit), folder::Kept::Immutable)
        }
        #[cfg(not(feature = "hub"))]
        Source::Hub { .. } => {
            let _ = options;
            Err(HubError::Download { id: source.to_string(), why: DownloadError::NotBuilt })
        }
    }
}
