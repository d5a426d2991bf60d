//! What is kept of an attention so that its probabilities and the gradient at them can be had after the forward: its
//! operands, which a recording tape keeps anyway. The probabilities themselves, heads × length² numbers a row, are
//! computed again when they are asked for.

use std::sync::Arc;

use rayon::prelude::*;

use super::head::{Head, Workspace};
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

    /// Where the gradient that [`Recall::gradient`] takes is asked for.
    pub fn node(&self) -> &Node {
        &self.out
    }

    pub fn heads(&self) -> usize {
        match &self.kind {
            Kind::Plain(attention, _) => attention.heads,
            Kind::Disentangled(attention) => attention.heads,
        }
    }

    /// The probabilities, as [`Attention::forward`] records them.
    ///
    /// # Errors
    /// Those of the forward.
    pub fn probabilities(&self) -> Result<Vec<f32>, Error> {
        let (qkv, mut tape) = (Node::constant(self.qkv.array().clone()), Tape::new(&(), false));
        let (_, probabilities) = match &self.kind {
            Kind::Plain(attention, bias) => attention.forward(&mut tape, &qkv, &self.offsets, bias.as_ref(), true)?,
            Kind::Disentangled(attention) => attention.forward(&mut tape, &qkv, &self.offsets, true)?,
        };
        Ok(probabilities.map_or_else(Vec::new, |probabilities| probabilities.values))
    }

    /// d / d P = dO Vᵀ, given dO at [`Recall::node`]: in the layout of the probabilities, 0 where nothing is seen.
    ///
    /// # Errors
    /// `Shape` where the gradient has not the result's shape.
    pub fn gradient(&self, grad: &[f32]) -> Result<Vec<f32>, Error> {
        if grad.len() != self.out.rows() * self.out.cols() {
            let detail = format!("{} numbers for {} × {}", grad.len(), self.out.rows(), self.out.cols());
            return Err(Error::shape("gradient at attention", detail));
        }
        let attention = match &self.kind {
            Kind::Plain(attention, _) => *attention,
            // Its values lie where plain attention's do.
            Kind::Disentangled(own) => Attention::new(own.heads, self.out.cols() / own.heads.max(1)),
        };
        let layout = Layout::new(&attention, &self.qkv, &self.offsets, None)?;
        let mut out = vec![0.0; layout.probabilities()];
        layout.tasks(&mut out).into_par_iter().with_min_len(layout.tasks_together()).for_each_init(
            Workspace::default,
            |workspace, mut task| {
                let Some(out) = task.probabilities.take() else { return };
                Head::new(&layout, self.qkv.value(), &task).against_values(grad, &task, &mut workspace.values, out);
            },
        );
        Ok(out)
    }
}

impl Head<'_> {
    /// dO Vᵀ of this head, len × len.
    fn against_values(&self, grad: &[f32], task: &Task<'_>, panels: &mut Scratch, out: &mut [f32]) {
        let (n, depth, width) = (self.len, self.layout.depth, self.layout.width());
        let values = panels.of_transposed(self.part(Part::Value, 0), self.layout.stride(), n, depth);
        for block in self.blocks() {
            let grad = &grad[(task.start + block.start) * width + task.head * depth..];
            let out = &mut out[block.start * n..block.end * n];
            self.against_keys(&block, (grad, width), values, 1.0, out);
            for (query, row) in block.zip(out.chunks_exact_mut(n)) {
                let seen = self.layout.mask.keys(query, n);
                row[..seen.start].fill(0.0);
                row[seen.end..].fill(0.0);
            }
        }
    }
}

#[cfg(test)]
mod tests;
