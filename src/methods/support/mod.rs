//! Pieces that several methods share: settings, units, baselines, finest scores, gradients, samples, games, reductions
//! to words and cells, the linear surrogate.

pub mod baseline;
#[cfg(test)]
pub mod fake;
pub mod finest;
pub mod game;
pub mod gradients;
#[cfg(test)]
pub mod mlp;
pub mod precision;
pub mod reduce;
pub mod sampling;
pub mod settings;
pub mod shapley;
pub mod surrogate;
pub mod units;
