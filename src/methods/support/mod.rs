//! Pieces that several methods share: settings, units, choices of layers, baselines, finest scores, gradients, samples,
//! games, reductions to words and cells, what a head reads of a sequence, the linear surrogate, the units of an
//! explanation and curves over them.

pub mod baseline;
pub mod curves;
pub mod decision;
pub mod edits;
#[cfg(test)]
pub mod fake;
pub mod fewest;
pub mod finest;
pub mod game;
pub mod goal;
pub mod gradients;
pub mod layers;
pub mod lexical;
#[cfg(test)]
pub mod mlp;
pub mod naming;
pub mod parts;
pub mod precision;
pub mod reduce;
pub mod sampling;
pub mod sequence;
pub mod settings;
pub mod shapley;
pub mod spread;
pub mod surrogate;
pub mod time;
pub mod units;
