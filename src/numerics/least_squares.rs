//! Weighted least squares with an unpenalised intercept and an optional ridge, as scikit-learn's `LinearRegression`
//! and `Ridge` with `sample_weight` define them, with HC0 standard errors.
//!
//! Rows are produced on demand and passed over twice, so memory is columns² and one block of rows.

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Solve;
use faer::{Accum, Mat, Par, Side};

/// Rows that are multiplied at once.
const BLOCK: usize = 256;
/// A pivot or an eigenvalue below this share of the largest counts as zero.
const SINGULAR: f64 = 1e-11;

/// The rows of a regression. Row i stands for `counts[i]` equal observations of weight `weights[i]` each.
pub struct Observations<'a> {
    pub columns: usize,
    /// Writes row i.
    pub row: &'a dyn Fn(usize, &mut [f64]),
    pub weights: &'a [f64],
    pub counts: &'a [f64],
}

/// A fitted linear model.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    pub coefficients: Vec<f64>,
    pub intercept: f64,
    /// Weighted R² over the rows fitted.
    pub r2: f64,
    /// HC0 (White 1980) of the coefficients; none where a penalty chose them (`lasso`).
    pub standard_errors: Vec<f64>,
    /// False where the rows do not determine the coefficients: the smallest solution is given.
    pub unique: bool,
    /// False where the search for the coefficients ended before it was there (`lasso`).
    pub settled: bool,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SolveError {
    #[error("all weights are zero")]
    NoWeight,
    #[error("a row, weight or value is not finite")]
    NotFinite,
    #[error("the coefficients were not found")]
    NoConvergence,
}

/// Minimises Σ counts·weights·(y − intercept − row·coefficients)² + `ridge`·|coefficients|² for each list of values in
/// `targets`, one value a row; the factorisation is shared. `look` is asked before each of them, which takes a product
/// of columns² numbers.
///
/// # Errors
/// Rows that say nothing, numbers that are not finite, or an error of `look`.
pub fn fit<E: From<SolveError>>(
    rows: &Observations<'_>,
    targets: &[&[f64]],
    ridge: f64,
    look: &dyn Fn() -> Result<(), E>,
) -> Result<Vec<Fit>, E> {
    let centred = Centred::new(rows)?;
    let (inverse, unique) = invert(centred.second_moment(), ridge)?;
    let one = |values: &&[f64]| {
        look()?;
        Ok(centred.solve(values, &inverse, unique)?)
    };
    targets.iter().map(one).collect()
}

/// The rows with their weighted mean taken out, which leaves the intercept unpenalised.
pub(super) struct Centred<'a> {
    rows: &'a Observations<'a>,
    /// counts · weights.
    mass: Vec<f64>,
    pub total: f64,
    pub mean: Vec<f64>,
}

impl<'a> Centred<'a> {
    pub fn new(rows: &'a Observations<'a>) -> Result<Self, SolveError> {
        let mass: Vec<f64> = rows.weights.iter().zip(rows.counts).map(|(weight, count)| weight * count).collect();
        let total: f64 = mass.iter().sum();
        if !total.is_finite() {
            return Err(SolveError::NotFinite);
        }
        if total <= 0.0 {
            return Err(SolveError::NoWeight);
        }
        let mut mean = vec![0.0; rows.columns];
        let mut row = vec![0.0; rows.columns];
        for (index, &mass) in mass.iter().enumerate() {
            (rows.row)(index, &mut row);
            mean.iter_mut().zip(&row).for_each(|(mean, value)| *mean += mass * value);
        }
        mean.iter_mut().for_each(|mean| *mean /= total);
        Ok(Self { rows, mass, total, mean })
    }

    /// Σ scale(i)² · (row − mean)(row − mean)ᵀ.
    fn gram(&self, scale: impl Fn(usize) -> f64) -> Mat<f64> {
        let columns = self.rows.columns;
        let mut gram = Mat::zeros(columns, columns);
        let mut row = vec![0.0; columns];
        let mut start = 0;
        while start < self.mass.len() {
            let size = BLOCK.min(self.mass.len() - start);
            let mut block = Mat::<f64>::zeros(size, columns);
            for offset in 0..size {
                let scale = scale(start + offset);
                (self.rows.row)(start + offset, &mut row);
                for column in 0..columns {
                    block[(offset, column)] = scale * (row[column] - self.mean[column]);
                }
            }
            matmul(gram.as_mut(), Accum::Add, block.transpose(), block.as_ref(), 1.0, Par::Seq);
            start += size;
        }
        gram
    }

    /// Σ mass · (row − mean)(row − mean)ᵀ.
    pub fn second_moment(&self) -> Mat<f64> {
        self.gram(|index| self.mass[index].sqrt())
    }

    /// The values' weighted mean.
    pub fn level(&self, values: &[f64]) -> f64 {
        self.mass.iter().zip(values).map(|(mass, value)| mass * value).sum::<f64>() / self.total
    }

    /// Σ mass · (value − level)(row − mean).
    pub fn cross(&self, values: &[f64], level: f64) -> Vec<f64> {
        let columns = self.rows.columns;
        let mut row = vec![0.0; columns];
        let mut cross = vec![0.0; columns];
        for (index, &value) in values.iter().enumerate() {
            (self.rows.row)(index, &mut row);
            let pull = self.mass[index] * (value - level);
            for column in 0..columns {
                cross[column] += pull * (row[column] - self.mean[column]);
            }
        }
        cross
    }

    fn solve(&self, values: &[f64], inverse: &Mat<f64>, unique: bool) -> Result<Fit, SolveError> {
        let columns = self.rows.columns;
        let level = self.level(values);
        let cross = self.cross(values, level);
        let coefficients: Vec<f64> =
            (0..columns).map(|i| (0..columns).map(|j| inverse[(i, j)] * cross[j]).sum()).collect();
        let residuals = self.residuals(values, level, &coefficients);
        let r2 = self.r2(values, level, &residuals);
        let standard_errors = self.hc0(&residuals, inverse);
        let intercept = level - dot(&coefficients, &self.mean);
        let all = coefficients.iter().chain(&standard_errors).chain([&intercept, &r2]);
        if all.copied().any(|number| !number.is_finite()) {
            return Err(SolveError::NotFinite);
        }
        Ok(Fit { coefficients, intercept, r2, standard_errors, unique, settled: true })
    }

    pub fn residuals(&self, values: &[f64], level: f64, coefficients: &[f64]) -> Vec<f64> {
        let mut row = vec![0.0; self.rows.columns];
        let offset = level - dot(coefficients, &self.mean);
        let residual = |(index, value): (usize, &f64)| {
            (self.rows.row)(index, &mut row);
            value - offset - dot(coefficients, &row)
        };
        values.iter().enumerate().map(residual).collect()
    }

    /// A constant is explained in full.
    pub fn r2(&self, values: &[f64], level: f64, residuals: &[f64]) -> f64 {
        if values.iter().all(|value| Some(value) == values.first()) {
            return 1.0;
        }
        let left: f64 = self.mass.iter().zip(residuals).map(|(mass, residual)| mass * residual * residual).sum();
        let spread: f64 = self.mass.iter().zip(values).map(|(mass, value)| mass * (value - level).powi(2)).sum();
        if spread > 0.0 { 1.0 - left / spread } else { 1.0 }
    }

    /// √diag(M · Σ count·(weight·residual)²·(row − mean)(row − mean)ᵀ · M), M the inverse of the normal matrix.
    fn hc0(&self, residuals: &[f64], inverse: &Mat<f64>) -> Vec<f64> {
        let columns = self.rows.columns;
        let meat = self.gram(|index| self.rows.counts[index].sqrt() * self.rows.weights[index] * residuals[index]);
        let half = inverse * &meat;
        let variance = |i: usize| (0..columns).map(|j| half[(i, j)] * inverse[(j, i)]).sum::<f64>().max(0.0).sqrt();
        (0..columns).map(variance).collect()
    }
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// The inverse of `normal` + `ridge`, or where that is singular its pseudo-inverse (false).
pub(super) fn invert(mut normal: Mat<f64>, ridge: f64) -> Result<(Mat<f64>, bool), SolveError> {
    let size = normal.nrows();
    for i in 0..size {
        normal[(i, i)] += ridge;
    }
    if (0..size).any(|i| (0..size).any(|j| !normal[(i, j)].is_finite())) {
        return Err(SolveError::NotFinite);
    }
    // Equilibrated to a unit diagonal, so that "small" means the same for every column.
    let scale: Vec<f64> =
        (0..size).map(|i| if normal[(i, i)] > 0.0 { normal[(i, i)].sqrt().recip() } else { 0.0 }).collect();
    let unit = Mat::from_fn(size, size, |i, j| scale[i] * normal[(i, j)] * scale[j]);
    let (core, unique) = match factored(&unit) {
        Some(inverse) => (inverse, true),
        None => (pseudo_inverse(&unit)?, false),
    };
    Ok((Mat::from_fn(size, size, |i, j| scale[i] * core[(i, j)] * scale[j]), unique))
}

/// By Cholesky's factorisation; `None` where a pivot vanishes.
fn factored(matrix: &Mat<f64>) -> Option<Mat<f64>> {
    let size = matrix.nrows();
    let factors = matrix.llt(Side::Lower).ok()?;
    let lower = factors.L();
    if (0..size).any(|i| lower[(i, i)] * lower[(i, i)] < SINGULAR) {
        return None;
    }
    Some(factors.solve(Mat::<f64>::identity(size, size)))
}

fn pseudo_inverse(matrix: &Mat<f64>) -> Result<Mat<f64>, SolveError> {
    let size = matrix.nrows();
    let eigen = matrix.self_adjoint_eigen(Side::Lower).map_err(|_| SolveError::NoConvergence)?;
    let vectors = eigen.U();
    let values = eigen.S().column_vector();
    let largest = (0..size).map(|i| values[i]).fold(0.0, f64::max);
    let reciprocal: Vec<f64> =
        (0..size).map(|i| if values[i] > SINGULAR * largest { values[i].recip() } else { 0.0 }).collect();
    let scaled = Mat::from_fn(size, size, |i, k| vectors[(i, k)] * reciprocal[k]);
    Ok(&scaled * vectors.transpose())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(rows: &[Vec<f64>], weights: &[f64], counts: &[f64], values: &[f64], ridge: f64) -> Fit {
        let row = |index: usize, out: &mut [f64]| out.copy_from_slice(&rows[index]);
        let observations = Observations { columns: rows[0].len(), row: &row, weights, counts };
        fit::<SolveError>(&observations, &[values], ridge, &|| Ok(())).unwrap().remove(0)
    }

    /// sklearn.linear_model.Ridge(alpha=1.0).fit(X, y, sample_weight=w) 1.9.1 and its score.
    #[test]
    fn ridge_equals_sklearn() {
        let rows: Vec<Vec<f64>> =
            [[1., 1., 1.], [0., 1., 1.], [1., 0., 1.], [1., 1., 0.], [0., 0., 1.]].map(|r| r.to_vec()).to_vec();
        let found = solve(&rows, &[1.0, 0.8, 0.5, 0.9, 0.25], &[1.0; 5], &[2.0, 0.5, 1.0, 1.75, -0.5], 1.0);
        let expected =
            [0.5814759782070332, 0.3356859831599804, -0.12927191679049033, 0.6892025755324416, 0.6518767442843627];
        for (found, expected) in found.coefficients.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-12, "{found} {expected}");
        }
        assert!((found.intercept - expected[3]).abs() < 1e-12);
        assert!((found.r2 - expected[4]).abs() < 1e-12);
    }

    #[test]
    fn counts_stand_for_repeated_rows() {
        let rows = vec![vec![0.0, 1.0], vec![1.0, 0.0], vec![1.0, 1.0], vec![0.0, 0.0]];
        let (weights, values) = ([1.0, 0.5, 0.7, 0.2], [1.0, 3.0, 2.5, 0.3]);
        let counted = solve(&rows, &weights, &[2.0, 1.0, 3.0, 1.0], &values, 0.0);
        let order = [0, 0, 1, 2, 2, 2, 3];
        let listed = solve(
            &order.map(|i| rows[i].clone()),
            &order.map(|i| weights[i]),
            &[1.0; 7],
            &order.map(|i| values[i]),
            0.0,
        );
        for (a, b) in counted.coefficients.iter().zip(&listed.coefficients) {
            assert!((a - b).abs() < 1e-13);
        }
        for (a, b) in counted.standard_errors.iter().zip(&listed.standard_errors) {
            assert!((a - b).abs() < 1e-13);
        }
    }

    /// White's estimator by hand for one column: Σ w²e²x̃² / (Σ w x̃²)².
    #[test]
    fn hc0_of_one_column() {
        let rows = vec![vec![0.0], vec![1.0], vec![2.0], vec![4.0]];
        let (weights, values) = ([1.0, 2.0, 0.5, 1.5], [1.0, 0.0, 3.0, 2.0]);
        let found = solve(&rows, &weights, &[1.0; 4], &values, 0.0);
        let total: f64 = weights.iter().sum();
        let mean: f64 = (0..4).map(|i| weights[i] * rows[i][0]).sum::<f64>() / total;
        let (mut meat, mut bread) = (0.0, 0.0);
        for i in 0..4 {
            let x = rows[i][0] - mean;
            let residual = values[i] - found.intercept - found.coefficients[0] * rows[i][0];
            meat += (weights[i] * residual * x).powi(2);
            bread += weights[i] * x * x;
        }
        assert!((found.standard_errors[0] - meat.sqrt() / bread).abs() < 1e-13);
    }

    #[test]
    fn a_column_that_never_changes_gets_nothing() {
        let rows = vec![vec![1.0, 0.0], vec![1.0, 1.0], vec![1.0, 1.0]];
        let found = solve(&rows, &[1.0; 3], &[1.0; 3], &[1.0, 3.0, 3.0], 0.0);
        assert!(!found.unique);
        assert!(found.coefficients[0].abs() < 1e-12 && (found.coefficients[1] - 2.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_to_weigh_is_an_error() {
        let row = |_: usize, out: &mut [f64]| out.fill(0.0);
        let observations = Observations { columns: 1, row: &row, weights: &[0.0], counts: &[1.0] };
        assert_eq!(fit(&observations, &[&[1.0]], 0.0, &|| Ok(())), Err(SolveError::NoWeight));
    }

    proptest::proptest! {
        #[test]
        fn an_exact_plane_is_found(
            coefficients in proptest::collection::vec(-3.0_f64..3.0, 1..6),
            intercept in -2.0_f64..2.0,
            seed in 0_u64..1000,
        ) {
            let mut rng = crate::numerics::sampling::generator(seed);
            let columns = coefficients.len();
            let mut rows: Vec<Vec<f64>> = (0..40)
                .map(|_| (0..columns).map(|_| f64::from(crate::numerics::sampling::coin(&mut rng))).collect())
                .collect();
            for column in 0..columns {
                rows.push((0..columns).map(|c| f64::from(u8::from(c == column))).collect());
            }
            rows.push(vec![0.0; columns]);
            let values: Vec<f64> = rows.iter().map(|row| intercept + dot(row, &coefficients)).collect();
            let ones = vec![1.0; rows.len()];
            let found = solve(&rows, &ones, &ones, &values, 0.0);
            proptest::prop_assert!(found.unique);
            proptest::prop_assert!((found.intercept - intercept).abs() < 1e-9);
            for (a, b) in found.coefficients.iter().zip(&coefficients) {
                proptest::prop_assert!((a - b).abs() < 1e-9);
            }
        }
    }
}
