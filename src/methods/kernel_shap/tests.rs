//! What the Shapley methods resolve, refuse and return, and that they agree with each other and with shap and Captum
//! (tests/golden/perturbation.py); the estimators' own tests are beside them.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::input::segment;
use crate::input::units::{UnitKind, Units};
use crate::methods::Attribution;
use crate::methods::support::fake::{self, Fake};
use crate::methods::support::shapley::{exact, oracle};
use oracle::{explain, near, plan, refused};

/// The methods that enumerate few units by themselves.
const SAMPLERS: [&str; 2] = ["kernel_shap", "shapley_sampling"];

#[derive(Deserialize)]
struct Case {
    function: Function,
    hierarchy: Value,
    /// shap's KernelExplainer over all coalitions.
    kernel: Vec<f64>,
    /// The Shapley interaction index by its definition, 0 on the diagonal.
    interactions: Vec<Vec<f64>>,
    /// shap's PartitionExplainer with that hierarchy.
    partition: Vec<f64>,
    /// Captum's ShapleyValues over all orders.
    orders: Option<Vec<f64>>,
}

/// sigmoid(bias + Σ aᵢ zᵢ + Σ c zᵢ zⱼ), as tests/golden/methods.py draws it.
#[derive(Clone, Deserialize)]
struct Function {
    bias: f64,
    linear: Vec<f64>,
    pairs: Vec<(usize, usize, f64)>,
}

impl Function {
    /// The logit whose sigmoid it is.
    fn logit(&self, pattern: usize) -> f64 {
        let on = |unit: usize| (pattern >> unit & 1) as f64;
        let linear: f64 = self.linear.iter().enumerate().map(|(unit, a)| a * on(unit)).sum();
        self.bias + linear + self.pairs.iter().map(|&(i, j, c)| c * on(i) * on(j)).sum::<f64>()
    }
}

fn goldens() -> Vec<Case> {
    let file = include_str!("../../../tests/golden/methods/shapley.json");
    let cases: std::collections::BTreeMap<String, Case> = serde_json::from_str(file).unwrap();
    cases.into_values().collect()
}

fn job(function: &Function) -> Fake {
    let own = function.clone();
    oracle::text(function.linear.len(), move |pattern| own.logit(pattern))
}

fn words(attribution: &Attribution) -> &[f32] {
    attribution.scores.words.as_deref().unwrap()
}

/// Within 1e-6: the model's logits are f32.
#[test]
fn all_coalitions_are_shaps_and_captums() {
    for case in goldens() {
        let fake = job(&case.function);
        let ours = |method: &str, settings: &Value| explain(method, &fake, settings).remove(0);
        for method in SAMPLERS {
            near(words(&ours(method, &json!({}))), &case.kernel, 1e-6);
        }
        let flat = ours("partition_shap", &json!({"hierarchy": "flat", "max_evaluations": 1024}));
        near(words(&flat), &case.kernel, 1e-6);
        let grouped = ours("partition_shap", &json!({"hierarchy": case.hierarchy}));
        near(words(&grouped), &case.partition, 1e-6);
        assert_eq!(grouped.diagnostics.exact, Some(true));
        if let Some(orders) = &case.orders {
            near(words(&ours("shapley_sampling", &json!({}))), orders, 1e-6);
        }
    }
}

#[test]
fn interactions_are_the_index_of_each_pair() {
    for case in goldens() {
        let fake = job(&case.function);
        for (method, settings) in [
            ("kernel_shap", json!({"interactions": true})),
            ("shapley_sampling", json!({"interactions": true})),
            ("partition_shap", json!({"interactions": true, "hierarchy": "flat"})),
        ] {
            let found = explain(method, &fake, &settings).remove(0).interactions.unwrap();
            for (i, (row, expected)) in found.iter().zip(&case.interactions).enumerate() {
                let rest = case.kernel[i] - 0.5 * expected.iter().sum::<f64>();
                let whole = expected.iter().enumerate().map(|(j, value)| if i == j { rest } else { *value });
                near(row, &whole.collect::<Vec<_>>(), 1e-6);
            }
        }
    }
}

/// Up to 12 units every Shapley method and brute force agree.
#[test]
fn the_methods_agree_with_brute_force() {
    for players in [1, 2, 3, 7, 12] {
        let worth = oracle::irregular(players);
        let table = oracle::table(players, &|pattern| worth[pattern]);
        let expected = if players < 8 { oracle::shapley(&table, players) } else { exact::values(&table, players) };
        let fake = oracle::text(players, move |pattern| worth[pattern]);
        for (method, settings) in [
            ("kernel_shap", json!({"output": "logit"})),
            ("shapley_sampling", json!({"output": "logit"})),
            ("partition_shap", json!({"output": "logit", "hierarchy": "flat"})),
        ] {
            let found = explain(method, &fake, &settings).remove(0);
            near(words(&found), &expected, 1e-6);
            assert!(found.residual.unwrap().abs() < 1e-6);
            let diagnostics = &found.diagnostics;
            assert_eq!((diagnostics.exact, diagnostics.converged), (Some(true), Some(true)));
            assert_eq!(diagnostics.evaluations, 1 << players);
            let change = table[(1 << players) - 1] - table[0];
            assert!((f64::from(found.output_value.unwrap() - found.base_value.unwrap()) - change).abs() < 1e-6);
        }
    }
}

#[test]
fn sampled_values_add_up_and_say_how_good_they_are() {
    let fake = oracle::text(15, oracle::smooth(15));
    for method in SAMPLERS {
        let found = explain(method, &fake, &json!({"output": "logit", "tolerance": 0.1})).remove(0);
        let diagnostics = &found.diagnostics;
        assert_eq!((diagnostics.exact, diagnostics.converged), (Some(false), Some(true)));
        assert_eq!(diagnostics.standard_error.as_ref().map(Vec::len), Some(15));
        assert!(found.residual.unwrap().abs() < 1e-6 && diagnostics.samples.unwrap() > 0);
        let absolute =
            explain(method, &fake, &json!({"output": "logit", "tolerance": 0.1, "normalize": "max", "absolute": true}));
        assert_eq!(words(&absolute[0]).iter().copied().fold(0.0, f32::max), 1.0);
        assert_eq!(absolute[0].residual, found.residual);
        let poor = explain(method, &fake, &json!({"tolerance": 1e-6, "max_evaluations": 40}));
        assert_eq!(poor[0].diagnostics.converged, Some(false));
        assert!(poor[0].diagnostics.evaluations <= 40);
    }
    assert_eq!(fake.codes(), ["not_converged"; 2]);
    let few = explain("kernel_shap", &fake, &json!({"samples": 6})).remove(0);
    assert_eq!((few.diagnostics.samples, few.diagnostics.evaluations), (Some(6), 8));
    assert_eq!(fake.codes().last().unwrap(), "unstable");
}

/// Through as many pairs as unknowns goes a fit without residuals, which says nothing about the next pair.
#[test]
fn fewer_pairs_than_units_have_no_error() {
    let fake = oracle::text(15, oracle::smooth(15));
    for samples in [6, 28] {
        let found = explain("kernel_shap", &fake, &json!({"samples": samples})).remove(0);
        assert_eq!((found.diagnostics.standard_error, found.diagnostics.converged), (None, None), "{samples}");
    }
    assert_eq!(fake.codes(), ["unstable"; 2]);
    let found = explain("kernel_shap", &fake, &json!({"samples": 60})).remove(0);
    assert!(found.diagnostics.standard_error.unwrap().iter().any(|error| *error > 0.0));
    assert_eq!(fake.codes().len(), 2);
    let tight = oracle::text(14, oracle::smooth(14));
    let found = explain("kernel_shap", &tight, &json!({"max_evaluations": 30})).remove(0);
    assert_eq!((found.diagnostics.converged, found.diagnostics.standard_error), (Some(false), None));
    assert!(tight.warnings.borrow()[0].detail.contains("reached no standard error"));
}

#[test]
fn more_units_than_can_be_computed_with_are_refused() {
    for (method, units, says) in [
        ("kernel_shap", 2001, "2001 units are more than the 2000"),
        ("lime", 2001, "partition_shap"),
        ("shapley_sampling", 10_001, "20002 evaluations at least"),
    ] {
        let (path, detail) = refused(method, &Fake::text(units), &json!({}));
        assert!(path == "/unit" && detail.contains(says), "{method}: {path} {detail}");
        assert!(plan(method, &Fake::text(units - 1), &json!({})).is_ok(), "{method}");
    }
    assert!(plan("occlusion", &Fake::text(2001), &json!({})).is_ok());
    let (path, _) = refused("shapley_sampling", &Fake::text(10_001), &json!({"samples": 2}));
    assert_eq!(path, "/unit");
}

#[test]
fn tokens_and_their_interactions_stand_in_the_inputs_order() {
    let fake = oracle::text(3, oracle::smooth(3));
    for method in SAMPLERS {
        let found = explain(method, &fake, &json!({"unit": "token", "interactions": true})).remove(0);
        let (tokens, matrix) = (found.scores.tokens.unwrap(), found.interactions.unwrap());
        assert_eq!((tokens.len(), matrix.len(), tokens[0], tokens[4]), (5, 5, 0.0, 0.0));
        for (row, score) in matrix.iter().zip(&tokens) {
            assert_eq!((row.len(), row[0]), (5, 0.0));
            let rest: f32 = row.iter().sum::<f32>();
            assert!(*score == 0.0 || rest != 0.0);
        }
        let others: f32 = (1..4).filter(|&other| other != 2).map(|other| matrix[2][other]).sum();
        assert!((matrix[2][2] + 0.5 * others - tokens[2]).abs() < 1e-6);
    }
}

#[test]
fn a_picture_has_segments_and_a_grid() {
    let fake = Fake::image(4);
    let units = Units::Image { kind: UnitKind::Patch, segmentation: segment::patches(4, 4, 2, 2) };
    let worth = oracle::smooth(4);
    let fake = fake.black(&units, move |units, mask| vec![0.0, worth(oracle::pattern(units, mask)) as f32]);
    let expected = oracle::shapley(&oracle::table(4, &oracle::smooth(4)), 4);
    for (method, settings) in [
        ("kernel_shap", json!({"unit": "patch", "output": "logit", "cells": 4})),
        ("shapley_sampling", json!({"unit": "patch", "output": "logit", "cells": 4})),
        ("partition_shap", json!({"unit": "patch", "output": "logit", "cells": 4, "hierarchy": "flat"})),
    ] {
        let found = explain(method, &fake, &settings).remove(0);
        near(found.scores.segments.as_ref().unwrap(), &expected, 1e-6);
        assert_eq!(found.scores.grid.as_ref().map(|grid| grid.len()), Some(4));
        assert!(found.segments.is_some() && found.residual.unwrap().abs() < 1e-6);
    }
    let grouped = explain("partition_shap", &fake, &json!({"unit": "patch"})).remove(0);
    assert_eq!(grouped.diagnostics.exact, Some(true));
}

#[test]
fn several_and_contrastive_targets_share_one_game() {
    let mut fake = oracle::text(5, oracle::smooth(5));
    let alone = explain("kernel_shap", &fake, &json!({})).remove(0);
    fake.targets = vec![fake::target(0), fake::target(1)];
    for method in SAMPLERS {
        fake.rows.set(0);
        let both = explain(method, &fake, &json!({}));
        assert_eq!(fake.rows.get(), 31);
        assert_eq!(words(&both[1]), words(&alone));
        // Two probabilities that add up to 1 have opposite values.
        let sums = words(&both[0]).iter().zip(words(&both[1])).map(|(a, b)| a + b);
        assert!(sums.into_iter().all(|sum| sum.abs() < 1e-6));
    }
}

#[test]
fn a_text_without_words_has_nothing_to_explain() {
    let fake = oracle::text(0, |_| 0.3);
    for method in ["kernel_shap", "shapley_sampling", "partition_shap"] {
        let found = explain(method, &fake, &json!({})).remove(0);
        assert_eq!(words(&found), [0.0_f32; 0]);
        assert_eq!((found.base_value, found.residual), (found.output_value, Some(0.0)));
        assert_eq!((found.diagnostics.exact, fake.rows.get()), (Some(true), 0));
    }
}

#[test]
fn defaults_are_echoed() {
    let echoed = |method: &str, fake: &Fake| plan(method, fake, &json!({})).unwrap().settings().clone();
    let text = json!({"unit": "word", "fill": "remove", "samples": null, "max_evaluations": 5000, "tolerance": 0.05,
        "interactions": false, "output": "probability", "normalize": "none", "absolute": false, "precision": "f32"});
    for method in SAMPLERS {
        assert_eq!(echoed(method, &oracle::text(3, |_| 0.0)), text);
        assert_eq!(echoed(method, &Fake::image(4))["max_evaluations"], 1000);
    }
}

#[test]
fn the_cost_is_what_may_be_evaluated() {
    let rows = |method: &str, players: usize, settings: Value| {
        plan(method, &Fake::text(players), &settings).unwrap().cost().rows
    };
    for method in SAMPLERS {
        assert_eq!(rows(method, 4, json!({})), 16);
        assert_eq!(rows(method, 20, json!({})), 5000);
    }
    assert_eq!(rows("kernel_shap", 20, json!({"samples": 70})), 72);
    assert_eq!(rows("shapley_sampling", 20, json!({"samples": 10})), 192);
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    for method in SAMPLERS {
        for (players, settings, path, says) in [
            (13, json!({"interactions": true}), "/interactions", "at most 12 units"),
            (5, json!({"interactions": true, "samples": 20}), "/interactions", "without samples"),
            (12, json!({"interactions": true, "max_evaluations": 4095}), "/interactions", "2^units"),
            (5, json!({"samples": 3}), "/samples", "even number"),
            (5, json!({"samples": 0}), "/samples", "even number"),
            (20, json!({"samples": 20_000}), "/samples", "use fewer"),
            (20, json!({"samples": 200, "max_evaluations": 100}), "/samples", "100"),
            (20, json!({"max_evaluations": 20}), "/max_evaluations", "out of range"),
            (5, json!({"max_evaluations": 20_001}), "/max_evaluations", "limits.max_evaluations"),
            (5, json!({"tolerance": 0}), "/tolerance", "out of range"),
            (5, json!({"unit": "patch"}), "/unit", "for images"),
            (5, json!({"fill": "unk"}), "/fill", "unk"),
        ] {
            let (found, detail) = refused(method, &Fake::text(players), &settings);
            assert_eq!(found, path, "{settings}");
            assert!(detail.contains(says), "{settings}: {detail}");
        }
    }
}
