//! The OpenAPI document and its examples.

use std::path::Path;

use serde_json::Value;

use crate::app::TestApp;

fn folder() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi")
}

#[test]
fn the_committed_document_is_the_programs() {
    let committed = std::fs::read_to_string(folder().join("openapi.json")).unwrap();
    assert!(committed == explaind::http::openapi(), "run: explaind openapi > openapi/openapi.json");
}

#[test]
fn it_is_served() {
    let app = TestApp::unloaded(|_| {});
    let served = app.get("/openapi.json").send().unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    assert_eq!(served.text().unwrap(), explaind::http::openapi());
}

#[test]
fn every_example_is_answered() {
    let app = TestApp::start();
    let mut seen = 0;
    for entry in std::fs::read_dir(folder().join("examples")).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let request: Value = serde_json::from_str(&text).unwrap();
        assert!(app.ask("/explain", &request)["explanations"].is_array(), "{text}");
        seen += 1;
    }
    assert!(seen >= 4);
}
