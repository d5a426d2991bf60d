//! Constants of a layer on a device.

use std::sync::{Arc, OnceLock};

use candle_core::{Device, Result, Tensor};

/// Constants that are uploaded when a device first asks for them, and stay there as long as the layer. Copies share
/// them.
#[derive(Debug, Clone, Default)]
pub(in crate::nn) struct Uploaded(Arc<OnceLock<Constants>>);

/// A weight and, where the layer has one, a bias.
#[derive(Debug, Clone)]
pub(super) struct Constants {
    pub weight: Tensor,
    pub bias: Option<Tensor>,
}

impl Uploaded {
    /// The constants on `device`, made by `upload` where they are not there yet. A process computes on one device; a
    /// second one gets them anew every time.
    ///
    /// # Errors
    /// Those of `upload`; it is tried again at the next call.
    pub(super) fn on(&self, device: &Device, upload: impl FnOnce() -> Result<Constants>) -> Result<Constants> {
        match self.0.get() {
            Some(known) if known.weight.device().same_device(device) => Ok(known.clone()),
            _ => {
                let constants = upload()?;
                // Two threads may both have uploaded: the first one's stay.
                let _ = self.0.set(constants.clone());
                Ok(constants)
            }
        }
    }
}
