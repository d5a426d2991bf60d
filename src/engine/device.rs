//! From the setting `compute.device` to the device.

use crate::config;
pub use crate::nn::{Device, DeviceError, DeviceKind};

/// Opens what the setting names.
///
/// # Errors
/// This build or this machine has no such device; the message says what to do.
pub fn open_device(choice: config::Device) -> Result<Device, DeviceError> {
    Device::open(match choice {
        config::Device::Cpu => DeviceKind::Cpu,
        config::Device::Cuda => DeviceKind::Cuda,
        config::Device::Metal => DeviceKind::Metal,
    })
}
