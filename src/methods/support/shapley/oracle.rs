//! Games whose values are known by slower means, for tests of every Shapley method.

use serde_json::Value;

use crate::input::units::{Mask, Units};
use crate::methods::support::fake::Fake;
use crate::methods::{Attribution, METHODS, Planned, SettingError};

/// A worth for every pattern, without structure.
pub fn irregular(players: usize) -> Vec<f64> {
    (0..1_usize << players).map(|pattern| ((pattern * pattern + 3) as f64 * 0.7531).sin()).collect()
}

/// The mean gain of each player over all orders, one by one.
pub fn shapley(table: &[f64], players: usize) -> Vec<f64> {
    fn walk(table: &[f64], players: usize, present: usize, sums: &mut [f64], orders: &mut f64) -> f64 {
        let left: Vec<usize> = (0..players).filter(|player| present >> player & 1 == 0).collect();
        if left.is_empty() {
            *orders += 1.0;
            return 1.0;
        }
        let mut count = 0.0;
        for player in left {
            let with = present | 1 << player;
            let below = walk(table, players, with, sums, orders);
            sums[player] += below * (table[with] - table[present]);
            count += below;
        }
        count
    }
    let (mut sums, mut orders) = (vec![0.0; players], 0.0);
    walk(table, players, 0, &mut sums, &mut orders);
    sums.iter().map(|sum| sum / orders).collect()
}

/// The bits of a mask.
pub fn pattern(units: &Units, mask: &Mask) -> usize {
    (0..units.len()).filter(|&unit| mask.contains(unit)).map(|unit| 1 << unit).sum()
}

/// A text whose logit for label 1 is a function of the words present.
pub fn text(words: usize, worth: impl Fn(usize) -> f64 + 'static) -> Fake {
    let fake = Fake::text(words);
    let units = fake.units();
    fake.black(&units, move |units, mask| vec![0.0, worth(pattern(units, mask)) as f32])
}

/// A smooth game with interactions up to all orders: a sigmoid of weights and pairs.
pub fn smooth(players: usize) -> impl Fn(usize) -> f64 + 'static {
    move |pattern| {
        let z = |player: usize| (pattern >> player & 1) as f64;
        let weight = |player: usize| ((player * 7 + 3) as f64 * 1.3).sin();
        let alone: f64 = (0..players).map(|player| z(player) * weight(player)).sum();
        let pairs: f64 = (1..players).map(|player| z(player) * z(player - 1) * ((player * 5) as f64).cos() * 0.8).sum();
        1.0 / (1.0 + (-(alone + pairs - 0.3)).exp())
    }
}

/// The explanations of a registered method.
pub fn explain(method: &str, fake: &Fake, settings: &Value) -> Vec<Attribution> {
    let planned = plan(method, fake, settings);
    let planned = planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path));
    planned.explain(fake).unwrap_or_else(|error| panic!("{settings}: {error}"))
}

pub fn plan(method: &str, fake: &Fake, settings: &Value) -> Result<Box<dyn Planned>, SettingError> {
    let method = METHODS.iter().find(|known| known.name() == method).unwrap();
    method.plan(settings.as_object().unwrap().clone(), &fake.subject())
}

/// Where and why `settings` are refused.
pub fn refused(method: &str, fake: &Fake, settings: &Value) -> (String, String) {
    let error = plan(method, fake, settings).err().unwrap_or_else(|| panic!("{settings} was taken"));
    (error.path, error.detail)
}

pub fn near(found: &[f32], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((f64::from(*found) - expected).abs() <= tolerance, "{found} is not {expected}");
    }
}

/// The values of [`smooth`] with everything evaluated.
pub fn table(players: usize, worth: &dyn Fn(usize) -> f64) -> Vec<f64> {
    // The model's logits are f32.
    (0..1_usize << players).map(|pattern| f64::from(worth(pattern) as f32)).collect()
}
