//! Why the engine gives no answer; `http` has a status for each.

use std::time::Duration;

use super::Phase;
use crate::explain::{LoadError, PlanError, RunError};
use crate::nn;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("the service is {phase}; try again once /readyz answers 200")]
    NotReady { phase: Phase },
    #[error("the service is shutting down; send the request to another instance")]
    Draining,
    #[error("the queue is full; try again in {} s", retry_after.as_secs())]
    QueueFull { retry_after: Duration },
    #[error(
        "the request would take {cost} rows × tokens and the queue holds {limit}; ask for fewer samples, steps or \
         methods, or raise queue.cost"
    )]
    TooCostly { cost: u64, limit: u64 },
    #[error(transparent)]
    Plan(PlanError),
    /// A target that only the prediction could show to be wrong.
    #[error(transparent)]
    Run(RunError),
    #[error("the deadline passed after {done} evaluations; ask for less, raise deadline_ms, or send \"partial\": true")]
    Deadline {
        /// Model rows evaluated until then.
        done: u64,
    },
    /// It was told to stop; a caller who has gone never sees this.
    #[error("nobody waits for the answer any more")]
    Cancelled,
    /// A panic or another fault of the service's own; what it was stands in the log under this id.
    #[error("the request failed; its id is {id}")]
    Failed { id: String },
}

/// Why the engine never became ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Load(LoadError),
    #[error("{model}: the warm-up failed: {error}")]
    WarmUp { model: String, error: nn::Error },
    #[error("loading the models panicked")]
    Panicked,
    #[error("no thread for loading the models: {0}")]
    Thread(std::io::Error),
}
