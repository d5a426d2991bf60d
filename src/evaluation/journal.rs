//! The finished items of a run, line by line on disk, so that a run that was ended in the middle goes on.

use std::collections::{BTreeMap, HashSet};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use super::outcome::Record;

/// Why a journal could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{}: {error}", file.display())]
    Io { file: PathBuf, error: io::Error },
    #[error(
        "{} is of another run: its {what} differs; choose another --output, or remove the file to begin anew",
        file.display()
    )]
    Other { file: PathBuf, what: String },
    #[error("{}: another run is writing it; wait for its end, or choose another --output", file.display())]
    Busy { file: PathBuf },
    #[error("{}:{line}: {error}; remove the file to begin anew", file.display())]
    Damaged { file: PathBuf, line: usize, error: serde_json::Error },
}

/// Where finished items go; without a file they stay in memory. One process at a time has the file.
pub struct Journal {
    file: Option<Mutex<File>>,
    /// By stage and item; of an item that was asked again the last.
    done: Mutex<BTreeMap<(usize, usize), Record>>,
}

impl Journal {
    pub fn in_memory() -> Self {
        Self { file: None, done: Mutex::default() }
    }

    /// Opens or begins the journal of the run that `head` describes: an object whose entries must be the same for a run
    /// to go on. A last line that was not written to its end is dropped.
    ///
    /// # Errors
    /// The file cannot be read or written, another process has it, or it is of another run, or damaged before its last
    /// line.
    pub fn open(path: &Path, head: &Value) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Io { file: path.to_owned(), error };
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(path).map_err(failed)?;
        locked(&file).map_err(|error| match error {
            TryLockError::WouldBlock => JournalError::Busy { file: path.to_owned() },
            TryLockError::Error(error) => failed(error),
        })?;
        let mut before = Vec::new();
        file.read_to_end(&mut before).map_err(failed)?;
        let whole = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        let mut done = BTreeMap::new();
        let lines = before[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        for (index, line) in lines.enumerate() {
            let damaged = |error| JournalError::Damaged { file: path.to_owned(), line: index + 1, error };
            if index == 0 {
                let found: Value = serde_json::from_slice(line).map_err(damaged)?;
                if let Some(what) = difference(&found, head) {
                    return Err(JournalError::Other { file: path.to_owned(), what });
                }
            } else {
                let record: Record = serde_json::from_slice(line).map_err(damaged)?;
                done.insert((record.stage, record.item), record);
            }
        }
        file.set_len(whole as u64).map_err(failed)?;
        if whole == 0 {
            writeln!(file, "{head}").map_err(failed)?;
        }
        Ok(Self { file: Some(Mutex::new(file)), done: Mutex::new(done) })
    }

    fn done(&self) -> MutexGuard<'_, BTreeMap<(usize, usize), Record>> {
        self.done.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The items of `stage` that are finished: no method failed.
    pub fn finished(&self, stage: usize) -> HashSet<usize> {
        let done = self.done();
        let whole = |record: &&Record| record.outcomes.iter().all(|outcome| outcome.error.is_none());
        done.range((stage, 0)..=(stage, usize::MAX))
            .map(|(_, record)| record)
            .filter(whole)
            .map(|one| one.item)
            .collect()
    }

    /// What there is of an item, finished or not.
    pub fn record(&self, stage: usize, item: usize) -> Option<Record> {
        self.done().get(&(stage, item)).cloned()
    }

    /// Keeps an item; one that came out as before is kept already.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep(&self, record: Record) -> io::Result<()> {
        let place = (record.stage, record.item);
        if self.done().get(&place) == Some(&record) {
            return Ok(());
        }
        if let Some(file) = &self.file {
            let mut line = serde_json::to_vec(&record)?;
            line.push(b'\n');
            // One write a line: whatever ends the process, at most the last line is cut.
            file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?;
        }
        self.done().insert(place, record);
        Ok(())
    }

    /// What there is of `stage`, by item, in whatever order it was.
    pub fn records(&self, stage: usize) -> Vec<Record> {
        self.done().range((stage, 0)..=(stage, usize::MAX)).map(|(_, record)| record.clone()).collect()
    }
}

/// Held until the file is closed, or the process ends.
fn locked(file: &File) -> Result<(), TryLockError> {
    match file.try_lock() {
        // A file system without locks: two runs at once are the caller's matter there.
        Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(()),
        other => other,
    }
}

/// The first entry that is not the same.
fn difference(found: &Value, wanted: &Value) -> Option<String> {
    let (Value::Object(found), Value::Object(wanted)) = (found, wanted) else { return Some("first line".to_owned()) };
    let mut names = wanted.keys().chain(found.keys());
    names.find(|name| found.get(*name) != wanted.get(*name)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::outcome::Outcome;
    use serde_json::json;

    fn record(item: usize) -> Record {
        Record { stage: 0, item, seen: None, outcomes: Vec::new() }
    }

    #[test]
    fn a_cut_line_is_dropped_and_the_rest_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let head = json!({"data": "a", "seed": 0});
        let journal = Journal::open(&path, &head).unwrap();
        journal.keep(record(1)).unwrap();
        journal.keep(record(0)).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 4]).unwrap();
        let journal = Journal::open(&path, &head).unwrap();
        assert_eq!(journal.finished(0), HashSet::from([1]));
        assert!(journal.finished(1).is_empty());
        journal.keep(record(0)).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), whole);
        assert_eq!(journal.records(0).iter().map(|record| record.item).collect::<Vec<_>>(), [0, 1]);
    }

    /// An item of which something failed is asked again, and what comes of it takes the old one's place.
    #[test]
    fn what_failed_is_not_finished() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let head = json!({"seed": 0});
        let journal = Journal::open(&path, &head).unwrap();
        let failed = Record { outcomes: vec![Outcome::default(), Outcome::failed("late")], ..record(3) };
        let whole = Record { outcomes: vec![Outcome::default(); 2], ..record(3) };
        journal.keep(failed.clone()).unwrap();
        let once = std::fs::read(&path).unwrap();
        journal.keep(failed.clone()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), once, "nothing new to keep");
        drop(journal);
        let journal = Journal::open(&path, &head).unwrap();
        assert!(journal.finished(0).is_empty() && journal.record(0, 3) == Some(failed));
        journal.keep(whole.clone()).unwrap();
        drop(journal);
        let journal = Journal::open(&path, &head).unwrap();
        assert_eq!((journal.finished(0), journal.records(0)), (HashSet::from([3]), vec![whole]));
    }

    #[test]
    fn one_run_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let first = Journal::open(&path, &json!({})).unwrap();
        let error = Journal::open(&path, &json!({})).err().unwrap().to_string();
        assert!(error.contains("journal.jsonl: another run is writing it"), "{error}");
        drop(first);
        assert!(Journal::open(&path, &json!({})).is_ok());
    }

    #[test]
    fn another_run_and_a_damaged_line_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        drop(Journal::open(&path, &json!({"seed": 0})).unwrap());
        let error = Journal::open(&path, &json!({"seed": 1})).err().unwrap().to_string();
        assert!(error.contains("its seed differs"), "{error}");
        std::fs::write(&path, "{\"seed\":0}\n{\n{}\n").unwrap();
        let error = Journal::open(&path, &json!({"seed": 0})).err().unwrap().to_string();
        assert!(error.contains("journal.jsonl:2:"), "{error}");
    }
}
