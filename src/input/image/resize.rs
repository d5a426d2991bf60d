//! Pillow's `Image.resize` for RGB bytes, bit for bit: 22-bit integer weights, bytes between the two passes,
//! antialiased when shrinking. The order of the passes is Pillow 13's: the width first, but the height first where it
//! shrinks by more than twice the pixels. Pillow up to 12 always took the width first; bilinear and bicubic results
//! differ by 1 level, Lanczos by a few.
//!
//! No crate does this: `image` and `fast_image_resize` take the passes in another order and come out up to 43 levels
//! away. Only a window of the result is computed, since a centre crop throws the rest away. Memory is the window's,
//! however elongated the source: rows go through one at a time.

use std::f64::consts::PI;
use std::ops::Range;

/// Fraction bits of a weight.
const PRECISION: u32 = 32 - 8 - 2;
/// Where a sum of weighted bytes begins, so that cutting the fraction off rounds.
const HALF: i32 = 1 << (PRECISION - 1);

/// Pillow's resampling filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Filter {
    Nearest,
    Lanczos,
    Bilinear,
    Bicubic,
    Box,
    Hamming,
}

impl Filter {
    /// By Pillow's number, as `resample` has it.
    pub(super) fn from_pillow(code: u32) -> Option<Self> {
        [Self::Nearest, Self::Lanczos, Self::Bilinear, Self::Bicubic, Self::Box, Self::Hamming]
            .get(code as usize)
            .copied()
    }

    /// How far the filter reaches, in pixels of the smaller image.
    fn support(self) -> f64 {
        match self {
            Self::Nearest | Self::Box => 0.5,
            Self::Bilinear | Self::Hamming => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Nearest | Self::Box => f64::from(u8::from(x > -0.5 && x <= 0.5)),
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => bicubic(x.abs()),
            Self::Lanczos => {
                if (-3.0..3.0).contains(&x) {
                    sinc(x) * sinc(x / 3.0)
                } else {
                    0.0
                }
            }
            Self::Hamming => match x.abs() {
                0.0 => 1.0,
                x if x >= 1.0 => 0.0,
                x => sinc(x) * (0.54 + 0.46 * (x * PI).cos()),
            },
        }
    }
}

/// Keys' cubic with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 { 1.0 } else { (x * PI).sin() / (x * PI) }
}

/// Weights of one output sample over source samples `first..`.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// The taps of output samples `window` of `to`, from `from` source samples.
fn taps(from: usize, to: usize, window: Range<usize>, filter: Filter) -> Vec<Taps> {
    const ONE: i32 = 1 << PRECISION;
    if from == to {
        return window.map(|index| Taps { first: index, weights: vec![ONE] }).collect();
    }
    let scale = from as f64 / to as f64;
    if filter == Filter::Nearest {
        return nearest(from, scale, window);
    }
    let stretch = scale.max(1.0);
    let support = filter.support() * stretch;
    window
        .map(|out| {
            let centre = (out as f64 + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(from);
            let weights: Vec<f64> = (first..end).map(|i| filter.weight((i as f64 - centre + 0.5) / stretch)).collect();
            let sum: f64 = weights.iter().sum();
            let fixed = |weight: &f64| {
                let value = weight / sum * f64::from(ONE);
                (value + 0.5f64.copysign(value)) as i32
            };
            Taps { first, weights: weights.iter().map(fixed).collect() }
        })
        .collect()
}

/// Pillow adds the step up instead of multiplying, which decides ties.
fn nearest(from: usize, scale: f64, window: Range<usize>) -> Vec<Taps> {
    let mut position = scale * 0.5;
    let mut taps = Vec::with_capacity(window.len());
    for out in 0..window.end {
        if out >= window.start {
            taps.push(Taps { first: (position as usize).min(from - 1), weights: vec![1 << PRECISION] });
        }
        position += scale;
    }
    taps
}

/// Size of an image: rows, columns.
pub(super) type Size = (usize, usize);

/// Rows `rows` and columns `cols` of `source` (RGB, `from` large) resized to `to`, row by row.
pub(super) fn resize(
    source: &[u8],
    from: Size,
    to: Size,
    rows: Range<usize>,
    cols: Range<usize>,
    filter: Filter,
) -> Vec<u8> {
    let down = taps(from.0, to.0, rows, filter);
    let across = taps(from.1, to.1, cols, filter);
    // Pillow 13's rule; the bytes between the passes are rounded, so the order shows.
    let shorter = from.0.saturating_sub(to.0);
    if shorter > 2 * from.1.saturating_sub(to.1) {
        height_first(source, from.1 * 3, &down, &across)
    } else {
        width_first(source, from.1 * 3, &down, &across)
    }
}

/// Each output row is summed up over its source rows (`stride` bytes each), rounded, and then shrunk.
fn height_first(source: &[u8], stride: usize, down: &[Taps], across: &[Taps]) -> Vec<u8> {
    let width = across.len() * 3;
    let mut out = vec![0; down.len() * width];
    let mut sums = vec![0; stride];
    let mut pixels = vec![0; stride];
    for (line, taps) in out.chunks_exact_mut(width.max(1)).zip(down) {
        sums.fill(HALF);
        for (&weight, row) in taps.weights.iter().zip(source.chunks_exact(stride).skip(taps.first)) {
            add(&mut sums, weight, row);
        }
        pixels.iter_mut().zip(&sums).for_each(|(pixel, &sum)| *pixel = to_byte(sum));
        shrink_line(&pixels, across, line);
    }
    out
}

/// Each source row (`stride` bytes) is shrunk, rounded, and then added to the output rows that it belongs to.
fn width_first(source: &[u8], stride: usize, down: &[Taps], across: &[Taps]) -> Vec<u8> {
    let width = across.len() * 3;
    let mut sums = vec![HALF; down.len() * width];
    let mut line = vec![0; width];
    // Output rows before `done` take no more source rows: windows only move down.
    let mut done = 0;
    for (row, pixels) in source.chunks_exact(stride).enumerate() {
        while down.get(done).is_some_and(|taps| taps.first + taps.weights.len() <= row) {
            done += 1;
        }
        if down.get(done).is_none_or(|taps| taps.first > row) {
            continue;
        }
        shrink_line(pixels, across, &mut line);
        for (out, taps) in down.iter().enumerate().skip(done).take_while(|(_, taps)| taps.first <= row) {
            if let Some(&weight) = taps.weights.get(row - taps.first) {
                add(&mut sums[out * width..(out + 1) * width], weight, &line);
            }
        }
    }
    sums.into_iter().map(to_byte).collect()
}

fn add(sums: &mut [i32], weight: i32, bytes: &[u8]) {
    for (sum, &byte) in sums.iter_mut().zip(bytes) {
        *sum += weight * i32::from(byte);
    }
}

/// The horizontal pass over one row of RGB.
fn shrink_line(pixels: &[u8], across: &[Taps], line: &mut [u8]) {
    for (out, taps) in line.chunks_exact_mut(3).zip(across) {
        let mut sums = [HALF; 3];
        for (&weight, pixel) in taps.weights.iter().zip(pixels[taps.first * 3..].chunks_exact(3)) {
            add(&mut sums, weight, pixel);
        }
        for (byte, sum) in out.iter_mut().zip(sums) {
            *byte = to_byte(sum);
        }
    }
}

fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}
