//! Taps: what a forward shows beside its outputs.

use crate::nn::{self, Probabilities};

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

/// Attention maps on their way from the layers to the outputs.
pub struct Tapped<'a> {
    plan: &'a TapPlan,
    heads: usize,
    lengths: Vec<usize>,
    maps: Vec<Option<AttentionMap>>,
}

impl<'a> Tapped<'a> {
    /// Of rows between `offsets`.
    pub fn new(plan: &'a TapPlan, heads: usize, offsets: &[usize]) -> Self {
        let lengths = offsets.windows(2).map(|pair| pair[1] - pair[0]).collect();
        Self { plan, heads, lengths, maps: vec![None; plan.attention.len()] }
    }

    pub fn wants(&self, layer: usize) -> bool {
        self.plan.attention.contains(&layer)
    }

    /// Keeps what layer `layer` recorded.
    pub fn keep(&mut self, layer: usize, probabilities: Option<Probabilities>) {
        let Some(probabilities) = probabilities else { return };
        let map =
            AttentionMap { layer, heads: self.heads, lengths: self.lengths.clone(), values: probabilities.values };
        for (slot, _) in self.maps.iter_mut().zip(&self.plan.attention).filter(|(_, wanted)| **wanted == layer) {
            *slot = Some(map.clone());
        }
    }

    /// The maps in the plan's order.
    ///
    /// # Errors
    /// A layer that the plan names and the model has not.
    pub fn finish(self) -> Result<Vec<AttentionMap>, nn::Error> {
        let maps = self.maps.into_iter().zip(&self.plan.attention).map(|(map, wanted)| {
            map.ok_or_else(|| nn::Error::Shape { op: "tap", detail: format!("the model has no layer {wanted}") })
        });
        maps.collect()
    }
}
