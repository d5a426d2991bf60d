//! The rule with the highest coverage of those that are precise enough: by beam search, where a bandit chooses which
//! candidates are worth more draws, and by enumeration.
//!
//! Nothing here knows what a draw is. Coverage needs no draws: a rule of k units applies to 2^−k of the masks.

use crate::methods::Error;
use crate::numerics::bernoulli::{lower, upper};

/// Draws asked for at once.
const BATCH: usize = 16;
/// How far from the wanted precision verification may stay undecided.
const SLACK: f64 = 0.05;
/// The share of what is left of the budget that choosing a beam may take.
const SHARE: usize = 4;

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub min_precision: f64,
    /// Chance that a bound does not hold.
    pub delta: f64,
    /// How much worse than the best a candidate of the beam may be.
    pub tau: f64,
    pub beam: usize,
    /// Most units of a rule.
    pub max_units: usize,
}

/// Draws masks with some units kept.
pub trait Draw {
    /// Of `count` draws, how many say the same; `None` where the budget or the deadline ended it.
    fn draw(&mut self, kept: &[usize], count: usize) -> Result<Option<usize>, Error>;
    /// Masks that may still be evaluated.
    fn left(&self) -> usize;
}

/// A rule and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Ascending.
    pub units: Vec<usize>,
    pub draws: usize,
    pub hits: usize,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    pub units: Vec<usize>,
    pub precision: f64,
    pub bounds: [f64; 2],
    /// The precision is known to be enough.
    pub converged: bool,
}

impl Candidate {
    fn new(units: Vec<usize>) -> Self {
        Self { units, draws: 0, hits: 0 }
    }

    fn mean(&self) -> f64 {
        if self.draws == 0 { 0.0 } else { self.hits as f64 / self.draws as f64 }
    }

    fn bounds(&self, level: f64) -> [f64; 2] {
        [lower(self.mean(), self.draws, level), upper(self.mean(), self.draws, level)]
    }

    fn found(&self, level: f64, converged: bool) -> Found {
        Found { units: self.units.clone(), precision: self.mean(), bounds: self.bounds(level), converged }
    }
}

/// The exploration rate of KL-LUCB at its `round`th round.
fn rate(candidates: usize, round: usize, delta: f64) -> f64 {
    let inner = (405.5 * candidates as f64 * (round as f64).powf(1.1) / delta).ln();
    inner + inner.ln()
}

/// Searches rules over `units` units, the smallest first.
pub fn search(units: usize, wanted: Wanted, draws: &mut dyn Draw) -> Result<Found, Error> {
    let level = ((1 + wanted.beam.saturating_sub(1) * units) as f64 / wanted.delta).ln();
    let mut beam = vec![Candidate::new(Vec::new())];
    let mut best: Option<Candidate> = None;
    for size in 0..=wanted.max_units.min(units) {
        if size > 0 {
            beam = choose(extended(&beam, units), wanted, draws)?;
        }
        beam.sort_by(|a, b| b.mean().total_cmp(&a.mean()));
        let mut valid: Option<Candidate> = None;
        let mut ended = false;
        for candidate in &mut beam {
            let verified = verify(candidate, units, wanted, level, draws)?;
            ended |= verified.is_none();
            if verified == Some(true) && valid.as_ref().is_none_or(|valid| candidate.mean() > valid.mean()) {
                valid = Some(candidate.clone());
            }
            let clearer = |best: &Candidate| candidate.bounds(level)[0] > best.bounds(level)[0];
            if best.as_ref().is_none_or(clearer) {
                best = Some(candidate.clone());
            }
        }
        if let Some(valid) = valid {
            return Ok(valid.found(level, true));
        }
        if ended {
            break;
        }
    }
    Ok(best.unwrap_or_else(|| Candidate::new(Vec::new())).found(level, false))
}

/// Every candidate of the beam with one more unit, each set once.
fn extended(beam: &[Candidate], units: usize) -> Vec<Candidate> {
    let mut sets: Vec<Vec<usize>> = Vec::new();
    for candidate in beam {
        for unit in (0..units).filter(|unit| !candidate.units.contains(unit)) {
            let mut set = candidate.units.clone();
            set.push(unit);
            set.sort_unstable();
            sets.push(set);
        }
    }
    sets.sort_unstable();
    sets.dedup();
    sets.into_iter().map(Candidate::new).collect()
}

/// The `beam` best of `candidates` by KL-LUCB: none left out is better by more than `tau`, or this took its share of the
/// budget. Candidates that are equally good would take all of it, and which of them go on matters little.
fn choose(mut candidates: Vec<Candidate>, wanted: Wanted, draws: &mut dyn Draw) -> Result<Vec<Candidate>, Error> {
    let floor = draws.left() - draws.left() / SHARE;
    let mut open = true;
    for candidate in &mut candidates {
        open = open && pull(candidate, draws)?;
    }
    let mut round = 1;
    loop {
        candidates.sort_by(|a, b| b.mean().total_cmp(&a.mean()).then_with(|| a.units.cmp(&b.units)));
        if candidates.len() <= wanted.beam {
            break;
        }
        let rate = rate(candidates.len(), round, wanted.delta);
        let (kept, rejected) = candidates.split_at_mut(wanted.beam);
        let worst = kept.iter_mut().min_by(|a, b| a.bounds(rate)[0].total_cmp(&b.bounds(rate)[0]));
        let rival = rejected.iter_mut().max_by(|a, b| a.bounds(rate)[1].total_cmp(&b.bounds(rate)[1]));
        let (Some(worst), Some(rival)) = (worst, rival) else { break };
        let told_apart = rival.bounds(rate)[1] - worst.bounds(rate)[0] <= wanted.tau;
        if told_apart || !open || draws.left() < floor {
            break;
        }
        open = pull(worst, draws)? && pull(rival, draws)?;
        round += 1;
    }
    candidates.truncate(wanted.beam);
    Ok(candidates)
}

/// One batch more for `candidate`; false where there is none to be had.
fn pull(candidate: &mut Candidate, draws: &mut dyn Draw) -> Result<bool, Error> {
    let Some(hits) = draws.draw(&candidate.units, BATCH)? else { return Ok(false) };
    candidate.draws += BATCH;
    candidate.hits += hits;
    Ok(true)
}

/// Draws until it is decided whether `candidate` is precise enough; `None` where it was not to be decided.
fn verify(
    candidate: &mut Candidate,
    units: usize,
    wanted: Wanted,
    level: f64,
    draws: &mut dyn Draw,
) -> Result<Option<bool>, Error> {
    if candidate.units.len() == units {
        // With every unit kept there is the input alone.
        (candidate.draws, candidate.hits) = (usize::MAX, usize::MAX);
        return Ok(Some(true));
    }
    loop {
        let ([low, high], mean) = (candidate.bounds(level), candidate.mean());
        if candidate.draws > 0 && mean >= wanted.min_precision && low > wanted.min_precision - SLACK {
            return Ok(Some(true));
        }
        if candidate.draws > 0 && mean < wanted.min_precision && high < wanted.min_precision + SLACK {
            return Ok(Some(false));
        }
        if !pull(candidate, draws)? {
            return Ok(None);
        }
    }
}

/// The same over masks of which all (or, at a deadline, some drawn without replacement) are known: `known[mask]` is
/// whether the model says the same, unit u being bit u of the mask. All rules are looked at.
pub fn enumerate(units: usize, wanted: Wanted, known: &[Option<bool>]) -> Found {
    let mut hits: Vec<u32> = known.iter().map(|same| u32::from(*same == Some(true))).collect();
    let mut draws: Vec<u32> = known.iter().map(|same| u32::from(same.is_some())).collect();
    // From masks to all that contain them.
    for unit in 0..units {
        for mask in (0..known.len()).filter(|mask| mask >> unit & 1 == 0) {
            hits[mask] += hits[mask | 1 << unit];
            draws[mask] += draws[mask | 1 << unit];
        }
    }
    let all = known.iter().all(Option::is_some);
    let level = (known.len() as f64 / wanted.delta).ln();
    let found = |mask: usize, converged: bool| {
        let members: Vec<usize> = (0..units).filter(|unit| mask >> unit & 1 == 1).collect();
        let candidate = Candidate { units: members, draws: draws[mask] as usize, hits: hits[mask] as usize };
        let mean = candidate.mean();
        Found { bounds: if all { [mean; 2] } else { candidate.bounds(level) }, ..candidate.found(level, converged) }
    };
    let precision = |mask: usize| f64::from(hits[mask]) / f64::from(draws[mask].max(1));
    let mut best: Option<usize> = None;
    for size in 0..=wanted.max_units.min(units) {
        for mask in (0..known.len()).filter(|mask| mask.count_ones() as usize == size && draws[*mask] > 0) {
            if best.is_none_or(|best| precision(mask) > precision(best)) {
                best = Some(mask);
            }
        }
        if let Some(best) = best.filter(|&best| precision(best) >= wanted.min_precision) {
            return found(best, all);
        }
    }
    found(best.unwrap_or(0), false)
}

#[cfg(test)]
mod tests;
