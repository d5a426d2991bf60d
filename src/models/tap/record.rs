//! What was recorded, in plain numbers.

use std::borrow::Cow;
use std::sync::Arc;

use super::{Fused, TapPlan};
use crate::models::Prefix;

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
        square(&self.values, self.heads, &self.lengths, row)
    }
}

/// One layer's attention with its heads fused into one map, for every row of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FusedMap {
    pub layer: usize,
    pub heads: usize,
    pub lengths: Vec<usize>,
    /// One a map, and of relevance one an objective: row after row, length × length (query, key).
    pub values: Vec<Vec<f32>>,
    /// Of relevance, one an objective: rows × heads, Σ |A ∘ dA| of each head.
    pub importance: Vec<Vec<f32>>,
}

impl FusedMap {
    /// length × length of one row, one an entry of `values`.
    pub fn row(&self, row: usize) -> Vec<&[f32]> {
        self.values.iter().map(|values| square(values, 1, &self.lengths, row)).collect()
    }

    /// Each head's importance in one row, one list an objective.
    pub fn importance_of(&self, row: usize) -> Vec<&[f32]> {
        self.importance.iter().map(|heads| &heads[row * self.heads..][..self.heads]).collect()
    }
}

fn square<'a>(values: &'a [f32], heads: usize, lengths: &[usize], row: usize) -> &'a [f32] {
    let size = |n: usize| heads * n * n;
    let start: usize = lengths[..row].iter().map(|&n| size(n)).sum();
    &values[start..start + size(lengths[row])]
}

/// States of one layer (or of the head) for every row of a batch.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StateMap {
    pub layer: usize,
    /// Columns: hidden size, units, channels or labels.
    pub width: usize,
    /// Positions of each row.
    pub lengths: Vec<usize>,
    /// Of feature maps: rows and columns of the positions.
    pub grid: Option<(usize, usize)>,
    /// Row after row: positions × width.
    pub values: Vec<f32>,
    /// One an objective: d objective / d values.
    pub gradients: Vec<Vec<f32>>,
}

impl StateMap {
    /// Other numbers of the same positions of the layer, `width` a position.
    pub fn beside(&self, width: usize, values: Vec<f32>) -> Self {
        Self { layer: self.layer, width, lengths: self.lengths.clone(), values, ..Self::default() }
    }

    /// One row of `of`, which is `values` or one of `gradients`.
    pub fn row<'a>(&self, of: &'a [f32], row: usize) -> &'a [f32] {
        let start: usize = self.lengths[..row].iter().sum();
        &of[start * self.width..][..self.lengths[row] * self.width]
    }
}

impl StateMap {
    /// Of one row: puts what `part` takes out of the values in their place, as one position. Nothing changes where it
    /// takes all.
    pub fn narrow(&mut self, part: impl Fn(&[f32]) -> Cow<'_, [f32]>) {
        let Cow::Owned(part) = part(&self.values) else { return };
        (self.width, self.lengths) = (part.len(), vec![1]);
        self.values = part;
    }

    /// Of one row: keeps `positions` alone.
    pub fn pick(&mut self, positions: &[usize]) {
        let own = |&position: &usize| self.values.chunks(self.width.max(1)).nth(position).unwrap_or_default();
        self.values = positions.iter().flat_map(own).copied().collect();
        self.lengths = vec![positions.len()];
    }
}

/// All that a plan asked for, each list in the plan's order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recording {
    pub attention: Vec<AttentionMap>,
    pub fused: Vec<FusedMap>,
    pub hidden: Vec<StateMap>,
    pub activations: Vec<StateMap>,
    pub maps: Vec<StateMap>,
    pub lens: Vec<StateMap>,
    /// One an entry of `lens`, where the plan asks for them: the likeliest tokens of each position.
    pub likeliest: Vec<StateMap>,
    pub prefix: Option<Arc<Prefix>>,
}

impl Recording {
    /// Out of what `own` recorded, what `wanted` asks for, if it is all there.
    pub fn part(&self, own: &TapPlan, wanted: &TapPlan) -> Option<Self> {
        if wanted.gradients || wanted.replace.is_some() {
            return None;
        }
        let fused = match (&own.fused, &wanted.fused) {
            (_, None) => Vec::new(),
            (Some(Fused { by, layers }), Some(wanted)) if *by == wanted.by => {
                picked(&self.fused, layers, &wanted.layers)?
            }
            _ => return None,
        };
        Some(Self {
            attention: picked(&self.attention, &own.attention, &wanted.attention)?,
            fused,
            hidden: picked(&self.hidden, &own.hidden, &wanted.hidden)?,
            activations: picked(&self.activations, &own.activations, &wanted.activations)?,
            maps: picked(&self.maps, &own.maps, &wanted.maps)?,
            lens: picked(&self.lens, &own.lens, &wanted.lens)?,
            likeliest: match wanted.likeliest {
                0 => Vec::new(),
                _ => picked(&self.likeliest, &own.lens, &wanted.lens)?,
            },
            prefix: self.prefix.clone().filter(|_| wanted.prefix),
        })
    }

    /// Whether every list is about as many rows.
    pub fn is_of(&self, rows: usize) -> bool {
        let states = [&self.hidden, &self.activations, &self.maps, &self.lens, &self.likeliest];
        self.attention.iter().all(|map| map.lengths.len() == rows)
            && self.fused.iter().all(|map| map.lengths.len() == rows)
            && states.into_iter().flatten().all(|map| map.lengths.len() == rows)
    }
}

fn picked<T: Clone>(recorded: &[T], own: &[usize], wanted: &[usize]) -> Option<Vec<T>> {
    let one = |layer: &usize| recorded.get(own.iter().position(|own| own == layer)?).cloned();
    wanted.iter().map(one).collect()
}
