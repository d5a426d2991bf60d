//! Whether explanations depend on the model: Adebayo et al. 2018, as far as it goes without training. Pure functions over
//! records; who loads the randomised models is `cli`.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::outcome::{Record, Scores};
use super::statistics::{Estimate, spearman};

/// An explanation that keeps at least this much of its ranking, on average, is taken to have ignored the change.
pub const KEPT: f64 = 0.5;

/// The checks of all methods.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sanity {
    pub items: usize,
    /// What is random at each step: the head, then one layer more at a time, at last the embeddings.
    pub steps: Vec<String>,
    pub kept: f64,
    pub methods: Vec<MethodSanity>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodSanity {
    pub name: String,
    /// Spearman correlation with the model's own explanation, after each step.
    pub similarity: Vec<Option<Estimate>>,
    /// The same with the explanation of another class; none of methods without targets.
    pub other_class: Option<Estimate>,
    /// Less than [`KEPT`] is left once all weights are random; null where the method gave no scores.
    pub follows_weights: Option<bool>,
    /// Less than [`KEPT`] is the same for another class.
    pub follows_class: Option<bool>,
}

impl Sanity {
    /// `steps` holds the records with random weights, the head's first; `other_class` those of another class.
    pub fn of(
        names: &[String],
        own: &[Record],
        steps: Vec<(String, Vec<Record>)>,
        other_class: &[Record],
        seed: u64,
    ) -> Self {
        let own: HashMap<usize, &Record> = own.iter().map(|record| (record.item, record)).collect();
        let estimate = |place: usize, changed: &[Record], targeted: bool| {
            let values = changed.iter().filter_map(|record| {
                let before = own.get(&record.item)?.outcomes.get(place)?;
                let after = record.outcomes.get(place)?;
                if targeted && (before.class.is_none() || after.class.is_none()) {
                    return None;
                }
                similarity(before.scores.as_ref()?, after.scores.as_ref()?)
            });
            Estimate::of(&values.collect::<Vec<_>>(), seed)
        };
        let below = |found: Option<Estimate>| found.map(|found| found.mean < KEPT);
        let method = |(place, name): (usize, &String)| {
            let similarity: Vec<_> = steps.iter().map(|(_, records)| estimate(place, records, false)).collect();
            let other_class = estimate(place, other_class, true);
            MethodSanity {
                name: name.clone(),
                follows_weights: below(similarity.last().copied().flatten()),
                follows_class: below(other_class),
                similarity,
                other_class,
            }
        };
        Self {
            items: steps.first().map_or(0, |(_, records)| records.len()),
            kept: KEPT,
            methods: names.iter().enumerate().map(method).collect(),
            steps: steps.into_iter().map(|(name, _)| name).collect(),
        }
    }

    /// The methods that ignore the model.
    pub fn ignoring(&self) -> Vec<&str> {
        let deaf = self.methods.iter().filter(|method| method.follows_weights == Some(false));
        deaf.map(|method| method.name.as_str()).collect()
    }

    pub(super) fn markdown(&self) -> String {
        let mut page = format!(
            "## Sanity checks\n\nSpearman correlation with the model's own explanation, {} items. Weights become random from \
             the head down, one layer more a column; after the last, none is left. A method fails that keeps {} or more, \
             and its explanations then do not depend on the model. \"other class\": the same model, another class \
             explained, which stands for random labels: to shuffle the labels of a trained head is to explain other \
             classes.\n\n| method | {} | other class | weights | class |\n|---|{}---|---|---|\n",
            self.items,
            self.kept,
            self.steps.join(" | "),
            "---|".repeat(self.steps.len()),
        );
        let verdict = |follows: Option<bool>| match follows {
            Some(true) => "pass",
            Some(false) => "**fail**",
            None => "–",
        };
        let cell =
            |found: &Option<Estimate>| found.map_or_else(|| "–".to_owned(), |found| format!("{:.2}", found.mean));
        for method in self.methods.iter().filter(|method| method.follows_weights.is_some()) {
            let steps: Vec<String> = method.similarity.iter().map(cell).collect();
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} |",
                method.name,
                steps.join(" | "),
                cell(&method.other_class),
                verdict(method.follows_weights),
                verdict(method.follows_class)
            );
        }
        page.push('\n');
        page
    }
}

/// Rank correlation; 1 of equal lists, and 0 where only one of them varies: nothing of the ranking is left then.
fn similarity(before: &Scores, after: &Scores) -> Option<f64> {
    let (before, after) = (before.values(), after.values());
    if before.len() != after.len() || before.len() < 2 {
        return None;
    }
    Some(if before == after { 1.0 } else { spearman(&before, &after).unwrap_or(0.0) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::outcome::Outcome;

    fn records(scores: &[&[f32]], class: Option<usize>) -> Vec<Record> {
        let outcome =
            |scores: &&[f32]| Outcome { class, scores: Some(Scores::Words(scores.to_vec())), ..Outcome::default() };
        vec![Record { stage: 0, item: 0, seen: None, outcomes: scores.iter().map(outcome).collect() }]
    }

    #[test]
    fn who_keeps_the_ranking_ignores_the_model() {
        let names = ["deaf", "flat", "turned"].map(str::to_owned);
        let own: &[&[f32]] = &[&[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0], &[1.0, 2.0, 3.0]];
        let random: &[&[f32]] = &[&[1.0, 2.0, 3.0], &[0.0, 0.0, 0.0], &[3.0, 2.0, 1.0]];
        let other: &[&[f32]] = &[&[1.0, 2.0, 3.0], &[-1.0, -2.0, -3.0], &[1.0, 2.0, 4.0]];
        let steps = vec![("head".to_owned(), records(own, None)), ("all".to_owned(), records(random, None))];
        let found = Sanity::of(&names, &records(own, Some(1)), steps, &records(other, Some(0)), 0);
        assert_eq!(found.ignoring(), ["deaf"]);
        let classes: Vec<_> = found.methods.iter().map(|method| method.follows_class).collect();
        assert_eq!(classes, [Some(false), Some(true), Some(false)]);
        assert_eq!(found.methods[1].similarity[1].map(|found| found.mean), Some(0.0));
        assert!(
            found.markdown().contains("| deaf | 1.00 | 1.00 | 1.00 | **fail** | **fail** |"),
            "{}",
            found.markdown()
        );
    }
}
