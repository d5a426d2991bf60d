//! Deadlines.

use std::sync::{Mutex, mpsc};

use explaind::explain::{Catalog, ServedModel};
use explaind::models::{Batch, Model, Outputs, Spec, TapPlan};
use explaind::nn::{Error, Node, Tape};
use serde_json::json;

use crate::app::{TEXT, TestApp, bundled, eventually, pointers, problem, slow};

/// The sentiment model, which at nine tokens sees and hears nothing until it is told to go on.
struct Deaf {
    model: Box<dyn Model>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Model for Deaf {
    fn spec(&self) -> &Spec {
        self.model.spec()
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, Error> {
        self.model.embed(tape, batch)
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, Error> {
        if batch.rows.iter().any(|row| row.len() == 9) {
            let _ = self.go_on.lock().unwrap().recv();
        }
        self.model.forward(tape, batch, taps)
    }
}

#[test]
fn who_waits_is_told_in_time_whatever_the_job_is_in_the_midst_of() {
    let app = TestApp::unloaded(|_| {});
    let (end, go_on) = mpsc::channel();
    app.load_with(move || {
        let ServedModel { name, source, revision, sha256, model, memory, task, processor } = bundled("sentiment")?;
        let model = Box::new(Deaf { model, go_on: Mutex::new(go_on) });
        Catalog::new(vec![ServedModel { name, source, revision, sha256, model, memory, task, processor }])
    });
    // Seven tokens beside the two specials.
    let request = json!({"text": "a a a a a a a", "method": "gradient", "deadline_ms": 100});
    let found = problem(app.send("/explain", &request), 504, "deadline");
    assert!(found["detail"].as_str().unwrap().contains("after 0 evaluations"), "{found}");
    assert_eq!(app.metric("explaind_running_jobs"), 1.0, "its place is taken until it ends");
    end.send(()).unwrap();
    eventually("the end of the job", || app.metric("explaind_running_jobs") == 0.0);
    app.ask("/explain", &json!({"text": TEXT, "method": "gradient"}));
}

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
