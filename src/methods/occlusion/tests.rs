//! What `occlusion` resolves, refuses and returns, against a formula and Captum (tests/golden/perturbation.py); a whole
//! model against Captum is in tests/it/perturbation.rs.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::methods::support::fake::{self, Fake};
use crate::methods::support::shapley::oracle::{self, explain, near, plan, refused};

#[test]
fn a_word_is_worth_what_its_absence_costs() {
    let worth = oracle::irregular(4);
    let expected: Vec<f64> = (0..4).map(|word| worth[15] - worth[15 & !(1 << word)]).collect();
    let (base, output) = (worth[0] as f32, worth[15] as f32);
    let fake = oracle::text(4, move |pattern| worth[pattern]);
    let found = explain("occlusion", &fake, &json!({"output": "logit"})).remove(0);
    near(found.scores.words.as_ref().unwrap(), &expected, 1e-6);
    assert_eq!((found.base_value, found.output_value, found.residual), (Some(base), Some(output), None));
    let diagnostics = &found.diagnostics;
    assert_eq!((diagnostics.evaluations, diagnostics.exact, &diagnostics.standard_error), (6, Some(true), &None));
    let one = explain("occlusion", &oracle::text(1, |pattern| pattern as f64), &json!({"output": "logit"})).remove(0);
    assert_eq!((one.scores.words, one.diagnostics.evaluations), (Some(vec![1.0]), 2));
}

#[test]
fn windows_are_captums() {
    let file = include_str!("../../../tests/golden/methods/shapley.json");
    let cases: BTreeMap<String, Value> = serde_json::from_str(file).unwrap();
    let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    for case in cases.into_values() {
        let linear = numbers(&case["function"]["linear"]);
        let pairs: Vec<(usize, usize, f64)> = serde_json::from_value(case["function"]["pairs"].clone()).unwrap();
        let bias = case["function"]["bias"].as_f64().unwrap();
        let fake = oracle::text(linear.len(), move |pattern| {
            let on = |unit: usize| (pattern >> unit & 1) as f64;
            let alone: f64 = linear.iter().enumerate().map(|(unit, a)| a * on(unit)).sum();
            bias + alone + pairs.iter().map(|&(i, j, c)| c * on(i) * on(j)).sum::<f64>()
        });
        let words = |settings: Value| explain("occlusion", &fake, &settings).remove(0).scores.words.unwrap();
        near(&words(json!({})), &numbers(&case["ablation"]), 1e-6);
        for (window, expected) in case["occlusion"].as_object().unwrap() {
            let (window, stride) = window.split_once(',').unwrap();
            let (window, stride): (usize, usize) = (window.parse().unwrap(), stride.parse().unwrap());
            near(&words(json!({"window": window, "stride": stride})), &numbers(expected), 1e-6);
        }
    }
}

/// The output is the share of the left half that is there, so a box costs what of it lies there.
#[test]
fn boxes_slide_over_pixels() {
    let mut fake = Fake::image(4);
    fake.black = Box::new(|units, mask| {
        let crate::input::units::Units::Image { segmentation, .. } = units else { unreachable!() };
        let shown = |pixel: &usize| mask.contains(usize::from(segmentation.labels[*pixel]));
        let left = (0..16).filter(|pixel| pixel % 4 < 2).filter(shown).count();
        vec![0.0, left as f32 / 8.0]
    });
    fake.logits = vec![0.0, 1.0];
    let settings = json!({"window": 2, "stride": 1, "output": "logit", "cells": 4});
    assert_eq!(plan("occlusion", &fake, &settings).unwrap().cost().rows, 11);
    let found = explain("occlusion", &fake, &settings).remove(0);
    let grid = found.scores.grid.unwrap();
    // A box costs 4/8 in columns 0 and 1, 2/8 in 1 and 2, nothing in 2 and 3.
    for row in grid {
        near(&row, &[0.5, 0.375, 0.125, 0.0], 1e-6);
    }
    assert!(found.segments.is_none() && found.scores.segments.is_none());
    assert_eq!((found.base_value, found.output_value), (Some(0.0), Some(1.0)));
    let patches = explain("occlusion", &fake, &json!({"unit": "patch", "output": "logit"})).remove(0);
    near(&patches.scores.segments.unwrap(), &[0.5, 0.0, 0.5, 0.0], 1e-6);
}

#[test]
fn targets_share_the_windows() {
    let mut fake = oracle::text(5, oracle::smooth(5));
    fake.targets = vec![fake::target(0), fake::target(1)];
    let both = explain("occlusion", &fake, &json!({}));
    assert_eq!((both.len(), fake.rows.get()), (2, 6));
    let sums = both[0].scores.words.iter().flatten().zip(both[1].scores.words.iter().flatten()).map(|(a, b)| a + b);
    assert!(sums.into_iter().all(|sum| sum.abs() < 1e-6));
}

#[test]
fn a_deadline_leaves_the_windows_evaluated() {
    let mut fake = oracle::text(200, |pattern| f64::from(pattern.count_ones()));
    fake.black = Box::new(|_, mask| vec![0.0, mask.count() as f32]);
    fake.logits = vec![0.0, 200.0];
    fake.partial = true;
    fake.left.set(Some(150));
    let found = explain("occlusion", &fake, &json!({"output": "logit"})).remove(0);
    let words = found.scores.words.unwrap();
    assert!(found.partial && found.diagnostics.exact == Some(false));
    assert_eq!((words[0], words[127], words[128]), (1.0, 1.0, 0.0));
}

#[test]
fn a_text_without_words_has_nothing_to_explain() {
    let fake = oracle::text(0, |_| 0.3);
    let found = explain("occlusion", &fake, &json!({})).remove(0);
    assert_eq!((found.scores.words, found.base_value, fake.rows.get()), (Some(Vec::new()), found.output_value, 0));
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    for (settings, path, says) in [
        (json!({"window": 0}), "/window", "out of range"),
        (json!({"window": 9}), "/window", "the text's tokens"),
        (json!({"stride": 1}), "/stride", "only"),
        (json!({"window": 2, "stride": 3}), "/stride", "left out"),
        (json!({"window": 2, "stride": 0}), "/stride", "out of range"),
        (json!({"samples": 4}), "/samples", "unknown field"),
    ] {
        let (found, detail) = refused("occlusion", &Fake::text(4), &settings);
        assert_eq!(found, path, "{settings}");
        assert!(detail.contains(says), "{settings}: {detail}");
    }
    for (settings, path, says) in [
        (json!({"window": 9}), "/window", "shorter side"),
        (json!({"window": 2, "unit": "segment"}), "/unit", "no unit"),
        (json!({"window": 2, "fill": "mean"}), "/fill", "overlap"),
        (json!({"window": 2, "segments": 9}), "/segments", "only"),
    ] {
        let (found, detail) = refused("occlusion", &Fake::image(8), &settings);
        assert_eq!(found, path, "{settings}");
        assert!(detail.contains(says), "{settings}: {detail}");
    }
    let fake = Fake::image(160);
    let (path, detail) = refused("occlusion", &fake, &json!({"window": 8, "stride": 1}));
    assert!(path == "/stride" && detail.contains("limits.max_evaluations"), "{detail}");
    let echo = plan("occlusion", &Fake::image(8), &json!({"window": 5})).unwrap().settings().clone();
    assert_eq!((&echo["stride"], &echo["fill"], &echo["unit"]), (&json!(2), &json!("zero"), &json!("patch")));
}
