//! How large a completion may be: explanations, matrices, characters, words.

use explaind::config::Settings;
use serde_json::{Value, json};

use crate::app::{TestApp, problem};
use crate::parity::golden;

const MODEL: &str = "tiny-llama-lm";

fn app(change: impl FnOnce(&mut Settings)) -> TestApp {
    let app = TestApp::unloaded(change);
    app.load_folders(vec![golden(MODEL)]);
    app
}

fn request(more: Value) -> Value {
    let mut request = json!({"text": "The train", "completion": " is slow. We waited"});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

/// The first error of a 422.
fn refused(app: &TestApp, request: &Value) -> (String, String) {
    let problem = problem(app.send("/explain", request), 422, "invalid-request");
    let error = &problem["errors"][0];
    (error["pointer"].as_str().unwrap().to_owned(), error["detail"].as_str().unwrap().to_owned())
}

/// What does not add up is an explanation a token, and counts as that.
#[test]
fn explanations_of_single_tokens_count() {
    let (many, one) = (app(|_| {}), app(|settings| settings.limits.explanations = 1));
    let models: Value = many.get("/models").send().unwrap().json().unwrap();
    let mut apart = Vec::new();
    for method in models["models"][0]["methods"].as_array().unwrap() {
        let request = request(json!({"explain": [method]}));
        let response = many.send("/explain", &request);
        if response.status() != 200 {
            continue;
        }
        let answer: Value = response.json().unwrap();
        let tokens = answer["input"]["completion"].as_array().unwrap().len();
        assert!(tokens > 2);
        match answer["explanations"].as_array().unwrap().len() {
            1 => assert_eq!(one.send("/explain", &request).status(), 200, "{method}"),
            count => {
                assert_eq!(count, tokens, "{method}");
                let (pointer, detail) = refused(&one, &request);
                assert_eq!(pointer, "/explain/0", "{method}");
                assert!(detail.contains(&format!("{tokens} explanations and the limit is 1")), "{detail}");
                apart.push(method.as_str().unwrap().to_owned());
            }
        }
    }
    for method in ["anchors", "counterfactual", "decision_tree", "logit_lens", "neurons", "auto"] {
        assert!(apart.iter().any(|found| found == method), "{method} of {apart:?}");
    }
    // As many as will be written at most; a token by itself is one.
    let written = json!({"text": "The train", "generate": {"max_new_tokens": 20}, "method": "logit_lens"});
    let (pointer, detail) = refused(&one, &written);
    assert_eq!(pointer, "/method");
    assert!(detail.contains("20 tokens"), "{detail}");
    let token = request(json!({"method": "logit_lens", "target": {"token": 1}}));
    assert_eq!(one.send("/explain", &token).status(), 200);
}

#[test]
fn matrices_are_numbers_of_the_response() {
    let whole = app(|_| {}).ask("/explain", &request(json!({"explain": ["input_x_gradient", "occlusion"]})));
    let count = |key: &str| whole["input"][key].as_array().unwrap().len();
    let (prompt, tokens) = (count("tokens"), count("completion"));
    // Of gradients, what stands before each token; of units, at most the prompt's tokens.
    let (gradients, units) = (tokens * prompt + tokens * (tokens - 1) / 2, tokens * prompt);
    let fits = |limit: usize| app(move |settings| settings.limits.response_values = limit);
    let both = request(json!({"explain": ["input_x_gradient", "occlusion"]}));
    let room = gradients + tokens + units;
    assert_eq!(fits(room).send("/explain", &both).status(), 200);
    let (pointer, detail) = refused(&fits(gradients + tokens), &both);
    assert_eq!(pointer, "/explain/1");
    assert!(detail.contains(&format!("{units} numbers and limits.response_values leaves")), "{detail}");
    // A sentence is one unit.
    let sentences = request(json!({"explain": [{"method": "occlusion", "unit": "sentence"}]}));
    assert_eq!(fits(tokens).send("/explain", &sentences).status(), 200);
    let (pointer, _) = refused(&fits(tokens), &request(json!({"method": "occlusion"})));
    assert_eq!(pointer, "/method");
}

#[test]
fn a_completion_has_as_many_characters_as_a_text() {
    let app = app(|settings| settings.limits.text_chars = 40);
    assert_eq!(app.send("/predict", &request(json!({}))).status(), 200);
    for long in [json!({"completion": "x".repeat(41)}), json!({"text": "x".repeat(25)})] {
        let found = problem(app.send("/predict", &request(long)), 413, "too-large");
        let error = &found["errors"][0];
        assert_eq!(error["pointer"], "/completion");
        assert!(error["detail"].as_str().unwrap().contains("the limit is 40"), "{found}");
    }
    let text = problem(app.send("/predict", &request(json!({"text": "x".repeat(41)}))), 413, "too-large");
    assert_eq!(text["errors"][0]["pointer"], "/text");
    let message = json!({"messages": [{"role": "user", "content": "x".repeat(41)}]});
    problem(app.send("/predict", &message), 413, "too-large");
}

#[test]
fn a_long_word_is_not_repeated_in_full() {
    let app = app(|_| {});
    for long in ["ab ".repeat(100), "ab".repeat(500_000)] {
        let target = json!({"token": 0, "against": long});
        let (pointer, detail) = refused(&app, &request(json!({"target": target, "method": "occlusion"})));
        assert_eq!(pointer, "/target/against");
        assert!(detail.chars().count() < 250 && detail.contains("one is asked for"), "{detail}");
    }
}
