//! Whose turn it is to compute.
pub struct Turns {}
