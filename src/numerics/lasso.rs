//! The lasso: least squares with a penalty on the sum of the coefficients' sizes, so that few of them are not 0. As
//! scikit-learn's `Lasso` behind its `StandardScaler` defines it, the coefficients put back into the columns' own units.
//!
//! Tibshirani, Regression Shrinkage and Selection via the Lasso, J. R. Stat. Soc. B 58, 1996; coordinate descent over
//! the columns' products: Friedman, Hastie and Tibshirani, J. Stat. Software 33, 2010. What does not settle that way ends in
//! `active`.

mod active;

use faer::Mat;

use super::least_squares::{Centred, Fit, Observations, SolveError, dot};

/// Rounds over all columns before the active columns are solved for directly. Columns that are little alike settle
/// sooner; of more columns than rows some would drift by about the penalty a round, for as long as anybody waits.
const ROUNDS: usize = 100;
/// Rounds that make an answer of what there is, once nobody wants more.
const ROUGH: usize = 10;
/// No coefficient may move by more than this share of the largest at the end.
const STILL: f64 = 1e-12;

/// Minimises Σ mass·(y − intercept − x·w)² / (2 Σ mass) + `penalty`·Σ|w| for each list of values in `targets`, one value
/// a row, x the row's columns less their mean and divided by their standard deviation, mass = counts·weights. `Fit`'s
/// coefficients are w by the standard deviations; what a penalty chooses has no standard errors, so that list is empty.
/// `more` is asked before each step: whether to go on, or to end with what there is (not `settled` then).
///
/// # Errors
/// Rows that say nothing, numbers that are not finite, or an error of `more`.
pub fn fit<E: From<SolveError>>(
    rows: &Observations<'_>,
    targets: &[&[f64]],
    penalty: f64,
    more: &dyn Fn() -> Result<bool, E>,
) -> Result<Vec<Fit>, E> {
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
            return Err(SolveError::NotFinite.into());
        }
        let (mut coefficients, settled) = minimum(&Lasso { products: &products, pulls: &pulls, penalty }, more)?;
        coefficients.iter_mut().zip(&scales).for_each(|(coefficient, scale)| *coefficient /= scale);
        let residuals = centred.residuals(values, level, &coefficients);
        let r2 = centred.r2(values, level, &residuals);
        let intercept = level - dot(&coefficients, &centred.mean);
        Ok(Fit { coefficients, intercept, r2, standard_errors: Vec::new(), unique: true, settled })
    };
    targets.iter().map(one).collect()
}

/// w·products·w / 2 − pulls·w + penalty·Σ|w|.
struct Lasso<'a> {
    products: &'a Mat<f64>,
    pulls: &'a [f64],
    penalty: f64,
}

impl Lasso<'_> {
    fn columns(&self) -> usize {
        self.pulls.len()
    }

    /// What still pulls at each column, less what these coefficients explain.
    fn left(&self, coefficients: &[f64]) -> Vec<f64> {
        let mut left = self.pulls.to_vec();
        for (column, &coefficient) in coefficients.iter().enumerate().filter(|(_, coefficient)| **coefficient != 0.0) {
            left.iter_mut().enumerate().for_each(|(other, left)| *left -= self.products[(other, column)] * coefficient);
        }
        left
    }
}

/// The coefficients, and whether they are the minimum's.
fn minimum<E>(lasso: &Lasso<'_>, more: &dyn Fn() -> Result<bool, E>) -> Result<(Vec<f64>, bool), E> {
    let mut descent = Descent { coefficients: vec![0.0; lasso.columns()], left: lasso.pulls.to_vec() };
    let mut late = 0;
    for _ in 0..ROUNDS {
        late += usize::from(!more()?);
        if late > ROUGH {
            return Ok((descent.coefficients, false));
        }
        if descent.round(lasso) {
            return Ok((descent.coefficients, true));
        }
    }
    active::minimum(lasso, descent.coefficients, more)
}

/// One coefficient after the other, in the columns' order.
struct Descent {
    coefficients: Vec<f64>,
    left: Vec<f64>,
}

impl Descent {
    /// Moves every coefficient to its own minimum; true where none moved.
    fn round(&mut self, lasso: &Lasso<'_>) -> bool {
        let (mut largest, mut moved) = (0.0_f64, 0.0_f64);
        for column in 0..lasso.columns() {
            let curvature = lasso.products[(column, column)];
            if curvature <= 0.0 {
                continue;
            }
            let old = self.coefficients[column];
            let new = shrunk(self.left[column] + curvature * old, lasso.penalty) / curvature;
            if new != old {
                let pull = |(other, left): (usize, &mut f64)| *left -= lasso.products[(other, column)] * (new - old);
                self.left.iter_mut().enumerate().for_each(pull);
                self.coefficients[column] = new;
            }
            largest = largest.max(new.abs());
            moved = moved.max((new - old).abs());
        }
        moved <= STILL * largest
    }
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
    use crate::numerics::sampling::{coin, generator};

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
        fit::<SolveError>(&rows, &[values], penalty, &|| Ok(true)).unwrap().remove(0)
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

    /// Coins of `columns` units over `rows` masks, and noisy values of which few units make the most.
    fn coins(columns: usize, rows: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
        let mut rng = generator(7);
        let masks: Vec<Vec<f64>> =
            (0..rows).map(|_| (0..columns).map(|_| f64::from(coin(&mut rng))).collect()).collect();
        let noise: Vec<f64> = (0..rows).map(|_| (0..30).map(|_| f64::from(coin(&mut rng)) - 0.5).sum()).collect();
        let value = |(mask, noise): (&Vec<f64>, &f64)| 4.0 * mask[3] - 2.0 * mask[columns / 2] + 0.3 * noise;
        let values = masks.iter().zip(&noise).map(value).collect();
        (masks, values)
    }

    /// The fit of those values, and how often it asked whether to go on; it may for `asked` times.
    fn noisy(columns: usize, penalty: f64, asked: usize) -> (Result<Vec<Fit>, SolveError>, usize) {
        let (masks, values) = coins(columns, 64);
        let row = |index: usize, out: &mut [f64]| out.copy_from_slice(&masks[index]);
        let ones = vec![1.0; masks.len()];
        let rows = Observations { columns, row: &row, weights: &ones, counts: &ones };
        let count = std::cell::Cell::new(0);
        let more = || {
            count.set(count.get() + 1);
            Ok(count.get() <= asked)
        };
        (fit(&rows, &[&values], penalty, &more), count.get())
    }

    /// A prompt of 200 words and 64 masks, whatever the penalty: no coefficient drifts for 100,000 rounds.
    #[test]
    fn more_columns_than_rows_settle_in_few_steps() {
        for (columns, penalty) in [(200, 1e-6), (200, 1e-3), (200, 0.01), (63, 1e-6), (64, 1e-9), (400, 1e-12)] {
            let (found, asked) = noisy(columns, penalty, usize::MAX);
            let found = found.unwrap().remove(0);
            assert!(found.settled && asked < 1500, "{columns} {penalty}: {asked}");
            let kept = found.coefficients.iter().filter(|one| **one != 0.0).count();
            assert!(kept < 64, "{columns} {penalty}: {kept}");
        }
    }

    #[test]
    fn a_fit_ends_where_nobody_wants_more() {
        let (found, asked) = noisy(200, 1e-6, 20);
        let found = found.unwrap().remove(0);
        assert!(!found.settled && asked <= 20 + ROUGH + 1, "{asked}");
        assert!(found.r2 > 0.5, "what there is, is near: {}", found.r2);
        let stop = || Err(SolveError::NotFinite);
        let row = |_: usize, out: &mut [f64]| out.fill(1.0);
        let rows = Observations { columns: 1, row: &row, weights: &[1.0], counts: &[1.0] };
        assert_eq!(fit(&rows, &[&[1.0]], 0.1, &stop), Err(SolveError::NotFinite));
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
