//! What a request's masks gave, so that equal masks are evaluated once however many methods ask.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::input::Input;
use crate::input::units::{Fill, Mask, Units};
use crate::methods::Masking;
use crate::nn::Precision;

/// Logits by mask.
pub type Shelf = HashMap<Mask, Box<[f32]>>;

/// Bytes of masks and logits kept at most: a hundred thousand masks of a thousand labels would be 400 MB, and as many of
/// fifty thousand units 600.
const MOST_BYTES: usize = 32 << 20;

/// A shelf for each way of taking units away. A request has few, so they are searched one by one.
#[derive(Debug, Default)]
pub struct Memo {
    shelves: Vec<((Units, Fill, Precision), Shelf)>,
    bytes: usize,
}

impl Memo {
    /// The shelf of a way of masking, made where there is none.
    pub fn shelf(&mut self, masking: Masking<'_>) -> &mut Shelf {
        let Masking { units, fill, precision } = masking;
        let same =
            |(own, with, numbers): &(Units, Fill, Precision)| (*with, *numbers) == (fill, precision) && own == units;
        let index = self.shelves.iter().position(|(key, _)| same(key)).unwrap_or_else(|| {
            self.shelves.push(((units.clone(), fill, precision), Shelf::new()));
            self.shelves.len() - 1
        });
        &mut self.shelves[index].1
    }

    /// Takes over what `other` knows, while there is room. The fewer masks go to the more: jobs beside one another hand on
    /// what all of them evaluated.
    pub fn join(&mut self, mut other: Self) {
        let turned = self.bytes < other.bytes;
        if turned {
            std::mem::swap(self, &mut other);
        }
        for ((units, fill, precision), shelf) in other.shelves {
            let mut bytes = self.bytes;
            let own = self.shelf(Masking { units: &units, fill, precision });
            for (mask, logits) in shelf {
                let size = mask.bytes() + size_of_val(&*logits);
                match own.entry(mask) {
                    Entry::Occupied(mut known) if turned => _ = known.insert(logits),
                    Entry::Vacant(place) if bytes + size <= MOST_BYTES => {
                        bytes += size;
                        place.insert(logits);
                    }
                    _ => {}
                }
            }
            self.bytes = bytes;
        }
    }

    /// Keeps what `mask` gave while there is room; what comes later goes to `beyond` and is computed again where it is
    /// asked for again, with the same bits.
    pub fn keep(&mut self, masking: Masking<'_>, mask: &Mask, logits: &[f32], beyond: &mut Shelf) {
        let size = mask.bytes() + size_of_val(logits);
        let room = self.bytes + size <= MOST_BYTES;
        if room {
            self.bytes += size;
        }
        let shelf = if room { self.shelf(masking) } else { beyond };
        shelf.insert(mask.clone(), logits.into());
    }
}

/// How long the rows of `mask` will be, to sort by before any row is made: only removal changes a length.
pub fn whole_tokens(input: &Input, units: &Units, fill: Fill, mask: &Mask) -> usize {
    match (input, units) {
        (Input::Text(text), Units::Text { members, .. }) if fill == Fill::Remove => {
            let absent = members.iter().enumerate().filter(|(unit, _)| !mask.contains(*unit));
            text.tokens.len().saturating_sub(absent.map(|(_, tokens)| tokens.len()).sum())
        }
        (Input::Text(text), _) => text.tokens.len(),
        (Input::Image(_), _) => 1,
    }
}

/// Tokens in front of the first that `mask` takes away.
pub fn shared_tokens(units: &Units, mask: &Mask) -> usize {
    let Units::Text { members, .. } = units else { return 0 };
    let absent = members.iter().enumerate().filter(|(unit, _)| !mask.contains(*unit));
    absent.flat_map(|(_, tokens)| tokens).copied().min().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::units::UnitKind;

    #[test]
    fn what_there_is_no_room_for_goes_beyond() {
        let units = Units::Text { kind: UnitKind::Word, members: vec![vec![0], vec![1]] };
        let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
        let (mut memo, mut beyond) = (Memo::default(), Shelf::new());
        let (first, second) = (Mask::empty(2), Mask::full(2));
        let half = vec![0.0; MOST_BYTES / 8 + 1];
        memo.keep(masking, &first, &half, &mut beyond);
        memo.keep(masking, &second, &half, &mut beyond);
        assert!(memo.shelf(masking).contains_key(&first));
        assert!(!memo.shelf(masking).contains_key(&second) && beyond.contains_key(&second));
    }

    #[test]
    fn what_others_know_is_known() {
        let units = Units::Text { kind: UnitKind::Word, members: vec![vec![0], vec![1]] };
        let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
        let (mut own, mut other) = (Memo::default(), Memo::default());
        own.keep(masking, &Mask::empty(2), &[1.0], &mut Shelf::new());
        other.keep(masking, &Mask::empty(2), &[2.0], &mut Shelf::new());
        other.keep(masking, &Mask::full(2), &[3.0], &mut Shelf::new());
        other.keep(Masking { fill: Fill::Pad, ..masking }, &Mask::full(2), &[4.0], &mut Shelf::new());
        let bytes = own.bytes;
        own.join(other);
        assert_eq!(&*own.shelf(masking)[&Mask::empty(2)], &[1.0]);
        assert_eq!(&*own.shelf(masking)[&Mask::full(2)], &[3.0]);
        assert_eq!((own.shelves.len(), own.bytes), (2, 3 * bytes));
    }

    #[test]
    fn masks_take_room_too() {
        let count = MOST_BYTES * 4;
        let units = Units::Text { kind: UnitKind::Word, members: vec![Vec::new()] };
        let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
        let (mut memo, mut beyond) = (Memo::default(), Shelf::new());
        let mut second = Mask::empty(count);
        second.set(1, true);
        memo.keep(masking, &Mask::empty(count), &[0.0], &mut beyond);
        memo.keep(masking, &second, &[0.0], &mut beyond);
        assert!(beyond.len() == 1 && beyond.contains_key(&second));
    }
}
