//! The transfer of one file: takes up what an earlier try left, goes on after interruptions, draws the bar.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use ureq::Body;
use ureq::http::{Response, StatusCode, header};

use super::cache::RepoCache;
use super::client::{Client, Fault, Metadata, TRIES};
use crate::hub::DownloadError;

/// Bytes between looks at the deadline.
const CHUNK: usize = 256 << 10;

/// Brings the file's bytes into `part`, after those already there. Not verified yet.
///
/// Tries are counted from the last one that brought anything, so a bad line is no reason to give up before the
/// deadline.
pub(super) fn download(
    client: &Client<'_>,
    cache: &RepoCache,
    commit: &str,
    file: &str,
    metadata: &Metadata,
    part: &Path,
) -> Result<(), DownloadError> {
    let bar = bar(client.progress(), file, metadata.size);
    let mut tries = 0;
    loop {
        let open = OpenOptions::new().append(true).create(true).open(part);
        let mut out = open.map_err(|error| cache.fault(&error))?;
        let before = length(&out, cache)?;
        let transfer = Transfer { client, cache, metadata, file, bar: &bar };
        let fault = match transfer.once(commit, &mut out, before) {
            Ok(()) => {
                out.sync_all().map_err(|error| cache.fault(&error))?;
                bar.finish();
                return Ok(());
            }
            Err(fault) => fault,
        };
        tries = if length(&out, cache)? > before { 1 } else { tries + 1 };
        client.pause(fault, tries, TRIES)?;
    }
}

fn length(file: &File, cache: &RepoCache) -> Result<u64, DownloadError> {
    file.metadata().map(|metadata| metadata.len()).map_err(|error| cache.fault(&error))
}

struct Transfer<'a> {
    client: &'a Client<'a>,
    cache: &'a RepoCache,
    metadata: &'a Metadata,
    file: &'a str,
    bar: &'a ProgressBar,
}

impl Transfer<'_> {
    /// One request, `have` bytes being there already.
    fn once(&self, commit: &str, out: &mut File, have: u64) -> Result<(), Fault> {
        let size = self.metadata.size;
        if have > 0 && size == Some(have) {
            return Ok(());
        }
        let have = if size.is_some_and(|size| have > size) { self.restart(out)? } else { have };
        let response = self.client.get_file(commit, self.file, have)?;
        let have = match response.status() {
            StatusCode::PARTIAL_CONTENT if range_start(&response) == Some(have) => have,
            StatusCode::OK => self.restart(out)?,
            // The rest does not fit what is there (416, or another range): from the beginning, then.
            status => {
                self.restart(out)?;
                return Err(self.client.server_fault(status, self.file));
            }
        };
        self.copy(response, out, have)
    }

    fn restart(&self, out: &File) -> Result<u64, Fault> {
        out.set_len(0).map_err(|error| Fault::last(self.cache.fault(&error)))?;
        Ok(0)
    }

    fn copy(&self, response: Response<Body>, out: &mut File, mut have: u64) -> Result<(), Fault> {
        let mut reader = response.into_body().into_reader();
        let mut buffer = vec![0; CHUNK];
        self.bar.set_position(have);
        loop {
            let count = reader.read(&mut buffer).map_err(|error| self.client.io_fault(&error))?;
            if count == 0 {
                break;
            }
            have += count as u64;
            if let Some(size) = self.metadata.size.filter(|size| have > *size) {
                self.restart(out)?;
                let detail = format!("more than {size} bytes");
                return Err(Fault::last(DownloadError::Damaged { file: self.file.to_owned(), detail }));
            }
            let new = buffer.get(..count).unwrap_or_default();
            out.write_all(new).map_err(|error| Fault::last(self.cache.fault(&error)))?;
            self.bar.set_position(have);
            self.client.check_deadline().map_err(Fault::last)?;
        }
        match self.metadata.size {
            Some(size) if have < size => Err(self.client.cut_off(have, size)),
            _ => Ok(()),
        }
    }
}

/// Where a partial answer begins: the 5 of `content-range: bytes 5-9/10`.
fn range_start(response: &Response<Body>) -> Option<u64> {
    let range = response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?;
    range.strip_prefix("bytes ")?.split('-').next()?.parse().ok()
}

fn bar(progress: bool, file: &str, size: Option<u64>) -> ProgressBar {
    if !progress {
        return ProgressBar::hidden();
    }
    let bar = size.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
    let style = "{msg:28!} {bar:32} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    // A template that does not parse leaves indicatif's own style.
    if let Ok(style) = ProgressStyle::with_template(style) {
        bar.set_style(style);
    }
    bar.with_message(file.to_owned())
}
