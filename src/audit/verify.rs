//! Reading a log through from its first record, one line at a time.

use std::io::{self, BufRead, Read as _};

use super::RECORD_BYTES;
use super::record::{self, NONE, Place};

/// What reading a log through found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Whole records, up to a fault.
    pub records: u64,
    /// The newest of them. Only who has noted it elsewhere can tell that none was taken off the end.
    pub last: Option<Place>,
    /// Times of the first and of the newest.
    pub times: Option<(String, String)>,
    pub fault: Option<Fault>,
}

/// The first thing wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Counts from 1.
    pub line: u64,
    pub why: String,
}

/// Checks every record's hash, number and link to the one before, up to the first fault. Holds one line at a time.
///
/// # Errors
/// `log` cannot be read.
pub fn verify(mut log: impl BufRead) -> io::Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = log.by_ref().take(RECORD_BYTES as u64 + 1).read_until(b'\n', &mut line)?;
        if read == 0 {
            break;
        }
        if let Err(why) = next(&mut verdict, &line) {
            verdict.fault = Some(Fault { line: number, why });
            break;
        }
    }
    Ok(verdict)
}

/// Checks one line after the records of `verdict` and counts it in.
fn next(verdict: &mut Verdict, line: &[u8]) -> Result<(), String> {
    let Some(content) = line.strip_suffix(b"\n") else {
        if line.len() > RECORD_BYTES {
            return Err(format!("it has more than {RECORD_BYTES} bytes, more than any record"));
        }
        return Err(format!(
            "it is torn: {} bytes without a line end. The record was being written when the process ended, and its \
             answer did not leave; the service cuts it when it starts, and says so in a record",
            line.len()
        ));
    };
    let (head, place) = record::open(content)?;
    let expected = verdict.last.as_ref().map_or(0, |last| last.seq + 1);
    if place.seq > expected {
        let gap = match place.seq - 1 {
            last if last == expected => format!("record {expected} is missing"),
            last => format!("records {expected} to {last} are missing"),
        };
        return Err(format!("it is record {}, and {gap} before it", place.seq));
    }
    if place.seq < expected {
        return Err(format!("it is record {}, and record {expected} has its place here", place.seq));
    }
    let before = verdict.last.as_ref().map_or(NONE, |last| &last.hash);
    if head.prev != before {
        return Err(format!(
            "record {} follows a record with the hash {}, and the one before it has {before}: one of both was replaced",
            place.seq, head.prev
        ));
    }
    verdict.records += 1;
    verdict.last = Some(place);
    match &mut verdict.times {
        Some((_, newest)) => *newest = head.time,
        None => verdict.times = Some((head.time.clone(), head.time)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::record::seal;
    use super::*;

    fn lines(count: u64) -> Vec<String> {
        let mut prev = NONE.to_owned();
        let line = |seq| {
            let (line, hash) = seal(seq, &format!("t{seq}"), &prev, "\"event\":\"answer\"");
            prev = hash;
            line
        };
        (0..count).map(line).collect()
    }

    fn fault(lines: &[String]) -> (u64, String) {
        let fault = verify(lines.concat().as_bytes()).unwrap().fault.unwrap();
        (fault.line, fault.why)
    }

    #[test]
    fn a_whole_log_is_counted() {
        let found = verify(lines(3).concat().as_bytes()).unwrap();
        assert_eq!((found.records, found.last.unwrap().seq, found.fault), (3, 2, None));
        assert_eq!(found.times, Some(("t0".to_owned(), "t2".to_owned())));
        assert_eq!(verify(&b""[..]).unwrap(), Verdict::default());
    }

    #[test]
    fn the_first_bad_line_is_named_with_the_reason() {
        let whole = lines(6);
        let with = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = whole.clone();
            change(&mut lines);
            fault(&lines)
        };
        let (line, why) = with(&|lines| lines[3] = lines[3].replace("answer", "answes"));
        assert!(line == 4 && why.contains("was changed after it was written"), "{why}");
        let (line, why) = with(&|lines| drop(lines.remove(2)));
        assert!(line == 3 && why.contains("record 2 is missing"), "{why}");
        let (line, why) = with(&|lines| drop(lines.drain(..2)));
        assert!(line == 1 && why.contains("records 0 to 1 are missing"), "{why}");
        let (line, why) = with(&|lines| lines.swap(1, 2));
        assert!(line == 2 && why.contains("record 1 is missing"), "{why}");
        let (line, why) = with(&|lines| lines.insert(2, lines[1].clone()));
        assert!(line == 3 && why.contains("it is record 1, and record 2"), "{why}");
        let (line, why) = with(&|lines| lines[2] = seal(2, "t2", NONE, "\"event\":\"answer\"").0);
        assert!(line == 3 && why.contains("one of both was replaced"), "{why}");
        let (line, why) = with(&|lines| lines[0] = seal(0, "t0", NONE, "\"event\":\"other\"").0);
        assert!(line == 2 && why.contains("one of both was replaced"), "{why}");
        let (line, why) = with(&|lines| lines[5].truncate(40));
        assert!(line == 6 && why.contains("torn: 40 bytes"), "{why}");
        let (line, why) = with(&|lines| lines.insert(1, "\n".to_owned()));
        assert!(line == 2 && why.contains("does not end as a record"), "{why}");
    }

    #[test]
    fn a_log_shortened_at_its_end_is_whole_but_ends_elsewhere() {
        let found = verify(lines(6)[..4].concat().as_bytes()).unwrap();
        assert_eq!((found.fault, found.last.unwrap().seq), (None, 3));
    }
}
