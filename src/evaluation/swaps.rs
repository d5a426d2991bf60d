//! Terms of one group swapped for those of another: whether the answer moves, and with it the score of the term.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::data::{Content, Item};
use super::outcome::{Record, Scores, Seen};
use super::statistics::Estimate;

/// The first stage of records that depend on groups.
const STAGE: usize = 1 << 20;

/// The stages of the records that depend on `groups` and `templates`: of the swapped texts, the filled templates, and the
/// swapped ones of these. Other groups have other stages, so that a journal never takes one run's for another's.
pub fn stages(groups: &Groups, templates: &[String]) -> [usize; 3] {
    let digest = Sha256::digest(format!("{groups:?}{templates:?}"));
    let number = digest.iter().take(3).fold(0, |number, byte| number << 8 | usize::from(*byte));
    [0, 1, 2].map(|place| STAGE + 3 * number + place)
}

/// Terms by group by category: the n-th term of a group corresponds to the n-th of the category's other groups.
pub type Groups = BTreeMap<String, BTreeMap<String, Vec<String>>>;

/// Reads a file of groups: `{"gender": {"male": ["he", "man"], "female": ["she", "woman"]}}`.
///
/// # Errors
/// No such JSON, or groups of a category that do not correspond.
pub fn groups(json: &[u8]) -> Result<Groups, String> {
    let groups: Groups = serde_json::from_slice(json)
        .map_err(|error| format!("it is no {{\"category\": {{\"group\": [\"term\", …], …}}}}: {error}"))?;
    for (category, members) in &groups {
        let lengths: BTreeSet<usize> = members.values().map(Vec::len).collect();
        if members.len() < 2 || lengths.len() != 1 || lengths.contains(&0) {
            return Err(format!("\"{category}\" needs two groups or more, each with as many terms as the others"));
        }
        let wrong = |term: &&String| term.is_empty() || term.contains(|c: char| !c.is_alphanumeric());
        if let Some(term) = members.values().flatten().find(wrong) {
            return Err(format!("\"{category}\": \"{term}\" is not one word"));
        }
    }
    Ok(groups)
}

/// A text with a group's terms swapped.
#[derive(Debug, Clone, PartialEq)]
pub struct Swap {
    /// The item it was made from.
    pub of: usize,
    pub category: String,
    pub from: String,
    pub to: String,
    /// The swapped terms, in characters: as they were, and as they are.
    places: Vec<([usize; 2], [usize; 2])>,
    pub item: Item,
}

/// Every text that has terms of a group, once for each other group of the category.
pub fn swaps(items: &[Item], groups: &Groups) -> Vec<Swap> {
    let mut all = Vec::new();
    for (of, item) in items.iter().enumerate() {
        let Content::Text { text, pair } = &item.content else { continue };
        for (category, members) in groups {
            for (from, terms) in members {
                for (to, others) in members.iter().filter(|(to, _)| *to != from) {
                    let (swapped, places) = swapped(text, terms, others);
                    if !places.is_empty() {
                        let content = Content::Text { text: swapped, pair: pair.clone() };
                        let item = Item { content, marks: None, ..item.clone() };
                        let (category, from, to) = (category.clone(), from.clone(), to.clone());
                        all.push(Swap { of, category, from, to, places, item });
                    }
                }
            }
        }
    }
    all
}

type Places = Vec<([usize; 2], [usize; 2])>;

/// Whole words alone, in any case; the new term begins with a capital where the old one does.
fn swapped(text: &str, terms: &[String], others: &[String]) -> (String, Places) {
    let characters: Vec<char> = text.chars().collect();
    let (mut out, mut places) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < characters.len() {
        let end = at + characters[at..].iter().take_while(|c| c.is_alphanumeric()).count();
        if end == at {
            out.push(characters[at]);
            at += 1;
            continue;
        }
        let word: String = characters[at..end].iter().collect();
        let other = terms.iter().position(|term| term.to_lowercase() == word.to_lowercase());
        let start = out.len();
        match other.and_then(|place| others.get(place)) {
            Some(other) => {
                let mut letters = other.chars();
                match letters.next() {
                    Some(first) if characters[at].is_uppercase() => out.extend(first.to_uppercase()),
                    first => out.extend(first),
                }
                out.extend(letters);
                places.push(([at, end], [start, out.len()]));
            }
            None => out.extend(word.chars()),
        }
        at = end;
    }
    (out.into_iter().collect(), places)
}

/// What swapping did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Swaps {
    pub pairs: Vec<PairReport>,
}

/// One group's terms in another's place.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairReport {
    pub category: String,
    pub from: String,
    pub to: String,
    /// Share of the texts whose predicted class changed.
    pub flipped: Option<Estimate>,
    /// Change of each class's probability, by label.
    pub probabilities: BTreeMap<String, Option<Estimate>>,
    /// The terms' mean score for the class predicted before, by method.
    pub terms: BTreeMap<String, TermScores>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TermScores {
    pub before: Option<Estimate>,
    pub after: Option<Estimate>,
    pub change: Option<Estimate>,
}

impl Swaps {
    /// `changed` holds the records of `swaps`, in their order by item.
    pub fn of(
        swaps: &[Swap],
        names: &[String],
        labels: &[String],
        own: &[Record],
        changed: &[Record],
        seed: u64,
    ) -> Self {
        let kinds: BTreeSet<(&str, &str, &str)> =
            swaps.iter().map(|swap| (swap.category.as_str(), swap.from.as_str(), swap.to.as_str())).collect();
        let pair = |(category, from, to): (&str, &str, &str)| {
            let rows: Vec<(&Swap, &Record, &Record)> = changed
                .iter()
                .filter_map(|after| {
                    let swap = swaps.get(after.item)?;
                    let before = own.iter().find(|record| record.item == swap.of)?;
                    ((swap.category.as_str(), swap.from.as_str(), swap.to.as_str()) == (category, from, to))
                        .then_some((swap, before, after))
                })
                .collect();
            report(category, from, to, &rows, names, labels, seed)
        };
        Self { pairs: kinds.into_iter().map(pair).collect() }
    }

    pub(super) fn markdown(&self) -> String {
        let mut page =
            String::from("## Groups\n\nEvery text that names a group, with its terms swapped for another group's.\n\n");
        page.push_str(&self.body());
        page
    }

    /// What is said of each pair of groups.
    pub(super) fn body(&self) -> String {
        let mut page = String::from(
            "Change of a class's probability, share of predictions that flipped, and by method the terms' mean score for \
             the class predicted before, as it was → as it is.\n\n",
        );
        let estimate =
            |found: &Option<Estimate>| found.as_ref().map_or_else(|| "–".to_owned(), super::markdown::estimate);
        for pair in &self.pairs {
            let count = pair.flipped.map_or(0, |found| found.n);
            let _ = writeln!(
                page,
                "- {}, {} → {}, {count} texts: flipped {}",
                pair.category,
                pair.from,
                pair.to,
                estimate(&pair.flipped)
            );
            for (label, change) in &pair.probabilities {
                let _ = writeln!(page, "  - probability of {label}: {}", estimate(change));
            }
            for (method, terms) in &pair.terms {
                let (before, after) = (estimate(&terms.before), estimate(&terms.after));
                let _ = writeln!(page, "  - {method}: {before} → {after}, change {}", estimate(&terms.change));
            }
        }
        page.push('\n');
        page
    }
}

fn report(
    category: &str,
    from: &str,
    to: &str,
    rows: &[(&Swap, &Record, &Record)],
    names: &[String],
    labels: &[String],
    seed: u64,
) -> PairReport {
    let predicted = |record: &&Record| record.seen.as_ref().and_then(|seen| seen.predicted.clone());
    let flips = rows.iter().filter_map(|(_, before, after)| {
        Some(f64::from(u8::from(predicted(before)?.index != predicted(after)?.index)))
    });
    let probability = |class: usize| {
        let changes = rows.iter().filter_map(|(_, before, after)| {
            let of = |record: &&Record| predicted(record)?.probabilities.get(class).copied();
            Some(f64::from(of(after)?) - f64::from(of(before)?))
        });
        Estimate::of(&changes.collect::<Vec<_>>(), seed)
    };
    let terms = |method: usize| {
        let pairs: Vec<[f64; 2]> = rows
            .iter()
            .filter_map(|(swap, before, after)| {
                let old: Vec<[usize; 2]> = swap.places.iter().map(|(old, _)| *old).collect();
                let new: Vec<[usize; 2]> = swap.places.iter().map(|(_, new)| *new).collect();
                Some([term_score(before, method, &old)?, term_score(after, method, &new)?])
            })
            .collect();
        let estimate = |value: fn(&[f64; 2]) -> f64| Estimate::of(&pairs.iter().map(value).collect::<Vec<_>>(), seed);
        TermScores {
            before: estimate(|[before, _]| *before),
            after: estimate(|[_, after]| *after),
            change: estimate(|[before, after]| after - before),
        }
    };
    let scored = names.iter().enumerate().map(|(place, name)| (name.clone(), terms(place)));
    PairReport {
        category: category.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        flipped: Estimate::of(&flips.collect::<Vec<_>>(), seed),
        probabilities: labels.iter().enumerate().map(|(class, label)| (label.clone(), probability(class))).collect(),
        terms: scored.filter(|(_, terms)| terms.change.is_some()).collect(),
    }
}

/// The mean score of the words that share a character with one of `places` of the first text.
fn term_score(record: &Record, method: usize, places: &[[usize; 2]]) -> Option<f64> {
    let Seen { words, .. } = record.seen.as_ref()?;
    let Some(Scores::Words(scores)) = &record.outcomes.get(method)?.scores else { return None };
    let here = words.iter().zip(scores).filter(|(word, _)| {
        word.sequence.unwrap_or(0) == 0 && places.iter().any(|[start, end]| *start < word.end && word.start < *end)
    });
    super::statistics::mean(&here.map(|(_, score)| f64::from(*score)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_swapped_and_keep_their_capital() {
        let (old, new) = (["he", "man"].map(str::to_owned), ["she", "woman"].map(str::to_owned));
        let (text, places) = swapped("He, the other man", &old, &new);
        assert_eq!(text, "She, the other woman");
        assert_eq!(places, [([0, 2], [0, 3]), ([14, 17], [15, 20])]);
        assert!(swapped("the other", &old, &new).1.is_empty());
    }

    #[test]
    fn groups_must_correspond() {
        assert!(groups(br#"{"g": {"a": ["x", "y"], "b": ["z", "w"]}}"#).is_ok());
        for (wrong, part) in [
            (r#"{"g": {"a": ["x"]}}"#, "two groups"),
            (r#"{"g": {"a": ["x"], "b": ["y", "z"]}}"#, "as many terms"),
            (r#"{"g": {"a": ["x y"], "b": ["z"]}}"#, "not one word"),
            ("[]", "it is no"),
        ] {
            let error = groups(wrong.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }
}
