//! Who computes when: bounded admission by cost, one named worker thread a running job, a fair turn at the compute,
//! deadlines, cancellation, drain. [`run_blocking`] is the whole of it without queue or runtime.

pub mod admission;
pub mod executor;
#[cfg(feature = "http")]
mod handle;
mod job;
mod sizing;

pub use executor::Turns;
#[cfg(feature = "http")]
pub use handle::{Engine, EngineError, EngineStatus, Phase};
pub use job::{Deadline, run_blocking};
