//! Which words of a text can be replaced, and by what: neighbours in the model's own embedding table, or what a masked
//! language model would write in their place.

use std::ops::Range;

use crate::input::TextInput;
use crate::input::text::{Lexicon, Like, Word, is_word};
use crate::methods::support::lexical::{self, Query};
use crate::methods::support::naming::sequence_text;
use crate::methods::{Ctx, Error};
use crate::models::About;
use crate::nn;

/// A word and what can stand in its place.
pub(super) struct Place {
    /// Index in `input.words`.
    pub word: usize,
    /// Indices in `input.tokens`.
    pub tokens: Range<usize>,
    pub options: Vec<Replacement>,
}

/// A word that can stand in a place.
pub(super) struct Replacement {
    pub text: String,
    pub ids: Vec<u32>,
    /// From the word that it stands for: the least is preferred.
    pub distance: f64,
}

/// The words whose tokens may become others: not those of several tokens of which the model is asked at one.
fn free(ctx: &dyn Ctx, text: &TextInput) -> Vec<(usize, Range<usize>)> {
    let read: Vec<usize> = match ctx.spec().about {
        // What follows a prompt is read behind it, whatever its tokens.
        About::Next => Vec::new(),
        _ => ctx.targets().iter().filter_map(|target| ctx.task().reading(target)).collect(),
    };
    let mut words = lexical::words(text);
    words.retain(|(_, tokens)| tokens.len() == 1 || read.iter().all(|read| !tokens.contains(read)));
    words
}

/// Each word with the `count` words of the vocabulary nearest to it by cosine, of several tokens to their mean.
pub(super) fn neighbours(
    ctx: &dyn Ctx,
    text: &TextInput,
    lexicon: &dyn Lexicon,
    count: usize,
) -> Result<Vec<Place>, Error> {
    let all: Vec<u32> = text.ids().collect();
    let (mut places, mut likes) = (Vec::new(), Vec::new());
    for (word, tokens) in free(ctx, text) {
        if let Some(like) = lexicon.vocabulary().like(all.get(tokens.clone()).unwrap_or_default()) {
            places.push(Place { word, tokens, options: Vec::new() });
            likes.push(like);
        }
    }
    let own: Vec<u32> = places.iter().flat_map(|place| all[place.tokens.clone()].iter().copied()).collect();
    if own.is_empty() {
        return Ok(places);
    }
    let vectors = ctx.vectors(&own)?;
    let width = (vectors.len() / own.len()).max(1);
    let mut rest = vectors.chunks_exact(width);
    let mut query = |(place, like): (&Place, Like)| {
        let mut sum = vec![0.0; width];
        for vector in rest.by_ref().take(place.tokens.len()) {
            sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        }
        Query { like, direction: lexical::unit(&sum), cosine: true }
    };
    let queries: Vec<Query> = places.iter().zip(likes).map(&mut query).collect();
    let nearest = lexical::furthest(ctx, lexicon, &queries, count)?;
    for (place, list) in places.iter_mut().zip(nearest) {
        let replacement = |(id, cosine): (u32, f64)| {
            let text = lexicon.vocabulary().piece(id)?.text.clone();
            Some(Replacement { text, ids: vec![id], distance: 1.0 - cosine })
        };
        place.options = list.into_iter().filter_map(replacement).collect();
    }
    Ok(places)
}

/// Each word with the `count` words that the masked language model `model` holds likeliest in its place, in the tokens
/// that the explained model has for them. `room` tokens more than there are fit into its input.
pub(super) fn proposals(
    ctx: &dyn Ctx,
    text: &TextInput,
    lexicon: &dyn Lexicon,
    (model, count): (&str, usize),
    room: usize,
) -> Result<Vec<Place>, Error> {
    let all: Vec<u32> = text.ids().collect();
    let mut words = free(ctx, text);
    words.retain(|&(word, _)| text.words.get(word).is_some_and(|word| is_word(&word.text)));
    let asked: Vec<usize> = words.iter().map(|&(word, _)| word).collect();
    let characters: Vec<Vec<char>> =
        (0..2).map(|sequence| sequence_text(text, sequence).unwrap_or_default().chars().collect()).collect();
    let mut proposed = ctx.proposals(model, text, &asked, count)?.into_iter();
    let mut places = Vec::with_capacity(words.len());
    for (word, tokens) in words {
        ctx.checkpoint().map_err(nn::Error::from)?;
        let (before, after) = around(text, &characters, word);
        let own = all.get(tokens.clone()).unwrap_or_default();
        let mut options: Vec<Replacement> = Vec::new();
        for proposal in proposed.next().unwrap_or_default() {
            let Some(ids) = lexicon.between(&before, &proposal.text, &after) else { continue };
            if ids != own && options.iter().all(|known| known.ids != ids) {
                options.push(Replacement { text: proposal.text, ids, distance: -proposal.log_probability });
            }
        }
        places.push(Place { word, tokens, options });
    }
    let more = |place: &Place, ids: &[u32]| ids.len().saturating_sub(place.tokens.len());
    let most = |place: &Place| place.options.iter().map(|option| more(place, &option.ids)).max().unwrap_or(0);
    if places.iter().map(most).sum::<usize>() > room {
        for place in &mut places {
            let count = place.tokens.len();
            place.options.retain(|option| option.ids.len() <= count);
        }
    }
    Ok(places)
}

/// The text on both sides of a word as far as its neighbours reach: what decides which tokens a word there gets.
/// `characters` are those of the texts.
fn around(text: &TextInput, characters: &[Vec<char>], word: usize) -> (String, String) {
    let Some(own) = text.words.get(word) else { return Default::default() };
    let sequence = own.sequence.unwrap_or(0);
    let beside = |at: Option<usize>| at.and_then(|at| text.words.get(at)).filter(|word| word.sequence == own.sequence);
    let characters = characters.get(sequence).map_or(&[][..], Vec::as_slice);
    let part = |from: usize, to: usize| -> String { characters.get(from..to).unwrap_or_default().iter().collect() };
    let start = beside(word.checked_sub(1)).map_or(0, |word: &Word| word.start);
    let end = beside(Some(word + 1)).map_or(characters.len(), |word: &Word| word.end);
    (part(start, own.start), part(own.end, end))
}
