//! Writing a log: one thread, in the order of [`Log::append`]. A record is reported as written once it is on the disk;
//! records that wait meanwhile go together.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::RECORD_BYTES;
use super::record::{self, NONE, Place, seal};
use super::store::{OnDisk, Store};
use super::time;

/// Records that are written and synchronised together at most.
const TOGETHER: usize = 64;
/// No record joins others that have so many bytes already.
const TOGETHER_BYTES: usize = 8 << 20;
/// What a record that was begun starts with.
const BEGIN: &[u8] = b"{\"seq\":";
const BEGIN_FIRST: &[u8] = b"{\"seq\":0,\"time\":\"";
const BLOCK: u64 = 64 << 10;

/// Why a log cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: another process writes this log; give each its own file")]
    Locked { path: PathBuf },
    #[error("{path}: {detail}; `explaind audit verify` says more. Move the file away to begin a new log")]
    Broken { path: PathBuf, detail: String },
}

/// Why a record was not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the audit log cannot be written: {0}")]
pub struct WriteError(String);

/// There is no room among the records that wait, or the writer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no more records can wait to be written")]
pub struct Full;

/// What a record is about: the members of a JSON object.
#[derive(Debug)]
pub struct Entry(String);

impl Entry {
    /// # Errors
    /// It is no object, has no member, or is too long for a record.
    pub fn new(members: &impl Serialize) -> Result<Self, WriteError> {
        let text = serde_json::to_string(members).map_err(|error| WriteError(error.to_string()))?;
        let members = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).filter(|text| !text.is_empty());
        let members = members.ok_or_else(|| WriteError("a record is an object with members".to_owned()))?;
        if members.len() > RECORD_BYTES - 1024 {
            return Err(WriteError(format!("a record has at most {RECORD_BYTES} bytes")));
        }
        Ok(Self(members.to_owned()))
    }

    /// Its length while it waits.
    pub fn bytes(&self) -> usize {
        self.0.len()
    }
}

/// Told once, on the writer's thread: where the record stands, or why it does not.
pub type Done = Box<dyn FnOnce(Result<Place, WriteError>) + Send>;

struct Message {
    entry: Entry,
    done: Done,
}

/// A log that is being written. Dropped, what waits is written and the thread ends.
pub struct Log {
    sender: SyncSender<Message>,
}

impl Log {
    /// Opens or begins the log at `path`, for this process alone, and continues after its last record. A record that was
    /// being written when a process was killed is cut, and a record says so. `waiting` records may wait at once.
    ///
    /// # Errors
    /// The file cannot be opened or locked, or does not end with a whole record.
    pub fn open(path: &Path, waiting: usize) -> Result<Self, OpenError> {
        let wrong = |error| OpenError::Io { path: path.to_owned(), error };
        let mut file = create(path).map_err(wrong)?;
        file.try_lock().map_err(|error| match error {
            std::fs::TryLockError::WouldBlock => OpenError::Locked { path: path.to_owned() },
            std::fs::TryLockError::Error(error) => wrong(error),
        })?;
        let (last, length, torn) =
            end(&mut file).map_err(wrong)?.map_err(|detail| OpenError::Broken { path: path.to_owned(), detail })?;
        let store = OnDisk { file, path: path.to_owned() };
        let mut writer = Writer { store, last, length, unsound: torn.is_some() };
        if let Some(Torn { bytes, sha256 }) = torn {
            let members = format!("\"event\":\"recovered\",\"bytes\":{bytes},\"sha256\":\"{sha256}\"");
            writer.write(&[&Entry(members)]).map_err(|error| wrong(io::Error::other(error.0)))?;
            tracing::warn!(path = %path.display(), bytes, "the audit log ended in an unfinished record, which was cut");
        }
        start(writer, waiting).map_err(wrong)
    }

    /// Hands a record over and returns at once.
    ///
    /// # Errors
    /// As many wait as may.
    pub fn append(&self, entry: Entry, done: Done) -> Result<(), Full> {
        self.sender.try_send(Message { entry, done }).map_err(|_| Full)
    }
}

fn start<S: Store + 'static>(writer: Writer<S>, waiting: usize) -> io::Result<Log> {
    let (sender, receiver) = sync_channel(waiting.max(1));
    thread::Builder::new().name("explaind-audit".to_owned()).spawn(move || writer.run(&receiver))?;
    Ok(Log { sender })
}

/// Opens for appending, readable by the owner alone where it is new.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    let file = options.open(path)?;
    // The name of a new file has to survive as well.
    #[cfg(unix)]
    File::open(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

/// A record that was begun and not finished.
struct Torn {
    bytes: usize,
    sha256: String,
}

/// The last whole record, where it ends, and what follows it. The inner error says that this is no log that can go on.
type End = Result<(Option<Place>, u64, Option<Torn>), String>;

fn end(file: &mut File) -> io::Result<End> {
    let total = file.metadata()?.len();
    let length = after_line_end(file, total)?;
    let torn = slice(file, length, total)?;
    if !begun(&torn, length == 0) {
        return Ok(Err("its end is no record; is this another kind of file?".to_owned()));
    }
    let torn = (!torn.is_empty()).then(|| Torn { bytes: torn.len(), sha256: format!("{:x}", Sha256::digest(&torn)) });
    if length == 0 {
        return Ok(Ok((None, 0, torn)));
    }
    let start = after_line_end(file, length - 1)?;
    let line = slice(file, start, length - 1)?;
    Ok(record::open(&line)
        .map(|(_, place)| (Some(place), length, torn))
        .map_err(|why| format!("its last record: {why}")))
}

/// Whether a record may begin so. Of the `first` one its number is known; after a loss of power zeros may stand for what
/// was not written yet.
fn begun(torn: &[u8], first: bool) -> bool {
    let zeros = torn.iter().rev().take_while(|&&byte| byte == 0).count();
    let written = &torn[..torn.len() - zeros];
    let begin: &[u8] = if first { BEGIN_FIRST } else { BEGIN };
    (!first || zeros == 0 || !written.is_empty()) && written.iter().zip(begin).all(|(found, begun)| found == begun)
}

/// Where the last line that ends before `before` ends.
fn after_line_end(file: &mut File, before: u64) -> io::Result<u64> {
    let mut end = before;
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        let block = slice(file, start, end)?;
        if let Some(at) = block.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn slice(file: &mut File, from: u64, to: u64) -> io::Result<Vec<u8>> {
    if to - from > RECORD_BYTES as u64 {
        return Err(io::Error::other(format!(
            "its last line has more than {RECORD_BYTES} bytes; this is no audit log"
        )));
    }
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(to - from).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The first message and what waits behind it, as far as it goes together.
fn together(first: Message, messages: &Receiver<Message>) -> Vec<Message> {
    let mut bytes = first.entry.bytes();
    let mut batch = vec![first];
    while batch.len() < TOGETHER && bytes < TOGETHER_BYTES {
        let Ok(message) = messages.try_recv() else { break };
        bytes += message.entry.bytes();
        batch.push(message);
    }
    batch
}

struct Writer<S> {
    store: S,
    last: Option<Place>,
    /// Bytes of whole records.
    length: u64,
    /// Whether something may stand behind them.
    unsound: bool,
}

impl<S: Store> Writer<S> {
    fn run(mut self, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let batch = together(first, messages);
            let entries: Vec<&Entry> = batch.iter().map(|message| &message.entry).collect();
            let written = self.write(&entries);
            if let Err(error) = &written {
                tracing::error!(%error, records = batch.len(), "no answer leaves without its record");
            }
            for (index, message) in batch.into_iter().enumerate() {
                let place = written.as_ref().map_err(Clone::clone).and_then(|places| {
                    places.get(index).cloned().ok_or_else(|| WriteError("it was not written".to_owned()))
                });
                (message.done)(place);
            }
        }
    }

    /// All of them or none.
    fn write(&mut self, entries: &[&Entry]) -> Result<Vec<Place>, WriteError> {
        let failed = |error: io::Error| WriteError(error.to_string());
        if self.unsound {
            self.store.cut(self.length).map_err(failed)?;
            self.unsound = false;
        }
        self.store.intact(self.length).map_err(failed)?;
        let mut text = String::new();
        let mut places: Vec<Place> = Vec::with_capacity(entries.len());
        for entry in entries {
            let last = places.last().or(self.last.as_ref());
            let seq = last.map_or(0, |last| last.seq + 1);
            let (line, hash) = seal(seq, &time::now(), last.map_or(NONE, |last| &last.hash), &entry.0);
            text.push_str(&line);
            places.push(Place { seq, hash });
        }
        if let Err(error) = self.store.append(text.as_bytes()) {
            // Part of it may be there. Where even this fails, the next record tries again first.
            self.unsound = self.store.cut(self.length).is_err();
            return Err(failed(error));
        }
        self.length += text.len() as u64;
        self.last = places.last().cloned().or(self.last.take());
        Ok(places)
    }
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
