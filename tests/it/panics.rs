//! A panic in a job: an error of that job alone, unless the model computes something else afterwards.

use std::sync::atomic::{AtomicBool, Ordering};

use explaind::explain::{Catalog, ServedModel};
use explaind::models::{Batch, Model, Outputs, Spec, TapPlan};
use explaind::nn::{Error, Node, Tape};
use serde_json::json;

use crate::app::{TestApp, bundled, eventually, problem};

/// Seven tokens beside the two specials.
const POISON: &str = "a a a a a a a";

/// The sentiment model, but nine tokens make it panic.
struct Faulty {
    model: Box<dyn Model>,
    /// What it answers after its panic is no longer what it was.
    forgets: bool,
    panicked: AtomicBool,
}

impl Model for Faulty {
    fn spec(&self) -> &Spec {
        self.model.spec()
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, Error> {
        self.model.embed(tape, batch)
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, Error> {
        if batch.rows.iter().any(|row| row.len() == 9) {
            self.panicked.store(true, Ordering::SeqCst);
            panic!("planned");
        }
        if self.forgets && self.panicked.load(Ordering::SeqCst) {
            let mut empty = batch.clone();
            empty.rows.iter_mut().for_each(|row| row.read = vec![row.len() - 1]);
            return self.model.forward(tape, &empty, taps);
        }
        self.model.forward(tape, batch, taps)
    }
}

fn faulty(forgets: bool) -> TestApp {
    let app = TestApp::unloaded(|_| {});
    app.load_with(move || {
        let ServedModel { name, source, revision, sha256, model, memory, task, processor } = bundled("sentiment")?;
        let model = Box::new(Faulty { model, forgets, panicked: AtomicBool::new(false) });
        Catalog::new(vec![ServedModel { name, source, revision, sha256, model, memory, task, processor }])
    });
    app
}

#[test]
fn a_panic_in_a_job_is_500_and_the_next_request_works() {
    let app = faulty(false);
    let good = json!({"text": "a gripping, funny film", "method": "lime"});
    let before = app.ask("/explain", &good);
    for _ in 0..3 {
        let found = problem(app.send("/explain", &json!({"text": POISON, "method": "attention"})), 500, "internal");
        assert!(!found.to_string().contains("planned"), "says only the id");
    }
    assert_eq!(app.ask("/explain", &good)["explanations"][0]["scores"], before["explanations"][0]["scores"]);
    assert_eq!(app.get("/readyz").send().unwrap().status(), 200);
}

#[test]
fn a_model_that_changed_with_a_panic_is_not_asked_again() {
    let app = faulty(true);
    problem(app.send("/predict", &json!({"text": POISON})), 500, "internal");
    eventually("the self-check finds it", || app.get("/readyz").send().unwrap().status() == 503);
    let ready: serde_json::Value = app.get("/readyz").send().unwrap().json().unwrap();
    assert_eq!(ready["phase"], "broken");
    problem(app.send("/predict", &json!({"text": "good"})), 503, "not-ready");
}
