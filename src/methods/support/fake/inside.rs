//! What the fake job's forward shows inside: known numbers that tell layer, position and unit apart, with gradients in
//! proportion to that of the embedding.

use super::{Fake, HEADS, LAYERS, attention};
use crate::models::{AttentionMap, FusedMap, Fusion, Recording, StateMap, TapPlan};

/// Units of the fake feed-forward blocks, and channels of the fake feature maps.
pub const UNITS: usize = 6;

/// A state's number before anything is silenced.
pub fn state(layer: usize, position: usize, column: usize) -> f32 {
    ((layer * 7 + position * 3 + column * 5) as f32 * 0.37).sin()
}

/// What silencing token `token` adds to the first column.
pub fn shift(layer: usize, position: usize, token: usize) -> f32 {
    ((layer + 2 * position + 3 * token) % 5) as f32 * 0.1
}

/// The gradient where the embedding's is 1 on average.
pub fn slope(position: usize, column: usize) -> f32 {
    ((position * 2 + column * 3) as f32 * 0.53).cos()
}

/// The heads of [`attention`] as one map.
pub fn fused(layer: usize, length: usize, by: Fusion) -> Vec<f32> {
    let heads = attention(layer, length);
    let heads: Vec<&[f32]> = heads.chunks(length * length).collect();
    let entry = |place: usize| {
        let values = heads.iter().map(|head| head[place]);
        match by {
            Fusion::Mean | Fusion::Relevance => values.sum::<f32>() / HEADS as f32,
            Fusion::Max => values.fold(f32::NEG_INFINITY, f32::max),
            Fusion::Min => values.fold(f32::INFINITY, f32::min),
        }
    };
    (0..length * length).map(entry).collect()
}

impl Fake {
    /// Variant `row` of a pass, given its embedding, its logits and each objective's gradient.
    pub(super) fn record(
        &self,
        taps: &TapPlan,
        row: usize,
        (embedding, logits): (&[f32], &[f32]),
        gradients: &[Vec<f32>],
    ) -> Recording {
        let length = self.length();
        let slopes: Vec<f32> =
            gradients.iter().map(|gradient| gradient.iter().sum::<f32>() / gradient.len().max(1) as f32).collect();
        // Activations follow the embedding, so that a path has something to go along.
        let size = embedding.iter().sum::<f32>() / embedding.len().max(1) as f32;
        let silenced = taps.replace.as_ref().and_then(|replace| replace.silenced.get(row).copied().flatten());
        let states = |layers: &[usize], width: usize, grid: Option<(usize, usize)>| -> Vec<StateMap> {
            let positions = grid.map_or(length, |(rows, cols)| rows * cols);
            let places = || (0..positions).flat_map(|position| (0..width).map(move |column| (position, column)));
            let one = |&layer: &usize| StateMap {
                layer,
                width,
                lengths: vec![positions],
                grid,
                values: places()
                    .map(|(position, column)| {
                        let moved = silenced.filter(|_| column == 0).map_or(0.0, |at| shift(layer, position, at));
                        state(layer, position, column) * (1.0 + size) + moved
                    })
                    .collect(),
                gradients: slopes
                    .iter()
                    .map(|scale| places().map(|(position, column)| scale * slope(position, column)).collect())
                    .filter(|_| taps.gradients)
                    .collect(),
            };
            layers.iter().map(one).collect()
        };
        let maps = taps.attention.iter().map(|&layer| {
            let values = attention(layer, length);
            AttentionMap { layer, heads: HEADS, lengths: vec![length], values }
        });
        let of_fused = taps.fused.iter().flat_map(|plan| plan.layers.iter().map(|&layer| (layer, plan.by)));
        let of_fused = of_fused.map(|(layer, by)| {
            let own = fused(layer, length, by);
            let (values, importance) = match by {
                Fusion::Relevance => (
                    slopes.iter().map(|slope| own.iter().map(|own| own * slope.abs()).collect()).collect(),
                    slopes.iter().map(|slope| vec![slope.abs(); HEADS]).collect(),
                ),
                _ => (vec![own], Vec::new()),
            };
            FusedMap { layer, heads: HEADS, lengths: vec![length], values, importance }
        });
        let grid = self.spec.image.as_ref().map(|image| (image.grid_rows, image.grid_cols));
        let lens = |&layer: &usize| StateMap {
            layer,
            width: logits.len(),
            lengths: vec![1],
            values: logits.iter().map(|logit| logit * layer as f32 / LAYERS as f32).collect(),
            ..StateMap::default()
        };
        Recording {
            attention: maps.collect(),
            fused: of_fused.collect(),
            hidden: states(&taps.hidden, super::HIDDEN, None),
            activations: states(&taps.activations, UNITS, None),
            maps: states(&taps.maps, UNITS, grid),
            lens: taps.lens.iter().map(lens).collect(),
            likeliest: Vec::new(),
            prefix: None,
        }
    }
}
