//! Every output space of every task: a number, or a refusal that says so. Never a failed job.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::app::{TestApp, png};

const SPACES: [&str; 5] = ["logit", "probability", "log_probability", "log_odds", "entropy"];

/// Methods that evaluate the empty mask, that differentiate, and the one whose default is `log_odds`.
fn items() -> Vec<Value> {
    let with = |item: Value| {
        SPACES.map(|space| {
            let mut item = item.clone();
            item["output"] = json!(space);
            item
        })
    };
    let mut items = vec![json!({"method": "lime", "variant": "sparse"})];
    items.extend(with(json!({"method": "lime", "variant": "sparse"})));
    items.extend(with(json!({"method": "kernel_shap"})));
    items.extend(with(json!({"method": "gradient"})));
    items
}

/// Asks for each of the items by itself; the outputs of those that are refused.
fn refused(app: &TestApp, request: &Value) -> Vec<String> {
    let mut refused = Vec::new();
    for item in items() {
        let mut request = request.clone();
        request["explain"] = json!([item]);
        let response = app.send("/explain", &request);
        let status = response.status();
        let body = response.text().unwrap();
        assert!(status == 200 || status == 422, "{status}: {item} of {request}: {body}");
        if status == 422 {
            assert!(body.contains("/explain/0/output"), "{item}: {body}");
            refused.push(item["output"].as_str().unwrap_or("the default").to_owned());
        }
    }
    refused.sort_unstable();
    refused.dedup();
    refused
}

/// A question of a context, with the context's first token as target at `end`.
fn question(app: &TestApp, context: &str, end: &str) -> Value {
    let mut request = json!({"model": "tiny-bert-answers", "text": "who", "pair": context});
    let answer = app.ask("/predict", &request);
    let tokens = answer["input"]["tokens"].as_array().unwrap();
    request["target"] = json!({end: tokens.iter().position(|token| token["sequence"] == 1).unwrap()});
    request
}

#[test]
fn an_output_is_a_number_or_a_refusal() {
    let app = TestApp::golden(&[
        "tiny-bert",
        "tiny-bert-regression",
        "tiny-bert-multilabel",
        "tiny-bert-tokens",
        "tiny-bert-answers",
        "tiny-bert-nli",
        "tiny-bert-mask",
        "tiny-gpt2-lm",
    ]);
    let (numbers, shares) =
        (vec!["entropy", "log_odds", "log_probability", "probability"], vec!["entropy", "log_odds"]);
    for (model, more, expected) in [
        ("tiny-bert", json!({"text": "a good film"}), vec!["entropy"]),
        ("tiny-bert-regression", json!({"text": "a good film"}), numbers.clone()),
        ("tiny-bert-multilabel", json!({"text": "a good film"}), vec!["entropy"]),
        ("tiny-bert-tokens", json!({"text": "a good film", "target": {"token": 2}}), vec!["entropy"]),
        ("tiny-bert-answers", question(&app, "a good film", "start"), shares.clone()),
        ("tiny-bert-answers", question(&app, "film", "end"), shares),
        ("tiny-bert-answers", json!({"text": "who", "pair": "a good film"}), numbers),
        ("tiny-bert-nli", json!({"text": "a good film", "labels": ["film"]}), vec!["entropy"]),
        ("tiny-bert-nli", json!({"text": "a good film", "labels": ["film", "train"]}), vec!["entropy"]),
        ("tiny-bert-mask", json!({"text": "a [MASK] film", "target": "good"}), vec!["entropy"]),
        ("tiny-gpt2-lm", json!({"text": "a good", "completion": " film", "target": {"token": 0}}), vec![]),
    ] {
        let mut request = more;
        request["model"] = json!(model);
        assert_eq!(refused(&app, &request), expected, "{request}");
    }
}

#[test]
fn one_label_of_an_image_has_no_odds() {
    let app = TestApp::golden(&["tiny-clip"]);
    let image = STANDARD.encode(png());
    for (labels, expected) in
        [(json!(["a cat"]), vec!["entropy", "log_odds"]), (json!(["a cat", "a dog"]), vec!["entropy"])]
    {
        assert_eq!(refused(&app, &json!({"image": image, "labels": labels})), expected);
    }
}

/// Where the target has no odds, a sparse surrogate is of the logit.
#[test]
fn a_sparse_surrogate_of_an_answer_is_of_its_logit() {
    let app = TestApp::golden(&["tiny-bert-answers"]);
    let mut request = question(&app, "a good film", "start");
    request["explain"] = json!([{"method": "lime", "variant": "sparse"}]);
    let answer = app.ask("/explain", &request);
    assert_eq!(answer["explanations"][0]["settings"]["output"], "logit");
}
