//! The regression against the definition, and its errors against what other seeds give.

use proptest::prelude::*;

use super::super::oracle;
use super::*;
use crate::input::units::{Fill, Units};
use crate::methods::Masking;
use crate::methods::support::fake::{self, Fake};
use crate::nn::Precision;
use crate::tasks::OutputSpace;

fn solve(fake: &Fake, mode: Mode, seed: u64) -> Result<Vec<Outcome>, Error> {
    let units: Units = fake.units();
    let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
    run(&mut Game::new(fake, masking, OutputSpace::Logit)?, mode, seed, &|_, _| Ok(()))
}

fn one(fake: &Fake, mode: Mode, seed: u64) -> Outcome {
    solve(fake, mode, seed).unwrap().remove(0)
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0, |largest, number| largest.max(number.abs()))
}

#[test]
fn all_coalitions_give_the_values() {
    for players in 1..=9 {
        let table = oracle::table(players, &{
            let worth = oracle::irregular(players);
            move |pattern| worth[pattern]
        });
        let worth = oracle::irregular(players);
        let found = one(&oracle::text(players, move |pattern| worth[pattern]), Mode::Exact, 0);
        assert!(found.exact && found.evaluations == 1 << players && found.converged == Some(true));
        let expected = if players < 8 { oracle::shapley(&table, players) } else { exact::values(&table, players) };
        for (found, expected) in found.scores.iter().zip(&expected) {
            assert!((found - expected).abs() < 1e-9);
        }
        assert_eq!(found.errors, Some(vec![0.0; players]));
    }
}

/// The regression over complete strata is the definition too: more players than a table is made of are solved by it.
#[test]
fn complete_strata_are_the_values() {
    let players = 8;
    let worth = oracle::irregular(players);
    let table = oracle::table(players, &|pattern| worth[pattern]);
    let fake = oracle::text(players, move |pattern| worth[pattern]);
    let units = fake.units();
    let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
    let mut game = Game::new(&fake, masking, OutputSpace::Logit).unwrap();
    run(&mut game, Mode::Exact, 3, &|_, _| Ok(())).unwrap();
    let mut sizes: Vec<Size> = (1..=players / 2).map(|size| Size::new(size, players, 3)).collect();
    let most = (1 << (players - 1)) - 1;
    for size in &mut sizes {
        size.draw(size.pairs as usize, most);
    }
    assert_eq!(sizes.iter().map(|size| size.drawn.len()).sum::<usize>(), most);
    let (base, output) = game.ends(0).unwrap();
    let pair = |pair: &Pair<'_>| 0.5 * (pair.with - pair.without + output - base);
    let values: Vec<f64> = pairs(&game, &sizes, 0).unwrap().iter().map(pair).collect();
    let found = regress(&sizes, &[(&values, output - base)]).unwrap().remove(0);
    for (found, expected) in found.coefficients.iter().zip(exact::values(&table, players)) {
        assert!((found - expected).abs() < 1e-9, "{found} {expected}");
    }
    assert!(largest(&found.standard_errors) < 1e-9);
}

/// A game of single players and pairs is solved by few coalitions: their complements take the pairs out of the error.
#[test]
fn pairs_of_players_cost_no_samples() {
    let players = 20;
    let weight = |player: usize| f64::from(player as u32 % 5) - 1.5;
    let pair = |player: usize| f64::from(player as u32 % 3) - 1.0;
    let fake = oracle::text(players, move |pattern| {
        let z = |player: usize| (pattern >> player & 1) as f64;
        (0..players).map(|player| z(player) * weight(player)).sum::<f64>()
            + (1..players).map(|player| z(player) * z(player - 1) * pair(player)).sum::<f64>()
    });
    let found = one(&fake, Mode::Fixed { samples: 160 }, 5);
    for (player, score) in found.scores.iter().enumerate() {
        let right = if player + 1 < players { pair(player + 1) } else { 0.0 };
        let left = if player > 0 { pair(player) } else { 0.0 };
        assert!((score - weight(player) - 0.5 * (left + right)).abs() < 1e-5, "{player} {score}");
    }
    assert!(found.evaluations <= 162 && largest(found.errors.as_ref().unwrap()) < 1e-5);
}

#[test]
fn errors_are_the_spread_between_seeds() {
    let players = 14;
    let fake = oracle::text(players, oracle::smooth(players));
    let truth = exact::values(&oracle::table(players, &oracle::smooth(players)), players);
    let (seeds, mut squares, mut claimed) = (60, vec![0.0; players], vec![0.0; players]);
    for seed in 0..seeds {
        let found = one(&fake, Mode::Fixed { samples: 200 }, seed);
        for player in 0..players {
            squares[player] += (found.scores[player] - truth[player]).powi(2);
            claimed[player] += found.errors.as_ref().unwrap()[player].powi(2);
        }
    }
    let (spread, error) = (squares.iter().sum::<f64>().sqrt(), claimed.iter().sum::<f64>().sqrt());
    assert!((error / spread - 1.0).abs() < 0.25, "claimed {error}, found {spread}");
}

/// A curve over single players and pairs is what the game is made of: most of the plain regression's error is gone.
#[test]
fn a_control_takes_error_out() {
    let players = 14;
    let fake = oracle::text(players, oracle::smooth(players));
    let truth = exact::values(&oracle::table(players, &oracle::smooth(players)), players);
    let squares = |scores: &[f64]| scores.iter().zip(&truth).map(|(score, truth)| (score - truth).powi(2)).sum::<f64>();
    let (mut with, mut plain) = (0.0, 0.0);
    for seed in 0..10 {
        with += squares(&one(&fake, Mode::Fixed { samples: 400 }, seed).scores);
        let units = fake.units();
        let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
        let mut game = Game::new(&fake, masking, OutputSpace::Logit).unwrap();
        let mut sizes: Vec<Size> = (1..=players / 2).map(|size| Size::new(size, players, seed)).collect();
        let counts = allocate(&sizes, 200);
        sizes.iter_mut().zip(counts).for_each(|(size, count)| size.draw(count, 200));
        let masks = sizes.iter().flat_map(|size| &size.drawn);
        game.evaluate(masks.flat_map(|mask| [mask.clone(), complement(mask, players)]).collect::<Vec<_>>()).unwrap();
        let (base, output) = game.ends(0).unwrap();
        let pair = |pair: &Pair<'_>| 0.5 * (pair.with - pair.without + output - base);
        let values: Vec<f64> = pairs(&game, &sizes, 0).unwrap().iter().map(pair).collect();
        plain += squares(&regress(&sizes, &[(&values, output - base)]).unwrap()[0].coefficients);
    }
    assert!(with < 0.3 * plain, "{with} {plain}");
}

#[test]
fn sampling_ends_within_its_tolerance() {
    let players = 16;
    let fake = oracle::text(players, oracle::smooth(players));
    let truth = exact::values(&oracle::table(players, &oracle::smooth(players)), players);
    let found = one(&fake, Mode::Adaptive { tolerance: 0.02, evaluations: 5000 }, 1);
    assert_eq!((found.converged, found.exact), (Some(true), false));
    assert!(found.evaluations < 2500, "{}", found.evaluations);
    let error = found.scores.iter().zip(&truth).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error < 4.0 * 0.02 * largest(&truth), "{error}");
    let poor = one(&fake, Mode::Adaptive { tolerance: 1e-6, evaluations: 400 }, 1);
    assert!(poor.converged == Some(false) && poor.evaluations <= 400);
}

#[test]
fn a_target_does_not_depend_on_those_beside_it() {
    let players = 14;
    let smooth = oracle::smooth(players);
    let mut fake = oracle::text(players, smooth);
    let inner = oracle::smooth(players);
    fake.black = Box::new(move |units, mask| {
        let pattern = oracle::pattern(units, mask);
        vec![(pattern.count_ones() as f32).sqrt(), inner(pattern) as f32]
    });
    fake.logits = (fake.black)(&fake.units(), &Mask::full(players));
    let mode = Mode::Adaptive { tolerance: 0.03, evaluations: 3000 };
    let alone = one(&fake, mode, 2);
    fake.targets = vec![fake::target(0), fake::target(1)];
    let both = solve(&fake, mode, 2).unwrap();
    assert_eq!((both[1].scores.clone(), both[1].evaluations), (alone.scores, alone.evaluations));
}

#[test]
fn a_deadline_leaves_the_last_round() {
    let mut fake = oracle::text(16, oracle::smooth(16));
    fake.partial = true;
    for mode in [Mode::Adaptive { tolerance: 1e-6, evaluations: 4000 }, Mode::Fixed { samples: 4000 }] {
        fake.left.set(Some(1000));
        let found = one(&fake, mode, 0);
        assert!(found.partial && found.converged == Some(false) && !found.exact);
        assert!(found.samples > 200 && found.samples <= 1000);
    }
    let mut few = oracle::text(10, oracle::smooth(10));
    few.partial = true;
    few.left.set(Some(700));
    assert!(one(&few, Mode::Exact, 0).partial);
    few.left.set(Some(20));
    assert!(solve(&few, Mode::Exact, 0).unwrap_err().stopped().is_some());
}

#[test]
fn too_few_pairs_are_said_to_be() {
    let found = one(&oracle::text(20, oracle::smooth(20)), Mode::Fixed { samples: 10 }, 0);
    assert!(!found.unique && found.evaluations == 12);
    assert!(
        (found.scores.iter().sum::<f64>() - (oracle::smooth(20)((1 << 20) - 1) - oracle::smooth(20)(0))).abs() < 1e-6
    );
}

proptest! {
    #[test]
    fn more_pairs_take_none_away(players in 2_usize..40, pairs in 0_usize..4000) {
        let sizes: Vec<Size> = (1..=players / 2).map(|size| Size::new(size, players, 0)).collect();
        let (fewer, more) = (allocate(&sizes, pairs), allocate(&sizes, pairs + 17));
        prop_assert!(fewer.iter().sum::<usize>() <= pairs);
        prop_assert!(fewer.iter().zip(&more).all(|(fewer, more)| fewer <= more));
        prop_assert!(fewer.iter().zip(&sizes).all(|(&count, size)| count as f64 <= size.pairs));
        let all: f64 = sizes.iter().map(|size| size.pairs).sum();
        if all <= pairs as f64 {
            prop_assert!(fewer.iter().zip(&sizes).all(|(&count, size)| size.full(count)));
        }
    }
}

#[test]
fn drawn_coalitions_are_different_and_of_their_size() {
    for (players, size, count) in [(6, 2, 15), (6, 3, 10), (30, 15, 50), (30, 4, 50)] {
        let mut sizes = Size::new(size, players, 9);
        sizes.draw(count, if players == 6 { 1000 } else { 60 });
        assert_eq!(sizes.drawn.len(), count);
        assert!(sizes.drawn.iter().all(|mask| mask.count() == size && (2 * size != players || mask.contains(0))));
        assert_eq!(sizes.drawn.iter().collect::<HashSet<_>>().len(), count);
        let before = sizes.drawn.clone();
        sizes.draw(count + 1, if players == 6 { 1000 } else { 60 });
        assert_eq!(sizes.drawn[..count], before);
    }
}
