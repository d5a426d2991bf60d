//! Taps: what a forward shows beside its outputs.

/// What to record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TapPlan {
    /// Layers whose attention probabilities are recorded.
    pub attention: Vec<usize>,
}

impl TapPlan {
    /// Adds what `other` records beside it.
    pub fn join(&mut self, other: &Self) {
        self.attention.extend(&other.attention);
        self.attention.sort_unstable();
        self.attention.dedup();
    }
}

/// The attention probabilities of one layer for every row of a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionMap {
    pub layer: usize,
    pub heads: usize,
    /// Length of each row's sequence.
    pub lengths: Vec<usize>,
    /// Row after row: heads × length × length (query, key), each query's entries summing to 1.
    pub values: Vec<f32>,
}

impl AttentionMap {
    /// heads × length × length of one row.
    pub fn row(&self, row: usize) -> &[f32] {
        let size = |n: usize| self.heads * n * n;
        let start: usize = self.lengths[..row].iter().map(|&n| size(n)).sum();
        &self.values[start..start + size(self.lengths[row])]
    }
}
