//! Quickshift: every pixel hangs on the nearest pixel of higher density; trees are segments.

use std::ops::Range;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, Normal};
use rayon::prelude::*;

use super::Segmentation;
use super::lab::lab;

/// lime's settings.
const KERNEL_SIZE: f64 = 4.0;
const MAX_DISTANCE: f64 = 200.0;
const RATIO: f64 = 0.2;
/// Half the side of the searched window: ⌈3 · kernel size⌉.
const REACH: usize = 12;
/// Spread of the noise that breaks ties between equal densities.
const NOISE: f64 = 1e-5;

/// Place and colour of the pixels, for distances between them.
struct Field {
    rows: usize,
    cols: usize,
    /// Lab × ratio, one plane a channel.
    colours: [Vec<f64>; 3],
}

/// Quickshift (Vedaldi and Soatto 2008) over an RGB image of bytes (`rows × cols × 3`, row by row) as `lime_image`
/// calls scikit-image's: kernel_size 4, max_dist 200, ratio 0.2. `seed` feeds the tie-breaking noise, which is not
/// NumPy's: in flat areas segments differ from scikit-image's as they do between two of its own seeds.
pub fn quickshift(rgb: &[u8], rows: usize, cols: usize, seed: u64) -> Segmentation {
    let pixels = rows * cols;
    if pixels == 0 || rgb.len() < pixels * 3 {
        return Segmentation::from_labels(rows, cols, vec![0; pixels]);
    }
    let colours = lab(&rgb[..pixels * 3], |byte| f64::from(byte) / 255.0);
    let plane = |channel: usize| colours.iter().map(|colour| colour[channel] * RATIO).collect();
    let field = Field { rows, cols, colours: [plane(0), plane(1), plane(2)] };
    let densities = field.densities(seed);
    let mut parents = field.parents(&densities);
    // Roots have their own index as parent; following twice as far each time reaches them in log(depth) rounds.
    loop {
        let further: Vec<usize> = parents.iter().map(|&parent| parents[parent]).collect();
        if further == parents {
            return Segmentation::from_labels(rows, cols, parents);
        }
        parents = further;
    }
}

impl Field {
    /// Parzen density of every pixel, and noise. Pixels are independent, and the sum of each is in one order.
    fn densities(&self, seed: u64) -> Vec<f64> {
        let scale = -0.5 / (KERNEL_SIZE * KERNEL_SIZE);
        let density = |pixel: usize| {
            let mut line = [0.0; 2 * REACH + 1];
            let mut density = 0.0;
            for row in window(pixel / self.cols, self.rows) {
                for square in self.squares(pixel, row, &mut line).1 {
                    density += (*square * scale).exp();
                }
            }
            density
        };
        let mut densities: Vec<f64> = (0..self.rows * self.cols).into_par_iter().map(density).collect();
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        if let Ok(noise) = Normal::new(0.0, NOISE) {
            densities.iter_mut().for_each(|density| *density += noise.sample(&mut random));
        }
        densities
    }

    /// Index of the nearest pixel of higher density within reach (the first of several, row by row); a pixel without
    /// one is its own.
    fn parents(&self, densities: &[f64]) -> Vec<usize> {
        let parent = |pixel: usize| {
            let mut line = [0.0; 2 * REACH + 1];
            let own_row = pixel / self.cols;
            let (mut closest, mut parent) = (f64::MAX, pixel);
            // From near to far, so that rows which are too far by place alone need no look.
            for distance in 0..=REACH {
                if (distance * distance) as f64 > closest {
                    break;
                }
                let above = own_row.checked_sub(distance);
                let below = Some(own_row + distance).filter(|&row| distance > 0 && row < self.rows);
                for row in above.into_iter().chain(below) {
                    let (first, squares) = self.squares(pixel, row, &mut line);
                    for (index, &square) in (first..).zip(squares.iter()) {
                        let nearer = square < closest || (square == closest && index < parent);
                        if nearer && densities[index] > densities[pixel] {
                            (closest, parent) = (square, index);
                        }
                    }
                }
            }
            if closest.sqrt() > MAX_DISTANCE { pixel } else { parent }
        };
        (0..self.rows * self.cols).into_par_iter().map(parent).collect()
    }

    /// Squared distances in colour and place from `pixel` to the pixels of `row` within reach, written into `line`;
    /// with the index of the first of them.
    fn squares<'a>(&self, pixel: usize, row: usize, line: &'a mut [f64; 2 * REACH + 1]) -> (usize, &'a [f64]) {
        let col = pixel % self.cols;
        let cols = window(col, self.cols);
        let (first, end) = (row * self.cols + cols.start, row * self.cols + cols.end);
        let own = self.colours.each_ref().map(|plane| plane[pixel]);
        let [l, a, b] = self.colours.each_ref().map(|plane| &plane[first..end]);
        let down = (pixel / self.cols) as f64 - row as f64;
        let squares = &mut line[..cols.len()];
        for (offset, square) in squares.iter_mut().enumerate() {
            let across = col as f64 - (cols.start + offset) as f64;
            let (dl, da, db) = (own[0] - l[offset], own[1] - a[offset], own[2] - b[offset]);
            *square = dl * dl + da * da + db * db + down * down + across * across;
        }
        (first, squares)
    }
}

/// Rows or columns within reach of `at`.
fn window(at: usize, length: usize) -> Range<usize> {
    at.saturating_sub(REACH)..(at + REACH + 1).min(length)
}
