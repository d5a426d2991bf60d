//! Taps: what a forward shows beside its outputs, what gradients may be asked at, and what may be put in its place.
//!
//! A family hands a [`Recorder`] what passes by; only what the plan names is kept. The numbers are read off at the end
//! ([`Tapped::record`]), gradients by one walk back an objective ([`Tapped::differentiate`]).

mod record;
mod recorder;

pub use record::{AttentionMap, FusedMap, Recording, StateMap};
pub use recorder::{Recorder, Tapped};

use std::sync::Arc;

/// What to record. Layers count from 0.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TapPlan {
    /// Layers whose attention probabilities are recorded, head by head.
    pub attention: Vec<usize>,
    /// Layers whose attention is recorded as one map, and how heads become one.
    pub fused: Option<Fused>,
    /// Hidden states: l is what enters layer l, and the number of layers what leaves the last, before a final norm.
    pub hidden: Vec<usize>,
    /// Layers whose feed-forward activations are recorded: what the product back to the hidden size reads.
    pub activations: Vec<usize>,
    /// Feature maps: of convolutional models what leaves block l, of transformers the patches that enter layer l.
    pub maps: Vec<usize>,
    /// Hidden states (counted as in `hidden`) that the model's own head reads as if they were the last.
    pub lens: Vec<usize>,
    /// Of what the head of a vocabulary makes of each of `lens`: how many of the likeliest tokens are told.
    pub likeliest: usize,
    /// Objectives are differentiated with respect to what is recorded, in place of the embedding.
    pub gradients: bool,
    /// Of one row: what following rows may stand behind.
    pub prefix: bool,
    /// What stands in for the forward's own numbers.
    pub replace: Option<Replacement>,
}

/// One map a layer, length × length a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fused {
    pub layers: Vec<usize>,
    pub by: Fusion,
}

/// How the heads of a layer become one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fusion {
    Mean,
    Max,
    Min,
    /// The mean of max(0, A ∘ dA), one map an objective: needs `gradients`.
    Relevance,
}

/// Numbers put in the forward's place.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Replacement {
    /// For each row of the pass, a token whose values no query gets: a zeroed column of every layer's attention.
    pub silenced: Vec<Option<usize>>,
    /// For each layer, what enters it in place of what the layer before gave, in every row alike: tokens × hidden.
    /// What was given is recorded, not this.
    pub states: Vec<Option<Arc<Vec<f32>>>>,
}

impl TapPlan {
    /// Nothing is recorded.
    pub const NOTHING: &'static Self = &Self {
        attention: Vec::new(),
        fused: None,
        hidden: Vec::new(),
        activations: Vec::new(),
        maps: Vec::new(),
        lens: Vec::new(),
        likeliest: 0,
        gradients: false,
        prefix: false,
        replace: None,
    };

    /// Attention probabilities alone.
    pub fn attention(layers: Vec<usize>) -> Self {
        Self { attention: layers, ..Self::default() }
    }

    /// Adds what `other` records beside it. Of two ways to fuse heads the first stays.
    pub fn join(&mut self, other: &Self) {
        let add = |own: &mut Vec<usize>, other: &[usize]| {
            own.extend(other);
            own.sort_unstable();
            own.dedup();
        };
        add(&mut self.attention, &other.attention);
        add(&mut self.hidden, &other.hidden);
        add(&mut self.activations, &other.activations);
        add(&mut self.maps, &other.maps);
        add(&mut self.lens, &other.lens);
        self.likeliest = self.likeliest.max(other.likeliest);
        match (&mut self.fused, &other.fused) {
            (Some(own), Some(other)) if own.by == other.by => add(&mut own.layers, &other.layers),
            (own @ None, Some(other)) => *own = Some(other.clone()),
            _ => {}
        }
    }

    /// The part of it that concerns `rows` of a pass.
    pub fn of_rows(&self, rows: std::ops::Range<usize>) -> Self {
        let replace = self.replace.as_ref().map(|replace| Replacement {
            silenced: replace.silenced.get(rows).unwrap_or_default().to_vec(),
            states: replace.states.clone(),
        });
        Self { replace, ..self.clone() }
    }
}

#[cfg(test)]
mod tests;
