//! A model of the game that costs nothing to ask, so that only what it misses has to be sampled.
//!
//! A probability bends at its ends, which looks like interactions of every order; under a logistic curve much of it is
//! single players and pairs. Such a curve is fitted to the coalitions that were evaluated. Its own Shapley values are
//! added to those of the difference, which any curve leaves unbiased. Every pair of coalitions is compared with a
//! curve that was fitted without it (cross-fitting): a curve lies close to what it has seen, and errors taken from
//! there would be too small.

use crate::input::units::Mask;
use crate::methods::Error;
use crate::numerics::least_squares::{self, Observations};

/// Curves, each fitted without its share of the coalitions.
pub const FOLDS: usize = 4;
/// More players than these have no pairs in the curve.
const PAIRS_UP_TO: usize = 24;
/// Coalitions that are fitted at least.
const LEAST: usize = 32;
/// Keeps curves over few coalitions flat.
const RIDGE: f64 = 0.1;
/// What coalitions at the ends of the curve still weigh, and how far from the ends they are taken to be.
const FLOOR: f64 = 1e-3;
const CLIP: f64 = 1e-4;

/// A coalition's worth and its complement's.
#[derive(Debug, Clone)]
pub struct Pair<'a> {
    pub mask: &'a Mask,
    pub fold: usize,
    pub with: f64,
    pub without: f64,
}

/// Logistic curves over players and their pairs, one a fold.
pub struct Control {
    players: usize,
    /// The range of the game: a probability, or the difference of two.
    low: f64,
    curves: Vec<Curve>,
}

struct Curve {
    intercept: f64,
    slopes: Vec<f64>,
}

impl Control {
    /// Fitted to `pairs` and both ends; `None` where the game is no probability or the coalitions are too few.
    ///
    /// # Errors
    /// The linear system has no solution.
    pub fn fit(players: usize, pairs: &[Pair<'_>], (base, output): (f64, f64)) -> Result<Option<Self>, Error> {
        let worths = pairs.iter().flat_map(|pair| [pair.with, pair.without]).chain([base, output]);
        let (low, high) = worths.fold((f64::MAX, f64::MIN), |(low, high), worth| (low.min(worth), high.max(worth)));
        if low < -1.0 || high > 1.0 || 2 * pairs.len() < LEAST {
            return Ok(None);
        }
        let low = if low < 0.0 { -1.0 } else { 0.0 };
        let mut control = Self { players, low, curves: Vec::with_capacity(FOLDS) };
        for fold in 0..FOLDS {
            let curve = control.curve(pairs, fold, (base, output))?;
            control.curves.push(curve);
        }
        Ok(Some(control))
    }

    fn curve(&self, pairs: &[Pair<'_>], fold: usize, (base, output): (f64, f64)) -> Result<Curve, Error> {
        let ends = [(Mask::empty(self.players), base), (Mask::full(self.players), output)];
        let mut rows: Vec<(Vec<f64>, f64)> = ends.iter().map(|(mask, worth)| (self.row(mask), *worth)).collect();
        for pair in pairs.iter().filter(|pair| pair.fold != fold) {
            let row = self.row(pair.mask);
            rows.push((self.mirrored(&row), pair.without));
            rows.push((row, pair.with));
        }
        let share = |worth: f64| ((worth - self.low) / (1.0 - self.low)).clamp(CLIP, 1.0 - CLIP);
        let weights: Vec<f64> = rows.iter().map(|(_, worth)| share(*worth) * (1.0 - share(*worth)) + FLOOR).collect();
        let heights: Vec<f64> = rows.iter().map(|(_, worth)| (share(*worth) / (1.0 - share(*worth))).ln()).collect();
        let largest = weights.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let weights: Vec<f64> = weights.iter().map(|weight| weight / largest).collect();
        let counts = vec![1.0; rows.len()];
        let row = |index: usize, out: &mut [f64]| out.copy_from_slice(&rows[index].0);
        let columns = rows.first().map_or(0, |(row, _)| row.len());
        let observed = Observations { columns, row: &row, weights: &weights, counts: &counts };
        let fit = least_squares::fit::<Error>(&observed, &[&heights], RIDGE, &|| Ok(()))?.remove(0);
        Ok(Curve { intercept: fit.intercept, slopes: fit.coefficients })
    }

    /// Each player as ± ½, then their products.
    fn row(&self, mask: &Mask) -> Vec<f64> {
        let mut row: Vec<f64> =
            (0..self.players).map(|player| if mask.contains(player) { 0.5 } else { -0.5 }).collect();
        if self.players <= PAIRS_UP_TO {
            for first in 0..self.players {
                for second in first + 1..self.players {
                    row.push(2.0 * row[first] * row[second]);
                }
            }
        }
        row
    }

    /// The row of the complement: players change their sign, pairs keep theirs.
    fn mirrored(&self, row: &[f64]) -> Vec<f64> {
        row.iter().enumerate().map(|(column, value)| if column < self.players { -value } else { *value }).collect()
    }

    /// Worth of a coalition less its complement's, by one curve.
    fn gain_by(&self, curve: &Curve, row: &[f64]) -> f64 {
        let (alone, pairs) = row.split_at(self.players);
        let (own, both) = curve.slopes.split_at(self.players);
        let odd: f64 = alone.iter().zip(own).map(|(value, slope)| value * slope).sum();
        let even: f64 = curve.intercept + pairs.iter().zip(both).map(|(value, slope)| value * slope).sum::<f64>();
        let worth = |height: f64| (1.0 - self.low) / (1.0 + (-height).exp());
        worth(even + odd) - worth(even - odd)
    }

    /// Worth of a coalition less its complement's by the curve that was fitted without `fold`.
    pub fn gain(&self, fold: usize, mask: &Mask) -> f64 {
        self.curves.get(fold).map_or(0.0, |curve| self.gain_by(curve, &self.row(mask)))
    }

    /// The mean over curves of a coalition's worth less its complement's.
    pub fn mean_gain(&self, mask: &Mask) -> f64 {
        let row = self.row(mask);
        self.curves.iter().map(|curve| self.gain_by(curve, &row)).sum::<f64>() / FOLDS as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::methods::support::shapley::exact::coalition;

    fn worth(pattern: usize) -> f64 {
        let z = |player: usize| (pattern >> player & 1) as f64 - 0.5;
        let height =
            0.3 + (0..6).map(|player| z(player) * (player as f64 - 2.0) * 0.5).sum::<f64>() - 1.5 * z(0) * z(5);
        1.0 / (1.0 + (-height).exp())
    }

    fn pairs(masks: &[Mask], worth: impl Fn(usize) -> f64) -> Vec<Pair<'_>> {
        let pair = |(index, mask): (usize, &'_ Mask)| {
            let pattern = (0..6).filter(|&player| mask.contains(player)).map(|player| 1 << player).sum::<usize>();
            (index % FOLDS, worth(pattern), worth(63 - pattern))
        };
        masks
            .iter()
            .enumerate()
            .map(|(index, mask)| {
                let (fold, with, without) = pair((index, mask));
                Pair { mask, fold, with, without }
            })
            .collect()
    }

    #[test]
    fn a_logistic_game_is_known_from_its_coalitions() {
        let masks: Vec<Mask> = (1..32).map(|pattern| coalition(pattern, 6)).collect();
        let control = Control::fit(6, &pairs(&masks, worth), (worth(0), worth(63))).unwrap().unwrap();
        for (index, mask) in masks.iter().enumerate() {
            let pattern = index + 1;
            let gain = worth(pattern) - worth(63 - pattern);
            // The ridge flattens it a little.
            assert!((control.gain(index % FOLDS, mask) - gain).abs() < 0.05, "{pattern}");
            assert!((control.mean_gain(mask) - gain).abs() < 0.05);
        }
    }

    #[test]
    fn differences_of_probabilities_have_a_curve_and_logits_none() {
        let masks: Vec<Mask> = (1..32).map(|pattern| coalition(pattern, 6)).collect();
        let difference = |pattern: usize| 2.0 * worth(pattern) - 1.0;
        let control = Control::fit(6, &pairs(&masks, difference), (difference(0), difference(63))).unwrap().unwrap();
        let gain = difference(5) - difference(58);
        assert!((control.mean_gain(&coalition(5, 6)) - gain).abs() < 0.1);
        let logit = |pattern: usize| 4.0 * worth(pattern);
        assert!(Control::fit(6, &pairs(&masks, logit), (logit(0), logit(63))).unwrap().is_none());
        assert!(Control::fit(6, &pairs(&masks[..5], worth), (worth(0), worth(63))).unwrap().is_none());
    }
}
