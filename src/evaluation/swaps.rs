//! Terms of one group swapped for those of another: whether the answer moves, and with it the score of the term.

use std::collections::{BTreeMap, BTreeSet, HashMap};
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
    places: Vec<Place>,
    pub item: Item,
}

/// A swapped term, in characters of its text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    /// Which text of a pair.
    sequence: usize,
    before: [usize; 2],
    after: [usize; 2],
}

/// Every text that has terms of a group, once for each other group of the category: in both texts of a pair.
pub fn swaps(items: &[Item], groups: &Groups) -> Vec<Swap> {
    let mut all = Vec::new();
    for (of, item) in items.iter().enumerate() {
        let Content::Text { text, pair } = &item.content else { continue };
        for (category, members) in groups {
            for (from, terms) in members {
                for (to, others) in members.iter().filter(|(to, _)| *to != from) {
                    let (text, mut places) = swapped(text, 0, terms, others);
                    let pair = pair.as_ref().map(|pair| {
                        let (pair, more) = swapped(pair, 1, terms, others);
                        places.extend(more);
                        pair
                    });
                    if !places.is_empty() {
                        let content = Content::Text { text, pair };
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

/// Whole words alone, in any case; the new term begins with a capital where the old one does.
fn swapped(text: &str, sequence: usize, terms: &[String], others: &[String]) -> (String, Vec<Place>) {
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
                places.push(Place { sequence, before: [at, end], after: [start, out.len()] });
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

/// Category, and the groups that the terms are of and become.
type Kind<'a> = (&'a str, &'a str, &'a str);
/// A swap with what was found before and after it.
type Row<'a> = (&'a Swap, &'a Record, &'a Record);

fn kind(swap: &Swap) -> Kind<'_> {
    (&swap.category, &swap.from, &swap.to)
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
        let mut kinds: BTreeMap<Kind<'_>, Vec<Row<'_>>> = swaps.iter().map(|swap| (kind(swap), Vec::new())).collect();
        let own: HashMap<usize, &Record> = own.iter().map(|record| (record.item, record)).collect();
        for after in changed {
            let Some(swap) = swaps.get(after.item) else { continue };
            if let (Some(before), Some(rows)) = (own.get(&swap.of), kinds.get_mut(&kind(swap))) {
                rows.push((swap, *before, after));
            }
        }
        let pair = |(kind, rows): (Kind<'_>, Vec<Row<'_>>)| report(kind, &rows, names, labels, seed);
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
    (category, from, to): Kind<'_>,
    rows: &[Row<'_>],
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
                let old = term_score(before, method, swap.places.iter().map(|place| (place.sequence, place.before)))?;
                let new = term_score(after, method, swap.places.iter().map(|place| (place.sequence, place.after)))?;
                Some([old, new])
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

/// The mean score of the words that share a character with one of `places`, each in one text of a pair.
fn term_score(
    record: &Record,
    method: usize,
    places: impl Iterator<Item = (usize, [usize; 2])> + Clone,
) -> Option<f64> {
    let Seen { words, .. } = record.seen.as_ref()?;
    let Some(Scores::Words(scores)) = &record.outcomes.get(method)?.scores else { return None };
    let here = words.iter().zip(scores).filter(|(word, _)| {
        let same = |(sequence, [start, end]): (usize, [usize; 2])| {
            word.sequence.unwrap_or(0) == sequence && start < word.end && word.start < end
        };
        places.clone().any(same)
    });
    super::statistics::mean(&here.map(|(_, score)| f64::from(*score)).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::outcome::Outcome;
    use crate::input::text::Word;

    #[test]
    fn whole_words_are_swapped_and_keep_their_capital() {
        let (old, new) = (["he", "man"].map(str::to_owned), ["she", "woman"].map(str::to_owned));
        let (text, places) = swapped("He, the other man", 1, &old, &new);
        assert_eq!(text, "She, the other woman");
        let place = |before, after| Place { sequence: 1, before, after };
        assert_eq!(places, [place([0, 2], [0, 3]), place([14, 17], [15, 20])]);
        assert!(swapped("the other", 0, &old, &new).1.is_empty());
    }

    /// A premise and a hypothesis that speak of the same person must go on doing so.
    #[test]
    fn both_texts_of_a_pair_are_swapped_and_scored() {
        let groups = groups(br#"{"g": {"male": ["he"], "female": ["she"]}}"#).unwrap();
        let item = |text: &str, pair: &str| Item {
            id: String::new(),
            line: 1,
            content: Content::Text { text: text.into(), pair: Some(pair.into()) },
            label: None,
            marks: None,
        };
        let items = [item("He ran.", "did he"), item("all ran", "so he ran"), item("all", "none")];
        let swaps = swaps(&items, &groups);
        let texts: Vec<&Content> = swaps.iter().map(|swap| &swap.item.content).collect();
        assert_eq!(texts, [&item("She ran.", "did she").content, &item("all ran", "so she ran").content]);
        let record = |item: usize, words: &[(usize, usize, usize)], scores: &[f32]| {
            let word = |&(sequence, start, end): &(usize, usize, usize)| Word {
                text: String::new(),
                start,
                end,
                sequence: Some(sequence),
            };
            let seen = Some(Seen { words: words.iter().map(word).collect(), ..Seen::default() });
            let outcome = Outcome { scores: Some(Scores::Words(scores.to_vec())), ..Outcome::default() };
            Record { stage: 0, item, seen, outcomes: vec![outcome] }
        };
        let own = [
            record(0, &[(0, 0, 2), (0, 3, 6), (1, 0, 3), (1, 4, 6)], &[1.0, 90.0, 90.0, 3.0]),
            record(1, &[(0, 0, 3), (0, 4, 7), (1, 0, 2), (1, 3, 5), (1, 6, 9)], &[90.0, 90.0, 90.0, 5.0, 90.0]),
        ];
        let changed = [
            record(0, &[(0, 0, 3), (0, 4, 7), (1, 0, 3), (1, 4, 7)], &[2.0, 90.0, 90.0, 4.0]),
            record(1, &[(0, 0, 3), (0, 4, 7), (1, 0, 2), (1, 3, 6), (1, 7, 10)], &[90.0, 90.0, 90.0, 6.0, 90.0]),
        ];
        let found = Swaps::of(&swaps, &["lime".to_owned()], &[], &own, &changed, 0);
        let terms = &found.pairs[0].terms["lime"];
        let means = [&terms.before, &terms.after].map(|found| found.map(|found| (found.mean, found.n)));
        assert_eq!(means, [Some((3.5, 2)), Some((4.5, 2))]);
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
