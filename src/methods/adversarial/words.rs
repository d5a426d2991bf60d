//! Flips of words along the gradient, each verified by a forward.

use super::{Found, Job, Words};
use crate::input::text::{Lexicon, TextInput};
use crate::input::units::Units;
use crate::methods::support::fewest::{self, Attempt, Changes};
use crate::methods::support::goal::Reached;
use crate::methods::support::lexical::{self, Place, Query, dot};
use crate::methods::support::time::in_time;
use crate::methods::support::{edits, reduce, settings};
use crate::methods::{Attribution, Change, Error, Objective, Pass, Variant};

/// d output / d embedding at every place, and the embeddings themselves: places × width.
type Slopes = (Vec<f32>, Vec<f32>);

/// Flips as changes: (place, id of the word that stands there).
struct Flips<'a> {
    job: &'a Job<'a>,
    text: &'a TextInput,
    places: Vec<Place>,
    evaluations: usize,
    /// Flips still to be evaluated at most.
    left: usize,
    partial: bool,
}

impl Flips<'_> {
    fn ids(&self, flips: &Changes) -> Vec<u32> {
        let mut ids: Vec<u32> = self.text.ids().collect();
        for &(place, id) in flips {
            if let Some(slot) = self.places.get(place).and_then(|place| ids.get_mut(place.token)) {
                *slot = id as u32;
            }
        }
        ids
    }

    /// The input's embedding `own` with the flipped words' in their places.
    fn embedding(&self, own: &[f32], width: usize, flips: &Changes) -> Result<Vec<f32>, Error> {
        let mut embedding = own.to_vec();
        for &(place, id) in flips {
            let vector = self.job.ctx.vectors(&[id as u32])?;
            let at = self.places.get(place).map_or(0, |place| place.token * width);
            if let Some(slot) = embedding.get_mut(at..at + width).filter(|slot| slot.len() == vector.len()) {
                slot.copy_from_slice(&vector);
            }
        }
        Ok(embedding)
    }

    /// For each set of flips.
    fn gradients(&mut self, sets: &[Changes]) -> Result<Vec<Slopes>, Error> {
        let own = self.job.ctx.embedding(None)?;
        let width = own.len() / self.text.tokens.len().max(1);
        let embeddings = sets.iter().map(|set| self.embedding(&own, width, set)).collect::<Result<Vec<_>, _>>()?;
        let objectives = [Objective { target: self.job.goal.target.clone(), output: self.job.output }];
        let write = |row: usize, out: &mut [f32]| out.copy_from_slice(&embeddings[row]);
        let pass = Pass {
            rows: sets.len(),
            embedding: Some(&write),
            objectives: &objectives,
            rule: Default::default(),
            taps: Default::default(),
        };
        let pick = |values: &[f32]| -> Vec<f32> {
            self.places.iter().flat_map(|place| values[place.token * width..][..width].iter().copied()).collect()
        };
        let mut all = Vec::with_capacity(sets.len());
        self.job.ctx.pass(&pass, &mut |row| {
            let slopes = row.gradients.first().copied().unwrap_or_default();
            if row.values.iter().any(|value| !value.is_finite()) || slopes.iter().any(|slope| !slope.is_finite()) {
                return Err(Error::NotFinite { what: "the gradient of a changed input" });
            }
            all.push((pick(slopes), pick(&embeddings[row.row])));
            Ok(())
        })?;
        self.evaluations += sets.len();
        Ok(all)
    }

    /// The flips that gain most for each of `sets`, added to it: `count` a set.
    fn extended(&mut self, lexicon: &dyn Lexicon, sets: &[Changes], count: usize) -> Result<Vec<Changes>, Error> {
        let gradients = self.gradients(sets)?;
        let ahead = if self.job.goal.wanted { 1.0 } else { -1.0 };
        let (mut queries, mut owners) = (Vec::new(), Vec::new());
        for (set, (slopes, own)) in gradients.iter().enumerate() {
            let width = (slopes.len() / self.places.len().max(1)).max(1);
            for (place, (slope, own)) in slopes.chunks_exact(width).zip(own.chunks_exact(width)).enumerate() {
                let like = lexicon.vocabulary().like(&[self.places[place].id]);
                if let Some(like) = like.filter(|_| sets[set].iter().all(|(taken, _)| *taken != place)) {
                    let direction: Vec<f32> = slope.iter().map(|slope| ahead * slope).collect();
                    owners.push((set, place, f64::from(dot(&direction, own))));
                    queries.push(Query { like, direction, cosine: false });
                }
            }
        }
        let best = lexical::furthest(self.job.ctx, lexicon, &queries, count)?;
        let mut longer = Vec::new();
        for (set, flips) in sets.iter().enumerate() {
            let mut gains: Vec<(f64, usize, u32)> = Vec::new();
            for ((_, place, own), words) in owners.iter().zip(&best).filter(|((of, ..), _)| *of == set) {
                gains.extend(words.iter().map(|&(id, product)| (product - own, *place, id)));
            }
            gains.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
            longer.extend(gains.iter().take(count).map(|&(_, place, id)| {
                let mut flips = flips.clone();
                flips.push((place, id as usize));
                flips.sort_unstable();
                flips
            }));
        }
        longer.sort_unstable();
        longer.dedup();
        Ok(longer)
    }
}

impl Attempt for Flips<'_> {
    fn attempt(&mut self, sets: &[Changes]) -> Result<Option<Vec<Reached>>, Error> {
        let variants: Vec<Variant> = sets.iter().map(|set| Variant::Ids(self.ids(set))).collect();
        let Some(outputs) = in_time(self.job.ctx, self.job.ctx.variants(&variants))? else {
            self.partial = true;
            return Ok(None);
        };
        self.evaluations += sets.len();
        self.left = self.left.saturating_sub(sets.len());
        outputs.iter().map(|logits| self.job.goal.of(self.job.ctx, logits)).collect::<Result<_, _>>().map(Some)
    }

    fn left(&self) -> usize {
        self.left
    }

    fn cost(&self, _changes: &Changes) -> f64 {
        0.0
    }
}

pub(super) fn attack(job: &Job<'_>, settings: Words, text: &TextInput) -> Result<Found, Error> {
    let lexicon = job.ctx.lexicon();
    let places = lexicon.map(|lexicon| lexical::places(text, lexicon)).unwrap_or_default();
    let mut flips = Flips { job, text, places, evaluations: 1, left: usize::MAX, partial: false };
    let found = if job.goal.of(job.ctx, job.ctx.logits())?.reached {
        Some(Changes::new())
    } else if let Some(lexicon) = lexicon.filter(|_| !flips.places.is_empty()) {
        let found = search(&mut flips, lexicon, settings)?;
        // As many tries as there are flips to undo.
        flips.left = settings.max_changes;
        found.map(|found| fewest::pruned(found, &mut flips)).transpose()?
    } else {
        None
    };
    answer(job, text, lexicon, &flips, found)
}

fn search(flips: &mut Flips<'_>, lexicon: &dyn Lexicon, settings: Words) -> Result<Option<Changes>, Error> {
    let mut beam = vec![Changes::new()];
    for _ in 0..settings.max_changes.min(flips.places.len()) {
        let longer = flips.extended(lexicon, &beam, settings.candidates);
        let Some(longer) = in_time(flips.job.ctx, longer)? else {
            flips.partial = true;
            return Ok(None);
        };
        let Some(reached) = flips.attempt(&longer)? else { return Ok(None) };
        let mut tried: Vec<(Changes, Reached)> = longer.into_iter().zip(reached).collect();
        tried.sort_by(|(_, a), (_, b)| b.reached.cmp(&a.reached).then(b.nearness.total_cmp(&a.nearness)));
        if let Some((flips, _)) = tried.first().filter(|(_, reached)| reached.reached) {
            return Ok(Some(flips.clone()));
        }
        beam = tried.into_iter().take(settings.beam).map(|(flips, _)| flips).collect();
        if beam.is_empty() {
            return Ok(None);
        }
    }
    Ok(None)
}

fn answer(
    job: &Job<'_>,
    text: &TextInput,
    lexicon: Option<&dyn Lexicon>,
    flips: &Flips<'_>,
    found: Option<Changes>,
) -> Result<Found, Error> {
    let mut sizes = vec![0.0; text.tokens.len()];
    let mut change = Change::default();
    let mut evaluations = flips.evaluations;
    if let (Some(found), Some(lexicon)) = (found, lexicon) {
        let word = |id: usize| lexicon.vocabulary().piece(id as u32).map(|piece| piece.text.clone());
        let mut words = Vec::new();
        for &(place, id) in &found {
            let place = flips.places[place];
            let vectors = job.ctx.vectors(&[place.id, id as u32])?;
            let (own, other) = vectors.split_at(vectors.len() / 2);
            let length: f64 = own.iter().zip(other).map(|(a, b)| f64::from(b - a).powi(2)).sum();
            sizes[place.token] = length.sqrt();
            words.push((place.word, word(id).unwrap_or_default()));
        }
        let ids = flips.ids(&found);
        change = Change { found: true, distance: found.len() as f32, ..Change::default() };
        edits::written(job.ctx, text, &mut change, edits::replaced(text, &Units::words(text), &words), &ids);
        let logits = if found.is_empty() {
            vec![job.ctx.logits().to_vec()]
        } else {
            evaluations += 1;
            job.ctx.variants(&[Variant::Ids(ids)])?
        };
        change.prediction = logits.first().and_then(|logits| job.ctx.task().said(logits, &job.goal.target));
    }
    let mut attribution = Attribution::default();
    let words = reduce::words(text, &sizes);
    attribution.scores.words = Some(job.presentation.list(words, "a word's score")?);
    let mut tokens = sizes;
    job.presentation.apply(&mut tokens);
    attribution.scores.tokens = Some(settings::floats(&tokens, "a token's score")?);
    Ok(Found { attribution, change, evaluations, partial: flips.partial })
}
