//! One of many by its logit: the likeliest, or drawn by temperature, `top_k` and `top_p` as transformers' warpers in that
//! order. candle-transformers' `LogitsProcessor` holds `top_p` against the probabilities of all tokens where `top_k` leaves
//! fewer; transformers shares them out anew first.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Draws one after another; the same for the same seed.
#[derive(Debug, Clone)]
pub struct Drawing {
    /// 0: the likeliest.
    temperature: f64,
    top_k: Option<usize>,
    top_p: f64,
    rng: ChaCha8Rng,
}

impl Drawing {
    pub fn new(seed: u64, temperature: f64, top_k: Option<usize>, top_p: f64) -> Self {
        Self { temperature, top_k, top_p, rng: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// The place of the one drawn; the first of equals where the likeliest is taken. 0 where there is none.
    pub fn next(&mut self, logits: &[f32]) -> usize {
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if self.temperature <= 0.0 {
            return logits.iter().position(|logit| *logit == largest).unwrap_or(0);
        }
        let order = self.ranked(logits);
        let weight = |&place: &usize| ((f64::from(logits[place]) - f64::from(largest)) / self.temperature).exp();
        let weights: Vec<f64> = order.iter().map(weight).collect();
        let all: f64 = weights.iter().sum();
        let mut kept = 0.0;
        let mut count = 0;
        for weight in &weights {
            kept += weight;
            count += 1;
            if kept >= self.top_p * all {
                break;
            }
        }
        let mut left = self.rng.random_range(0.0..1.0) * kept;
        for (&place, weight) in order.iter().zip(&weights).take(count) {
            if left < *weight {
                return place;
            }
            left -= weight;
        }
        order.get(count.saturating_sub(1)).copied().unwrap_or(0)
    }

    /// Places from the likeliest down, `top_k` at most; of equals the first comes first.
    fn ranked(&self, logits: &[f32]) -> Vec<usize> {
        let by_rank = |a: &usize, b: &usize| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b));
        let mut order: Vec<usize> = (0..logits.len()).collect();
        // A vocabulary is long and `top_k` short.
        if let Some(most) = self.top_k.filter(|&most| most < order.len()) {
            order.select_nth_unstable_by(most, by_rank);
            order.truncate(most);
        }
        order.sort_unstable_by(by_rank);
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 4] = [0.0, 2.0, 1.0, 2.0];

    fn shares(mut drawing: Drawing) -> [f64; 4] {
        let mut counts = [0.0; 4];
        (0..20_000).for_each(|_| counts[drawing.next(&LOGITS)] += 1.0 / 20_000.0);
        counts
    }

    fn near(found: [f64; 4], logits: [f64; 4]) {
        let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
        for (found, logit) in found.into_iter().zip(logits) {
            assert!((found - logit.exp() / sum).abs() < 0.012, "{found} for {}", logit.exp() / sum);
        }
    }

    #[test]
    fn without_temperature_the_first_of_the_largest() {
        assert_eq!(Drawing::new(0, 0.0, Some(1), 0.1).next(&LOGITS), 1);
        assert_eq!(Drawing::new(0, 1.0, None, 1.0).next(&[]), 0);
    }

    #[test]
    fn shares_are_those_of_the_softmax() {
        let none = f64::NEG_INFINITY;
        near(shares(Drawing::new(1, 1.0, None, 1.0)), [0.0, 2.0, 1.0, 2.0]);
        near(shares(Drawing::new(2, 0.5, None, 1.0)), [0.0, 4.0, 2.0, 4.0]);
        near(shares(Drawing::new(3, 1.0, Some(3), 1.0)), [none, 2.0, 1.0, 2.0]);
        // The two largest have 0.79 together, the first alone 0.39.
        near(shares(Drawing::new(4, 1.0, None, 0.7)), [none, 2.0, none, 2.0]);
        near(shares(Drawing::new(5, 1.0, None, 0.3)), [none, 2.0, none, none]);
    }

    #[test]
    fn the_first_of_many_are_those_of_a_whole_sort() {
        // Many equals, so that ties decide who is among the first.
        let logits: Vec<f32> = (0..1000).map(|place| ((place * 7919 % 37) as f32 * 0.1).sin()).collect();
        let all = Drawing::new(0, 1.0, None, 1.0).ranked(&logits);
        let mut sorted: Vec<usize> = (0..logits.len()).collect();
        sorted.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
        assert_eq!(all, sorted);
        for most in [1, 2, 50, 999, 1000, 5000] {
            let first = Drawing::new(0, 1.0, Some(most), 1.0).ranked(&logits);
            assert_eq!(first, sorted[..most.min(1000)], "{most}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_draws() {
        let draws = |seed| {
            let mut drawing = Drawing::new(seed, 1.0, None, 0.9);
            (0..32).map(|_| drawing.next(&LOGITS)).collect::<Vec<_>>()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }
}
