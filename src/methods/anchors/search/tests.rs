//! Known rules, brute force, and what ends a search.

use rand_chacha::ChaCha8Rng;

use super::*;
use crate::numerics::sampling;

const WANTED: Wanted = Wanted { min_precision: 0.95, delta: 0.1, tau: 0.15, beam: 4, max_units: usize::MAX };

/// Draws of a function of masks.
struct Coins<F> {
    units: usize,
    same: F,
    rng: ChaCha8Rng,
    left: usize,
}

impl<F: Fn(u64) -> bool> Draw for Coins<F> {
    fn draw(&mut self, kept: &[usize], count: usize) -> Result<Option<usize>, Error> {
        if self.left < count {
            return Ok(None);
        }
        self.left -= count;
        let mut hits = 0;
        for _ in 0..count {
            let mut mask = 0_u64;
            for unit in 0..self.units {
                let coin = sampling::coin(&mut self.rng);
                mask |= u64::from(coin || kept.contains(&unit)) << unit;
            }
            hits += usize::from((self.same)(mask));
        }
        Ok(Some(hits))
    }
    fn left(&self) -> usize {
        self.left
    }
}

fn searched(units: usize, budget: usize, seed: u64, same: impl Fn(u64) -> bool) -> Found {
    search(units, WANTED, &mut Coins { units, same, rng: sampling::generator(seed), left: budget }).unwrap()
}

#[test]
fn an_and_of_two_units_is_its_rule() {
    for seed in 0..5 {
        let found = searched(20, 20_000, seed, |mask| mask >> 3 & 1 == 1 && mask >> 11 & 1 == 1);
        assert_eq!((found.units, found.converged), (vec![3, 11], true), "{seed}");
        assert_eq!(found.precision, 1.0);
        assert!(found.bounds[0] > 0.9 && found.bounds[1] == 1.0, "{:?}", found.bounds);
    }
}

#[test]
fn what_is_always_said_needs_no_unit() {
    let found = searched(30, 5_000, 1, |_| true);
    assert_eq!((found.units.len(), found.precision, found.converged), (0, 1.0, true));
}

#[test]
fn an_and_of_all_units_ends_at_all_of_them() {
    let all = |units: usize| move |mask: u64| mask == (1 << units) - 1;
    let found = searched(3, 5_000, 1, all(3));
    assert_eq!((found.units, found.bounds, found.precision), (vec![0, 1, 2], [1.0, 1.0], 1.0));
}

#[test]
fn a_budget_ends_it_with_the_clearest_rule() {
    let found = searched(20, 400, 1, |mask| mask >> 3 & 1 == 1 && mask >> 11 & 1 == 1);
    assert!(!found.converged && found.bounds[0] <= found.precision && found.precision <= found.bounds[1]);
    let nothing = searched(20, 0, 1, |_| true);
    assert_eq!((nothing.units.len(), nothing.bounds, nothing.converged), (0, [0.0, 1.0], false));
}

/// The precision of every set of units, one by one.
fn brute(units: usize, same: &[bool], kept: usize) -> f64 {
    let above: Vec<bool> = (0..1 << units).filter(|mask| mask & kept == kept).map(|mask| same[mask]).collect();
    above.iter().filter(|&&same| same).count() as f64 / above.len() as f64
}

proptest::proptest! {
    #[test]
    fn enumeration_is_brute_force(mut same in proptest::collection::vec(proptest::bool::weighted(0.6), 64), min in 0.3_f64..1.0) {
        let units = 6;
        same[63] = true;
        let known: Vec<Option<bool>> = same.iter().copied().map(Some).collect();
        let found = enumerate(units, Wanted { min_precision: min, ..WANTED }, &known);
        let bits = found.units.iter().map(|unit| 1 << unit).sum::<usize>();
        proptest::prop_assert!(found.converged && found.bounds == [found.precision; 2]);
        proptest::prop_assert!((found.precision - brute(units, &same, bits)).abs() < 1e-15);
        proptest::prop_assert!(found.precision >= min);
        for other in 0..64_usize {
            let (size, precision) = (other.count_ones(), brute(units, &same, other));
            let smaller = size < bits.count_ones() && precision >= min;
            let better = size == bits.count_ones() && precision > found.precision;
            proptest::prop_assert!(!smaller && !better, "{other:b} {bits:b}");
        }
    }
}

#[test]
fn half_known_masks_have_bounds() {
    let known: Vec<Option<bool>> = (0..16).map(|mask| (mask % 3 != 0).then_some(mask & 1 == 1)).collect();
    let found = enumerate(4, WANTED, &known);
    assert_eq!(found.units, [0]);
    assert!(!found.converged && found.bounds[0] < 1.0);
}
