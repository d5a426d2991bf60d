//! DeepLIFT's multipliers of attention over pairs of rows.

use rayon::prelude::*;

use super::backward::AttentionBackward;
use super::layout::{Layout, Part, Task};
use crate::nn::lift_attention::PairedHead;
use crate::nn::rule::both;

impl AttentionBackward {
    /// The multipliers of queries, keys and values as they lie in the projection, given that of the result.
    pub(super) fn multipliers(&self, grad: &[f32]) -> Vec<f32> {
        let layout = &self.layout;
        let rows = layout.offsets.len().saturating_sub(1) / 2;
        let tokens = layout.tokens() / 2;
        // Rows of the second half are the first half's baselines.
        let tasks: Vec<Task<'_>> = layout.tasks(&mut []).into_iter().filter(|task| task.row < rows).collect();
        let heads: Vec<[Vec<f32>; 3]> = tasks.par_iter().map(|task| self.of_head(task, rows, grad)).collect();
        let mut out = vec![0.0; tokens * layout.stride()];
        for (task, parts) in tasks.iter().zip(&heads) {
            for (part, numbers) in [Part::Query, Part::Key, Part::Value].into_iter().zip(parts) {
                place(layout, task, part, numbers, &mut out);
            }
        }
        both(out)
    }

    fn of_head(&self, task: &Task<'_>, rows: usize, grad: &[f32]) -> [Vec<f32>; 3] {
        let layout = &self.layout;
        let baseline = layout.offsets[task.row + rows];
        let part = |part: Part| {
            let column = layout.column(part, task.head);
            [task.start, baseline].map(|first| &self.qkv.data()[first * layout.stride() + column..])
        };
        let bias = layout.bias.as_ref().map(|bias| bias.of_row(task.row));
        let head = PairedHead {
            len: task.len,
            depth: layout.depth,
            scale: layout.scale,
            softcap: layout.softcap,
            queries: part(Part::Query),
            keys: part(Part::Key),
            values: part(Part::Value),
            stride: layout.stride(),
            bias: bias.map(|bias| &bias[task.head * task.len * task.len..][..task.len * task.len]),
            seen: &|query| layout.mask.keys(query, task.len),
            relative: None,
        };
        head.multipliers((&grad[task.start * layout.width() + task.head * layout.depth..], layout.width()))
    }
}

/// Adds a head's numbers (len × depth) to its columns; heads that share keys and values come in their order.
fn place(layout: &Layout, task: &Task<'_>, part: Part, numbers: &[f32], out: &mut [f32]) {
    let column = layout.column(part, task.head);
    for (token, numbers) in numbers.chunks_exact(layout.depth).enumerate() {
        let out = &mut out[(task.start + token) * layout.stride() + column..][..layout.depth];
        out.iter_mut().zip(numbers).for_each(|(out, number)| *out += number);
    }
}
