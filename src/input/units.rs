//! Units: the parts of an input that a black-box method switches on and off, and the masks over them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::segment::Segmentation;
use super::spans::{self, Span, SpanError};
use super::text::TextInput;

/// What one unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum UnitKind {
    Word,
    Token,
    Sentence,
    Span,
    Segment,
    Patch,
}

/// What an absent unit becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fill {
    /// Text: its token ids are deleted, positions renumbered without gaps.
    Remove,
    /// Text: ids replaced one for one by the mask token.
    Mask,
    /// Text: by the pad token.
    Pad,
    /// Text: by the unknown token.
    Unk,
    /// Images: each segment's own mean colour.
    Mean,
    /// Images: the image under a Gaussian blur, σ = 10 % of the shorter side.
    Blur,
    /// Images: zero after normalisation.
    Zero,
}

/// The units of one input, numbered from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Units {
    /// Token indices of each unit; specials belong to none.
    Text { kind: UnitKind, members: Vec<Vec<usize>> },
    /// Pixels of each unit.
    Image { kind: UnitKind, segmentation: Segmentation },
}

impl Units {
    pub fn words(input: &TextInput) -> Self {
        let mut members = vec![Vec::new(); input.words.len()];
        for (index, token) in input.tokens.iter().enumerate() {
            if let Some(tokens) = token.word.and_then(|word| members.get_mut(word)) {
                tokens.push(index);
            }
        }
        Self::Text { kind: UnitKind::Word, members }
    }

    pub fn tokens(input: &TextInput) -> Self {
        let members = input.tokens.iter().enumerate().filter(|(_, t)| !t.special).map(|(i, _)| vec![i]).collect();
        Self::Text { kind: UnitKind::Token, members }
    }

    /// The sentences of Unicode (UAX #29).
    pub fn sentences(input: &TextInput) -> Self {
        Self::Text { kind: UnitKind::Sentence, members: spans::sentences(input).members }
    }

    /// The parts of a text that a caller names; what is in none of them always stays.
    ///
    /// # Errors
    /// A span that is empty, goes beyond its text, overlaps another, or has no token.
    pub fn spans(input: &TextInput, named: &[Span]) -> Result<Self, SpanError> {
        Ok(Self::Text { kind: UnitKind::Span, members: spans::spans(input, named)?.members })
    }

    pub fn len(&self) -> usize {
        match self {
            Self::Text { members, .. } => members.len(),
            Self::Image { segmentation, .. } => segmentation.count,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Which units are present, as a bit set; two masks are equal when the same units are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mask(Box<[u64]>);

impl Mask {
    pub fn full(units: usize) -> Self {
        let mut mask = Self::empty(units);
        for unit in 0..units {
            mask.set(unit, true);
        }
        mask
    }

    pub fn empty(units: usize) -> Self {
        Self(vec![0; units.div_ceil(64)].into_boxed_slice())
    }

    pub fn contains(&self, unit: usize) -> bool {
        self.0[unit / 64] >> (unit % 64) & 1 == 1
    }

    pub fn set(&mut self, unit: usize, present: bool) {
        let bit = 1 << (unit % 64);
        if present {
            self.0[unit / 64] |= bit;
        } else {
            self.0[unit / 64] &= !bit;
        }
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    /// How many units are present.
    pub fn count(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mask_is_a_set() {
        for units in [0, 1, 63, 64, 65, 130] {
            let mut mask = Mask::full(units);
            assert_eq!(mask.count(), units);
            for unit in 0..units {
                assert!(mask.contains(unit));
                mask.set(unit, false);
                assert!(!mask.contains(unit));
            }
            assert_eq!(mask, Mask::empty(units));
        }
    }

    #[test]
    fn masks_are_ordered_and_equal_by_their_units() {
        let mut mask = Mask::empty(70);
        mask.set(69, true);
        mask.set(3, true);
        let mut other = Mask::full(70);
        (0..70).filter(|unit| ![3, 69].contains(unit)).for_each(|unit| other.set(unit, false));
        assert_eq!(mask, other);
        assert!(Mask::empty(70) < mask);
    }
}
