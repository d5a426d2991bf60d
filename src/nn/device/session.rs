//! One tape's stay on a device: arrays go up, operations run and are recorded, the first failure is kept.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use candle_core::{Device, Tensor};

use super::attention::Groups;
use super::{Backward, Resident, first_line};
use crate::nn::{Array, Error, Node, Tape};

#[derive(Debug)]
pub(in crate::nn) struct Session {
    device: Device,
    /// What went wrong first, where nobody could be told.
    failure: OnceLock<Failure>,
    /// The last borders that attention met: every layer has the same.
    groups: Mutex<Option<Arc<Groups>>>,
}

/// An operation, and why it failed.
#[derive(Debug)]
struct Failure {
    op: &'static str,
    detail: String,
}

/// Rows × columns that an operation gave, and how to differentiate it.
pub(super) type Done<B> = candle_core::Result<(Tensor, B)>;

impl Session {
    pub fn new(device: Device) -> Self {
        Self { device, failure: OnceLock::new(), groups: Mutex::default() }
    }

    pub(super) fn device(&self) -> &Device {
        &self.device
    }

    /// # Errors
    /// `Device`, once something has gone wrong that could not be told at once.
    pub fn check(&self) -> Result<(), Error> {
        match self.failure.get() {
            Some(Failure { op, detail }) => Err(Error::Device { op, detail: detail.clone() }),
            None => Ok(()),
        }
    }

    /// Keeps a failure until [`Session::check`]. The first one counts.
    pub(super) fn fail(&self, op: &'static str, error: &candle_core::Error) {
        // Later ones follow from it.
        let _ = self.failure.set(Failure { op, detail: first_line(error) });
    }

    /// Where `node`'s value lives on the device; uploaded if it does not.
    pub(super) fn tensor(&self, node: &Node) -> candle_core::Result<Tensor> {
        self.tensor_of(node.array())
    }

    pub(super) fn tensor_of(&self, array: &Array) -> candle_core::Result<Tensor> {
        match array.resident() {
            Some(resident) if resident.tensor().device().same_device(&self.device) => Ok(resident.tensor().clone()),
            _ => self.upload(array.data(), (array.rows(), array.cols())),
        }
    }

    pub(super) fn upload(&self, numbers: &[f32], shape: (usize, usize)) -> candle_core::Result<Tensor> {
        Tensor::from_slice(numbers, shape, &self.device)
    }

    /// `array` on the device, its numbers at hand on the host as well. Where it cannot be uploaded it stays where it
    /// is, and the session has failed.
    pub fn at_home(self: &Arc<Self>, array: Array) -> Array {
        let (rows, cols) = (array.rows(), array.cols());
        if rows * cols == 0 {
            return array;
        }
        match self.tensor_of(&array) {
            Ok(tensor) => Array::on_device(Resident::of(tensor, Arc::clone(self), array.shared()), rows, cols),
            Err(error) => {
                self.fail("upload", &error);
                array
            }
        }
    }

    /// Runs an operation of `x` and perhaps a `second` array on the device and records it on `tape`.
    ///
    /// # Errors
    /// `Device`, where candle or the device refuses.
    pub(super) fn apply<B: Backward + 'static>(
        self: &Arc<Self>,
        tape: &mut Tape<'_>,
        op: &'static str,
        (x, second): (&Node, Option<&Node>),
        run: impl FnOnce(&Tensor, Option<&Tensor>) -> Done<B>,
    ) -> Result<Node, Error> {
        let done = self.done((x, second), run);
        let (array, backward) = done.map_err(|error| self.error(op, &error))?;
        Ok(tape.record_on_device(array, [Some(x), second], backward))
    }

    /// The same for operations that have no error to return: `None`, and the session has failed.
    pub(super) fn apply_or_fail<B: Backward + 'static>(
        self: &Arc<Self>,
        tape: &mut Tape<'_>,
        op: &'static str,
        x: &Node,
        run: impl FnOnce(&Tensor, Option<&Tensor>) -> Done<B>,
    ) -> Option<Node> {
        let done = self.done((x, None), run);
        let (array, backward) = done.map_err(|error| self.fail(op, &error)).ok()?;
        Some(tape.record_on_device(array, [Some(x), None], backward))
    }

    fn done<B>(
        self: &Arc<Self>,
        (x, second): (&Node, Option<&Node>),
        run: impl FnOnce(&Tensor, Option<&Tensor>) -> Done<B>,
    ) -> candle_core::Result<(Array, B)> {
        let second = second.map(|node| self.tensor(node)).transpose()?;
        let (tensor, backward) = run(&self.tensor(x)?, second.as_ref())?;
        let (rows, cols) = tensor.dims2()?;
        Ok((Array::on_device(Resident::new(tensor, Arc::clone(self)), rows, cols), backward))
    }

    pub(super) fn error(&self, op: &'static str, error: &candle_core::Error) -> Error {
        Error::Device { op, detail: first_line(error) }
    }

    /// The sequences between `offsets`, by length.
    pub(super) fn groups(&self, offsets: &[usize]) -> candle_core::Result<Arc<Groups>> {
        // Nothing panics while it is locked.
        let mut known = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(groups) = known.as_ref().filter(|groups| groups.offsets() == offsets) {
            return Ok(Arc::clone(groups));
        }
        let groups = Arc::new(Groups::new(offsets, &self.device)?);
        *known = Some(Arc::clone(&groups));
        Ok(groups)
    }
}
