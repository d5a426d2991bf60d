//! Means with confidence intervals, and how much two rankings have in common. Pure functions in f64, summed in index
//! order.

use rand::Rng as _;
use serde::{Deserialize, Serialize};

use crate::numerics::{evidence, ranking, sampling};

/// Resamples of the bootstrap.
pub const RESAMPLES: usize = 2000;
/// Share of the resampled means inside the interval.
pub const LEVEL: f64 = 0.95;

/// A mean over inputs, with its percentile bootstrap interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// Values.
    pub n: usize,
}

impl Estimate {
    /// The mean of `values` and the middle [`LEVEL`] of the means of [`RESAMPLES`] resamples with replacement, drawn from
    /// `seed` (Efron 1979; quantiles interpolated as numpy's default). `None` without values; one value is its own
    /// interval.
    pub fn of(values: &[f64], seed: u64) -> Option<Self> {
        let n = values.len();
        let mean = mean(values)?;
        if n == 1 {
            return Some(Self { mean, low: mean, high: mean, n });
        }
        let mut rng = sampling::generator(seed);
        let mut means: Vec<f64> =
            (0..RESAMPLES).map(|_| (0..n).map(|_| values[rng.random_range(0..n)]).sum::<f64>() / n as f64).collect();
        means.sort_by(f64::total_cmp);
        let tail = (1.0 - LEVEL) / 2.0;
        Some(Self { mean, low: quantile(&means, tail), high: quantile(&means, 1.0 - tail), n })
    }
}

/// `None` without values.
pub fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| evidence::mean(values))
}

/// Of sorted values, interpolated between neighbours; 0 without values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * sorted.len().saturating_sub(1) as f64;
    let below = place.floor() as usize;
    match (sorted.get(below), sorted.get(below + 1)) {
        (Some(low), Some(high)) => low + (high - low) * (place - below as f64),
        (Some(last), None) => *last,
        _ => 0.0,
    }
}

/// Ranks from 1, the mean rank where values are equal.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut start = 0;
    while start < order.len() {
        let same = order[start..].iter().take_while(|&&index| values[index] == values[order[start]]).count();
        let rank = (2 * start + same + 1) as f64 / 2.0;
        order[start..start + same].iter().for_each(|&index| ranks[index] = rank);
        start += same;
    }
    ranks
}

/// Spearman's ρ: Pearson's correlation of the ranks. `None` where one of the lists does not vary or their lengths differ.
pub fn spearman(a: &[f64], b: &[f64]) -> Option<f64> {
    if a.len() != b.len() {
        return None;
    }
    let (a, b) = (ranks(a), ranks(b));
    let middle = (a.len() as f64 + 1.0) / 2.0;
    let product = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| (x - middle) * (y - middle)).sum::<f64>();
    let spread = (product(&a, &a) * product(&b, &b)).sqrt();
    (spread > 0.0).then(|| (product(&a, &b) / spread).clamp(-1.0, 1.0))
}

/// How many units the top quarter of `units` is: at least one.
pub fn quarter(units: usize) -> usize {
    units.div_ceil(4).max(1)
}

/// Which share of the `k` largest values stand at the same places in both lists. `None` for empty lists or lists of
/// different lengths.
pub fn top_overlap(a: &[f64], b: &[f64], k: usize) -> Option<f64> {
    if a.len() != b.len() || a.is_empty() || k == 0 {
        return None;
    }
    Some(ranking::overlap(a, b, k))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_interval_is_seeded_and_holds_its_mean() {
        let values: Vec<f64> = (0..50).map(f64::from).collect();
        let estimate = Estimate::of(&values, 3).unwrap();
        assert_eq!(Some(estimate), Estimate::of(&values, 3));
        assert_eq!((estimate.mean, estimate.n), (24.5, 50));
        // The standard error is 14.43 / √50 = 2.04; the interval is about ±1.96 of it.
        assert!((estimate.high - estimate.low - 8.0).abs() < 0.6, "{estimate:?}");
        assert!(estimate.low < 24.5 && estimate.high > 24.5);
        assert_eq!(Estimate::of(&[], 0), None);
        let one = Estimate::of(&[2.0], 0).unwrap();
        assert_eq!((one.low, one.mean, one.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn quantiles_are_numpys() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.25), 1.5);
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 1.0), 4.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn rankings_are_compared_with_ties_shared() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.0]), [3.5, 2.0, 3.5, 1.0]);
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[10.0, 20.0, 30.0]), Some(1.0));
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(spearman(&[1.0, 1.0], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0], &[1.0, 2.0]), None);
        assert_eq!(top_overlap(&[3.0, 2.0, 1.0, 0.0], &[0.0, 2.0, 3.0, 1.0], 2), Some(0.5));
        assert_eq!(top_overlap(&[], &[], 2), None);
        assert_eq!([1, 4, 5, 19].map(quarter), [1, 1, 2, 5]);
    }

    proptest! {
        #[test]
        fn a_ranking_knows_no_scale(values in prop::collection::vec(-5.0_f64..5.0, 2..20), factor in 0.1_f64..9.0) {
            let scaled: Vec<f64> = values.iter().map(|value| value * factor + 1.0).collect();
            if let Some(rho) = spearman(&values, &scaled) {
                prop_assert!(rho > 0.999);
            }
            let own = top_overlap(&values, &values, 3);
            prop_assert_eq!(own, Some(1.0));
        }

        #[test]
        fn correlation_is_symmetric(a in prop::collection::vec(0_i32..5, 5), b in prop::collection::vec(0_i32..5, 5)) {
            let (a, b): (Vec<f64>, Vec<f64>) = (a.into_iter().map(f64::from).collect(), b.into_iter().map(f64::from).collect());
            prop_assert_eq!(spearman(&a, &b), spearman(&b, &a));
            if let Some(rho) = spearman(&a, &b) {
                prop_assert!((-1.0..=1.0).contains(&rho));
            }
        }

        #[test]
        fn an_interval_lies_within_the_values(values in prop::collection::vec(-1.0_f64..1.0, 1..30), seed in 0_u64..5) {
            let Estimate { mean, low, high, .. } = Estimate::of(&values, seed).unwrap();
            let least = values.iter().copied().fold(f64::INFINITY, f64::min);
            let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            prop_assert!(least - 1e-12 <= low && low <= high && high <= most + 1e-12);
            prop_assert!(mean >= least - 1e-12 && mean <= most + 1e-12);
        }
    }
}
