//! One running job: implements the methods' `Ctx` over a model and its turn.
use crate::explain::{Answer, Plan, RunError};
pub struct Deadline {}
/// Runs a plan on this thread, with the compute to itself: the command line and tests.
pub fn run_blocking(plan: &Plan, threads: usize, tokens_per_turn: usize) -> Result<Answer, RunError> {
    let _ = (plan, threads, tokens_per_turn);
    todo!()
}
