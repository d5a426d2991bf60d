//! Tests of `run`: order, partial answers, what never leaves.

use super::super::Catalog;
use super::super::fakes::{FakeJob, image_model, limits, text_model};
use super::super::plan::{Wanted, plan};
use super::*;
use crate::methods::{Attribution, Cost, Scores};
use crate::models::TapPlan;
use crate::tasks::{Prediction, Target};
use serde_json::json;

/// What a fake method does when it is asked.
enum Act {
    Score(f32),
    Partial,
    Stop(Stopped),
    Nothing,
}

struct FakeMethod {
    act: Act,
    targeted: bool,
    settings: Value,
}

impl Planned for FakeMethod {
    fn method(&self) -> &'static str {
        "fake"
    }
    fn looks(&self) -> bool {
        false
    }
    fn targeted(&self) -> bool {
        self.targeted
    }
    fn settings(&self) -> &Value {
        &self.settings
    }
    fn cost(&self) -> Cost {
        Cost::default()
    }
    fn values(&self) -> usize {
        0
    }
    fn taps(&self) -> TapPlan {
        TapPlan::default()
    }
    fn explain(&self, ctx: &dyn Ctx) -> Result<Vec<Attribution>, methods::Error> {
        let count = if self.targeted { ctx.targets().len() } else { 1 };
        let score = |value| {
            let scores = Scores { words: Some(vec![value]), ..Scores::default() };
            Attribution { scores, ..Attribution::default() }
        };
        match self.act {
            Act::Score(value) => Ok(vec![score(value); count]),
            Act::Partial => Ok(vec![Attribution { partial: true, ..score(0.5) }; count]),
            Act::Stop(why) => {
                ctx.warn("unstable", "so it is".into());
                Err(methods::Error::Model(nn::Error::Stopped(why)))
            }
            Act::Nothing => Ok(Vec::new()),
        }
    }
}

fn targets() -> Vec<Target> {
    ["POSITIVE", "NEGATIVE"].into_iter().zip([1, 0]).map(|(label, index)| Target::class(label, index)).collect()
}

fn class(answer: &Answer) -> &str {
    match &answer.prediction {
        Prediction::Class(class) => &class.label,
        other => panic!("{other:?}"),
    }
}

fn plan_with(request: Value, acts: Vec<(Act, bool)>) -> Plan {
    let catalog = Catalog::new(vec![text_model("a"), image_model("b")]).unwrap();
    let request = serde_json::from_value(request).unwrap();
    let mut plan = plan(&catalog, &limits(), "the-id".into(), request, None, Wanted::Prediction).ok().unwrap();
    plan.explains = true;
    let method =
        |(act, targeted)| Box::new(FakeMethod { act, targeted, settings: json!({"steps": 3}) }) as Box<dyn Planned>;
    plan.methods = acts.into_iter().map(method).collect();
    plan
}

fn answer(request: Value, acts: Vec<(Act, bool)>) -> Result<Answer, RunError> {
    let plan = plan_with(request, acts);
    let job = FakeJob { input: plan.input.clone(), ..FakeJob::new(targets(), vec![-1.0, 2.0]) };
    run(&plan, &job)
}

#[test]
fn explanations_stand_by_method_then_target() {
    let answer = answer(json!({"text": "hi"}), vec![(Act::Score(1.0), true), (Act::Score(2.0), false)]).unwrap();
    let explanations = answer.explanations.as_deref().unwrap();
    let order: Vec<_> = explanations.iter().map(|e| e.target.as_ref().map(Target::index)).collect();
    assert_eq!(order, [Some(1), Some(0), None]);
    assert_eq!(answer.request.explain, Some(vec![json!({"method": "fake", "steps": 3}); 2]));
    assert_eq!(answer.request.target, targets());
    assert!(explanations.iter().all(|explanation| explanation.elapsed_ms == 1.0));
    assert_eq!((class(&answer), answer.partial), ("POSITIVE", false));
}

#[test]
fn the_bytes_hold_shortest_numbers_and_no_input_without_echo() {
    let bytes = |request| to_bytes(&answer(request, vec![(Act::Score(0.1), false)]).unwrap()).unwrap();
    let text = String::from_utf8(bytes(json!({"text": "hi"}))).unwrap();
    assert!(text.contains(r#""target":null"#) && text.contains(r#""words":[0.1]"#), "{text}");
    assert!(text.contains(r#""truncation":"truncate""#) && !text.contains(r#""partial":true"#), "{text}");
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["input"].get("text"), None);
    let echoed: Value = serde_json::from_slice(&bytes(json!({"text": "hi", "echo": true}))).unwrap();
    assert_eq!(echoed["input"]["text"], "hi");
    let image: Value = serde_json::from_slice(&bytes(json!({"image": "aGk=", "echo": true}))).unwrap();
    assert_eq!(image["input"]["image"], "aGk=");
    assert_eq!(image["input"]["sequence"], json!(["cls", [0, 0]]));
    assert_eq!(image["request"].get("truncation"), None);
    let read: Answer = serde_json::from_str(&text).unwrap();
    assert_eq!(to_bytes(&read).unwrap(), text.as_bytes());
}

#[test]
fn the_deadline_ends_it_unless_a_part_is_welcome() {
    let acts = || vec![(Act::Score(1.0), true), (Act::Stop(Stopped::Deadline), true), (Act::Score(3.0), true)];
    let error = answer(json!({"text": "hi"}), acts()).err();
    assert!(matches!(error, Some(RunError::Stopped(Stopped::Deadline))));
    let part = answer(json!({"text": "hi", "partial": true}), acts()).unwrap();
    assert!(part.partial);
    assert_eq!(part.explanations.as_ref().map(Vec::len), Some(2));
    assert_eq!(part.warnings.iter().map(|warning| warning.code.as_str()).collect::<Vec<_>>(), ["unstable"]);
    let gone = answer(json!({"text": "hi", "partial": true}), vec![(Act::Stop(Stopped::Cancelled), true)]).err();
    assert!(matches!(gone, Some(RunError::Stopped(Stopped::Cancelled))));
    assert!(answer(json!({"text": "hi", "partial": true}), vec![(Act::Partial, true)]).unwrap().partial);
}

#[test]
fn nothing_that_json_cannot_hold_leaves() {
    for value in [f32::NAN, f32::INFINITY] {
        let error = answer(json!({"text": "hi"}), vec![(Act::Score(value), true)]).err().unwrap();
        assert_eq!(error.to_string(), "fake: scores is not finite");
    }
    let job = FakeJob::new(targets(), vec![f32::NAN, 0.0]);
    let error = run(&plan_with(json!({"text": "hi"}), Vec::new()), &job).err().unwrap();
    assert_eq!(error.to_string(), "the prediction is not finite");
}

#[test]
fn a_method_owes_one_attribution_a_target() {
    let error = answer(json!({"text": "hi"}), vec![(Act::Nothing, true)]).err();
    assert!(matches!(error, Some(RunError::Count { found: 0, expected: 2, .. })));
}

#[test]
fn predictions_have_no_explanations() {
    let mut plan = plan_with(json!({"text": "hi"}), Vec::new());
    plan.explains = false;
    let value = serde_json::to_value(run(&plan, &FakeJob::new(targets(), vec![0.0, 1.0])).unwrap()).unwrap();
    assert!(value.get("explanations").is_none() && value["request"].get("explain").is_none());
    assert_eq!(value["provenance"]["version"], env!("CARGO_PKG_VERSION"));
    assert!(!value["provenance"]["cpu"].as_str().unwrap_or_default().is_empty());
}
