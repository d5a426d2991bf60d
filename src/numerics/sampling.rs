//! Seeded random choices. Every one of them follows from the request's seed.

use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::StandardNormal;

/// The first of the draws (see [`generator_of`]) that belong to measuring an explanation over masks. A method counts its
/// own from 0, and takes fewer than this.
pub const MEASURING: u64 = 1 << 40;
/// The first of the draws that belong to the changed inputs that a method is run on again: what it is measured with has
/// nothing in common with what it drew itself.
pub const CHANGES: u64 = 1 << 41;

/// The generator of a request.
pub fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// The generator of one draw of many, whatever was drawn before it: draws may be made in any order.
pub fn generator_of(seed: u64, draw: u64) -> ChaCha8Rng {
    let mut rng = generator(seed);
    rng.set_stream(draw + 1);
    rng
}

/// A standard normal number.
pub fn normal(rng: &mut ChaCha8Rng) -> f64 {
    rng.sample(StandardNormal)
}

/// A number of [0, 1), each equally likely.
pub fn uniform(rng: &mut ChaCha8Rng) -> f64 {
    rng.random()
}

/// An integer of `low..=high`, each equally likely.
pub fn integer(rng: &mut ChaCha8Rng, low: usize, high: usize) -> usize {
    rng.random_range(low..=high)
}

/// True with probability one half.
pub fn coin(rng: &mut ChaCha8Rng) -> bool {
    rng.random()
}

/// `count` different indices below `length` (all of them where `count` is more), every subset equally likely.
pub fn without_replacement(rng: &mut ChaCha8Rng, length: usize, count: usize) -> Vec<usize> {
    index::sample(rng, length, count.min(length)).into_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_have_streams_of_their_own() {
        let draw = |number| {
            let mut rng = generator_of(5, number);
            [normal(&mut rng), uniform(&mut rng)]
        };
        assert_eq!(draw(3), draw(3));
        assert!(draw(0) != draw(1) && draw(0)[0] != normal(&mut generator(5)));
        let (n, mut sums) = (20_000, [0.0; 3]);
        for number in 0..n {
            let [normal, uniform] = draw(number);
            sums.iter_mut().zip([normal, normal * normal, uniform]).for_each(|(sum, x)| *sum += x / n as f64);
        }
        // Five standard errors.
        assert!(sums[0].abs() < 0.036 && (sums[1] - 1.0).abs() < 0.05 && (sums[2] - 0.5).abs() < 0.011, "{sums:?}");
    }

    #[test]
    fn draws_are_distinct_seeded_and_even() {
        let mut rng = generator(7);
        let mut hits = [0_usize; 10];
        for _ in 0..10_000 {
            let drawn = without_replacement(&mut rng, 10, 3);
            let mut sorted = drawn.clone();
            sorted.sort_unstable();
            sorted.dedup();
            assert_eq!(sorted.len(), 3);
            drawn.iter().for_each(|&index| hits[index] += 1);
        }
        // Each index is expected 3,000 times; six standard deviations are 275.
        assert!(hits.iter().all(|&hit| hit.abs_diff(3_000) < 275), "{hits:?}");
        assert_eq!(without_replacement(&mut generator(1), 50, 50), without_replacement(&mut generator(1), 50, 50));
        assert_eq!(without_replacement(&mut generator(1), 3, 9).len(), 3);
        let order = |number| without_replacement(&mut generator_of(1, number), 50, 50);
        assert!(order(1) == order(1) && order(1) != order(2));
    }
}
