//! Differentiable layers on fused CPU kernels: the only folder that knows how gradients are made.

mod tape;
pub use tape::{Node, Pace, Stopped, Tape};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error("{op}: {detail}")]
    Shape { op: &'static str, detail: String },
    /// A value that JSON cannot hold left the model.
    #[error("the model's output is not finite")]
    NotFinite,
}
