//! Completions told as they are written: `token` events, the same numbers as the answer's, and a caller who goes away.

use std::fs;
use std::io::Read as _;

use serde_json::{Value, json};

use crate::app::{TestApp, events, eventually, stable};
use crate::parity::golden;

const MODELS: [&str; 2] = ["tiny-llama-lm", "tiny-gpt2-lm"];

fn app() -> TestApp {
    TestApp::golden(&MODELS)
}

#[test]
fn tokens_come_as_they_are_written_and_make_the_completion() {
    let app = app();
    for model in MODELS {
        for generate in [
            json!({"max_new_tokens": 20}),
            json!({"max_new_tokens": 20, "temperature": 1.5}),
            json!({"max_new_tokens": 12, "temperature": 2, "top_k": 100, "stop": ["e", "a"]}),
        ] {
            for seed in 0..4 {
                let request = json!({
                    "model": model, "text": "The teacher waited", "generate": generate, "seed": seed,
                    "explain": ["input_x_gradient", {"method": "occlusion", "unit": "token"}],
                });
                let events = events(&app, &request);
                let (last, others) = events.split_last().unwrap();
                assert_eq!(last.0, "answer");
                let answer: Value = serde_json::from_str(&last.1).unwrap();
                assert_eq!(stable(answer.clone()), stable(app.ask("/explain", &request)));

                // Tokens first, then what explains them.
                let count = others.iter().take_while(|event| event.0 == "token").count();
                assert!(others[count..].iter().all(|event| event.0 == "progress" || event.0 == "explanation"));
                assert!(others[count..].iter().any(|event| event.0 == "explanation"));
                let told: Vec<Value> =
                    others[..count].iter().map(|event| serde_json::from_str(&event.1).unwrap()).collect();
                let tokens = answer["prediction"]["tokens"].as_array().unwrap();
                assert_eq!(told.len(), tokens.len());
                for (index, (told, token)) in told.iter().zip(tokens).enumerate() {
                    assert_eq!(told["index"], index);
                    // What was read before changes no bit of what the whole prompt gives.
                    for key in ["id", "probability", "log_probability"] {
                        assert_eq!(told[key], token[key], "{model} {generate} {seed} {index} {key}");
                    }
                }
                let text: String = told.iter().map(|token| token["text"].as_str().unwrap()).collect();
                assert_eq!(text, answer["prediction"]["completion"].as_str().unwrap(), "{model} {generate} {seed}");
            }
        }
    }
}

#[test]
fn a_completion_that_was_sent_is_not_told() {
    let app = app();
    let request = json!({"model": MODELS[0], "text": "The train", "completion": " waited", "method": "gradient"});
    assert!(events(&app, &request).iter().all(|event| event.0 != "token"));
}

#[test]
fn nothing_that_is_written_leaves_before_it_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let app = TestApp::unloaded(|settings| settings.audit.file = Some(folder.path().join("audit.jsonl")));
    app.load_folders(vec![golden(MODELS[0])]);
    let events = events(&app, &json!({"text": "The train", "method": "gradient"}));
    // All of it comes at once, then.
    let first = events.iter().position(|event| event.0 == "token").unwrap();
    assert!(events[..first].iter().all(|event| event.0 == "progress"), "{events:?}");
    assert_eq!(events[first..].iter().filter(|event| event.0 == "token").count(), 16);
}

/// A model that reads further than tiny-llama-lm does, so that writing takes a while.
#[test]
fn who_goes_away_stops_the_writing() {
    let at = tempfile::tempdir().unwrap();
    for file in fs::read_dir(golden(MODELS[0])).unwrap().map(Result::unwrap) {
        fs::copy(file.path(), at.path().join(file.file_name())).unwrap();
    }
    let mut config: Value = serde_json::from_slice(&fs::read(at.path().join("config.json")).unwrap()).unwrap();
    config["max_position_embeddings"] = json!(4096);
    fs::write(at.path().join("config.json"), config.to_string()).unwrap();
    fs::remove_file(at.path().join("generation_config.json")).unwrap();
    let app = TestApp::unloaded(|_| {});
    let folder = at.path().to_owned();
    app.load_folders(vec![folder]);
    let prompt = "The teacher waited for a letter. ".repeat(80);
    let generate = json!({"max_new_tokens": 1024, "temperature": 3});
    let request = json!({"text": prompt, "generate": generate, "method": "occlusion"});
    let mut response = app.post("/explain").header("accept", "text/event-stream").json(&request).send().unwrap();
    assert_eq!(response.status(), 200);
    let mut first = [0; 12];
    response.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"event: token");
    drop(response);
    eventually("the job has gone", || app.metric("explaind_running_jobs") == 0.0);
    // It never came to its end, where its rows would have been counted.
    let rows = || app.metric("explaind_rows_total{method=\"occlusion\"}");
    assert_eq!(rows(), 0.0);
    app.ask("/explain", &json!({"text": "The", "generate": {"max_new_tokens": 1}, "method": "occlusion"}));
    assert!(rows() > 0.0);
}
