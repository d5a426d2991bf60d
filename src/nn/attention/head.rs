//! One head of one row. Queries are taken in blocks, so that a long row's scores stay in the second cache; where a mask
//! hides keys, a block is taken in strips that compute what one of their queries sees.

use std::ops::Range;

use super::layout::{Layout, Part, Task};
use crate::nn::Array;
use crate::nn::kernel::{Block, Finish, PANEL, PanelRow, Scratch, compute, exp, largest, sum, tanh, vectorised};

/// Scores of a block (1 MB), unless [`STRIP`] queries have more.
const SCORES: usize = 256 * 1024;
/// Queries, or keys, of a strip: four of the tallest tiles.
pub const STRIP: usize = 48;

/// What a thread works with, reused from head to head.
#[derive(Default)]
pub struct Workspace {
    pub keys: Scratch,
    pub values: Scratch,
    pub other: Scratch,
    /// A head's keys or values, those computed before in front.
    pub gathered: Vec<f32>,
    /// Probabilities of a block's queries.
    pub p: Vec<f32>,
    /// Their gradients.
    pub ds: Vec<f32>,
    /// Slopes of the soft cap.
    pub slope: Vec<f32>,
}

pub fn room(vec: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if vec.len() < len {
        vec.resize(len, 0.0);
    }
    &mut vec[..len]
}

/// A head of a row, with what it reads.
pub struct Head<'a> {
    pub layout: &'a Layout,
    /// Keys, and with them the row's positions.
    pub len: usize,
    /// Keys that were computed before: the first query stands behind them.
    pub before: usize,
    /// Where they are, and the values beside them, in parts one behind another.
    pub past: Option<&'a [Array]>,
    qkv: &'a [f32],
    start: usize,
    pub head: usize,
    /// len × len.
    bias: Option<&'a [f32]>,
}

impl<'a> Head<'a> {
    pub fn new(layout: &'a Layout, qkv: &'a [f32], task: &Task<'_>) -> Self {
        let &Task { row, start, len, head, .. } = task;
        let bias = layout.bias.as_ref().map(|bias| &bias.of_row(row)[head * len * len..][..len * len]);
        Self { layout, len, before: 0, past: None, qkv, start, head, bias }
    }

    /// The row's first token in the packed sequence.
    pub fn first(&self) -> usize {
        self.start
    }

    /// Queries, keys or values of this head from position `token` on, the projection's stride apart; `token` is none that
    /// was computed before.
    pub fn part(&self, part: Part, token: usize) -> &'a [f32] {
        let own = self.start + token - self.before;
        &self.qkv[own * self.layout.stride() + self.layout.column(part, self.head)..]
    }

    /// The queries of each block.
    pub fn blocks(&self) -> impl Iterator<Item = Range<usize>> + use<> {
        let (before, len) = (self.before, self.len);
        let most = (SCORES / len).max(STRIP);
        let size = len.div_ceil(len.div_ceil(most)).next_multiple_of(STRIP);
        (before..len).step_by(size).map(move |first| first..len.min(first + size))
    }

    /// A range of queries or keys in parts that see little more than each of their tokens does.
    pub fn strips(&self, of: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<> {
        let (end, size) = (of.end, if self.layout.mask.sees_all(self.len) { of.len().max(1) } else { STRIP });
        of.clone().step_by(size).map(move |first| first..end.min(first + size))
    }

    /// rows · rightᵀ of the queries in `block`, where one of a strip's queries sees the key: `block` × len numbers in
    /// `out`, of which the others are left as they are. `left` are the block's rows, `stride` apart; `panels` hold
    /// every key.
    pub fn against_keys(
        &self,
        block: &Range<usize>,
        (left, stride): (&[f32], usize),
        panels: &[PanelRow],
        scale: f32,
        out: &mut [f32],
    ) {
        let (n, depth) = (self.len, self.layout.depth);
        assert!(out.len() >= block.len() * n, "scores of a block");
        for strip in self.strips(block) {
            let keys = self.layout.mask.keys_of(&strip, n);
            let first = keys.start / PANEL;
            let product = Product {
                left: &left[(strip.start - block.start) * stride..],
                left_strides: (stride, 1),
                panels: &panels[first * depth..],
                panel_step: depth,
                shape: (strip.len(), depth, keys.end - first * PANEL),
                scale,
                add: false,
            };
            // SAFETY: the strip's rows of `out`, up to its last key.
            unsafe { product.write(out[(strip.start - block.start) * n + first * PANEL..].as_mut_ptr(), n) };
        }
    }

    /// weights · right of the queries in `block`: `weights` are block × len, `panels` hold every key's row of `right`.
    ///
    /// # Safety
    /// `out` must be valid for writing `depth` numbers for each of the block's queries, `stride` apart.
    pub unsafe fn over_keys(
        &self,
        block: &Range<usize>,
        weights: &[f32],
        panels: &[PanelRow],
        scale: f32,
        (out, stride): (*mut f32, usize),
    ) {
        let n = self.len;
        for strip in self.strips(block) {
            let keys = self.layout.mask.keys_of(&strip, n);
            let product = Product {
                left: &weights[(strip.start - block.start) * n + keys.start..],
                left_strides: (n, 1),
                panels: &panels[keys.start..],
                panel_step: n,
                shape: (strip.len(), keys.len(), self.layout.depth),
                scale,
                add: false,
            };
            // SAFETY: the caller's contract.
            unsafe { product.write(out.add((strip.start - block.start) * stride), stride) };
        }
    }

    /// The probabilities of the queries in `block`: block × len numbers in `p`; the soft cap's slopes in `slope`, if
    /// they are wanted. `keys` are the panels of Kᵀ.
    pub fn probabilities(&self, block: &Range<usize>, keys: &[PanelRow], p: &mut [f32], mut slope: Option<&mut [f32]>) {
        let (n, layout) = (self.len, self.layout);
        let masked = !layout.mask.sees_all(n);
        self.against_keys(block, (self.part(Part::Query, block.start), layout.stride()), keys, layout.scale, p);
        vectorised(
            #[inline(always)]
            || {
                for (index, row) in p.chunks_exact_mut(n).enumerate() {
                    let query = block.start + index;
                    let seen = layout.mask.keys(query, n);
                    if masked {
                        row[..seen.start].fill(0.0);
                        row[seen.end..].fill(0.0);
                    }
                    let row = &mut row[seen.clone()];
                    if let Some(cap) = layout.softcap {
                        match &mut slope {
                            Some(slope) => soft_cap_with_slope(row, &mut slope[index * n..][seen.clone()], cap),
                            None => soft_cap(row, cap),
                        }
                    }
                    if let Some(bias) = self.bias {
                        for (score, bias) in row.iter_mut().zip(&bias[query * n..][seen]) {
                            *score += bias;
                        }
                    }
                    softmax(row);
                }
            },
        );
    }

    /// P V; P is copied to `kept` where it is wanted.
    ///
    /// # Safety
    /// `out` must be valid for writing `depth` numbers in each of the row's own tokens, the result's width apart.
    pub unsafe fn attend(&self, workspace: &mut Workspace, out: *mut f32, mut kept: Option<&mut [f32]>) {
        let (n, depth) = (self.len, self.layout.depth);
        let Workspace { keys, values, p, gathered, .. } = workspace;
        let (data, stride) = self.all(Part::Key, gathered);
        let keys = keys.of_transposed(data, stride, n, depth);
        let (data, stride) = self.all(Part::Value, gathered);
        let values = values.of(data, stride, n, depth);
        for block in self.blocks() {
            let p = room(p, block.len() * n);
            self.probabilities(&block, keys, p, None);
            if let Some(kept) = &mut kept {
                kept[block.start * n..][..block.len() * n].copy_from_slice(p);
            }
            let width = self.layout.width();
            // SAFETY: the caller's contract.
            unsafe { self.over_keys(&block, p, values, 1.0, (out.add((block.start - self.before) * width), width)) };
        }
    }
}

/// s = c tanh(s / c), in place.
#[inline(always)]
fn soft_cap(scores: &mut [f32], cap: f32) {
    for score in scores {
        *score = cap * tanh(*score / cap);
    }
}

/// The same, with its slope 1 − tanh².
#[inline(always)]
fn soft_cap_with_slope(scores: &mut [f32], slope: &mut [f32], cap: f32) {
    for (score, slope) in scores.iter_mut().zip(slope) {
        let t = tanh(*score / cap);
        *score = cap * t;
        *slope = 1.0 - t * t;
    }
}

/// row = softmax(row), in place. The largest entry is taken away first, so nothing overflows.
#[inline(always)]
pub fn softmax(row: &mut [f32]) {
    let max = largest(row);
    for x in row.iter_mut() {
        *x = exp(*x - max);
    }
    let scale = 1.0 / sum(row);
    for x in row.iter_mut() {
        *x *= scale;
    }
}

/// A product of one head: a strided left operand and panels.
pub struct Product<'a> {
    pub left: &'a [f32],
    /// From row to row, and from column to column.
    pub left_strides: (usize, usize),
    pub panels: &'a [PanelRow],
    /// Rows of `panels` from panel to panel.
    pub panel_step: usize,
    /// Rows, inner dimension, columns.
    pub shape: (usize, usize, usize),
    pub scale: f32,
    /// Adds to what is there.
    pub add: bool,
}

impl Product<'_> {
    /// # Safety
    /// `out` must be valid for writing the shape's rows × columns, rows `stride` apart, and nobody else's; to `add`,
    /// numbers must stand there.
    pub unsafe fn write(&self, out: *mut f32, stride: usize) {
        let (rows, inner, cols) = self.shape;
        if rows == 0 || cols == 0 {
            return;
        }
        let (down, right) = self.left_strides;
        let panels = (cols.div_ceil(PANEL) - 1) * self.panel_step + inner;
        let fits = inner == 0 || self.left.len() > (rows - 1) * down + (inner - 1) * right;
        assert!(fits && self.panels.len() >= panels, "a product of one head");
        let block = Block {
            rows,
            inner,
            left: self.left.as_ptr(),
            left_row: down,
            left_col: right,
            panels: self.panels.as_ptr(),
            panel_step: self.panel_step,
            cols,
            out,
            out_row: stride,
            finish: Finish { residual: if self.add { out } else { std::ptr::null() }, ..Finish::scaled(self.scale) },
        };
        // SAFETY: the operands were checked above; the caller answers for `out`.
        unsafe { compute(&block, &()) };
    }
}
