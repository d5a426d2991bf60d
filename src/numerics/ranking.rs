//! Orders of scores and how far two of them agree.

/// Indices of `scores` from the largest to the smallest; of equal ones the first comes first.
pub fn descending(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Kendall's τ-b of two lists of equal length, ties counted as scipy's `kendalltau` does; `None` where one of them is
/// constant or shorter than two. Kendall, The Treatment of Ties in Ranking Problems, Biometrika 33, 1945.
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    let (mut sum, mut untied_a, mut untied_b) = (0.0_f64, 0.0_f64, 0.0_f64);
    for (i, (ai, bi)) in a.iter().zip(b).enumerate() {
        for (aj, bj) in a.iter().zip(b).skip(i + 1) {
            let (x, y) = (sign(ai - aj), sign(bi - bj));
            sum += x * y;
            untied_a += x.abs();
            untied_b += y.abs();
        }
    }
    let scale = untied_a.sqrt() * untied_b.sqrt();
    (scale > 0.0).then(|| (sum / scale).clamp(-1.0, 1.0))
}

fn sign(difference: f64) -> f64 {
    if difference == 0.0 { 0.0 } else { difference.signum() }
}

/// The share of the `k` foremost of `a` that are among the `k` foremost of `b`. 1 where there are none.
pub fn overlap(a: &[f64], b: &[f64], k: usize) -> f64 {
    let k = k.min(a.len()).min(b.len());
    let foremost = |scores: &[f64]| descending(scores).into_iter().take(k).collect::<Vec<usize>>();
    let (first, second) = (foremost(a), foremost(b));
    let both = first.iter().filter(|index| second.contains(index)).count();
    if k == 0 { 1.0 } else { both as f64 / k as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_scores_stay_in_their_order() {
        assert_eq!(descending(&[1.0, 3.0, 3.0, -0.5]), [1, 2, 0, 3]);
        assert_eq!(descending(&[]), Vec::<usize>::new());
    }

    /// scipy 1.17: `kendalltau([1, 2, 3, 4, 5], [1, 3, 2, 5, 4])`, `kendalltau([1, 1, 2, 3], [1, 2, 2, 2])`.
    #[test]
    fn tau_b_is_scipys() {
        let close = |a: &[f64], b: &[f64], tau: f64| assert!((kendall(a, b).unwrap() - tau).abs() < 1e-12);
        close(&[1.0, 2.0, 3.0, 4.0, 5.0], &[1.0, 3.0, 2.0, 5.0, 4.0], 0.6);
        close(&[1.0, 1.0, 2.0, 3.0], &[1.0, 2.0, 2.0, 2.0], 0.516_397_779_494_322_4);
        for constant in [&[1.0, 1.0, 1.0][..], &[2.0], &[]] {
            assert_eq!(kendall(constant, &vec![3.0; constant.len()]), None);
        }
    }

    #[test]
    fn overlap_counts_the_foremost() {
        assert_eq!(overlap(&[3.0, 2.0, 1.0, 0.0], &[3.0, 0.0, 1.0, 2.0], 2), 0.5);
        assert_eq!(overlap(&[1.0], &[5.0], 3), 1.0);
        assert_eq!(overlap(&[], &[], 2), 1.0);
    }

    proptest! {
        #[test]
        fn tau_is_antisymmetric_and_of_itself_one(pairs in prop::collection::vec((-3i8..4, -3i8..4), 2..12)) {
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().map(|&(a, b)| (f64::from(a), f64::from(b))).unzip();
            let negative: Vec<f64> = b.iter().map(|x| -x).collect();
            if let Some(tau) = kendall(&a, &b) {
                prop_assert!((tau + kendall(&a, &negative).unwrap()).abs() < 1e-12);
                prop_assert!((kendall(&a, &a).unwrap() - 1.0).abs() < 1e-12);
                prop_assert_eq!(kendall(&b, &a), Some(tau));
            }
        }
    }
}
