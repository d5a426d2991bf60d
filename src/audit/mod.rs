//! The audit log: JSON lines, each with the hash of the one before, so that nothing in it can be changed, taken out or put
//! in without the rest showing it. [`Log`] writes one, [`verify`] reads one. What stands in a record beside number, time
//! and hashes is the caller's matter; `http` writes answers, `cli` verifies. Blocking code with a thread of its own.

mod log;
mod record;
mod store;
mod time;
mod verify;

pub use log::{Done, Entry, Full, Log, OpenError, WriteError};
pub use record::Place;
pub use verify::{Fault, Verdict, verify};

/// The longest record, in bytes with its line end. A reader holds one at a time.
pub const RECORD_BYTES: usize = 64 << 20;
