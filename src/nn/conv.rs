//! Two-dimensional convolution with a constant weight, over images whose pixels are rows and whose channels are
//! columns. The pixels that a window sees are laid beside one another, some lines at a time, and multiplied as in a
//! linear layer. Backward is one product and the way back from the windows to the pixels.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::kernel::{Epilogue, Frozen, add_assign_here, made_rows, multiply_assign, vectorised};
use super::tape::{Backward, Inputs};
use super::{Activation, Array, Error, ImageWindow, Linear, Node, Tape};

/// Numbers of the windows that are laid out at a time: with their products they should stay near the cores, and still
/// be rows enough that laying the weight out for backward is little beside multiplying with it.
const TOGETHER: usize = 1 << 20;

/// As `torch.nn.Conv2d` in one group, without dilation.
#[derive(Debug, Clone)]
pub struct Conv2d {
    window: ImageWindow,
    /// Taps × channels to outputs, the channels of a tap beside one another.
    product: Linear,
}

impl Conv2d {
    /// `weight`: outputs × channels × window rows × window columns, as PyTorch has it. Taken whole, so that a large one
    /// is not held longer than it has to be.
    ///
    /// # Errors
    /// `Shape` where lengths do not fit or the window does not fit into the image.
    pub fn new(weight: Vec<f32>, bias: Option<Vec<f32>>, outputs: usize, window: ImageWindow) -> Result<Self, Error> {
        window.out()?;
        let (channels, taps) = (window.channels, window.taps());
        if weight.len() != outputs * channels * taps {
            return Err(Error::shape("convolution", format!("a weight that is not {outputs} × {channels} × {taps}")));
        }
        let mut by_tap = vec![0.0; weight.len()];
        for (from, to) in weight.chunks_exact(channels * taps).zip(by_tap.chunks_exact_mut(channels * taps)) {
            for (channel, from) in from.chunks_exact(taps).enumerate() {
                for (tap, &value) in from.iter().enumerate() {
                    to[tap * channels + channel] = value;
                }
            }
        }
        drop(weight);
        Ok(Self { window, product: Linear::new(by_tap, bias, channels * taps, outputs)? })
    }

    /// Pixels of what comes out: rows and columns.
    pub fn out(&self) -> (usize, usize) {
        (self.window.out_rows(), self.window.out_cols())
    }

    /// Images·pixels × channels into images·places × outputs.
    ///
    /// # Errors
    /// `Shape` where `x` holds no such images.
    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        if self.pointwise() {
            return self.product.forward(tape, x);
        }
        let y = self.run(tape, x, None, None, None)?;
        Ok(tape.record(y, [Some(x), None], || self.backward(None)))
    }

    /// `forward(x) + residual`.
    ///
    /// # Errors
    /// `Shape`, also where the residual has another shape than the result.
    pub fn forward_add(&self, tape: &mut Tape<'_>, x: &Node, residual: &Node) -> Result<Node, Error> {
        if self.pointwise() {
            return self.product.forward_add(tape, x, residual);
        }
        let y = self.run(tape, x, Some(residual), None, None)?;
        Ok(tape.record(y, [Some(x), Some(residual)], || self.backward(None)))
    }

    /// `activation(forward(x))`.
    ///
    /// # Errors
    /// `Shape`, as [`Conv2d::forward`].
    pub fn forward_activated(&self, tape: &mut Tape<'_>, x: &Node, activation: Activation) -> Result<Node, Error> {
        if self.pointwise() {
            return self.product.forward_activated(tape, x, activation);
        }
        if !tape.fuses() {
            let y = self.forward(tape, x)?;
            return Ok(activation.forward(tape, y));
        }
        let mut slope = tape.tracks(&[x]).then(Vec::new);
        let y = self.run(tape, x, None, Some(activation), slope.as_mut())?;
        Ok(tape.record(y, [Some(x), None], || self.backward(slope)))
    }

    /// Whether the windows are the pixels.
    fn pointwise(&self) -> bool {
        let ImageWindow { rows, cols, channels, .. } = self.window;
        self.window == ImageWindow::pixel(rows, cols, channels)
    }

    fn backward(&self, slope: Option<Vec<f32>>) -> ConvBackward {
        ConvBackward { window: self.window, weight: self.product.weight(), slope }
    }

    fn run(
        &self,
        tape: &Tape<'_>,
        x: &Node,
        residual: Option<&Node>,
        activation: Option<Activation>,
        mut slope: Option<&mut Vec<f32>>,
    ) -> Result<Array, Error> {
        let window = self.window;
        let lines = window.images("convolution", x)? * window.out_rows();
        let (cols, outputs) = (window.out_cols(), self.product.outputs());
        if residual.is_some_and(|residual| (residual.rows(), residual.cols()) != (lines * cols, outputs)) {
            return Err(Error::shape("convolution", "a residual of another shape"));
        }
        let weight = self.product.weight();
        let mut out = Vec::with_capacity(lines * cols * outputs);
        for part in parts(&window, lines) {
            let places = part.start * cols * outputs..part.end * cols * outputs;
            let mut slopes = slope.is_some().then(Vec::new);
            let epilogue = Epilogue {
                bias: self.product.bias(),
                residual: residual.map(|residual| &residual.value()[places]),
                activation: activation.map(Activation::kind),
                slope: slopes.as_mut(),
            };
            out.extend_from_slice(&weight.product(&windows(&window, x.value(), part), tape.precision(), epilogue));
            if let (Some(slope), Some(slopes)) = (&mut slope, slopes) {
                slope.extend_from_slice(&slopes);
            }
        }
        Ok(Array::new(out, lines * cols, outputs))
    }
}

/// The lines of places, some at a time.
fn parts(window: &ImageWindow, lines: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let line = window.out_cols() * window.taps() * window.channels;
    let together = (TOGETHER / line.max(1)).max(1);
    (0..lines).step_by(together).map(move |first| first..(first + together).min(lines))
}

/// What the windows of some lines of places see: places × taps·channels, 0 outside the image.
fn windows(window: &ImageWindow, x: &[f32], lines: Range<usize>) -> Vec<f32> {
    let channels = window.channels;
    let width = window.taps() * channels;
    let row = window.size.1 * channels;
    let line = |index: usize, out: &mut [MaybeUninit<f32>]| {
        let (image, y) = ((lines.start + index) / window.out_rows(), (lines.start + index) % window.out_rows());
        let (down, top) = window.seen(y, window.size.0, window.rows);
        let first_line = image * window.rows + top;
        for (col, out) in out.chunks_exact_mut(width).enumerate() {
            let (across, left) = window.seen(col, window.size.1, window.cols);
            let (before, len) = (across.start * channels, across.len() * channels);
            for (tap, out) in out.chunks_exact_mut(row).enumerate() {
                if !down.contains(&tap) {
                    clear(out);
                    continue;
                }
                let from = (first_line + tap - down.start) * window.line() + left * channels;
                clear(&mut out[..before]);
                out[before..before + len].write_copy_of_slice(&x[from..from + len]);
                clear(&mut out[before + len..]);
            }
        }
    };
    // SAFETY: every place's taps are written, from the image or with 0.
    unsafe { made_rows(lines.len(), window.out_cols() * width, line) }
}

fn clear(out: &mut [MaybeUninit<f32>]) {
    for x in out {
        x.write(0.0);
    }
}

struct ConvBackward {
    window: ImageWindow,
    weight: Arc<Frozen>,
    /// The activation's, at every output.
    slope: Option<Vec<f32>>,
}

impl Backward for ConvBackward {
    fn backward(&self, mut grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        if let Some(slope) = &self.slope {
            multiply_assign(&mut grad, slope);
        }
        let window = &self.window;
        let line = window.out_cols() * self.weight.outputs();
        let lines = grad.len() / line.max(1);
        inputs.add_with(0, |sum| {
            let mut sum = sum.unwrap_or_else(|| vec![0.0; lines / window.out_rows() * window.rows * window.line()]);
            for part in parts(window, lines) {
                let grad = &grad[part.start * line..part.end * line];
                back_to_pixels(window, &self.weight.transposed_product(grad, None), part, &mut sum);
            }
            sum
        });
        inputs.add(1, grad);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear: under other rules than the gradient no activation is part of it.
        self.backward(multiplier, inputs);
    }
}

/// Adds what the windows of some lines of places say to the pixels they saw. Every line of pixels gathers from its
/// own places, in ascending order wherever the parts begin, so an image's sums do not depend on its neighbours.
fn back_to_pixels(window: &ImageWindow, seen: &[f32], lines: Range<usize>, sum: &mut [f32]) {
    let (channels, out_rows, out_cols) = (window.channels, window.out_rows(), window.out_cols());
    let width = window.taps() * channels;
    let first = lines.start / out_rows * window.rows;
    let last = lines.end.div_ceil(out_rows) * window.rows;
    let images = &mut sum[first * window.line()..last * window.line()];
    images.par_chunks_mut(window.line()).enumerate().for_each(|(at, pixels)| {
        let (image, y) = ((first + at) / window.rows, (first + at) % window.rows);
        for place in window.covering(y, window.size.0, out_rows) {
            let line = image * out_rows + place;
            if !lines.contains(&line) {
                continue;
            }
            let tap = y + window.padding - place * window.stride;
            let seen = &seen[(line - lines.start) * out_cols * width..][..out_cols * width];
            vectorised(
                #[inline(always)]
                || {
                    for (col, seen) in seen.chunks_exact(width).enumerate() {
                        let (across, left) = window.seen(col, window.size.1, window.cols);
                        let len = across.len() * channels;
                        let from = (tap * window.size.1 + across.start) * channels;
                        add_assign_here(&mut pixels[left * channels..][..len], &seen[from..][..len]);
                    }
                },
            );
        }
    });
}
