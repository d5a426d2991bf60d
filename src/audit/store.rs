//! Where a log's bytes go. A trait, so that tests can fill the disk.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::PathBuf;

pub(super) trait Store: Send {
    /// Writes at the end and returns once the bytes are on the disk.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Takes away what was written after `length`.
    fn cut(&mut self, length: u64) -> io::Result<()>;
    /// Whether the file is still where it was, `length` bytes long.
    ///
    /// # Errors
    /// What became of it.
    fn intact(&self, length: u64) -> io::Result<()>;
}

/// A file that is opened for appending and locked.
pub(super) struct OnDisk {
    pub file: File,
    pub path: PathBuf,
}

impl Store for OnDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_data()
    }

    fn intact(&self, length: u64) -> io::Result<()> {
        let (open, named) = (self.file.metadata()?, std::fs::metadata(&self.path));
        let found = open.len();
        if found != length {
            let detail = format!("it has {found} bytes and should have {length}: another program has changed it");
            return Err(io::Error::other(detail));
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt as _;
            if named.is_ok_and(|named| (named.dev(), named.ino()) == (open.dev(), open.ino())) {
                return Ok(());
            }
            Err(io::Error::other("the file was moved or removed while it is written; restart to begin another"))
        }
        #[cfg(not(unix))]
        named.map(|_| ())
    }
}
