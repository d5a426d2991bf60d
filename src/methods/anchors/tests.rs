//! What `anchors` resolves, refuses and returns; the search's own tests are beside it.

use serde_json::{Value, json};

use super::*;
use crate::input::segment;
use crate::input::units::UnitKind;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, FakeTask};

fn explain(fake: &Fake, settings: &Value) -> Vec<Attribution> {
    let planned = Anchors.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake).unwrap()
}

fn refused(fake: &Fake, settings: &Value, path: &str) {
    let error = Anchors.plan(settings.as_object().unwrap().clone(), &fake.subject()).err();
    assert_eq!(error.unwrap_or_else(|| panic!("{settings} was taken")).path, path, "{settings}");
}

/// YES while words 1 and 3 are there.
fn and(_: &Units, mask: &Mask) -> Vec<f32> {
    vec![0.0, if mask.contains(1) && mask.contains(3) { 2.0 } else { -1.0 }]
}

fn text(words: usize) -> Fake {
    let fake = Fake::text(words);
    let units = fake.units();
    fake.black(&units, and)
}

#[test]
fn a_known_rule_is_found_with_its_exact_precision() {
    let fake = text(5);
    let found = explain(&fake, &json!({})).remove(0);
    let rule = found.rule.unwrap();
    assert_eq!(rule.units, [1, 3]);
    assert_eq!((rule.precision, rule.precision_bounds, rule.coverage), (1.0, [1.0, 1.0], 0.25));
    assert_eq!(rule.text, "where \"w1\" and \"w3\" stay, the model answers YES in 100.0 % of cases");
    assert_eq!(found.scores.words, Some(vec![0.0, 1.0, 0.0, 1.0, 0.0]));
    let diagnostics = found.diagnostics;
    assert_eq!((diagnostics.exact, diagnostics.converged, diagnostics.evaluations), (Some(true), Some(true), 32));
    assert!(found.base_value < found.output_value);
    assert!(fake.codes().is_empty());
}

#[test]
fn a_precision_that_is_less_than_asked_has_its_number() {
    // Without word 3 the answer stays in half of the cases.
    let found = explain(&text(5), &json!({"max_units": 1})).remove(0);
    let rule = found.rule.unwrap();
    assert_eq!((rule.units.as_slice(), rule.precision, found.diagnostics.converged), (&[1][..], 0.5, Some(false)));
    assert_eq!(explain(&text(5), &json!({"min_precision": 0.5})).remove(0).rule.unwrap().units, [1]);
}

#[test]
fn many_words_are_drawn() {
    let fake = text(18);
    let found = explain(&fake, &json!({})).remove(0);
    let rule = found.rule.unwrap();
    assert_eq!((rule.units.as_slice(), rule.precision, found.diagnostics.exact), (&[1, 3][..], 1.0, Some(false)));
    assert!(rule.precision_bounds[0] > 0.9 && rule.precision_bounds[1] == 1.0);
    assert!(found.diagnostics.evaluations <= 5000);
    let short = text(18);
    let found = explain(&short, &json!({"max_evaluations": 40})).remove(0);
    assert_eq!((found.diagnostics.converged, short.codes()), (Some(false), vec!["not_converged".to_owned()]));
    assert!(found.diagnostics.evaluations <= 40);
}

#[test]
fn the_rule_of_another_class_says_what_keeps_the_model_from_it() {
    let mut fake = text(4);
    fake.targets = vec![fake::target(1), fake::target(0)];
    let found = explain(&fake, &json!({}));
    let rules: Vec<_> = found.iter().map(|found| found.rule.as_ref().unwrap()).collect();
    assert_eq!(rules[0].units, rules[1].units);
    assert_eq!(rules[1].text, "where \"w1\" and \"w3\" stay, the model does not answer NO in 100.0 % of cases");
    // Of two labels, not NO is YES.
    assert_eq!(rules[0].precision, rules[1].precision);
}

#[test]
fn what_never_changes_needs_no_unit() {
    for words in [0, 1, 2, 14] {
        let fake = Fake::text(words);
        let units = fake.units();
        let fake = fake.black(&units, |_, _| vec![0.0, 1.0]);
        let found = explain(&fake, &json!({})).remove(0);
        let rule = found.rule.unwrap();
        assert_eq!((rule.units.len(), rule.precision, rule.coverage), (0, 1.0, 1.0), "{words}");
        assert_eq!(found.scores.words, Some(vec![0.0; words]));
    }
}

#[test]
fn one_word_can_be_all_of_it() {
    let fake = Fake::text(1);
    let units = fake.units();
    let fake = fake.black(&units, |_, mask| vec![0.0, if mask.contains(0) { 1.0 } else { -1.0 }]);
    assert_eq!(explain(&fake, &json!({})).remove(0).rule.unwrap().units, [0]);
}

#[test]
fn tokens_and_patches_are_units() {
    let found = explain(&text(4), &json!({"unit": "token"})).remove(0);
    assert_eq!(found.rule.unwrap().units, [2, 4]);
    assert_eq!(found.scores.tokens, Some(vec![0.0, 0.0, 1.0, 0.0, 1.0, 0.0]));
    let units = Units::Image { kind: UnitKind::Patch, segmentation: segment::patches(4, 4, 2, 2) };
    let image = Fake::image(4).black(&units, and);
    let found = explain(&image, &json!({"unit": "patch"})).remove(0);
    let rule = found.rule.unwrap();
    assert!(rule.text.starts_with("where patch 1 and patch 3 stay"), "{}", rule.text);
    assert_eq!(found.scores.grid, Some(vec![vec![0.0, 1.0], vec![0.0, 1.0]]));
}

#[test]
fn a_number_needs_a_threshold() {
    let mut fake = text(4);
    fake.task = FakeTask { probability: false };
    refused(&fake, &json!({}), "/threshold");
    let found = explain(&fake, &json!({"threshold": 1.5})).remove(0);
    let rule = found.rule.unwrap();
    assert_eq!(rule.units, [1, 3]);
    assert!(rule.text.contains("the output of YES is 1.5 or more"), "{}", rule.text);
}

#[test]
fn a_deadline_leaves_what_is_known() {
    for words in [6, 18] {
        let mut fake = text(words);
        fake.partial = true;
        fake.left.set(Some(50));
        let found = explain(&fake, &json!({})).remove(0);
        assert!(found.partial && found.rule.is_some(), "{words}");
        assert!(found.rule.unwrap().precision_bounds[0] < 1.0);
    }
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    for (settings, path) in [
        (json!({"min_precision": 0.0}), "/min_precision"),
        (json!({"min_precision": 1.1}), "/min_precision"),
        (json!({"delta": 1.0}), "/delta"),
        (json!({"tau": 0.0}), "/tau"),
        (json!({"beam": 0}), "/beam"),
        (json!({"max_units": 0}), "/max_units"),
        (json!({"max_evaluations": 3}), "/max_evaluations"),
        (json!({"max_evaluations": 20_001}), "/max_evaluations"),
        (json!({"unit": "segment"}), "/unit"),
        (json!({"fill": "mean"}), "/fill"),
    ] {
        refused(&text(3), &settings, path);
    }
}

/// tests/golden/surrogates.py: all rules one by one.
#[test]
fn rules_are_those_of_brute_force() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/methods/anchors.json")).unwrap();
    for case in golden["rules"].as_array().unwrap() {
        let function = case["function"].clone();
        let linear: Vec<f64> =
            function["linear"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect();
        let fake = Fake::text(linear.len());
        let units = fake.units();
        let fake = fake.black(&units, move |_, mask| {
            let at = |unit: usize| f64::from(u8::from(mask.contains(unit)));
            let mut total = function["bias"].as_f64().unwrap();
            total += (0..linear.len()).map(|unit| linear[unit] * at(unit)).sum::<f64>();
            for pair in function["pairs"].as_array().unwrap() {
                let [i, j] = [0, 1].map(|end| pair[end].as_u64().unwrap() as usize);
                total += pair[2].as_f64().unwrap() * at(i) * at(j);
            }
            vec![0.0, total as f32]
        });
        let rule = explain(&fake, &json!({})).remove(0).rule.unwrap();
        assert_eq!(rule.units.len(), case["size"].as_u64().unwrap() as usize);
        assert!((f64::from(rule.precision) - case["precision"].as_f64().unwrap()).abs() < 1e-7, "{rule:?}");
    }
}
