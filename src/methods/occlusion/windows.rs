//! What `occlusion` takes away at once: single units, runs of units, or boxes over an image.

use std::ops::Range;

use crate::input::ImageInput;
use crate::input::segment::Segmentation;
use crate::input::units::Mask;

/// Windows over units that stand in rows: each takes away what lies in a range of rows and a range of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    pub units: usize,
    /// Units of a row.
    cols: usize,
    down: Vec<Range<usize>>,
    across: Vec<Range<usize>>,
}

impl Windows {
    /// Runs of `window` consecutive units every `stride`; the last one ends with the units.
    pub fn runs(units: usize, window: usize, stride: usize) -> Self {
        let across = starts(units, window, stride).map(|start| start..units.min(start + window)).collect();
        Self { units, cols: units, down: std::iter::once(0..1).collect(), across }
    }

    pub fn len(&self) -> usize {
        self.down.len() * self.across.len()
    }

    /// The units that window `index` takes away, row by row.
    fn window(&self, index: usize) -> impl Iterator<Item = usize> + '_ {
        let (rows, cols) = (self.down[index / self.across.len()].clone(), &self.across[index % self.across.len()]);
        rows.flat_map(move |row| cols.clone().map(move |col| row * self.cols + col))
    }

    /// The mask with everything present but window `index`.
    pub fn mask(&self, index: usize) -> Mask {
        let mut mask = Mask::full(self.units);
        self.window(index).for_each(|unit| mask.set(unit, false));
        mask
    }

    /// The mean over the windows that cover a unit of what taking them away costs; `drops` may end early. A unit that
    /// no window covers has 0.
    pub fn scores(&self, drops: &[f64]) -> Vec<f64> {
        let (mut sums, mut counts) = (vec![0.0; self.units], vec![0_usize; self.units]);
        for (index, drop) in drops.iter().enumerate().take(self.len()) {
            for unit in self.window(index) {
                sums[unit] += drop;
                counts[unit] += 1;
            }
        }
        sums.iter().zip(counts).map(|(sum, count)| sum / count.max(1) as f64).collect()
    }
}

/// How many runs of `window` units there are every `stride`.
pub fn count(units: usize, window: usize, stride: usize) -> usize {
    units.saturating_sub(window).div_ceil(stride.max(1)) + usize::from(units > 0)
}

/// Where windows begin along `length`: every `stride`, until one reaches the end.
fn starts(length: usize, window: usize, stride: usize) -> impl Iterator<Item = usize> + Clone {
    (0..count(length, window, stride)).map(move |index| index * stride)
}

/// How many boxes slide over an image, and how many cells their borders cut it into.
pub fn size(image: &ImageInput, window: usize, stride: usize) -> (usize, usize) {
    let along = |length: usize| (count(length, window, stride), cuts(length, window, stride).len() - 1);
    let (down, across) = (along(image.rows), along(image.cols));
    (down.0 * across.0, down.1 * across.1)
}

/// Boxes of `window` × `window` pixels every `stride`, over the cells that their borders cut the image into. No pixel
/// of a cell differs from the others in which boxes cover it, so that cells are as good as pixels.
pub fn boxes(image: &ImageInput, window: usize, stride: usize) -> (Windows, Segmentation) {
    let (down, across) = (cuts(image.rows, window, stride), cuts(image.cols, window, stride));
    let (row_of, col_of) = (strips(&down), strips(&across));
    let cols = across.len() - 1;
    let labels = row_of.iter().flat_map(|row| col_of.iter().map(move |col| (row * cols + col) as u16)).collect();
    let count = (down.len() - 1) * cols;
    let segmentation = Segmentation { rows: image.rows, cols: image.cols, labels, count };
    let ranges = |length: usize, cuts: &[usize]| -> Vec<Range<usize>> {
        let strip = |place: usize| cuts[..cuts.len() - 1].partition_point(|&cut| cut < place);
        starts(length, window, stride).map(|start| strip(start)..strip(start + window)).collect()
    };
    let (down, across) = (ranges(image.rows, &down), ranges(image.cols, &across));
    (Windows { units: count, cols, down, across }, segmentation)
}

/// Where windows begin and end along `length`, both ends of it included, in order.
fn cuts(length: usize, window: usize, stride: usize) -> Vec<usize> {
    let starts = starts(length, window, stride);
    let mut cuts: Vec<usize> = starts.flat_map(|start| [start, (start + window).min(length)]).collect();
    cuts.extend([0, length]);
    cuts.sort_unstable();
    cuts.dedup();
    cuts
}

/// The strip of each place.
fn strips(cuts: &[usize]) -> Vec<usize> {
    (0..cuts.len() - 1).flat_map(|strip| (cuts[strip]..cuts[strip + 1]).map(move |_| strip)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;
    use crate::methods::support::fake::Fake;

    #[test]
    fn runs_end_with_the_units() {
        let runs = |units, window, stride| -> Vec<Vec<usize>> {
            let windows = Windows::runs(units, window, stride);
            assert_eq!(windows.len(), count(units, window, stride));
            (0..windows.len()).map(|index| windows.window(index).collect()).collect()
        };
        assert_eq!(runs(5, 2, 2), [vec![0, 1], vec![2, 3], vec![4]]);
        assert_eq!(runs(5, 3, 1).len(), 3);
        assert_eq!(runs(2, 4, 1), [vec![0, 1]]);
        assert_eq!(runs(1, 1, 1), [vec![0]]);
        assert!(runs(0, 1, 1).is_empty());
    }

    #[test]
    fn a_unit_has_the_mean_of_its_windows() {
        let windows = Windows::runs(3, 2, 1);
        assert_eq!(windows.scores(&[1.0, 4.0]), [1.0, 2.5, 4.0]);
        assert_eq!(windows.scores(&[1.0]), [1.0, 1.0, 0.0]);
        let mask = windows.mask(1);
        assert!(mask.contains(0) && !mask.contains(1) && !mask.contains(2));
    }

    #[test]
    fn boxes_cover_whole_cells() {
        let Input::Image(image) = Fake::image(10).input else { unreachable!() };
        for (window, stride) in [(3, 2), (4, 4), (10, 1), (12, 5), (1, 1), (7, 3)] {
            let (windows, cut) = boxes(&image, window, stride);
            assert_eq!(size(&image, window, stride), (windows.len(), cut.count));
            for (index, (top, left)) in starts(10, window, stride)
                .flat_map(|top| starts(10, window, stride).map(move |left| (top, left)))
                .enumerate()
            {
                let mask = windows.mask(index);
                for (pixel, &label) in cut.labels.iter().enumerate() {
                    let inside =
                        (top..top + window).contains(&(pixel / 10)) && (left..left + window).contains(&(pixel % 10));
                    assert_eq!(mask.contains(usize::from(label)), !inside, "{window} {stride} {index} {pixel}");
                }
            }
        }
    }
}
