//! The right operand of a product, cut into panels of 32 columns: what the innermost loop reads one cache line after
//! the other. Weights are laid out like this once, when a model is loaded.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::transpose::transpose;
use crate::nn::Narrow;
use crate::nn::stored::{SUPER, StoredRows, read_lines};

/// Columns of a panel.
pub const PANEL: usize = 32;
/// Numbers of a stored row that are read at a time: whole blocks of every kind.
const LINE: usize = SUPER;

thread_local! {
    /// Stored rows on their way into a panel.
    static LINES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// One row of a panel: two cache lines.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct PanelRow(pub [f32; PANEL]);

impl PanelRow {
    const ZERO: Self = Self([0.0; PANEL]);
}

/// The same of a weight that is stored in two bytes a number: one cache line.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub struct NarrowRow(pub [u16; PANEL]);

impl NarrowRow {
    const ZERO: Self = Self([0; PANEL]);
}

/// A matrix of `inner × cols`: panel after panel, each `inner` rows of 32 columns, the last one filled up with zeros.
#[derive(Debug, Clone)]
pub struct Panels {
    rows: Rows,
    inner: usize,
    cols: usize,
}

/// The rows of all panels, as they are kept.
#[derive(Debug, Clone)]
enum Rows {
    F32(Vec<PanelRow>),
    /// Widened whenever they are read: half the memory, and the same numbers.
    Narrow(Narrow, Vec<NarrowRow>),
    /// The transpose's rows as a file has them, read out and transposed whenever they are asked for.
    Stored(Vec<StoredRows>),
}

/// The rows of one panel, as they are kept.
#[derive(Debug, Clone, Copy)]
pub enum Kept<'a> {
    F32(&'a [PanelRow]),
    Narrow(Narrow, &'a [NarrowRow]),
    /// Only [`Panels::wide`] has them.
    Stored,
}

impl Panels {
    /// The transpose of `weight` (cols × inner, row by row), as x · Wᵀ needs it.
    pub fn of_transposed(weight: &[f32], inner: usize, cols: usize) -> Self {
        let rows = filled(PanelRow::ZERO, inner, cols, |panel, rows| {
            let first = panel * PANEL;
            let used = PANEL.min(cols - first);
            transpose(&weight[first * inner..], inner, used, inner, rows.as_flattened_mut(), PANEL);
        });
        Self { rows: Rows::F32(rows), inner, cols }
    }

    /// The same of a weight of two bytes a number, which stay as they are.
    pub fn of_transposed_narrow(bits: &[u16], kind: Narrow, inner: usize, cols: usize) -> Self {
        let rows = filled(NarrowRow::ZERO, inner, cols, |panel, rows| {
            let first = panel * PANEL;
            let used = PANEL.min(cols - first);
            // By blocks: rows of the weight are far apart.
            for (block, rows) in rows.chunks_mut(PANEL).enumerate() {
                for (col, weight) in bits[first * inner..].chunks_exact(inner).take(used).enumerate() {
                    for (row, bits) in rows.iter_mut().zip(&weight[block * PANEL..]) {
                        row.0[col] = *bits;
                    }
                }
            }
        });
        Self { rows: Rows::Narrow(kind, rows), inner, cols }
    }

    /// The same of a weight that stays as its file has it: `parts` one below the other, `inner` numbers each row.
    pub fn of_stored(parts: Vec<StoredRows>, inner: usize) -> Self {
        let cols = parts.iter().map(|part| part.rows).sum();
        Self { rows: Rows::Stored(parts), inner, cols }
    }

    /// Some of the panels, in f32.
    pub fn widened(&self, panels: Range<usize>) -> Self {
        let cols = self.cols.min(panels.end * PANEL) - panels.start * PANEL;
        let rows = filled(PanelRow::ZERO, self.inner, cols, |panel, rows| {
            rows.copy_from_slice(self.wide(panels.start + panel, 0..self.inner, &mut Vec::new()));
        });
        Self { rows: Rows::F32(rows), inner: self.inner, cols }
    }

    /// The transpose of this matrix, laid out anew, in f32.
    pub fn transposed(&self) -> Self {
        let (inner, cols) = (self.cols, self.inner);
        let rows = filled(PanelRow::ZERO, inner, cols, |panel, rows| {
            let first = panel * PANEL;
            let used = PANEL.min(cols - first);
            let mut room = Vec::new();
            for (source, block) in rows.chunks_mut(PANEL).enumerate() {
                let from = self.wide(source, first..first + used, &mut room);
                transpose(from.as_flattened(), PANEL, used, block.len(), block.as_flattened_mut(), PANEL);
            }
        });
        Self { rows: Rows::F32(rows), inner, cols }
    }

    /// The transpose of this matrix, row by row: what [`Panels::of_transposed`] was given, in f32.
    pub fn to_rows(&self) -> Vec<f32> {
        let mut out = Vec::with_capacity(self.cols * self.inner);
        let mut room = Vec::new();
        for panel in 0..self.panels() {
            let rows = self.wide(panel, 0..self.inner, &mut room);
            for col in 0..PANEL.min(self.cols - panel * PANEL) {
                out.extend(rows.iter().map(|row| row.0[col]));
            }
        }
        out
    }

    /// Some rows of one panel in f32: where they are, or widened into `room`.
    pub fn wide<'a>(&'a self, panel: usize, rows: Range<usize>, room: &'a mut Vec<PanelRow>) -> &'a [PanelRow] {
        let kept = match &self.rows {
            Rows::F32(all) => return &all[panel * self.inner..][rows],
            kept => kept,
        };
        if room.len() < rows.len() {
            room.resize(rows.len(), PanelRow::ZERO);
        }
        let room = &mut room[..rows.len()];
        match kept {
            Rows::F32(_) => {}
            Rows::Narrow(kind, all) => {
                kind.widen(all[panel * self.inner..][rows].as_flattened(), room.as_flattened_mut());
            }
            Rows::Stored(parts) => self.read_out(parts, panel, rows, room),
        }
        room
    }

    /// Some rows of a panel out of the transpose's rows.
    fn read_out(&self, parts: &[StoredRows], panel: usize, rows: Range<usize>, room: &mut [PanelRow]) {
        let first = panel * PANEL;
        let cols = first..self.cols.min(first + PANEL);
        if cols.len() < PANEL {
            room.fill(PanelRow::ZERO);
        }
        LINES.with_borrow_mut(|lines| {
            lines.resize(PANEL * LINE, 0.0);
            // As many numbers at a time as stay in the first cache.
            for begin in (rows.start / LINE * LINE..rows.end).step_by(LINE) {
                let end = self.inner.min(begin + LINE);
                read_lines(parts, self.inner, cols.clone(), begin..end, (&mut lines[..], LINE));
                let own = begin.max(rows.start)..end.min(rows.end);
                let to = room[own.start - rows.start..].as_flattened_mut();
                transpose(&lines[own.start - begin..], LINE, cols.len(), own.len(), to, PANEL);
            }
        });
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

    /// The rows of one panel.
    pub fn kept(&self, panel: usize) -> Kept<'_> {
        let place = panel * self.inner..(panel + 1) * self.inner;
        match &self.rows {
            Rows::F32(rows) => Kept::F32(&rows[place]),
            Rows::Narrow(kind, rows) => Kept::Narrow(*kind, &rows[place]),
            Rows::Stored(_) => Kept::Stored,
        }
    }
}

/// Numbers of a panel's rows behind one another.
trait Flattened<T> {
    fn as_flattened(&self) -> &[T];
    fn as_flattened_mut(&mut self) -> &mut [T];
}

impl Flattened<f32> for [PanelRow] {
    fn as_flattened(&self) -> &[f32] {
        // SAFETY: a `PanelRow` is PANEL numbers and nothing else (its size is a multiple of its alignment).
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len() * PANEL) }
    }

    fn as_flattened_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above; every bit pattern is a number.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len() * PANEL) }
    }
}

impl Flattened<u16> for [NarrowRow] {
    fn as_flattened(&self) -> &[u16] {
        // SAFETY: as of a `PanelRow`.
        unsafe { std::slice::from_raw_parts(self.as_ptr().cast(), self.len() * PANEL) }
    }

    fn as_flattened_mut(&mut self) -> &mut [u16] {
        // SAFETY: as of a `PanelRow`.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr().cast(), self.len() * PANEL) }
    }
}

/// The panels of an `inner × cols` matrix, rows of `zero`, each filled by `fill(panel, rows)` on some thread.
fn filled<T: Copy + Send>(zero: T, inner: usize, cols: usize, fill: impl Fn(usize, &mut [T]) + Sync) -> Vec<T> {
    let mut rows = vec![zero; inner * cols.div_ceil(PANEL)];
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
    use crate::nn::narrow::narrow;

    fn numbers(len: usize) -> Vec<f32> {
        (0..len).map(|i| i as f32 + 1.0).collect()
    }

    fn at(panels: &Panels, row: usize, col: usize) -> f32 {
        panels.wide(col / PANEL, row..row + 1, &mut Vec::new())[0].0[col % PANEL]
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
            let mut room = Vec::new();
            let last = panels.wide(panels.panels() - 1, 0..inner, &mut room);
            assert!(last.iter().flat_map(|row| &row.0[(cols - 1) % PANEL + 1..]).all(|&x| x == 0.0));
        }
    }

    #[test]
    fn narrow_numbers_have_the_same_places() {
        for (inner, cols) in [(1, 1), (3, 33), (16, 16), (17, 31), (40, 70), (64, 64)] {
            let numbers = numbers(inner * cols);
            for kind in [Narrow::Bf16, Narrow::F16] {
                let (bits, numbers) = narrow(kind, &numbers);
                let wide = Panels::of_transposed(&numbers, inner, cols);
                let narrow = Panels::of_transposed_narrow(&bits, kind, inner, cols);
                assert_eq!(narrow.to_rows(), numbers, "{kind:?} {inner} × {cols}");
                assert_eq!(narrow.transposed().to_rows(), wide.transposed().to_rows(), "{kind:?} {inner} × {cols}");
                let Kept::Narrow(_, last) = narrow.kept(narrow.panels() - 1) else { panic!("widened") };
                assert!(last.iter().flat_map(|row| &row.0[(cols - 1) % PANEL + 1..]).all(|&x| x == 0));
            }
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
