//! `POST /explain/batch`.

use std::io::{BufRead, BufReader};

use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, problem};

fn lines(app: &TestApp, body: impl Into<reqwest::blocking::Body>) -> Vec<Value> {
    let response = app.post("/explain/batch").header("content-type", "application/x-ndjson").body(body).send().unwrap();
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "application/x-ndjson");
    let mut lines: Vec<Value> =
        BufReader::new(response).lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    lines.sort_by_key(|line| line["index"].as_u64());
    lines
}

#[test]
fn a_bad_line_never_ends_the_others_and_blank_ones_do_not_count() {
    let app = TestApp::start();
    let good = json!({"text": TEXT, "method": "integrated_gradients"}).to_string();
    let body = format!("{good}\n\n  \nnot json\n{{\"txet\": 1}}\r\n{good}");
    let lines = lines(&app, body);
    assert_eq!(lines.len(), 4);
    for index in [0, 3] {
        assert_eq!(lines[index]["answer"]["explanations"][0]["method"], "integrated_gradients");
    }
    assert_eq!(lines[1]["problem"]["status"], 400);
    assert_eq!(lines[2]["problem"]["errors"][0]["pointer"], "/txet");
    assert_ne!(lines[0]["answer"]["id"], lines[3]["answer"]["id"]);
}

#[test]
fn lines_wait_for_room_instead_of_failing() {
    let app = TestApp::with(|settings| settings.queue.requests = 1);
    let line = json!({"text": TEXT, "explain": [{"method": "lime", "samples": 50}]}).to_string();
    let lines = lines(&app, vec![line; 20].join("\n"));
    assert_eq!(lines.len(), 20);
    assert!(lines.iter().all(|line| line["answer"].is_object()), "{lines:?}");
}

#[test]
fn deadlines_run_per_line() {
    let app = TestApp::start();
    let mut slow = crate::app::slow();
    slow["deadline_ms"] = json!(1);
    let lines = lines(&app, format!("{slow}\n{}", json!({"text": TEXT})));
    assert_eq!(lines[0]["problem"]["status"], 504);
    assert!(lines[1]["answer"].is_object());
}

#[test]
fn lines_and_their_length_are_bounded() {
    let app = TestApp::with(|settings| {
        settings.limits.body_bytes = 1000;
        settings.limits.batch_lines = 3;
    });
    let good = json!({"text": TEXT}).to_string();
    let long = json!({"text": "x".repeat(5000)}).to_string();
    let lines = lines(&app, format!("{long}\n{good}\n{good}\n{good}\n{good}\n"));
    assert_eq!(lines.len(), 4);
    assert_eq!(lines[0]["problem"]["status"], 413);
    assert!(lines[1]["answer"].is_object() && lines[2]["answer"].is_object());
    assert_eq!(lines[3]["problem"]["status"], 413);
}

#[test]
fn a_batch_is_ndjson_and_needs_a_ready_service() {
    let app = TestApp::unloaded(|_| {});
    let json = app.post("/explain/batch").json(&json!({})).send().unwrap();
    problem(json, 415, "unsupported-media-type");
    let early = app.post("/explain/batch").header("content-type", "application/x-ndjson").body("{}").send().unwrap();
    problem(early, 503, "not-ready");
}
