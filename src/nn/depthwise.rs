//! Depthwise convolution: every channel has a window of its own, over images whose pixels are rows and whose channels
//! are columns. There is no product to be had here, so the windows are walked through directly, 16 channels at a time.

use std::mem::MaybeUninit;
use std::sync::Arc;

use super::kernel::{made_rows, vectorised};
use super::tape::{Backward, Inputs};
use super::{Array, Error, ImageWindow, Node, Tape};

/// Channels walked through together.
const LANES: usize = 16;
/// Neighbouring pixels that share a weight once it is read.
const PIXELS: usize = 4;

/// As `torch.nn.Conv2d` with as many groups as channels, stride 1, and padding that keeps the image's size.
#[derive(Debug, Clone)]
pub struct Depthwise {
    window: ImageWindow,
    /// Taps × channels.
    weight: Arc<Vec<f32>>,
    /// The same with the taps in reverse: what backward walks through.
    reversed: Arc<Vec<f32>>,
    bias: Vec<f32>,
}

impl Depthwise {
    /// `weight`: channels × 1 × size × size, as PyTorch has it; `size` is odd.
    ///
    /// # Errors
    /// `Shape` where lengths do not fit or the size is even.
    pub fn new(weight: &[f32], bias: Vec<f32>, (rows, cols): (usize, usize), size: usize) -> Result<Self, Error> {
        let (channels, taps) = (bias.len(), size * size);
        let window = ImageWindow { rows, cols, channels, size: (size, size), stride: 1, padding: size / 2 };
        if size.is_multiple_of(2) || weight.len() != channels * taps {
            return Err(Error::shape(
                "depthwise",
                format!("a weight that is not {channels} × {size} × {size}, or even"),
            ));
        }
        window.out()?;
        let mut by_tap = vec![0.0; weight.len()];
        for (channel, weight) in weight.chunks_exact(taps).enumerate() {
            for (tap, &value) in weight.iter().enumerate() {
                by_tap[tap * channels + channel] = value;
            }
        }
        let reversed = by_tap.chunks_exact(channels).rev().flatten().copied().collect();
        Ok(Self { window, weight: Arc::new(by_tap), reversed: Arc::new(reversed), bias })
    }

    /// Images·pixels × channels, of the same shape.
    ///
    /// # Errors
    /// `Shape` where `x` holds no such images.
    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        self.window.images("depthwise", x)?;
        let y = walk(&self.window, x.value(), &self.weight, &self.bias);
        let op = || DepthwiseBackward { window: self.window, reversed: self.reversed.clone() };
        Ok(tape.record(Array::new(y, x.rows(), x.cols()), [Some(x), None], op))
    }
}

struct DepthwiseBackward {
    window: ImageWindow,
    reversed: Arc<Vec<f32>>,
}

impl Backward for DepthwiseBackward {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let nothing = vec![0.0; self.window.channels];
        inputs.add(0, walk(&self.window, &grad, &self.reversed, &nothing));
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}

/// y[pixel] = bias + Σ over taps of weight[tap] ∘ x[pixel + tap].
fn walk(window: &ImageWindow, x: &[f32], weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let lines = x.len() / window.line();
    let line = |index: usize, out: &mut [MaybeUninit<f32>]| {
        let (image, y) = (index / window.rows, index % window.rows);
        let image = &x[image * window.rows * window.line()..][..window.rows * window.line()];
        vectorised(
            #[inline(always)]
            || walk_line(window, image, weight, bias, y, out),
        );
    };
    // SAFETY: `walk_line` writes every channel of every pixel of the line.
    unsafe { made_rows(lines, window.line(), line) }
}

#[inline(always)]
fn walk_line(
    window: &ImageWindow,
    image: &[f32],
    weight: &[f32],
    bias: &[f32],
    y: usize,
    out: &mut [MaybeUninit<f32>],
) {
    let (cols, channels, size) = (window.cols, window.channels, window.size.1);
    let reach = window.padding;
    let mut first = 0;
    while first < channels {
        let lanes = (first, LANES.min(channels - first));
        let mut col = 0;
        while col < cols {
            // In the middle of the line all taps of several pixels see the image.
            let whole = col >= reach && col + PIXELS + reach <= cols && lanes.1 == LANES;
            if whole {
                let sums = walk_pixels::<PIXELS>(window, image, weight, bias, (y, col), lanes, (0, size));
                for (pixel, sums) in sums.iter().enumerate() {
                    put(out, (col + pixel) * channels + first, sums, LANES);
                }
                col += PIXELS;
                continue;
            }
            let (across, _) = window.seen(col, size, cols);
            let sums = walk_pixels::<1>(window, image, weight, bias, (y, col), lanes, (across.start, across.end));
            put(out, col * channels + first, &sums[0], lanes.1);
            col += 1;
        }
        first += LANES;
    }
}

/// The sums of `N` neighbouring pixels, some channels of them, over the taps `across` of each row of the window.
#[inline(always)]
fn walk_pixels<const N: usize>(
    window: &ImageWindow,
    image: &[f32],
    weight: &[f32],
    bias: &[f32],
    (y, col): (usize, usize),
    (first, lanes): (usize, usize),
    across: (usize, usize),
) -> [[f32; LANES]; N] {
    let channels = window.channels;
    let mut sums = [read(bias, first, lanes); N];
    let (down, top) = window.seen(y, window.size.0, window.rows);
    for (line, row) in (down.start..down.end).enumerate() {
        for tap in across.0..across.1 {
            let weight = read(weight, (row * window.size.1 + tap) * channels + first, lanes);
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let place = (top + line) * window.cols + col + pixel + tap - window.padding;
                let x = read(image, place * channels + first, lanes);
                for lane in 0..LANES {
                    sums[lane] = x[lane].mul_add(weight[lane], sums[lane]);
                }
            }
        }
    }
    sums
}

#[inline(always)]
fn read(data: &[f32], at: usize, lanes: usize) -> [f32; LANES] {
    let mut values = [0.0; LANES];
    match lanes == LANES {
        // A length known beforehand is one vector.
        true => values.copy_from_slice(&data[at..at + LANES]),
        false => values[..lanes].copy_from_slice(&data[at..at + lanes]),
    }
    values
}

#[inline(always)]
fn put(out: &mut [MaybeUninit<f32>], at: usize, values: &[f32; LANES], lanes: usize) {
    for (out, value) in out[at..at + lanes].iter_mut().zip(values) {
        out.write(*value);
    }
}
