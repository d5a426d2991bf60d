//! How many rows go into one forward. Pure arithmetic; no result depends on it, because a row's numbers do not depend
//! on its neighbours.

use crate::models::{Spec, TapPlan};

/// A recorded row keeps what every layer's backward reads (nine times the hidden size), where a plain one has a few
/// buffers at a time (about ten): over 12 layers a recorded token takes some 330 KB and a plain one 30. A quarter of
/// the rows takes about a plain chunk's time, since backward costs twice as much again, and is enough that laying the
/// weights out for backward is little beside multiplying with them.
const RECORDED: usize = 4;

/// Floats a token takes in a plain forward, as a multiple of the hidden size: input, projections, and the inner layer.
const FLOATS_A_TOKEN: usize = 8;

/// Units of a feed-forward block, as a multiple of the hidden size.
const INNER: usize = 4;

/// What a row of `tokens` tokens takes of a turn's token budget.
pub fn weight(spec: &Spec, tokens: usize, objectives: usize, taps: &TapPlan) -> usize {
    let plain = if objectives > 0 { tokens * RECORDED } else { tokens };
    // Taps stay until the chunk ends; those of attention grow with the square of the length.
    let fused = taps.fused.as_ref().map_or(0, |fused| fused.layers.len());
    let squares = (taps.attention.len() * spec.heads + fused) * tokens * tokens;
    let states = taps.hidden.len() + INNER * taps.activations.len() + taps.maps.len() + taps.lens.len();
    let copies = if taps.gradients { 1 + objectives } else { 1 };
    let tapped = copies * (squares + states * tokens * spec.hidden);
    let gradients = if taps.gradients { 0 } else { objectives * tokens * spec.embedding };
    plain + (tapped + gradients).div_ceil(FLOATS_A_TOKEN * spec.hidden.max(1))
}

/// How many rows of `weight` each fit a turn: at least one.
pub fn rows_a_turn(budget: usize, weight: usize) -> usize {
    (budget / weight.max(1)).max(1)
}

/// Planned tokens that a forward over `tokens` tokens with `objectives` gradients uses up: a backward is two forwards.
pub fn spent(tokens: usize, objectives: usize) -> u64 {
    (tokens as u64).saturating_mul(1 + 2 * objectives as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake;

    #[test]
    fn a_recorded_row_takes_four_times_its_tokens_and_its_gradients() {
        let spec = fake::spec();
        assert_eq!(weight(&spec, 16, 0, &TapPlan::default()), 16);
        assert_eq!(weight(&spec, 16, 1, &TapPlan::default()), 64 + 2);
        assert_eq!(weight(&spec, 16, 100, &TapPlan::default()), 64 + 200);
    }

    #[test]
    fn tapped_attention_counts_by_the_square() {
        let (spec, taps) = (fake::spec(), TapPlan::attention(vec![0]));
        let extra = |tokens| weight(&spec, tokens, 0, &taps) - tokens;
        assert!(extra(400) >= 15 * extra(100));
    }

    #[test]
    fn tapped_states_count_by_the_layer_and_the_objective() {
        let spec = fake::spec();
        let taps = TapPlan { hidden: vec![0, 1, 2, 3], gradients: true, ..TapPlan::default() };
        assert_eq!(weight(&spec, 16, 1, &taps), 64 + 16);
        assert_eq!(weight(&spec, 16, 3, &taps), 64 + 32);
    }

    #[test]
    fn a_row_over_the_budget_goes_alone() {
        assert_eq!(rows_a_turn(100, 1000), 1);
        assert_eq!(rows_a_turn(100, 30), 3);
        assert_eq!(rows_a_turn(100, 0), 100);
    }
}
