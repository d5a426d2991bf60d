//! Words for words: which of a text's can be replaced by one of the vocabulary, and by which.

use std::collections::HashMap;
use std::ops::Range;

use crate::input::text::{Lexicon, Like, TextInput, WordKind};
use crate::methods::{Ctx, Error};
use crate::nn;

/// Embeddings looked up at once.
const BLOCK: usize = 1024;

/// A word of the text that is a single token and has others of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Index in `input.words`.
    pub word: usize,
    /// Index in `input.tokens`.
    pub token: usize,
    pub id: u32,
}

/// The words of a single token that can be replaced, in order.
pub fn places(text: &TextInput, lexicon: &dyn Lexicon) -> Vec<Place> {
    let place = |(word, tokens): (usize, Range<usize>)| {
        let id = text.tokens.get(tokens.start).filter(|_| tokens.len() == 1)?.id;
        lexicon.vocabulary().kind(id).map(|_| Place { word, token: tokens.start, id })
    };
    words(text).into_iter().filter_map(place).collect()
}

/// The words whose tokens stand behind one another, in order, each with its tokens.
pub fn words(text: &TextInput) -> Vec<(usize, Range<usize>)> {
    let mut tokens: Vec<Vec<usize>> = vec![Vec::new(); text.words.len()];
    for (token, known) in text.tokens.iter().enumerate() {
        if let Some(word) = known.word.and_then(|word| tokens.get_mut(word)) {
            word.push(token);
        }
    }
    let range = |(word, tokens): (usize, Vec<usize>)| {
        let (first, last) = (*tokens.first()?, *tokens.last()?);
        (last + 1 - first == tokens.len()).then_some((word, first..last + 1))
    };
    tokens.into_iter().enumerate().filter_map(range).collect()
}

/// A direction in the space of embeddings, of which the words that lie furthest along it are asked.
pub struct Query {
    /// The word to be replaced.
    pub like: Like,
    pub direction: Vec<f32>,
    /// Whether only the angle counts.
    pub cosine: bool,
}

/// For each query the `count` words of its own's kind with the largest product with its direction, largest first. The
/// table of embeddings goes by in blocks.
pub fn furthest(
    ctx: &dyn Ctx,
    lexicon: &dyn Lexicon,
    queries: &[Query],
    count: usize,
) -> Result<Vec<Vec<(u32, f64)>>, Error> {
    let vocabulary = lexicon.vocabulary();
    let mut of_kind: HashMap<WordKind, Vec<usize>> = HashMap::new();
    for (index, query) in queries.iter().enumerate() {
        of_kind.entry(query.like.kind).or_default().push(index);
    }
    let mut best: Vec<Vec<(u32, f64)>> = vec![Vec::new(); queries.len()];
    let wanted = |id: &u32| vocabulary.kind(*id).is_some_and(|kind| of_kind.contains_key(&kind));
    let ids: Vec<u32> = (0..vocabulary.len() as u32).filter(wanted).collect();
    for block in ids.chunks(BLOCK) {
        ctx.checkpoint().map_err(nn::Error::from)?;
        let vectors = ctx.vectors(block)?;
        let width = vectors.len() / block.len();
        for (&id, vector) in block.iter().zip(vectors.chunks_exact(width.max(1))) {
            let length = f64::from(dot(vector, vector)).sqrt();
            for &index in vocabulary.kind(id).and_then(|kind| of_kind.get(&kind)).into_iter().flatten() {
                let query = &queries[index];
                let product = f64::from(dot(&query.direction, vector));
                let score = if query.cosine { product / length.max(f64::MIN_POSITIVE) } else { product };
                let list = &mut best[index];
                let enters = list.len() < count || list.last().is_some_and(|(_, last)| score > *last);
                if enters && score.is_finite() && vocabulary.replaces(&query.like, id) {
                    let at = list.partition_point(|(_, known)| *known >= score);
                    list.insert(at, (id, score));
                    list.truncate(count);
                }
            }
        }
    }
    Ok(best)
}

/// The embedding of one word, of length 1.
pub fn unit(vector: &[f32]) -> Vec<f32> {
    let length = dot(vector, vector).sqrt().max(f32::MIN_POSITIVE);
    vector.iter().map(|value| value / length).collect()
}

/// Sixteen sums, added up in order.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 16];
    let (left, right) = (a.chunks_exact(16), b.chunks_exact(16));
    let rest: f32 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left.zip(right) {
        for lane in 0..16 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::support::fake::{Fake, word_embedding};

    #[test]
    fn the_nearest_words_are_those_of_brute_force() {
        let fake = Fake::text(3);
        let lexicon = fake.lexicon().unwrap();
        let places = places(fake.input.as_text().unwrap(), lexicon);
        assert_eq!(places.len(), 3);
        let query = |place: &Place| Query {
            like: lexicon.vocabulary().like(&[place.id]).unwrap(),
            direction: unit(&word_embedding(place.id)),
            cosine: true,
        };
        let queries: Vec<Query> = places.iter().map(query).collect();
        let found = furthest(&fake, lexicon, &queries, 5).unwrap();
        for (place, found) in places.iter().zip(found) {
            let own = unit(&word_embedding(place.id));
            let mut all: Vec<(u32, f64)> = (0..100)
                .filter(|&id| id != place.id)
                .map(|id| (id, f64::from(dot(&own, &unit(&word_embedding(id))))))
                .collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1));
            for (found, expected) in found.iter().zip(&all) {
                assert!((found.1 - expected.1).abs() < 1e-5, "{found:?} {expected:?}");
            }
            assert_eq!(found.len(), 5);
        }
    }

    #[test]
    fn a_product_is_the_sum() {
        let a: Vec<f32> = (0..37).map(|i| i as f32 * 0.25).collect();
        let expected: f32 = a.iter().map(|a| a * a).sum();
        assert!((dot(&a, &a) - expected).abs() < 1e-2);
    }
}
