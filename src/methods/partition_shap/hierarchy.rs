//! Groups of units within groups: what `partition_shap` splits the output over.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::input::segment::Segmentation;
use crate::input::units::Units;
use crate::input::{Input, TextInput, spans};

/// The setting: a rule, or the groups themselves as nested lists of unit numbers, `[[0, 1], [2, [3, 4]]]`.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Hierarchy {
    Rule(Rule),
    /// Every unit once; a group of more than two parts is shared out among them by exact Shapley values.
    Groups(Vec<Value>),
}

/// How units are grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = HierarchyRule)]
pub enum Rule {
    /// Text: halves at the strongest border nearest to the middle: texts of a pair, sentences, clauses (after a comma,
    /// semicolon, colon, dash or closing bracket, before an opening one), words, tokens.
    Clauses,
    /// Halves of as many units: a text's in order, an image's across the longer side of what is left.
    Balanced,
    /// No groups: Shapley values, for at most 12 units.
    Flat,
}

impl<'de> Deserialize<'de> for Hierarchy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let fail = |detail: &str| Err(serde::de::Error::custom(detail));
        match Value::deserialize(deserializer)? {
            Value::Array(groups) => Ok(Self::Groups(groups)),
            value => match Rule::deserialize(value) {
                Ok(rule) => Ok(Self::Rule(rule)),
                Err(_) => fail("use \"clauses\", \"balanced\", \"flat\", or nested lists of unit numbers"),
            },
        }
    }
}

/// A group and its parts, or a single unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// In order; one alone is a leaf.
    pub units: Vec<usize>,
    /// None at a leaf, else at least two.
    pub parts: Vec<usize>,
}

/// All groups; the root is the last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tree {
    pub nodes: Vec<Node>,
}

impl Tree {
    /// The number of the root; there is one unless there is no unit.
    pub fn root(&self) -> usize {
        self.nodes.len().saturating_sub(1)
    }

    fn leaf(&mut self, unit: usize) -> usize {
        self.nodes.push(Node { units: vec![unit], parts: Vec::new() });
        self.nodes.len() - 1
    }

    /// A group of `parts`; one part alone is itself.
    fn group(&mut self, parts: Vec<usize>) -> usize {
        if let [part] = *parts.as_slice() {
            return part;
        }
        let units = parts.iter().flat_map(|&part| self.nodes[part].units.clone()).collect();
        self.nodes.push(Node { units, parts });
        self.nodes.len() - 1
    }

    /// The most parts of a group.
    pub fn widest(&self) -> usize {
        self.nodes.iter().map(|node| node.parts.len()).max().unwrap_or(0)
    }

    /// The tree that `rule` makes of `units`, at least one.
    pub fn by_rule(rule: Rule, input: &Input, units: &Units) -> Self {
        let mut tree = Self::default();
        match (rule, units, input) {
            (Rule::Flat, _, _) => {
                let leaves = (0..units.len()).map(|unit| tree.leaf(unit)).collect();
                tree.group(leaves);
            }
            (Rule::Clauses, Units::Text { members, .. }, Input::Text(text)) => {
                let borders = borders(text, members);
                tree.halves_at(&borders, 0, units.len());
            }
            (_, Units::Image { segmentation, .. }, _) => {
                let places = middles(segmentation);
                tree.halves_across(&places, (0..places.len()).collect());
            }
            _ => {
                let borders = vec![0; units.len().saturating_sub(1)];
                tree.halves_at(&borders, 0, units.len());
            }
        }
        tree
    }

    /// The tree that nested lists name, over `units` units.
    ///
    /// # Errors
    /// Something that is no unit number or list, an empty list, or a unit that stands in none or in two of them.
    pub fn named(groups: &[Value], units: usize) -> Result<Self, String> {
        let mut tree = Self::default();
        let mut seen = vec![false; units];
        tree.read(groups, &mut seen)?;
        match seen.iter().position(|seen| !seen) {
            Some(unit) => Err(format!("unit {unit} stands in no group; there are {units} units")),
            None => Ok(tree),
        }
    }

    fn read(&mut self, groups: &[Value], seen: &mut [bool]) -> Result<usize, String> {
        if groups.is_empty() {
            return Err("a group is empty".to_owned());
        }
        let mut parts = Vec::with_capacity(groups.len());
        for part in groups {
            parts.push(match part {
                Value::Array(groups) => self.read(groups, seen)?,
                other => {
                    let unit = other.as_u64().and_then(|unit| usize::try_from(unit).ok());
                    let unit = unit.filter(|&unit| unit < seen.len()).ok_or_else(|| {
                        let shown: String = other.to_string().chars().take(20).collect();
                        format!("{shown} is no unit; use numbers below {} and lists of them", seen.len())
                    })?;
                    if std::mem::replace(&mut seen[unit], true) {
                        return Err(format!("unit {unit} stands in two groups"));
                    }
                    self.leaf(unit)
                }
            });
        }
        Ok(self.group(parts))
    }

    /// Splits units `from..to` at the strongest border, of equal ones that nearest to the middle.
    fn halves_at(&mut self, borders: &[usize], from: usize, to: usize) -> usize {
        if to - from < 2 {
            return self.leaf(from);
        }
        // The border before unit i is number i − 1; twice its distance from the middle.
        let off = |at: usize| (2 * at).abs_diff(from + to);
        let at = (from + 1..to).rev().max_by_key(|&at| (borders[at - 1], std::cmp::Reverse(off(at))));
        let at = at.unwrap_or(from + 1);
        let parts = vec![self.halves_at(borders, from, at), self.halves_at(borders, at, to)];
        self.group(parts)
    }

    /// Splits an image's units into halves of as many across the longer side that their middles span.
    fn halves_across(&mut self, places: &[[f64; 2]], mut units: Vec<usize>) -> usize {
        if let [unit] = *units.as_slice() {
            return self.leaf(unit);
        }
        let span = |axis: usize| {
            let along = units.iter().map(|&unit| places[unit][axis]);
            let (low, high) = along.fold((f64::MAX, f64::MIN), |(low, high), at| (low.min(at), high.max(at)));
            high - low
        };
        let axis = usize::from(span(1) > span(0));
        units.sort_by(|&a, &b| places[a][axis].total_cmp(&places[b][axis]).then(a.cmp(&b)));
        let second = units.split_off(units.len().div_ceil(2));
        let parts = vec![self.halves_across(places, units), self.halves_across(places, second)];
        self.group(parts)
    }
}

/// Mean row and column of every segment.
fn middles(segmentation: &Segmentation) -> Vec<[f64; 2]> {
    let mut sums = vec![[0.0, 0.0, 0.0]; segmentation.count];
    for (pixel, &label) in segmentation.labels.iter().enumerate() {
        let sum = &mut sums[usize::from(label)];
        sum[0] += (pixel / segmentation.cols) as f64;
        sum[1] += (pixel % segmentation.cols) as f64;
        sum[2] += 1.0;
    }
    sums.iter().map(|[rows, cols, count]| [rows / count.max(1.0), cols / count.max(1.0)]).collect()
}

const WORD: usize = 1;
const CLAUSE: usize = 2;
const SENTENCE: usize = 3;
const TEXT: usize = 4;

/// How strong the border between each unit and the next is.
fn borders(text: &TextInput, members: &[Vec<usize>]) -> Vec<usize> {
    let sentences = spans::sentences(text);
    let mut sentence_of = vec![0; text.tokens.len()];
    for (index, tokens) in sentences.members.iter().enumerate() {
        tokens.iter().for_each(|&token| sentence_of[token] = index);
    }
    let texts = [Some(&text.text), text.pair.as_ref()];
    let chars = texts.map(|text| text.map(|text| text.chars().collect::<Vec<char>>()).unwrap_or_default());
    let shown = |token: usize| {
        let token = &text.tokens[token];
        let own = chars.get(token.sequence.flatten().unwrap_or(0));
        own.and_then(|chars| chars.get(token.start..token.end)).unwrap_or_default()
    };
    let border = |(before, after): (&Vec<usize>, &Vec<usize>)| {
        let (Some(&last), Some(&first)) = (before.last(), after.first()) else { return WORD };
        if text.tokens[last].sequence != text.tokens[first].sequence {
            TEXT
        } else if sentence_of[last] != sentence_of[first] {
            SENTENCE
        } else if shown(last).iter().rev().find(|c| !c.is_whitespace()).is_some_and(|&c| ends_clause(c))
            || shown(first).iter().find(|c| !c.is_whitespace()).is_some_and(|&c| begins_clause(c))
        {
            CLAUSE
        } else if text.tokens[last].word == text.tokens[first].word {
            0
        } else {
            WORD
        }
    };
    members.iter().zip(members.iter().skip(1)).map(border).collect()
}

fn ends_clause(c: char) -> bool {
    matches!(c, ',' | ';' | ':' | '–' | '—' | ')' | ']' | '}' | '”' | '»' | '，' | '；' | '：' | '、' | '）')
}

fn begins_clause(c: char) -> bool {
    matches!(c, '(' | '[' | '{' | '“' | '«' | '（')
}

#[cfg(test)]
#[path = "hierarchy_tests.rs"]
mod tests;
