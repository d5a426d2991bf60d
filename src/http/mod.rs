//! The HTTP service: bytes into requests, answers and errors into bytes. Only this folder knows HTTP; work goes to
//! `engine`.
//!
//! [`router`] is a function of [`AppState`]; [`serve`] accepts connections for it. [`problem`] is the one table of
//! errors, `openapi` the document that follows from the handlers.

mod audit;
mod body;
mod connection;
mod forms;
mod json;
mod layers;
mod negotiate;
mod openapi;
pub mod problem;
mod router;
mod routes;
mod serve;
mod state;

pub use problem::{Code, FieldBody, Problem, ProblemBody};
pub use router::router;
pub use routes::probes::Health;
pub use serve::serve;
pub use state::{AppState, StateError};

/// The OpenAPI document as indented JSON: openapi/openapi.json, byte for byte.
pub fn openapi() -> String {
    openapi::document().to_owned()
}
