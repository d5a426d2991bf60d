//! The right operand of a product, cut into panels of 32 columns: what the innermost loop reads one cache line after
//! the other. Weights are laid out like this once, when a model is loaded.

use rayon::prelude::*;

use super::transpose::transpose;

/// Columns of a panel.
pub const PANEL: usize = 32;

/// One row of a panel: two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct PanelRow(pub [f32; PANEL]);

impl PanelRow {
    const ZERO: Self = Self([0.0; PANEL]);
}

/// A matrix of `inner × cols`: panel after panel, each `inner` rows of 32 columns, the last one filled up with zeros.
#[derive(Debug, Clone)]
pub struct Panels {
    rows: Vec<PanelRow>,
    inner: usize,
    cols: usize,
}

impl Panels {
    /// The transpose of `weight` (cols × inner, row by row), as x · Wᵀ needs it.
    pub fn of_transposed(weight: &[f32], inner: usize, cols: usize) -> Self {
        let rows = filled(inner, cols, |panel, rows| {
            let first = panel * PANEL;
            let used = PANEL.min(cols - first);
            if used < PANEL {
                rows.fill(PanelRow::ZERO);
            }
            transpose(&weight[first * inner..], inner, used, inner, rows.as_flattened_mut(), PANEL);
        });
        Self { rows, inner, cols }
    }

    /// The transpose of this matrix, laid out anew.
    pub fn transposed(&self) -> Self {
        let (inner, cols) = (self.cols, self.inner);
        let rows = filled(inner, cols, |panel, rows| {
            let first = panel * PANEL;
            let used = PANEL.min(cols - first);
            if used < PANEL {
                rows.fill(PanelRow::ZERO);
            }
            for (source, block) in rows.chunks_mut(PANEL).enumerate() {
                let from = &self.panel(source)[first..][..used];
                transpose(from.as_flattened(), PANEL, used, block.len(), block.as_flattened_mut(), PANEL);
            }
        });
        Self { rows, inner, cols }
    }

    /// The transpose of this matrix, row by row: what [`Panels::of_transposed`] was given.
    pub fn to_rows(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.cols * self.inner);
        for col in 0..self.cols {
            out.extend(self.panel(col / PANEL).iter().map(|row| row.0[col % PANEL]));
        }
        out
    }

    pub fn inner(&self) -> usize {
        self.inner
    }

    pub fn cols(&self) -> usize {
        self.cols
    }

    pub fn panels(&self) -> usize {
        self.cols.div_ceil(PANEL)
    }

    pub fn panel(&self, panel: usize) -> &[PanelRow] {
        &self.rows[panel * self.inner..][..self.inner]
    }
}

/// Numbers of a panel's rows behind one another.
trait Flattened {
    fn as_flattened(&self) -> &[f32];
    fn as_flattened_mut(&mut self) -> &mut [f32];
}

impl Flattened for [PanelRow] {
    fn as_flattened(&self) -> &[f32] {
        // SAFETY: a `PanelRow` is PANEL numbers and nothing else (its size is a multiple of its alignment).
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len() * PANEL) }
    }

    fn as_flattened_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; every bit pattern is a number.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len() * PANEL) }
    }
}

/// The panels of an `inner × cols` matrix, each filled by `fill(panel, rows)` on some thread.
fn filled(inner: usize, cols: usize, fill: impl Fn(usize, &mut [PanelRow]) + Sync) -> Vec<PanelRow> {
    let mut rows = vec![PanelRow::ZERO; inner * cols.div_ceil(PANEL)];
    if inner > 0 {
        rows.par_chunks_mut(inner).enumerate().for_each(|(panel, rows)| fill(panel, rows));
    }
    rows
}

/// Panels of small matrices, made again and again in the same memory: attention's operands.
#[derive(Debug, Default)]
pub struct Scratch {
    rows: Vec<PanelRow>,
}

impl Scratch {
    /// Panels of the `rows × cols` matrix whose element (i, j) is at `data[i · stride + j]`.
    pub fn of(&mut self, data: &[f32], stride: usize, rows: usize, cols: usize) -> &[PanelRow] {
        let panels = self.room(rows, cols);
        for (panel, rows) in panels.chunks_exact_mut(rows.max(1)).enumerate() {
            let first = panel * PANEL;
            let used = PANEL.min(cols - first);
            for (row, to) in rows.iter_mut().enumerate() {
                let from = &data[row * stride + first..][..used];
                match <&[f32; PANEL]>::try_from(from) {
                    Ok(from) => to.0 = *from,
                    Err(_) => {
                        to.0[..used].copy_from_slice(from);
                        to.0[used..].fill(0.0);
                    }
                }
            }
        }
        panels
    }

    /// Panels of the transpose (cols × rows) of such a matrix.
    pub fn of_transposed(&mut self, data: &[f32], stride: usize, rows: usize, cols: usize) -> &[PanelRow] {
        let panels = self.room(cols, rows);
        for (panel, to) in panels.chunks_exact_mut(cols.max(1)).enumerate() {
            let first = panel * PANEL;
            let used = PANEL.min(rows - first);
            if used < PANEL {
                to.fill(PanelRow::ZERO);
            }
            transpose(&data[first * stride..], stride, used, cols, to.as_flattened_mut(), PANEL);
        }
        panels
    }

    fn room(&mut self, inner: usize, cols: usize) -> &mut [PanelRow] {
        let len = inner * cols.div_ceil(PANEL);
        if self.rows.len() < len {
            self.rows.resize(len, PanelRow::ZERO);
        }
        &mut self.rows[..len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| i as f32 + 1.0).collect()
    }

    fn at(panels: &Panels, row: usize, col: usize) -> f32 {
        panels.panel(col / PANEL)[row].0[col % PANEL]
    }

    #[test]
    fn every_number_has_its_place() {
        for (inner, cols) in [(1, 1), (3, 33), (16, 16), (17, 31), (40, 70), (64, 64)] {
            let weight = numbers(inner * cols);
            let panels = Panels::of_transposed(&weight, inner, cols);
            assert_eq!(panels.to_rows(), weight, "{inner} × {cols}");
            let back = panels.transposed();
            assert_eq!((back.inner(), back.cols(), back.panels()), (cols, inner, inner.div_ceil(PANEL)));
            for row in 0..inner {
                for col in 0..cols {
                    assert_eq!(at(&panels, row, col), weight[col * inner + row], "{inner} × {cols}");
                    assert_eq!(at(&back, col, row), weight[col * inner + row], "{inner} × {cols}");
                }
            }
            let unused = panels.panel(panels.panels() - 1).iter().flat_map(|row| &row.0[(cols - 1) % PANEL + 1..]);
            assert!(unused.into_iter().all(|&x| x == 0.0));
        }
    }

    #[test]
    fn scratch_forgets_what_it_held() {
        let (mut scratch, data) = (Scratch::default(), numbers(40 * 50));
        scratch.of(&data, 50, 40, 50);
        let panels = scratch.of(&data[3..], 50, 7, 35);
        assert_eq!(panels[7 + 2].0[2], data[3 + 2 * 50 + 34]);
        assert_eq!(panels[7 + 2].0[3], 0.0);
        let panels = scratch.of_transposed(&data, 50, 35, 7);
        assert_eq!(panels[7 + 2].0[2], data[34 * 50 + 2]);
        assert_eq!(panels[7 + 2].0[3], 0.0);
    }
}
