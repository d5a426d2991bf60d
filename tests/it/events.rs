//! `POST /explain` with `Accept: text/event-stream`.

use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, events, eventually, problem, slow, stable, told};

#[test]
fn the_work_is_told_and_the_answer_is_the_usual_one() {
    // However busy the machine is.
    let app = TestApp::with(|settings| settings.limits.deadline_ms = 600_000);
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
    for index in 0..3 {
        let of_it: Vec<&Value> = shown.iter().filter(|shown| shown["index"] == index).collect();
        let (last, before) = of_it.split_last().unwrap();
        assert_eq!(last["final"], true);
        assert!(before.iter().all(|shown| shown["final"] == false));
        assert_eq!(last["explanation"], answer["explanations"][index]);
    }
}

/// Who reads late gets the newest alone, so each is asked for far more than it can do before somebody reads: what it shows
/// is there until the next. That every round is shown, and less than the end, is tested beside the methods.
#[test]
fn what_is_sampled_is_shown_as_it_is_refined() {
    let app = TestApp::with(|settings| {
        settings.limits.deadline_ms = 600_000;
        settings.queue.cost = u64::MAX;
    });
    let text = |words: usize| (0..words).map(|number| format!("word{number}")).collect::<Vec<String>>().join(" ");
    for method in ["lime", "kernel_shap", "shapley_sampling", "partition_shap", "smooth_grad", "gradient_shap"] {
        let mut item = json!({"method": method, "tolerance": 0.00001, "max_evaluations": 100_000});
        // Its groups are all split at some time, so it needs a longer text for as much work.
        let mut words = 24;
        if method == "partition_shap" {
            item.as_object_mut().unwrap().remove("tolerance");
            words = 60;
        }
        let request = json!({"text": text(words), "target": [1, 0], "explain": [item]});
        let mut events = told(&app, &request);
        let shown = loop {
            let (name, data) = events.next().unwrap();
            assert!(name == "progress" || name == "explanation", "{method}: {name} {data}");
            if name == "explanation" {
                break serde_json::from_str::<Value>(&data).unwrap();
            }
        };
        let one = &shown["explanation"];
        assert_eq!((&shown["final"], &shown["index"]), (&json!(false), &json!(0)), "{method}: {shown}");
        assert_eq!((&one["method"], &one["target"]["index"]), (&json!(method), &json!(1)), "{method}: {shown}");
        let evaluations = one["diagnostics"]["evaluations"].as_u64().unwrap();
        assert!((1..100_000).contains(&evaluations), "{method}: {one}");
        drop(events);
        eventually("the job has gone", || app.metric("explaind_running_jobs") == 0.0);
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
