//! Whether a downloaded file is what the hub said. The hub names large files by SHA-256 and small ones by git's blob
//! hash (SHA-1 over `blob LENGTH\0` and the content); mirrors may use other names, which say nothing.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::client::Metadata;
use crate::hub::folder::hex;

/// `Ok(Err(what is wrong))` for a damaged file; `Err` if it cannot be read.
pub(super) fn check(path: &Path, metadata: &Metadata) -> io::Result<Result<(), String>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if let Some(size) = metadata.size.filter(|size| *size != length) {
        return Ok(Err(format!("{length} bytes instead of {size}")));
    }
    let is_hex = metadata.etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = match metadata.etag.len() {
        64 if is_hex => digest(Sha256::new(), &mut file)?,
        40 if is_hex => digest(Sha1::new().chain_update(format!("blob {length}\0")), &mut file)?,
        _ => return Ok(Ok(())),
    };
    if hash.eq_ignore_ascii_case(&metadata.etag) {
        return Ok(Ok(()));
    }
    Ok(Err(format!("its hash is {hash} instead of {}", metadata.etag)))
}

fn digest<D: Digest + Write>(mut hasher: D, file: &mut File) -> io::Result<String> {
    io::copy(file, &mut hasher)?;
    Ok(hex(&hasher.finalize()))
}
