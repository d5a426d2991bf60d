//! The perturbation methods over HTTP and against Captum on whole models (tests/golden/perturbation.py).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, png, pointers, problem};
use crate::parity::{Values, ask, close, floats, golden, golden_png, tiny};

const SHAPLEY: [&str; 3] = ["kernel_shap", "shapley_sampling", "partition_shap"];

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn sum(value: &Value) -> f64 {
    numbers(value).iter().sum()
}

#[test]
fn a_text_has_shapley_values_that_add_up() {
    let app = TestApp::start();
    let request = json!({"text": TEXT, "explain": [
        {"method": "kernel_shap", "interactions": true}, "shapley_sampling",
        {"method": "partition_shap", "hierarchy": "flat"}, "partition_shap", "occlusion", "lime"
    ]});
    let answer = app.ask("/explain", &request);
    let words = answer["input"]["words"].as_array().unwrap().len();
    let explanations = answer["explanations"].as_array().unwrap();
    for one in &explanations[..4] {
        let change = one["output_value"].as_f64().unwrap() - one["base_value"].as_f64().unwrap();
        assert!((sum(&one["scores"]["words"]) - change).abs() < 1e-5, "{one}");
        assert!(one["residual"].as_f64().unwrap().abs() < 1e-5);
        assert_eq!(one["diagnostics"]["exact"], true, "{one}");
        assert_eq!(one["scores"]["words"].as_array().unwrap().len(), words);
    }
    let first = numbers(&explanations[0]["scores"]["words"]);
    for same in [1, 2] {
        let found = numbers(&explanations[same]["scores"]["words"]);
        assert!(first.iter().zip(&found).all(|(a, b)| (a - b).abs() < 1e-6));
    }
    let matrix = explanations[0]["interactions"].as_array().unwrap();
    assert_eq!((matrix.len(), matrix[0].as_array().unwrap().len()), (words, words));
    assert!(explanations[1]["interactions"].is_null() && explanations[4]["residual"].is_null());
    // One game for all of them: the second method's masks are the first's.
    assert_eq!(explanations[4]["diagnostics"]["evaluations"], words + 2);
}

#[test]
fn sparse_surrogates_answer_texts_and_images() {
    let app = TestApp::start();
    let sparse = json!({"method": "lime", "variant": "sparse", "lasso": 0.3});
    let text =
        "A gripping, funny film with a cast that never once disappoints, from a director who knows what he wants.";
    let ask = |text: &str| app.ask("/explain", &json!({"text": text, "explain": [sparse, "occlusion"]}));
    let answer = ask(text);
    let one = &answer["explanations"][0];
    let words = numbers(&one["scores"]["words"]);
    assert_eq!(words.len(), answer["input"]["words"].as_array().unwrap().len());
    assert!(words.contains(&0.0) && words.iter().any(|score| score.abs() > 0.1), "{words:?}");
    assert_eq!((&one["diagnostics"]["samples"], &one["diagnostics"]["evaluations"]), (&json!(64), &json!(66)));
    assert!(one["diagnostics"]["standard_error"].is_null() && one["residual"].is_null());
    assert_eq!(ask(text)["explanations"][0]["scores"], one["scores"], "the same draws");
    for (text, units) in [("", 0), ("gripping", 1), ("gripping film", 2)] {
        let answer = ask(text);
        let one = &answer["explanations"][0];
        assert_eq!(numbers(&one["scores"]["words"]).len(), units);
        assert!(units == 0 || one["diagnostics"]["evaluations"] == 1 << units, "{one}");
    }
    let image = BASE64_STANDARD.encode(std::fs::read(golden("images/platelet_027.png")).unwrap());
    let answer = app.ask("/explain", &json!({"image": image, "explain": [sparse]}));
    let one = &answer["explanations"][0];
    assert!(numbers(&one["scores"]["segments"]).len() > 20 && one["scores"]["grid"].is_array());
}

#[test]
fn sentences_and_spans_are_units_of_every_method() {
    let app = TestApp::start();
    let text = "A gripping, funny film. The end is dull! I liked it.";
    for method in ["occlusion", "lime", "kernel_shap", "shapley_sampling", "partition_shap"] {
        let request = json!({"text": text, "explain": [
            {"method": method, "unit": "sentence"},
            {"method": method, "unit": "span", "spans": [[24, 40], [2, 10]]},
        ]});
        let answer = app.ask("/explain", &request);
        let [sentences, spans] = [0, 1].map(|index| &answer["explanations"][index]);
        assert_eq!(sentences["scores"]["sentences"].as_array().unwrap().len(), 3, "{method}");
        let texts: Vec<&str> =
            sentences["units"].as_array().unwrap().iter().map(|u| u["text"].as_str().unwrap()).collect();
        assert_eq!(texts, ["A gripping, funny film.", "The end is dull!", "I liked it."]);
        assert_eq!(spans["scores"]["spans"].as_array().unwrap().len(), 2, "{method}");
        assert_eq!(spans["units"][1], json!({"text": "gripping", "start": 2, "end": 10}));
        assert_eq!(spans["settings"]["spans"], json!([[24, 40], [2, 10]]));
        assert!(spans["scores"].get("words").is_none());
    }
}

#[test]
fn an_image_has_boxes_masks_and_regions() {
    let app = TestApp::start();
    let halves = image::GrayImage::from_fn(32, 32, |x, _| image::Luma([if x < 16 { 3 } else { 200 }]));
    let mut mask = std::io::Cursor::new(Vec::new());
    halves.write_to(&mut mask, image::ImageFormat::Png).unwrap();
    let mask = BASE64_STANDARD.encode(mask.into_inner());
    let answer = app.ask(
        "/explain",
        &json!({"image": BASE64_STANDARD.encode(png()), "explain": [
            {"method": "occlusion", "window": 24, "stride": 12, "cells": 8},
            {"method": "kernel_shap", "segmenter": "mask", "mask": mask},
            {"method": "partition_shap", "segments": 12, "max_evaluations": 60},
            {"method": "shapley_sampling", "segments": 9, "samples": 4},
        ]}),
    );
    let [boxes, masked, grouped, sampled] = [0, 1, 2, 3].map(|index| &answer["explanations"][index]);
    assert_eq!(boxes["scores"]["grid"].as_array().unwrap().len(), 8);
    assert!(boxes["segments"].is_null() && boxes["scores"]["segments"].is_null());
    assert_eq!(masked["scores"]["segments"].as_array().unwrap().len(), 2);
    for one in [masked, grouped, sampled] {
        let change = one["output_value"].as_f64().unwrap() - one["base_value"].as_f64().unwrap();
        assert!((sum(&one["scores"]["segments"]) - change).abs() < 1e-5, "{one}");
    }
    assert!(grouped["diagnostics"]["evaluations"].as_u64().unwrap() <= 60);
    assert_eq!(sampled["diagnostics"]["samples"], 4);
}

#[test]
fn empty_short_and_contrastive_requests_are_answered() {
    let app = TestApp::start();
    let every = json!(["occlusion", "kernel_shap", "shapley_sampling", "partition_shap"]);
    for (text, words) in [("", 0), ("good", 1), ("good film", 2)] {
        let answer = app.ask("/explain", &json!({"text": text, "explain": every, "target": "all"}));
        assert_eq!(answer["explanations"].as_array().unwrap().len(), 8);
        for one in answer["explanations"].as_array().unwrap() {
            assert_eq!(one["scores"]["words"].as_array().unwrap().len(), words, "{one}");
        }
    }
    let both = app.ask("/explain", &json!({"text": TEXT, "explain": every, "target": [{"index": 1, "against": 0}, 1]}));
    for pair in both["explanations"].as_array().unwrap().chunks(2) {
        let (against, own) = (numbers(&pair[0]["scores"]["words"]), numbers(&pair[1]["scores"]["words"]));
        // p₁ − p₀ = 2 p₁ − 1.
        assert!(against.iter().zip(&own).all(|(against, own)| (against - 2.0 * own).abs() < 1e-5), "{pair:?}");
    }
}

#[test]
fn settings_that_cannot_be_are_problems_with_their_place() {
    let app = TestApp::start();
    for (item, pointer) in [
        (json!({"method": "occlusion", "unit": "span", "spans": [[0, 4], [2, 6]]}), "/explain/0/spans/1"),
        (json!({"method": "occlusion", "unit": "span", "spans": [[3, 3]]}), "/explain/0/spans/0"),
        (json!({"method": "lime", "unit": "span", "spans": [[0, 400]]}), "/explain/0/spans/0"),
        (json!({"method": "lime", "unit": "span"}), "/explain/0/spans"),
        (json!({"method": "kernel_shap", "samples": 7}), "/explain/0/samples"),
        (json!({"method": "shapley_sampling", "tolerance": 2}), "/explain/0/tolerance"),
        (json!({"method": "partition_shap", "hierarchy": [0, 1]}), "/explain/0/hierarchy"),
        (json!({"method": "occlusion", "window": 2, "stride": 3}), "/explain/0/stride"),
        (json!({"method": "kernel_shap", "segmenter": "mask"}), "/explain/0/segmenter"),
    ] {
        let found = problem(app.send("/explain", &json!({"text": TEXT, "explain": [item]})), 422, "invalid-request");
        assert_eq!(pointers(&found), [pointer], "{item}");
    }
}

#[test]
fn equal_requests_get_equal_bytes() {
    let app = TestApp::start();
    let long = "The film is slow at first and then, without a warning, it becomes the funniest thing of the year";
    for method in SHAPLEY {
        let request = json!({"text": long, "explain": [{"method": method, "max_evaluations": 300}], "seed": 3});
        let bytes = || {
            let mut answer = app.ask("/explain", &request);
            answer["id"] = Value::Null;
            answer["explanations"][0]["elapsed_ms"] = Value::Null;
            answer.to_string()
        };
        assert_eq!(bytes(), bytes());
    }
}

fn goldens() -> Value {
    serde_json::from_slice(&std::fs::read(golden("methods/occlusion.json")).unwrap()).unwrap()
}

/// Captum's FeatureAblation with a group for each word, in f64: within 1e-4 of the largest score.
#[test]
fn occlusion_of_words_is_captums_feature_ablation() {
    for case in goldens()["texts"].as_array().unwrap() {
        let catalog = tiny(case["model"].as_str().unwrap());
        for (fill, expected) in case["words"].as_object().unwrap() {
            let item = json!({"method": "occlusion", "fill": fill, "output": case["output"]});
            let answer = ask(&catalog, json!({"text": case["text"], "explain": [item], "target": 1}), None);
            let scores = &answer.explanations.as_ref().unwrap()[0].attribution.scores;
            close(&format!("{} {fill}", case["model"]), scores.words.as_ref().unwrap(), &floats(expected), 1e-4);
        }
    }
}

/// Captum's Occlusion of every pixel, baseline 0, in f64: within 2e-3 of the largest score, since a resized pixel may
/// differ by one level.
#[test]
fn occlusion_by_boxes_is_captums() {
    for case in goldens()["images"].as_array().unwrap() {
        let name = case["model"].as_str().unwrap();
        let (catalog, values) = (tiny(name), Values::of(name));
        let side = case["rows"].as_u64().unwrap();
        assert_eq!(case["cols"], side);
        for result in case["results"].as_array().unwrap() {
            let item =
                json!({"method": "occlusion", "window": result["window"], "stride": result["stride"], "cells": side});
            let image = golden_png(&values, case["index"].as_u64().unwrap() as usize);
            let answer = ask(&catalog, json!({"explain": [item], "target": 1}), Some(image));
            let grid = answer.explanations.as_ref().unwrap()[0].attribution.scores.grid.clone().unwrap();
            close(&format!("{name} {}", result["window"]), &grid.concat(), &floats(&result["pixels"]), 2e-3);
        }
    }
}
