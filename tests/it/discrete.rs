//! Methods that answer with a rule, a tree or a changed input: shapes over HTTP, against brute force and against what
//! `/predict` says of the changed input.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use crate::app::{TEXT, TestApp};

const IMAGE: &[u8] = include_bytes!("../golden/images/platelet_027.png");

fn explain(app: &TestApp, text: &str, item: Value) -> Value {
    app.ask("/explain", &json!({"model": "sentiment", "text": text, "explain": [item]}))
}

fn see(app: &TestApp, item: Value) -> Value {
    let image = BASE64_STANDARD.encode(IMAGE);
    app.ask("/explain", &json!({"model": "blood-cells", "image": image, "explain": [item]}))["explanations"][0].clone()
}

fn label(app: &TestApp, text: &str) -> Value {
    app.ask("/predict", &json!({"model": "sentiment", "text": text}))["prediction"]["label"].clone()
}

fn words(text: &str) -> usize {
    text.split_whitespace().count()
}

/// Every subset of a text's words, and what the model says of it written out. Of a text without punctuation the same
/// ids remain where words are removed.
fn subsets(app: &TestApp, text: &str) -> Vec<(usize, String)> {
    let all: Vec<&str> = text.split(' ').collect();
    let say = |mask: usize| {
        let kept: Vec<&str> = (0..all.len()).filter(|word| mask >> word & 1 == 1).map(|word| all[word]).collect();
        (mask, label(app, &kept.join(" ")).as_str().unwrap().to_owned())
    };
    (0..1 << all.len()).map(say).collect()
}

#[test]
fn rules_and_changes_of_a_text_are_those_of_brute_force() {
    let app = TestApp::start();
    let text = "not a good film at all";
    let known = subsets(&app, text);
    let whole = &known.last().unwrap().1;
    let precision = |kept: usize| {
        let above: Vec<bool> =
            known.iter().filter(|(mask, _)| mask & kept == kept).map(|(_, say)| say == whole).collect();
        above.iter().filter(|same| **same).count() as f64 / above.len() as f64
    };
    let found = explain(&app, text, json!({"method": "anchors"}))["explanations"][0].clone();
    let rule = &found["rule"];
    let units: Vec<usize> =
        rule["units"].as_array().unwrap().iter().map(|unit| unit.as_u64().unwrap() as usize).collect();
    let bits = units.iter().map(|unit| 1 << unit).sum();
    assert!((rule["precision"].as_f64().unwrap() - precision(bits)).abs() < 1e-6, "{rule}");
    assert_eq!(rule["precision_bounds"], json!([rule["precision"], rule["precision"]]));
    assert_eq!(rule["coverage"].as_f64().unwrap(), 0.5_f64.powi(units.len() as i32));
    assert!(precision(bits) >= 0.95);
    for other in 0..1_usize << 6 {
        let fewer = (other.count_ones() as usize) < units.len();
        assert!(!fewer || precision(other) < 0.95, "{other:b} {rule}");
    }
    assert_eq!(found["diagnostics"]["exact"], true);

    let change = explain(&app, text, json!({"method": "counterfactual"}))["explanations"][0]["change"].clone();
    let flips = known.iter().filter(|(_, say)| say != whole);
    let fewest = flips.map(|(mask, _)| 6 - mask.count_ones()).min();
    assert_eq!(change["found"], fewest.is_some());
    if let Some(fewest) = fewest {
        assert_eq!((change["distance"].as_f64(), &change["minimal"]), (Some(f64::from(fewest)), &json!(true)));
        let changed = change["text"].as_str().unwrap();
        assert_eq!(words(changed) + fewest as usize, 6);
        assert_eq!(label(&app, changed), change["prediction"]["label"]);
        assert_ne!(change["prediction"]["label"].as_str().unwrap(), whole);
    }
}

#[test]
fn edits_make_the_changed_text() {
    let app = TestApp::start();
    for item in [
        json!({"method": "counterfactual"}),
        json!({"method": "counterfactual", "edit": "replace"}),
        json!({"method": "adversarial"}),
    ] {
        let answer = explain(&app, TEXT, item.clone());
        let change = &answer["explanations"][0]["change"];
        assert_eq!(change["found"], true, "{item}: {answer}");
        let characters: Vec<char> = TEXT.chars().collect();
        let (mut made, mut at) = (String::new(), 0);
        for edit in change["edits"].as_array().unwrap() {
            let [start, end] = ["start", "end"].map(|key| edit[key].as_u64().unwrap() as usize);
            assert_eq!(edit["from"], characters[start..end].iter().collect::<String>());
            made.extend(&characters[at..start]);
            made.push_str(edit["to"].as_str().unwrap());
            at = end;
        }
        made.extend(&characters[at..]);
        assert_eq!(change["text"], made, "{item}");
        assert_ne!(change["prediction"]["label"], answer["prediction"]["label"]);
        let retokenised = answer["warnings"].as_array().unwrap().iter().any(|one| one["code"] == "retokenised");
        if !retokenised {
            let again = app.ask("/predict", &json!({"model": "sentiment", "text": made}))["prediction"].clone();
            assert_eq!(again["label"], change["prediction"]["label"]);
            let [now, then] = [&again, &change["prediction"]].map(|one| one["probability"].as_f64().unwrap());
            assert!((now - then).abs() < 1e-6, "{item}");
        }
    }
}

#[test]
fn a_tree_has_rules_and_shares() {
    let app = TestApp::start();
    let found = explain(&app, "a gripping, funny film", json!({"method": "decision_tree"}))["explanations"][0].clone();
    assert!(found["tree"]["unit"].is_u64() || found["tree"]["value"].is_f64());
    assert!(!found["rules"].as_array().unwrap().is_empty());
    let shares: f64 =
        found["scores"]["words"].as_array().unwrap().iter().map(|score| score.as_f64().unwrap().abs()).sum();
    let r2 = found["diagnostics"]["r2"].as_f64().unwrap();
    assert!(shares <= r2 + 1e-5 && r2 <= 1.0 + 1e-6, "{shares} {r2}");
}

#[test]
fn pictures_have_rules_trees_and_changes() {
    let app = TestApp::start();
    let rule = see(&app, json!({"method": "anchors", "segments": 8}));
    assert!(rule["rule"]["text"].as_str().unwrap().contains("the model answers"), "{rule}");
    assert_eq!(rule["diagnostics"]["exact"], true);
    let tree = see(&app, json!({"method": "decision_tree", "segments": 8}));
    assert!(tree["rules"].is_array() && tree["scores"]["grid"].is_array());
    let change = see(&app, json!({"method": "counterfactual", "segments": 8, "fill": "zero"}));
    assert!(change["change"]["edits"].as_array().unwrap().is_empty());
    let hidden = change["scores"]["segments"].as_array().unwrap().iter().filter(|score| **score == 1.0).count();
    assert_eq!(change["change"]["distance"].as_f64().unwrap(), hidden as f64);
}

#[test]
fn an_adversarial_png_is_what_the_model_sees() {
    let app = TestApp::start();
    let answer = app.ask(
        "/explain",
        &json!({"model": "blood-cells", "image": BASE64_STANDARD.encode(IMAGE),
            "explain": [{"method": "adversarial", "epsilon": 0.05}, {"method": "adversarial", "attack": "fgsm"}]}),
    );
    let found = &answer["explanations"][0];
    let change = &found["change"];
    assert_eq!(change["found"], true, "{found}");
    assert!(change["distance"].as_f64().unwrap() <= 0.05 + 1e-6);
    assert_ne!(change["prediction"]["label"], answer["prediction"]["label"]);
    let size = answer["input"]["region"]["width"].as_f64().unwrap() as u32;
    let png = BASE64_STANDARD.decode(change["image"].as_str().unwrap()).unwrap();
    let picture = image::load_from_memory(&png).unwrap();
    // Of the model's own size nothing is resized, so the same pixels are read again.
    let again = app.ask("/predict", &json!({"model": "blood-cells", "image": change["image"]}))["prediction"].clone();
    assert_eq!(again["label"], change["prediction"]["label"], "{size} {}", picture.width());
}

#[test]
fn several_targets_pairs_and_empty_texts() {
    let app = TestApp::start();
    let methods = json!(["anchors", "decision_tree", "counterfactual", "adversarial"]);
    for text in ["", "good", "good film"] {
        let request = json!({"model": "sentiment", "text": text, "explain": methods,
            "target": ["predicted", {"index": 1, "against": 0}]});
        let answer = app.ask("/explain", &request);
        assert_eq!(answer["explanations"].as_array().unwrap().len(), 8, "{text}");
        for found in answer["explanations"].as_array().unwrap() {
            let words = found["scores"]["words"].as_array().unwrap().len();
            assert_eq!(words, words_of(&answer), "{text} {found}");
        }
    }
    let request = json!({"model": "sentiment", "text": "good film", "pair": "bad film", "explain": methods});
    let answer = app.ask("/explain", &request);
    let change = &answer["explanations"][2]["change"];
    if change["found"] == true {
        assert!(change["pair"].is_string() && change["edits"][0]["sequence"].is_u64());
    }
}

fn words_of(answer: &Value) -> usize {
    answer["input"]["words"].as_array().unwrap().len()
}

#[test]
fn the_same_request_has_the_same_bytes() {
    let app = TestApp::start();
    let text = "this long and winding film has no idea of what it wants to tell us in the end of it all";
    let request = json!({"model": "sentiment", "text": text, "seed": 3, "explain": [
        {"method": "anchors", "max_evaluations": 600}, {"method": "decision_tree", "max_evaluations": 300},
        {"method": "counterfactual", "max_evaluations": 300}, {"method": "adversarial", "max_changes": 2}]});
    let ask = || {
        let mut answer = app.ask("/explain", &request);
        answer["id"] = Value::Null;
        answer["explanations"].as_array_mut().unwrap().iter_mut().for_each(|one| one["elapsed_ms"] = Value::Null);
        answer
    };
    let first = ask();
    assert_eq!(first, ask());
    let anchors = &first["explanations"][0];
    assert_eq!(anchors["diagnostics"]["exact"], false);
    let [low, high] = [0, 1].map(|end| anchors["rule"]["precision_bounds"][end].as_f64().unwrap());
    let precision = anchors["rule"]["precision"].as_f64().unwrap();
    assert!(low <= precision && precision <= high, "{anchors}");
}

#[test]
fn settings_that_cannot_be_are_422() {
    let app = TestApp::start();
    for (item, pointer) in [
        (json!({"method": "anchors", "min_precision": 0}), "/explain/0/min_precision"),
        (json!({"method": "decision_tree", "depth": 0}), "/explain/0/depth"),
        (json!({"method": "counterfactual", "to": "NEUTRAL"}), "/explain/0/to"),
        (json!({"method": "counterfactual", "neighbours": 4}), "/explain/0/neighbours"),
        (json!({"method": "adversarial", "epsilon": 0.1}), "/explain/0/epsilon"),
        (json!({"method": "adversarial", "threshold": "a"}), "/explain/0/threshold"),
    ] {
        let response = app.send("/explain", &json!({"model": "sentiment", "text": TEXT, "explain": [item]}));
        assert_eq!(response.status(), 422, "{item}");
        let problem: Value = response.json().unwrap();
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{problem}");
    }
}

#[test]
fn every_task_says_what_another_answer_is() {
    let app = TestApp::golden(&["tiny-bert-regression", "tiny-bert-tokens", "tiny-bert-answers", "tiny-bert-nli"]);
    let methods = json!(["anchors", "counterfactual", {"method": "counterfactual", "edit": "replace"}, "adversarial"]);
    let regression = json!({"model": "tiny-bert-regression", "text": "a good film", "explain": methods});
    let refused = app.send("/explain", &regression);
    assert_eq!(refused.status(), 422);
    let problem: Value = refused.json().unwrap();
    let pointers: Vec<&str> =
        problem["errors"].as_array().unwrap().iter().map(|error| error["pointer"].as_str().unwrap()).collect();
    assert_eq!(pointers, [0, 1, 2, 3].map(|item| format!("/explain/{item}/threshold")));
    let predicted = app.ask("/predict", &json!({"model": "tiny-bert-regression", "text": "a good film"}));
    let logit = predicted["prediction"]["scores"][0]["logit"].as_f64().unwrap();
    let explain: Vec<Value> = ["anchors", "counterfactual", "adversarial"]
        .map(|method| json!({"method": method, "threshold": logit - 1e-3}))
        .to_vec();
    let request = json!({"model": "tiny-bert-regression", "text": "a good film", "explain": explain});
    let answer = app.ask("/explain", &request);
    let change = &answer["explanations"][1]["change"];
    if change["found"] == true {
        assert!(change["prediction"]["scores"][0]["logit"].as_f64().unwrap() < logit - 1e-3);
    }

    for (model, extra) in [
        ("tiny-bert-tokens", json!({"target": {"token": 2}})),
        ("tiny-bert-answers", json!({"pair": "the film is good", "target": {"start": 6}})),
        ("tiny-bert-nli", json!({"labels": ["good", "bad", "long"]})),
    ] {
        // Labels of one's own are rows of their own, of which one alone is differentiated.
        let methods = if model == "tiny-bert-nli" { json!(["anchors", "counterfactual"]) } else { methods.clone() };
        let mut request = json!({"model": model, "text": "a good film", "explain": methods});
        request.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let answer = app.ask("/explain", &request);
        for found in answer["explanations"].as_array().unwrap() {
            assert!(found["rule"].is_object() || found["change"].is_object(), "{model} {found}");
        }
    }
    let answer = json!({"model": "tiny-bert-answers", "text": "a", "pair": "the film is good", "method": "anchors"});
    assert_eq!(app.send("/explain", &answer).status(), 422);
}
