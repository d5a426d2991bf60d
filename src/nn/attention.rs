//! Softmax attention over packed rows: heads are read from the packed projection without transposed copies, and only
//! here do the borders between rows matter.

use rayon::prelude::*;

use super::device::{self, Heads};
use super::kernel::{Block, Finish, PANEL, PanelRow, Scratch, compute, dot, softmax_row, vectorised};
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
    ///
    /// # Errors
    /// `Shape` where heads, columns and borders do not fit one another.
    pub fn forward(
        &self,
        tape: &mut Tape<'_>,
        qkv: &Node,
        offsets: &[usize],
        probabilities: bool,
    ) -> Result<(Node, Option<Probabilities>), Error> {
        let layout = Layout::new(qkv, offsets, self.heads)?;
        if let Some(session) = tape.device_of(qkv) {
            let heads = Heads { heads: layout.heads, depth: layout.depth, scale: layout.scale };
            return device::attention(tape, &session, heads, (qkv, offsets), probabilities);
        }
        let mut kept = vec![0.0; if probabilities { layout.probabilities() } else { 0 }];
        let mut out: Vec<f32> = Vec::with_capacity(layout.tokens() * layout.width);
        let target = Shared(out.as_mut_ptr());
        layout.tasks(&mut kept).into_par_iter().with_min_len(layout.tasks_together()).for_each_init(
            Workspace::default,
            |workspace, task| {
                // SAFETY: `out` has room for a row of `width` per token; every task owns the columns of its head in
                // the rows of its sequence, and no two tasks share both.
                unsafe {
                    let out = target.at(task.start * layout.width + task.head * layout.depth);
                    layout.attend(qkv.value(), &task, workspace, out);
                }
                if let Some(kept) = task.probabilities {
                    kept.copy_from_slice(&workspace.p[..kept.len()]);
                }
            },
        );
        // SAFETY: the tasks have written every head's columns of every row.
        unsafe { out.set_len(layout.tokens() * layout.width) };
        let out = Array::new(out, layout.tokens(), layout.width);
        let saved = qkv.array().clone();
        let node = tape.record(out, [Some(qkv), None], || AttentionBackward { layout, qkv: saved });
        Ok((node, probabilities.then_some(Probabilities { values: kept })))
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

    /// Heads of rows that one thread takes at a time: a short row's is too little to hand over.
    fn tasks_together(&self) -> usize {
        let rows = self.offsets.len().saturating_sub(1).max(1);
        let length = self.tokens() / rows;
        (ENOUGH / (length * length * self.depth).max(1)).max(1)
    }

    /// Where the queries (0), keys (1) or values (2) of one head begin; `stride` from token to token.
    fn part(&self, start: usize, head: usize, part: usize) -> usize {
        start * self.stride() + part * self.width + head * self.depth
    }

    fn stride(&self) -> usize {
        3 * self.width
    }

    /// p = softmax(scale · Q Kᵀ), len × len, in the workspace.
    fn probabilities_of(&self, qkv: &[f32], task: &Task<'_>, workspace: &mut Workspace) {
        let (n, stride) = (task.len, self.stride());
        let (query, key) = (self.part(task.start, task.head, 0), self.part(task.start, task.head, 1));
        let Workspace { panels, p, .. } = workspace;
        let p = room(p, n * n);
        let scores = Product {
            left: &qkv[query..],
            left_strides: (stride, 1),
            panels: panels.of_transposed(&qkv[key..], stride, n, self.depth),
            shape: (n, self.depth, n),
            scale: self.scale,
        };
        // SAFETY: `p` is this thread's own n × n.
        unsafe { scores.write(p.as_mut_ptr(), n) };
        vectorised(
            #[inline(always)]
            || {
                for row in p.chunks_exact_mut(n) {
                    softmax_row(row);
                }
            },
        );
    }

    /// P V of one head of one row; leaves P in the workspace.
    ///
    /// # Safety
    /// `out` must be valid for writing `depth` numbers in each of the row's tokens, `width` apart.
    unsafe fn attend(&self, qkv: &[f32], task: &Task<'_>, workspace: &mut Workspace, out: *mut f32) {
        self.probabilities_of(qkv, task, workspace);
        let n = task.len;
        let values = &qkv[self.part(task.start, task.head, 2)..];
        let product = Product {
            left: &workspace.p,
            left_strides: (n, 1),
            panels: workspace.panels.of(values, self.stride(), n, self.depth),
            shape: (n, n, self.depth),
            scale: 1.0,
        };
        // SAFETY: the caller's contract.
        unsafe { product.write(out, self.width) };
    }
}

/// Multiplications that are worth handing to another thread.
const ENOUGH: usize = 128 * 1024;

/// What a thread works with, reused from head to head.
#[derive(Default)]
struct Workspace {
    panels: Scratch,
    p: Vec<f32>,
    ds: Vec<f32>,
}

fn room(vec: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if vec.len() < len {
        vec.resize(len, 0.0);
    }
    &mut vec[..len]
}

/// A product of one head: a strided left operand and panels.
struct Product<'a> {
    left: &'a [f32],
    /// From row to row, and from column to column.
    left_strides: (usize, usize),
    panels: &'a [PanelRow],
    /// Rows, inner dimension, columns.
    shape: (usize, usize, usize),
    scale: f32,
}

impl Product<'_> {
    /// # Safety
    /// `out` must be valid for writing the shape's rows × columns, rows `stride` apart, and nobody else's.
    unsafe fn write(&self, out: *mut f32, stride: usize) {
        let (rows, inner, cols) = self.shape;
        let (down, right) = self.left_strides;
        assert!(self.left.len() > (rows - 1) * down + (inner - 1) * right, "a product of one head");
        assert!(self.panels.len() >= inner * cols.div_ceil(PANEL), "a product of one head");
        let block = Block {
            rows,
            inner,
            left: self.left.as_ptr(),
            left_row: down,
            left_col: right,
            panels: self.panels.as_ptr(),
            cols,
            out,
            out_row: stride,
            finish: Finish::scaled(self.scale),
        };
        // SAFETY: the operands were checked above; the caller answers for `out`.
        unsafe { compute(&block, &()) };
    }
}

struct AttentionBackward {
    layout: Layout,
    qkv: Array,
}

impl Backward for AttentionBackward {
    /// dV = Pᵀ dO; dP = dO Vᵀ; dS = P ∘ (dP − rowsum(dP ∘ P)); dQ = scale · dS K; dK = scale · dSᵀ Q. P is computed
    /// again: keeping it would take a row's length of numbers for every token and head.
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let layout = &self.layout;
        let len = layout.tokens() * layout.stride();
        let mut out: Vec<f32> = Vec::with_capacity(len);
        let target = Shared(out.as_mut_ptr());
        layout.tasks(&mut []).into_par_iter().with_min_len(layout.tasks_together()).for_each_init(
            Workspace::default,
            |workspace, task| {
                // SAFETY: `out` has room for 3 · `width` numbers per token; every task owns the columns of its head
                // in the rows of its sequence.
                unsafe { layout.backward(self.qkv.data(), &grad, &task, workspace, &target) };
            },
        );
        // SAFETY: the tasks have written queries', keys' and values' gradients of every head and row.
        unsafe { out.set_len(len) };
        inputs.add(0, out);
    }
}

impl Layout {
    /// # Safety
    /// `target` must be valid for writing this head's columns of queries, keys and values in the row's tokens.
    unsafe fn backward(&self, qkv: &[f32], grad: &[f32], task: &Task<'_>, workspace: &mut Workspace, target: &Shared) {
        self.probabilities_of(qkv, task, workspace);
        let (n, depth, stride) = (task.len, self.depth, self.stride());
        let Workspace { panels, p, ds } = workspace;
        let (p, ds) = (&p[..n * n], room(ds, n * n));
        let grad = &grad[task.start * self.width + task.head * depth..];
        let part = |part| &qkv[self.part(task.start, task.head, part)..];
        let down = Product {
            left: grad,
            left_strides: (self.width, 1),
            panels: panels.of_transposed(part(2), stride, n, depth),
            shape: (n, depth, n),
            scale: 1.0,
        };
        // SAFETY: `ds` is this thread's own n × n.
        unsafe { down.write(ds.as_mut_ptr(), n) };
        vectorised(
            #[inline(always)]
            || softmax_backward(p, ds, n),
        );
        // Each is n × n times n × depth; the second and third read their left operand by columns.
        let parts = [
            (&*ds, (n, 1), part(1), stride, self.scale),
            (&*ds, (1, n), part(0), stride, self.scale),
            (p, (1, n), grad, self.width, 1.0),
        ];
        for (index, (left, left_strides, right, right_stride, scale)) in parts.into_iter().enumerate() {
            let panels = panels.of(right, right_stride, n, depth);
            let product = Product { left, left_strides, panels, shape: (n, n, depth), scale };
            // SAFETY: the caller's contract.
            unsafe { product.write(target.at(self.part(task.start, task.head, index)), stride) };
        }
    }
}

/// grad = p ∘ (grad − Σ grad ∘ p), row by row.
#[inline(always)]
fn softmax_backward(p: &[f32], grad: &mut [f32], n: usize) {
    for (p, grad) in p.chunks_exact(n).zip(grad.chunks_exact_mut(n)) {
        let mean = dot(p, grad);
        for (grad, p) in grad.iter_mut().zip(p) {
            *grad = p * (*grad - mean);
        }
    }
}
