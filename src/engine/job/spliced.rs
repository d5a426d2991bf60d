//! A text with other tokens in the place of some of its own. Fewer (or none) are written into the old ones' places and the
//! rest is deleted, which moves what is read as any deletion does; more stand behind a mark that rows are opened up at.

use std::ops::Range;

use crate::input::TextInput;
use crate::input::units::{Mask, UnitKind, Units};
use crate::methods::Splice;
use crate::models::{About, Content, Reads, Row, Spec};

/// Ids from here on are no token's: places where more tokens stand than there were.
const MARKS: u32 = u32::MAX - (1 << 16);

/// The text to be masked and what its rows are opened up with.
pub(super) struct Spliced {
    pub text: TextInput,
    /// One, of the tokens that are deleted; none where none is.
    pub units: Units,
    pub opened: Opened,
}

/// What stands at each mark, in the order of their numbers.
#[derive(Default)]
pub(super) struct Opened {
    ids: Vec<Vec<u32>>,
    /// Whether what is read at a mark is the last token there.
    last: bool,
}

impl Spliced {
    /// `None` where the places are none of the text's or there are too many.
    pub fn new(spec: &Spec, text: &TextInput, splices: &[Splice]) -> Option<Self> {
        let mut text = text.clone();
        let mut deleted = Vec::new();
        let last = matches!(spec.reads, Reads::Last { .. }) || spec.about == About::Next;
        let mut opened = Opened { ids: Vec::new(), last };
        for Splice { tokens, ids } in splices {
            let Range { start, end } = *tokens;
            let places = text.tokens.get_mut(start..end).filter(|places| !places.is_empty())?;
            if ids.is_empty() {
                deleted.extend(start..end);
                continue;
            }
            // All that is more stands at the first place.
            let more = (ids.len() + 1).saturating_sub(places.len()).max(1);
            let (first, rest) = ids.split_at_checked(more)?;
            let first = match first {
                &[id] => id,
                several => {
                    opened.ids.push(several.to_vec());
                    MARKS.checked_add(u32::try_from(opened.ids.len() - 1).ok()?)?
                }
            };
            let new = std::iter::once(first).chain(rest.iter().copied());
            places.iter_mut().zip(new).for_each(|(place, id)| place.id = id);
            deleted.extend(start + 1 + rest.len()..end);
        }
        let members = if deleted.is_empty() { Vec::new() } else { vec![deleted] };
        Some(Self { text, units: Units::Text { kind: UnitKind::Token, members }, opened })
    }

    /// Without what is deleted.
    pub fn mask(&self) -> Mask {
        Mask::empty(self.units.len())
    }
}

impl Opened {
    /// Puts what stands at the marks into `row`.
    pub fn open(&self, row: &mut Row) {
        let Content::Tokens { ids, type_ids } = &mut row.content else { return };
        if self.ids.is_empty() {
            return;
        }
        let (mut longer, mut types) = (Vec::with_capacity(ids.len()), Vec::with_capacity(type_ids.len()));
        let mut places = Vec::with_capacity(ids.len());
        for (place, &id) in ids.iter().enumerate() {
            let several = id.checked_sub(MARKS).and_then(|mark| self.ids.get(mark as usize));
            let begin = longer.len();
            match several {
                Some(several) => longer.extend(several),
                None => longer.push(id),
            }
            places.push(if self.last { longer.len() - 1 } else { begin });
            if let Some(&kind) = type_ids.get(place) {
                types.resize(longer.len(), kind);
            }
        }
        (*ids, *type_ids) = (longer, types);
        for at in &mut row.read {
            *at = places.get(*at).copied().unwrap_or(*at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::fake::{spec, text};

    fn made(splices: &[(Range<usize>, &[u32])], read: usize, last: bool) -> (Vec<u32>, Vec<usize>, Vec<usize>) {
        let input = text(4);
        let splices: Vec<Splice> =
            splices.iter().map(|(tokens, ids)| Splice { tokens: tokens.clone(), ids: ids.to_vec() }).collect();
        let mut spec = spec();
        if last {
            spec.reads = Reads::Last { pad: None };
        }
        let spliced = Spliced::new(&spec, input.as_text().unwrap(), &splices).unwrap();
        let Units::Text { members, .. } = &spliced.units else { panic!() };
        let deleted = members.concat();
        let there: Vec<usize> = (0..spliced.text.tokens.len()).filter(|token| !deleted.contains(token)).collect();
        let ids: Vec<u32> = there.iter().map(|&token| spliced.text.tokens[token].id).collect();
        let read = vec![there.iter().position(|&token| token == read).unwrap()];
        let mut row = Row { content: Content::Tokens { type_ids: vec![1; ids.len()], ids }, read };
        spliced.opened.open(&mut row);
        let Content::Tokens { ids, type_ids } = row.content else { panic!() };
        assert_eq!(type_ids.len(), ids.len());
        (ids, row.read, deleted)
    }

    /// `[CLS] 2 3 4 5 [SEP]` with ids 1 to 6.
    #[test]
    fn fewer_as_many_and_more_tokens_stand_in_place() {
        assert_eq!(made(&[(1..2, &[90])], 0, false), (vec![1, 90, 3, 4, 5, 6], vec![0], vec![]));
        assert_eq!(made(&[(1..4, &[90])], 5, false), (vec![1, 90, 5, 6], vec![3], vec![2, 3]));
        assert_eq!(made(&[(1..3, &[90, 91])], 5, false), (vec![1, 90, 91, 4, 5, 6], vec![5], vec![]));
        let more = made(&[(1..2, &[90, 91, 92]), (3..5, &[80, 81, 82])], 5, false);
        assert_eq!(more, (vec![1, 90, 91, 92, 3, 80, 81, 82, 6], vec![8], vec![]));
    }

    #[test]
    fn tokens_go_where_nothing_takes_their_place() {
        assert_eq!(made(&[(2..4, &[])], 5, false), (vec![1, 2, 5, 6], vec![3], vec![2, 3]));
        assert_eq!(made(&[(1..2, &[]), (3..4, &[90, 91])], 5, false), (vec![1, 3, 90, 91, 5, 6], vec![5], vec![1]));
    }

    #[test]
    fn what_is_read_at_a_longer_word_is_its_first_token_or_the_last() {
        assert_eq!(made(&[(4..5, &[90, 91])], 4, false).1, [4]);
        assert_eq!(made(&[(4..5, &[90, 91])], 4, true).1, [5]);
    }

    #[test]
    fn places_that_are_not_there_are_refused() {
        let input = text(2);
        let refused = |tokens: Range<usize>, ids: &[u32]| {
            Spliced::new(&spec(), input.as_text().unwrap(), &[Splice { tokens, ids: ids.to_vec() }]).is_none()
        };
        assert!(refused(1..9, &[1]) && refused(2..2, &[1]) && refused(2..2, &[]));
    }
}
