//! Units as people read them: words in quotes, segments by number; and where they stand in a text.

use std::ops::Range;

use crate::input::Input;
use crate::input::text::TextInput;
use crate::input::units::{UnitKind, Units};

/// Characters of a unit's text that are shown.
const SHOWN: usize = 40;

/// The index of a unit in the list of scores that it stands in.
pub fn index(units: &Units, unit: usize) -> usize {
    match units {
        Units::Text { kind: UnitKind::Token, members } => {
            members.get(unit).and_then(|tokens| tokens.first()).copied().unwrap_or(unit)
        }
        _ => unit,
    }
}

/// A unit by name: `"gripping"`, `segment 3`.
pub fn name(input: &Input, units: &Units, unit: usize) -> String {
    let words = || {
        let text = input.as_text()?;
        let (sequence, place) = place(text, units, unit)?;
        let characters: Vec<char> =
            sequence_text(text, sequence)?.chars().skip(place.start).take(place.len()).collect();
        let shown: String = characters.iter().take(SHOWN).collect();
        Some(format!("\"{shown}{}\"", if characters.len() > SHOWN { "…" } else { "" }))
    };
    let noun = match units {
        Units::Image { kind: UnitKind::Patch, .. } => "patch",
        Units::Image { .. } => "segment",
        Units::Text { .. } => "unit",
    };
    words().unwrap_or_else(|| format!("{noun} {}", index(units, unit)))
}

/// Several by name: `"a", "b" and "c"`.
pub fn list(names: &[String]) -> String {
    match names {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Which text a unit stands in and the characters it takes there, from its first token to its last without white space
/// around.
pub fn place(text: &TextInput, units: &Units, unit: usize) -> Option<(usize, Range<usize>)> {
    let Units::Text { members, .. } = units else { return None };
    let tokens = members.get(unit)?.iter().filter_map(|&token| text.tokens.get(token));
    let sequence = tokens.clone().find_map(|token| token.sequence.flatten()).unwrap_or(0);
    let start = tokens.clone().map(|token| token.start).min()?;
    let end = tokens.map(|token| token.end).max()?;
    let characters: Vec<char> = sequence_text(text, sequence)?.chars().collect();
    let inside = characters.get(start..end.min(characters.len()))?;
    let before = inside.iter().take_while(|c| c.is_whitespace()).count();
    let after = inside.iter().rev().take_while(|c| c.is_whitespace()).count();
    Some(if before == inside.len() { (sequence, start..end) } else { (sequence, start + before..end - after) })
}

pub fn sequence_text(text: &TextInput, sequence: usize) -> Option<&str> {
    if sequence == 0 { Some(&text.text) } else { text.pair.as_deref() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::support::fake::Fake;

    #[test]
    fn names_are_the_texts_own() {
        let fake = Fake::text(3);
        assert_eq!(name(&fake.input, &fake.units(), 1), "\"w1\"");
        let tokens = Units::tokens(fake.input.as_text().unwrap());
        assert_eq!((name(&fake.input, &tokens, 1).as_str(), index(&tokens, 1)), ("\"w1\"", 2));
        let image = Fake::image(4);
        let segmentation = crate::input::segment::patches(4, 4, 2, 2);
        let units = Units::Image { kind: UnitKind::Patch, segmentation };
        assert_eq!(name(&image.input, &units, 3), "patch 3");
    }

    #[test]
    fn lists_end_in_and() {
        let names: Vec<String> = ["a", "b", "c"].map(str::to_owned).to_vec();
        assert_eq!([0, 1, 2, 3].map(|count| list(&names[..count])), ["", "a", "a and b", "a, b and c"]);
    }
}
