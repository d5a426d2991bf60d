//! Which devices there are, and how one is opened.

use std::panic::catch_unwind;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::{Session, first_line};

/// A kind of device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    /// The host's own processor, on this crate's kernels.
    Cpu,
    /// NVIDIA's, in builds with the feature `cuda`.
    Cuda,
    /// Apple's, in builds with the feature `metal`.
    Metal,
}

impl DeviceKind {
    /// As settings and an answer's provenance write it, and as the feature is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }

    /// Whether this build can use one.
    pub fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        }
    }
}

/// Why a device cannot be used. Both say what to do.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    #[error(
        "this build has no \"{name}\" in it: build explaind with --features {name} (docs/gpu.md), or compute on \"cpu\"",
        name = .kind.name()
    )]
    NotBuilt { kind: DeviceKind },
    #[error("no \"{}\" device can be used here ({detail}): {}, or compute on \"cpu\"", .kind.name(), advice(*.kind))]
    Unusable { kind: DeviceKind, detail: String },
}

fn advice(kind: DeviceKind) -> &'static str {
    match kind {
        DeviceKind::Cuda => {
            "see whether nvidia-smi lists one, whether CUDA_VISIBLE_DEVICES or the container hides it, and whether its \
             driver knows the CUDA release of this build"
        }
        DeviceKind::Metal | DeviceKind::Cpu => "see whether this machine has one",
    }
}

/// Where forwards and gradients are computed; the host unless another was opened. Clones are the same device.
#[derive(Debug, Clone)]
pub struct Device {
    kind: DeviceKind,
    /// `None`: the host.
    candle: Option<candle_core::Device>,
}

impl Default for Device {
    fn default() -> Self {
        Self { kind: DeviceKind::Cpu, candle: None }
    }
}

impl Device {
    /// The first device of that kind, proven to compute.
    ///
    /// # Errors
    /// This build has no code for it, or none answers.
    pub fn open(kind: DeviceKind) -> Result<Self, DeviceError> {
        if !kind.is_built() {
            return Err(DeviceError::NotBuilt { kind });
        }
        let open = match kind {
            DeviceKind::Cpu => return Ok(Self::default()),
            DeviceKind::Cuda => candle_core::Device::new_cuda,
            DeviceKind::Metal => candle_core::Device::new_metal,
        };
        // candle indexes Metal's list of devices without a look at its length, and cudarc panics where a library of
        // CUDA lacks a function.
        match catch_unwind(|| open(0).and_then(proven)) {
            Ok(Ok(device)) => Ok(Self { kind, candle: Some(device) }),
            Ok(Err(error)) => Err(DeviceError::Unusable { kind, detail: first_line(&error) }),
            Err(_) => Err(DeviceError::Unusable { kind, detail: "opening it panicked, as said above".to_owned() }),
        }
    }

    pub fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Whether it is the host on its own kernels, whose numbers do not depend on what else is in a batch.
    pub fn is_host(&self) -> bool {
        self.candle.is_none()
    }

    /// candle's own CPU kernels behind the device code: what tests compare the host's with, and far slower.
    #[doc(hidden)]
    pub fn composed() -> Self {
        Self { kind: DeviceKind::Cpu, candle: Some(candle_core::Device::Cpu) }
    }

    /// What a test runs on: the host, candle's CPU device, and those of this build's features, which must be there.
    #[cfg(test)]
    pub fn every() -> Vec<Self> {
        let built = [DeviceKind::Cuda, DeviceKind::Metal].into_iter().filter(|kind| kind.is_built());
        let opened = built.map(|kind| Self::open(kind).unwrap_or_else(|error| panic!("{error}")));
        [Self::default(), Self::composed()].into_iter().chain(opened).collect()
    }

    /// A session of a tape; `None` on the host.
    pub(in crate::nn) fn session(&self) -> Option<Arc<Session>> {
        self.candle.clone().map(Session::new).map(Arc::new)
    }
}

/// Computes something: a driver that is too old for the kernels says so at the first one.
fn proven(device: candle_core::Device) -> candle_core::Result<candle_core::Device> {
    let ones = Tensor::ones((2, 2), DType::F32, &device)?;
    let sum: f32 = ones.matmul(&ones)?.sum_all()?.to_scalar()?;
    if sum == 8.0 {
        return Ok(device);
    }
    Err(candle_core::Error::Msg(format!("a sum of 8 came out as {sum}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_not_built_in_says_how_to_build_it() {
        for kind in [DeviceKind::Cuda, DeviceKind::Metal].into_iter().filter(|kind| !kind.is_built()) {
            let message = Device::open(kind).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(message.contains(&format!("--features {}", kind.name())), "{message}");
        }
    }

    #[test]
    fn candles_own_device_computes() {
        assert!(proven(candle_core::Device::Cpu).is_ok());
        assert!(Device::open(DeviceKind::Cpu).is_ok_and(|device| device.session().is_none()));
    }
}
