//! A window that slides over images whose pixels are rows and whose channels are columns: what convolutions and
//! pooling share.

use std::ops::Range;

use super::{Error, Node};

/// `size` taps over images of `rows × cols` pixels, `stride` pixels from place to place, with `padding` pixels around.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageWindow {
    pub rows: usize,
    pub cols: usize,
    pub channels: usize,
    /// Rows and columns of the window.
    pub size: (usize, usize),
    pub stride: usize,
    pub padding: usize,
}

impl ImageWindow {
    /// The window where every place is the pixel's own.
    pub fn pixel(rows: usize, cols: usize, channels: usize) -> Self {
        Self { rows, cols, channels, size: (1, 1), stride: 1, padding: 0 }
    }

    /// Pixels of what comes out: rows and columns.
    ///
    /// # Errors
    /// `Shape` where the window is larger than the padded image or anything is 0.
    pub fn out(&self) -> Result<(usize, usize), Error> {
        let fits = |image: usize, size: usize| size > 0 && image + 2 * self.padding >= size;
        // A window that may stand in the padding alone has no pixel to look at.
        let sound = self.stride > 0 && self.channels > 0 && self.padding < self.size.0.min(self.size.1).max(1);
        if !sound || self.rows * self.cols == 0 || !fits(self.rows, self.size.0) || !fits(self.cols, self.size.1) {
            return Err(Error::shape("window", format!("{self:?} has no place to stand")));
        }
        Ok((self.out_rows(), self.out_cols()))
    }

    pub(super) fn out_rows(&self) -> usize {
        (self.rows + 2 * self.padding - self.size.0) / self.stride + 1
    }

    pub(super) fn out_cols(&self) -> usize {
        (self.cols + 2 * self.padding - self.size.1) / self.stride + 1
    }

    pub(super) fn pixels(&self) -> usize {
        self.rows * self.cols
    }

    /// Numbers of one line of the images.
    pub(super) fn line(&self) -> usize {
        self.cols * self.channels
    }

    pub(super) fn taps(&self) -> usize {
        self.size.0 * self.size.1
    }

    /// How many images `x` holds.
    pub(super) fn images(&self, op: &'static str, x: &Node) -> Result<usize, Error> {
        if x.cols() != self.channels || !x.rows().is_multiple_of(self.pixels()) {
            let detail = format!(
                "{} × {} numbers where images of {} × {} pixels and {} channels are expected",
                x.rows(),
                x.cols(),
                self.rows,
                self.cols,
                self.channels
            );
            return Err(Error::shape(op, detail));
        }
        Ok(x.rows() / self.pixels())
    }

    /// The taps along one axis that see the image where the window stands at place `at`, and the pixel of the first.
    #[inline(always)]
    pub(super) fn seen(&self, at: usize, size: usize, length: usize) -> (Range<usize>, usize) {
        let start = at * self.stride;
        let first = self.padding.saturating_sub(start);
        let end = size.min((length + self.padding).saturating_sub(start));
        (first..end.max(first), start + first - self.padding)
    }

    /// The places along one axis whose window covers `pixel`, in ascending order.
    #[inline(always)]
    pub(super) fn covering(&self, pixel: usize, size: usize, places: usize) -> Range<usize> {
        let pixel = pixel + self.padding;
        let first = (pixel + 1).saturating_sub(size).div_ceil(self.stride);
        first..(pixel / self.stride + 1).min(places)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seen_and_covering_are_each_others_inverse() {
        for (rows, size, stride, padding) in
            [(7, 3, 2, 1), (8, 2, 2, 0), (5, 7, 1, 3), (9, 7, 2, 3), (6, 1, 2, 0), (7, 3, 3, 1)]
        {
            let window = ImageWindow { rows, cols: rows, channels: 1, size: (size, size), stride, padding };
            let (places, _) = window.out().unwrap();
            for pixel in 0..rows {
                let covering: Vec<usize> = (0..places)
                    .filter(|&at| {
                        let (taps, first) = window.seen(at, size, rows);
                        (first..first + taps.len()).contains(&pixel)
                    })
                    .collect();
                assert_eq!(window.covering(pixel, size, places).collect::<Vec<_>>(), covering, "{window:?} {pixel}");
            }
        }
    }

    #[test]
    fn windows_without_a_place_are_refused() {
        let sound = ImageWindow { rows: 4, cols: 4, channels: 2, size: (3, 3), stride: 2, padding: 1 };
        assert_eq!(sound.out().unwrap(), (2, 2));
        for wrong in [
            ImageWindow { stride: 0, ..sound },
            ImageWindow { size: (7, 3), ..sound },
            ImageWindow { rows: 0, ..sound },
            ImageWindow { channels: 0, ..sound },
            ImageWindow { padding: 3, ..sound },
        ] {
            assert!(wrong.out().is_err(), "{wrong:?}");
        }
    }
}
