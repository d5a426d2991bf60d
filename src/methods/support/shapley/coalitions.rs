//! Shapley values by regression over coalitions of drawn sizes, as kernel SHAP defines them: the solution of
//! min Σ_S π(S) (v(S) − v(∅) − Σ_{i ∈ S} φ_i)² subject to Σ φ = v(N) − v(∅), π(S) = (n − 1) / (C(n, |S|) |S| (n − |S|)).
//!
//! A coalition is always evaluated with its complement: in a pair only the difference counts, which takes all
//! interactions of even order out of the error. Each size (with its complement's) is a stratum drawn without
//! replacement. The share of a size is that of least variance where residuals are alike, 1 / √(k (n − k)), so small
//! and large coalitions are complete first. Where the game is a probability, a curve takes what it can out of the error
//! (`control`).

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;

use super::super::game::Game;
use super::control::{Control, FOLDS, Pair};
use super::exact::{self, choose};
use super::{Mode, Outcome, Refined};
use crate::input::units::Mask;
use crate::methods::Error;
use crate::numerics::sampling;
use crate::numerics::strata::{self, Fit, Rows, Stratum};

/// Pairs per unknown before a standard error says anything.
const PAIRS_PER_UNKNOWN: usize = 2;
/// Pairs of the first round at least.
const FIRST: usize = 64;
/// Pairs that a control is asked for: all of 16 players.
const CONTROL_PAIRS: usize = 1 << 15;

/// Rows of `samples` coalitions, the two ends included.
pub fn rows(samples: usize, _players: usize) -> usize {
    samples.saturating_add(2)
}

/// A pair for each player and the two ends.
pub fn least(players: usize) -> usize {
    2 * players + 2
}

/// The pairs of a coalition of `size` players and its complement.
struct Size {
    size: usize,
    players: usize,
    /// How many there are.
    pairs: f64,
    rng: ChaCha8Rng,
    /// Drawn so far, different ones; a prefix of one random order.
    drawn: Vec<Mask>,
    known: HashSet<Mask>,
    /// All of them in random order, where they are few.
    order: Option<Vec<Mask>>,
}

impl Size {
    fn new(size: usize, players: usize, seed: u64) -> Self {
        let halves = 2 * size == players;
        let pairs = choose(players, size) / if halves { 2.0 } else { 1.0 };
        let rng = sampling::generator_of(seed, size as u64);
        Self { size, players, pairs, rng, drawn: Vec::new(), known: HashSet::new(), order: None }
    }

    /// Whether all are drawn where `count` are.
    fn full(&self, count: usize) -> bool {
        count as f64 >= self.pairs
    }

    /// What all of them weigh: the kernel's weight of both sizes.
    fn weight(&self) -> f64 {
        let both = 1.0 / (self.size * (self.players - self.size)) as f64;
        if 2 * self.size == self.players { 0.5 * both } else { both }
    }

    fn share(&self) -> f64 {
        let both = ((self.size * (self.players - self.size)) as f64).sqrt().recip();
        if 2 * self.size == self.players { 0.5 * both } else { both }
    }

    /// Draws until there are `count`; `most` is more than will ever be asked for.
    fn draw(&mut self, count: usize, most: usize) {
        if self.pairs <= most as f64 {
            let order = self.order.get_or_insert_with(|| shuffled(self.size, self.players, &mut self.rng));
            self.drawn = order.iter().take(count).cloned().collect();
            return;
        }
        while self.drawn.len() < count {
            let mut mask = Mask::empty(self.players);
            let members = sampling::without_replacement(&mut self.rng, self.players, self.size);
            members.into_iter().for_each(|player| mask.set(player, true));
            // Of two halves the one with the first player stands for both.
            let mask =
                if 2 * self.size == self.players && !mask.contains(0) { complement(&mask, self.players) } else { mask };
            if self.known.insert(mask.clone()) {
                self.drawn.push(mask);
            }
        }
    }
}

/// All coalitions of a size in random order; of halves those with the first player.
fn shuffled(size: usize, players: usize, rng: &mut ChaCha8Rng) -> Vec<Mask> {
    let mut all = Vec::new();
    let mut members: Vec<usize> = (0..size).collect();
    loop {
        if 2 * size != players || members.first() == Some(&0) {
            let mut mask = Mask::empty(players);
            members.iter().for_each(|&player| mask.set(player, true));
            all.push(mask);
        }
        // The next combination in lexical order.
        let Some(last) = (0..size).rev().find(|&place| members[place] < players - size + place) else { break };
        members[last] += 1;
        (last + 1..size).for_each(|place| members[place] = members[place - 1] + 1);
    }
    let order = sampling::without_replacement(rng, all.len(), all.len());
    order.into_iter().map(|index| all[index].clone()).collect()
}

fn complement(mask: &Mask, players: usize) -> Mask {
    let mut other = Mask::full(players);
    (0..players).filter(|&player| mask.contains(player)).for_each(|player| other.set(player, false));
    other
}

/// How many pairs of each size `pairs` of them are: at least one, the rest by share, no more than there are. More
/// pairs never give a size fewer.
fn allocate(sizes: &[Size], pairs: usize) -> Vec<usize> {
    if pairs <= sizes.len() {
        return (0..sizes.len()).map(|index| usize::from(index < pairs)).collect();
    }
    let spare = (pairs - sizes.len()) as f64;
    let given = |level: f64| -> f64 { sizes.iter().map(|size| (level * size.share()).min(size.pairs - 1.0)).sum() };
    let mut full = vec![false; sizes.len()];
    // The level at which the shares of those that are not full add up to what they leave.
    let level = loop {
        let taken: f64 = sizes.iter().zip(&full).filter(|(_, full)| **full).map(|(size, _)| size.pairs - 1.0).sum();
        let open: f64 = sizes.iter().zip(&full).filter(|(_, full)| !**full).map(|(size, _)| size.share()).sum();
        if open <= 0.0 {
            break f64::INFINITY;
        }
        let level = (spare - taken) / open;
        let mut changed = false;
        for (size, full) in sizes.iter().zip(&mut full) {
            let now = level * size.share() >= size.pairs - 1.0;
            changed |= now && !*full;
            *full |= now;
        }
        if !changed {
            break level;
        }
    };
    debug_assert!(given(level) <= spare + 1e-6 * spare.max(1.0));
    sizes.iter().map(|size| 1 + (level * size.share()).min(size.pairs - 1.0) as usize).collect()
}

/// The values of every target.
///
/// # Errors
/// The model failed or had to stop.
pub fn run(game: &mut Game<'_>, mode: Mode, seed: u64, refined: Refined<'_>) -> Result<Vec<Outcome>, Error> {
    let players = game.players();
    let mut sizes: Vec<Size> = (1..=players / 2).map(|size| Size::new(size, players, seed)).collect();
    let all = sizes.iter().map(|size| size.pairs).sum::<f64>().min(1e15) as usize;
    let most = match mode {
        Mode::Exact => all,
        Mode::Fixed { samples } => all.min(samples / 2),
        Mode::Adaptive { evaluations, .. } => all.min(evaluations.saturating_sub(2) / 2),
    };
    let mut results: Vec<Option<Outcome>> = vec![None; game.targets()];
    let mut last: Vec<Option<Solved>> = (0..results.len()).map(|_| None).collect();
    let mut pairs = most.min(FIRST.max(PAIRS_PER_UNKNOWN * players));
    while results.iter().any(Option::is_none) {
        let counts = allocate(&sizes, pairs);
        for (size, &count) in sizes.iter_mut().zip(&counts) {
            size.draw(count, most);
        }
        let masks = sizes.iter().flat_map(|size| &size.drawn);
        let masks: Vec<Mask> = masks.flat_map(|mask| [mask.clone(), complement(mask, players)]).collect();
        let in_time = game.evaluate_in_time(masks)? && (pairs == most || game.in_time()?);
        if !in_time {
            return early(game, results, last);
        }
        let ended = pairs >= most;
        for target in (0..results.len()).filter(|&target| results[target].is_none()).collect::<Vec<_>>() {
            let solved = solve(game, &sizes, &counts, target, seed)?;
            let good = |outcome| judge(outcome, mode, counts.iter().sum(), players, ended);
            // A control's own values take a while: only where they may be the last.
            if ended || good(solved.outcome.clone()).converged == Some(true) {
                let outcome = good(solved.finish()?);
                match ended || outcome.converged == Some(true) {
                    true => results[target] = Some(outcome),
                    false => last[target] = Some(Solved::plain(outcome)),
                }
            } else {
                last[target] = Some(solved);
            }
        }
        if results.iter().any(Option::is_none) {
            refined(game, results.iter().zip(&last).filter_map(so_far).collect())?;
        }
        pairs = most.min(pairs + FIRST.max(pairs / 4));
    }
    Ok(results.into_iter().flatten().collect())
}

/// A target's values after a round: final, or the last ones.
fn so_far((result, last): (&Option<Outcome>, &Option<Solved>)) -> Option<Outcome> {
    result.clone().or_else(|| last.as_ref().map(|solved| solved.outcome.clone()))
}

/// Whether an outcome is good enough.
fn judge(outcome: Outcome, mode: Mode, pairs: usize, players: usize, ended: bool) -> Outcome {
    let converged = match mode {
        _ if outcome.exact => Some(true),
        Mode::Adaptive { tolerance, .. } => {
            let enough = pairs >= PAIRS_PER_UNKNOWN * (players - 1);
            let good = enough && outcome.unique && outcome.relative_error().is_some_and(|error| error <= tolerance);
            Some(good)
        }
        Mode::Fixed { .. } | Mode::Exact => (!ended).then_some(false),
    };
    Outcome { converged, ..outcome }
}

/// The deadline passed: what there was a round ago.
fn early(game: &Game<'_>, results: Vec<Option<Outcome>>, last: Vec<Option<Solved>>) -> Result<Vec<Outcome>, Error> {
    let known = results.into_iter().zip(last).map(|(result, last)| match (result, last) {
        (Some(result), _) => Ok(result),
        (None, Some(last)) => Ok(Outcome { partial: true, converged: Some(false), ..last.finish()? }),
        // Not even a first round.
        (None, None) => Err(game.stopped()),
    });
    known.collect()
}

/// The values of one target from the pairs drawn: until they are finished the scores are those without a control, and
/// only the errors know of it.
fn solve(game: &Game<'_>, sizes: &[Size], counts: &[usize], target: usize, seed: u64) -> Result<Solved, Error> {
    let players = game.players();
    let exact = sizes.iter().zip(counts).all(|(size, &count)| size.full(count));
    // A fit through every pair leaves no residual to tell an error by.
    let over = counts.iter().sum::<usize>() >= players;
    let errors = |fit: &Fit| match exact {
        true => Some(vec![0.0; players]),
        false => over.then(|| fit.standard_errors.clone()),
    };
    let outcome = |fit: &Fit| Outcome {
        scores: fit.coefficients.clone(),
        errors: errors(fit),
        samples: 2 * counts.iter().sum::<usize>(),
        evaluations: game.evaluations(),
        exact,
        converged: None,
        partial: false,
        unique: (fit.unique && over) || exact,
    };
    if exact && let Some(table) = exact::table(game, target)? {
        let values = exact::values(&table, players);
        return Ok(Solved::plain(outcome(&Fit { coefficients: values, standard_errors: Vec::new(), unique: true })));
    }
    let ends = game.ends(target)?;
    let pairs = pairs(game, sizes, target)?;
    let change = ends.1 - ends.0;
    // What a linear game with this change gives the coalition, from both of the pair.
    let whole: Vec<f64> = pairs.iter().map(|pair| 0.5 * (pair.with - pair.without + change)).collect();
    let control = if exact { None } else { Control::fit(players, &pairs, ends)? };
    let Some(control) = control else {
        return Ok(Solved::plain(outcome(&regress(sizes, &[(&whole, change)])?[0])));
    };
    let of_full = |fold: usize| control.gain(fold, &Mask::full(players));
    let mean = (0..FOLDS).map(of_full).sum::<f64>() / FOLDS as f64;
    let missed: Vec<f64> = pairs
        .iter()
        .zip(&whole)
        .map(|(pair, whole)| {
            let own = of_full(pair.fold);
            // The sum that is asked for is the mean curve's; a row's own curve may have another.
            let share = pair.mask.count() as f64 / players as f64;
            whole - 0.5 * (control.gain(pair.fold, pair.mask) + own) + share * (own - mean)
        })
        .collect();
    let fits = regress(sizes, &[(&whole, change), (&missed, change - mean)])?;
    let size = |fit: &Fit| fit.standard_errors.iter().map(|error| error * error).sum::<f64>();
    if size(&fits[1]) >= size(&fits[0]) {
        return Ok(Solved::plain(outcome(&fits[0])));
    }
    let plain = Outcome { errors: errors(&fits[1]), ..outcome(&fits[0]) };
    Ok(Solved { outcome: plain, rest: Some((control, mean, fits[1].coefficients.clone(), seed)) })
}

/// A solution, and what a control has to add to it.
struct Solved {
    outcome: Outcome,
    /// The control, its change, the values of what it misses, and the seed of its own coalitions.
    rest: Option<(Control, f64, Vec<f64>, u64)>,
}

impl Solved {
    fn plain(outcome: Outcome) -> Self {
        Self { outcome, rest: None }
    }

    /// Adds the control's own values, from far more coalitions than a model could be asked for.
    fn finish(self) -> Result<Outcome, Error> {
        let Some((control, change, missed, seed)) = self.rest else { return Ok(self.outcome) };
        let players = missed.len();
        let mut sizes: Vec<Size> = (1..=players / 2).map(|size| Size::new(size, players, !seed)).collect();
        let counts = allocate(&sizes, CONTROL_PAIRS);
        for (size, count) in sizes.iter_mut().zip(counts) {
            size.draw(count, CONTROL_PAIRS);
        }
        let masks = sizes.iter().flat_map(|size| &size.drawn);
        let values: Vec<f64> = masks.map(|mask| 0.5 * (control.mean_gain(mask) + change)).collect();
        let own = &regress(&sizes, &[(&values, change)])?[0];
        let scores = missed.iter().zip(&own.coefficients).map(|(missed, own)| missed + own).collect();
        let errors = self.outcome.errors.map(|errors| {
            let both = errors.iter().zip(&own.standard_errors);
            both.map(|(missed, own)| missed.hypot(*own)).collect()
        });
        Ok(Outcome { scores, errors, ..self.outcome })
    }
}

/// The pairs drawn, each size's in turn.
fn pairs<'a>(game: &Game<'_>, sizes: &'a [Size], target: usize) -> Result<Vec<Pair<'a>>, Error> {
    let numbered = sizes.iter().flat_map(|size| size.drawn.iter().enumerate());
    let pair = |(number, mask): (usize, &'a Mask)| {
        let (with, without) = (game.value(target, mask)?, game.value(target, &complement(mask, game.players()))?);
        Ok(Pair { mask, fold: number % FOLDS, with, without })
    };
    numbered.map(pair).collect()
}

/// Least squares over the pairs drawn; each of `targets` is one value a pair and the sum of its scores.
fn regress(sizes: &[Size], targets: &[(&[f64], f64)]) -> Result<Vec<Fit>, Error> {
    let players = sizes.first().map_or(1, |size| size.players);
    let drawn: Vec<&Mask> = sizes.iter().flat_map(|size| &size.drawn).collect();
    let mut start = 0;
    let stratum = |size: &Size| {
        let rows = start..start + size.drawn.len();
        start = rows.end;
        Stratum { rows, population: size.pairs, weight: size.weight() }
    };
    let strata: Vec<Stratum> = sizes.iter().map(stratum).collect();
    let row = |index: usize, out: &mut [f64]| {
        let mask = drawn[index];
        out.iter_mut().enumerate().for_each(|(player, out)| *out = f64::from(u8::from(mask.contains(player))));
    };
    Ok(strata::fit(&Rows { columns: players, row: &row, strata: &strata }, targets)?)
}

#[cfg(test)]
mod tests;
