//! `POST /explain` with `Accept: text/event-stream`.

use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, events, eventually, problem, slow, stable};

#[test]
fn the_work_is_told_and_the_answer_is_the_usual_one() {
    let app = TestApp::start();
    let text = "a gripping and funny film with a cast that never once disappoints anybody who came to see it";
    let lime = json!({"method": "lime", "tolerance": 0.001, "max_evaluations": 1000});
    let request = json!({"text": text, "target": [0, 1], "explain": ["attention", lime]});
    let events = events(&app, &request);
    let named = |name: &str| -> Vec<Value> {
        let found = events.iter().filter(|event| event.0 == name);
        found.map(|event| serde_json::from_str(&event.1).unwrap()).collect()
    };
    let (last, others) = events.split_last().unwrap();
    assert_eq!(last.0, "answer");
    assert!(others.iter().all(|event| event.0 == "progress" || event.0 == "explanation"));
    let answer: Value = serde_json::from_str(&last.1).unwrap();
    assert_eq!(stable(answer.clone()), stable(app.ask("/explain", &request)));

    let progress = named("progress");
    assert!(!progress.is_empty());
    for told in &progress {
        assert!(told["evaluations"].as_u64() <= told["budget"].as_u64(), "{told}");
    }
    assert_eq!(progress.last().unwrap()["explanation"], 1);
    let shown = named("explanation");
    assert!(shown.iter().any(|shown| shown["final"] == false), "LIME was refined");
    for index in 0..3 {
        let of_it: Vec<&Value> = shown.iter().filter(|shown| shown["index"] == index).collect();
        let (last, before) = of_it.split_last().unwrap();
        assert_eq!(last["final"], true);
        assert!(before.iter().all(|shown| shown["final"] == false));
        assert_eq!(last["explanation"], answer["explanations"][index]);
    }
}

#[test]
fn what_is_sampled_is_shown_as_it_is_refined() {
    let app = TestApp::start();
    let text = "a gripping and funny film with a cast that never once disappoints anybody who came to see it";
    for (method, most) in [
        ("kernel_shap", 1500),
        ("shapley_sampling", 2000),
        ("partition_shap", 500),
        ("smooth_grad", 200),
        ("gradient_shap", 200),
    ] {
        let mut item = json!({"method": method, "tolerance": 0.0001, "max_evaluations": most});
        if method == "partition_shap" {
            item.as_object_mut().unwrap().remove("tolerance");
        }
        // Who reads late gets the newest alone, and this test may be late.
        let asked = || -> Vec<Value> {
            let events = events(&app, &json!({"text": text, "target": [1, 0], "explain": [item]}));
            let shown = events.iter().filter(|event| event.0 == "explanation");
            shown.map(|event| serde_json::from_str(&event.1).unwrap()).collect()
        };
        let is_refined = |shown: &&Value| shown["final"] == false;
        let shown = (0..20).map(|_| asked()).find(|shown| shown.iter().any(|one| is_refined(&one)));
        let shown = shown.unwrap_or_else(|| panic!("{method} shows nothing before it is final"));
        let refined: Vec<&Value> = shown.iter().filter(is_refined).collect();
        for one in refined {
            assert_eq!(one["explanation"]["method"], method);
            let whole = shown.iter().find(|shown| shown["final"] == true && shown["index"] == one["index"]).unwrap();
            let of = |shown: &Value| shown["explanation"]["diagnostics"]["evaluations"].as_u64().unwrap();
            assert!(of(one) < of(whole), "{method}");
        }
    }
}

#[test]
fn refusals_keep_their_status_and_late_failures_are_events() {
    let app = TestApp::start();
    let send =
        |request: &Value| app.post("/explain").header("accept", "text/event-stream").json(request).send().unwrap();
    problem(send(&json!({"text": TEXT, "method": "nothing"})), 422, "invalid-request");
    problem(send(&json!({"text": TEXT, "txet": 1})), 422, "invalid-request");
    let mut late = slow();
    late["deadline_ms"] = json!(2000);
    let events = events(&app, &late);
    let (name, data) = events.last().unwrap();
    assert_eq!(name, "problem");
    let body: Value = serde_json::from_str(data).unwrap();
    assert_eq!(body["status"], 504);
    assert_eq!(events.iter().filter(|event| event.0 == "problem" || event.0 == "answer").count(), 1);
}

#[test]
fn who_stops_listening_stops_the_work() {
    let app = TestApp::start();
    let response = app.post("/explain").header("accept", "text/event-stream").json(&slow()).send().unwrap();
    assert_eq!(response.status(), 200);
    drop(response);
    eventually("the job has gone", || app.metric("explaind_running_jobs") == 0.0);
}

#[test]
fn predictions_have_no_events() {
    let app = TestApp::start();
    let only = app.post("/predict").header("accept", "text/event-stream").json(&json!({"text": TEXT})).send().unwrap();
    problem(only, 406, "not-acceptable");
}
