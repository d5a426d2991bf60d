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

/// What a row of `tokens` tokens takes of a turn's token budget.
pub fn weight(spec: &Spec, tokens: usize, recording: bool, taps: &TapPlan) -> usize {
    let plain = if recording { tokens * RECORDED } else { tokens };
    // Tapped probabilities stay until the chunk ends and grow with the square of the length.
    let tapped = taps.attention.len() * spec.heads * tokens * tokens;
    plain + tapped.div_ceil(FLOATS_A_TOKEN * spec.hidden.max(1))
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
    fn a_recorded_row_takes_four_times_its_tokens() {
        let spec = fake::spec();
        assert_eq!(weight(&spec, 10, false, &TapPlan::default()), 10);
        assert_eq!(weight(&spec, 10, true, &TapPlan::default()), 40);
    }

    #[test]
    fn tapped_attention_counts_by_the_square() {
        let (spec, taps) = (fake::spec(), TapPlan { attention: vec![0] });
        let extra = |tokens| weight(&spec, tokens, false, &taps) - tokens;
        assert!(extra(400) >= 15 * extra(100));
    }

    #[test]
    fn a_row_over_the_budget_goes_alone() {
        assert_eq!(rows_a_turn(100, 1000), 1);
        assert_eq!(rows_a_turn(100, 30), 3);
        assert_eq!(rows_a_turn(100, 0), 100);
    }
}
