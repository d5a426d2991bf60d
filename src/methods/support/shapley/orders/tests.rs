//! Orders against the definition, and their errors against what other seeds give.

use super::super::{exact, oracle};
use super::*;
use crate::input::units::{Fill, Units};
use crate::methods::Masking;
use crate::methods::support::fake::Fake;
use crate::nn::Precision;
use crate::tasks::OutputSpace;

fn solve(fake: &Fake, mode: Mode, seed: u64) -> Result<Outcome, Error> {
    let units: Units = fake.units();
    let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
    Ok(run(&mut Game::new(fake, masking, OutputSpace::Logit)?, mode, seed, &|_, _| Ok(()))?.remove(0))
}

fn one(fake: &Fake, mode: Mode, seed: u64) -> Outcome {
    solve(fake, mode, seed).unwrap()
}

/// The mean over a pair of orders, walked through by hand.
#[test]
fn a_pair_of_orders_is_an_order_and_its_reverse() {
    let players = 5;
    let worth = oracle::irregular(players);
    let table = oracle::table(players, &|pattern| worth[pattern]);
    let found = one(&oracle::text(players, move |pattern| worth[pattern]), Mode::Fixed { samples: 2 }, 4);
    let order = sampling::without_replacement(&mut sampling::generator(4), players, players);
    let mut expected = vec![0.0; players];
    for order in [order.clone(), order.iter().rev().copied().collect()] {
        let mut present = 0;
        for &player in &order {
            expected[player] += 0.5 * (table[present | 1 << player] - table[present]);
            present |= 1 << player;
        }
    }
    for (found, expected) in found.scores.iter().zip(&expected) {
        assert!((found - expected).abs() < 1e-9);
    }
    assert_eq!((found.samples, found.errors, found.evaluations), (2, None, 2 + 2 * 4));
}

#[test]
fn errors_are_the_spread_between_seeds() {
    let players = 13;
    let fake = oracle::text(players, oracle::smooth(players));
    let truth = exact::values(&oracle::table(players, &oracle::smooth(players)), players);
    let (mut squares, mut claimed) = (0.0, 0.0);
    for seed in 0..60 {
        let found = one(&fake, Mode::Fixed { samples: 24 }, seed);
        squares += found.scores.iter().zip(&truth).map(|(score, truth)| (score - truth).powi(2)).sum::<f64>();
        claimed += found.errors.iter().flatten().map(|error| error * error).sum::<f64>();
    }
    let ratio = (claimed / squares).sqrt();
    assert!((ratio - 1.0).abs() < 0.2, "{ratio}");
}

#[test]
fn sampling_ends_within_its_tolerance_or_budget() {
    let players = 14;
    let fake = oracle::text(players, oracle::smooth(players));
    let truth = exact::values(&oracle::table(players, &oracle::smooth(players)), players);
    let largest = truth.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
    let found = one(&fake, Mode::Adaptive { tolerance: 0.05, evaluations: 8000 }, 1);
    assert_eq!((found.converged, found.exact), (Some(true), false));
    let error = found.scores.iter().zip(&truth).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error < 4.0 * 0.05 * largest, "{error}");
    let poor = one(&fake, Mode::Adaptive { tolerance: 1e-9, evaluations: 500 }, 1);
    assert!(poor.converged == Some(false) && poor.evaluations <= 500 && poor.samples >= 16);
}

/// Where nearly every coalition is known, walking on would evaluate nothing and never end.
#[test]
fn known_coalitions_end_it_too() {
    let worth = oracle::irregular(13);
    let fake = oracle::text(13, move |pattern| worth[pattern]);
    let found = one(&fake, Mode::Adaptive { tolerance: 1e-12, evaluations: 9000 }, 1);
    assert_eq!(found.converged, Some(false));
}

#[test]
fn drawing_looks_at_the_deadline() {
    let mut fake = oracle::text(16, oracle::smooth(16));
    fake.left.set(Some(1));
    let mode = Mode::Adaptive { tolerance: 0.1, evaluations: 1 << 30 };
    let units = fake.units();
    let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
    let mut rng = sampling::generator(0);
    let game = Game::new(&fake, masking, OutputSpace::Logit).unwrap();
    assert!(draw(&game, mode, &mut rng, 0, 100_000).err().unwrap().stopped().is_some());
    drop(game);
    (fake.partial, fake.left) = (true, std::cell::Cell::new(Some(1)));
    let game = Game::new(&fake, masking, OutputSpace::Logit).unwrap();
    let Round { orders, masks, more } = draw(&game, mode, &mut rng, 0, 100_000).unwrap();
    assert!(orders.len() < WATCHED && more);
    let different: HashSet<&Mask> = masks.iter().collect();
    let walked: HashSet<Mask> = orders.iter().flat_map(|order| prefixes(order)).collect();
    assert!(different.len() == masks.len() && walked.len() == masks.len());
}

#[test]
fn a_deadline_leaves_the_orders_walked() {
    let mut fake = oracle::text(16, oracle::smooth(16));
    fake.partial = true;
    fake.left.set(Some(500));
    let found = one(&fake, Mode::Fixed { samples: 400 }, 0);
    assert!(found.partial && found.samples >= 16 && found.samples < 40);
    fake.left.set(Some(10));
    assert!(solve(&fake, Mode::Fixed { samples: 400 }, 0).unwrap_err().stopped().is_some());
    fake.partial = false;
    fake.left.set(Some(500));
    assert!(solve(&fake, Mode::Fixed { samples: 400 }, 0).is_err());
}
