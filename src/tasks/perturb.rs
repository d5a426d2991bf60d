//! An input with some of its units away, as model rows: in id and pixel space, never by rebuilding strings.
//!
//! A task makes a [`Perturber`] once per input, units and fill; the engine then asks it for a row per mask.

use std::borrow::Cow;

use super::rows::{IMAGE, Read, Reading, Stretch, Stretches};
use crate::input::units::{Fill, Mask, Units};
use crate::input::{ImageInput, Input, TextInput};
use crate::models::{Content, Reads, Row, Spec};

/// Why an input cannot be perturbed as asked.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PerturbError {
    #[error("fill \"{fill}\" needs a {token} token and the model's tokenizer has none; use another fill")]
    MissingToken { fill: &'static str, token: &'static str },
    #[error(
        "fill \"{0}\" does not fit this kind of input; text takes \"remove\", \"mask\", \"pad\", \"unk\", images \
         \"mean\", \"blur\", \"zero\""
    )]
    WrongKind(&'static str),
}

/// Makes rows of one input with only some of its units present.
pub trait Perturber: Send + Sync {
    /// The rows with only the units of `mask` present.
    fn rows(&self, mask: &Mask) -> Vec<Row>;
    /// What the `labels` logits of every position that the rows of `mask` read are in the layout of the whole input's:
    /// −∞ at tokens that are gone.
    fn outputs<'l>(&self, _mask: &Mask, logits: &'l [f32], _labels: usize) -> Cow<'l, [f32]> {
        Cow::Borrowed(logits)
    }
}

/// Tokens that stand behind the input's own and are no part of what is explained.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    pub ids: Vec<u32>,
    pub type_ids: Vec<u32>,
}

/// The name of a fill, as callers write it.
fn name(fill: Fill) -> &'static str {
    match fill {
        Fill::Remove => "remove",
        Fill::Mask => "mask",
        Fill::Pad => "pad",
        Fill::Unk => "unk",
        Fill::Mean => "mean",
        Fill::Blur => "blur",
        Fill::Zero => "zero",
    }
}

/// Whether `fill` can be applied to `input`: it is one of the input's kind, and its token exists.
pub fn check_fill(input: &Input, fill: Fill) -> Result<(), PerturbError> {
    match (input, fill) {
        (Input::Text(text), Fill::Remove) => match text.specials.stand_in() {
            None if text.own_tokens().iter().all(|token| !token.special) => Err(NOTHING_REMAINS),
            _ => Ok(()),
        },
        (Input::Text(text), Fill::Mask | Fill::Pad | Fill::Unk) => replacement(text, fill).map(|_| ()),
        (Input::Image(_), Fill::Mean | Fill::Blur | Fill::Zero) => Ok(()),
        _ => Err(PerturbError::WrongKind(name(fill))),
    }
}

/// The perturber of an input that is one row.
pub(super) fn single_row<'a>(
    spec: &Spec,
    input: &'a Input,
    units: &'a Units,
    fill: Fill,
) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
    check_fill(input, fill)?;
    match (input, units) {
        (Input::Image(image), Units::Image { segmentation, .. }) => {
            let filled = filled_pixels(image, &segmentation.labels, segmentation.count, fill);
            Ok(Box::new(ImagePerturber { image, labels: &segmentation.labels, filled }))
        }
        _ => text_rows(spec, input, units, fill, vec![Reading::default()]),
    }
}

/// The perturber of a text that is a row for each of `readings` and windows.
pub(super) fn text_rows<'a>(
    spec: &Spec,
    input: &'a Input,
    units: &'a Units,
    fill: Fill,
    readings: Vec<Reading>,
) -> Result<Box<dyn Perturber + 'a>, PerturbError> {
    check_fill(input, fill)?;
    match (input, units) {
        (Input::Text(text), Units::Text { members, .. }) => {
            Ok(Box::new(TextPerturber::new(spec, text, members, fill, readings)?))
        }
        _ => Err(PerturbError::WrongKind(name(fill))),
    }
}

/// The id that stands in for an absent token; `None`: the token is deleted.
pub(super) fn replacement(text: &TextInput, fill: Fill) -> Result<Option<u32>, PerturbError> {
    let (token, id) = match fill {
        Fill::Mask => ("mask", text.specials.mask),
        Fill::Pad => ("pad", text.specials.pad),
        Fill::Unk => ("unk", text.specials.unk),
        Fill::Remove => return Ok(None),
        Fill::Mean | Fill::Blur | Fill::Zero => return Err(PerturbError::WrongKind(name(fill))),
    };
    id.map(Some).ok_or(PerturbError::MissingToken { fill: name(fill), token })
}

pub(super) const NOTHING_REMAINS: PerturbError =
    PerturbError::MissingToken { fill: "remove", token: "bos, unk or eos" };

struct TextPerturber<'a> {
    text: &'a TextInput,
    /// Per token: its unit; tokens of none always stay.
    unit_of: Vec<Option<usize>>,
    /// `None`: absent tokens are deleted.
    replacement: Option<u32>,
    /// What is left where deletion leaves nothing: tokenizers without specials.
    remainder: Option<u32>,
    types: bool,
    reads: Reads,
    readings: Vec<Reading>,
    windows: Stretches<'a>,
}

impl<'a> TextPerturber<'a> {
    fn new(
        spec: &Spec,
        text: &'a TextInput,
        members: &[Vec<usize>],
        fill: Fill,
        readings: Vec<Reading>,
    ) -> Result<Self, PerturbError> {
        let mut unit_of = vec![None; text.tokens.len()];
        for (unit, tokens) in members.iter().enumerate() {
            for &token in tokens {
                if let Some(slot) = unit_of.get_mut(token) {
                    *slot = Some(unit);
                }
            }
        }
        let replacement = replacement(text, fill)?;
        let remainder = text.specials.stand_in();
        let can_vanish = replacement.is_none() && unit_of.iter().all(Option::is_some);
        if can_vanish && remainder.is_none() {
            return Err(NOTHING_REMAINS);
        }
        let readings = if replacement.is_some() { together(readings) } else { readings };
        let types = spec.token_types > 0;
        let windows = Stretches::of(text);
        Ok(Self { text, unit_of, replacement, remainder, types, reads: spec.reads, readings, windows })
    }

    /// The id that stands for `token`; `None` where it is deleted.
    fn id(&self, token: usize, mask: &Mask, reading: &Reading) -> Option<u32> {
        let own = self.text.tokens.get(token)?.id;
        let present = self.unit_of.get(token)?.is_none_or(|unit| mask.contains(unit));
        let held = self.replacement.is_none() && reading.held.contains(&token);
        if present || held { Some(own) } else { self.replacement }
    }

    /// The tokens that `reading` reads in a window and that are there, each with its place among those it reads.
    fn read(&self, mask: &Mask, reading: &Reading, window: usize) -> Vec<(usize, usize)> {
        let Read::Tokens(tokens) = &reading.read else { return Vec::new() };
        let mut read = self.windows.read_in(window, tokens);
        read.retain(|&(_, token)| self.id(token, mask, reading).is_some());
        read
    }

    /// `None` where nothing is read in the window.
    fn row(&self, mask: &Mask, reading: &Reading, window: usize, stretch: &Stretch<'_>) -> Option<Row> {
        let wanted = self.read(mask, reading, window);
        if wanted.is_empty() && reading.read != Read::Row {
            return None;
        }
        let length = stretch.tokens.len() + reading.tail.ids.len();
        let mut ids = Vec::with_capacity(length);
        let mut type_ids = Vec::with_capacity(if self.types { length } else { 0 });
        let mut places = Vec::with_capacity(wanted.len());
        for (&token, &type_id) in stretch.tokens.iter().zip(stretch.type_ids) {
            let Some(id) = self.id(token, mask, reading) else { continue };
            places.push((token, ids.len()));
            ids.push(id);
            if self.types {
                type_ids.push(type_id);
            }
        }
        if ids.is_empty() {
            ids.extend(self.remainder);
            type_ids.resize(if self.types { ids.len() } else { 0 }, 0);
        }
        ids.extend(&reading.tail.ids);
        type_ids.extend(reading.tail.type_ids.iter().filter(|_| self.types));
        let tail = reading.tail.ids.iter().copied();
        let read = match &reading.read {
            // What stands in for a token does not move the position.
            Read::Row if self.replacement.is_some() => {
                let own = stretch.tokens.iter().filter_map(|&token| Some(self.text.tokens.get(token)?.id));
                vec![self.reads.position(own.chain(tail))]
            }
            Read::Row => vec![self.reads.position(ids.iter().copied())],
            Read::Tokens(_) => {
                let place = |token: usize| places.iter().find(|(at, _)| *at == token).map(|(_, place)| *place);
                wanted.iter().filter_map(|&(_, token)| place(token)).collect()
            }
        };
        Some(Row { content: Content::Tokens { ids, type_ids }, read })
    }
}

impl Perturber for TextPerturber<'_> {
    fn rows(&self, mask: &Mask) -> Vec<Row> {
        let of = |reading| {
            let windows = self.windows.list.iter().enumerate();
            windows.filter_map(move |(window, stretch)| self.row(mask, reading, window, stretch))
        };
        self.readings.iter().flat_map(of).collect()
    }

    fn outputs<'l>(&self, mask: &Mask, logits: &'l [f32], labels: usize) -> Cow<'l, [f32]> {
        if self.windows.list.len() == 1 && self.readings.iter().all(|reading| reading.read == Read::Row) {
            return Cow::Borrowed(logits);
        }
        let mut known = logits.chunks_exact(labels.max(1));
        let mut all = Vec::with_capacity(logits.len());
        for reading in &self.readings {
            let begin = all.len();
            if reading.read == Read::Row {
                all.extend(self.mean(&mut known, labels));
                continue;
            }
            all.resize(begin + reading.read.positions() * labels, f32::NEG_INFINITY);
            for window in 0..self.windows.list.len() {
                for (place, _) in self.read(mask, reading, window) {
                    if let Some(own) = known.next() {
                        all[begin + place * labels..][..labels].copy_from_slice(own);
                    }
                }
            }
        }
        Cow::Owned(all)
    }
}

impl TextPerturber<'_> {
    /// Of the next logits, one a window, each window by its share of the text.
    fn mean<'l>(&self, known: &mut impl Iterator<Item = &'l [f32]>, labels: usize) -> Vec<f32> {
        let mut sums = vec![0.0_f64; labels];
        for (stretch, own) in self.windows.list.iter().zip(known) {
            sums.iter_mut().zip(own).for_each(|(sum, &own)| *sum += stretch.share * f64::from(own));
        }
        sums.into_iter().map(|sum| sum as f32).collect()
    }
}

/// Readings of tokens that no row has to hold are one row: with ids replaced one for one, nothing moves.
fn together(readings: Vec<Reading>) -> Vec<Reading> {
    let mut all = Vec::new();
    for reading in &readings {
        match &reading.read {
            Read::Tokens(tokens) if reading.tail == Tail::default() => all.extend(tokens),
            _ => return readings,
        }
    }
    vec![Reading { read: Read::Tokens(all), ..Reading::default() }]
}

struct ImagePerturber<'a> {
    image: &'a ImageInput,
    /// Per pixel: its unit.
    labels: &'a [u16],
    /// The model's input with every unit absent: 3 × rows × cols.
    filled: Vec<f32>,
}

impl Perturber for ImagePerturber<'_> {
    fn rows(&self, mask: &Mask) -> Vec<Row> {
        let plane = self.labels.len();
        let mut pixels = self.image.pixels.clone();
        if plane > 0 {
            for (shown, filled) in pixels.chunks_exact_mut(plane).zip(self.filled.chunks_exact(plane)) {
                for ((shown, &filled), &label) in shown.iter_mut().zip(filled).zip(self.labels) {
                    if !mask.contains(usize::from(label)) {
                        *shown = filled;
                    }
                }
            }
        }
        vec![Row { content: Content::Pixels(pixels), read: vec![IMAGE] }]
    }
}

/// The model's input (3 × rows × cols, normalised) with every segment filled.
fn filled_pixels(image: &ImageInput, labels: &[u16], count: usize, fill: Fill) -> Vec<f32> {
    match fill {
        Fill::Mean => image.normalised(&segment_means(&image.rgb, labels, count)),
        Fill::Blur => image.normalised(&image.blurred()),
        _ => vec![0.0; image.pixels.len()],
    }
}

/// Every pixel in its segment's mean colour. Means are cut to whole bytes, because lime writes them into a byte image
/// and its users' numbers rest on that.
fn segment_means(rgb: &[u8], labels: &[u16], count: usize) -> Vec<f32> {
    let mut sums = vec![[0u64; 3]; count];
    let mut sizes = vec![0u64; count];
    for (colour, &label) in rgb.chunks_exact(3).zip(labels) {
        let label = usize::from(label);
        sizes[label] += 1;
        for (sum, &byte) in sums[label].iter_mut().zip(colour) {
            *sum += u64::from(byte);
        }
    }
    let means: Vec<[f32; 3]> =
        sums.iter().zip(&sizes).map(|(sum, &size)| sum.map(|sum| (sum / size.max(1)) as f32)).collect();
    labels.iter().flat_map(|&label| means[usize::from(label)]).collect()
}

#[cfg(test)]
#[path = "perturb_tests.rs"]
mod tests;
