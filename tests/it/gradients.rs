//! The gradient methods over HTTP: shapes, completeness, Captum's numbers through a whole request, refusals.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, png, pointers, problem};
use crate::parity::{Values, cases, close, floats};

const PLAIN: [&str; 2] = ["gradient", "input_x_gradient"];
const SAMPLED: [&str; 2] = ["smooth_grad", "gradient_shap"];

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number")) as f32
}

/// Whether the scores in `list` add up to the change of the output but for what `residual` says.
fn adds_up(one: &Value, list: &[f32]) {
    let change = number(&one["output_value"]) - number(&one["base_value"]);
    let residual = number(&one["residual"]);
    assert!((change - list.iter().sum::<f32>() - residual).abs() < 1e-3 * change.abs().max(0.1), "{one}");
    assert_eq!(number(&one["diagnostics"]["convergence_delta"]), -residual);
}

#[test]
fn texts_have_tokens_and_words() {
    let app = TestApp::start();
    let explain = json!(["gradient", "input_x_gradient", {"method": "smooth_grad", "samples": 8},
        {"method": "gradient_shap", "samples": 8, "baselines": ["pad", "zero"]}, "deep_lift"]);
    for text in ["", "film", "good film", TEXT] {
        let request =
            json!({"model": "sentiment", "text": text, "explain": explain, "target": [1, {"index": 1, "against": 0}]});
        let answer = app.ask("/explain", &request);
        let count = |list: &Value| list.as_array().unwrap().len();
        let (tokens, words) = (count(&answer["input"]["tokens"]), count(&answer["input"]["words"]));
        assert_eq!(count(&answer["explanations"]), 10);
        for one in answer["explanations"].as_array().unwrap() {
            let method = one["method"].as_str().unwrap();
            let scores = floats(&one["scores"]["tokens"]);
            assert_eq!((scores.len(), count(&one["scores"]["words"])), (tokens, words), "{method} of {text:?}");
            assert_eq!(one["residual"].is_null(), PLAIN.contains(&method) || method == "smooth_grad");
            assert_eq!(one["diagnostics"]["standard_error"].is_null(), !SAMPLED.contains(&method));
            if !one["residual"].is_null() {
                adds_up(one, &scores);
            }
            if method == "deep_lift" {
                let change = number(&one["output_value"]) - number(&one["base_value"]);
                assert!(number(&one["residual"]).abs() <= 1e-3 * change.abs().max(0.01), "{one}");
            }
        }
    }
}

#[test]
fn images_have_grids_and_pixels() {
    let app = TestApp::start();
    let methods = ["gradient", "input_x_gradient", "smooth_grad", "gradient_shap", "deep_lift"];
    let item = |method: &str| match SAMPLED.contains(&method) {
        true => json!({"method": method, "cells": 5, "resolution": "pixel", "samples": 4}),
        false => json!({"method": method, "cells": 5, "resolution": "pixel"}),
    };
    let items: Vec<Value> = methods.into_iter().map(item).collect();
    let answer = app.ask("/explain", &json!({"image": BASE64_STANDARD.encode(png()), "explain": items}));
    for one in answer["explanations"].as_array().unwrap() {
        let rows = one["scores"]["grid"].as_array().unwrap();
        let cells: Vec<f32> = rows.iter().flat_map(floats).collect();
        assert_eq!((rows.len(), cells.len()), (5, 25), "{}", one["method"]);
        assert!(one["scores"]["pixels"]["png"].is_string());
        if one["method"] == "deep_lift" {
            adds_up(one, &cells);
            let change = number(&one["output_value"]) - number(&one["base_value"]);
            assert!(number(&one["residual"]).abs() <= 1e-3 * change.abs().max(0.01), "{one}");
        }
    }
}

/// PyTorch's gradients, reduced as API.md says.
#[test]
fn gradients_are_pytorchs() {
    let app = TestApp::golden(&["tiny-bert", "tiny-llama"]);
    for name in ["tiny-bert", "tiny-llama"] {
        let values = Values::of(name);
        for (index, case) in cases(name).iter().enumerate() {
            let Some(oracle) = values.get(&format!("{index}.gradient.1")) else { continue };
            let mut request = json!({"model": name, "text": case["text"], "target": 1, "method": "gradient"});
            if case["pair"].is_string() {
                request["pair"] = case["pair"].clone();
            }
            let answer = app.ask("/explain", &request);
            let scores = floats(&answer["explanations"][0]["scores"]["tokens"]);
            let norm = |token: &[f32]| token.iter().map(|g| g * g).sum::<f32>().sqrt();
            let norms: Vec<f32> = oracle.chunks(oracle.len() / scores.len()).map(norm).collect();
            close(&format!("{name} {index}"), &scores, &norms, 2e-5);
        }
    }
}

/// Every task answers DeepLIFT at its own position, in every space, and the scores add up.
#[test]
fn deep_lift_adds_up_at_every_task() {
    let app =
        TestApp::golden(&["tiny-bert-tokens", "tiny-roberta-answers", "tiny-bert-multilabel", "tiny-bert-regression"]);
    let ask = |request: Value, output: &str| {
        let mut request = request;
        request["explain"] = json!([{"method": "deep_lift", "output": output}]);
        let answer = app.ask("/explain", &request);
        let one = &answer["explanations"][0];
        let scores = floats(&one["scores"]["tokens"]);
        adds_up(one, &scores);
        let change = number(&one["output_value"]) - number(&one["base_value"]);
        assert!(number(&one["residual"]).abs() <= 1e-3 * change.abs().max(0.01), "{one}");
    };
    for output in ["logit", "probability", "log_probability"] {
        ask(json!({"model": "tiny-bert-tokens", "text": "not a bad film", "target": {"token": 2, "label": 1}}), output);
        ask(json!({"model": "tiny-bert-multilabel", "text": "not a bad film", "target": 2}), output);
        let mut question = json!({"model": "tiny-roberta-answers", "text": "what film?", "pair": "not a bad film"});
        let answer = app.ask("/predict", &question);
        let context = answer["input"]["tokens"].as_array().unwrap().iter().rposition(|token| token["sequence"] == 1);
        question["target"] = json!({"start": context.unwrap()});
        ask(question, output);
    }
    ask(json!({"model": "tiny-roberta-answers", "text": "what film?", "pair": "not a bad film"}), "logit");
    ask(json!({"model": "tiny-bert-regression", "text": "not a bad film"}), "logit");
}

#[test]
fn guided_backpropagation_is_for_relus() {
    let app = TestApp::golden(&["tiny-resnet", "tiny-bert", "tiny-bert-multilabel"]);
    let image = json!({"image": BASE64_STANDARD.encode(png()), "method": "guided_backprop"});
    let one = &app.ask("/explain", &image)["explanations"][0];
    let cells: Vec<f32> = one["scores"]["grid"].as_array().unwrap().iter().flat_map(floats).collect();
    assert!(cells.iter().all(|cell| *cell >= 0.0) && cells.iter().any(|cell| *cell > 0.0));
    app.ask(
        "/explain",
        &json!({"model": "tiny-bert-multilabel", "text": "a film", "method": "guided_backprop", "target": 0}),
    );
    let text = json!({"model": "tiny-bert", "text": "a film", "explain": ["gradient", "guided_backprop"]});
    let refused = problem(app.send("/explain", &text), 422, "invalid-request");
    assert_eq!(pointers(&refused), ["/explain/1"]);
    let detail = refused["errors"][0]["detail"].as_str().unwrap();
    assert!(detail.contains("cannot give: relu;") && detail.contains(" gradient,"), "{detail}");
    // Nobody is offered what is refused.
    let models: Value = app.get("/models").send().unwrap().json().unwrap();
    for (model, guided) in models["models"].as_array().unwrap().iter().zip([true, false, true]) {
        let has = |list: &str, what: &str| model[list].as_array().unwrap().iter().any(|one| one == what);
        assert_eq!((has("methods", "guided_backprop"), has("capabilities", "relu")), (guided, guided), "{model}");
    }
}

#[test]
fn settings_are_refused_where_they_stand() {
    let app = TestApp::start();
    for (item, pointer) in [
        (json!({"method": "smooth_grad", "noise": 0}), "/explain/0/noise"),
        (json!({"method": "smooth_grad", "variant": "median"}), "/explain/0/variant"),
        (json!({"method": "gradient_shap", "baselines": ["pad", "blur"]}), "/explain/0/baselines/1"),
        (json!({"method": "deep_lift", "baseline": "white"}), "/explain/0/baseline"),
        (json!({"method": "gradient", "cells": 3}), "/explain/0/cells"),
        (json!({"method": "input_x_gradient", "steps": 3}), "/explain/0/steps"),
    ] {
        let refused = problem(app.send("/explain", &json!({"text": TEXT, "explain": [item]})), 422, "invalid-request");
        assert_eq!(pointers(&refused), [pointer]);
    }
}

#[test]
fn the_same_seed_has_the_same_scores_and_another_one_others() {
    let app = TestApp::start();
    let ask = |seed: u64| {
        let explain = json!([{"method": "smooth_grad", "samples": 4}, {"method": "gradient_shap", "samples": 4}]);
        let answer = app.ask("/explain", &json!({"text": TEXT, "explain": explain, "seed": seed}));
        [0, 1].map(|index| answer["explanations"][index]["scores"].clone())
    };
    assert_eq!(ask(3), ask(3));
    let (three, four) = (ask(3), ask(4));
    assert!(three[0] != four[0] && three[1] != four[1]);
}
