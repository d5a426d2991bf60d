//! Pieces that several methods share: settings, units, reductions to words and cells, the linear
//! surrogate.

pub mod decision;
pub mod edits;
#[cfg(test)]
pub mod fake;
pub mod fewest;
pub mod goal;
pub mod lexical;
pub mod naming;
pub mod precision;
pub mod reduce;
pub mod settings;
pub mod surrogate;
pub mod units;
