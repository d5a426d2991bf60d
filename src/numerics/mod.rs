//! Plain numerical routines: quadrature, weighted least squares, statistics, seeded sampling.
