//! Overload and limits: refused early, with a status and a time to come back.

use serde_json::json;

use crate::app::{TEXT, TestApp, eventually, problem, slow};

#[test]
fn a_full_queue_refuses_at_once_and_readiness_stays() {
    let app = TestApp::with(|settings| settings.queue.requests = 1);
    std::thread::scope(|scope| {
        let client = app.client.clone();
        let url = app.url("/explain");
        let mut request = slow();
        request["deadline_ms"] = json!(5000);
        let busy = scope.spawn(move || client.post(url).json(&request).send().unwrap().status().as_u16());
        eventually("the slow job", || app.metric("explaind_running_jobs") > 0.0);
        let refused = app.send("/explain", &json!({"text": TEXT}));
        assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
        problem(refused, 503, "queue-full");
        assert_eq!(app.get("/readyz").send().unwrap().status(), 200);
        assert!(matches!(busy.join().unwrap(), 200 | 504));
    });
    assert!(app.metric("explaind_rejected_total{reason=\"queue-full\"}") >= 1.0);
}

#[test]
fn a_request_that_no_queue_could_hold_is_told_so() {
    let app = TestApp::with(|settings| settings.queue.cost = 2000);
    problem(app.send("/explain", &slow()), 422, "too-costly");
}

#[test]
fn an_address_has_its_share() {
    let app = TestApp::with(|settings| settings.limits.requests_per_minute_per_address = 3);
    for _ in 0..3 {
        assert_eq!(app.get("/models").send().unwrap().status(), 200);
    }
    let refused = app.get("/models").send().unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    problem(refused, 429, "rate-limited");
    assert_eq!(app.get("/livez").send().unwrap().status(), 200);
}
