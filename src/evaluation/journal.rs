//! The finished items of a run, line by line on disk, so that a run that was ended in the middle goes on.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

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
    #[error("{}:{line}: {error}; remove the file to begin anew", file.display())]
    Damaged { file: PathBuf, line: usize, error: serde_json::Error },
}

/// Where finished items go; without a file they stay in memory.
pub struct Journal {
    file: Option<Mutex<File>>,
    done: Mutex<Vec<Record>>,
}

impl Journal {
    pub fn in_memory() -> Self {
        Self { file: None, done: Mutex::default() }
    }

    /// Opens or begins the journal of the run that `head` describes: an object whose entries must be the same for a run
    /// to go on. A last line that was not written to its end is dropped.
    ///
    /// # Errors
    /// The file cannot be read or written, is of another run, or is damaged before its last line.
    pub fn open(path: &Path, head: &Value) -> Result<Self, JournalError> {
        let failed = |error| JournalError::Io { file: path.to_owned(), error };
        let before = match std::fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(failed(error)),
        };
        let whole = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |place| place + 1);
        let mut done = Vec::new();
        let lines = before[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty());
        for (index, line) in lines.enumerate() {
            let damaged = |error| JournalError::Damaged { file: path.to_owned(), line: index + 1, error };
            if index == 0 {
                let found: Value = serde_json::from_slice(line).map_err(damaged)?;
                if let Some(what) = difference(&found, head) {
                    return Err(JournalError::Other { file: path.to_owned(), what });
                }
            } else {
                done.push(serde_json::from_slice(line).map_err(damaged)?);
            }
        }
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(failed)?;
        file.set_len(whole as u64).map_err(failed)?;
        if whole == 0 {
            writeln!(file, "{head}").map_err(failed)?;
        }
        Ok(Self { file: Some(Mutex::new(file)), done: Mutex::new(done) })
    }

    /// The items of `stage` that are finished.
    pub fn finished(&self, stage: usize) -> HashSet<usize> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.iter().filter(|record| record.stage == stage).map(|record| record.item).collect()
    }

    /// Keeps a finished item.
    ///
    /// # Errors
    /// It could not be written.
    pub fn keep(&self, record: Record) -> io::Result<()> {
        if let Some(file) = &self.file {
            let mut line = serde_json::to_vec(&record)?;
            line.push(b'\n');
            // One write a line: whatever ends the process, at most the last line is cut.
            file.lock().unwrap_or_else(PoisonError::into_inner).write_all(&line)?;
        }
        self.done.lock().unwrap_or_else(PoisonError::into_inner).push(record);
        Ok(())
    }

    /// What is finished of `stage`, by item, in whatever order it was.
    pub fn records(&self, stage: usize) -> Vec<Record> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        let mut records: Vec<Record> = done.iter().filter(|record| record.stage == stage).cloned().collect();
        records.sort_by_key(|record| record.item);
        records
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
