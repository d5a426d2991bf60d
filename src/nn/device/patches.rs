//! Images cut into patches.

use std::sync::Arc;

use candle_core::{Result, Tensor};

use super::{Backward, Session};
use crate::nn::{Error, Node, Patches, Tape};

/// As [`Patches::forward`], whose columns were checked.
///
/// # Errors
/// `Device`.
pub(in crate::nn) fn patches(
    tape: &mut Tape<'_>,
    session: &Arc<Session>,
    shape: Patches,
    pixels: &Node,
) -> std::result::Result<Node, Error> {
    session.apply(tape, "patches", (pixels, None), |pixels, _| {
        let images = pixels.dim(0)?;
        let Patches { channels, patch_rows, patch_cols, grid_rows, grid_cols } = shape;
        let cut = pixels.reshape(&[images, channels, grid_rows, patch_rows, grid_cols, patch_cols][..])?;
        let y = cut.permute([0, 2, 4, 1, 3, 5].as_slice())?;
        Ok((y.reshape((images * grid_rows * grid_cols, channels * patch_rows * patch_cols))?, Together { shape }))
    })
}

/// Puts patches together again.
struct Together {
    shape: Patches,
}

impl Backward for Together {
    fn backward(&self, grad: &Tensor, _wanted: [bool; 2]) -> Result<[Option<Tensor>; 2]> {
        let Patches { channels, patch_rows, patch_cols, grid_rows, grid_cols } = self.shape;
        let images = grad.dim(0)? / (grid_rows * grid_cols);
        let cut = grad.reshape(&[images, grid_rows, grid_cols, channels, patch_rows, patch_cols][..])?;
        let pixels = cut.permute([0, 3, 1, 4, 2, 5].as_slice())?;
        Ok([Some(pixels.reshape((images, self.shape.pixels()))?), None])
    }
}
