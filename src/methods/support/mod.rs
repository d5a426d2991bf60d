//! Pieces that several methods share: settings, units, reductions to words and cells, the linear
//! surrogate.

#[cfg(test)]
pub mod fake;
pub mod game;
pub mod precision;
pub mod reduce;
pub mod settings;
pub mod shapley;
pub mod surrogate;
pub mod units;
