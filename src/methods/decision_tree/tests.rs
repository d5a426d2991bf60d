//! What `decision_tree` resolves, refuses and returns, and scikit-learn's trees.

use serde_json::{Value, json};

use super::*;
use crate::input::segment;
use crate::input::units::{Mask, UnitKind};
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{Fake, FakeTask};

fn explain(fake: &Fake, settings: &Value) -> Attribution {
    let planned = DecisionTree.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake).unwrap().remove(0)
}

/// 1 more while both of units 0 and 2 are there.
fn and(_: &Units, mask: &Mask) -> Vec<f32> {
    vec![0.0, if mask.contains(0) && mask.contains(2) { 1.0 } else { 0.0 }]
}

fn text(words: usize) -> Fake {
    let fake = Fake::text(words);
    let units = fake.units();
    fake.black(&units, and)
}

#[test]
fn an_interaction_is_a_branch() {
    let found = explain(&text(4), &json!({"output": "logit"}));
    let tree = serde_json::to_value(found.tree.unwrap()).unwrap();
    assert_eq!(tree["unit"], 0);
    assert_eq!(tree["absent"], json!({"value": 0.0}));
    assert_eq!(tree["present"], json!({"unit": 2, "absent": {"value": 0.0}, "present": {"value": 1.0}}));
    assert_eq!(
        found.rules.unwrap(),
        ["\"w0\" stays and \"w2\" stays: 1.000", "\"w0\" stays and \"w2\" goes: 0.000", "\"w0\" goes: 0.000"]
    );
    let words = found.scores.words.unwrap();
    assert!((found.diagnostics.r2.unwrap() - 1.0).abs() < 1e-6);
    assert!((words.iter().sum::<f32>() - 1.0).abs() < 1e-6 && words[0] > 0.0 && words[2] > 0.0);
    assert_eq!((found.diagnostics.exact, found.diagnostics.evaluations), (Some(true), 16));
}

#[test]
fn what_lowers_the_output_has_a_negative_score() {
    let fake = Fake::text(3);
    let units = fake.units();
    let fake = fake.black(&units, |_, mask| vec![0.0, if mask.contains(1) { -1.0 } else { 0.0 }]);
    let words = explain(&fake, &json!({"output": "logit"})).scores.words.unwrap();
    assert!((words[1] + 1.0).abs() < 1e-6 && words[0] == 0.0, "{words:?}");
    let shown = explain(&fake, &json!({"output": "logit", "absolute": true})).scores.words.unwrap();
    assert!((shown[1] - 1.0).abs() < 1e-6);
}

#[test]
fn small_inputs_have_small_trees() {
    for (words, rules) in [(0, 1), (1, 2), (2, 2)] {
        let fake = Fake::text(words);
        let units = fake.units();
        let fake = fake.black(&units, |_, mask| vec![0.0, mask.count() as f32]);
        let found = explain(&fake, &json!({"output": "logit"}));
        assert_eq!(found.rules.unwrap().len(), rules, "{words}");
        assert_eq!(found.scores.words.unwrap().len(), words);
    }
    let constant = Fake::text(3);
    let units = constant.units();
    let found = explain(&constant.black(&units, |_, _| vec![0.0, 0.5]), &json!({"output": "logit"}));
    assert_eq!(
        (found.rules.unwrap(), found.diagnostics.r2),
        (vec!["whatever is taken away: 0.500".to_owned()], Some(1.0))
    );
}

#[test]
fn many_words_are_drawn_and_patches_are_units() {
    let found = explain(&text(16), &json!({"output": "logit", "max_evaluations": 600}));
    assert_eq!((found.diagnostics.exact, found.diagnostics.evaluations), (Some(false), 600));
    let fixed = explain(&text(16), &json!({"output": "logit", "samples": 200}));
    assert_eq!(fixed.diagnostics.samples, Some(200));
    let units = Units::Image { kind: UnitKind::Patch, segmentation: segment::patches(4, 4, 2, 2) };
    let found = explain(&Fake::image(4).black(&units, and), &json!({"unit": "patch", "output": "logit"}));
    assert!(found.rules.unwrap()[0].starts_with("patch 0 stays and patch 2 stays"));
    assert!(found.scores.grid.is_some() && found.segments.is_some());
}

#[test]
fn a_deadline_leaves_a_tree() {
    let mut fake = text(10);
    fake.partial = true;
    fake.left.set(Some(300));
    let found = explain(&fake, &json!({"output": "logit"}));
    assert!(found.partial && found.tree.is_some());
    assert_eq!(found.diagnostics.exact, Some(false));
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    for (settings, path) in [
        (json!({"depth": 0}), "/depth"),
        (json!({"depth": 9}), "/depth"),
        (json!({"min_weight": 0.5}), "/min_weight"),
        (json!({"min_weight": -0.1}), "/min_weight"),
        (json!({"samples": 1}), "/samples"),
        (json!({"samples": 500, "max_evaluations": 100}), "/samples"),
        (json!({"max_evaluations": 3}), "/max_evaluations"),
        (json!({"kernel_width": 0.0}), "/kernel_width"),
        (json!({"ridge": 1.0}), "/ridge"),
    ] {
        let error = DecisionTree.plan(settings.as_object().unwrap().clone(), &text(2).subject()).err();
        assert_eq!(error.unwrap_or_else(|| panic!("{settings} was taken")).path, path);
    }
    let mut regression = text(2);
    regression.task = FakeTask { probability: false };
    let planned = DecisionTree.plan(serde_json::Map::new(), &regression.subject()).unwrap();
    assert_eq!(planned.settings()["output"], "logit");
}

/// tests/golden/surrogates.py: DecisionTreeRegressor over the same masks, weights and outputs.
#[test]
fn trees_are_scikit_learns() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/methods/tree.json")).unwrap();
    let numbers =
        |value: &Value| -> Vec<f64> { value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect() };
    for case in golden["trees"].as_array().unwrap() {
        let (linear, pairs) = (numbers(&case["function"]["linear"]), case["function"]["pairs"].clone());
        let bias = case["function"]["bias"].as_f64().unwrap();
        let fake = Fake::text(linear.len());
        let units = fake.units();
        let fake = fake.black(&units, move |_, mask| {
            let at = |unit: usize| f64::from(u8::from(mask.contains(unit)));
            let mut total = bias + (0..linear.len()).map(|unit| linear[unit] * at(unit)).sum::<f64>();
            for pair in pairs.as_array().unwrap() {
                let [i, j] = [0, 1].map(|end| pair[end].as_u64().unwrap() as usize);
                total += pair[2].as_f64().unwrap() * at(i) * at(j);
            }
            vec![0.0, total as f32]
        });
        let settings = json!({"output": "logit", "depth": case["depth"], "min_weight": case["min_weight"]});
        let found = explain(&fake, &settings);
        let r2 = case["r2"].as_f64().unwrap();
        assert!((f64::from(found.diagnostics.r2.unwrap()) - r2).abs() < 1e-6, "{r2}");
        same(&serde_json::to_value(found.tree.unwrap()).unwrap(), &case["tree"]);
        for (score, expected) in found.scores.words.unwrap().iter().zip(numbers(&case["importances"])) {
            // Where a unit is asked for once, its score is its importance.
            assert!(f64::from(score.abs()) <= expected + 1e-6, "{score} {expected}");
        }
    }
}

fn same(found: &Value, expected: &Value) {
    if let Some(value) = expected.get("value") {
        let (found, value) = (found["value"].as_f64().unwrap(), value.as_f64().unwrap());
        assert!((found - value).abs() < 1e-6, "{found} {value}");
        return;
    }
    assert_eq!(found["unit"], expected["unit"]);
    same(&found["absent"], &expected["absent"]);
    same(&found["present"], &expected["present"]);
}
