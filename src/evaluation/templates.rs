//! Texts with a gap for a group's term, filled with every term: what the model makes of each group where nothing else
//! differs. The filled texts are then swapped like any others, by [`super::swaps`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;

use super::data::{Content, Item};
use super::outcome::Record;
use super::statistics::Estimate;
use super::swaps::{Groups, Swaps};

/// Filled texts at most.
const MOST: usize = 10_000;

/// A template with its gaps filled.
#[derive(Debug, Clone, PartialEq)]
pub struct Filled {
    pub item: Item,
    /// The group whose term was put in, by category.
    groups: BTreeMap<String, String>,
}

/// What templates showed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Templates {
    pub templates: Vec<String>,
    pub groups: Vec<GroupReport>,
    /// One group's terms in another's place.
    pub swaps: Swaps,
}

/// The texts that a group's terms were put into.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GroupReport {
    pub category: String,
    pub group: String,
    /// Each class's probability, by label.
    pub probabilities: BTreeMap<String, Estimate>,
    /// The share of texts for which each class is predicted, by label.
    pub predicted: BTreeMap<String, Estimate>,
}

/// Every template with every term of the categories that its gaps, `{category}`, name; of several gaps every
/// combination.
///
/// # Errors
/// A template without a gap, a gap that is no category, or too many texts.
pub fn fill(templates: &[String], groups: &Groups) -> Result<Vec<Filled>, String> {
    let mut all = Vec::new();
    for template in templates {
        let gaps = gaps(template)?;
        let mut filled = vec![(template.clone(), BTreeMap::new())];
        for gap in &gaps {
            let members = groups.get(gap).ok_or_else(|| {
                let known: Vec<&str> = groups.keys().map(String::as_str).collect();
                format!("\"{template}\": {{{gap}}} is no category of the groups ({})", known.join(", "))
            })?;
            let terms = members.iter().flat_map(|(group, terms)| terms.iter().map(move |term| (group, term)));
            let put = |(text, chosen): &(String, BTreeMap<String, String>)| {
                let with = |(group, term): (&String, &String)| {
                    let mut chosen = chosen.clone();
                    chosen.insert(gap.clone(), group.clone());
                    (text.replace(&format!("{{{gap}}}"), term), chosen)
                };
                terms.clone().map(with).collect::<Vec<_>>()
            };
            filled = filled.iter().flat_map(put).collect();
            if all.len() + filled.len() > MOST {
                return Err(format!("the templates make more than {MOST} texts; use fewer templates, gaps or terms"));
            }
        }
        all.extend(filled.into_iter().map(|(text, groups)| (template, text, groups)));
    }
    let item = |(place, (template, text, groups)): (usize, (&String, String, BTreeMap<String, String>))| Filled {
        item: Item {
            id: format!("{template} {}", place + 1),
            line: 0,
            content: Content::Text { text, pair: None },
            label: None,
            marks: None,
        },
        groups,
    };
    Ok(all.into_iter().enumerate().map(item).collect())
}

/// The names of a template's gaps.
fn gaps(template: &str) -> Result<BTreeSet<String>, String> {
    let mut gaps = BTreeSet::new();
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        let (gap, after) = after.split_once('}').ok_or_else(|| format!("\"{template}\": a {{ has no }}"))?;
        gaps.insert(gap.to_owned());
        rest = after;
    }
    if gaps.is_empty() {
        return Err(format!(
            "\"{template}\" has no gap; write a category's name in braces, as in \"{{gender}} is a doctor\""
        ));
    }
    Ok(gaps)
}

impl Templates {
    /// `records` are those of `filled`, by their place.
    pub fn of(
        templates: &[String],
        filled: &[Filled],
        labels: &[String],
        records: &[Record],
        swaps: Swaps,
        seed: u64,
    ) -> Self {
        let kinds: BTreeSet<(&String, &String)> = filled.iter().flat_map(|filled| &filled.groups).collect();
        let group = |(category, group): (&String, &String)| {
            let of_group = |record: &&Record| {
                filled.get(record.item).is_some_and(|filled| filled.groups.get(category) == Some(group))
            };
            let predicted: Vec<_> =
                records.iter().filter(of_group).filter_map(|record| record.seen.as_ref()?.predicted.as_ref()).collect();
            let estimates = |value: &dyn Fn(&super::outcome::Predicted, usize) -> Option<f64>| {
                let one = |(class, label): (usize, &String)| {
                    let values: Vec<f64> = predicted.iter().filter_map(|found| value(found, class)).collect();
                    Some((label.clone(), Estimate::of(&values, seed)?))
                };
                labels.iter().enumerate().filter_map(one).collect()
            };
            GroupReport {
                category: category.clone(),
                group: group.clone(),
                probabilities: estimates(&|found, class| found.probabilities.get(class).copied().map(f64::from)),
                predicted: estimates(&|found, class| Some(f64::from(u8::from(found.index == class)))),
            }
        };
        Self { templates: templates.to_vec(), groups: kinds.into_iter().map(group).collect(), swaps }
    }

    pub(super) fn markdown(&self) -> String {
        let mut page = String::from(
            "## Templates\n\nEach gap filled with every term of a group; nothing else differs between groups.\n\n",
        );
        for template in &self.templates {
            let _ = writeln!(page, "- {template}");
        }
        let labels: BTreeSet<&String> = self.groups.iter().flat_map(|group| group.probabilities.keys()).collect();
        let title = |label: &&String| format!("probability of {label} | share predicted {label}");
        let titles: Vec<String> = labels.iter().map(title).collect();
        let _ = writeln!(
            page,
            "\n| category | group | texts | {} |\n|---|---|---|{}",
            titles.join(" | "),
            "---|---|".repeat(titles.len())
        );
        for group in &self.groups {
            let cell = |found: Option<&Estimate>| found.map_or_else(|| "–".to_owned(), super::markdown::estimate);
            let cells: Vec<String> = labels
                .iter()
                .flat_map(|label| [cell(group.probabilities.get(*label)), cell(group.predicted.get(*label))])
                .collect();
            let texts = group.predicted.values().next().map_or(0, |found| found.n);
            let _ = writeln!(page, "| {} | {} | {texts} | {} |", group.category, group.group, cells.join(" | "));
        }
        page.push('\n');
        page.push_str(&self.swaps.body());
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::outcome::{Predicted, Seen};

    fn groups() -> Groups {
        super::super::swaps::groups(
            br#"{"person": {"a": ["man", "boy"], "b": ["woman", "girl"]}, "job": {"x": ["nurse"], "y": ["pilot"]}}"#,
        )
        .unwrap()
    }

    #[test]
    fn every_gap_gets_every_term() {
        let templates = ["the {person} and the {person} fly".to_owned(), "{person}, {job}".to_owned()];
        let filled = fill(&templates, &groups()).unwrap();
        let texts: Vec<&str> = filled
            .iter()
            .map(|filled| match &filled.item.content {
                Content::Text { text, .. } => text.as_str(),
                Content::Image(_) => "",
            })
            .collect();
        assert_eq!(texts[..4], ["man", "boy", "woman", "girl"].map(|one| format!("the {one} and the {one} fly")));
        assert_eq!(texts.len(), 4 + 8);
        assert!(texts.contains(&"girl, pilot"));
    }

    #[test]
    fn a_gap_is_a_category() {
        for (template, part) in
            [("no gap", "has no gap"), ("{age} left", "no category of the groups (job, person)"), ("{job", "has no }")]
        {
            assert!(fill(&[template.to_owned()], &groups()).unwrap_err().contains(part), "{template}");
        }
    }

    #[test]
    fn groups_are_told_apart() {
        let templates = ["the {person}".to_owned()];
        let filled = fill(&templates, &groups()).unwrap();
        let record = |item: usize| {
            let share = if item < 2 { 0.25 } else { 0.75 };
            let predicted = Predicted {
                index: usize::from(item > 1),
                label: String::new(),
                probability: None,
                probabilities: vec![1.0 - share, share],
            };
            let seen = Some(Seen { predicted: Some(predicted), ..Seen::default() });
            Record { stage: 0, item, seen, outcomes: Vec::new() }
        };
        let records: Vec<Record> = (0..4).map(record).collect();
        let labels = ["NO", "YES"].map(str::to_owned);
        let found = Templates::of(&templates, &filled, &labels, &records, Swaps { pairs: Vec::new() }, 0);
        let means: Vec<f64> = found.groups.iter().map(|group| group.probabilities["YES"].mean).collect();
        assert_eq!(means, [0.25, 0.75]);
        assert_eq!(found.groups[1].predicted["YES"].mean, 1.0);
        let page = found.markdown();
        assert!(page.contains("| person | a | 2 | 0.750 | 1.00 | 0.250 | 0 |"), "{page}");
    }
}
