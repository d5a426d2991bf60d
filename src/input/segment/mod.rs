//! Superpixels: SLIC and quickshift after scikit-image, plain patches, and masks that a caller draws.
//!
//! No crate reproduces scikit-image's (those for SLIC differ in seeding, colour space and connectivity, and none has
//! quickshift), and comparisons with lime need its segments. `tasks::perturb` and the methods call it through
//! `input::units`. Everything scans row by row and is deterministic, whatever the number of threads.

mod given;
mod lab;
mod quickshift;
mod slic;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::io::Cursor;

use image::{ImageBuffer, ImageFormat, Luma};

pub use given::given;
pub use quickshift::quickshift;
pub use slic::slic;

/// Every pixel of the model's input belongs to one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segmentation {
    pub rows: usize,
    pub cols: usize,
    /// rows × cols, each below `count`; every segment has a pixel. Numbered by first appearance, row by row.
    pub labels: Vec<u16>,
    pub count: usize,
}

impl Segmentation {
    /// Numbers arbitrary labels (one a pixel) by first appearance. A 16-bit PNG carries 65,536 values: labels past
    /// the last one share it, which no image of a model's size reaches with sensible settings.
    fn from_labels(rows: usize, cols: usize, labels: impl IntoIterator<Item = usize>) -> Self {
        let mut numbers: HashMap<usize, u16> = HashMap::new();
        let number = |label| {
            let next = u16::try_from(numbers.len()).unwrap_or(u16::MAX);
            *numbers.entry(label).or_insert(next)
        };
        let labels: Vec<u16> = labels.into_iter().map(number).collect();
        let count = labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
        Self { rows, cols, labels, count }
    }
}

/// One patch = one cell of a `grid_rows × grid_cols` grid, numbered row by row. Cell r covers rows
/// ⌊r·rows/grid_rows⌋ up to ⌊(r+1)·rows/grid_rows⌋; a grid finer than the image is the image's pixels.
pub fn patches(rows: usize, cols: usize, grid_rows: usize, grid_cols: usize) -> Segmentation {
    let cells = |length: usize, grid: usize| {
        let grid = grid.clamp(1, length.max(1));
        let mut cell = 0;
        let of_pixel = move |pixel| {
            while (cell + 1) * length / grid <= pixel {
                cell += 1;
            }
            cell
        };
        (0..length).map(of_pixel).collect::<Vec<_>>()
    };
    let (down, across) = (cells(rows, grid_rows), cells(cols, grid_cols));
    let width = across.last().map_or(0, |last| last + 1);
    let labels = down.iter().flat_map(|row| across.iter().map(move |col| row * width + col));
    Segmentation::from_labels(rows, cols, labels)
}

/// A 16-bit grey PNG of the segments: pixel = label.
///
/// # Panics
/// When `labels` does not hold `rows × cols` values, at least one.
pub fn png16(labels: &[u16], rows: usize, cols: usize) -> Vec<u8> {
    assert!(labels.len() == rows * cols && !labels.is_empty(), "one label a pixel");
    let image = ImageBuffer::<Luma<u16>, _>::from_raw(cols as u32, rows as u32, labels.to_vec());
    let mut png = Cursor::new(Vec::new());
    let written = image.map(|image| image.write_to(&mut png, ImageFormat::Png));
    assert!(matches!(written, Some(Ok(()))), "writing to memory cannot fail");
    png.into_inner()
}

/// The segments that a picture of [`png16`] holds; `None` where it is none.
pub fn read(png: &[u8]) -> Option<Segmentation> {
    let picture = image::load_from_memory_with_format(png, ImageFormat::Png).ok()?.into_luma16();
    let (rows, cols) = (picture.height() as usize, picture.width() as usize);
    let labels = picture.into_raw();
    let count = labels.iter().max().map_or(0, |&label| usize::from(label) + 1);
    Some(Segmentation { rows, cols, labels, count })
}
