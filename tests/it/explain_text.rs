//! `POST /explain` on text: shapes, defaults, targets, and the same bytes again.

use serde_json::{Value, json};

use crate::app::{TEXT, TestApp};

fn without_times(mut answer: Value) -> Value {
    answer["id"] = Value::Null;
    for explanation in answer["explanations"].as_array_mut().unwrap() {
        explanation["elapsed_ms"] = Value::Null;
    }
    answer
}

#[test]
fn three_methods_answer_in_order_with_their_shapes() {
    let app = TestApp::start();
    let explain =
        json!(["attention", {"method": "integrated_gradients", "steps": 16}, {"method": "lime", "samples": 200}]);
    let answer = app.ask("/explain", &json!({"model": "sentiment", "text": TEXT, "explain": explain}));
    let tokens = answer["input"]["tokens"].as_array().unwrap().len();
    let words = answer["input"]["words"].as_array().unwrap().len();
    let methods: Vec<&str> =
        answer["explanations"].as_array().unwrap().iter().map(|one| one["method"].as_str().unwrap()).collect();
    assert_eq!(methods, ["attention", "integrated_gradients", "lime"]);
    let [attention, gradients, lime] = [0, 1, 2].map(|index| &answer["explanations"][index]);
    assert!(attention["target"].is_null());
    assert_eq!(attention["scores"]["layers"][0][0].as_array().unwrap().len(), tokens);
    assert_eq!(gradients["scores"]["tokens"].as_array().unwrap().len(), tokens);
    assert_eq!(gradients["scores"]["words"].as_array().unwrap().len(), words);
    assert_eq!(lime["scores"]["words"].as_array().unwrap().len(), words);
    assert!(lime["scores"]["tokens"].is_null());
    assert_eq!(answer["prediction"]["index"], gradients["target"]["index"]);
}

#[test]
fn layers_keep_the_order_they_are_asked_in_and_the_deepest_is_summed_up() {
    let app = TestApp::start();
    let ask = |method: &str, layers: Value| {
        let item = json!({"method": method, "layers": layers});
        app.ask("/explain", &json!({"text": TEXT, "explain": [item]}))["explanations"][0].clone()
    };
    for method in ["attention", "value_zeroing"] {
        let [all, first, last] = [json!("all"), json!([0]), json!([-1])].map(|layers| ask(method, layers));
        let deepest = all["settings"]["layers"].as_array().unwrap().len() - 1;
        for (asked, order) in [(json!([-1, 0]), [deepest, 0]), (json!([0, -1]), [0, deepest])] {
            let found = ask(method, asked);
            assert_eq!(found["settings"]["layers"], json!(order), "{method}");
            let layers = order.map(|layer| all["scores"]["layers"][layer].clone());
            assert_eq!(found["scores"]["layers"], json!(layers), "{method}");
            for list in ["tokens", "words"] {
                assert_eq!(found["scores"][list], last["scores"][list], "{method} {list}");
                assert_ne!(found["scores"][list], first["scores"][list], "{method} {list}");
            }
        }
    }
}

#[test]
fn the_same_request_has_the_same_bytes() {
    let app = TestApp::start();
    let request =
        json!({"text": TEXT, "explain": ["integrated_gradients", {"method": "lime", "samples": 300}], "seed": 7});
    assert_eq!(without_times(app.ask("/explain", &request)), without_times(app.ask("/explain", &request)));
}

#[test]
fn neither_method_nor_explain_is_integrated_gradients() {
    let app = TestApp::start();
    let answer = app.ask("/explain", &json!({"text": TEXT}));
    assert_eq!(answer["explanations"][0]["method"], "integrated_gradients");
    assert_eq!(answer["request"]["seed"], 0);
}

#[test]
fn several_targets_are_answered_once_each() {
    let app = TestApp::start();
    let request = json!({"text": TEXT, "target": [1, 0, 1], "method": "integrated_gradients"});
    let answer = app.ask("/explain", &request);
    let targets: Vec<&Value> =
        answer["explanations"].as_array().unwrap().iter().map(|one| &one["target"]["index"]).collect();
    assert_eq!(targets, [1, 0]);
}

#[test]
fn predict_answers_without_explanations() {
    let app = TestApp::start();
    let answer = app.ask("/predict", &json!({"text": TEXT}));
    assert!(answer["explanations"].is_null());
    assert!(answer["prediction"]["probability"].as_f64().unwrap() > 0.5);
}

#[test]
fn the_answers_id_is_the_callers() {
    let app = TestApp::start();
    let response = app.post("/predict").header("x-request-id", "mine-1").json(&json!({"text": TEXT})).send().unwrap();
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.json::<Value>().unwrap()["id"], "mine-1");
    let response = app.post("/predict").header("x-request-id", "not mine").json(&json!({"text": TEXT})).send().unwrap();
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_ne!(id, "not mine");
    assert_eq!(response.json::<Value>().unwrap()["id"], id.as_str());
}

#[test]
fn bf16_is_measured_or_refused() {
    let app = TestApp::start();
    let ask = |precision: &str, method: &str| {
        let request = json!({"text": TEXT, "explain": [{"method": method, "precision": precision}]});
        let response = app.send("/explain", &request);
        (response.status().as_u16(), response.json::<Value>().unwrap())
    };
    let (status, answer) = ask("bf16", "lime");
    if !explaind::nn::Precision::Bf16.available() {
        assert_eq!((status, &answer["errors"][0]["pointer"]), (422, &json!("/explain/0/precision")));
        return;
    }
    let (_, exact) = ask("f32", "lime");
    let scores = |answer: &Value| -> Vec<f64> {
        let words = answer["explanations"][0]["scores"]["words"].as_array().unwrap();
        words.iter().map(|score| score.as_f64().unwrap()).collect()
    };
    assert_eq!(answer["explanations"][0]["settings"]["precision"], "bf16");
    let error = answer["explanations"][0]["diagnostics"]["precision_error"].as_f64().unwrap();
    assert!(error > 0.0 && error < 0.05, "{error}");
    assert!(exact["explanations"][0]["diagnostics"].get("precision_error").is_none());
    assert_ne!(scores(&answer), scores(&exact));
    for (rounded, exact) in scores(&answer).iter().zip(scores(&exact)) {
        assert!((rounded - exact).abs() < 2.0 * error + 1e-3, "{rounded} for {exact}");
    }
    assert_eq!(answer["prediction"], exact["prediction"]);
    let (status, refused) = ask("bf16", "integrated_gradients");
    assert_eq!((status, &refused["errors"][0]["pointer"]), (422, &json!("/explain/0/precision")));
}
