//! Tests of `strata`: the sum holds, the plane is found, and the errors are those that other draws show.

use super::super::sampling;
use super::*;

fn solve_rows(rows: &[Vec<f64>], strata: &[Stratum], values: &[f64], sum: f64) -> Fit {
    let row = |index: usize, out: &mut [f64]| out.copy_from_slice(&rows[index]);
    let rows = Rows { columns: rows[0].len(), row: &row, strata };
    fit(&rows, &[(values, sum)]).unwrap().remove(0)
}

fn whole(rows: usize) -> Vec<Stratum> {
    vec![Stratum { rows: 0..rows, population: rows as f64, weight: rows as f64 }]
}

#[test]
fn a_plane_with_its_sum_is_found() {
    let rows: Vec<Vec<f64>> = [[1., 0., 0.], [0., 1., 0.], [0., 0., 1.], [1., 1., 0.]].map(|row| row.to_vec()).to_vec();
    let found = solve_rows(&rows, &whole(4), &[2.0, -1.0, 0.5, 1.0], 1.5);
    for (found, expected) in found.coefficients.iter().zip([2.0, -1.0, 0.5]) {
        assert!((found - expected).abs() < 1e-12);
    }
    assert!(found.unique && found.standard_errors.iter().all(|&error| error == 0.0));
}

/// By hand: minimise (3 − a)² + 2 (1 − b)² with a + b = 2, so a = 7/3 + … : the derivative of (3 − a)² + 2 (a − 1)² is
/// zero at 6a = 2·3 + 4·1, a = 5/3.
#[test]
fn the_sum_is_kept_where_the_rows_say_otherwise() {
    let rows = vec![vec![1.0, 0.0], vec![0.0, 1.0]];
    let strata =
        [Stratum { rows: 0..1, population: 1.0, weight: 1.0 }, Stratum { rows: 1..2, population: 1.0, weight: 2.0 }];
    let found = solve_rows(&rows, &strata, &[3.0, 1.0], 2.0);
    assert!((found.coefficients[0] - 5.0 / 3.0).abs() < 1e-12);
    assert!((found.coefficients.iter().sum::<f64>() - 2.0).abs() < 1e-12);
}

#[test]
fn too_few_rows_are_said_to_be() {
    let found = solve_rows(&[vec![1.0, 0.0, 0.0]], &whole(1), &[1.0], 3.0);
    assert!(!found.unique);
    assert!(found.coefficients.iter().all(|coefficient| (coefficient - 1.0).abs() < 1e-9), "{found:?}");
}

#[test]
fn one_column_is_its_sum() {
    let found = solve_rows(&[vec![1.0]], &whole(1), &[7.0], 2.5);
    assert_eq!(found.coefficients, [2.5]);
    assert!(fit(&Rows { columns: 1, row: &|_, _| {}, strata: &[] }, &[(&[], 2.5)]).is_ok());
}

/// Over many draws from a fixed population, the scores' own spread is the standard error within a fifth.
#[test]
fn standard_errors_are_the_spread_between_draws() {
    let columns = 5;
    let population: Vec<(Vec<f64>, f64)> = (1..31_u32)
        .map(|pattern| {
            let row: Vec<f64> = (0..columns).map(|column| f64::from(pattern >> column & 1)).collect();
            let bent = row.iter().enumerate().map(|(i, x)| x * (i as f64 - 1.5)).sum::<f64>();
            (row.clone(), bent + (f64::from(pattern) * 1.7).sin())
        })
        .collect();
    let (draws, size) = (400, 18);
    let mut sums = vec![[0.0; 3]; columns];
    for seed in 0..draws {
        let mut rng = sampling::generator(seed);
        let chosen = sampling::without_replacement(&mut rng, population.len(), size);
        let rows: Vec<Vec<f64>> = chosen.iter().map(|&index| population[index].0.clone()).collect();
        let values: Vec<f64> = chosen.iter().map(|&index| population[index].1).collect();
        let strata = [Stratum { rows: 0..size, population: population.len() as f64, weight: 1.0 }];
        let found = solve_rows(&rows, &strata, &values, 2.5);
        for (sums, (score, error)) in sums.iter_mut().zip(found.coefficients.iter().zip(&found.standard_errors)) {
            sums[0] += score;
            sums[1] += score * score;
            sums[2] += error * error;
        }
    }
    for [sum, squares, errors] in sums {
        let count = draws as f64;
        let spread = ((squares - sum * sum / count) / (count - 1.0)).sqrt();
        let error = (errors / count).sqrt();
        assert!((error / spread - 1.0).abs() < 0.2, "{error} {spread}");
    }
}
