//! What people marked: stretches of a text, boxes or a mask over an image.

use std::path::PathBuf;

use serde_json::{Map, Value};

use super::super::localisation::Corners;
use crate::input::text::Word;

/// A stretch of a text, in Unicode characters, end exclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Which text of a pair.
    pub sequence: usize,
    pub start: usize,
    pub end: usize,
}

/// A box and what its annotation calls it.
#[derive(Debug, Clone, PartialEq)]
pub struct Named {
    pub name: Option<String>,
    pub corners: Corners,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Marks {
    Spans(Vec<Span>),
    Boxes(Vec<Corners>),
    /// A picture of the image's size, marked where it is not black.
    Mask(PathBuf),
}

impl Marks {
    /// Which of `words` share a character with a marked stretch. `None` for marks of an image.
    pub fn over(&self, words: &[Word]) -> Option<Vec<bool>> {
        let Self::Spans(spans) = self else { return None };
        let marked = |word: &Word| {
            let same = |span: &&Span| span.sequence == word.sequence.unwrap_or(0);
            spans.iter().filter(same).any(|span| span.start < word.end && word.start < span.end)
        };
        Some(words.iter().map(marked).collect())
    }
}

/// The marks of a text: `rationale` (or `rationales`), and of a pair `premise_rationale` and `hypothesis_rationale`.
pub(super) fn of_text(fields: &Map<String, Value>, text: &str, pair: Option<&str>) -> Result<Option<Marks>, String> {
    let mut spans = Vec::new();
    let mut any = false;
    let keys = [
        ("rationale", 0),
        ("rationales", 0),
        ("premise_rationale", 0),
        ("hypothesis_rationale", 1),
        ("pair_rationale", 1),
    ];
    for (key, sequence) in keys {
        let Some(value) = fields.get(key).filter(|value| !value.is_null()) else { continue };
        let of = if sequence == 0 { text } else { pair.ok_or_else(|| format!("{key} without a second text"))? };
        any = true;
        for (start, end) in stretches(value, fields, of).map_err(|detail| format!("{key}: {detail}"))? {
            let length = of.chars().count();
            if start >= end || end > length {
                return Err(format!("{key}: [{start}, {end}] is no stretch of a text of {length} characters"));
            }
            spans.push(Span { sequence, start, end });
        }
    }
    Ok(any.then_some(Marks::Spans(spans)))
}

/// Pairs of start and end, or indices into `words` (objects with `start` and `end`), else into the text's words between
/// blanks.
fn stretches(value: &Value, fields: &Map<String, Value>, text: &str) -> Result<Vec<(usize, usize)>, String> {
    let list = value.as_array().ok_or("it is a list of [start, end] or of words' indices")?;
    let number = |value: &Value| value.as_u64().and_then(|number| usize::try_from(number).ok());
    let pair = |value: &Value| match value.as_array().map(Vec::as_slice) {
        Some([start, end]) => Some((number(start)?, number(end)?)),
        _ => None,
    };
    let words = || match fields.get("words").and_then(Value::as_array) {
        Some(words) => words.iter().filter_map(|word| Some((number(&word["start"])?, number(&word["end"])?))).collect(),
        None => blanks(text),
    };
    let mut known: Option<Vec<(usize, usize)>> = None;
    let stretch = |entry: &Value| {
        if let Some(found) = pair(entry) {
            return Ok(found);
        }
        let index = number(entry).ok_or_else(|| format!("{entry} is neither [start, end] nor the index of a word"))?;
        let words = known.get_or_insert_with(words);
        words.get(index).copied().ok_or_else(|| format!("there is no word {index}; there are {}", words.len()))
    };
    list.iter().map(stretch).collect()
}

/// The words between blanks, in characters.
fn blanks(text: &str) -> Vec<(usize, usize)> {
    let mut words = Vec::new();
    let mut begun = None;
    for (place, c) in text.chars().chain([' ']).enumerate() {
        match (begun, c.is_whitespace()) {
            (None, false) => begun = Some(place),
            (Some(start), true) => {
                words.push((start, place));
                begun = None;
            }
            _ => {}
        }
    }
    words
}
