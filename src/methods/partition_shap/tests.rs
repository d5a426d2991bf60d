//! What `partition_shap` resolves, refuses and returns; `kernel_shap`'s tests compare its values with shap's.

use serde_json::{Value, json};

use crate::input::Input;
use crate::methods::support::fake::Fake;
use crate::methods::support::shapley::oracle::{self, explain, near, plan, refused};

#[test]
fn a_budget_that_ends_is_said_so() {
    let fake = oracle::text(14, oracle::smooth(14));
    let whole = explain("partition_shap", &fake, &json!({"output": "logit"})).remove(0);
    assert_eq!((whole.diagnostics.exact, whole.diagnostics.converged), (Some(true), Some(true)));
    assert_eq!((whole.diagnostics.samples, whole.diagnostics.standard_error), (None, None));
    assert!(whole.diagnostics.evaluations <= 500 && fake.codes().is_empty());
    let part = explain("partition_shap", &fake, &json!({"output": "logit", "max_evaluations": 20})).remove(0);
    assert_eq!((part.diagnostics.exact, part.diagnostics.converged), (Some(false), Some(false)));
    assert!(part.diagnostics.evaluations <= 20 && part.residual.unwrap().abs() < 1e-6);
    assert_eq!(fake.codes(), ["not_converged"]);
}

/// Two words that count only together share alike whatever the tree; of a tree that groups one with a third word, the
/// group's gain is theirs alone.
#[test]
fn groups_matter() {
    let both = |pattern: usize| if pattern & 0b101 == 0b101 { 1.0 } else { 0.0 };
    let found = |groups: Value| {
        let fake = oracle::text(3, both);
        explain("partition_shap", &fake, &json!({"output": "logit", "hierarchy": groups}))
            .remove(0)
            .scores
            .words
            .unwrap()
    };
    near(&found(json!("flat")), &[0.5, 0.0, 0.5], 1e-6);
    near(&found(json!([[0, 1], 2])), &[0.5, 0.0, 0.5], 1e-6);
    let any = |pattern: usize| if pattern != 0 { 1.0 } else { 0.0 };
    let fake = oracle::text(3, any);
    let grouped = explain("partition_shap", &fake, &json!({"output": "logit", "hierarchy": [[0, 1], 2]})).remove(0);
    near(&grouped.scores.words.unwrap(), &[0.25, 0.25, 0.5], 1e-6);
}

#[test]
fn defaults_follow_the_unit() {
    let echoed = |fake: &Fake, settings: Value| plan("partition_shap", fake, &settings).unwrap().settings().clone();
    let mut text = Fake::text(3);
    let defaults = json!({"unit": "word", "fill": "remove", "hierarchy": "clauses", "max_evaluations": 500,
        "interactions": false, "output": "probability", "normalize": "none", "absolute": false, "precision": "f32"});
    assert_eq!(echoed(&text, json!({})), defaults);
    if let Input::Text(text) = &mut text.input {
        text.text = "w0 w1 w2".into();
    }
    assert_eq!(echoed(&text, json!({"unit": "sentence"}))["hierarchy"], "balanced");
    assert_eq!(echoed(&Fake::image(4), json!({}))["hierarchy"], "balanced");
    assert_eq!(echoed(&Fake::text(12), json!({"hierarchy": "flat"}))["max_evaluations"], 4096);
    let cost = |settings: Value| plan("partition_shap", &Fake::text(20), &settings).unwrap().cost().rows;
    assert_eq!((cost(json!({})), cost(json!({"max_evaluations": 60}))), (500, 60));
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    let wide: Vec<usize> = (0..13).collect();
    for (players, settings, path, says) in [
        (13, json!({"hierarchy": "flat"}), "/hierarchy", "at most 12 units"),
        (5, json!({"hierarchy": "flat", "max_evaluations": 31}), "/hierarchy", "2^units"),
        (3, json!({"hierarchy": [[0, 1]]}), "/hierarchy", "unit 2"),
        (13, json!({"hierarchy": wide}), "/hierarchy", "13 parts"),
        (3, json!({"hierarchy": "tree"}), "/hierarchy", "clauses"),
        (3, json!({"interactions": true}), "/interactions", "flat"),
        (3, json!({"max_evaluations": 1}), "/max_evaluations", "out of range"),
        (3, json!({"samples": 10}), "/samples", "unknown field"),
    ] {
        let (found, detail) = refused("partition_shap", &Fake::text(players), &settings);
        assert_eq!(found, path, "{settings}");
        assert!(detail.contains(says), "{settings}: {detail}");
    }
    let (path, detail) = refused("partition_shap", &Fake::image(4), &json!({"hierarchy": "clauses"}));
    assert!(path == "/hierarchy" && detail.contains("balanced"));
}
