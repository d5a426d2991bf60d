//! Tests: texts made by hand.

use crate::input::text::{SpecialIds, TextInput, Token, Word};
use crate::input::{Input, Kind};
use crate::models::{About, Capabilities, Problem, Reads, Spec};

/// What a model of these labels says of itself.
pub fn spec(about: About, labels: &[&str]) -> Spec {
    Spec {
        architecture: "fake".into(),
        kind: Kind::Text,
        labels: labels.iter().map(|&label| label.to_owned()).collect(),
        about,
        problem: Problem::SingleLabel,
        hidden: 1,
        embedding: 1,
        layers: 1,
        heads: 1,
        max_positions: 64,
        vocab: 200,
        token_types: 2,
        image: None,
        reads: if about == About::Sequence { Reads::First } else { Reads::Each },
        capabilities: Capabilities::default(),
    }
}

/// `[CLS] a b … [SEP]` and, with a second text, `c d … [SEP]`: a token a word, token i has id 100 + i.
pub fn texts(first: usize, second: Option<usize>) -> Input {
    let places = std::iter::once(None)
        .chain((0..first).map(|word| Some((0, word))))
        .chain([None])
        .chain(second.into_iter().flat_map(|second| (0..second).map(|word| Some((1, word))).chain([None])));
    let token = |(index, place): (usize, Option<(usize, usize)>)| Token {
        id: 100 + index as u32,
        text: if place.is_some() { "x" } else { "[SEP]" }.into(),
        start: place.map_or(0, |(_, word)| 2 * word),
        end: place.map_or(0, |(_, word)| 2 * word + 1),
        special: place.is_none(),
        word: place.map(|(sequence, word)| sequence * first + word),
        sequence: second.map(|_| place.map(|(sequence, _)| sequence)),
    };
    let tokens: Vec<Token> = places.enumerate().map(token).collect();
    let words = first + second.unwrap_or(0);
    Input::Text(TextInput {
        text: letters(0, first),
        pair: second.map(|second| letters(first, second)),
        type_ids: tokens.iter().enumerate().map(|(index, _)| u32::from(index > first + 1)).collect(),
        original_tokens: tokens.len(),
        windows: Vec::new(),
        continuation: None,
        tokens,
        words: vec![Word { text: String::new(), start: 0, end: 0, sequence: None }; words],
        specials: SpecialIds { pad: Some(0), mask: Some(3), ..SpecialIds::default() },
        sha256: String::new(),
    })
}

/// `[CLS] a [SEP]`
pub fn input() -> Input {
    texts(1, None)
}

fn letters(from: usize, count: usize) -> String {
    let letters: Vec<String> = ('a'..='z').skip(from).take(count).map(String::from).collect();
    letters.join(" ")
}
