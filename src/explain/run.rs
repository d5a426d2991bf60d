//! Calls the methods of a plan and puts the answer together.

use super::{Answer, Plan};
use crate::methods::{self, Ctx, Warning};
use crate::nn;

/// Why a planned request gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// 504 or nobody there to answer.
    #[error(transparent)]
    Stopped(nn::Stopped),
    /// A target that only the prediction could show to be wrong.
    #[error("{detail}")]
    Invalid { pointer: String, detail: String },
    #[error("{method}: {error}")]
    Method { method: &'static str, error: methods::Error },
    #[error(transparent)]
    Model(nn::Error),
}

/// What `run` needs beyond a method's [`Ctx`].
pub trait Job: Ctx {
    /// Milliseconds since the job began, for `elapsed_ms` alone.
    fn elapsed_ms(&self) -> f32;
    fn threads(&self) -> usize;
    /// The warnings so far, in order.
    fn warnings(&self) -> Vec<Warning>;
}

/// Runs every method. `job`'s targets are those of the plan.
pub fn run(plan: &Plan, job: &dyn Job) -> Result<Answer, RunError> {
    let _ = (plan, job);
    todo!()
}

/// The bytes of an answer, as HTTP and the command line send them.
pub fn to_bytes(answer: &Answer) -> Result<Vec<u8>, RunError> {
    let _ = answer;
    todo!()
}
