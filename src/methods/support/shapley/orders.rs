//! Shapley values by orders of the players: φ_i is the mean gain v(before i, with i) − v(before i) over random orders.
//!
//! An order is always drawn with its reverse, which takes all interactions of second order out of the error; such a
//! pair is one observation, and the standard error is that of their mean. Coalitions that come up again are not
//! evaluated again.

use std::collections::HashSet;

use rand_chacha::ChaCha8Rng;

use super::super::game::Game;
use super::{Mode, Outcome, Refined, coalitions};
use crate::input::units::Mask;
use crate::methods::Error;
use crate::numerics::sampling;

/// Pairs of orders before a standard error says anything.
const LEAST: usize = 8;
/// Coalitions walked through per budgeted row at most: where nearly all are known.
const REPEATS: usize = 10;
/// Coalitions of a round at least, so that forwards are full.
const ROUND: usize = 256;
/// Orders drawn between two looks at the deadline.
const WATCHED: usize = 256;

/// Rows of `samples` orders, the two ends included.
pub fn rows(samples: usize, players: usize) -> usize {
    samples.saturating_mul(players.saturating_sub(1)).saturating_add(2)
}

/// One pair of orders and the two ends.
pub fn least(players: usize) -> usize {
    rows(2, players)
}

/// The values of every target.
///
/// # Errors
/// The model failed or had to stop.
pub fn run(game: &mut Game<'_>, mode: Mode, seed: u64, refined: Refined<'_>) -> Result<Vec<Outcome>, Error> {
    if mode == Mode::Exact {
        // All coalitions are all orders.
        return coalitions::run(game, mode, seed, refined);
    }
    let players = game.players();
    let mut rng = sampling::generator(seed);
    let mut sums: Vec<Sums> = (0..game.targets()).map(|_| Sums::new(players)).collect();
    let mut results: Vec<Option<Outcome>> = vec![None; sums.len()];
    let mut round = LEAST;
    while results.iter().any(Option::is_none) {
        let drawn = sums.first().map_or(0, |sums| sums.count);
        let Round { orders, masks, more } = draw(game, mode, &mut rng, drawn, round)?;
        let in_time = game.evaluate_in_time(masks)? && game.in_time()?;
        for order in &orders {
            if prefixes(order).iter().any(|mask| game.index(mask).is_none()) {
                break;
            }
            for (target, sums) in sums.iter_mut().enumerate() {
                sums.add(&gains(game, target, order)?);
            }
        }
        if !in_time && sums.iter().any(|sums| sums.count == 0) {
            return Err(game.stopped());
        }
        let mut shown = Vec::with_capacity(results.len());
        for (target, result) in results.iter_mut().enumerate() {
            if let Some(known) = result {
                shown.push(known.clone());
                continue;
            }
            let outcome = sums[target].outcome(game, target, mode)?;
            shown.push(outcome.clone());
            if !in_time {
                *result = Some(Outcome { partial: true, converged: Some(false), ..outcome });
            } else if !more || outcome.converged == Some(true) {
                *result = Some(outcome);
            }
        }
        if results.iter().any(Option::is_none) {
            refined(game, shown)?;
        }
        round = ROUND.div_ceil(2 * players).max(drawn / 4).max(1);
    }
    Ok(results.into_iter().flatten().collect())
}

/// Orders drawn together.
struct Round {
    orders: Vec<Vec<usize>>,
    /// The new ones of the coalitions that they and their reverses walk through.
    masks: Vec<Mask>,
    /// False where these are the last.
    more: bool,
}

/// Up to `round` orders more; `drawn` are those before. A deadline that passes ends the round.
///
/// # Errors
/// The deadline passed and no part is wanted, or the caller has gone.
fn draw(game: &Game<'_>, mode: Mode, rng: &mut ChaCha8Rng, drawn: usize, round: usize) -> Result<Round, Error> {
    let players = game.players();
    let (mut orders, mut masks, mut fresh) = (Vec::new(), Vec::new(), HashSet::new());
    while orders.len() < round {
        if orders.len() % WATCHED == WATCHED - 1 && !game.in_time()? {
            break;
        }
        if matches!(mode, Mode::Fixed { samples } if drawn + orders.len() >= samples / 2) {
            return Ok(Round { orders, masks, more: false });
        }
        let order = sampling::without_replacement(rng, players, players);
        let mut own = prefixes(&order);
        own.retain(|mask| game.index(mask).is_none() && !fresh.contains(mask));
        if let Mode::Adaptive { evaluations, .. } = mode {
            let walked = rows(2 * (drawn + orders.len()), players);
            let needed = game.evaluations() + masks.len() + own.len();
            if needed > evaluations || walked >= evaluations.saturating_mul(REPEATS) {
                return Ok(Round { orders, masks, more: false });
            }
        }
        fresh.extend(own.iter().cloned());
        masks.extend(own);
        orders.push(order);
    }
    Ok(Round { orders, masks, more: true })
}

/// The coalitions of an order and of its reverse, the two ends left out.
fn prefixes(order: &[usize]) -> Vec<Mask> {
    let players = order.len();
    let (mut first, mut rest) = (Mask::empty(players), Mask::full(players));
    let mut masks = Vec::with_capacity(2 * players);
    for &player in &order[..players.saturating_sub(1)] {
        first.set(player, true);
        rest.set(player, false);
        masks.extend([first.clone(), rest.clone()]);
    }
    masks
}

/// The mean gain of each player in an order and its reverse.
fn gains(game: &Game<'_>, target: usize, order: &[usize]) -> Result<Vec<f64>, Error> {
    let mut gains = vec![0.0; order.len()];
    let (mut first, mut rest) = (game.empty(), game.full());
    let (mut before, mut after) = game.ends(target)?;
    for &player in order {
        first.set(player, true);
        rest.set(player, false);
        let (with, without) = (game.value(target, &first)?, game.value(target, &rest)?);
        gains[player] = 0.5 * ((with - before) + (after - without));
        (before, after) = (with, without);
    }
    Ok(gains)
}

/// Sums over pairs of orders of one target.
struct Sums {
    count: usize,
    sums: Vec<f64>,
    /// Around the first pair's gains, so that little is lost where they hardly differ.
    first: Vec<f64>,
    squares: Vec<f64>,
}

impl Sums {
    fn new(players: usize) -> Self {
        Self { count: 0, sums: vec![0.0; players], first: Vec::new(), squares: vec![0.0; players] }
    }

    fn add(&mut self, gains: &[f64]) {
        if self.count == 0 {
            self.first = gains.to_vec();
        }
        self.count += 1;
        for (player, gain) in gains.iter().enumerate() {
            let apart = gain - self.first[player];
            self.sums[player] += apart;
            self.squares[player] += apart * apart;
        }
    }

    fn outcome(&self, game: &Game<'_>, target: usize, mode: Mode) -> Result<Outcome, Error> {
        let count = self.count as f64;
        let mut scores: Vec<f64> = self.first.iter().zip(&self.sums).map(|(first, sum)| first + sum / count).collect();
        // Every pair adds up to the change; what rounding left is spread.
        let (base, output) = game.ends(target)?;
        let drift = (output - base - scores.iter().sum::<f64>()) / scores.len() as f64;
        scores.iter_mut().for_each(|score| *score += drift);
        let errors = (self.count > 1).then(|| {
            let variance = |(sum, squares): (&f64, &f64)| (squares - sum * sum / count).max(0.0) / (count - 1.0);
            self.sums.iter().zip(&self.squares).map(|pair| (variance(pair) / count).sqrt()).collect()
        });
        let outcome = Outcome {
            scores,
            errors,
            samples: 2 * self.count,
            evaluations: game.evaluations(),
            exact: false,
            converged: None,
            partial: false,
            unique: true,
        };
        let converged = match mode {
            Mode::Adaptive { tolerance, .. } => {
                let good = outcome.relative_error().is_some_and(|error| error <= tolerance);
                Some(self.count >= LEAST && good)
            }
            Mode::Fixed { .. } | Mode::Exact => None,
        };
        Ok(Outcome { converged, ..outcome })
    }
}

#[cfg(test)]
mod tests;
