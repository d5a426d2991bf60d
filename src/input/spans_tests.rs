//! Tests of `spans`: where sentences end, and which spans are refused.

use proptest::prelude::*;

use super::*;
use crate::input::text::{SpecialIds, Token};

/// Tokens are the given pieces, found in the texts one after another; each text stands between two specials.
fn input(text: &str, pair: Option<&str>, pieces: [&[&str]; 2]) -> TextInput {
    let token = |text: &str, start, end, special: bool, sequence| Token {
        id: 5,
        text: text.into(),
        start,
        end,
        special,
        word: None,
        sequence: pair.map(|_| sequence),
    };
    let mut tokens = vec![token("[CLS]", 0, 0, true, None)];
    for (sequence, (text, pieces)) in std::iter::once(text).chain(pair).zip(pieces).enumerate() {
        let mut from = 0;
        for piece in pieces {
            let at = from + text[from..].find(piece).unwrap();
            from = at + piece.len();
            let (start, end) = (text[..at].chars().count(), text[..from].chars().count());
            tokens.push(token(piece, start, end, false, Some(sequence)));
        }
        tokens.push(token("[SEP]", 0, 0, true, None));
    }
    TextInput {
        windows: Vec::new(),
        continuation: None,
        text: text.into(),
        pair: pair.map(str::to_owned),
        type_ids: vec![0; tokens.len()],
        original_tokens: tokens.len(),
        tokens,
        words: Vec::new(),
        specials: SpecialIds::default(),
        sha256: String::new(),
    }
}

fn alone(text: &str, pieces: &[&str]) -> TextInput {
    input(text, None, [pieces, &[]])
}

fn shown(parts: &Parts) -> Vec<String> {
    let place =
        |(word, members): (&Word, &Vec<usize>)| format!("{}@{}..{} {members:?}", word.text, word.start, word.end);
    parts.places.iter().zip(&parts.members).map(place).collect()
}

#[test]
fn sentences_are_unicodes_and_cover_every_token() {
    let text = "  It was good. Dr. Who\u{2019}s 3.5 stars!  Truly?";
    let found = sentences(&alone(text, &["It", "was", "good", ".", "Dr", ".", "Who", "stars", "!", "Truly", "?"]));
    assert_eq!(
        shown(&found),
        [
            "It was good.@2..14 [1, 2, 3, 4]",
            "Dr.@15..18 [5, 6]",
            "Who\u{2019}s 3.5 stars!@19..35 [7, 8, 9]",
            "Truly?@37..43 [10, 11]"
        ]
    );
}

#[test]
fn sentences_need_no_spaces_and_no_words() {
    let found = sentences(&alone("映画は良い。音楽も好き。", &["映画", "は", "良い", "。音", "楽も", "好き", "。"]));
    // A token across the border counts where it begins.
    assert_eq!(shown(&found), ["映画は良い。@0..6 [1, 2, 3, 4]", "音楽も好き。@6..12 [5, 6, 7]"]);
}

#[test]
fn white_space_goes_to_the_sentence_behind_it() {
    let found = sentences(&alone("One. Two. ", &["One", ".", " Two", ".", " "]));
    assert_eq!(shown(&found), ["One.@0..4 [1, 2]", "Two.@5..9 [3, 4, 5]"]);
    let found = sentences(&alone("One. Two.", &["One", ".", " ", "Two", "."]));
    assert_eq!(found.members, [vec![1, 2], vec![3, 4, 5]]);
}

#[test]
fn a_cut_sentence_ends_with_its_tokens() {
    let found = sentences(&alone("One. Two three four.", &["One", ".", "Two", "three"]));
    assert_eq!(shown(&found), ["One.@0..4 [1, 2]", "Two three@5..14 [3, 4]"]);
}

#[test]
fn pairs_have_sentences_of_both() {
    let found = sentences(&input("One. Two.", Some("Three."), [&["One", ".", "Two", "."], &["Three", "."]]));
    assert_eq!(found.members, [vec![1, 2], vec![3, 4], vec![6, 7]]);
    assert_eq!(found.places.iter().map(|place| place.sequence).collect::<Vec<_>>(), [Some(0), Some(0), Some(1)]);
}

#[test]
fn nothing_has_no_sentence() {
    assert_eq!(sentences(&alone("", &[])).members.len(), 0);
    assert_eq!(sentences(&alone("  ", &[])).members.len(), 0);
}

fn span(start: usize, end: usize) -> Span {
    Span { start, end, sequence: 0 }
}

#[test]
fn spans_take_the_tokens_they_touch() {
    let text = alone("a gripping film", &["a", " grip", "ping", " film"]);
    let found = spans(&text, &[span(11, 15), span(0, 3)]).unwrap();
    assert_eq!(shown(&found), ["film@11..15 [4]", "a g@0..3 [1, 2]"]);
    // The space before a token belongs to no span by itself.
    assert_eq!(spans(&text, &[span(0, 2)]).unwrap().members, [vec![1]]);
}

#[test]
fn spans_that_cannot_be_are_refused() {
    let refused = |given: &[Span]| {
        let error = spans(&alone("a gripping film", &["a", "gripping"]), given).unwrap_err();
        (error.index, error.detail)
    };
    for (given, index, says) in [
        (vec![], None, "at least one"),
        (vec![span(0, 1), span(3, 3)], Some(1), "empty"),
        (vec![span(4, 2)], Some(0), "empty"),
        (vec![span(0, 16)], Some(0), "15 characters"),
        (vec![span(2, 6), span(0, 3)], Some(1), "overlaps spans[0]"),
        (vec![span(0, 1), span(0, 1)], Some(1), "overlaps spans[0]"),
        (vec![span(2, 4), span(4, 10)], Some(1), "no token"),
        (vec![span(1, 2)], Some(0), "no token"),
        (vec![span(11, 15)], Some(0), "cut off"),
        (vec![Span { sequence: 1, ..span(0, 1) }], Some(0), "without a pair"),
    ] {
        let (found, detail) = refused(&given);
        assert_eq!(found, index, "{given:?}");
        assert!(detail.contains(says), "{detail}");
    }
    let pair = input("a", Some("b c"), [&["a"], &["b", "c"]]);
    let found = spans(&pair, &[Span { sequence: 1, ..span(0, 3) }, span(0, 1)]).unwrap();
    assert_eq!(found.members, [vec![3, 4], vec![1]]);
    assert!(spans(&pair, &[Span { sequence: 2, ..span(0, 1) }]).unwrap_err().detail.contains("use 0 or 1"));
}

#[test]
fn spans_are_written_as_lists() {
    let read = |json: &str| serde_json::from_str::<Span>(json);
    assert_eq!(read("[3, 9]").unwrap(), span(3, 9));
    assert_eq!(serde_json::to_string(&[span(3, 9), Span { sequence: 1, ..span(0, 1) }]).unwrap(), "[[3,9],[0,1,1]]");
    for bad in ["[1]", "[1, 2, 0, 4]", "[-1, 2]", "7"] {
        assert!(read(bad).is_err(), "{bad}");
    }
}

proptest! {
    /// Tokens in turn against spans in turn, as the rule says it.
    #[test]
    fn spans_take_what_the_rule_gives_them(cuts in prop::collection::btree_set(0usize..24, 2..8), odd in any::<bool>()) {
        let text = alone("ab cdef g hi jklm no pqrs", &["ab", "cd", "ef", " g", " h", "i", "jklm", " no", "pq", "rs"]);
        let cuts: Vec<usize> = cuts.into_iter().collect();
        let mut given: Vec<Span> = cuts.windows(2).skip(usize::from(odd)).map(|pair| span(pair[0], pair[1])).collect();
        given.reverse();
        let texts = Texts::new(&text);
        let mut expected = vec![Vec::new(); given.len()];
        for (index, token) in text.tokens.iter().enumerate().filter(|(_, token)| !token.special) {
            let (start, end) = texts.trimmed(0, token.start, token.end).unwrap();
            let held = given.iter().enumerate().rev().find(|(_, span)| span.start < end && start < span.end);
            held.into_iter().for_each(|(span, _)| expected[span].push(index));
        }
        if let Ok(found) = spans(&text, &given) {
            prop_assert_eq!(found.members, expected);
        }
    }

    #[test]
    fn any_text_has_each_token_in_one_sentence(words in prop::collection::vec("[a-zA-Z.!?。,é😀\\n]{1,6}", 0..12)) {
        let text = words.join(" ");
        let pieces: Vec<&str> = words.iter().map(String::as_str).collect();
        let text = alone(&text, &pieces);
        let found = sentences(&text);
        let members: Vec<usize> = found.members.concat();
        prop_assert_eq!(members, (1..=words.len()).collect::<Vec<_>>());
        prop_assert!(found.members.iter().all(|members| !members.is_empty()));
        prop_assert!(found.places.windows(2).all(|pair| pair[0].end <= pair[1].start));
    }
}
