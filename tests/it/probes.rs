//! Probes, metrics and pages.

use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, problem};

fn probe(app: &TestApp, path: &str) -> (u16, String) {
    let response = app.get(path).send().unwrap();
    let status = response.status().as_u16();
    (status, response.json::<Value>().unwrap()["phase"].as_str().unwrap().to_owned())
}

#[test]
fn the_process_is_up_before_it_can_take_work() {
    let app = TestApp::unloaded(|_| {});
    assert_eq!(probe(&app, "/livez"), (200, "loading".to_owned()));
    for path in ["/readyz", "/healthz", "/startupz"] {
        assert_eq!(probe(&app, path), (503, "loading".to_owned()), "{path}");
    }
    let early = app.send("/explain", &json!({"text": TEXT}));
    assert!(early.headers().contains_key("retry-after"));
    problem(early, 503, "not-ready");
    app.load();
    for path in ["/livez", "/readyz", "/healthz", "/startupz"] {
        assert_eq!(probe(&app, path), (200, "ready".to_owned()), "{path}");
    }
}

#[test]
fn get_routes_take_head() {
    let app = TestApp::start();
    for path in ["/livez", "/models", "/openapi.json", "/metrics"] {
        let response = app.client.head(app.url(path)).send().unwrap();
        assert_eq!(response.status(), 200, "{path}");
        assert!(response.bytes().unwrap().is_empty());
    }
}

#[test]
fn metrics_count_what_was_done() {
    let app = TestApp::start();
    app.ask("/explain", &json!({"text": TEXT, "explain": [{"method": "lime", "samples": 50}]}));
    assert_eq!(app.metric("explaind_explanations_total{method=\"lime\",outcome=\"ok\"}"), 1.0);
    assert_eq!(app.metric("explaind_requests_total{route=\"/explain\",status=\"200\"}"), 1.0);
    assert!(app.metric("explaind_rows_total{method=\"lime\"}") > 0.0);
    assert_eq!(app.metric("explaind_running_jobs"), 0.0);
    assert_eq!(app.metric("explaind_ready"), 1.0);
}

#[test]
fn the_pages_need_no_network() {
    let app = TestApp::start();
    let home = app.get("/").send().unwrap().text().unwrap();
    assert!(home.contains("docs"));
    let docs = app.get("/docs/").send().unwrap();
    assert_eq!(docs.status(), 200);
    let docs = docs.text().unwrap();
    assert!(!docs.contains("https://") && !docs.contains("//cdn"), "{docs}");
}
