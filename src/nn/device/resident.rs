//! The value of a node that lives on a device, and its numbers on the host, downloaded when they are first asked for.

use std::sync::{Arc, OnceLock};

use candle_core::Tensor;

use super::Session;
use crate::nn::Error;

/// A tensor of rows × columns on a session's device.
#[derive(Debug)]
pub(in crate::nn) struct Resident {
    tensor: Tensor,
    session: Arc<Session>,
    numbers: OnceLock<Arc<Vec<f32>>>,
}

impl Resident {
    pub fn new(tensor: Tensor, session: Arc<Session>) -> Self {
        Self { tensor, session, numbers: OnceLock::new() }
    }

    /// One whose numbers are known.
    pub fn of(tensor: Tensor, session: Arc<Session>, numbers: Arc<Vec<f32>>) -> Self {
        Self { tensor, session, numbers: OnceLock::from(numbers) }
    }

    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// The numbers, row by row. Where they cannot be had they are NaN, and the session has failed: whoever reads them
    /// here has no error to return, but the tape's next step does.
    pub fn numbers(&self) -> &Arc<Vec<f32>> {
        self.numbers.get_or_init(|| {
            let numbers = self.tensor.flatten_all().and_then(|flat| flat.to_vec1()).unwrap_or_else(|error| {
                self.session.fail("download", &error);
                vec![f32::NAN; self.tensor.elem_count()]
            });
            Arc::new(numbers)
        })
    }

    /// The numbers, row by row.
    ///
    /// # Errors
    /// `Device` where the session has failed, here or before.
    pub fn checked(&self) -> Result<&[f32], Error> {
        let numbers = self.numbers();
        self.session.check()?;
        Ok(numbers)
    }
}
