//! Disentangled attention (DeBERTa, He et al. 2020; with buckets, DeBERTa v2 and v3): a score is content to content,
//! content to position and position to content.
//!
//! score(i, j) = scale · (qᵢ·kⱼ + qᵢ·Kʳ\[δ\] + kⱼ·Qʳ\[δ\]) with δ the bucket of i − j, as transformers'
//! `DisentangledSelfAttention`. The position tables Kʳ and Qʳ are constants: their projections are made once, at load.

use std::sync::Arc;

use rayon::prelude::*;

use super::attention::{Product, softmax};
use super::kernel::{PanelRow, Scratch, vectorised};
use super::lift_attention::PairedHead;
use super::rule::both;
use super::tape::{Backward, Inputs};
use super::{Array, Error, Node, Probabilities, Tape};

/// Which entry of the position tables a distance has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distances {
    /// Half of the tables' entries: distance 0 is entry `span`.
    pub span: usize,
    /// Distances beyond half of `span` are told apart by their logarithm, up to this one.
    pub logarithmic: Option<usize>,
}

impl Distances {
    /// The entry of the distance query − key, as `make_log_bucket_position`: in f32, like there, since the ceiling of
    /// a logarithm hangs on its last bit.
    pub fn entry(self, distance: isize) -> usize {
        let middle = self.span as isize / 2;
        let bucket = match self.logarithmic {
            Some(most) if distance.abs() > middle => {
                let middle = middle as f32;
                let whole = ((most as f64 - 1.0) / f64::from(middle)) as f32;
                let log = (distance.unsigned_abs() as f32 / middle).ln() / whole.ln() * (middle - 1.0);
                (log.ceil() + middle) as isize * distance.signum()
            }
            _ => distance,
        };
        (bucket + self.span as isize).clamp(0, 2 * self.span as isize - 1) as usize
    }
}

/// Multi-head disentangled self-attention without its projections.
#[derive(Debug, Clone)]
pub struct Disentangled {
    pub heads: usize,
    pub scale: f32,
    pub distances: Distances,
    /// Kʳ, entries × width: content to position.
    pub keys: Option<Arc<Vec<f32>>>,
    /// Qʳ, entries × width: position to content.
    pub queries: Option<Arc<Vec<f32>>>,
}

impl Disentangled {
    /// As [`Attention::forward`](super::Attention::forward).
    ///
    /// # Errors
    /// `Shape` where heads, columns, borders and tables do not fit one another.
    pub fn forward(
        &self,
        tape: &mut Tape<'_>,
        qkv: &Node,
        offsets: &[usize],
        probabilities: bool,
    ) -> Result<(Node, Option<Probabilities>), Error> {
        let rows = Rows::new(self, qkv, offsets)?;
        let heads: Vec<(Vec<f32>, Vec<f32>)> = rows
            .tasks()
            .into_par_iter()
            .map_init(Scratch::default, |panels, task| {
                let head = Head::new(&rows, qkv.value(), task);
                let p = head.probabilities(panels);
                let mut out = vec![0.0; task.len * rows.depth];
                let values = panels.of(head.part(2), rows.stride(), task.len, rows.depth);
                multiply(&p, (task.len, 1), values, (task.len, task.len, rows.depth), 1.0, &mut out);
                (out, if probabilities { p } else { Vec::new() })
            })
            .collect();
        let mut out = vec![0.0; rows.tokens() * rows.width];
        for (task, (head, _)) in rows.tasks().into_iter().zip(&heads) {
            rows.place(head, task, &mut out, (rows.width, 0));
        }
        let kept = probabilities.then(|| Probabilities {
            values: heads.into_iter().flat_map(|(_, probabilities)| probabilities).collect(),
        });
        let (out, saved) = (Array::new(out, rows.tokens(), rows.width), qkv.array().clone());
        Ok((tape.record(out, [Some(qkv), None], || DisentangledBackward { rows, qkv: saved }), kept))
    }
}

/// The attention and the packed rows it works on.
struct Rows {
    attention: Disentangled,
    offsets: Vec<usize>,
    /// Columns of one head, and of all.
    depth: usize,
    width: usize,
}

/// One head of one row.
#[derive(Clone, Copy)]
struct Task {
    start: usize,
    len: usize,
    head: usize,
}

impl Rows {
    fn new(attention: &Disentangled, qkv: &Node, offsets: &[usize]) -> Result<Self, Error> {
        let (heads, width) = (attention.heads, qkv.cols() / 3);
        let sorted = offsets.first() == Some(&0) && offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        let tables = [&attention.keys, &attention.queries].into_iter().flatten();
        let whole = tables.into_iter().all(|table| table.len() == 2 * attention.distances.span * width);
        let even = heads > 0 && width > 0 && qkv.cols().is_multiple_of(3 * heads);
        if !even || !sorted || !whole || offsets.last() != Some(&qkv.rows()) {
            let detail = format!("{} rows × {} columns for {heads} heads", qkv.rows(), qkv.cols());
            return Err(Error::shape("disentangled attention", detail));
        }
        Ok(Self { attention: attention.clone(), offsets: offsets.to_vec(), depth: width / heads, width })
    }

    fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    fn stride(&self) -> usize {
        3 * self.width
    }

    /// Row after row, head after head; rows without a token have none.
    fn tasks(&self) -> Vec<Task> {
        let rows = self.offsets.windows(2).map(|pair| (pair[0], pair[1] - pair[0])).filter(|(_, len)| *len > 0);
        rows.flat_map(|(start, len)| (0..self.attention.heads).map(move |head| Task { start, len, head })).collect()
    }

    /// Puts a head's numbers (len × depth) into its columns of `out`, behind `first` columns of rows of `stride`.
    fn place(&self, head: &[f32], task: Task, out: &mut [f32], (stride, first): (usize, usize)) {
        let column = first + task.head * self.depth;
        for (row, numbers) in head.chunks_exact(self.depth).enumerate() {
            out[(task.start + row) * stride + column..][..self.depth].copy_from_slice(numbers);
        }
    }
}

/// A head of a row with what it reads.
struct Head<'a> {
    rows: &'a Rows,
    qkv: &'a [f32],
    task: Task,
    /// The entries that this row's distances have: `entries` of them from `first` on.
    first: usize,
    entries: usize,
    /// Per distance, from 1 − len to len − 1: its entry behind `first`.
    entry_of: Vec<usize>,
}

impl<'a> Head<'a> {
    fn new(rows: &'a Rows, qkv: &'a [f32], task: Task) -> Self {
        let furthest = task.len as isize - 1;
        let entries: Vec<usize> =
            (-furthest..=furthest).map(|distance| rows.attention.distances.entry(distance)).collect();
        // Entries grow with the distance.
        let (first, last) = (entries[0], entries[entries.len() - 1]);
        let entry_of = entries.into_iter().map(|entry| entry - first).collect();
        Self { rows, qkv, task, first, entries: last - first + 1, entry_of }
    }

    /// Queries (0), keys (1) or values (2).
    fn part(&self, part: usize) -> &'a [f32] {
        &self.qkv[self.task.start * self.rows.stride() + part * self.rows.width + self.task.head * self.rows.depth..]
    }

    /// This head's columns of a position table, from the row's first entry on.
    fn table<'t>(&self, table: &'t [f32]) -> &'t [f32] {
        &table[self.first * self.rows.width + self.task.head * self.rows.depth..]
    }

    /// Entries of the distances of `query` to each key.
    fn entries(&self, query: usize) -> impl Iterator<Item = usize> + '_ {
        self.entry_of[query..query + self.task.len].iter().rev().copied()
    }

    /// `left` (queries or keys) against every entry of a table: len × entries.
    fn against(&self, left: &[f32], table: &[f32], panels: &mut Scratch) -> Vec<f32> {
        let (n, depth) = (self.task.len, self.rows.depth);
        let panels = panels.of_transposed(self.table(table), self.rows.width, self.entries, depth);
        let mut out = vec![0.0; n * self.entries];
        let shape = (n, depth, self.entries);
        multiply(left, (self.rows.stride(), 1), panels, shape, self.rows.attention.scale, &mut out);
        out
    }

    fn probabilities(&self, panels: &mut Scratch) -> Vec<f32> {
        let (n, depth, stride) = (self.task.len, self.rows.depth, self.rows.stride());
        let attention = &self.rows.attention;
        let mut p = vec![0.0; n * n];
        let keys = panels.of_transposed(self.part(1), stride, n, depth);
        multiply(self.part(0), (stride, 1), keys, (n, depth, n), attention.scale, &mut p);
        if let Some(table) = &attention.keys {
            let scores = self.against(self.part(0), table, panels);
            for (query, p) in p.chunks_exact_mut(n).enumerate() {
                let scores = &scores[query * self.entries..][..self.entries];
                for (p, entry) in p.iter_mut().zip(self.entries(query)) {
                    *p += scores[entry];
                }
            }
        }
        if let Some(table) = &attention.queries {
            let scores = self.against(self.part(1), table, panels);
            for (query, p) in p.chunks_exact_mut(n).enumerate() {
                let keys = scores.chunks_exact(self.entries);
                for ((p, entry), scores) in p.iter_mut().zip(self.entries(query)).zip(keys) {
                    *p += scores[entry];
                }
            }
        }
        vectorised(
            #[inline(always)]
            || {
                for row in p.chunks_exact_mut(n) {
                    softmax(row);
                }
            },
        );
        p
    }

    /// The gradients of this head's queries, keys and values, len × depth each. `grad` is that of its output, from
    /// its first number on.
    fn backward(&self, grad: &[f32], panels: &mut Scratch) -> [Vec<f32>; 3] {
        let (n, depth, stride, width) = (self.task.len, self.rows.depth, self.rows.stride(), self.rows.width);
        let attention = &self.rows.attention;
        let p = self.probabilities(panels);
        let mut ds = vec![0.0; n * n];
        let values = panels.of_transposed(self.part(2), stride, n, depth);
        multiply(grad, (width, 1), values, (n, depth, n), 1.0, &mut ds);
        softmax_backward(&p, &mut ds, n);

        let mut of_queries = vec![0.0; n * depth];
        let keys = panels.of(self.part(1), stride, n, depth);
        multiply(&ds, (n, 1), keys, (n, n, depth), attention.scale, &mut of_queries);
        let mut of_keys = vec![0.0; n * depth];
        let queries = panels.of(self.part(0), stride, n, depth);
        multiply(&ds, (1, n), queries, (n, n, depth), attention.scale, &mut of_keys);
        let mut of_values = vec![0.0; n * depth];
        let grad = panels.of(grad, width, n, depth);
        multiply(&p, (1, n), grad, (n, n, depth), 1.0, &mut of_values);

        if let Some(table) = &attention.keys {
            let summed = self.by_entry(&ds, |query, _| query);
            self.add_table(&summed, table, panels, &mut of_queries);
        }
        if let Some(table) = &attention.queries {
            let summed = self.by_entry(&ds, |_, key| key);
            self.add_table(&summed, table, panels, &mut of_keys);
        }
        [of_queries, of_keys, of_values]
    }

    /// DeepLIFT's multipliers of queries, keys and values, len × depth each; `baseline` is the same head of the other
    /// row, `grad` the multiplier of the result from its first number on.
    fn lift(&self, baseline: &Self, grad: &[f32]) -> [Vec<f32>; 3] {
        let (rows, len, depth) = (self.rows, self.task.len, self.rows.depth);
        let attention = &rows.attention;
        let part = |part: usize| [self.part(part), baseline.part(part)];
        let relative = |query: usize, key: usize| {
            let entry = self.entry_of[query + len - 1 - key] * rows.width;
            [&attention.keys, &attention.queries]
                .map(|table| table.as_ref().map(|table| &self.table(table)[entry..][..depth]))
        };
        let head = PairedHead {
            len,
            depth,
            scale: attention.scale,
            softcap: None,
            queries: part(0),
            keys: part(1),
            values: part(2),
            stride: rows.stride(),
            bias: None,
            seen: &|_| 0..len,
            relative: Some(&relative),
        };
        head.multipliers((grad, rows.width))
    }

    /// `ds` added up by the entry of each pair's distance, for its query or its key: len × entries.
    fn by_entry(&self, ds: &[f32], row_of: impl Fn(usize, usize) -> usize) -> Vec<f32> {
        let n = self.task.len;
        let mut summed = vec![0.0; n * self.entries];
        for (query, ds) in ds.chunks_exact(n).enumerate() {
            for (key, (ds, entry)) in ds.iter().zip(self.entries(query)).enumerate() {
                summed[row_of(query, key) * self.entries + entry] += ds;
            }
        }
        summed
    }

    /// out += scale · summed · table.
    fn add_table(&self, summed: &[f32], table: &[f32], panels: &mut Scratch, out: &mut [f32]) {
        let (n, depth) = (self.task.len, self.rows.depth);
        let panels = panels.of(self.table(table), self.rows.width, self.entries, depth);
        let mut more = vec![0.0; n * depth];
        let shape = (n, self.entries, depth);
        multiply(summed, (self.entries, 1), panels, shape, self.rows.attention.scale, &mut more);
        super::kernel::add_assign(out, &more);
    }
}

/// grad = p ∘ (grad − Σ grad ∘ p), row by row.
fn softmax_backward(p: &[f32], grad: &mut [f32], n: usize) {
    for (p, grad) in p.chunks_exact(n).zip(grad.chunks_exact_mut(n)) {
        let mean = super::kernel::dot(p, grad);
        for (grad, p) in grad.iter_mut().zip(p) {
            *grad = p * (*grad - mean);
        }
    }
}

/// out = scale · left · right, `shape` being rows, inner dimension and columns.
fn multiply(
    left: &[f32],
    left_strides: (usize, usize),
    panels: &[PanelRow],
    shape: (usize, usize, usize),
    scale: f32,
    out: &mut [f32],
) {
    assert!(out.len() >= shape.0 * shape.2, "room for a product of one head");
    let product = Product { left, left_strides, panels, panel_step: shape.1, shape, scale, add: false };
    // SAFETY: `out` is borrowed alone and has room for the result, as just seen.
    unsafe { product.write(out.as_mut_ptr(), shape.2) };
}

struct DisentangledBackward {
    rows: Rows,
    qkv: Array,
}

impl Backward for DisentangledBackward {
    /// Beside what plain attention has: dQ += scale · A Kʳ and dK += scale · B Qʳ, where A and B add dS up by entry,
    /// for every query and for every key. P is computed again.
    fn backward(&self, grad: Vec<f32>, inputs: &mut Inputs<'_>) {
        let rows = &self.rows;
        let tasks = rows.tasks();
        let heads: Vec<[Vec<f32>; 3]> = tasks
            .par_iter()
            .map_init(Scratch::default, |panels, &task| {
                let grad = &grad[task.start * rows.width + task.head * rows.depth..];
                Head::new(rows, self.qkv.data(), task).backward(grad, panels)
            })
            .collect();
        let mut out = vec![0.0; rows.tokens() * rows.stride()];
        for (&task, parts) in tasks.iter().zip(&heads) {
            for (part, numbers) in parts.iter().enumerate() {
                rows.place(numbers, task, &mut out, (rows.stride(), part * rows.width));
            }
        }
        inputs.add(0, out);
    }

    fn lift(&self, multiplier: Vec<f32>, inputs: &mut Inputs<'_>) {
        let rows = &self.rows;
        let tokens = rows.tokens() / 2;
        // Rows of the second half are the first half's baselines, as far behind them as all of these are long.
        let tasks: Vec<Task> = rows.tasks().into_iter().filter(|task| task.start < tokens).collect();
        let heads: Vec<[Vec<f32>; 3]> = tasks
            .par_iter()
            .map(|&task| {
                let (input, baseline) = (task, Task { start: task.start + tokens, ..task });
                let heads = [input, baseline].map(|task| Head::new(rows, self.qkv.data(), task));
                heads[0].lift(&heads[1], &multiplier[task.start * rows.width + task.head * rows.depth..])
            })
            .collect();
        let mut out = vec![0.0; tokens * rows.stride()];
        for (&task, parts) in tasks.iter().zip(&heads) {
            for (part, numbers) in parts.iter().enumerate() {
                rows.place(numbers, task, &mut out, (rows.stride(), part * rows.width));
            }
        }
        inputs.add(0, both(out));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first distances of every bucket of DeBERTa v3 (256 buckets, 512 positions), as transformers gives them.
    #[test]
    fn buckets_are_those_of_transformers() {
        let v3 = Distances { span: 256, logarithmic: Some(512) };
        let table: Vec<usize> =
            serde_json::from_str(include_str!("../../tests/golden/values/deberta-buckets.json")).unwrap();
        for (distance, &entry) in table.iter().enumerate() {
            assert_eq!(v3.entry(distance as isize), entry, "{distance}");
            // On the other side there is one entry more, for the distances beyond.
            let mirrored = if distance < 512 { (512 - entry).min(511) } else { 0 };
            assert_eq!(v3.entry(-(distance as isize)), if distance == 0 { 256 } else { mirrored }, "-{distance}");
        }
        let plain = Distances { span: 4, logarithmic: None };
        assert_eq!([-9, -4, -1, 0, 3, 4, 9].map(|distance| plain.entry(distance)), [0, 0, 3, 4, 7, 7, 7]);
    }
}
