//! Differentiable layers on fused CPU kernels: the only folder that knows how gradients are made.
//!
//! A [`Node`] is a packed `rows × cols` array of f32 that may stand on a [`Tape`]; a layer's `forward` computes the
//! value and, while the tape records, leaves behind what its backward reads. Weights are constants: no layer ever
//! computes a gradient for one. One file a layer; loops over slices live in `kernel`.
//!
//! Every kernel is row-invariant: a row's bits depend on that row alone, not on its neighbours, its place in the
//! batch or the number of threads. `models` calls this folder; it calls nothing of this crate.
//!
//! A tape may compute on a graphics processor instead: `device` holds the layers for it.

mod activation;
mod arrange;
mod array;
mod attention;
mod conv;
mod depthwise;
mod device;
mod disentangled;
mod embedding;
mod gate;
#[cfg(test)]
mod image_tests;
mod image_window;
mod kernel;
mod lift_attention;
mod linear;
mod narrow;
mod norm;
mod partition;
mod patches;
mod pool;
mod precision;
mod rms_norm;
mod rotary;
mod rule;
#[cfg(test)]
mod rule_tests;
mod several;
mod shape;
mod softcap;
mod stored;
mod tape;
#[cfg(test)]
mod tests;

pub use activation::Activation;
pub use arrange::Arrangement;
pub use array::Array;
pub use attention::{Attention, Bias, Past, Probabilities, Recall, Window, kept, relative_bucket};
pub use conv::Conv2d;
pub use depthwise::Depthwise;
pub use device::{Device, DeviceError, DeviceKind};
pub use disentangled::{Disentangled, Distances};
pub use embedding::{Embedding, Table};
pub use gate::Gate;
pub use image_window::ImageWindow;
pub use linear::Linear;
pub use narrow::Narrow;
pub use norm::LayerNorm;
pub use partition::Partition;
pub use patches::Patches;
pub use pool::{MaxPool, mean_rows};
pub use precision::Precision;
pub use rms_norm::{QueryKeyNorm, RmsNorm};
pub use rotary::{Angles, Rope, RopeScaling, Rotary};
pub use rule::Rule;
pub use shape::{add, add_constant, mean, neighbours, prepend, select, silence};
pub use softcap::Softcap;
pub use stored::{Bytes, Stored, StoredRows};
pub use tape::{Node, Pace, Stopped, Tape};

/// Why a forward or backward gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// Arrays or weights that do not fit one another.
    #[error("{op}: {detail}")]
    Shape { op: &'static str, detail: String },
    /// A graphics processor, or the way to it, refused.
    #[error("{op} on the device: {detail}")]
    Device { op: &'static str, detail: String },
    /// A layer that a tape's [`Rule`] says nothing about.
    #[error("{rule} {detail}")]
    NoRule { rule: &'static str, detail: String },
    /// A value that JSON cannot hold left the model.
    #[error("the model's output is not finite")]
    NotFinite,
}

impl Error {
    pub(crate) fn shape(op: &'static str, detail: impl Into<String>) -> Self {
        Self::Shape { op, detail: detail.into() }
    }
}
