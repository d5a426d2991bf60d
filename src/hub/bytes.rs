//! The bytes of a model's file, wherever they are: in the binary, in memory, or on the disk.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytemuck::AnyBitPattern;
use sha2::{Digest, Sha256};

/// Read at a time where a whole file passes by.
const CHUNK: usize = 1 << 20;

/// One file of a model.
#[derive(Clone)]
pub enum FileBytes {
    Static(&'static [u8]),
    Owned(Arc<Vec<u8>>),
    /// Weights stay on the disk: each tensor is read when it is asked for, so the file never is in memory as a whole.
    OnDisk(Arc<OnDisk>),
}

/// An open file of weights.
pub struct OnDisk {
    file: Mutex<File>,
    len: usize,
    /// A blob of the hub's cache, which nobody writes to: what needs no conversion can be used where it is.
    #[cfg(feature = "hub")]
    map: Option<memmap2::Mmap>,
}

impl OnDisk {
    pub(super) fn new(file: File, immutable: bool) -> io::Result<Self> {
        let len = usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?;
        #[cfg(not(feature = "hub"))]
        let _ = immutable;
        Ok(Self {
            #[cfg(feature = "hub")]
            map: immutable.then(|| map(&file)).transpose()?,
            file: Mutex::new(file),
            len,
        })
    }

    fn read(&self, at: usize, into: &mut [u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(at as u64))?;
        file.read_exact(into)
    }
}

/// Maps a blob of the hub's cache, so that processes serving the same model share the pages they use of it.
#[cfg(feature = "hub")]
#[allow(unsafe_code, reason = "a file can only be mapped so; see the comment inside")]
fn map(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: a map must not change or shrink below its reader. Blobs of the cache bear the name of their content and
    // are never written again: downloads (ours, and Python's) go to another file that is renamed once it is whole, and
    // deleting a blob leaves mapped pages alone. Whoever truncates a blob in place breaks the cache for every user.
    unsafe { memmap2::Mmap::map(file) }
}

impl FileBytes {
    pub fn len(&self) -> usize {
        match self {
            Self::Static(bytes) => bytes.len(),
            Self::Owned(bytes) => bytes.len(),
            Self::OnDisk(file) => file.len,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole file, unless it is on the disk.
    pub fn in_memory(&self) -> Option<&[u8]> {
        match self {
            Self::Static(bytes) => Some(bytes),
            Self::Owned(bytes) => Some(bytes),
            Self::OnDisk(_) => None,
        }
    }

    /// Fills `into` with the bytes from `at` on.
    ///
    /// # Errors
    /// The file ends before, or cannot be read.
    pub fn read(&self, at: usize, into: &mut [u8]) -> io::Result<()> {
        if let Self::OnDisk(file) = self {
            return file.read(at, into);
        }
        let end = at.checked_add(into.len());
        let from = self.in_memory().and_then(|bytes| bytes.get(at..end?));
        into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    /// The bytes of `range`, without a copy where they are in memory.
    ///
    /// # Errors
    /// As [`FileBytes::read`].
    pub fn range(&self, range: Range<usize>) -> io::Result<Cow<'_, [u8]>> {
        if range.start > range.end || range.end > self.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(bytes) = self.in_memory() {
            return Ok(Cow::Borrowed(&bytes[range]));
        }
        let mut bytes = vec![0; range.len()];
        self.read(range.start, &mut bytes)?;
        Ok(Cow::Owned(bytes))
    }

    /// `range` as numbers that are used where they are: in the binary, or in an immutable blob. `None` where that
    /// cannot be, also for want of alignment.
    pub fn shared<T: AnyBitPattern>(&self, range: Range<usize>) -> Option<Shared<T>> {
        let shared = Shared { bytes: self.clone(), range, of: PhantomData };
        shared.get().is_some().then_some(shared)
    }

    pub(super) fn sha256(&self) -> io::Result<[u8; 32]> {
        let mut hash = Sha256::new();
        let (mut at, len) = (0, self.len());
        while at < len {
            let end = len.min(at + CHUNK);
            hash.update(&self.range(at..end)?);
            at = end;
        }
        Ok(hash.finalize().into())
    }
}

impl std::fmt::Debug for FileBytes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "FileBytes({} bytes)", self.len())
    }
}

/// Numbers inside a file, in the order of this machine's bytes.
#[derive(Debug, Clone)]
pub struct Shared<T> {
    bytes: FileBytes,
    range: Range<usize>,
    of: PhantomData<T>,
}

impl<T: AnyBitPattern> Shared<T> {
    fn get(&self) -> Option<&[T]> {
        if cfg!(target_endian = "big") {
            return None;
        }
        let bytes = match &self.bytes {
            FileBytes::Static(bytes) => *bytes,
            #[cfg(feature = "hub")]
            FileBytes::OnDisk(file) => file.map.as_deref()?,
            _ => return None,
        };
        bytemuck::try_cast_slice(bytes.get(self.range.clone())?).ok()
    }
}

impl<T: AnyBitPattern> AsRef<[T]> for Shared<T> {
    fn as_ref(&self) -> &[T] {
        self.get().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_on_the_disk_reads_like_one_in_memory() {
        let content: Vec<u8> = (0..3 * CHUNK as u32 / 4).flat_map(u32::to_le_bytes).collect();
        let path = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(path.path(), &content).unwrap();
        let open = |immutable| {
            let file = File::open(path.path()).unwrap();
            FileBytes::OnDisk(Arc::new(OnDisk::new(file, immutable).unwrap()))
        };
        let memory = FileBytes::Owned(Arc::new(content.clone()));
        for bytes in [open(false), open(true), memory.clone()] {
            assert_eq!(bytes.len(), content.len());
            assert_eq!(bytes.range(5..1000).unwrap(), &content[5..1000]);
            assert_eq!(bytes.sha256().unwrap(), memory.sha256().unwrap());
            assert!(bytes.range(5..content.len() + 1).is_err());
            assert!(bytes.read(content.len() - 1, &mut [0; 2]).is_err());
        }
        assert!(open(false).shared::<f32>(0..8).is_none());
        #[cfg(feature = "hub")]
        {
            let floats = open(true).shared::<f32>(4..12).unwrap();
            assert_eq!(floats.as_ref(), [f32::from_bits(1), f32::from_bits(2)]);
            assert!(open(true).shared::<f32>(3..11).is_none(), "not aligned");
            assert_eq!(open(true).shared::<u16>(6..10).unwrap().as_ref(), [0, 2]);
            assert!(open(true).shared::<f32>(0..content.len() + 4).is_none());
        }
    }
}
