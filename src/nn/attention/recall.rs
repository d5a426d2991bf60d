//! What is kept of an attention so that its heads' probabilities, and with the gradient at them their relevance, can be had
//! as one map: its operands, which a recording tape keeps anyway. The probabilities themselves, heads × length² numbers a
//! row, are computed again for a few queries at a time and never all there.

use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::head::{Head, STRIP, Workspace, room};
use super::layout::{Layout, Part, Task};
use super::{Attention, Bias};
use crate::nn::kernel::Scratch;
use crate::nn::{Disentangled, Error, Node, Tape};

/// An attention of a forward, over packed rows.
pub struct Recall {
    kind: Kind,
    /// The packed projection.
    qkv: Node,
    /// P V, tokens × heads·depth: gradients are asked for here.
    out: Node,
    offsets: Vec<usize>,
}

enum Kind {
    Plain(Attention, Option<Bias>),
    Disentangled(Arc<Disentangled>),
}

impl Recall {
    /// Of `attention`'s forward over `qkv`, which gave `out`.
    pub fn plain(attention: Attention, bias: Option<&Bias>, (qkv, out): (&Node, &Node), offsets: &[usize]) -> Self {
        Self::of(Kind::Plain(attention, bias.cloned()), (qkv, out), offsets)
    }

    /// Of disentangled attention's.
    pub fn disentangled(attention: &Arc<Disentangled>, (qkv, out): (&Node, &Node), offsets: &[usize]) -> Self {
        Self::of(Kind::Disentangled(attention.clone()), (qkv, out), offsets)
    }

    fn of(kind: Kind, (qkv, out): (&Node, &Node), offsets: &[usize]) -> Self {
        Self { kind, qkv: qkv.clone(), out: out.clone(), offsets: offsets.to_vec() }
    }

    /// Where the gradient that [`Recall::relevance`] takes is asked for.
    pub fn node(&self) -> &Node {
        &self.out
    }

    fn heads(&self) -> usize {
        match &self.kind {
            Kind::Plain(attention, _) => attention.heads,
            Kind::Disentangled(attention) => attention.heads,
        }
    }

    /// The heads' probabilities as one map, row after row: the first head's, with `fold` over those of the others.
    ///
    /// # Errors
    /// Those of the forward.
    pub fn folded(&self, fold: impl Fn(f32, f32) -> f32 + Sync) -> Result<Vec<f32>, Error> {
        let join = |first: bool, p: &[f32], out: &mut [f32]| match first {
            true => out.copy_from_slice(p),
            false => out.iter_mut().zip(p).for_each(|(out, p)| *out = fold(*out, *p)),
        };
        match &self.kind {
            Kind::Plain(attention, bias) => {
                let layout = Layout::new(attention, &self.qkv, &self.offsets, bias.as_ref())?;
                let (map, _) = by_blocks(&layout, self.qkv.value(), &|head, block, workspace, out| {
                    join(head.head == 0, head.recalled(block, workspace), out);
                    0.0
                });
                Ok(map)
            }
            Kind::Disentangled(attention) => {
                let (p, mut map) = (self.disentangled_probabilities(attention)?, Vec::new());
                for (begin, n) in self.squares() {
                    let at = map.len();
                    map.resize(at + n * n, 0.0);
                    let heads = p[begin..][..attention.heads * n * n].chunks_exact((n * n).max(1));
                    heads.enumerate().for_each(|(head, p)| join(head == 0, p, &mut map[at..]));
                }
                Ok(map)
            }
        }
    }

    /// The heads' mean of max(0, P ∘ dP) as one map, row after row, dP = dO Vᵀ given dO at [`Recall::node`]; and of each
    /// head of each row Σ |P ∘ dP|.
    ///
    /// # Errors
    /// `Shape` where the gradient has not the result's shape.
    pub fn relevance(&self, grad: &[f32]) -> Result<(Vec<f32>, Vec<f32>), Error> {
        if grad.len() != self.out.rows() * self.out.cols() {
            let detail = format!("{} numbers for {} × {}", grad.len(), self.out.rows(), self.out.cols());
            return Err(Error::shape("gradient at attention", detail));
        }
        let of = self.heads() as f32;
        match &self.kind {
            Kind::Plain(attention, bias) => {
                let layout = Layout::new(attention, &self.qkv, &self.offsets, bias.as_ref())?;
                Ok(by_blocks(&layout, self.qkv.value(), &|head, block, workspace, out| {
                    let (p, slopes) = head.recalled_with_slopes(grad, block, workspace);
                    related(p, slopes, of, out)
                }))
            }
            Kind::Disentangled(attention) => {
                let (p, mut map) = (self.disentangled_probabilities(attention)?, Vec::new());
                // Its values lie where plain attention's do.
                let plain = Attention::new(attention.heads, self.out.cols() / attention.heads.max(1));
                let layout = Layout::new(&plain, &self.qkv, &self.offsets, None)?;
                let mut slopes = vec![0.0; p.len()];
                layout.tasks(&mut slopes).into_par_iter().for_each_init(Workspace::default, |workspace, mut task| {
                    let Some(out) = task.probabilities.take() else { return };
                    let head = Head::new(&layout, self.qkv.value(), &task);
                    out.copy_from_slice(head.slopes(grad, &(0..task.len), &mut workspace.values, &mut workspace.ds));
                });
                let mut importance = Vec::new();
                for (begin, n) in self.squares() {
                    let at = map.len();
                    map.resize(at + n * n, 0.0);
                    importance.extend((0..attention.heads).map(|head| {
                        let own = begin + head * n * n..begin + (head + 1) * n * n;
                        related(&p[own.clone()], &slopes[own], of, &mut map[at..]) as f32
                    }));
                }
                Ok((map, importance))
            }
        }
    }

    /// Every head's at once: a row is no longer than the table of its distances lets it be.
    fn disentangled_probabilities(&self, attention: &Disentangled) -> Result<Vec<f32>, Error> {
        let (qkv, mut tape) = (Node::constant(self.qkv.array().clone()), Tape::new(&(), false));
        let (_, probabilities) = attention.forward(&mut tape, &qkv, &self.offsets, true)?;
        Ok(probabilities.map_or_else(Vec::new, |probabilities| probabilities.values))
    }

    /// Where each row's heads × length × length begin, and its length.
    fn squares(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let heads = self.heads();
        self.offsets.windows(2).scan(0, move |begin, pair| {
            let (own, n) = (*begin, pair[1] - pair[0]);
            *begin += heads * n * n;
            Some((own, n))
        })
    }
}

/// Adds what a head has to its row's part of the map; what it gives is added up by head.
type Join<'j> = &'j (dyn Fn(&Head<'_>, &Range<usize>, &mut Workspace, &mut [f32]) -> f64 + Sync);

/// One length × length map a row, and a number for each of its heads. A few queries at a time and one head after the other,
/// so that no more than the map is ever there.
fn by_blocks(layout: &Layout, qkv: &[f32], join: Join<'_>) -> (Vec<f32>, Vec<f32>) {
    let (mut map, mut of_heads) = (Vec::new(), Vec::new());
    for (row, pair) in layout.offsets.windows(2).enumerate() {
        let (start, len, at) = (pair[0], pair[1] - pair[0], map.len());
        map.resize(at + len * len, 0.0);
        let block = |workspace: &mut Workspace, (place, out): (usize, &mut [f32])| -> Vec<f64> {
            let block = place * STRIP..place * STRIP + out.len() / len;
            let task = |head: usize| Task { row, start, len, head, probabilities: None };
            let heads = (0..layout.heads).map(|head| Head::new(layout, qkv, &task(head)));
            heads.map(|head| join(&head, &block, workspace, out)).collect()
        };
        let blocks = map[at..].par_chunks_mut((STRIP * len).max(1)).enumerate();
        let sums: Vec<Vec<f64>> = blocks.map_init(Workspace::default, block).collect();
        of_heads.extend((0..layout.heads).map(|head| sums.iter().map(|sums| sums[head]).sum::<f64>() as f32));
    }
    (map, of_heads)
}

/// Adds max(0, P ∘ dP) of one of `heads` heads to their mean in `out`; Σ |P ∘ dP|.
fn related(p: &[f32], slopes: &[f32], heads: f32, out: &mut [f32]) -> f64 {
    let mut sum = 0.0;
    for ((out, p), slope) in out.iter_mut().zip(p).zip(slopes) {
        let product = p * slope;
        sum += f64::from(product.abs());
        // Not `max`, which would hide what is no number.
        *out += if product < 0.0 { 0.0 } else { product / heads };
    }
    sum
}

impl Head<'_> {
    /// The probabilities of the queries in `block`.
    fn recalled<'w>(&self, block: &Range<usize>, workspace: &'w mut Workspace) -> &'w [f32] {
        let Workspace { keys, p, .. } = workspace;
        let keys = keys.of_transposed(self.part(Part::Key, 0), self.layout.stride(), self.len, self.layout.depth);
        let p = room(p, block.len() * self.len);
        self.probabilities(block, keys, p, None);
        p
    }

    /// The same, with dO Vᵀ of these queries.
    fn recalled_with_slopes<'w>(
        &self,
        grad: &[f32],
        block: &Range<usize>,
        workspace: &'w mut Workspace,
    ) -> (&'w [f32], &'w [f32]) {
        self.recalled(block, workspace);
        let Workspace { values, p, ds, .. } = workspace;
        (&p[..block.len() * self.len], self.slopes(grad, block, values, ds))
    }

    /// dO Vᵀ of the queries in `block`: block × len, 0 where nothing is seen.
    fn slopes<'w>(
        &self,
        grad: &[f32],
        block: &Range<usize>,
        panels: &mut Scratch,
        slopes: &'w mut Vec<f32>,
    ) -> &'w [f32] {
        let (n, depth, width) = (self.len, self.layout.depth, self.layout.width());
        let values = panels.of_transposed(self.part(Part::Value, 0), self.layout.stride(), n, depth);
        let grad = &grad[(self.first() + block.start) * width + self.head * depth..];
        let out = room(slopes, block.len() * n);
        self.against_keys(block, (grad, width), values, 1.0, out);
        for (query, row) in block.clone().zip(out.chunks_exact_mut(n)) {
            let seen = self.layout.mask.keys(query, n);
            row[..seen.start].fill(0.0);
            row[seen.end..].fill(0.0);
        }
        out
    }
}

#[cfg(test)]
mod tests;
