//! Windows over a text that is longer than its model: overlapping stretches, each with the tokenizer's template around
//! it, as transformers' `return_overflowing_tokens` makes them.
//!
//! `processor` cuts them, `tasks` makes a row of each and puts together what the rows say.

use std::ops::Range;

use tokenizers::Encoding;
use tokenizers::utils::truncation::TruncationDirection;

use super::TextInput;

/// Of a window's room, one in this many tokens is the window's before it as well.
const OVERLAP: usize = 4;
/// Windows with room for less would read a long text token by token.
const LEAST_ROOM: usize = 8;

/// What the model reads at once of a longer input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Which of the input's tokens stand there, in the order read.
    pub tokens: Vec<usize>,
    /// One per token of the window.
    pub type_ids: Vec<u32>,
    /// The input's tokens that the window is a stretch of; its other tokens stand in every window.
    pub stretch: Range<usize>,
}

impl TextInput {
    /// Per token the window that it is read in: of those it stands in, the one where its distance to the nearer end is
    /// largest, the first of equals. Tokens of every window are read in the first.
    pub fn readers(&self) -> Vec<usize> {
        let context = |window: &Window, token: usize| {
            let Range { start, end } = window.stretch;
            (start..end).contains(&token).then(|| (token - start).min(end - 1 - token))
        };
        let reader = |token: usize| {
            let mut best: Option<(usize, usize)> = None;
            for (place, window) in self.windows.iter().enumerate() {
                if let Some(context) = context(window, token)
                    && best.is_none_or(|(most, _)| context > most)
                {
                    best = Some((context, place));
                }
            }
            best.map_or(0, |(_, place)| place)
        };
        (0..self.tokens.len()).map(reader).collect()
    }

    /// How much of the input each window stands for: the share of the cut text's tokens that are read in it. They sum
    /// to 1.
    pub fn shares(&self) -> Vec<f64> {
        let mut read = vec![0_usize; self.windows.len()];
        let cut = self.windows.first().map_or(0, |window| window.stretch.start)
            ..self.windows.last().map_or(0, |window| window.stretch.end);
        for (&reader, _) in self.readers().iter().zip(0..).filter(|(_, token)| cut.contains(token)) {
            read[reader] += 1;
        }
        let all = read.iter().sum::<usize>().max(1) as f64;
        read.into_iter().map(|read| read as f64 / all).collect()
    }

    /// Rows that the input is read in, and the tokens that they have together beyond the input's own.
    pub fn reread(&self) -> (usize, usize) {
        let tokens: usize = self.windows.iter().map(|window| window.tokens.len()).sum();
        (self.windows.len().max(1), tokens.saturating_sub(self.tokens.len()))
    }
}

/// `long` in stretches of `room` tokens, each beginning with the last quarter of the one before. `None`: there is no
/// room for windows.
pub(super) fn stretches(mut long: Encoding, room: usize) -> Option<Vec<(Range<usize>, Encoding)>> {
    if room < LEAST_ROOM {
        return None;
    }
    let overlap = room / OVERLAP;
    long.truncate(room, overlap, TruncationDirection::Right);
    let rest = long.take_overflowing();
    let begin = |(index, part): (usize, Encoding)| {
        let start = index * (room - overlap);
        (start..start + part.len(), part)
    };
    Some(std::iter::once(long).chain(rest).enumerate().map(begin).collect())
}

/// Where the tokens of a template's result stand: its specials, and each text's.
pub(super) struct Places {
    specials: Vec<usize>,
    texts: [Vec<usize>; 2],
}

impl Places {
    pub fn of(encoding: &Encoding) -> Self {
        let mut places = Self { specials: Vec::new(), texts: [Vec::new(), Vec::new()] };
        for (index, text) in texts_of(encoding).enumerate() {
            match text {
                Some(text) => places.texts[text].push(index),
                None => places.specials.push(index),
            }
        }
        places
    }

    /// The window that `part` is, whose text `cut` is the stretch `range` of the whole's. `None` where its template is
    /// another than the whole's.
    pub fn window(&self, part: &Encoding, cut: usize, range: &Range<usize>, types: bool) -> Option<Window> {
        let mut next = [0, 0];
        next[cut] = range.start;
        let mut special = 0;
        let mut tokens = Vec::with_capacity(part.len());
        for text in texts_of(part) {
            let (counter, places) = match text {
                Some(text) => (&mut next[text], &self.texts[text]),
                None => (&mut special, &self.specials),
            };
            tokens.push(*places.get(*counter)?);
            *counter += 1;
        }
        let whole = next[cut] == range.end && next[1 - cut] == self.texts[1 - cut].len();
        let first = *self.texts[cut].get(range.start)?;
        (whole && special == self.specials.len()).then(|| Window {
            type_ids: if types { part.get_type_ids().to_vec() } else { vec![0; tokens.len()] },
            tokens,
            stretch: first..first + range.len(),
        })
    }
}

/// Per token the text (0 or 1) that it is of; `None` at the template's own.
fn texts_of(encoding: &Encoding) -> impl Iterator<Item = Option<usize>> + '_ {
    let sequences = encoding.get_sequence_ids();
    let text = move |(index, &special): (usize, &u32)| {
        (special == 0).then(|| sequences.get(index).copied().flatten().unwrap_or(0).min(1))
    };
    encoding.get_special_tokens_mask().iter().enumerate().map(text)
}
