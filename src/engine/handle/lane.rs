//! Places among the running jobs, by class of work.
//!
//! Turns decide who computes; a place decides who may hold a chunk's memory while another one does.

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

    #[test]
    fn lanes_follow_the_number_of_turns() {
        assert_eq!(Lane::of(20, 1024), Lane::Short);
        assert_eq!(Lane::of(4 * 1024, 1024), Lane::Medium);
        assert_eq!(Lane::of(650_000, 1024), Lane::Long);
        assert_eq!(Lane::of(u64::MAX, 0), Lane::Long);
    }
}
