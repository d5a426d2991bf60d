//! Deadlines.

use serde_json::json;

use crate::app::{TestApp, pointers, problem, slow};

#[test]
fn past_the_deadline_is_504() {
    let app = TestApp::start();
    let mut request = slow();
    request["deadline_ms"] = json!(50);
    problem(app.send("/explain", &request), 504, "deadline");
    assert_eq!(app.metric("explaind_explanations_total{method=\"lime\",outcome=\"deadline\"}"), 1.0);
}

#[test]
fn a_deadline_over_the_limit_is_422() {
    let app = TestApp::with(|settings| settings.limits.deadline_ms = 1000);
    let found = problem(app.send("/explain", &json!({"text": "a", "deadline_ms": 1001})), 422, "invalid-request");
    assert_eq!(pointers(&found), ["/deadline_ms"]);
}

#[test]
fn partial_answers_with_the_best_so_far() {
    let app = TestApp::start();
    let mut request = slow();
    // Short enough that some hundred masks are done in time on a busy machine, and far too many samples to finish.
    request["text"] = json!("a gripping , funny film that never bores ".repeat(3));
    request["deadline_ms"] = json!(5000);
    request["partial"] = json!(true);
    let answer = app.ask("/explain", &request);
    assert_eq!(answer["partial"], true);
    assert_eq!(answer["explanations"][0]["partial"], true);
}
