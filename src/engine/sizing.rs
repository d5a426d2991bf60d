//! How many rows go into one forward, and which class of work a job belongs to. Pure arithmetic; no result depends on
//! it, because a row's numbers do not depend on its neighbours.

use crate::models::{Spec, TapPlan};

/// A recorded row keeps what every layer's backward reads, where a plain one keeps a few buffers: with a quarter of
/// the rows a differentiated chunk stays near a plain one's memory on the models of today (about 0.8 MB a token over
/// 12 layers of 768), and near its time, since backward costs two forwards.
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

/// A class of work with places of its own among the running jobs, so that a prediction never waits for a place that
/// a long explanation holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Done in a few turns: predictions, attention, small enumerations.
    Short,
    Medium,
    Long,
}

impl Lane {
    pub const ALL: [Self; 3] = [Self::Short, Self::Medium, Self::Long];

    /// The lane of a job of `cost` planned tokens.
    pub fn of(cost: u64, tokens_per_turn: usize) -> Self {
        match cost / (tokens_per_turn.max(1) as u64) {
            0..4 => Self::Short,
            4..64 => Self::Medium,
            _ => Self::Long,
        }
    }

    /// Jobs that may run at once. Each may hold one chunk's memory while another one computes, hence the small numbers.
    pub fn places(self) -> usize {
        match self {
            Self::Short => 4,
            Self::Medium | Self::Long => 2,
        }
    }
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

    #[test]
    fn lanes_follow_the_number_of_turns() {
        assert_eq!(Lane::of(20, 1024), Lane::Short);
        assert_eq!(Lane::of(4 * 1024, 1024), Lane::Medium);
        assert_eq!(Lane::of(650_000, 1024), Lane::Long);
        assert_eq!(Lane::of(u64::MAX, 0), Lane::Long);
    }
}
