//! Images cut into patches, so that a convolution whose stride is its kernel becomes a linear layer.

use super::device;
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Tape};

/// channels × (patch_rows·grid_rows) × (patch_cols·grid_cols) pixels an image.
#[derive(Debug, Clone, Copy)]
pub struct Patches {
    pub channels: usize,
    pub patch_rows: usize,
    pub patch_cols: usize,
    pub grid_rows: usize,
    pub grid_cols: usize,
}

impl Patches {
    /// Pixels (images × channels·height·width) into patches (images·grid × channels·patch_rows·patch_cols), in the
    /// order of a convolution's weight.
    pub fn forward(&self, tape: &mut Tape<'_>, pixels: &Node) -> Result<Node, Error> {
        if pixels.cols() != self.pixels() {
            let detail = format!("images of {} numbers where {} are expected", pixels.cols(), self.pixels());
            return Err(Error::shape("patches", detail));
        }
        if let Some(session) = tape.device_of(pixels) {
            return device::patches(tape, &session, *self, pixels);
        }
        let mut out = vec![0.0; pixels.value().len()];
        self.each(pixels.rows(), |image, patches, len| {
            out[patches..][..len].copy_from_slice(&pixels.value()[image..][..len]);
        });
        let (rows, cols) = (pixels.rows() * self.grid_rows * self.grid_cols, self.patch());
        let op = *self;
        Ok(tape.record(Array::new(out, rows, cols), [Some(pixels), None], || op))
    }

    /// Numbers of one image.
    pub fn pixels(&self) -> usize {
        self.patch() * self.grid_rows * self.grid_cols
    }

    fn patch(&self) -> usize {
        self.channels * self.patch_rows * self.patch_cols
    }

    /// Calls `copy(place in the images, place in the patches, length)` for every run of pixels.
    fn each(&self, images: usize, mut copy: impl FnMut(usize, usize, usize)) {
        let (height, width) = (self.patch_rows * self.grid_rows, self.patch_cols * self.grid_cols);
        for image in 0..images {
            for channel in 0..self.channels {
                for y in 0..height {
                    for col in 0..self.grid_cols {
                        let from = ((image * self.channels + channel) * height + y) * width + col * self.patch_cols;
                        let patch = (image * self.grid_rows + y / self.patch_rows) * self.grid_cols + col;
                        let inside = (channel * self.patch_rows + y % self.patch_rows) * self.patch_cols;
                        copy(from, patch * self.patch() + inside, self.patch_cols);
                    }
                }
            }
        }
    }
}

impl Backward for Patches {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let mut out = vec![0.0; grad.len()];
        self.each(grad.len() / self.pixels().max(1), |image, patches, len| {
            out[image..][..len].copy_from_slice(&grad[patches..][..len]);
        });
        inputs.add(0, out);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}
