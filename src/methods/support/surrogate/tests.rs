//! The surrogate against brute force and against lime itself (tests/golden/methods.py), and its own promises.

use serde::Deserialize;

use super::*;
use crate::input::segment::Segmentation;
use crate::input::units::UnitKind;
use crate::methods::support::fake::{self, Fake};

#[derive(Deserialize)]
struct Golden {
    text_12: Case,
    text_20: Case,
    image_9: Case,
    image_16: Case,
}

#[derive(Deserialize)]
struct Case {
    function: Function,
    samples: usize,
    /// lime's, one a seed.
    runs: Vec<Linear>,
    /// Brute force over all masks but the full one.
    exact: Option<Linear>,
}

#[derive(Deserialize)]
struct Linear {
    scores: Vec<f64>,
    intercept: f64,
    r2: f64,
}

/// sigmoid(bias + Σ aᵢ zᵢ + Σ c zᵢ zⱼ)
#[derive(Clone, Deserialize)]
struct Function {
    bias: f64,
    linear: Vec<f64>,
    pairs: Vec<(usize, usize, f64)>,
}

impl Function {
    /// Two logits whose softmax is the function.
    fn logits(&self, mask: &Mask) -> Vec<f32> {
        let on = |unit: usize| if mask.contains(unit) { 1.0 } else { 0.0 };
        let linear: f64 = self.linear.iter().enumerate().map(|(unit, a)| a * on(unit)).sum();
        let pairs: f64 = self.pairs.iter().map(|&(i, j, c)| c * on(i) * on(j)).sum();
        vec![0.0, (self.bias + linear + pairs) as f32]
    }
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("../../../../tests/golden/methods/lime.json")).unwrap()
}

fn words(units: usize) -> Units {
    Units::Text { kind: UnitKind::Word, members: (1..=units).map(|token| vec![token]).collect() }
}

fn patches(side: usize) -> Units {
    let segmentation =
        Segmentation { rows: side, cols: side, labels: (0..(side * side) as u16).collect(), count: side * side };
    Units::Image { kind: UnitKind::Patch, segmentation }
}

fn job(units: &Units, function: &Function) -> Fake {
    let function = function.clone();
    Fake::text(units.len()).black(units, move |_, mask| function.logits(mask))
}

fn run(fake: &Fake, units: &Units, mode: Mode) -> Result<Vec<Surrogate>, Error> {
    run_in(Precision::F32, fake, units, mode)
}

fn run_in(precision: Precision, fake: &Fake, units: &Units, mode: Mode) -> Result<Vec<Surrogate>, Error> {
    let text = matches!(units, Units::Text { .. });
    let kernel = if text { Kernel { scale: 100.0, width: 25.0 } } else { Kernel { scale: 1.0, width: 0.25 } };
    let draw = if text { Draw::Sizes } else { Draw::Coins };
    let (fill, output) = (Fill::Remove, OutputSpace::Probability);
    explain(&Plan { ctx: fake, units, fill, precision, output, kernel, draw, mode, refined: &|_| Ok(()) })
}

fn one(fake: &Fake, units: &Units, mode: Mode) -> Surrogate {
    run(fake, units, mode).unwrap().remove(0)
}

/// Check values of lime's text kernel at 20 words, for 1, 2, 5, 10 and 19 removed.
#[test]
fn the_kernel_is_limes() {
    let kernel = Kernel { scale: 100.0, width: 25.0 };
    for (removed, expected) in [(1, 0.9949), (2, 0.9792), (5, 0.8662), (10, 0.5034), (19, 0.0080)] {
        assert!((kernel.ln(20 - removed, 20).exp() - expected).abs() < 5e-5);
    }
    assert!((kernel.ln(0, 20) + 8.0).abs() < 1e-12);
}

/// The logits are f32, so the function differs from numpy's by 1e-7; against the same function the solver itself
/// agrees to 1e-9, below.
#[test]
fn enumeration_equals_brute_force() {
    let golden = golden();
    for (case, units) in [(&golden.text_12, words(12)), (&golden.image_9, patches(3))] {
        let fake = job(&units, &case.function);
        let found = one(&fake, &units, Mode::Exact);
        let exact = case.exact.as_ref().unwrap();
        for (found, expected) in found.fit.coefficients.iter().zip(&exact.scores) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        assert!((found.fit.intercept - exact.intercept).abs() < 1e-6);
        assert!((found.fit.r2 - exact.r2).abs() < 1e-6);
        assert!(found.exact && found.fit.unique && found.converged == Some(true));
        assert_eq!(found.evaluations, 1 << units.len());
        assert_eq!(found.samples, found.evaluations - 1);
        assert_eq!(fake.rows.get() + 1, found.evaluations, "each mask once, the full one never");
        assert!(found.fit.standard_errors.iter().all(|&error| error == 0.0));
    }
}

/// Weighted least squares by elimination on the normal equations with an explicit intercept column.
fn brute_force(fake: &Fake, units: usize) -> Vec<f64> {
    let size = units + 1;
    let mut system = vec![vec![0.0; size + 1]; size];
    let choose = |n: usize, k: usize| (0..k).map(|i| (n - i) as f64 / (i + 1) as f64).product::<f64>();
    for pattern in 0..(1_usize << units) - 1 {
        let mut mask = Mask::empty(units);
        (0..units).for_each(|unit| mask.set(unit, pattern >> unit & 1 == 1));
        let mut row: Vec<f64> = (0..units).map(|unit| (pattern >> unit & 1) as f64).collect();
        row.push(1.0);
        let kept = pattern.count_ones() as usize;
        let distance = 100.0 * (1.0 - (kept as f64 / units as f64).sqrt());
        let weight = (-distance * distance / 1250.0).exp() / units as f64 / choose(units, units - kept);
        let logits = (fake.black)(&words(units), &mask);
        let value = 1.0 / (1.0 + (-f64::from(logits[1])).exp());
        for i in 0..size {
            (0..size).for_each(|j| system[i][j] += weight * row[i] * row[j]);
            system[i][size] += weight * row[i] * value;
        }
    }
    for pivot in 0..size {
        let best = (pivot..size).max_by(|&a, &b| system[a][pivot].abs().total_cmp(&system[b][pivot].abs())).unwrap();
        system.swap(pivot, best);
        let base = system[pivot].clone();
        for (_, row) in system.iter_mut().enumerate().filter(|(index, _)| *index != pivot) {
            let factor = row[pivot] / base[pivot];
            row.iter_mut().zip(&base).for_each(|(value, base)| *value -= factor * base);
        }
    }
    (0..size).map(|i| system[i][size] / system[i][i]).collect()
}

#[test]
fn enumeration_is_exact_to_nine_digits() {
    let function = golden().text_12.function;
    for units in 2..=11 {
        let mut function = function.clone();
        function.linear.truncate(units);
        function.pairs.retain(|&(i, j, _)| i < units && j < units);
        let fake = job(&words(units), &function);
        let found = one(&fake, &words(units), Mode::Exact);
        let expected = brute_force(&fake, units);
        let scale = expected.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        for (found, expected) in found.fit.coefficients.iter().chain([&found.fit.intercept]).zip(&expected) {
            assert!((found - expected).abs() < 1e-9 * scale, "{units}: {found} {expected}");
        }
    }
}

fn mean_and_deviation(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let count = values.clone().count() as f64;
    let mean = values.clone().sum::<f64>() / count;
    (mean, (values.map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0)).sqrt())
}

#[test]
fn samples_lie_within_limes_own_spread() {
    let golden = golden();
    let cases = [
        (&golden.text_12, words(12)),
        (&golden.text_20, words(20)),
        (&golden.image_9, patches(3)),
        (&golden.image_16, patches(4)),
    ];
    for (case, units) in cases {
        let mut fake = job(&units, &case.function);
        let mut own = Vec::new();
        for seed in 0..8 {
            fake.seed = seed;
            own.push(one(&fake, &units, Mode::Fixed { samples: case.samples, ridge: 1.0 }));
            assert_eq!(own[own.len() - 1].samples, case.samples);
        }
        let runs = case.runs.len() as f64;
        for unit in 0..units.len() {
            let (mean, spread) = mean_and_deviation(case.runs.iter().map(|run| run.scores[unit]));
            let (own_mean, own_spread) = mean_and_deviation(own.iter().map(|run| run.fit.coefficients[unit]));
            // With eight runs a deviation is known to about a quarter, so both sides' count.
            let spread = spread.max(own_spread);
            for run in &own {
                assert!((run.fit.coefficients[unit] - mean).abs() < 4.0 * spread * (1.0 + 1.0 / runs).sqrt());
            }
            assert!((own_mean - mean).abs() < 4.0 * spread * (2.0 / runs).sqrt(), "{unit}: {own_mean} {mean}");
            // HC0 says what the spread is.
            let error = own[0].fit.standard_errors[unit];
            assert!(error > own_spread / 3.0 && error < own_spread * 3.0, "{unit}: {error} {own_spread}");
        }
        let (mean, spread) = mean_and_deviation(case.runs.iter().map(|run| run.intercept));
        assert!((own[0].fit.intercept - mean).abs() < 5.0 * spread);
        let (mean, spread) = mean_and_deviation(case.runs.iter().map(|run| run.r2));
        assert!((own[0].fit.r2 - mean).abs() < 5.0 * spread.max(1e-3));
    }
}

#[test]
fn batches_stop_at_the_tolerance_near_the_exact_scores() {
    let golden = golden();
    for (case, units) in [(&golden.text_12, words(12)), (&golden.image_16, patches(4))] {
        let fake = job(&units, &case.function);
        let found = one(&fake, &units, Mode::Adaptive { tolerance: 0.05, evaluations: 20_000 });
        assert_eq!(found.converged, Some(true));
        assert!(found.relative_error() <= 0.05);
        assert!(found.evaluations <= found.samples + 2);
        let exact = &case.exact.as_ref().unwrap().scores;
        for ((found, error), exact) in found.fit.coefficients.iter().zip(&found.fit.standard_errors).zip(exact) {
            assert!((found - exact).abs() < 4.5 * error, "{found} ± {error}, {exact}");
        }
    }
}

#[test]
fn a_budget_ends_the_batches() {
    let case = golden().text_20;
    let units = words(20);
    let fake = job(&units, &case.function);
    let found = one(&fake, &units, Mode::Adaptive { tolerance: 1e-6, evaluations: 700 });
    assert_eq!((found.converged, found.evaluations), (Some(false), 700));
    assert_eq!(fake.rows.get(), 699);
    // Fewer rows than unknowns: an answer, but never called converged.
    let found = one(&fake, &units, Mode::Adaptive { tolerance: 1.0, evaluations: 10 });
    assert_eq!((found.converged, found.fit.unique), (Some(false), false));
}

#[test]
fn one_unit_is_the_difference() {
    let fake = Fake::text(1).black(&words(1), |_, mask| vec![0.0, if mask.contains(0) { 2.0 } else { -1.0 }]);
    let found = one(&fake, &words(1), Mode::Exact);
    assert!((found.fit.coefficients[0] - (found.output - found.base)).abs() < 1e-12);
    assert!((found.fit.intercept - found.base).abs() < 1e-12);
    assert_eq!(found.evaluations, 2);
}

#[test]
fn a_constant_has_scores_of_zero_and_converges() {
    let fake = Fake::text(20).black(&words(20), |_, _| vec![0.0, 0.75]);
    let found = one(&fake, &words(20), Mode::Adaptive { tolerance: 0.05, evaluations: 5000 });
    assert!(found.fit.coefficients.iter().all(|score| score.abs() < 1e-12));
    assert_eq!(found.fit.r2, 1.0);
}

#[test]
fn narrow_kernels_still_have_an_answer() {
    let function = golden().text_12.function;
    let fake = job(&words(12), &function);
    let modes =
        [Mode::Exact, Mode::Fixed { samples: 300, ridge: 1.0 }, Mode::Adaptive { tolerance: 0.1, evaluations: 500 }];
    for (width, mode) in [0.01, 1e-300].into_iter().flat_map(|width| modes.map(|mode| (width, mode))) {
        let kernel = Kernel { scale: 100.0, width };
        let units = words(12);
        let plan = Plan {
            ctx: &fake,
            units: &units,
            fill: Fill::Remove,
            precision: Precision::F32,
            output: OutputSpace::Probability,
            kernel,
            draw: Draw::Sizes,
            mode,
            refined: &|_| Ok(()),
        };
        assert!(explain(&plan).unwrap()[0].fit.coefficients.iter().all(|score| score.is_finite()));
    }
}

#[test]
fn a_target_does_not_depend_on_the_targets_beside_it() {
    let case = golden().text_20;
    let units = words(20);
    let mut fake = job(&units, &case.function);
    let mode = Mode::Adaptive { tolerance: 0.05, evaluations: 5000 };
    let alone = one(&fake, &units, mode);
    fake.targets = vec![fake::target(0), fake::target(1)];
    fake.rows.set(0);
    let both = run(&fake, &units, mode).unwrap();
    assert_eq!(both[1].fit, alone.fit);
    assert_eq!(fake.rows.get() + 1, both.iter().map(|found| found.evaluations).max().unwrap(), "shared");
}

#[test]
fn a_deadline_leaves_a_fair_sample() {
    let golden = golden();
    let modes = [
        (words(12), &golden.text_12, Mode::Exact),
        (words(20), &golden.text_20, Mode::Fixed { samples: 5000, ridge: 1.0 }),
        (words(20), &golden.text_20, Mode::Adaptive { tolerance: 1e-9, evaluations: 5000 }),
    ];
    for (units, case, mode) in modes {
        let mut fake = job(&units, &case.function);
        fake.left.set(Some(1500));
        assert!(run(&fake, &units, mode).unwrap_err().stopped().is_some());
        fake.partial = true;
        fake.left.set(Some(1500));
        let found = one(&fake, &units, mode);
        assert!(found.partial && !found.exact && found.converged == Some(false));
        assert!(found.evaluations <= 1501 && found.evaluations > 1000, "{}", found.evaluations);
        for (score, error) in found.fit.coefficients.iter().zip(&found.fit.standard_errors) {
            assert!(score.is_finite() && *error > 0.0);
        }
        fake.left.set(Some(5));
        assert!(run(&fake, &units, mode).unwrap_err().stopped().is_some(), "five rows say nothing");
    }
}

#[test]
fn what_bf16_cost_is_measured() {
    let function = golden().text_12.function;
    let fake = job(&words(12), &function);
    let exact = &run(&fake, &words(12), Mode::Exact).unwrap()[0];
    let rounded = &run_in(Precision::Bf16, &fake, &words(12), Mode::Exact).unwrap()[0];
    assert_eq!(exact.precision_error, None);
    let error = rounded.precision_error.unwrap();
    // Logits of 8 significant bits, of which the largest is below 4.
    assert!(error > 1e-5 && error < 4.0 / 256.0, "{error}");
    assert_eq!(rounded.evaluations, exact.evaluations + 32);
    assert_ne!(rounded.fit.coefficients, exact.fit.coefficients);
    for (rounded, exact) in rounded.fit.coefficients.iter().zip(&exact.fit.coefficients) {
        assert!((rounded - exact).abs() < 2.0 * error, "{rounded} for {exact}");
    }
}
