//! How far methods agree: rank correlation and overlap of the top quarter, each pair over all items that both explain.

use serde::{Deserialize, Serialize};

use super::super::outcome::{GridScores, Record, Scores};
use super::super::statistics::{mean, quarter, spearman, top_overlap};

/// Pairs of methods; a row and a column each. Null where no item has scores of both.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    pub names: Vec<String>,
    /// Mean Spearman correlation of the scores. Where one of two methods never gives a negative score, magnitudes are
    /// compared.
    pub rank: Vec<Vec<Option<f64>>>,
    /// Mean share of the units in the top quarter of both, chance 0.25, by the same scores.
    pub top: Vec<Vec<Option<f64>>>,
}

impl Agreement {
    pub(super) fn of(names: &[String], records: &[Record]) -> Self {
        let count = names.len();
        let scored: Vec<usize> =
            (0..count).filter(|&place| records.iter().any(|record| scores(record, place).is_some())).collect();
        let signed: Vec<bool> = scored
            .iter()
            .map(|&place| {
                let found = records.iter().filter_map(|record| scores(record, place));
                found.flat_map(Scores::values).any(|score| score < 0.0)
            })
            .collect();
        let pair = |a: usize, b: usize| compared(records, (scored[a], signed[a]), (scored[b], signed[b]));
        let all: Vec<Vec<(Option<f64>, Option<f64>)>> =
            (0..scored.len()).map(|a| (0..scored.len()).map(|b| pair(a.min(b), a.max(b))).collect()).collect();
        Self {
            names: scored.iter().filter_map(|&place| names.get(place).cloned()).collect(),
            rank: all.iter().map(|row| row.iter().map(|(rank, _)| *rank).collect()).collect(),
            top: all.iter().map(|row| row.iter().map(|(_, top)| *top).collect()).collect(),
        }
    }
}

fn scores(record: &Record, place: usize) -> Option<&Scores> {
    record.outcomes.get(place)?.scores.as_ref()
}

fn compared(records: &[Record], a: (usize, bool), b: (usize, bool)) -> (Option<f64>, Option<f64>) {
    let (mut ranks, mut tops) = (Vec::new(), Vec::new());
    for record in records {
        let (Some(first), Some(second)) = (scores(record, a.0), scores(record, b.0)) else { continue };
        let (mut first, mut second) = common(first, second);
        if !(a.1 && b.1) {
            first.iter_mut().chain(&mut second).for_each(|score| *score = score.abs());
        }
        ranks.extend(spearman(&first, &second));
        tops.extend(top_overlap(&first, &second, quarter(first.len())));
    }
    (mean(&ranks), mean(&tops))
}

/// Two lists over the same units: of two grids the coarser one is read at the middles of the finer one's cells.
fn common(a: &Scores, b: &Scores) -> (Vec<f64>, Vec<f64>) {
    match (a, b) {
        (Scores::Grid(a), Scores::Grid(b)) if (a.rows, a.cols) != (b.rows, b.cols) => {
            let (rows, cols) = (a.rows.max(b.rows), a.cols.max(b.cols));
            (stretched(a, rows, cols), stretched(b, rows, cols))
        }
        _ => (a.values(), b.values()),
    }
}

fn stretched(grid: &GridScores, rows: usize, cols: usize) -> Vec<f64> {
    let at = |index: usize, of: usize, size: usize| (2 * index + 1) * size / (2 * of.max(1));
    let cell = |row, col| grid.values.get(at(row, rows, grid.rows) * grid.cols + at(col, cols, grid.cols));
    (0..rows)
        .flat_map(|row| (0..cols).map(move |col| (row, col)))
        .map(|(row, col)| cell(row, col).map_or(0.0, |score| f64::from(*score)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::outcome::Outcome;

    fn record(scores: [Option<&[f32]>; 2]) -> Record {
        let outcome = |scores: Option<&[f32]>| Outcome {
            scores: scores.map(|scores| Scores::Words(scores.to_vec())),
            ..Outcome::default()
        };
        Record { stage: 0, item: 0, seen: None, outcomes: scores.map(outcome).into() }
    }

    #[test]
    fn unsigned_methods_are_compared_by_magnitude() {
        let names = ["a", "b"].map(str::to_owned);
        let records = [record([Some(&[-3.0, 1.0, 2.0]), Some(&[3.0, 1.0, 2.0])]), record([Some(&[1.0]), None])];
        let found = Agreement::of(&names, &records);
        assert_eq!(found.rank, [[Some(1.0), Some(1.0)], [Some(1.0), Some(1.0)]]);
        let records = [record([Some(&[-3.0, 1.0, 2.0]), Some(&[3.0, -1.0, 2.0])])];
        assert_eq!(Agreement::of(&names, &records).rank[0][1], Some(-0.5));
    }

    #[test]
    fn methods_without_scores_are_left_out() {
        let found = Agreement::of(&["a", "b"].map(str::to_owned), &[record([Some(&[1.0, 2.0]), None])]);
        assert_eq!((found.names.as_slice(), found.top), (&["a".to_owned()][..], vec![vec![Some(1.0)]]));
    }

    #[test]
    fn grids_of_two_sizes_meet_at_the_finer_one() {
        let coarse = GridScores { rows: 1, cols: 2, values: vec![1.0, 2.0] };
        assert_eq!(stretched(&coarse, 2, 4), [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]);
    }
}
