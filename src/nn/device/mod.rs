//! Layers on a graphics processor, beneath the same functions that compute on the host: a layer's `forward` asks the
//! tape for its [`Session`] and hands over. Forwards and backwards are composed of candle's plain operations in f32, on
//! tensors that no variable tracks, so candle records nothing.
//!
//! A layer that knows nothing of devices works on one all the same: it reads its inputs' numbers, which are downloaded
//! when they are first asked for, and leaves an array on the host, which the next layer uploads. `reverse` does the same
//! for gradients.
//!
//! Row invariance ends here: candle's and the vendors' products choose their order of summation by the shape of the
//! whole batch, so a row's last bits may depend on its neighbours. candle's own CPU device runs all of this in tests and
//! is an oracle for the host's kernels.

mod activation;
mod attention;
mod linear;
mod norm;
mod patches;
mod place;
mod resident;
mod reverse;
mod session;
mod shape;
#[cfg(test)]
mod tests;
mod weights;

pub use place::{Device, DeviceError, DeviceKind};

pub(super) use activation::activation;
pub(super) use attention::{Heads, attention};
pub(super) use linear::{After, Layer};
pub(super) use norm::Norm;
pub(super) use patches::patches;
pub(super) use resident::Resident;
pub(super) use reverse::{gradient, gradients};
pub(super) use session::Session;
pub(super) use shape::{add_constant, prepend, select};
pub(super) use weights::Uploaded;

use candle_core::{Result, Tensor};

/// A recorded operation on a device. Two arrays at most go into one.
pub(super) trait Backward: Send {
    /// The gradient of each input that is `wanted`, given that of the output; all of them rows × columns.
    fn backward(&self, grad: &Tensor, wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]>;
}

/// candle appends a backtrace to its errors where RUST_BACKTRACE is set.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
