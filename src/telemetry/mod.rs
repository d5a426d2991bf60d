//! Logs ([`logs`]) and metrics ([`metrics`]): how a running service is watched. A leaf: `http` counts, `cli` starts it.
//!
//! No text, image, header value or query of a caller is ever logged at `info` or above; lengths, names from closed
//! sets and request ids are.

mod logs;
mod metrics;

pub use logs::{Format, LogError, init};
pub use metrics::{Explained, InFlight, Metrics, ModelLabels, Stages};
