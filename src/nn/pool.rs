//! Pooling over images whose pixels are rows and whose channels are columns: the largest of a window, and the mean of
//! many rows.

use std::mem::MaybeUninit;

use rayon::prelude::*;

use super::kernel::{for_rows, made_rows, vectorised};
use super::rule::both;
use super::tape::{Backward, Inputs};
use super::{Array, Error, ImageWindow, Node, Tape};

/// Below this a pixel is as good as its baseline, as in Captum.
const NEAR: f32 = 1e-10;

/// As `torch.nn.MaxPool2d`: of equal numbers the first in the window's order counts.
#[derive(Debug, Clone, Copy)]
pub struct MaxPool {
    window: ImageWindow,
}

impl MaxPool {
    /// # Errors
    /// `Shape` where the window does not fit into the image or has more than 256 taps.
    pub fn new(window: ImageWindow) -> Result<Self, Error> {
        window.out()?;
        // Which tap it was is kept in a byte.
        if window.taps() > 256 {
            return Err(Error::shape("max pool", format!("a window of {} taps", window.taps())));
        }
        Ok(Self { window })
    }

    /// Pixels of what comes out: rows and columns.
    pub fn out(&self) -> (usize, usize) {
        (self.window.out_rows(), self.window.out_cols())
    }

    /// Images·pixels × channels into images·places × channels.
    ///
    /// # Errors
    /// `Shape` where `x` holds no such images.
    pub fn forward(&self, tape: &mut Tape<'_>, x: &Node) -> Result<Node, Error> {
        let window = &self.window;
        let lines = window.images("max pool", x)? * window.out_rows();
        let (rows, channels) = (lines * window.out_cols(), window.channels);
        let y = self.largest(x.value(), lines);
        let lifted = (!tape.fuses()).then(|| x.array().clone());
        let of = || MaxPoolBackward { window: *window, taps: self.taps(x.value(), &y), lifted };
        // Recording looks at the values made here, so it comes first.
        let op = tape.tracks(&[x]).then(of);
        let y = Array::new(y, rows, channels);
        Ok(match op {
            Some(op) => tape.record(y, [Some(x), None], || op),
            None => Node::constant(y),
        })
    }

    fn largest(&self, x: &[f32], lines: usize) -> Vec<f32> {
        let window = &self.window;
        let channels = window.channels;
        let line = |index: usize, out: &mut [MaybeUninit<f32>]| {
            self.each_place(index, |col, _, pixel, fresh| {
                let (x, out) = (&x[pixel..][..channels], &mut out[col * channels..][..channels]);
                vectorised(
                    #[inline(always)]
                    || {
                        for (out, x) in out.iter_mut().zip(x) {
                            // SAFETY: the first tap of a place writes, the others find it written.
                            let best = if fresh { *x } else { unsafe { out.assume_init() } };
                            out.write(if *x > best { *x } else { best });
                        }
                    },
                );
            });
        };
        // SAFETY: every place sees at least one pixel (`ImageWindow::out`), which writes all its channels.
        unsafe { made_rows(lines, window.out_cols() * channels, line) }
    }

    /// Which tap each largest number came from.
    fn taps(&self, x: &[f32], y: &[f32]) -> Vec<u8> {
        let window = &self.window;
        let channels = window.channels;
        let line = window.out_cols() * channels;
        let mut taps = vec![0u8; y.len()];
        taps.par_chunks_mut(line).zip(y.par_chunks(line)).enumerate().for_each(|(index, (taps, y))| {
            // The last tap that fits in reverse order is the first: so every tap may write.
            let mut places = Vec::with_capacity(window.out_cols() * window.taps());
            self.each_place(index, |col, tap, pixel, _| places.push((col, tap, pixel)));
            for (col, tap, pixel) in places.into_iter().rev() {
                let x = &x[pixel..][..channels];
                let (taps, y) = (&mut taps[col * channels..][..channels], &y[col * channels..][..channels]);
                vectorised(
                    #[inline(always)]
                    || {
                        for ((best, x), y) in taps.iter_mut().zip(x).zip(y) {
                            *best = if x == y { tap } else { *best };
                        }
                    },
                );
            }
        });
        taps
    }

    /// Calls `look(column of the place, tap, pixel's first number, whether it is the place's first)` for every tap of
    /// a line of places that sees the image, in the window's order.
    fn each_place(&self, line: usize, mut look: impl FnMut(usize, u8, usize, bool)) {
        let window = &self.window;
        let (image, y) = (line / window.out_rows(), line % window.out_rows());
        let (down, top) = window.seen(y, window.size.0, window.rows);
        for col in 0..window.out_cols() {
            let (across, left) = window.seen(col, window.size.1, window.cols);
            let mut fresh = true;
            for row in down.clone() {
                for tap in across.clone() {
                    let line = image * window.rows + top + row - down.start;
                    let pixel = line * window.cols + left + tap - across.start;
                    look(col, (row * window.size.1 + tap) as u8, pixel * window.channels, fresh);
                    fresh = false;
                }
            }
        }
    }
}

struct MaxPoolBackward {
    window: ImageWindow,
    taps: Vec<u8>,
    /// The input, where the tape follows another rule than the gradient.
    lifted: Option<Array>,
}

impl Backward for MaxPoolBackward {
    /// Every pixel gathers from the places where it was the largest.
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let window = &self.window;
        let (channels, out_rows, out_cols) = (window.channels, window.out_rows(), window.out_cols());
        let images = grad.len() / (out_rows * out_cols * channels).max(1);
        let mut out = vec![0.0; images * window.pixels() * channels];
        for_rows(&mut out, window.line(), |line, pixels| {
            let (image, y) = (line / window.rows, line % window.rows);
            for (x, pixel) in pixels.chunks_exact_mut(channels).enumerate() {
                for row in window.covering(y, window.size.0, out_rows) {
                    for col in window.covering(x, window.size.1, out_cols) {
                        let down = y + window.padding - row * window.stride;
                        let across = x + window.padding - col * window.stride;
                        let tap = (down * window.size.1 + across) as u8;
                        let place = ((image * out_rows + row) * out_cols + col) * channels;
                        let (grad, taps) = (&grad[place..][..channels], &self.taps[place..][..channels]);
                        vectorised(
                            #[inline(always)]
                            || {
                                for ((pixel, grad), &best) in pixel.iter_mut().zip(grad).zip(taps) {
                                    *pixel += if best == tap { *grad } else { 0.0 };
                                }
                            },
                        );
                    }
                }
            }
        });
        inputs.add(0, out);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        let own = self.lifted.as_ref().map(|x| lift_max(&self.window, &self.taps, x.data(), &multiplier));
        inputs.add(0, own.unwrap_or(multiplier));
    }
}

/// DeepLIFT's multipliers of a max pool, as Captum's: what the input's maximum m has over the baseline's m′ is due to
/// the input's largest pixel, what it has less to the baseline's. Where a pixel hardly differs from its baseline it
/// gets the gradient.
fn lift_max(window: &ImageWindow, taps: &[u8], x: &[f32], multiplier: &[f32]) -> Vec<f32> {
    let (channels, out_cols) = (window.channels, window.out_cols());
    let (inputs, baselines) = x.split_at(x.len() / 2);
    let (image, places) = (window.pixels() * channels, window.out_rows() * out_cols * channels);
    let mut out = vec![0.0; inputs.len()];
    out.par_chunks_mut(image).enumerate().for_each(|(at, out)| {
        let (x, baseline) = (&inputs[at * image..][..image], &baselines[at * image..][..image]);
        let (own, other) = taps.split_at(taps.len() / 2);
        // Where the tap that a place's maximum came from lies in the image.
        let pixel = |taps: &[u8], number: usize| {
            let (place, channel) = (number / channels, number % channels);
            let tap = usize::from(taps[at * places + number]);
            let row = place / out_cols * window.stride + tap / window.size.1 - window.padding;
            let col = place % out_cols * window.stride + tap % window.size.1 - window.padding;
            (row * window.cols + col) * channels + channel
        };
        let mut gradient = vec![0.0; image];
        for (number, multiplier) in multiplier[at * places..][..places].iter().enumerate() {
            let (from, from_baseline) = (pixel(own, number), pixel(other, number));
            let (most, most_of_baseline) = (x[from], baseline[from_baseline]);
            let larger = most.max(most_of_baseline);
            out[from] += multiplier * (larger - most_of_baseline);
            out[from_baseline] += multiplier * (most - larger);
            gradient[from] += multiplier;
        }
        for (pixel, out) in out.iter_mut().enumerate() {
            let step = x[pixel] - baseline[pixel];
            *out = if step.abs() < NEAR { gradient[pixel] } else { *out / step };
        }
    });
    both(out)
}

/// The mean of every sequence of `length` rows without its first `skip`: global average pooling over pixels, and the
/// mean of patches behind a class token. Gives sequences × columns.
///
/// # Errors
/// `Shape` where `x` has no such sequences or nothing is left of them.
pub fn mean_rows(tape: &mut Tape<'_>, x: &Node, length: usize, skip: usize) -> Result<Node, Error> {
    if skip >= length || !x.rows().is_multiple_of(length) {
        return Err(Error::shape("mean", format!("{} rows in sequences of {length} without {skip}", x.rows())));
    }
    let (sequences, cols) = (x.rows() / length, x.cols());
    let scale = 1.0 / (length - skip) as f32;
    let mut y = vec![0.0; sequences * cols];
    for_rows(&mut y, cols, |sequence, mean| {
        let rows = &x.value()[(sequence * length + skip) * cols..(sequence + 1) * length * cols];
        vectorised(
            #[inline(always)]
            || {
                for row in rows.chunks_exact(cols) {
                    for (mean, x) in mean.iter_mut().zip(row) {
                        *mean += x;
                    }
                }
                for mean in mean.iter_mut() {
                    *mean *= scale;
                }
            },
        );
    });
    let op = || MeanBackward { length, skip, cols };
    Ok(tape.record(Array::new(y, sequences, cols), [Some(x), None], op))
}

struct MeanBackward {
    length: usize,
    skip: usize,
    cols: usize,
}

impl Backward for MeanBackward {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let &Self { length, skip, cols } = self;
        let scale = 1.0 / (length - skip) as f32;
        let mut out = vec![0.0; grad.len() * length];
        for_rows(&mut out, cols, |row, out| {
            if row % length >= skip {
                let grad = &grad[row / length * cols..][..cols];
                for (out, grad) in out.iter_mut().zip(grad) {
                    *out = grad * scale;
                }
            }
        });
        inputs.add(0, out);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        // Linear.
        self.backward(multiplier, inputs);
    }
}
