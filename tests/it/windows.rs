//! Texts longer than their model, read in windows: rows, outputs and gradients against transformers
//! (tests/golden/windows.py), and the methods that cannot.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::parity::{close, floats, golden};

const MODELS: [&str; 4] = ["tiny-bert", "tiny-bert-tokens", "tiny-bert-answers", "tiny-bert-nli"];

fn app() -> TestApp {
    TestApp::golden(&MODELS)
}

fn case(name: &str) -> Value {
    let file = std::fs::read(golden("values/windows.json")).unwrap();
    serde_json::from_slice::<Value>(&file).unwrap()[name].clone()
}

/// The request of `case`, in windows.
fn request(case: &Value, more: Value) -> Value {
    let mut request = json!({"truncation": "window"});
    let kept = ["model", "text", "pair", "labels"].into_iter().filter(|key| !case[*key].is_null());
    kept.for_each(|key| request[key] = case[key].clone());
    more.as_object().unwrap().iter().for_each(|(key, value)| request[key] = value.clone());
    request
}

fn ig(output: &str) -> Value {
    json!([{"method": "integrated_gradients", "steps": 64, "output": output}])
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap() as f32
}

/// Scores of all tokens within 1e-3 of the largest, both ends within 1e-4.
fn same_path(what: &str, answer: &Value, oracle: &Value) {
    let one = &answer["explanations"][0];
    close(what, &floats(&one["scores"]["tokens"]), &floats(&oracle["scores"]), 1e-3);
    let ends = [number(&one["base_value"]), number(&one["output_value"])];
    close(what, &ends, &[number(&oracle["base"]), number(&oracle["output"])], 1e-4);
    let words: f32 = floats(&one["scores"]["words"]).iter().sum();
    let tokens: f32 = floats(&one["scores"]["tokens"]).iter().sum();
    assert!(words.is_finite() && tokens.is_finite(), "{what}");
}

fn logits(answer: &Value) -> Vec<f32> {
    answer["prediction"]["scores"].as_array().unwrap().iter().map(|score| number(&score["logit"])).collect()
}

fn softmax(logits: &[f32], index: usize) -> f32 {
    let sum: f32 = logits.iter().map(|logit| (logit - logits[index]).exp()).sum();
    1.0 / sum
}

#[test]
fn a_text_is_the_mean_of_its_windows_and_gradients_add_up() {
    let app = app();
    for name in ["one", "pair", "zero_shot"] {
        let case = case(name);
        let answer = app.ask("/explain", &request(&case, json!({"target": 1, "explain": ig("logit")})));
        let ids: Vec<f32> =
            answer["input"]["tokens"].as_array().unwrap().iter().map(|token| number(&token["id"])).collect();
        assert_eq!(ids, floats(&case["ids"]), "{name}");
        assert_eq!(answer["request"]["truncation"], "window");
        let windows = case["windows"].as_array().unwrap().len();
        let warning = &answer["warnings"][0];
        assert_eq!(warning["code"], "windows");
        let detail = warning["detail"].as_str().unwrap();
        let said = [format!("in {windows} windows of"), format!("overlap by {}", case["stride"])];
        assert!(said.iter().all(|part| detail.contains(part)), "{detail}");
        close(name, &logits(&answer), &floats(&case["logits"]), 1e-4);
        same_path(name, &answer, &case["ig"]);
        let answer = app.ask("/explain", &request(&case, json!({"target": 1, "explain": ig("probability")})));
        same_path(name, &answer, &case["ig_probability"]);

        // With every word gone each window is what stands around it.
        let item = json!([{"method": "lime", "samples": 20}]);
        let answer = app.ask("/explain", &request(&case, json!({"target": 1, "explain": item})));
        let removed = softmax(&floats(&case["removed"]), 1);
        close(name, &[number(&answer["explanations"][0]["base_value"])], &[removed], 1e-4);
        let words = answer["input"]["words"].as_array().unwrap().len();
        assert_eq!(answer["explanations"][0]["scores"]["words"].as_array().unwrap().len(), words);
    }
}

#[test]
fn a_token_is_read_where_it_has_most_context() {
    let (app, case) = (app(), case("tokens"));
    let token = &case["token"];
    let target = json!({"token": token, "label": 1});
    let answer = app.ask("/explain", &request(&case, json!({"target": target, "explain": ig("logit")})));
    let tokens = answer["prediction"]["tokens"].as_array().unwrap();
    let found = tokens.iter().filter(|token| !token.is_null());
    let oracle = case["logits"].as_array().unwrap();
    assert_eq!(found.clone().count(), oracle.len());
    for (found, oracle) in found.zip(oracle) {
        let own: Vec<f32> = found["scores"].as_array().unwrap().iter().map(|score| number(&score["logit"])).collect();
        close("tokens", &own, &floats(oracle), 1e-4);
    }
    same_path("tokens", &answer, &case["ig"]);
    let item = json!([{"method": "lime", "samples": 20}]);
    let answer = app.ask("/explain", &request(&case, json!({"target": target, "explain": item})));
    close("tokens", &[number(&answer["explanations"][0]["base_value"])], &floats(&case["removed"])[1..2], 1e-4);
}

#[test]
fn an_answer_is_looked_for_in_all_windows() {
    let (app, case) = (app(), case("answers"));
    let answer = app.ask("/explain", &request(&case, json!({"explain": ig("logit")})));
    let oracle: Vec<f32> = case["logits"].as_array().unwrap().iter().flat_map(floats).collect();
    for (place, key) in ["start_logits", "end_logits"].into_iter().enumerate() {
        let oracle: Vec<f32> = oracle.iter().copied().skip(place).step_by(2).collect();
        close(key, &floats(&answer["prediction"][key]), &oracle, 1e-4);
    }
    let tokens = &answer["input"]["tokens"];
    for (key, end) in [("start", 0), ("end", 1)] {
        let token = &tokens[case["span"][end].as_u64().unwrap() as usize];
        assert_eq!(answer["prediction"][key], token[key]);
    }
    same_path("answers", &answer, &case["ig"]);
    let item = json!([{"method": "lime", "samples": 20}]);
    app.ask("/explain", &request(&case, json!({"explain": item})));
}

/// Zero-shot labels are rows of a short text: a probability over them, or a difference, comes from several.
#[test]
fn gradients_of_labels_go_through_all_their_rows() {
    let (app, case) = (app(), case("labels"));
    let short = |more: Value| request(&case, more);
    let answer = app.ask("/explain", &short(json!({"target": 1, "explain": ig("probability")})));
    assert_eq!(answer["warnings"], json!([]));
    same_path("probability", &answer, &case["ig_probability"]);
    let target = json!({"index": 1, "against": 0});
    let answer = app.ask("/explain", &short(json!({"target": target, "explain": ig("logit")})));
    same_path("difference", &answer, &case["ig_difference"]);
    let answer = app.ask("/explain", &short(json!({"target": "all", "explain": ig("logit")})));
    assert_eq!(answer["explanations"].as_array().unwrap().len(), 3);
}

#[test]
fn what_windows_cannot_do_is_said() {
    let (app, case) = (app(), case("one"));
    let refused = |request: Value, pointer: &str, part: &str| {
        let response = app.send("/explain", &request);
        assert_eq!(response.status(), 422, "{request}");
        let problem: Value = response.json().unwrap();
        let fits = |error: &Value| error["pointer"] == pointer && error["detail"].as_str().unwrap().contains(part);
        assert!(problem["errors"].as_array().unwrap().iter().any(fits), "{problem}");
    };
    refused(request(&case, json!({"explain": ["attention"]})), "/explain/0", "in 5 windows");
    let long = &case["text"];
    let both = json!({"model": "tiny-bert", "text": long, "pair": long, "truncation": "window"});
    refused(both, "/text", "too few");
    let second =
        json!({"model": "tiny-bert", "text": "film ".repeat(90), "pair": "film ".repeat(60), "truncation": "window"});
    refused(second, "/pair", "too few");
    // Of the 64 tokens that the model takes, the label's hypothesis leaves too few for a window.
    let label =
        json!({"model": "tiny-bert-nli", "text": long, "labels": ["a", "film ".repeat(52)], "truncation": "window"});
    refused(label, "/labels/1", "too few for the text");
    let question = json!({"model": "tiny-bert-answers", "text": long, "pair": "The train.", "truncation": "window"});
    refused(question, "/text", "shorten the question");

    // What fits is read as ever.
    let short = |truncation: &str| {
        let request = json!({"model": "tiny-bert", "text": "not a bad film", "truncation": truncation,
            "explain": ["attention", "integrated_gradients", "lime"]});
        let answer = app.ask("/explain", &request);
        (answer["prediction"].clone(), answer["explanations"][1]["scores"].clone(), answer["warnings"].clone())
    };
    assert_eq!(short("window"), short("truncate"));
}
