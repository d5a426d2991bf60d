//! Pieces that several methods share: settings, choices of layers, reductions to words and cells, what a head reads of
//! a sequence, the linear surrogate.

#[cfg(test)]
pub mod fake;
pub mod layers;
pub mod precision;
pub mod reduce;
pub mod sequence;
pub mod settings;
pub mod surrogate;
