//! Least squares through the origin whose coefficients have a known sum, over rows that were drawn by strata.
//!
//! It is the regression behind kernel SHAP: every size of coalition is a stratum, and a stratum that was drawn in full
//! adds no error.

use std::ops::Range;

use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, Par};

use super::least_squares::{SolveError, invert};

/// Rows that are multiplied at once.
const BLOCK: usize = 256;

/// Rows drawn without replacement from a finite set, each as likely as any other.
#[derive(Debug, Clone, PartialEq)]
pub struct Stratum {
    pub rows: Range<usize>,
    /// How many rows there are to draw; may exceed what an integer holds.
    pub population: f64,
    /// What all of them weigh together.
    pub weight: f64,
}

impl Stratum {
    /// What one drawn row weighs.
    fn row_weight(&self) -> f64 {
        self.weight / self.rows.len().max(1) as f64
    }

    /// The share of the set that was not drawn.
    fn left(&self) -> f64 {
        (1.0 - self.rows.len() as f64 / self.population).max(0.0)
    }
}

/// Coefficients with the required sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub coefficients: Vec<f64>,
    /// What another draw would change, by the spread of the rows' influences within strata.
    pub standard_errors: Vec<f64>,
    /// False where the rows do not determine the coefficients: those nearest to equal ones are given.
    pub unique: bool,
}

/// The rows of a regression; `row` writes row i, one number a column.
pub struct Rows<'a> {
    pub columns: usize,
    pub row: &'a dyn Fn(usize, &mut [f64]),
    /// They cover the rows in order.
    pub strata: &'a [Stratum],
}

/// Minimises Σ weight·(y − row·coefficients)² subject to Σ coefficients = `sum`, for each of `targets` (one value a
/// row, and its sum); the factorisation is shared.
///
/// The sum is eliminated by taking every row's mean out of it, so that all columns are treated alike.
///
/// # Errors
/// Weights or values that are not finite, or no weight at all.
pub fn fit(rows: &Rows<'_>, targets: &[(&[f64], f64)]) -> Result<Vec<Fit>, SolveError> {
    let normal = normal(rows)?;
    let (inverse, unique) = invert(normal, 0.0)?;
    targets.iter().map(|&(values, sum)| solve(rows, values, sum, &inverse, unique)).collect()
}

/// Row i without its mean; returns the mean.
fn centred(rows: &Rows<'_>, index: usize, out: &mut [f64]) -> f64 {
    (rows.row)(index, out);
    let mean = out.iter().sum::<f64>() / out.len().max(1) as f64;
    out.iter_mut().for_each(|value| *value -= mean);
    mean
}

/// Each stratum's rows in blocks: the stratum, the first row's index and the rows, centred.
fn blocks(rows: &Rows<'_>, mut each: impl FnMut(&Stratum, usize, &Mat<f64>)) {
    let mut row = vec![0.0; rows.columns];
    for stratum in rows.strata {
        let mut start = stratum.rows.start;
        while start < stratum.rows.end {
            let size = BLOCK.min(stratum.rows.end - start);
            let mut block = Mat::zeros(size, rows.columns);
            for offset in 0..size {
                centred(rows, start + offset, &mut row);
                row.iter().enumerate().for_each(|(column, value)| block[(offset, column)] = *value);
            }
            each(stratum, start, &block);
            start += size;
        }
    }
}

/// Σ weight · row rowᵀ, made regular in the one direction that the sum decides.
fn normal(rows: &Rows<'_>) -> Result<Mat<f64>, SolveError> {
    let columns = rows.columns;
    let mut normal = Mat::<f64>::zeros(columns, columns);
    blocks(rows, |stratum, _, block| {
        let weight = stratum.row_weight();
        matmul(normal.as_mut(), Accum::Add, block.transpose(), block.as_ref(), weight, Par::Seq);
    });
    let trace: f64 = (0..columns).map(|column| normal[(column, column)]).sum();
    if !trace.is_finite() {
        return Err(SolveError::NotFinite);
    }
    if trace <= 0.0 && columns > 1 {
        return Err(SolveError::NoWeight);
    }
    let size = if trace > 0.0 { trace } else { 1.0 };
    let lift = size / (columns * columns) as f64;
    Ok(Mat::from_fn(columns, columns, |i, j| normal[(i, j)] + lift))
}

fn solve(rows: &Rows<'_>, values: &[f64], sum: f64, inverse: &Mat<f64>, unique: bool) -> Result<Fit, SolveError> {
    let columns = rows.columns;
    let equal = sum / columns.max(1) as f64;
    // With equal coefficients a row gives its own total times `equal`.
    let mut row = vec![0.0; columns];
    let targets: Vec<f64> = values
        .iter()
        .enumerate()
        .map(|(index, value)| value - centred(rows, index, &mut row) * columns as f64 * equal)
        .collect();
    let mut cross = vec![0.0; columns];
    blocks(rows, |stratum, start, block| {
        for offset in 0..block.nrows() {
            let pull = stratum.row_weight() * targets[start + offset];
            (0..columns).for_each(|column| cross[column] += pull * block[(offset, column)]);
        }
    });
    let mut apart: Vec<f64> = (0..columns).map(|i| (0..columns).map(|j| inverse[(i, j)] * cross[j]).sum()).collect();
    // What rounding left of the direction that the sum decides.
    let drift = apart.iter().sum::<f64>() / columns.max(1) as f64;
    apart.iter_mut().for_each(|coefficient| *coefficient -= drift);
    let standard_errors = standard_errors(rows, &targets, &apart, inverse);
    let coefficients: Vec<f64> = apart.iter().map(|coefficient| equal + coefficient).collect();
    if coefficients.iter().chain(&standard_errors).any(|number| !number.is_finite()) {
        return Err(SolveError::NotFinite);
    }
    Ok(Fit { coefficients, standard_errors, unique })
}

/// √ Σ over strata weight² · (1 − drawn share) · variance of inverse·row·residual ÷ rows drawn, made larger for the
/// freedom that the fit took.
fn standard_errors(rows: &Rows<'_>, targets: &[f64], apart: &[f64], inverse: &Mat<f64>) -> Vec<f64> {
    let columns = rows.columns;
    let mut spread = vec![[0.0_f64; 2]; columns];
    let mut variance = vec![0.0; columns];
    let mut close = |stratum: &Stratum, spread: &mut Vec<[f64; 2]>| {
        let drawn = stratum.rows.len() as f64;
        for (variance, [sum, squares]) in variance.iter_mut().zip(spread.iter_mut()) {
            // A single row has no spread of its own: its whole influence counts.
            let own = if drawn > 1.0 { (*squares - *sum * *sum / drawn) / (drawn - 1.0) } else { *squares };
            *variance += stratum.weight.powi(2) * stratum.left() * own.max(0.0) / drawn.max(1.0);
            (*sum, *squares) = (0.0, 0.0);
        }
    };
    blocks(rows, |stratum, start, block| {
        let influence = block * inverse;
        for offset in 0..block.nrows() {
            let fitted: f64 = (0..columns).map(|column| block[(offset, column)] * apart[column]).sum();
            let residual = targets[start + offset] - fitted;
            for (column, [sum, squares]) in spread.iter_mut().enumerate() {
                let influence = influence[(offset, column)] * residual;
                *sum += influence;
                *squares += influence * influence;
            }
        }
        if start + block.nrows() == stratum.rows.end {
            close(stratum, &mut spread);
        }
    });
    let drawn = targets.len() as f64;
    let freedom = drawn - (columns as f64 - 1.0);
    let correction = if freedom > 0.0 { drawn / freedom } else { 1.0 };
    variance.iter().map(|variance| (variance * correction).sqrt()).collect()
}

#[cfg(test)]
#[path = "strata_tests.rs"]
mod tests;
