//! From fine scores to the lists of an answer: tokens to words, pixels to cells.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::settings::float;
use crate::input::segment;
use crate::input::text::TextInput;
use crate::methods::{Error, Grid, PixelMap};

/// The sum of each word's tokens; tokens without a word (specials) count in none.
pub fn words(input: &TextInput, tokens: &[f64]) -> Vec<f64> {
    let mut words = vec![0.0; input.words.len()];
    for (token, score) in input.tokens.iter().zip(tokens) {
        if let Some(word) = token.word.and_then(|word| words.get_mut(word)) {
            *word += score;
        }
    }
    words
}

/// The cell of every pixel, row by row: cell r covers rows ⌊r·H/R⌋ … ⌊(r+1)·H/R⌋ and columns alike. Every pixel has
/// one, and with at most as many cells as pixels on a side every cell has a pixel.
pub fn cells(rows: usize, cols: usize, grid: Grid) -> Vec<u32> {
    let (down, across) = (strips(rows, grid.rows), strips(cols, grid.cols));
    let cell = |row: usize| across.iter().map(move |col| row * grid.cols + col);
    down.iter().flat_map(|&row| cell(row)).map(|cell| cell as u32).collect()
}

fn strips(length: usize, count: usize) -> Vec<usize> {
    (0..count).flat_map(|strip| (strip * length / count..(strip + 1) * length / count).map(move |_| strip)).collect()
}

/// A flat list of cells as the answer's list of rows.
pub fn rows(cells: &[f32], grid: Grid) -> Vec<Vec<f32>> {
    cells.chunks(grid.cols.max(1)).map(<[f32]>::to_vec).collect()
}

/// The mean over each cell's pixels of their segment's score.
pub fn segment_cells(labels: &[u16], scores: &[f64], cells: &[u32], grid: Grid) -> Vec<f64> {
    let mut sums = vec![0.0; grid.rows * grid.cols];
    let mut sizes = vec![0_usize; sums.len()];
    for (&label, &cell) in labels.iter().zip(cells) {
        sums[cell as usize] += scores[usize::from(label)];
        sizes[cell as usize] += 1;
    }
    sums.iter().zip(sizes).map(|(sum, size)| sum / size.max(1) as f64).collect()
}

/// The mean over each cell's pixels of the score of the place of the grid `own` that covers them, over `rows` × `cols`
/// pixels.
pub fn regridded(scores: &[f64], (rows, cols): (usize, usize), own: Grid, grid: Grid) -> Vec<f64> {
    let mut sums = vec![0.0; grid.rows * grid.cols];
    let mut sizes = vec![0_usize; sums.len()];
    for (&place, &cell) in cells(rows, cols, own).iter().zip(&cells(rows, cols, grid)) {
        sums[cell as usize] += scores.get(place as usize).copied().unwrap_or(0.0);
        sizes[cell as usize] += 1;
    }
    sums.iter().zip(sizes).map(|(sum, size)| sum / size.max(1) as f64).collect()
}

/// Scores of all pixels as a 16-bit picture: value = sample · scale + offset, off by half a `scale` at most.
pub fn pixel_map(scores: &[f64], rows: usize, cols: usize) -> Result<PixelMap, Error> {
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let offset = float(low, "a pixel's score")?;
    let scale = float((high - low) / f64::from(u16::MAX), "a pixel's score")?;
    let sample = |&score: &f64| {
        if score.is_finite() {
            Ok(if scale > 0.0 { ((score - low) / f64::from(scale)).round() as u16 } else { 0 })
        } else {
            Err(Error::NotFinite { what: "a pixel's score" })
        }
    };
    let samples = scores.iter().map(sample).collect::<Result<Vec<u16>, Error>>()?;
    Ok(PixelMap { png: STANDARD.encode(segment::png16(&samples, rows, cols)), scale, offset })
}

/// A segment methods' `segments`: base64 of the labels' picture.
pub fn segment_picture(segmentation: &segment::Segmentation) -> String {
    STANDARD.encode(segment::png16(&segmentation.labels, segmentation.rows, segmentation.cols))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_over_another_has_the_means_of_its_pixels() {
        let own = Grid { rows: 2, cols: 2 };
        let scores = [1.0, 2.0, 3.0, 4.0];
        let over = |cells: usize| regridded(&scores, (6, 6), own, Grid { rows: cells, cols: cells });
        assert_eq!((over(2), over(1)), (scores.to_vec(), vec![2.5]));
        assert_eq!(over(3), [1.0, 1.5, 2.0, 2.0, 2.5, 3.0, 3.0, 3.5, 4.0]);
        let fine = over(6);
        assert_eq!((fine[0], fine[3], fine[35], fine.iter().sum::<f64>()), (1.0, 2.0, 4.0, 90.0));
    }

    #[test]
    fn cells_cover_every_pixel_by_the_floor_rule() {
        let grid = Grid { rows: 3, cols: 2 };
        let cells = cells(7, 5, grid);
        assert_eq!(cells.len(), 35);
        for row in 0..7 {
            for col in 0..5 {
                let cell = cells[row * 5 + col] as usize;
                let (r, c) = (cell / 2, cell % 2);
                assert!((r * 7 / 3..(r + 1) * 7 / 3).contains(&row) && (c * 5 / 2..(c + 1) * 5 / 2).contains(&col));
            }
        }
    }

    #[test]
    fn a_cell_is_the_mean_of_its_pixels_segments() {
        let grid = Grid { rows: 1, cols: 2 };
        let cells = cells(1, 4, grid);
        assert_eq!(segment_cells(&[0, 1, 1, 1], &[4.0, 2.0], &cells, grid), [3.0, 2.0]);
        assert_eq!(rows(&[3.0, 2.0], grid), [[3.0, 2.0]]);
    }

    #[test]
    fn pixel_maps_know_their_range() {
        let map = pixel_map(&[-1.0, 0.0, 3.0, 1.0], 2, 2).unwrap();
        assert_eq!(map.offset, -1.0);
        assert!((f64::from(map.scale) * 65_535.0 - 4.0).abs() < 1e-6);
        assert_eq!(pixel_map(&[2.0; 4], 2, 2).unwrap().scale, 0.0);
        assert!(pixel_map(&[f64::NAN; 4], 2, 2).is_err());
    }
}
