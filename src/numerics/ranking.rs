//! Orders of scores and how far two of them agree.

/// Indices of `scores` from the largest to the smallest; of equal ones the first comes first.
pub fn descending(scores: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    order.sort_by(|&a, &b| scores[b].total_cmp(&scores[a]));
    order
}

/// Kendall's τ-b of two lists of equal length, ties counted as scipy's `kendalltau` does; `None` where one of them is
/// constant or shorter than two. Kendall, The Treatment of Ties in Ranking Problems, Biometrika 33, 1945; in n log n steps
/// by Knight, A Computer Method for Calculating Kendall's Tau with Ungrouped Data, JASA 61, 1966.
pub fn kendall(a: &[f64], b: &[f64]) -> Option<f64> {
    // -0 + 0 is 0: the two are tied.
    let mut pairs: Vec<(f64, f64)> = a.iter().zip(b).map(|(x, y)| (x + 0.0, y + 0.0)).collect();
    pairs.sort_by(|x, y| x.0.total_cmp(&y.0).then(x.1.total_cmp(&y.1)));
    let firsts: Vec<f64> = pairs.iter().map(|pair| pair.0).collect();
    let mut seconds: Vec<f64> = pairs.iter().map(|pair| pair.1).collect();
    let mut buffer = seconds.clone();
    let discordant = exchanges(&mut seconds, &mut buffer);
    let (tied_a, tied_b, tied_both) = (tied(&firsts), tied(&seconds), tied(&pairs));
    let all = pairs_of(pairs.len());
    let sum = (all + tied_both - tied_a - tied_b) as f64 - 2.0 * discordant as f64;
    let scale = ((all - tied_a) as f64).sqrt() * ((all - tied_b) as f64).sqrt();
    (scale > 0.0).then(|| (sum / scale).clamp(-1.0, 1.0))
}

fn pairs_of(count: usize) -> u64 {
    let count = count as u64;
    count * count.saturating_sub(1) / 2
}

/// Pairs of equals in a sorted list.
fn tied<T: PartialEq>(sorted: &[T]) -> u64 {
    sorted.chunk_by(|a, b| a == b).map(|equal| pairs_of(equal.len())).sum()
}

/// Sorts by merging, and counts the pairs that stood in the wrong order.
fn exchanges(list: &mut [f64], buffer: &mut [f64]) -> u64 {
    let middle = list.len() / 2;
    if middle == 0 {
        return 0;
    }
    let (left, right) = list.split_at_mut(middle);
    let (left_buffer, right_buffer) = buffer.split_at_mut(middle);
    let mut count = exchanges(left, left_buffer) + exchanges(right, right_buffer);
    let (mut i, mut j) = (0, 0);
    for place in buffer.iter_mut() {
        let take_right = left.get(i).is_none_or(|x| right.get(j).is_some_and(|y| y < x));
        if take_right {
            *place = right[j];
            j += 1;
            count += (left.len() - i) as u64;
        } else {
            *place = left[i];
            i += 1;
        }
    }
    list.copy_from_slice(buffer);
    count
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

    /// The definition, pair by pair.
    fn by_pairs(a: &[f64], b: &[f64]) -> Option<f64> {
        let sign = |difference: f64| if difference == 0.0 { 0.0 } else { difference.signum() };
        let (mut sum, mut untied_a, mut untied_b) = (0.0_f64, 0.0_f64, 0.0_f64);
        for i in 0..a.len() {
            for j in i + 1..a.len() {
                let (x, y) = (sign(a[i] - a[j]), sign(b[i] - b[j]));
                sum += x * y;
                untied_a += x.abs();
                untied_b += y.abs();
            }
        }
        let scale = untied_a.sqrt() * untied_b.sqrt();
        (scale > 0.0).then(|| (sum / scale).clamp(-1.0, 1.0))
    }

    proptest! {
        #[test]
        fn tau_counts_pairs(pairs in prop::collection::vec((-4i8..5, -4i8..5), 0..40)) {
            // A zero that is negative is a zero.
            let list = |number: i8| if number == -4 { -0.0 } else { f64::from(number) };
            let (a, b): (Vec<f64>, Vec<f64>) = pairs.iter().map(|&(a, b)| (list(a), list(b))).unzip();
            prop_assert_eq!(kendall(&a, &b), by_pairs(&a, &b));
        }

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
