//! Seeded random choices. Every one of them follows from the request's seed.

use rand::seq::index;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// The generator of a request.
pub fn generator(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

/// One of many independent generators of a request.
pub fn stream(seed: u64, number: u64) -> ChaCha8Rng {
    let mut rng = generator(seed);
    rng.set_stream(number);
    rng
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
        let order = |number| without_replacement(&mut stream(1, number), 50, 50);
        assert!(order(1) == order(1) && order(1) != order(2));
    }
}
