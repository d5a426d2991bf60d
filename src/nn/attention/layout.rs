//! Where queries, keys and values of each head and row lie, and how heads are dealt out to threads.

use super::{Attention, Bias, Mask};
use crate::nn::{Error, Node};

/// Multiplications that are worth handing to another thread.
const ENOUGH: usize = 128 * 1024;

/// A packed projection with its rows.
#[derive(Debug, Clone)]
pub struct Layout {
    pub offsets: Vec<usize>,
    pub heads: usize,
    pub kv_heads: usize,
    /// Columns of one head.
    pub depth: usize,
    pub scale: f32,
    pub mask: Mask,
    pub softcap: Option<f32>,
    pub bias: Option<Bias>,
}

/// One head of one row.
pub struct Task<'a> {
    pub row: usize,
    /// First token of the row in the packed sequence, and the row's length.
    pub start: usize,
    pub len: usize,
    pub head: usize,
    /// Where the probabilities are wanted, len × len.
    pub probabilities: Option<&'a mut [f32]>,
}

/// A pointer that tasks writing to disjoint places share.
pub struct Shared(pub *mut f32);
// SAFETY: every use states which places it owns.
unsafe impl Send for Shared {}
unsafe impl Sync for Shared {}

impl Shared {
    /// # Safety
    /// `offset` must be inside the allocation.
    pub unsafe fn at(&self, offset: usize) -> *mut f32 {
        // SAFETY: the caller's contract.
        unsafe { self.0.add(offset) }
    }
}

/// Which part of the projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Query,
    Key,
    Value,
}

impl Layout {
    pub fn new(attention: &Attention, qkv: &Node, offsets: &[usize], bias: Option<&Bias>) -> Result<Self, Error> {
        let Attention { heads, kv_heads, depth, scale, causal, window, softcap } = *attention;
        let sorted = offsets.first() == Some(&0) && offsets.windows(2).all(|pair| pair[0] <= pair[1]);
        let grouped = heads > 0 && kv_heads > 0 && depth > 0 && heads.is_multiple_of(kv_heads);
        if !grouped || qkv.cols() != attention.columns() || !sorted || offsets.last() != Some(&qkv.rows()) {
            let detail = format!(
                "{} rows × {} columns for {heads} heads of {depth}, {kv_heads} of keys and values",
                qkv.rows(),
                qkv.cols()
            );
            return Err(Error::shape("attention", detail));
        }
        if let Some(bias) = bias {
            bias.check(heads, offsets.windows(2).map(|pair| pair[1] - pair[0]))?;
        }
        let mask = Mask::new(causal, window);
        Ok(Self { offsets: offsets.to_vec(), heads, kv_heads, depth, scale, mask, softcap, bias: bias.cloned() })
    }

    pub fn tokens(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Columns of the result.
    pub fn width(&self) -> usize {
        self.heads * self.depth
    }

    /// Columns of the projection.
    pub fn stride(&self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.depth
    }

    /// Heads of queries that share keys and values.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// The first column of what head `head` reads of `part`.
    pub fn column(&self, part: Part, head: usize) -> usize {
        self.depth
            * match part {
                Part::Query => head,
                Part::Key => self.heads + head / self.group(),
                Part::Value => self.heads + self.kv_heads + head / self.group(),
            }
    }

    fn lengths(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.offsets.windows(2).map(|pair| (pair[0], pair[1] - pair[0]))
    }

    pub fn probabilities(&self) -> usize {
        self.lengths().map(|(_, n)| self.heads * n * n).sum()
    }

    /// Every head of every row that has a token; `kept` is dealt out to them, unless it is empty.
    pub fn tasks<'a>(&self, kept: &'a mut [f32]) -> Vec<Task<'a>> {
        let keep = !kept.is_empty();
        let mut rest = kept;
        let mut tasks = Vec::with_capacity(self.heads * self.offsets.len());
        for (row, (start, len)) in self.lengths().enumerate().filter(|(_, (_, len))| *len > 0) {
            for head in 0..self.heads {
                let probabilities = keep.then(|| {
                    let (own, others) = std::mem::take(&mut rest).split_at_mut(len * len);
                    rest = others;
                    own
                });
                tasks.push(Task { row, start, len, head, probabilities });
            }
        }
        tasks
    }

    /// Heads of rows that one thread takes at a time: a short row's is too little to hand over.
    pub fn tasks_together(&self) -> usize {
        let rows = self.offsets.len().saturating_sub(1).max(1);
        let length = self.tokens() / rows;
        (ENOUGH / (length * length * self.depth).max(1)).max(1)
    }
}
