//! Tests of `owen`: against the mean over all orders that keep groups together, and within any budget.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::input::units::{Fill, Units};
use crate::methods::Masking;
use crate::methods::support::fake::Fake;
use crate::methods::support::shapley::oracle;
use crate::nn::Precision;
use crate::tasks::OutputSpace;

fn solve(fake: &Fake, groups: &Value, evaluations: usize) -> Result<Owen, Error> {
    let units: Units = fake.units();
    let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
    let tree = Tree::named(groups.as_array().unwrap(), units.len()).unwrap();
    owen(&mut Game::new(fake, masking, OutputSpace::Logit)?, &tree, 0, evaluations, None)
}

/// What is shown on the way adds up to the output's change like the end, of which it is the same as under a budget.
#[test]
fn what_is_shown_on_the_way_adds_up() {
    let groups = json!((0..32).map(|pair| json!([2 * pair, 2 * pair + 1])).collect::<Vec<Value>>());
    // A node of many parts is split by all of their coalitions: these are binary.
    let halves = |parts: Vec<Value>| -> Vec<Value> {
        parts.chunks(2).map(|pair| if pair.len() == 2 { json!(pair) } else { pair[0].clone() }).collect()
    };
    let mut tree = groups.as_array().unwrap().clone();
    while tree.len() > 2 {
        tree = halves(tree);
    }
    let fake = Fake::text(64);
    let units = fake.units();
    let fake = fake.black(&units, |units, mask| {
        let there: Vec<f32> = (0..units.len()).map(|unit| f32::from(u8::from(mask.contains(unit)))).collect();
        vec![0.0, there.iter().zip(there.iter().skip(7)).map(|(a, b)| a * b + 0.5 * a).sum()]
    });
    let masking = Masking { units: &units, fill: Fill::Remove, precision: Precision::F32 };
    let tree = Tree::named(&tree, 64).unwrap();
    let mut game = Game::new(&fake, masking, OutputSpace::Logit).unwrap();
    let (without, with) = game.ends(0).unwrap();
    let shown = std::cell::RefCell::new(vec![unsplit(&game, &tree, 0).unwrap()]);
    let refined = |_: &Game<'_>, owen: Owen| {
        shown.borrow_mut().push(owen);
        Ok(())
    };
    let end = owen(&mut game, &tree, 0, 400, Some(&refined)).unwrap();
    let shown = shown.into_inner();
    assert!(shown.len() > 3 && shown.windows(2).all(|pair| pair[0].evaluations < pair[1].evaluations));
    for one in shown.iter().chain([&end]) {
        assert!((one.scores.iter().sum::<f64>() - (with - without)).abs() < 1e-9);
    }
    assert!(shown.iter().all(|one| one.unsplit > 0 && !one.partial));
}

/// All orders of a group's units that keep the units of every group inside it together.
fn orders(groups: &Value) -> Vec<Vec<usize>> {
    let Some(parts) = groups.as_array() else { return vec![vec![groups.as_u64().unwrap() as usize]] };
    let mut all = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let rest: Vec<Value> =
            parts.iter().enumerate().filter(|(other, _)| *other != index).map(|(_, p)| p.clone()).collect();
        let behind = if rest.is_empty() { vec![Vec::new()] } else { orders(&Value::Array(rest)) };
        for first in orders(part) {
            all.extend(behind.iter().map(|behind| [first.clone(), behind.clone()].concat()));
        }
    }
    all
}

fn by_orders(table: &[f64], groups: &Value, players: usize) -> Vec<f64> {
    let orders = orders(groups);
    let mut sums = vec![0.0; players];
    for order in &orders {
        let mut present = 0;
        for &player in order {
            sums[player] += table[present | 1 << player] - table[present];
            present |= 1 << player;
        }
    }
    sums.iter().map(|sum| sum / orders.len() as f64).collect()
}

#[test]
fn values_are_the_mean_over_orders_that_keep_groups_together() {
    let players = 6;
    for groups in [
        json!([0, 1, 2, 3, 4, 5]),
        json!([[0, 1, 2], [3, 4, 5]]),
        json!([[0, [1, 2]], [3, [4, 5]]]),
        json!([[[[[0, 1], 2], 3], 4], 5]),
        json!([[5, 0], 1, [2, 3, 4]]),
    ] {
        let worth = oracle::irregular(players);
        let table = oracle::table(players, &|pattern| worth[pattern]);
        let fake = oracle::text(players, move |pattern| worth[pattern]);
        let found = solve(&fake, &groups, 1000).unwrap();
        assert_eq!((found.unsplit, found.partial), (0, false));
        for (found, expected) in found.scores.iter().zip(by_orders(&table, &groups, players)) {
            assert!((found - expected).abs() < 1e-9, "{groups}: {found} {expected}");
        }
    }
}

#[test]
fn the_largest_share_is_split_first() {
    // Only units 4 and 5 count; with one more group to split, theirs is.
    let fake = oracle::text(6, |pattern| 3.0 * (pattern >> 4 & 1) as f64 - (pattern >> 5 & 1) as f64);
    let groups = json!([[[0, 1], [2, 3]], [4, 5]]);
    // The root takes two masks more, the group [4, 5] two in each of its two contexts.
    let found = solve(&fake, &groups, 2 + 2 + 4).unwrap();
    assert_eq!((found.scores, found.evaluations), (vec![0.0, 0.0, 0.0, 0.0, 3.0, -1.0], 8));
    assert_eq!(found.unsplit, 2);
    let none = solve(&fake, &groups, 2).unwrap();
    assert!(none.scores.iter().all(|score| (score - 2.0 / 6.0).abs() < 1e-9) && none.unsplit == 1);
}

#[test]
fn a_deadline_spreads_what_is_left() {
    let mut fake = oracle::text(8, oracle::smooth(8));
    let groups = json!([[[0, 1], [2, 3]], [[4, 5], [6, 7]]]);
    fake.left.set(Some(5));
    assert!(solve(&fake, &groups, 500).is_err());
    fake.left.set(Some(5));
    fake.partial = true;
    let found = solve(&fake, &groups, 500).unwrap();
    assert!(found.partial && found.unsplit > 0);
    let change = f64::from(oracle::smooth(8)(255) as f32) - f64::from(oracle::smooth(8)(0) as f32);
    assert!((found.scores.iter().sum::<f64>() - change).abs() < 1e-12);
}

proptest! {
    #[test]
    fn any_budget_keeps_the_sum(evaluations in 2_usize..80) {
        let fake = oracle::text(7, { let worth = oracle::irregular(7); move |pattern| worth[pattern] });
        let table = oracle::table(7, &{ let worth = oracle::irregular(7); move |pattern| worth[pattern] });
        let found = solve(&fake, &json!([[[0, 1], 2], [[3, 4], [5, 6]]]), evaluations).unwrap();
        prop_assert!(found.evaluations <= evaluations && fake.rows.get() <= evaluations);
        prop_assert!((found.scores.iter().sum::<f64>() - (table[127] - table[0])).abs() < 1e-12);
    }
}
