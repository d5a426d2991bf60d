//! The spaces that an explained output is measured in, and which of them a target has.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The space the explained output is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputSpace {
    Logit,
    Probability,
    LogProbability,
    /// ln(p / (1 − p)), p the probability: of a sigmoid its logit.
    LogOdds,
    /// −Σ p log p over all that could stand there: of language models alone.
    Entropy,
}

/// Which spaces a target has, each step with those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outputs {
    /// A number of no meaning beyond its size: the logit alone.
    Number,
    /// A probability, and at times the only one there is: with all else it could be taken away, the odds have no bound.
    Probability,
    /// A probability that always leaves something to another.
    Odds,
    /// One place's whole distribution.
    Entropy,
}

impl Outputs {
    pub fn has(self, space: OutputSpace) -> bool {
        self >= match space {
            OutputSpace::Logit => Self::Number,
            OutputSpace::Probability | OutputSpace::LogProbability => Self::Probability,
            OutputSpace::LogOdds => Self::Odds,
            OutputSpace::Entropy => Self::Entropy,
        }
    }
}
