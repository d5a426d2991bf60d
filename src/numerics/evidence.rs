//! The formulas of faithfulness, over numbers that somebody measured: averages and areas of curves, infidelity,
//! sensitivity, sparsity. What is masked and evaluated is not decided here.

/// The mean; 0 of nothing.
pub fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// How many of `units` are `percent` of them: rounded up, so that any percentage takes at least one.
pub fn share(percent: usize, units: usize) -> usize {
    (percent * units).div_ceil(100).min(units)
}

/// The area under the straight lines through (at, value), over the whole width of `at`, which ascends: the mean height of
/// the curve. The value itself where there is one point; 0 of none.
pub fn area(at: &[f64], values: &[f64]) -> f64 {
    let width = at.last().copied().unwrap_or(0.0) - at.first().copied().unwrap_or(0.0);
    if width <= 0.0 {
        return mean(values);
    }
    let piece = |(at, value): (&[f64], &[f64])| (at[1] - at[0]) * (value[0] + value[1]) / 2.0;
    at.windows(2).zip(values.windows(2)).map(piece).sum::<f64>() / width
}

/// The Gini index of the absolute scores: 0 where all are alike, towards 1 where one has everything. `None` where there
/// is none but 0. Hurley and Rickard, Comparing Measures of Sparsity, IEEE Trans. Inf. Theory 55, 2009.
pub fn gini(scores: &[f64]) -> Option<f64> {
    let mut sizes: Vec<f64> = scores.iter().map(|score| score.abs()).collect();
    sizes.sort_by(f64::total_cmp);
    let total: f64 = sizes.iter().sum();
    if total <= 0.0 {
        return None;
    }
    let count = sizes.len() as f64;
    let weighted = |(index, size): (usize, &f64)| (2.0 * index as f64 + 1.0 - count) * size;
    Some(sizes.iter().enumerate().map(weighted).sum::<f64>() / (count * total))
}

/// The mean square of what a change of the input was said to do less what it did, as it stands and with the scores
/// scaled by the factor that makes it least. `said` and `did` have one entry a change. `None` of nothing.
///
/// Yeh et al., On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019.
pub fn infidelity(said: &[f64], did: &[f64]) -> Option<(f64, f64)> {
    if said.is_empty() || said.len() != did.len() {
        return None;
    }
    let products: f64 = said.iter().zip(did).map(|(said, did)| said * did).sum();
    let squares: f64 = said.iter().map(|said| said * said).sum();
    let scale = if squares > 0.0 { products / squares } else { 1.0 };
    let off = |scale: f64| {
        let squares: f64 = said.iter().zip(did).map(|(said, did)| (scale * said - did).powi(2)).sum();
        squares / said.len() as f64
    };
    Some((off(1.0), off(scale)))
}

/// ‖scores − changed‖ / ‖scores‖, over 1 where the scores are all 0.
pub fn sensitivity(scores: &[f64], changed: &[f64]) -> f64 {
    let norm = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|number| number * number).sum::<f64>().sqrt();
    let size = norm(&mut scores.iter().copied());
    let moved = norm(&mut scores.iter().zip(changed).map(|(score, changed)| score - changed));
    moved / if size > 0.0 { size } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn any_share_takes_one() {
        let shares = |units| [1, 10, 50, 70, 100].map(|percent| share(percent, units));
        assert_eq!(shares(10), [1, 1, 5, 7, 10]);
        assert_eq!(shares(3), [1, 1, 2, 3, 3]);
        assert_eq!(shares(0), [0; 5]);
    }

    #[test]
    fn areas_are_mean_heights() {
        assert_eq!(area(&[0.0, 1.0, 4.0], &[2.0, 0.0, 0.0]), 0.25);
        assert_eq!(area(&[0.0], &[0.7]), 0.7);
        assert_eq!(area(&[], &[]), 0.0);
    }

    proptest! {
        /// The Gini index by its definition: the mean absolute difference of all pairs over twice the mean.
        #[test]
        fn gini_is_half_the_relative_mean_difference(scores in prop::collection::vec(-5.0f64..5.0, 1..20)) {
            let n = scores.len() as f64;
            let sizes: Vec<f64> = scores.iter().map(|x| x.abs()).collect();
            let differences: f64 = sizes.iter().flat_map(|a| sizes.iter().map(move |b| (a - b).abs())).sum();
            let expected = differences / (2.0 * n * sizes.iter().sum::<f64>());
            prop_assert!((gini(&scores).unwrap() - expected).abs() < 1e-12);
        }

        /// No factor does better than the one that is taken.
        #[test]
        fn the_scale_is_the_best(pairs in prop::collection::vec((-2.0f64..2.0, -2.0f64..2.0), 1..12), scale in -3.0f64..3.0) {
            let (said, did): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
            let (raw, scaled) = infidelity(&said, &did).unwrap();
            let other: Vec<f64> = said.iter().map(|said| scale * said).collect();
            prop_assert!(scaled <= raw + 1e-12 && scaled <= infidelity(&other, &did).unwrap().0 + 1e-12);
        }
    }

    #[test]
    fn nothing_is_no_number() {
        assert_eq!((gini(&[0.0; 3]), gini(&[]), infidelity(&[], &[])), (None, None, None));
        assert_eq!(infidelity(&[0.0, 0.0], &[1.0, 3.0]), Some((5.0, 5.0)));
        assert_eq!((sensitivity(&[3.0, 4.0], &[3.0, 5.0]), sensitivity(&[0.0], &[2.0])), (0.2, 2.0));
    }
}
