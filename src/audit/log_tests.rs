//! Logs that are continued, torn, locked, moved, and disks that are full.

use std::fs;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::super::verify;
use super::*;

fn add(log: &Log, number: u64) -> Result<Place, WriteError> {
    let (sender, receiver) = channel();
    let done: Done = Box::new(move |written| sender.send(written).unwrap());
    log.append(Entry::new(&json!({"event": "answer", "number": number})).unwrap(), done).unwrap();
    receiver.recv().unwrap()
}

fn whole(path: &Path) -> u64 {
    let found = verify(fs::read(path).unwrap().as_slice()).unwrap();
    assert_eq!(found.fault, None);
    found.records
}

/// A file and the folder that holds it.
fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    (folder, path)
}

/// Opens once the log that was dropped has let go of its file.
fn reopen(path: &Path) -> Log {
    loop {
        match Log::open(path, 8) {
            Err(OpenError::Locked { .. }) => thread::yield_now(),
            log => return log.unwrap(),
        }
    }
}

#[test]
fn a_log_goes_on_where_it_ended() {
    let (_folder, path) = place();
    for start in [0, 2, 4] {
        let log = reopen(&path);
        assert_eq!(add(&log, start).unwrap().seq, start);
        assert_eq!(add(&log, start + 1).unwrap().seq, start + 1);
        assert!(matches!(Log::open(&path, 8), Err(OpenError::Locked { .. })));
    }
    assert_eq!(whole(&path), 6);
}

#[test]
fn a_torn_record_is_cut_and_a_record_says_so() {
    let (_folder, path) = place();
    let log = reopen(&path);
    add(&log, 0).unwrap();
    add(&log, 1).unwrap();
    drop(log);
    let sound = fs::read(&path).unwrap();
    for (cut, zeros) in [(1, 0), (7, 0), (30, 0), (100, 0), (30, 70), (0, 5)] {
        let mut torn = sound.clone();
        torn.extend_from_slice(&sound[..cut]);
        torn.resize(torn.len() + zeros, 0);
        let cut = cut + zeros;
        // Gone before the other's lock is: wait for it.
        drop(reopen(&path));
        fs::write(&path, torn).unwrap();
        assert!(verify(fs::read(&path).unwrap().as_slice()).unwrap().fault.unwrap().why.contains("torn"));
        let log = reopen(&path);
        assert_eq!(add(&log, 2).unwrap().seq, 3);
        drop(log);
        let text = fs::read_to_string(&path).unwrap();
        let recovered = text.lines().nth(2).unwrap();
        assert!(recovered.contains(&format!("\"event\":\"recovered\",\"bytes\":{cut},")), "{recovered}");
        assert_eq!(whole(&path), 4);
    }
}

#[test]
fn a_file_that_is_no_log_is_left_alone() {
    let (_folder, path) = place();
    for content in [
        "hello",
        "{\"seq\":1,\"mine\":true}",
        "{\"seq\":0,\"mine\":true}",
        "\0\0",
        "hello\n",
        "{\"seq\":0}\n",
        "{\"a\":1}\n{\"seq\"",
    ] {
        fs::write(&path, content).unwrap();
        let error = Log::open(&path, 8).err().unwrap();
        assert!(matches!(error, OpenError::Broken { .. }), "{content}: {error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), content);
    }
    assert!(matches!(Log::open(&path.join("below"), 8), Err(OpenError::Io { .. })));
}

#[test]
fn a_last_record_that_was_changed_is_not_continued() {
    let (_folder, path) = place();
    let log = reopen(&path);
    add(&log, 7).unwrap();
    drop(log);
    drop(reopen(&path));
    let text = fs::read_to_string(&path).unwrap().replace("\"number\":7", "\"number\":8");
    fs::write(&path, text).unwrap();
    let error = loop {
        match Log::open(&path, 8) {
            Err(OpenError::Locked { .. }) => thread::yield_now(),
            other => break other.err().unwrap().to_string(),
        }
    };
    assert!(error.contains("its last record: its hash is"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_file_that_moves_or_changes_is_not_written_any_more() {
    let (folder, path) = place();
    let log = reopen(&path);
    add(&log, 0).unwrap();
    fs::rename(&path, folder.path().join("old")).unwrap();
    assert!(add(&log, 1).unwrap_err().to_string().contains("moved or removed"));
    fs::rename(folder.path().join("old"), &path).unwrap();
    add(&log, 1).unwrap();
    fs::write(&path, "").unwrap();
    assert!(add(&log, 2).unwrap_err().to_string().contains("another program"));
}

/// A disk that takes so many bytes, and the file on it.
struct Small {
    content: Arc<Mutex<Vec<u8>>>,
    room: Arc<Mutex<usize>>,
    cuts: bool,
}

impl Store for Small {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.content.lock().unwrap();
        let fits = bytes.len().min(self.room.lock().unwrap().saturating_sub(content.len()));
        content.extend_from_slice(&bytes[..fits]);
        if fits == bytes.len() { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
    }
    fn cut(&mut self, length: u64) -> io::Result<()> {
        let full = self.room.lock().unwrap();
        if !self.cuts && *full < 10_000 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.content.lock().unwrap().truncate(length as usize);
        Ok(())
    }
    fn intact(&self, length: u64) -> io::Result<()> {
        assert_eq!(self.content.lock().unwrap().len() as u64, length);
        Ok(())
    }
}

#[test]
fn a_full_disk_refuses_records_and_loses_none() {
    for cuts in [true, false] {
        let (content, room) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(600)));
        let store = Small { content: Arc::clone(&content), room: Arc::clone(&room), cuts };
        let log = start(Writer { store, last: None, length: 0, unsound: false }, 8).unwrap();
        let mut written = 0;
        let error = loop {
            match add(&log, written) {
                Ok(place) => {
                    assert_eq!(place.seq, written);
                    written += 1;
                }
                Err(error) => break error,
            }
        };
        assert!(written >= 1 && error.to_string().contains("cannot be written"), "{error}");
        assert!(add(&log, 9).is_err());
        // Once there is room again it goes on, with nothing missing and nothing half written between.
        *room.lock().unwrap() = 1 << 20;
        assert_eq!(add(&log, 10).unwrap().seq, written);
        let found = verify(content.lock().unwrap().as_slice()).unwrap();
        assert_eq!((found.records, found.fault), (written + 1, None));
    }
}

#[test]
fn records_that_go_together_are_bounded_in_bytes() {
    let (sender, receiver) = sync_channel(100);
    let log = Log { sender };
    let big = json!({"text": "x".repeat(TOGETHER_BYTES / 2)});
    for _ in 0..3 {
        log.append(Entry::new(&big).unwrap(), Box::new(|_| {})).unwrap();
    }
    assert_eq!(together(receiver.recv().unwrap(), &receiver).len(), 2);
    for _ in 0..70 {
        log.append(Entry::new(&json!({"a": 1})).unwrap(), Box::new(|_| {})).unwrap();
    }
    assert_eq!(together(receiver.recv().unwrap(), &receiver).len(), TOGETHER);
}

#[test]
fn what_waits_is_bounded_and_in_order() {
    let (sender, receiver) = sync_channel(2);
    let log = Log { sender };
    let entry = || Entry::new(&json!({"event": "answer"})).unwrap();
    let done = || -> Done { Box::new(|_| {}) };
    assert_eq!(log.append(entry(), done()), Ok(()));
    assert_eq!(log.append(entry(), done()), Ok(()));
    assert_eq!(log.append(entry(), done()), Err(Full));
    drop(receiver);
    assert_eq!(log.append(entry(), done()), Err(Full));
}

#[test]
fn entries_are_objects() {
    assert!(Entry::new(&json!([1])).is_err());
    assert!(Entry::new(&json!({})).is_err());
    assert!(Entry::new(&json!({"a": "}"})).is_ok());
}
