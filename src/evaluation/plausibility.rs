//! How well word scores agree with the words that people marked, defined as ferret 0.5 does (Attanasio et al. 2023, after
//! ERASER, DeYoung et al. 2020). Pure functions.

use serde::{Deserialize, Serialize};

use crate::numerics::ranking::descending;

/// Words that count as the explanation's rationale: ferret's default.
pub const TOP: usize = 5;

/// One explanation against one rationale; each from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Plausibility {
    /// Area under the precision-recall curve of max(score, 0), trapezoids between its points as scikit-learn's
    /// `auc(recall, precision)`. Without any positive score: the share of marked words, which is what chance gives (the
    /// trapezoid of a curve of one point would reward saying nothing).
    pub auprc: f64,
    /// F1 of the [`TOP`] largest positive scores.
    pub token_f1: f64,
    /// Those in both ÷ those in either.
    pub token_iou: f64,
    /// The share of marked words: what `auprc` of a random order is on average.
    pub chance: f64,
}

/// Judges `scores` by `marked`, one entry a word each. `None` where no word or every word is marked, or the lengths differ.
pub fn plausibility(scores: &[f64], marked: &[bool]) -> Option<Plausibility> {
    let total = marked.iter().filter(|&&marked| marked).count();
    if scores.len() != marked.len() || total == 0 || total == marked.len() {
        return None;
    }
    let chance = total as f64 / marked.len() as f64;
    let positive: Vec<f64> = scores.iter().map(|score| score.max(0.0)).collect();
    let auprc = if positive.iter().all(|&score| score == 0.0) { chance } else { area(&positive, marked, total) };
    let chosen: Vec<usize> = descending(scores).into_iter().take(TOP).filter(|&index| scores[index] > 0.0).collect();
    let both = chosen.iter().filter(|&&index| marked[index]).count() as f64;
    Some(Plausibility {
        auprc,
        token_f1: 2.0 * both / (chosen.len() + total) as f64,
        token_iou: both / (chosen.len() as f64 + total as f64 - both),
        chance,
    })
}

/// From the highest threshold down: each step to a new score adds the trapezoid between the two points. The curve begins
/// at recall 0 with precision 1.
fn area(scores: &[f64], marked: &[bool], total: usize) -> f64 {
    let order = descending(scores);
    let (mut area, mut hits, mut taken) = (0.0, 0_usize, 0_usize);
    let (mut recall, mut precision) = (0.0, 1.0);
    while taken < order.len() {
        let level = scores[order[taken]];
        let same = order[taken..].iter().take_while(|&&index| scores[index] == level).count();
        hits += order[taken..taken + same].iter().filter(|&&index| marked[index]).count();
        taken += same;
        let (next_recall, next_precision) = (hits as f64 / total as f64, hits as f64 / taken as f64);
        area += (next_recall - recall) * (next_precision + precision) / 2.0;
        (recall, precision) = (next_recall, next_precision);
    }
    area
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// scikit-learn's and numpy's values: tests/golden/plausibility.py.
    #[test]
    fn equals_scikit_learn() {
        #[derive(Deserialize)]
        struct Case {
            scores: Vec<f64>,
            marked: Vec<bool>,
            auprc: f64,
            token_f1: f64,
            token_iou: f64,
        }
        let text = include_str!("../../tests/golden/values/plausibility.json");
        let cases: Vec<Case> = serde_json::from_str(text).unwrap();
        assert!(cases.len() >= 20);
        for case in cases {
            let found = plausibility(&case.scores, &case.marked).unwrap();
            for (ours, theirs) in
                [(found.auprc, case.auprc), (found.token_f1, case.token_f1), (found.token_iou, case.token_iou)]
            {
                assert!((ours - theirs).abs() < 1e-12, "{:?} {:?}: {found:?}", case.scores, case.marked);
            }
        }
    }

    #[test]
    fn the_best_and_the_worst() {
        let marked = [true, false, false, true];
        let best = plausibility(&[2.0, -1.0, 0.0, 1.0], &marked).unwrap();
        assert_eq!((best.auprc, best.token_f1, best.token_iou, best.chance), (1.0, 1.0, 1.0, 0.5));
        let worst = plausibility(&[-2.0, 1.0, 3.0, -1.0], &marked).unwrap();
        assert_eq!((worst.token_f1, worst.token_iou), (0.0, 0.0));
        assert!(worst.auprc < 0.5);
        let silent = plausibility(&[0.0, 0.0, -1.0, 0.0], &marked).unwrap();
        assert_eq!((silent.auprc, silent.token_f1), (0.5, 0.0));
    }

    #[test]
    fn nothing_to_find_is_no_number() {
        assert_eq!(plausibility(&[1.0, 2.0], &[false, false]), None);
        assert_eq!(plausibility(&[1.0, 2.0], &[true, true]), None);
        assert_eq!(plausibility(&[1.0], &[true, false]), None);
    }

    proptest! {
        #[test]
        fn bounded_and_blind_to_scale(pairs in prop::collection::vec((-3_i32..4, any::<bool>()), 2..30)) {
            let scores: Vec<f64> = pairs.iter().map(|(score, _)| f64::from(*score)).collect();
            let marked: Vec<bool> = pairs.iter().map(|(_, marked)| *marked).collect();
            let scaled: Vec<f64> = scores.iter().map(|score| score * 7.0).collect();
            let found = plausibility(&scores, &marked);
            prop_assert_eq!(found, plausibility(&scaled, &marked));
            if let Some(found) = found {
                for value in [found.auprc, found.token_f1, found.token_iou] {
                    prop_assert!((0.0..=1.0).contains(&value), "{:?}", found);
                }
                prop_assert!(found.token_iou <= found.token_f1 + 1e-12);
            }
        }
    }
}
