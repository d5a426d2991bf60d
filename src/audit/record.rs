//! One record as a line: `{"seq":…,"time":…,"prev":…,` what it is about `,"hash":…}`. `hash` is the SHA-256 of the line's
//! bytes without it, `prev` that of the record before: nothing has to be written anew to check either.

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// What `prev` of the first record says.
pub(super) const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// `,"hash":"`, 64 digits, `"}`.
const BEFORE: &[u8] = b",\"hash\":\"";
const AFTER: &[u8] = b"\"}";
const TAIL: usize = BEFORE.len() + 64 + AFTER.len();

/// A record by its number, from 0, and its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub seq: u64,
    pub hash: String,
}

/// What every record begins with.
#[derive(Debug, Deserialize)]
pub(super) struct Head {
    pub seq: u64,
    pub time: String,
    pub prev: String,
}

/// The line of record `seq` with its end, and its hash. `members` are those of a JSON object, without its braces.
pub(super) fn seal(seq: u64, time: &str, prev: &str, members: &str) -> (String, String) {
    let mut line = format!("{{\"seq\":{seq},\"time\":\"{time}\",\"prev\":\"{prev}\",{members}}}");
    let hash = format!("{:x}", Sha256::digest(&line));
    line.pop();
    line.push_str(",\"hash\":\"");
    line.push_str(&hash);
    line.push_str("\"}\n");
    (line, hash)
}

/// A line without its end, its hash checked.
///
/// # Errors
/// What is wrong with it.
pub(super) fn open(line: &[u8]) -> Result<(Head, Place), String> {
    let split = line.len().checked_sub(TAIL).map(|at| line.split_at(at));
    let written = split.and_then(|(body, tail)| {
        let hash = tail.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
        Some((body, std::str::from_utf8(hash).ok()?))
    });
    let Some((body, written)) = written else {
        return Err("it does not end as a record does, with its hash".to_owned());
    };
    let mut digest = Sha256::new();
    digest.update(body);
    digest.update(b"}");
    let hash = format!("{:x}", digest.finalize());
    if hash != written {
        return Err(format!("its hash is {written} and its content has {hash}: it was changed after it was written"));
    }
    let head: Head = serde_json::from_slice(line).map_err(|error| format!("it is no record: {error}"))?;
    let seq = head.seq;
    Ok((head, Place { seq, hash }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_opens_and_one_changed_byte_does_not() {
        let (line, hash) = seal(3, "t", NONE, "\"event\":\"x\"");
        assert!(line.starts_with("{\"seq\":3,\"time\":\"t\",\"prev\":\"0000") && line.ends_with("\"}\n"), "{line}");
        let line = line.trim_end().as_bytes();
        let (head, place) = open(line).unwrap();
        assert_eq!((head.seq, head.prev.as_str(), place), (3, NONE, Place { seq: 3, hash }));
        for at in 0..line.len() {
            let mut other = line.to_vec();
            other[at] ^= 1;
            assert!(open(&other).is_err(), "byte {at}");
        }
        assert!(open(b"").is_err());
    }
}
