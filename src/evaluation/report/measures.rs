//! Which of the numbers that an answer's `faithfulness` holds are measures: means of counts, indices and places on an axis
//! would say nothing.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::outcome::Outcome;

/// What is no measure, by its path; all below it neither.
const NO_MEASURES: [&str; 5] = ["output", "target", "units", "unmeasured", "evaluations"];
/// The counts at which an explanation's own curves are taken.
const TAKEN: &str = "curves.taken";
/// What stands on the axis of these counts.
const OVER_TAKEN: &str = "curves.";

/// The measures of one explanation by their path (`sparsity`, `eraser.aopc_sufficiency`), and `faithfulness`, comprehensiveness
/// less sufficiency.
pub(super) fn numbers(found: &Map<String, Value>) -> BTreeMap<String, f64> {
    let mut numbers: BTreeMap<String, f64> =
        leaves(found).into_iter().filter_map(|(path, value)| Some((path, number(value)?))).collect();
    let both = numbers.get("aopc_comprehensiveness").zip(numbers.get("aopc_sufficiency"));
    if let Some(score) = both.map(|(comprehensiveness, sufficiency)| comprehensiveness - sufficiency) {
        numbers.insert("faithfulness".to_owned(), score);
    }
    numbers
}

/// The means, point by point, of the lists of numbers that are equally long in all explanations, those over counts of units
/// where all have the same counts.
pub(super) fn curves<'a>(explained: impl Iterator<Item = &'a Outcome>) -> BTreeMap<String, Vec<f64>> {
    let mut all: BTreeMap<String, Vec<Vec<f64>>> = BTreeMap::new();
    for (path, value) in explained.filter_map(|outcome| outcome.faithfulness.as_ref()).flat_map(leaves) {
        let Some(points) = value.as_array() else { continue };
        all.entry(path).or_default().push(points.iter().filter_map(number).collect());
    }
    let uneven = |lists: &[Vec<f64>]| lists.windows(2).any(|pair| pair[0] != pair[1]);
    let no_axis = all.get(TAKEN).is_none_or(|taken| uneven(taken));
    let mean = |(path, lists): (String, Vec<Vec<f64>>)| {
        let length = lists.first()?.len();
        let even = length > 0 && lists.iter().all(|list| list.len() == length);
        let point = |place: usize| lists.iter().map(|list| list[place]).sum::<f64>() / lists.len() as f64;
        let shown = even && !(no_axis && path.starts_with(OVER_TAKEN));
        shown.then(|| (path, (0..length).map(point).collect()))
    };
    all.into_iter().filter_map(mean).collect()
}

/// An answer's numbers are f32; a journal's may be read with their last bit of f64 changed.
fn number(value: &Value) -> Option<f64> {
    value.as_f64().map(|number| f64::from(number as f32))
}

/// What is in no object any more, by its path.
fn leaves(found: &Map<String, Value>) -> Vec<(String, &Value)> {
    let mut all = Vec::new();
    let measures = found.iter().filter(|(name, _)| !NO_MEASURES.contains(&name.as_str()));
    let mut open: Vec<(String, &Value)> = measures.map(|(name, value)| (name.clone(), value)).collect();
    while let Some((path, value)) = open.pop() {
        match value {
            Value::Object(inner) => open.extend(inner.iter().map(|(name, value)| (format!("{path}.{name}"), value))),
            value => all.push((path, value)),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explain::Faithfulness;
    use crate::explain::faithfulness::{Bins, Curves, Unmeasured};
    use crate::tasks::{OutputSpace, Target};

    fn found(units: usize) -> Map<String, Value> {
        let (taken, list): (Vec<usize>, Vec<f32>) = ((0..=units).collect(), vec![0.5; units + 1]);
        let faithfulness = Faithfulness {
            output: OutputSpace::Probability,
            target: Some(Target::class("YES", 1)),
            units,
            fractions: vec![0.5, 1.0],
            comprehensiveness: vec![0.25, units as f32],
            sufficiency: vec![0.5, 0.0],
            aopc_comprehensiveness: 0.75,
            aopc_sufficiency: 0.25,
            eraser: Bins {
                fractions: vec![0.01],
                comprehensiveness: vec![0.125],
                sufficiency: vec![0.25],
                aopc_comprehensiveness: 0.125,
                aopc_sufficiency: 0.25,
            },
            curves: Curves { taken, deletion: list.clone(), insertion: list },
            deletion_auc: 0.1,
            insertion_auc: 0.9,
            loo_correlation: None,
            infidelity: Some(0.0),
            infidelity_scaled: Some(0.0),
            max_sensitivity: None,
            sparsity: Some(0.5),
            unmeasured: vec![Unmeasured { measure: "loo_correlation".into(), reason: "one unit".into() }],
            evaluations: 40,
        };
        match serde_json::to_value(faithfulness).unwrap() {
            Value::Object(found) => found,
            _ => unreachable!(),
        }
    }

    /// All that an answer has: a measure that is new there is seen here.
    #[test]
    fn measures_have_their_paths_and_nothing_else_is_one() {
        let numbers = numbers(&found(3));
        assert_eq!(
            numbers.keys().map(String::as_str).collect::<Vec<_>>(),
            [
                "aopc_comprehensiveness",
                "aopc_sufficiency",
                "deletion_auc",
                "eraser.aopc_comprehensiveness",
                "eraser.aopc_sufficiency",
                "faithfulness",
                "infidelity",
                "infidelity_scaled",
                "insertion_auc",
                "sparsity",
            ]
        );
        assert_eq!((numbers["faithfulness"], numbers["eraser.aopc_sufficiency"]), (0.5, 0.25));
        assert_eq!(numbers["deletion_auc"], f64::from(0.1_f32));
    }

    #[test]
    fn curves_are_means_over_one_axis() {
        let of = |units: &[usize]| {
            let outcomes: Vec<Outcome> =
                units.iter().map(|&units| Outcome { faithfulness: Some(found(units)), ..Outcome::default() }).collect();
            curves(outcomes.iter())
        };
        let over_shares = [
            "comprehensiveness",
            "eraser.comprehensiveness",
            "eraser.fractions",
            "eraser.sufficiency",
            "fractions",
            "sufficiency",
        ];
        let different = of(&[2, 4]);
        assert_eq!(different.keys().map(String::as_str).collect::<Vec<_>>(), over_shares);
        assert_eq!(different["comprehensiveness"], [0.25, 3.0]);
        let same = of(&[2, 2]);
        assert_eq!(same.len(), over_shares.len() + 3);
        assert_eq!((&same["curves.taken"], &same["curves.deletion"]), (&vec![0.0, 1.0, 2.0], &vec![0.5; 3]));
    }
}
