//! Plain numerical routines in f64: quadrature, least squares, the lasso, seeded sampling, rankings, the formulas of faithfulness.
//!
//! Nothing here knows a model, an input or a method; `methods` calls it. Everything is serial and sums in index
//! order, so equal arguments give equal bits.

pub mod bernoulli;
pub mod draw;
pub mod evidence;
pub mod lasso;
pub mod least_squares;
mod patterson;
pub mod quadrature;
pub mod ranking;
pub mod regression_tree;
pub mod sampling;
pub mod strata;
