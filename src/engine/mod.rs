//! Who computes when: bounded admission by cost, one named worker thread a running job, a fair turn at the compute,
//! deadlines, cancellation, drain. [`run_blocking`] is the whole of it without queue or runtime.

pub mod admission;
mod condensed;
mod deadline;
mod device;
mod evaluate;
pub mod executor;
#[cfg(feature = "http")]
mod handle;
mod job;
mod memo;
#[cfg(feature = "http")]
mod probe;
mod sizing;

#[cfg(test)]
mod fake;

pub use deadline::{Cancel, Deadline, Watch};
pub use device::{Device, DeviceError, DeviceKind, open_device};
pub use executor::Turns;
#[cfg(feature = "http")]
pub use handle::{
    Engine, EngineError, EngineOptions, EngineStatus, Feed, JobOutput, JobRequest, JobStats, MethodStats, News, Phase,
    StartError,
};
pub use job::{Shared, run_beside, run_blocking, run_to_the_end};
