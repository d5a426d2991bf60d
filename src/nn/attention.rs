//! Softmax attention over packed rows: heads are read from the packed projection without transposed copies, and only
//! here do the borders between rows matter.

use rayon::prelude::*;

use super::kernel::{Matrix, dot, product, softmax_row, vectorised};
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Tape};

/// Multi-head self-attention without its projections.
#[derive(Debug, Clone, Copy)]
pub struct Attention {
    pub heads: usize,
}

/// Recorded attention probabilities: row after row, heads × length × length (query, key).
pub struct Probabilities {
    pub values: Vec<f32>,
}

impl Attention {
    /// `qkv` holds query, key and value side by side (rows × 3·width); `offsets` are the rows' borders. Gives rows ×
    /// width, and the probabilities if asked for.
    pub fn forward(
        &self,
        tape: &mut Tape<'_>,
        qkv: &Node,
        offsets: &[usize],
        probabilities: bool,
    ) -> Result<(Node, Option<Probabilities>), Error> {
        let layout = Layout::new(qkv, offsets, self.heads)?;
        let tracked = tape.tracks(&[qkv]);
        let mut kept = vec![0.0; if probabilities || tracked { layout.probabilities() } else { 0 }];
        let mut out = vec![0.0; layout.tokens() * layout.width];
        let target = Shared(out.as_mut_ptr());
        let tasks = layout.tasks(&mut kept);
        tasks.into_par_iter().for_each_init(Vec::new, |scratch: &mut Vec<f32>, task| {
            let n = task.len;
            let p = match task.probabilities {
                Some(p) => p,
                None => {
                    scratch.resize(scratch.len().max(n * n), 0.0);
                    &mut scratch[..n * n]
                }
            };
            layout.attend(qkv.value(), task.start, task.head, n, p);
            let value = layout.part(qkv.value(), task.start, task.head, 2);
            // SAFETY: `out` holds a row of `width` per token; every task owns the columns of its head in the rows of
            // its sequence, and no two tasks share both.
            unsafe {
                let out = target.at(task.start * layout.width + task.head * layout.depth);
                product((n, layout.depth, n), 1.0, Matrix::packed(p, n), value, out, layout.width);
            }
        });
        let out = Array::new(out, layout.tokens(), layout.width);
        // Copied only where the backward needs them as well.
        let values = |kept: &mut Vec<f32>| if tracked { kept.clone() } else { std::mem::take(kept) };
        let recorded = probabilities.then(|| Probabilities { values: values(&mut kept) });
        let saved = qkv.array().clone();
        let node = tape.record(out, [Some(qkv), None], || AttentionBackward { layout, qkv: saved, p: kept });
        Ok((node, recorded))
    }
}

/// Where queries, keys and values of each head and row lie.
#[derive(Debug, Clone)]
struct Layout {
    offsets: Vec<usize>,
    heads: usize,
    /// Columns of one head.
    depth: usize,
    /// Columns of all heads.
    width: usize,
    scale: f32,
}

/// One head of one row.
struct Task<'a> {
    /// First token of the row in the packed sequence, and the row's length.
    start: usize,
    len: usize,
    head: usize,
    probabilities: Option<&'a mut [f32]>,
}

/// A pointer that tasks writing to disjoint places share.
struct Shared(*mut f32);
// SAFETY: every use states which places it owns.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// `offset` must be inside the allocation.
    unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's contract.
        unsafe { self.0.add(offset) }
    }
}

impl Layout {
    fn new(qkv: &Node, offsets: &[usize], heads: usize) -> Result<Self, Error> {
        let width = qkv.cols() / 3;
        let sorted = offsets.first() == Some(&0) && offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        if heads == 0 || !qkv.cols().is_multiple_of(3 * heads) || !sorted || offsets.last() != Some(&qkv.rows()) {
            let detail = format!("{} rows × {} columns for {heads} heads", qkv.rows(), qkv.cols());
            return Err(Error::shape("attention", detail));
        }
        let depth = width / heads;
        Ok(Self { offsets: offsets.to_vec(), heads, depth, width, scale: 1.0 / (depth as f32).sqrt() })
    }

    fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn lengths(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.offsets.windows(2).map(|pair| (pair[0], pair[1] - pair[0]))
    }

    fn probabilities(&self) -> usize {
        self.lengths().map(|(_, n)| self.heads * n * n).sum()
    }

    /// Every head of every row that has a token; `kept` is dealt out to them, unless it is empty.
    fn tasks<'a>(&self, kept: &'a mut [f32]) -> Vec<Task<'a>> {
        let keep = !kept.is_empty();
        let mut rest = kept;
        let mut tasks = Vec::with_capacity(self.heads * self.offsets.len());
        for (start, len) in self.lengths().filter(|(_, len)| *len > 0) {
            for head in 0..self.heads {
                let probabilities = keep.then(|| {
                    let (own, others) = std::mem::take(&mut rest).split_at_mut(len * len);
                    rest = others;
                    own
                });
                tasks.push(Task { start, len, head, probabilities });
            }
        }
        tasks
    }

    /// The queries (0), keys (1) or values (2) of one head, len × depth.
    fn part<'a>(&self, qkv: &'a [f32], start: usize, head: usize, part: usize) -> Matrix<'a> {
        let row_stride = 3 * self.width;
        let offset = start * row_stride + part * self.width + head * self.depth;
        Matrix { data: qkv, offset, row_stride, col_stride: 1 }
    }

    /// p = softmax(scale · Q Kᵀ), len × len.
    fn attend(&self, qkv: &[f32], start: usize, head: usize, n: usize, p: &mut [f32]) {
        let (query, key) = (self.part(qkv, start, head, 0), self.part(qkv, start, head, 1));
        // SAFETY: `p` is this task's own n × n.
        unsafe { product((n, n, self.depth), self.scale, query, key.transposed(), p.as_mut_ptr(), n) };
        vectorised(|| p.chunks_exact_mut(n).for_each(softmax_row));
    }
}

struct AttentionBackward {
    layout: Layout,
    qkv: Array,
    p: Vec<f32>,
}

impl Backward for AttentionBackward {
    /// dV = Pᵀ dO; dP = dO Vᵀ; dS = P ∘ (dP − rowsum(dP ∘ P)); dQ = scale · dS K; dK = scale · dSᵀ Q.
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let layout = &self.layout;
        let mut out = vec![0.0; layout.tokens() * 3 * layout.width];
        let target = Shared(out.as_mut_ptr());
        let mut first = 0;
        let mut tasks = Vec::new();
        for (start, n) in layout.lengths() {
            for head in 0..layout.heads {
                tasks.push((start, n, head, first));
                first += n * n;
            }
        }
        tasks.into_par_iter().filter(|task| task.1 > 0).for_each_init(Vec::new, |scratch: &mut Vec<f32>, task| {
            let (start, n, head, first) = task;
            let p = &self.p[first..][..n * n];
            scratch.resize(scratch.len().max(n * n), 0.0);
            let ds = &mut scratch[..n * n];
            let depth = layout.depth;
            let offset = start * layout.width + head * depth;
            let grad = Matrix { data: &grad, offset, row_stride: layout.width, col_stride: 1 };
            let part = |part| layout.part(self.qkv.data(), start, head, part);
            // SAFETY: `ds` is this thread's scratch of at least n × n; in `out` every task owns the columns of its
            // head in the rows of its sequence.
            unsafe {
                let place = |part: usize| target.at(start * 3 * layout.width + part * layout.width + head * depth);
                product((n, n, depth), 1.0, grad, part(2).transposed(), ds.as_mut_ptr(), n);
                vectorised(|| softmax_backward(p, ds, n));
                let (p, ds) = (Matrix::packed(p, n), Matrix::packed(ds, n));
                product((n, depth, n), layout.scale, ds, part(1), place(0), 3 * layout.width);
                product((n, depth, n), layout.scale, ds.transposed(), part(0), place(1), 3 * layout.width);
                product((n, depth, n), 1.0, p.transposed(), grad, place(2), 3 * layout.width);
            }
        });
        inputs.add(0, out);
    }
}

/// grad = p ∘ (grad − Σ grad ∘ p), row by row.
#[inline(always)]
fn softmax_backward(p: &[f32], grad: &mut [f32], n: usize) {
    for (p, grad) in p.chunks_exact(n).zip(grad.chunks_exact_mut(n)) {
        let mean = dot(p, grad);
        grad.iter_mut().zip(p).for_each(|(grad, p)| *grad = p * (*grad - mean));
    }
}
