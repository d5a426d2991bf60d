//! How far candidates say the same.

use super::trial::{Entry, Trial};
use crate::methods::{Agreement, Attribution};
use crate::numerics::ranking;

/// Foremost units that are compared.
const FOREMOST: usize = 5;

/// Words of a text, or cells of an image: what every method has.
fn common(attribution: &Attribution) -> Option<Vec<f64>> {
    let scores = &attribution.scores;
    let list = scores.words.clone().or_else(|| scores.grid.as_ref().map(|rows| rows.concat()))?;
    Some(list.into_iter().map(f64::from).collect())
}

/// How alike two lists are.
type Compare<'a> = &'a dyn Fn(&[f64], &[f64]) -> Option<f64>;

/// The candidates that were run, two by two.
pub fn of(entries: &[Entry], trials: &[Trial], target: usize) -> Agreement {
    let ran = entries.iter().zip(trials).filter_map(|(entry, trial)| Some((entry.method, common(trial.of(target)?)?)));
    let ran: Vec<(&str, Vec<f64>)> = ran.collect();
    let k = ran.iter().map(|(_, list)| list.len()).max().unwrap_or(0).min(FOREMOST);
    let table = |compare: Compare<'_>| {
        let entry = |a: &[f64], b: &[f64]| compare(a, b).filter(|_| a.len() == b.len()).map(|number| number as f32);
        ran.iter().map(|(_, a)| ran.iter().map(|(_, b)| entry(a, b)).collect()).collect()
    };
    Agreement {
        methods: ran.iter().map(|(method, _)| (*method).to_owned()).collect(),
        rank_correlation: table(&ranking::kendall),
        k,
        overlap: table(&|a, b| Some(ranking::overlap(a, b, k))),
    }
}
