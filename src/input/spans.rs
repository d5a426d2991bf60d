//! Pieces of a text longer than a word, as sets of tokens: sentences, and spans that a caller names.
//!
//! Sentences are those of Unicode (UAX #29), found in the text as sent and laid over the tokens' offsets, so that they
//! need no language and no white space. `units` makes units of them.

use serde::{Deserialize, Serialize};
use unicode_segmentation::UnicodeSegmentation;

use super::text::{TextInput, Word};

/// Characters `start..end` of the first text, or of the one that `sequence` names (0 or 1), as `[start, end]` or
/// `[start, end, sequence]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<usize>", into = "Vec<usize>")]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub sequence: usize,
}

impl TryFrom<Vec<usize>> for Span {
    type Error = &'static str;
    fn try_from(numbers: Vec<usize>) -> Result<Self, Self::Error> {
        match *numbers.as_slice() {
            [start, end] => Ok(Self { start, end, sequence: 0 }),
            [start, end, sequence] => Ok(Self { start, end, sequence }),
            _ => Err("a span is [start, end], or [start, end, text] with a pair"),
        }
    }
}

impl From<Span> for Vec<usize> {
    fn from(Span { start, end, sequence }: Span) -> Self {
        if sequence == 0 { vec![start, end] } else { vec![start, end, sequence] }
    }
}

/// Why a list of spans cannot be; `index` says which one, `None` all of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanError {
    pub index: Option<usize>,
    pub detail: String,
}

/// Parts of a text that share no token.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// Token indices of each part, never none.
    pub members: Vec<Vec<usize>>,
    /// What each part is in the text as sent, without white space around it.
    pub places: Vec<Word>,
}

/// The texts of an input as characters, and which tokens each has.
struct Texts {
    chars: Vec<Vec<char>>,
    paired: bool,
}

impl Texts {
    fn new(input: &TextInput) -> Self {
        let texts = std::iter::once(&input.text).chain(&input.pair);
        Self { chars: texts.map(|text| text.chars().collect()).collect(), paired: input.pair.is_some() }
    }

    /// The characters of one text.
    fn of(&self, sequence: usize) -> &[char] {
        self.chars.get(sequence).map_or(&[], Vec::as_slice)
    }

    /// Characters `start..end` without the white space at both ends; `None` where there is nothing else.
    fn trimmed(&self, sequence: usize, start: usize, end: usize) -> Option<(usize, usize)> {
        let within = self.of(sequence).get(start..end)?;
        let first = within.iter().position(|c| !c.is_whitespace())?;
        let last = within.iter().rposition(|c| !c.is_whitespace())?;
        Some((start + first, start + last + 1))
    }

    fn place(&self, sequence: usize, start: usize, end: usize) -> Word {
        let text = self.of(sequence).get(start..end).unwrap_or_default().iter().collect();
        Word { text, start, end, sequence: self.paired.then_some(sequence) }
    }
}

/// Indices of the tokens of one text, specials left out.
fn tokens_of(input: &TextInput, sequence: usize) -> Vec<usize> {
    let own = |index: &usize| {
        let token = &input.tokens[*index];
        !token.special && token.sequence.flatten().unwrap_or(0) == sequence
    };
    (0..input.tokens.len()).filter(own).collect()
}

/// The sentences that have a token, all texts' in order. A token counts to the sentence in which its first character
/// stands that is no white space; white space alone goes to the sentence after it. Each token belongs to one.
pub fn sentences(input: &TextInput) -> Parts {
    let texts = Texts::new(input);
    let mut parts = Parts { members: Vec::new(), places: Vec::new() };
    for (sequence, text) in std::iter::once(&input.text).chain(&input.pair).enumerate() {
        let bounds = bounds(text);
        let tokens = tokens_of(input, sequence);
        let home = |&token: &usize| {
            let (start, end) = (input.tokens[token].start, input.tokens[token].end);
            let (first, _) = texts.trimmed(sequence, start, end)?;
            Some(bounds.partition_point(|&(_, end)| end <= first))
        };
        let mut homes: Vec<Option<usize>> = tokens.iter().map(home).collect();
        let mut next = homes.iter().flatten().last().copied().unwrap_or(0);
        homes.iter_mut().rev().for_each(|home| next = *home.get_or_insert(next));
        let pairs: Vec<(usize, usize)> = homes.into_iter().flatten().zip(tokens).collect();
        for group in pairs.chunk_by(|a, b| a.0 == b.0) {
            let members: Vec<usize> = group.iter().map(|&(_, token)| token).collect();
            let (start, end) = bounds.get(group[0].0).copied().unwrap_or_default();
            let (start, end) = texts.trimmed(sequence, start, end).unwrap_or((start, end));
            // A cut text's last sentence ends where its tokens do.
            let read = members.iter().map(|&token| input.tokens[token].end).max().unwrap_or(end);
            parts.places.push(texts.place(sequence, start, end.min(read).max(start)));
            parts.members.push(members);
        }
    }
    parts
}

/// Character ranges of a text's sentences, which cover all of it.
fn bounds(text: &str) -> Vec<(usize, usize)> {
    let mut start = 0;
    let range = |sentence: &str| {
        let from = start;
        start += sentence.chars().count();
        (from, start)
    };
    text.split_sentence_bounds().map(range).collect()
}

/// The spans as parts, in the order given. A token belongs to the first span (by place) that holds one of its
/// characters, white space apart; tokens in no span belong to none.
///
/// # Errors
/// A span that is empty, goes beyond its text, overlaps another, or has no token.
pub fn spans(input: &TextInput, spans: &[Span]) -> Result<Parts, SpanError> {
    let texts = Texts::new(input);
    if spans.is_empty() {
        return Err(SpanError { index: None, detail: "there is no span; name at least one".to_owned() });
    }
    for (index, span) in spans.iter().enumerate() {
        check(span, &texts).map_err(|detail| SpanError { index: Some(index), detail })?;
    }
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|&index| (spans[index].sequence, spans[index].start, spans[index].end));
    for pair in order.windows(2) {
        let (first, second) = (spans[pair[0]], spans[pair[1]]);
        if first.sequence == second.sequence && second.start < first.end {
            let (index, other) = (pair[0].max(pair[1]), pair[0].min(pair[1]));
            let detail = format!("it overlaps spans[{other}]; spans share no character");
            return Err(SpanError { index: Some(index), detail });
        }
    }
    let members = members(input, spans, &order, &texts);
    if let Some(index) = members.iter().position(Vec::is_empty) {
        let detail = "it has no token of its own: it holds only white space, a part of a token that another span \
                      holds too, or text that was cut off";
        return Err(SpanError { index: Some(index), detail: detail.to_owned() });
    }
    let places = spans.iter().map(|span| texts.place(span.sequence, span.start, span.end)).collect();
    Ok(Parts { members, places })
}

fn check(span: &Span, texts: &Texts) -> Result<(), String> {
    let Span { start, end, sequence } = *span;
    let Some(text) = texts.chars.get(sequence) else {
        return Err(match texts.paired {
            true => format!("{sequence} is no text of the pair; use 0 or 1"),
            false => format!("there is no text {sequence} without a pair; leave the third number out"),
        });
    };
    if start >= end {
        return Err(format!("it is empty; {start} must be less than {end}"));
    }
    if end > text.len() {
        return Err(format!("it ends at {end} and the text has {} characters", text.len()));
    }
    Ok(())
}

/// Tokens of each span; `order` is that of their places, in which both starts and ends grow: spans do not overlap.
fn members(input: &TextInput, spans: &[Span], order: &[usize], texts: &Texts) -> Vec<Vec<usize>> {
    let mut members = vec![Vec::new(); spans.len()];
    for (index, token) in input.tokens.iter().enumerate().filter(|(_, token)| !token.special) {
        let sequence = token.sequence.flatten().unwrap_or(0);
        let (start, end) = texts.trimmed(sequence, token.start, token.end).unwrap_or((token.start, token.end));
        // The first span that does not end before the token holds it, or none does.
        let first = order.partition_point(|&span| (spans[span].sequence, spans[span].end) <= (sequence, start));
        let Some(&span) = order.get(first) else { continue };
        if spans[span].sequence == sequence && spans[span].start < end.max(start + 1) {
            members[span].push(index);
        }
    }
    members
}

#[cfg(test)]
#[path = "spans_tests.rs"]
mod tests;
