//! Which words push a class, on average over the texts in which it is explained.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::outcome::{Record, Scores};
use super::super::statistics::Estimate;

/// Texts a word must stand in to be listed.
const LEAST: usize = 3;
/// Words listed at each end.
const LISTED: usize = 12;

/// One method's words for one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WordPushes {
    pub method: String,
    pub class: String,
    /// The largest mean score first.
    pub towards: Vec<Push>,
    /// The smallest first; below 0 alone.
    pub away: Vec<Push>,
}

/// A word, in lower case, and its score, the mean of a text's places first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Push {
    pub word: String,
    pub score: Estimate,
}

/// For every method that scores words with a sign or without, and every class that is explained.
pub(super) fn pushes(names: &[String], labels: &[String], records: &[Record], seed: u64) -> Vec<WordPushes> {
    let mut all = Vec::new();
    for (place, method) in names.iter().enumerate() {
        for (class, label) in labels.iter().enumerate() {
            let words = collected(records, place, class);
            let listed = words.into_iter().filter(|(_, scores)| scores.len() >= LEAST);
            let mut listed: Vec<Push> =
                listed.filter_map(|(word, scores)| Some(Push { word, score: Estimate::of(&scores, seed)? })).collect();
            listed.sort_by(|a, b| b.score.mean.total_cmp(&a.score.mean).then_with(|| a.word.cmp(&b.word)));
            let towards: Vec<Push> = listed.iter().filter(|push| push.score.mean > 0.0).take(LISTED).cloned().collect();
            let away: Vec<Push> = listed.into_iter().rev().filter(|push| push.score.mean < 0.0).take(LISTED).collect();
            if !towards.is_empty() || !away.is_empty() {
                all.push(WordPushes { method: method.clone(), class: label.clone(), towards, away });
            }
        }
    }
    all
}

/// Every word's mean score in each text whose explained class is `class`.
fn collected(records: &[Record], place: usize, class: usize) -> BTreeMap<String, Vec<f64>> {
    let mut words: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for record in records {
        let (Some(outcome), Some(seen)) = (record.outcomes.get(place), &record.seen) else { continue };
        let Some(Scores::Words(scores)) = &outcome.scores else { continue };
        if outcome.class != Some(class) {
            continue;
        }
        let mut here: BTreeMap<String, (f64, usize)> = BTreeMap::new();
        for (word, score) in seen.words.iter().zip(scores) {
            let word = word.text.to_lowercase();
            if word.chars().any(char::is_alphanumeric) {
                let (sum, count) = here.entry(word).or_default();
                *sum += f64::from(*score);
                *count += 1;
            }
        }
        for (word, (sum, count)) in here {
            words.entry(word).or_default().push(sum / count as f64);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::outcome::{Outcome, Seen};
    use crate::input::text::Word;

    #[test]
    fn words_push_the_class_that_is_explained() {
        let record = |item: usize, class: usize| {
            let word = |text: &str| Word { text: text.into(), start: 0, end: 1, sequence: None };
            let seen = Seen { words: ["Good", "bad", "."].map(word).into(), ..Seen::default() };
            let scores = Some(Scores::Words(vec![1.0, -2.0, 9.0]));
            let outcome = Outcome { class: Some(class), scores, ..Outcome::default() };
            Record { stage: 0, item, seen: Some(seen), outcomes: vec![outcome] }
        };
        let records: Vec<Record> = (0..4).map(|item| record(item, usize::from(item > 2))).collect();
        let labels = ["NEG", "POS"].map(str::to_owned);
        let found = pushes(&["lime".to_owned()], &labels, &records, 0);
        assert_eq!(found.len(), 1, "one text is too few for the second class");
        let words = |pushes: &[Push]| pushes.iter().map(|push| push.word.clone()).collect::<Vec<_>>();
        assert_eq!(
            (found[0].class.as_str(), words(&found[0].towards), words(&found[0].away)),
            ("NEG", vec!["good".to_owned()], vec!["bad".to_owned()])
        );
    }
}
