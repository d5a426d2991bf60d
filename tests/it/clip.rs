//! Zero-shot classification of images by CLIP over HTTP, against transformers and Captum (tests/golden/models_clip.py).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::parity::{Values, cases, close, floats, golden_png};

fn app() -> TestApp {
    TestApp::golden(&["tiny-clip", "tiny-vit"])
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

fn request(index: usize, more: Value) -> Value {
    let (values, case) = (Values::of("tiny-clip"), &cases("tiny-clip")[index]);
    let mut request = json!({"model": "tiny-clip", "image": STANDARD.encode(golden_png(&values, index)),
        "labels": case["labels"], "hypothesis_template": case["template"]});
    more.as_object().unwrap().iter().for_each(|(key, value)| request[key] = value.clone());
    request
}

#[test]
fn images_are_classified_as_by_the_pipeline() {
    let (app, values) = (app(), Values::of("tiny-clip"));
    for (index, case) in cases("tiny-clip").iter().enumerate() {
        let answer = app.ask("/predict", &request(index, json!({})));
        assert_eq!(answer["model"]["task"], "zero-shot-image-classification");
        assert_eq!(answer["request"]["labels"], case["labels"]);
        let scores = answer["prediction"]["scores"].as_array().unwrap();
        let of = |key: &str| scores.iter().map(|score| number(&score[key])).collect::<Vec<_>>();
        // Images went through resizing: a pixel may differ by one level.
        close("logits", &of("logit"), &values.get(&format!("{index}.logits")).unwrap(), 2e-3);
        close("probabilities", &of("probability"), &floats(&case["probabilities"]), 5e-3);
    }
    let plain =
        |key: &str| app.ask("/predict", &request(0, json!({"hypothesis_template": null})))["prediction"][key].clone();
    let same = |key: &str| app.ask("/predict", &request(0, json!({})))["prediction"][key].clone();
    assert_eq!(plain("scores"), same("scores"), "the template is the pipeline's");
}

#[test]
fn an_image_is_explained_against_its_labels() {
    let (app, values) = (app(), Values::of("tiny-clip"));
    let ig = |output: &str| json!([{"method": "integrated_gradients", "steps": 200, "output": output, "cells": 24}]);
    let contrast = json!({"index": 1, "against": "a good film"});
    for (target, output, key) in
        [(json!("Trains"), "logit", "1"), (json!(1), "probability", "1.probability"), (contrast, "logit", "1-0")]
    {
        let answer = app.ask("/explain", &request(0, json!({"target": target, "explain": ig(output)})));
        let one = &answer["explanations"][0];
        let grid: Vec<f32> = one["scores"]["grid"].as_array().unwrap().iter().flat_map(floats).collect();
        close(key, &grid, &values.get(&format!("0.ig.{key}")).unwrap(), 1e-3);
        for (end, field) in [("base", "base_value"), ("output", "output_value")] {
            close(key, &[number(&one[field])], &values.get(&format!("0.ig_{end}.{key}")).unwrap(), 1e-3);
        }
    }
    let item = json!([{"method": "attention", "layers": "all", "heads": "all"}, {"method": "lime", "samples": 40}]);
    let answer = app.ask("/explain", &request(0, json!({"target": "all", "explain": item})));
    let explanations = answer["explanations"].as_array().unwrap();
    assert_eq!(explanations.len(), 1 + 3);
    for (layer, heads) in explanations[0]["scores"]["layers"].as_array().unwrap().iter().enumerate() {
        let heads = heads.as_array().unwrap().iter().flat_map(|head| head.as_array().unwrap());
        let ours: Vec<f32> = heads.flat_map(floats).collect();
        close("attention", &ours, &values.get(&format!("0.attention.{layer}")).unwrap(), 1e-3);
    }
    assert_eq!(answer["input"]["sequence"].as_array().unwrap().len(), 17);
    let outputs: f32 = explanations[1..].iter().map(|one| number(&one["output_value"])).sum();
    assert!((outputs - 1.0).abs() < 1e-4, "{outputs}");
}

/// What changes the answer, or keeps it: a label is a choice among the request's own.
#[test]
fn labels_choose() {
    let item =
        json!([{"method": "anchors", "segments": 6}, {"method": "counterfactual", "segments": 6}, "adversarial"]);
    let answer = app().ask("/explain", &request(0, json!({"explain": item})));
    let found = answer["explanations"].as_array().unwrap();
    assert!(found[0]["rule"]["precision"].is_number(), "{}", found[0]);
    for one in &found[1..] {
        let change = &one["change"];
        let flipped = change["prediction"]["index"] != answer["prediction"]["index"];
        assert!(change["found"] != true || flipped, "{change}");
    }
}

#[test]
fn the_same_image_alone_or_with_other_labels_has_the_same_logits() {
    let app = app();
    let logit = |labels: Value| {
        let answer = app.ask("/predict", &request(0, json!({"labels": labels})));
        let scores = answer["prediction"]["scores"].as_array().unwrap().clone();
        scores.into_iter().find(|score| score["label"] == "Trains").unwrap()["logit"].clone()
    };
    assert_eq!(logit(json!(["Trains"])), logit(json!(["a good film", "b", "Trains"])));
}

#[test]
fn wrong_requests_say_where_and_what() {
    let app = app();
    let models: Value = app.get("/models").send().unwrap().json().unwrap();
    let clip = &models["models"][0];
    assert_eq!((&clip["task"], &clip["kind"]), (&json!("zero-shot-image-classification"), &json!("image")));
    assert_eq!((&clip["labels"], &clip["max_tokens"]), (&json!([]), &json!(null)));
    let long = "film ".repeat(60);
    for (more, pointer, part) in [
        (json!({"labels": null, "hypothesis_template": null}), "/labels", "labels of your own"),
        (json!({"labels": []}), "/labels", "empty"),
        (json!({"labels": ["a train", long]}), "/labels/1", "tokens"),
        (json!({"hypothesis_template": format!("{long} {{}}")}), "/hypothesis_template", "tokens"),
        (json!({"labels": ["a train", "a film", "a train"]}), "/labels/2", "twice"),
        (json!({"multi_label": true}), "/multi_label", "leave it out"),
        (json!({"hypothesis_template": "a photo"}), "/hypothesis_template", "{}"),
        (json!({"target": "a ship"}), "/target", "Trains"),
        (json!({"model": "tiny-vit"}), "/labels", "labels of your own"),
    ] {
        let response = app.send("/explain", &request(0, more));
        assert_eq!(response.status(), 422, "{pointer} {part}");
        let problem: Value = response.json().unwrap();
        let fits = |error: &Value| error["pointer"] == pointer && error["detail"].as_str().unwrap().contains(part);
        assert!(problem["errors"].as_array().unwrap().iter().any(fits), "{problem}");
    }
}
