//! The job of a text without one of its units. Words, tokens and units keep their numbers; what the unit was made of is
//! in no mask, is no word that could be replaced, and does not stand in the text that others are proposed for.

use std::ops::Range;

use super::as_before;
use crate::input::text::{Token, Word};
use crate::input::units::{Fill, Mask, Units};
use crate::input::{Input, TextInput};
use crate::methods::support::edits;
use crate::methods::support::parts::Parts;
use crate::methods::{Ctx, Edit, Error, Masking, Splice, Variant};
use crate::nn::Precision;

pub(super) struct Without<'a> {
    ctx: &'a dyn Ctx,
    unit: usize,
    /// The text as people would read it.
    input: Input,
    /// What the tokens of the unit become.
    gone: Vec<Splice>,
    logits: Vec<f32>,
}

impl<'a> Without<'a> {
    pub fn new(ctx: &'a dyn Ctx, parts: &Parts, unit: usize) -> Result<Self, Error> {
        let (Input::Text(text), Units::Text { members, .. }) = (ctx.input(), &parts.units) else {
            return Err(Error::Missing { what: "a text without a unit" });
        };
        let members = members.get(unit).map(Vec::as_slice).unwrap_or_default();
        let mut mask = Mask::full(parts.units.len());
        mask.set(unit, false);
        let masking = Masking { units: &parts.units, fill: parts.fill, precision: Precision::F32 };
        let logits = ctx.outputs(masking, &[mask])?.pop().unwrap_or_default();
        let input = Input::Text(reduced(text, parts, unit, members));
        Ok(Self { ctx, unit, input, gone: gone(text, parts.fill, members), logits })
    }

    /// `splices` and the unit gone; one that reaches into it has no place any more.
    fn with(&self, splices: &[Splice]) -> Variant {
        let apart = |splice: &&Splice| {
            let Range { start, end } = splice.tokens;
            self.gone.iter().all(|gone| gone.tokens.end <= start || end <= gone.tokens.start)
        };
        let mut all: Vec<Splice> = splices.iter().filter(apart).chain(&self.gone).cloned().collect();
        all.sort_by_key(|splice| splice.tokens.start);
        Variant::Spliced(all)
    }
}

/// The tokens `members` deleted, or each filled.
fn gone(text: &TextInput, fill: Fill, members: &[usize]) -> Vec<Splice> {
    let id = match fill {
        Fill::Mask => text.specials.mask,
        Fill::Pad => text.specials.pad,
        Fill::Unk => text.specials.unk,
        Fill::Remove | Fill::Mean | Fill::Blur | Fill::Zero => None,
    };
    let one = |&token: &usize| Splice { tokens: token..token + 1, ids: id.into_iter().collect() };
    members.iter().map(one).collect()
}

/// The text with the unit cut out of it where it is removed, its tokens of no word.
fn reduced(text: &TextInput, parts: &Parts, unit: usize, members: &[usize]) -> TextInput {
    let edits = match parts.fill {
        Fill::Remove => edits::removed(text, &parts.units, &[unit]),
        _ => Vec::new(),
    };
    let (own, pair) = edits::applied(text, &edits);
    let word = |word: &Word| {
        let place = moved(&edits, word.sequence, word.start..word.end);
        let of = if word.sequence == Some(1) { pair.as_deref().unwrap_or_default() } else { &own };
        Word {
            text: of.chars().skip(place.start).take(place.len()).collect(),
            start: place.start,
            end: place.end,
            sequence: word.sequence,
        }
    };
    let token = |(number, token): (usize, &Token)| {
        let place = moved(&edits, token.sequence.flatten(), token.start..token.end);
        let word = token.word.filter(|_| !members.contains(&number));
        Token { start: place.start, end: place.end, word, ..token.clone() }
    };
    TextInput {
        words: text.words.iter().map(word).collect(),
        tokens: text.tokens.iter().enumerate().map(token).collect(),
        text: own.clone(),
        pair: pair.clone(),
        ..text.clone()
    }
}

/// Where characters stand once `edits` have cut some out.
fn moved(edits: &[Edit], sequence: Option<usize>, place: Range<usize>) -> Range<usize> {
    let at = |place: usize| {
        let before = edits.iter().filter(|edit| edit.sequence.unwrap_or(0) == sequence.unwrap_or(0));
        place - before.map(|edit| place.clamp(edit.start, edit.end) - edit.start).sum::<usize>()
    };
    at(place.start)..at(place.end)
}

impl Ctx for Without<'_> {
    as_before!(pass, embedding);

    fn input(&self) -> &Input {
        &self.input
    }

    fn outputs(&self, masking: Masking<'_>, masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error> {
        let mut masks = masks.to_vec();
        masks.iter_mut().for_each(|mask| mask.set(self.unit, false));
        self.ctx.outputs(masking, &masks)
    }

    fn variants(&self, variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error> {
        let without = |variant: &Variant| match (variant, self.ctx.input()) {
            (Variant::Spliced(splices), _) => Ok(self.with(splices)),
            (Variant::Ids(ids), Input::Text(text)) => {
                let other = text.tokens.iter().zip(ids).enumerate().filter(|(_, (token, id))| token.id != **id);
                let splice =
                    |(place, (_, id)): (usize, (&Token, &u32))| Splice { tokens: place..place + 1, ids: vec![*id] };
                Ok(self.with(&other.map(splice).collect::<Vec<_>>()))
            }
            _ => Err(Error::Missing { what: "other words in a text without a unit" }),
        };
        self.ctx.variants(&variants.iter().map(without).collect::<Result<Vec<_>, _>>()?)
    }
}
