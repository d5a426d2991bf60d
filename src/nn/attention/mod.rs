//! Softmax attention over packed rows: heads are read from the packed projection without transposed copies, and only
//! here do the borders between rows matter.
//!
//! `mask` says which keys a query sees, `bias` what is added to scores, `layout` where heads lie, `head` computes one
//! head of one row, `backward` its gradient, `past` rows behind keys and values that were computed before, and `recall` the
//! probabilities' own gradient.

mod backward;
mod bias;
mod head;
mod layout;
mod lift;
mod mask;
mod past;
mod recall;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

pub use bias::{Bias, relative_bucket};
pub(super) use head::{Product, softmax};
pub use mask::Window;
pub use past::{Past, kept};
pub use recall::Recall;

use super::device::{self, Heads};
use super::{Array, Error, Node, Tape};
use backward::AttentionBackward;
use head::{Head, Workspace};
use layout::{Layout, Shared};
use mask::Mask;

/// Multi-head self-attention without its projections: softmax(cap(scale · Q Kᵀ) + bias) V over the keys each query
/// sees, as transformers' `eager_attention_forward`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention {
    /// Heads of queries.
    pub heads: usize,
    /// Heads of keys and values, a divisor of `heads`; each serves `heads / kv_heads` neighbouring heads of queries
    /// (grouped-query attention, Ainslie et al. 2023).
    pub kv_heads: usize,
    /// Columns of one head.
    pub depth: usize,
    /// What scores are multiplied with, mostly 1 / √depth.
    pub scale: f32,
    /// A query sees no key behind it.
    pub causal: bool,
    /// A query sees the keys near it alone.
    pub window: Option<Window>,
    /// Scores s become c · tanh(s / c), before the bias (Gemma 2).
    pub softcap: Option<f32>,
}

/// Recorded attention probabilities: row after row, heads × length × length (query, key). What a query does not see
/// is exactly 0.
pub struct Probabilities {
    pub values: Vec<f32>,
}

impl Attention {
    /// Every query sees every key; scale 1 / √depth.
    pub fn new(heads: usize, depth: usize) -> Self {
        let scale = 1.0 / (depth as f32).sqrt();
        Self { heads, kv_heads: heads, depth, scale, causal: false, window: None, softcap: None }
    }

    /// Every query sees every key, each head its own, and scores are taken as they are.
    fn is_full(&self) -> bool {
        !self.causal && self.window.is_none() && self.softcap.is_none() && self.kv_heads == self.heads
    }

    /// Columns of the packed queries, keys and values.
    pub fn columns(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.depth
    }

    /// `qkv` holds queries, keys and values side by side (tokens × [heads·depth | kv_heads·depth | kv_heads·depth]);
    /// `offsets` are the rows' borders. Gives tokens × heads·depth, and the probabilities if asked for. The bias is a
    /// constant.
    ///
    /// # Errors
    /// `Shape` where heads, columns, borders and bias do not fit one another.
    pub fn forward(
        &self,
        tape: &mut Tape<'_>,
        qkv: &Node,
        offsets: &[usize],
        bias: Option<&Bias>,
        probabilities: bool,
    ) -> Result<(Node, Option<Probabilities>), Error> {
        let layout = Layout::new(self, qkv, offsets, bias)?;
        if let Some(session) = tape.device_of(qkv).filter(|_| bias.is_none() && self.is_full()) {
            let heads = Heads { heads: self.heads, depth: self.depth, scale: self.scale };
            return device::attention(tape, &session, heads, (qkv, offsets), probabilities);
        }
        let mut kept = vec![0.0; if probabilities { layout.probabilities() } else { 0 }];
        let width = layout.width();
        let mut out: Vec<f32> = Vec::with_capacity(layout.tokens() * width);
        let target = Shared(out.as_mut_ptr());
        layout.tasks(&mut kept).into_par_iter().with_min_len(layout.tasks_together()).for_each_init(
            Workspace::default,
            |workspace, task| {
                let head = Head::new(&layout, qkv.value(), &task);
                // SAFETY: `out` has room for a row of `width` per token; every task owns the columns of its head in
                // the rows of its sequence, and no two tasks share both.
                unsafe {
                    let out = target.at(task.start * width + task.head * layout.depth);
                    head.attend(workspace, out, task.probabilities);
                }
            },
        );
        // SAFETY: the tasks have written every head's columns of every row.
        unsafe { out.set_len(layout.tokens() * width) };
        let out = Array::new(out, layout.tokens(), width);
        let saved = qkv.array().clone();
        let node = tape.record(out, [Some(qkv), None], || AttentionBackward { layout, qkv: saved });
        Ok((node, probabilities.then_some(Probabilities { values: kept })))
    }
}
