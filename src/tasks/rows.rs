//! What the model reads of an input: one row, or several (a row a label, a window of a long text), and how the rows'
//! logits make the input's own.
//!
//! Tasks say in [`Reading`]s what they read; here that becomes rows, each with the input's tokens that stand in it, and
//! a [`Composition`], which is linear, so that gradients go back through it.

use std::borrow::Cow;

use super::Tail;
use crate::input::{Input, TextInput};
use crate::models::{Content, Row, Spec};

/// The one position of an image.
pub(super) const IMAGE: usize = 0;

/// One reading of a text: what it reads, what it keeps, what follows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    pub read: Read,
    /// Tokens that deletion leaves where they are; their units' other tokens go.
    pub held: Vec<usize>,
    pub tail: Tail,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Read {
    /// The position of the row that stands for all of it, whatever is deleted; of several windows the mean of theirs,
    /// each by its share of the text.
    #[default]
    Row,
    /// Tokens of the input, wherever deletion moves them; of several windows in the one with most context.
    Tokens(Vec<usize>),
}

/// A row and the tokens of the input that stand in it.
#[derive(Debug, Clone, PartialEq)]
pub struct InputRow {
    pub row: Row,
    /// Text: which of the input's tokens stand at the row's first positions; what follows is the task's own.
    pub tokens: Vec<usize>,
}

/// The rows of an input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rows {
    pub rows: Vec<InputRow>,
    /// Of the logits at the positions that the rows read, row after row.
    pub composition: Composition,
}

impl Rows {
    /// An input that is one row: an image.
    fn image(pixels: &[f32]) -> Self {
        let row = Row { content: Content::Pixels(pixels.to_vec()), read: vec![IMAGE] };
        Self { rows: vec![InputRow { row, tokens: Vec::new() }], composition: Composition::default() }
    }

    /// The rows of `text` for `readings`; rows that nothing is read in are left out.
    pub(super) fn of_text(spec: &Spec, text: &TextInput, readings: &[Reading]) -> Self {
        let stretches = Stretches::of(text);
        let (mut rows, mut terms, mut from, mut to) = (Vec::new(), Vec::new(), 0, 0);
        for reading in readings {
            for (window, stretch) in stretches.list.iter().enumerate() {
                let read: Vec<usize> = match &reading.read {
                    Read::Row => {
                        terms.push(Term { from, to, weight: stretch.share });
                        let ids = stretch.tokens.iter().filter_map(|&token| Some(text.tokens.get(token)?.id));
                        vec![spec.reads.position(ids.chain(reading.tail.ids.iter().copied()))]
                    }
                    Read::Tokens(tokens) => {
                        let here = stretches.read_in(window, tokens);
                        terms.extend(here.iter().enumerate().map(|(index, &(place, _))| Term {
                            from: from + index,
                            to: to + place,
                            weight: 1.0,
                        }));
                        let position = |&(_, token): &(usize, usize)| stretch.tokens.iter().position(|&at| at == token);
                        here.iter().filter_map(position).collect()
                    }
                };
                if read.is_empty() {
                    continue;
                }
                from += read.len();
                rows.push(stretch.row(spec, text, &reading.tail, read));
            }
            to += reading.read.positions();
        }
        Self { rows, composition: Composition::new(from, to, terms) }
    }

    /// Of the whole input as one row, or one a window.
    pub(super) fn whole(spec: &Spec, input: &Input) -> Self {
        match input {
            Input::Text(text) => Self::of_text(spec, text, &[Reading::default()]),
            Input::Image(image) => Self::image(&image.pixels),
        }
    }

    /// The rows that feed a composed position that `wanted` says yes to, as indices.
    pub fn feeding(&self, wanted: &dyn Fn(usize) -> bool) -> Vec<usize> {
        let mut next = 0;
        let feeds = |row: &InputRow| {
            let positions = next..next + row.row.read.len();
            next = positions.end;
            self.composition.feeds(positions, wanted)
        };
        let feeds: Vec<bool> = self.rows.iter().map(feeds).collect();
        feeds.into_iter().enumerate().filter(|(_, feeds)| *feeds).map(|(row, _)| row).collect()
    }
}

impl Read {
    /// How many positions it makes.
    pub fn positions(&self) -> usize {
        match self {
            Self::Row => 1,
            Self::Tokens(tokens) => tokens.len(),
        }
    }
}

/// `to` takes `weight` of `from`; both count positions.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Term {
    from: usize,
    to: usize,
    weight: f64,
}

/// A linear map from the positions that rows read to those of the input.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Composition {
    from: usize,
    to: usize,
    /// None where positions are the input's already.
    terms: Vec<Term>,
}

impl Composition {
    fn new(from: usize, to: usize, terms: Vec<Term>) -> Self {
        let same = from == to && terms.iter().all(|term| term.from == term.to && term.weight == 1.0);
        Self { from, to, terms: if same { Vec::new() } else { terms } }
    }

    /// Whether the positions that rows read are the input's.
    pub fn is_the_inputs(&self) -> bool {
        self.terms.is_empty()
    }

    /// The input's logits from those of all positions read.
    pub fn apply<'l>(&self, logits: &'l [f32]) -> Cow<'l, [f32]> {
        self.through(logits, self.from, self.to, |term| (term.from, term.to))
    }

    /// d value / d the rows' logits from d value / d the input's.
    pub fn back<'l>(&self, cotangent: &'l [f32]) -> Cow<'l, [f32]> {
        self.through(cotangent, self.to, self.from, |term| (term.to, term.from))
    }

    fn through<'l>(
        &self,
        values: &'l [f32],
        from: usize,
        to: usize,
        ends: impl Fn(&Term) -> (usize, usize),
    ) -> Cow<'l, [f32]> {
        if self.terms.is_empty() {
            return Cow::Borrowed(values);
        }
        let labels = values.len() / from.max(1);
        let mut sums = vec![0.0_f64; to * labels];
        for term in &self.terms {
            let (from, to) = ends(term);
            let own = values.get(from * labels..(from + 1) * labels).unwrap_or_default();
            for (sum, &value) in sums.iter_mut().skip(to * labels).zip(own) {
                *sum += term.weight * f64::from(value);
            }
        }
        Cow::Owned(sums.into_iter().map(|sum| sum as f32).collect())
    }

    fn feeds(&self, positions: std::ops::Range<usize>, wanted: &dyn Fn(usize) -> bool) -> bool {
        match self.terms.is_empty() {
            true => positions.into_iter().any(wanted),
            false => self.terms.iter().any(|term| positions.contains(&term.from) && wanted(term.to)),
        }
    }
}

/// The windows of a text; one that is all of it where it has none.
pub(super) struct Stretches<'a> {
    pub list: Vec<Stretch<'a>>,
    /// Per token the window that it is read in; empty where there is one.
    readers: Vec<usize>,
}

/// What stands in one row of the input's tokens.
pub(super) struct Stretch<'a> {
    pub tokens: Cow<'a, [usize]>,
    pub type_ids: &'a [u32],
    /// Of the whole text.
    pub share: f64,
}

impl<'a> Stretches<'a> {
    pub fn of(text: &'a TextInput) -> Self {
        if text.windows.is_empty() {
            let tokens = (0..text.tokens.len()).collect();
            let whole = Stretch { tokens: Cow::Owned(tokens), type_ids: &text.type_ids, share: 1.0 };
            return Self { list: vec![whole], readers: Vec::new() };
        }
        let stretch = |(window, share): (&'a crate::input::text::Window, f64)| Stretch {
            tokens: Cow::Borrowed(&window.tokens),
            type_ids: &window.type_ids,
            share,
        };
        Self { list: text.windows.iter().zip(text.shares()).map(stretch).collect(), readers: text.readers() }
    }

    /// The window that `token` is read in.
    pub fn reader(&self, token: usize) -> usize {
        self.readers.get(token).copied().unwrap_or(0)
    }

    /// Those of `tokens` that are read in window `window`, each with its place among them.
    pub fn read_in(&self, window: usize, tokens: &[usize]) -> Vec<(usize, usize)> {
        let here = |token: usize| self.readers.is_empty() || self.readers.get(token) == Some(&window);
        tokens.iter().copied().enumerate().filter(|&(_, token)| here(token)).collect()
    }
}

impl Stretch<'_> {
    fn row(&self, spec: &Spec, text: &TextInput, tail: &Tail, read: Vec<usize>) -> InputRow {
        let own = self.tokens.iter().filter_map(|&token| Some(text.tokens.get(token)?.id));
        let types = self.type_ids.iter().chain(&tail.type_ids).copied();
        let content = Content::Tokens {
            ids: own.chain(tail.ids.iter().copied()).collect(),
            type_ids: types.filter(|_| spec.token_types > 0).collect(),
        };
        InputRow { row: Row { content, read }, tokens: self.tokens.to_vec() }
    }
}

#[cfg(test)]
#[path = "rows_tests.rs"]
mod tests;
