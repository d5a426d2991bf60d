//! The gradient of attention: dV = Pᵀ dO; dP = dO Vᵀ; dS = P ∘ (dP − rowsum(dP ∘ P)); dQ = scale · dS K;
//! dK = scale · dSᵀ Q. P is computed again: keeping it would take a row's length of numbers for every token and head.

use std::ops::Range;

use rayon::prelude::*;

use super::head::{Head, Product, Workspace, room};
use super::layout::{Layout, Part, Shared, Task};
use crate::nn::Array;
use crate::nn::kernel::{PanelRow, dot, for_rows, vectorised};
use crate::nn::tape::{Backward, Inputs};

pub struct AttentionBackward {
    pub layout: Layout,
    pub qkv: Array,
}

impl Backward for AttentionBackward {
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let layout = &self.layout;
        // Every head writes gradients of keys and values of its own, side by side; heads that share them are added up
        // afterwards, in their order.
        let len = layout.tokens() * 3 * layout.width();
        let mut out: Vec<f32> = Vec::with_capacity(len);
        let target = Shared(out.as_mut_ptr());
        layout.tasks(&mut []).into_par_iter().with_min_len(layout.tasks_together()).for_each_init(
            Workspace::default,
            |workspace, task| {
                let head = Head::new(layout, self.qkv.data(), &task);
                // SAFETY: `out` has room for 3 · `width` numbers per token; every task owns the columns of its head
                // in the rows of its sequence.
                unsafe { head.backward(&grad, &task, workspace, &target) };
            },
        );
        // SAFETY: the tasks have written queries', keys' and values' gradients of every head and row.
        unsafe { out.set_len(len) };
        inputs.add(0, if layout.group() == 1 { out } else { sum_of_groups(layout, &out) });
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        inputs.add(0, self.multipliers(&multiplier));
    }
}

/// From three parts of `heads` heads to the projection's columns.
fn sum_of_groups(layout: &Layout, parts: &[f32]) -> Vec<f32> {
    let (stride, width, depth, group) = (layout.stride(), layout.width(), layout.depth, layout.group());
    let mut out = vec![0.0; layout.tokens() * stride];
    for_rows(&mut out, stride, |token, out| {
        let (queries, others) = out.split_at_mut(width);
        let (own, parts) = parts[token * 3 * width..][..3 * width].split_at(width);
        queries.copy_from_slice(own);
        vectorised(
            #[inline(always)]
            || {
                for (out, parts) in others.chunks_exact_mut(depth).zip(parts.chunks_exact(group * depth)) {
                    for part in parts.chunks_exact(depth) {
                        for (out, part) in out.iter_mut().zip(part) {
                            *out += part;
                        }
                    }
                }
            },
        );
    });
    out
}

impl Head<'_> {
    /// # Safety
    /// `target` must be valid for writing this head's columns of all three parts (`width` each) in the row's tokens.
    unsafe fn backward(&self, grad: &[f32], task: &Task<'_>, workspace: &mut Workspace, target: &Shared) {
        let layout = self.layout;
        let (n, depth, stride, width) = (self.len, layout.depth, layout.stride(), layout.width());
        let Workspace { keys, values, other, p, ds, slope, .. } = workspace;
        for block in self.blocks() {
            let numbers = block.len() * n;
            let (p, ds) = (room(p, numbers), room(ds, numbers));
            let mut slope = layout.softcap.map(|_| room(slope, numbers));
            let grad = &grad[(task.start + block.start) * width + task.head * depth..];
            let place = |part: usize, token: usize| (task.start + token) * 3 * width + part * width + task.head * depth;
            let transposed = keys.of_transposed(self.part(Part::Key, 0), stride, n, depth);
            self.probabilities(&block, transposed, p, slope.as_deref_mut());
            let transposed = values.of_transposed(self.part(Part::Value, 0), stride, n, depth);
            self.against_keys(&block, (grad, width), transposed, 1.0, ds);
            vectorised(
                #[inline(always)]
                || self.score_gradients(&block, p, ds, slope.as_deref()),
            );
            // SAFETY: the caller's contract. The first block writes, the others add.
            unsafe {
                let panels = other.of(self.part(Part::Key, 0), stride, n, depth);
                self.over_keys(&block, ds, panels, layout.scale, (target.at(place(0, block.start)), 3 * width));
                let panels = other.of(self.part(Part::Query, block.start), stride, block.len(), depth);
                self.over_queries(&block, ds, panels, layout.scale, (target.at(place(1, 0)), 3 * width));
                let panels = other.of(grad, width, block.len(), depth);
                self.over_queries(&block, p, panels, 1.0, (target.at(place(2, 0)), 3 * width));
            }
        }
    }

    /// ds = p ∘ (ds − Σ ds ∘ p) [∘ slope], row by row; 0 where nothing is seen.
    #[inline(always)]
    fn score_gradients(&self, block: &Range<usize>, p: &[f32], ds: &mut [f32], slope: Option<&[f32]>) {
        let n = self.len;
        let masked = !self.layout.mask.sees_all(n);
        for (index, (p, ds)) in p.chunks_exact(n).zip(ds.chunks_exact_mut(n)).enumerate() {
            let seen = self.layout.mask.keys(block.start + index, n);
            if masked {
                ds[..seen.start].fill(0.0);
                ds[seen.end..].fill(0.0);
            }
            let (p, ds) = (&p[seen.clone()], &mut ds[seen.clone()]);
            let mean = dot(p, ds);
            for (ds, p) in ds.iter_mut().zip(p) {
                *ds = p * (*ds - mean);
            }
            if let Some(slope) = slope {
                for (ds, slope) in ds.iter_mut().zip(&slope[index * n..][seen]) {
                    *ds *= slope;
                }
            }
        }
    }

    /// weightsᵀ · right for every key, added up over blocks: `weights` are block × len, `panels` hold the block's rows
    /// of `right`.
    ///
    /// # Safety
    /// `out` must be valid for writing `depth` numbers in each of the row's tokens, `stride` apart; behind the first
    /// block numbers stand there.
    unsafe fn over_queries(
        &self,
        block: &Range<usize>,
        weights: &[f32],
        panels: &[PanelRow],
        scale: f32,
        (out, stride): (*mut f32, usize),
    ) {
        let n = self.len;
        for keys in self.strips(&(0..n)) {
            let queries = self.layout.mask.queries_of(&keys, block);
            let first = queries.start - block.start;
            let product = Product {
                left: weights.get(first * n + keys.start..).unwrap_or_default(),
                left_strides: (1, n),
                panels: &panels[first..],
                panel_step: block.len(),
                shape: (keys.len(), queries.len(), self.layout.depth),
                scale,
                add: block.start > 0,
            };
            if queries.is_empty() && product.add {
                continue;
            }
            // SAFETY: the caller's contract.
            unsafe { product.write(out.add(keys.start * stride), stride) };
        }
    }
}
