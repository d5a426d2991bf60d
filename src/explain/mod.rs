//! One request from its parsed form to its answer: [`request`] (what a caller writes), [`catalog`] (what is loaded),
//! [`plan`] (tokenise or decode, resolve targets and settings, cost), [`run`] (call the methods), [`outcome`] (what
//! a caller gets), [`listing`] (what there is to ask), [`replay`] (an answer
//! asked for again). Blocking code without HTTP, async or a clock.

mod assemble;
mod audience;
pub mod blanks;
mod bounds;
pub mod catalog;
mod defaults;
pub mod faithfulness;
#[cfg(test)]
mod fakes;
mod finite;
mod generation;
mod items;
pub mod listing;
pub mod outcome;
mod plan;
mod prepare;
mod prompt;
mod provenance;
pub mod reasons;
pub mod replay;
pub mod request;
mod run;

pub use crate::nn::Stopped;
pub use assemble::{Assembly, Group};
pub use audience::{Audience, Stage};
pub use catalog::{Catalog, LoadError, Processor, ServedModel};
pub use faithfulness::{Evaluate, EvaluateOptions, Faithfulness};
pub use finite::is_finite;
pub use generation::{Generate, Generation, Stop};
pub use listing::{methods_view, models_view};
pub use outcome::{Answer, Explanation};
pub use plan::{Field, MAX_SEED, Plan, PlanError, Wanted, plan};
pub use request::{ExplainItem, ExplainRequest};
pub use run::{Job, RunError, run, to_bytes};
