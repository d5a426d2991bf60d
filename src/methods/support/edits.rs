//! Changes of a text as edits of its characters, and the text they make.

use std::ops::Range;

use super::naming::{place, sequence_text};
use crate::input::text::{Lexicon, TextInput};
use crate::input::units::Units;
use crate::methods::{Change, Ctx, Edit};

/// The edits that take `absent` units away, in order. White space between what goes goes with it, and before it where
/// some is left behind.
pub fn removed(text: &TextInput, units: &Units, absent: &[usize]) -> Vec<Edit> {
    let mut edits = Vec::new();
    for sequence in 0..=usize::from(text.pair.is_some()) {
        let characters: Vec<char> = sequence_text(text, sequence).unwrap_or_default().chars().collect();
        let places = absent.iter().filter_map(|&unit| place(text, units, unit));
        let mut ranges: Vec<Range<usize>> = places
            .filter(|(own, _)| *own == sequence)
            .map(|(_, range)| range)
            .filter(|range| !range.is_empty())
            .collect();
        ranges.sort_unstable_by_key(|range| range.start);
        let mut runs: Vec<Range<usize>> = Vec::new();
        for range in ranges {
            match runs.last_mut() {
                Some(last) if blank(&characters, last.end..range.start) => last.end = last.end.max(range.end),
                _ => runs.push(range),
            }
        }
        edits.extend(
            runs.into_iter().map(|run| edit(text, &characters, sequence, tidy(&characters, run), String::new())),
        );
    }
    edits
}

/// The edits that put `to` in the place of units, in order.
pub fn replaced(text: &TextInput, units: &Units, changes: &[(usize, String)]) -> Vec<Edit> {
    let edit = |(unit, to): &(usize, String)| {
        let (sequence, range) = place(text, units, *unit)?;
        let characters: Vec<char> = sequence_text(text, sequence)?.chars().collect();
        Some(edit(text, &characters, sequence, range, to.clone()))
    };
    let mut edits: Vec<Edit> = changes.iter().filter_map(edit).collect();
    edits.sort_by_key(|edit| (edit.sequence, edit.start));
    edits
}

fn edit(text: &TextInput, characters: &[char], sequence: usize, range: Range<usize>, to: String) -> Edit {
    let from = characters.get(range.clone()).unwrap_or_default().iter().collect();
    Edit { start: range.start, end: range.end, from, to, sequence: text.pair.is_some().then_some(sequence) }
}

fn blank(characters: &[char], range: Range<usize>) -> bool {
    characters.get(range).is_none_or(|between| between.iter().all(|c| c.is_whitespace()))
}

/// With the white space that would be doubled, or stand at an end.
fn tidy(characters: &[char], run: Range<usize>) -> Range<usize> {
    let white = |index: Option<usize>| index.and_then(|index| characters.get(index)).is_none_or(|c| c.is_whitespace());
    if !white(run.start.checked_sub(1)) || !white(Some(run.end)) {
        return run;
    }
    let before = characters[..run.start].iter().rev().take_while(|c| c.is_whitespace()).count();
    if before > 0 {
        return run.start - before..run.end;
    }
    let after = characters[run.end..].iter().take_while(|c| c.is_whitespace()).count();
    run.start..run.end + after
}

/// The text and its pair after `edits`, which are in order and do not overlap.
pub fn applied(text: &TextInput, edits: &[Edit]) -> (String, Option<String>) {
    let make = |sequence: usize| {
        let characters: Vec<char> = sequence_text(text, sequence)?.chars().collect();
        let (mut made, mut at) = (String::new(), 0);
        for edit in edits.iter().filter(|edit| edit.sequence.unwrap_or(0) == sequence) {
            made.extend(characters.get(at..edit.start).unwrap_or_default());
            made.push_str(&edit.to);
            at = edit.end;
        }
        made.extend(characters.get(at..).unwrap_or_default());
        Some(made)
    };
    (make(0).unwrap_or_default(), make(1))
}

/// `change` with `edits` and what they make. Warns where the changed text, sent by itself, becomes other tokens than the
/// `ids` that were evaluated.
pub fn written(ctx: &dyn Ctx, text: &TextInput, change: &mut Change, edits: Vec<Edit>, ids: &[u32]) {
    let (made, pair) = applied(text, &edits);
    let read = ctx.lexicon().and_then(|lexicon: &dyn Lexicon| lexicon.read(&made, pair.as_deref()));
    if read.is_some_and(|read| read != ids) {
        let detail = "the changed text, sent by itself, becomes other tokens than those that were evaluated, so the \
                      model may say something else of it";
        ctx.warn("retokenised", detail.to_owned());
    }
    (change.edits, change.text, change.pair) = (edits, Some(made), pair);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::Input;
    use crate::methods::support::fake::Fake;

    /// `w0 w1 w2 w3`, or with another text of the same words.
    fn input(text: &str) -> (TextInput, Units) {
        let fake = Fake::text(4);
        let units = fake.units();
        let Input::Text(mut input) = fake.input else { unreachable!() };
        input.text = text.into();
        (input, units)
    }

    #[test]
    fn removed_words_take_white_space_along() {
        let (text, units) = input("w0 w1 w2 w3");
        for (absent, left) in [
            (&[1][..], "w0 w2 w3"),
            (&[0], "w1 w2 w3"),
            (&[3], "w0 w1 w2"),
            (&[0, 1], "w2 w3"),
            (&[1, 2], "w0 w3"),
            (&[0, 2], "w1 w3"),
            (&[2, 3, 0, 1], ""),
            (&[], "w0 w1 w2 w3"),
        ] {
            let edits = removed(&text, &units, absent);
            assert_eq!(applied(&text, &edits), (left.to_owned(), None), "{absent:?}");
            for edit in &edits {
                let from: String = text.text.chars().skip(edit.start).take(edit.end - edit.start).collect();
                assert_eq!((&edit.from, edit.to.as_str()), (&from, ""));
            }
        }
        let (comma, units) = input("w0 w1,w2 w3");
        assert_eq!(applied(&comma, &removed(&comma, &units, &[1])).0, "w0 ,w2 w3");
    }

    #[test]
    fn replaced_words_stand_in_place() {
        let (text, units) = input("w0 w1 w2 w3");
        let edits = replaced(&text, &units, &[(2, "longer".into()), (0, "a".into())]);
        assert_eq!(applied(&text, &edits).0, "a w1 longer w3");
        assert_eq!((edits[1].start, edits[1].end, edits[1].from.as_str()), (6, 8, "w2"));
    }
}
