//! The lasso: least squares with a penalty on the sum of the coefficients' sizes, so that few of them are not 0. As
//! scikit-learn's `Lasso` behind its `StandardScaler` defines it, the coefficients put back into the columns' own units.
//!
//! Tibshirani, Regression Shrinkage and Selection via the Lasso, J. R. Stat. Soc. B 58, 1996; coordinate descent over
//! the columns' products: Friedman, Hastie and Tibshirani, J. Stat. Software 33, 2010.

use faer::Mat;

use super::least_squares::{Centred, Fit, Observations, SolveError, dot};

/// Rounds over all columns at most.
const ROUNDS: usize = 100_000;
/// No coefficient may move by more than this share of the largest at the end.
const STILL: f64 = 1e-12;

/// Minimises Σ mass·(y − intercept − x·w)² / (2 Σ mass) + `penalty`·Σ|w| for each list of values in `targets`, one value
/// a row, x the row's columns less their mean and divided by their standard deviation, mass = counts·weights. `Fit`'s
/// coefficients are w by the standard deviations; what a penalty chooses has no standard errors, so that list is empty.
///
/// # Errors
/// Rows that say nothing, numbers that are not finite, or coefficients that do not settle.
pub fn fit(rows: &Observations<'_>, targets: &[&[f64]], penalty: f64) -> Result<Vec<Fit>, SolveError> {
    let centred = Centred::new(rows)?;
    let moment = centred.second_moment();
    let deviation = |column: usize| (moment[(column, column)] / centred.total).sqrt();
    // A column that never changes has no coefficient.
    let scales: Vec<f64> = (0..rows.columns).map(|i| if deviation(i) > 0.0 { deviation(i) } else { 1.0 }).collect();
    let products =
        Mat::from_fn(rows.columns, rows.columns, |i, j| moment[(i, j)] / (centred.total * scales[i] * scales[j]));
    let one = |values: &&[f64]| {
        let level = centred.level(values);
        let pulls: Vec<f64> = centred
            .cross(values, level)
            .iter()
            .zip(&scales)
            .map(|(cross, scale)| cross / (centred.total * scale))
            .collect();
        if pulls.iter().any(|pull| !pull.is_finite()) {
            return Err(SolveError::NotFinite);
        }
        let mut coefficients = descended(&products, &pulls, penalty)?;
        coefficients.iter_mut().zip(&scales).for_each(|(coefficient, scale)| *coefficient /= scale);
        let residuals = centred.residuals(values, level, &coefficients);
        let r2 = centred.r2(values, level, &residuals);
        let intercept = level - dot(&coefficients, &centred.mean);
        Ok(Fit { coefficients, intercept, r2, standard_errors: Vec::new(), unique: true })
    };
    targets.iter().map(one).collect()
}

/// The minimum by one coefficient after the other, in the columns' order, until none moves.
fn descended(products: &Mat<f64>, pulls: &[f64], penalty: f64) -> Result<Vec<f64>, SolveError> {
    let columns = pulls.len();
    let mut coefficients = vec![0.0; columns];
    // What pulls at each column, less what the coefficients explain.
    let mut left = pulls.to_vec();
    for _ in 0..ROUNDS {
        let (mut largest, mut moved) = (0.0_f64, 0.0_f64);
        for column in 0..columns {
            let curvature = products[(column, column)];
            if curvature <= 0.0 {
                continue;
            }
            let old = coefficients[column];
            let new = shrunk(left[column] + curvature * old, penalty) / curvature;
            if new != old {
                (0..columns).for_each(|other| left[other] -= products[(other, column)] * (new - old));
                coefficients[column] = new;
            }
            largest = largest.max(new.abs());
            moved = moved.max((new - old).abs());
        }
        if moved <= STILL * largest {
            return Ok(coefficients);
        }
    }
    Err(SolveError::NoConvergence)
}

/// Towards 0 by `penalty`, and no further.
fn shrunk(pull: f64, penalty: f64) -> f64 {
    if pull > penalty {
        pull - penalty
    } else if pull < -penalty {
        pull + penalty
    } else {
        0.0
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        /// One a row, a digit a column.
        masks: Vec<String>,
        values: Vec<f64>,
        penalty: f64,
        coefficients: Vec<f64>,
        intercept: f64,
        r2: f64,
    }

    fn cases() -> Vec<Case> {
        serde_json::from_str(include_str!("../../tests/golden/methods/lasso.json")).unwrap()
    }

    fn solve(masks: &[String], values: &[f64], penalty: f64) -> Fit {
        let row = |index: usize, out: &mut [f64]| {
            out.iter_mut().zip(masks[index].bytes()).for_each(|(out, digit)| *out = f64::from(digit - b'0'));
        };
        let ones = vec![1.0; masks.len()];
        let rows = Observations { columns: masks[0].len(), row: &row, weights: &ones, counts: &ones };
        fit(&rows, &[values], penalty).unwrap().remove(0)
    }

    /// sklearn.linear_model.Lasso behind StandardScaler (tests/golden/lasso.py).
    #[test]
    fn coefficients_are_those_of_sklearn() {
        let cases = cases();
        assert!(cases.len() >= 4);
        for case in &cases {
            let found = solve(&case.masks, &case.values, case.penalty);
            let scale = case.coefficients.iter().fold(0.0_f64, |largest, one| largest.max(one.abs()));
            for (column, (found, expected)) in found.coefficients.iter().zip(&case.coefficients).enumerate() {
                assert!((found - expected).abs() <= 1e-7 * scale, "{column}: {found} for {expected}");
                assert_eq!(*found == 0.0, *expected == 0.0, "{column}");
            }
            assert!((found.intercept - case.intercept).abs() < 1e-7 * (1.0 + case.intercept.abs()));
            assert!((found.r2 - case.r2).abs() < 1e-7, "{} for {}", found.r2, case.r2);
        }
        let kept = |case: &Case| case.coefficients.iter().filter(|one| **one != 0.0).count();
        assert!(cases.iter().any(|case| kept(case) < case.coefficients.len() / 2), "some are sparse");
        assert!(
            cases.iter().any(|case| case.coefficients.len() > case.masks.len()),
            "some have more columns than rows"
        );
    }

    #[test]
    fn a_penalty_that_is_large_leaves_the_mean() {
        let masks = ["01", "10", "11", "00"].map(str::to_owned);
        let found = solve(&masks, &[1.0, 2.0, 4.0, -3.0], 1e6);
        assert_eq!((found.coefficients, found.intercept, found.r2), (vec![0.0; 2], 1.0, 0.0));
    }

    #[test]
    fn a_column_that_never_changes_has_none() {
        let masks = ["11", "10", "11", "10"].map(str::to_owned);
        let found = solve(&masks, &[2.0, 1.0, 2.0, 1.0], 0.1);
        assert_eq!(found.coefficients[0], 0.0);
        // Standard deviation ½: ½ of covariance less the penalty, put back.
        assert!((found.coefficients[1] - 0.8).abs() < 1e-12, "{}", found.coefficients[1]);
    }
}
