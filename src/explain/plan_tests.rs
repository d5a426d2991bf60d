//! Tests of `plan`: every way a request can be wrong, and what a right one resolves to.

use super::super::fakes::{image_model, limits, model, text_input, text_model};
use super::*;
use serde_json::{Value, json};

fn catalog() -> Catalog {
    Catalog::new(vec![text_model("a"), image_model("b")]).unwrap()
}

fn plan_of(request: Value, image: Option<&[u8]>, wanted: Wanted) -> Result<Plan, PlanError> {
    let request = serde_json::from_value(request).unwrap();
    plan(&catalog(), &limits(), "id".into(), request, image.map(<[u8]>::to_vec), wanted)
}

/// The fields of a request that is refused with 422.
fn refused(request: Value, image: Option<&[u8]>) -> Vec<(String, String)> {
    match plan_of(request, image, Wanted::Explanations).err() {
        Some(PlanError::Invalid(fields)) => fields.into_iter().map(|field| (field.pointer, field.detail)).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_prediction_is_planned_with_the_defaults() {
    let plan = plan_of(json!({"text": "hi"}), None, Wanted::Prediction).ok().unwrap();
    assert_eq!((plan.model.name.as_str(), plan.seed, plan.deadline_ms), ("a", 0, 5000));
    assert_eq!((plan.partial, plan.echo, plan.explains), (false, false, false));
    assert_eq!(plan.target, TargetSpec::Predicted);
    assert_eq!(plan.cost, Cost { rows: 1, tokens: 3 });
    assert!(plan.warnings.is_empty() && plan.methods.is_empty());
    let image = plan_of(json!({}), Some(b"png"), Wanted::Prediction).ok().unwrap();
    assert_eq!((image.model.name.as_str(), image.cost), ("b", Cost { rows: 1, tokens: 2 }));
    let image = plan_of(json!({"image": "aGk", "seed": MAX_SEED, "deadline_ms": 1}), None, Wanted::Prediction);
    assert_eq!(image.ok().unwrap().seed, MAX_SEED);
}

#[test]
fn predictions_ignore_what_explanations_alone_need() {
    let request = json!({"text": "hi", "explain": ["nothing"], "method": "no", "evaluate": true});
    assert!(plan_of(request, None, Wanted::Prediction).is_ok());
}

#[test]
fn each_wrong_field_has_its_pointer_and_says_what_is_wrong() {
    let long_list = json!(["attention", "attention", "attention", "lime", "lime", "lime"]);
    for (request, image, pointer, part) in [
        (json!({}), None, "", "nothing to explain"),
        (json!({"text": "a", "image": "aGk="}), None, "/image", "one input"),
        (json!({"text": "a"}), Some(b"png"), "/text", "one input"),
        (json!({"image": "aGk="}), Some(b"png"), "/image", "one input"),
        (json!({"pair": "a"}), None, "/pair", "first text"),
        (json!({"pair": "a", "image": "aGk="}), None, "/pair", "first text"),
        (json!({"image": "a k="}), None, "/image", "base64"),
        (json!({"text": "a", "model": "b"}), None, "/text", "reads images"),
        (json!({"image": "aGk=", "model": "a"}), None, "/image", "reads text"),
        (json!({"model": "a"}), Some(b"png"), "", "reads text"),
        (json!({"text": "a", "seed": MAX_SEED + 1}), None, "/seed", "9007199254740991"),
        (json!({"text": "a", "deadline_ms": 0}), None, "/deadline_ms", "1 to 5000"),
        (json!({"text": "a", "deadline_ms": 5001}), None, "/deadline_ms", "1 to 5000"),
        (json!({"text": "a", "target": [0, {"index": 7}]}), None, "/target/1/index", "no class 7"),
        (json!({"text": "a", "target": "1"}), None, "/target", "NEGATIVE"),
        (json!({"text": "a", "target": vec![0; 80]}), None, "/target", "80 targets are far more"),
        (json!({"text": "a", "explain": []}), None, "/explain", "empty"),
        (json!({"text": "a", "explain": ["lime"], "method": "lime"}), None, "/method", "either"),
        (json!({"text": "a", "method": "lyme"}), None, "/method", "integrated_gradients"),
        (json!({"text": "a", "explain": ["lime", "lyme"]}), None, "/explain/1", "no method \"lyme\""),
        (json!({"text": "a", "explain": [{"method": "lyme"}]}), None, "/explain/0/method", "no method \"lyme\""),
        (json!({"text": "a", "explain": [{"method": 1}]}), None, "/explain/0/method", "string"),
        (json!({"text": "a", "explain": [{"steps": 1}]}), None, "/explain/0", "\"method\" is missing"),
        (json!({"text": "a", "explain": long_list}), None, "/explain", "more than limits.explanations (4)"),
        (
            json!({"text": "a", "explain": ["lime", "lime", "lime"], "target": "all"}),
            None,
            "/explain",
            "6 explanations",
        ),
        (
            json!({"text": "a", "explain": ["lime", "lime", "lime", "lime"], "target": ["all", "all"]}),
            None,
            "/explain",
            "8 explanations",
        ),
        (json!({"text": "a", "explain": [{"method": "lime", "bogus": 1}]}), None, "/explain/0/bogus", "bogus"),
    ] {
        let fields = refused(request.clone(), image.map(|bytes: &[u8; 3]| bytes.as_slice()));
        let found = fields.iter().any(|(at, detail)| at == pointer && detail.contains(part));
        assert!(found, "{request}: {fields:?}");
    }
}

#[test]
fn a_target_counts_once_however_often_it_is_written() {
    let plan = plan_of(json!({"text": "a", "target": vec![0; 79], "method": "lime"}), None, Wanted::Explanations);
    assert_eq!(plan.ok().unwrap().methods.len(), 1);
}

#[test]
fn everything_cheap_is_reported_at_once() {
    let request = json!({"text": "a", "seed": MAX_SEED + 1, "deadline_ms": 0, "target": 9, "explain": ["x", "y"]});
    let pointers: Vec<_> = refused(request, None).into_iter().map(|(pointer, _)| pointer).collect();
    assert_eq!(pointers, ["/seed", "/deadline_ms", "/explain/0", "/explain/1", "/target"]);
}

#[test]
fn an_unknown_model_is_another_error() {
    let error = plan_of(json!({"text": "a", "model": "x"}), None, Wanted::Explanations).err();
    assert!(matches!(error, Some(PlanError::UnknownModel { name, .. }) if name == "x"));
}

#[test]
fn characters_are_counted_not_bytes() {
    assert!(plan_of(json!({"text": "éééééééééé"}), None, Wanted::Prediction).is_ok());
    for (request, at) in
        [(json!({"text": "ééééééééééé"}), "/text"), (json!({"text": "éééééé", "pair": "ééééé"}), "/pair")]
    {
        match plan_of(request, None, Wanted::Prediction).err() {
            Some(PlanError::TooLarge { pointer, detail }) => {
                assert!(pointer == at && detail.contains("11 characters"), "{pointer} {detail}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn truncation_is_a_warning_with_the_original_count() {
    let mut text = text_input();
    text.original_tokens = 700;
    let catalog = Catalog::new(vec![model("a", Input::Text(text))]).unwrap();
    let request = ExplainRequest { text: Some("hi".into()), ..ExplainRequest::default() };
    let plan = plan(&catalog, &limits(), "id".into(), request, None, Wanted::Prediction).ok().unwrap();
    assert_eq!(plan.warnings[0].code, "truncated");
    assert!(plan.warnings[0].detail.contains("700 tokens"));
}

#[test]
fn a_text_without_tokens_is_refused() {
    let mut text = text_input();
    text.tokens.clear();
    let catalog = Catalog::new(vec![model("a", Input::Text(text))]).unwrap();
    let request = ExplainRequest { text: Some(String::new()), ..ExplainRequest::default() };
    let error = plan(&catalog, &limits(), "id".into(), request, None, Wanted::Prediction).err();
    assert!(matches!(error, Some(PlanError::Invalid(fields)) if fields[0].pointer == "/text"));
}

#[test]
fn a_model_without_gradients_refuses_what_needs_them() {
    let mut spec = super::super::fakes::spec(crate::input::Kind::Text);
    spec.capabilities.0.clear();
    let mut request = ExplainRequest { method: Some("lime".into()), ..ExplainRequest::default() };
    let mut fields = Vec::new();
    items::choose(&mut request, &spec, 4, &mut fields);
    assert_eq!(fields[0].pointer, "/method");
    assert!(fields[0].detail.contains("cannot give: forward"), "{}", fields[0].detail);
}

#[test]
fn the_default_method_depends_on_gradients() {
    let mut spec = super::super::fakes::spec(crate::input::Kind::Text);
    let name = |spec: &crate::models::Spec| {
        items::choose(&mut ExplainRequest::default(), spec, 4, &mut Vec::new())
            .first()
            .map(|chosen| chosen.method.name())
    };
    assert_eq!(name(&spec), Some("integrated_gradients"));
    spec.capabilities.0 = vec![crate::models::Capability::Forward];
    assert_eq!(name(&spec), Some("lime"));
}

#[test]
fn all_methods_together_stay_within_the_answers_numbers() {
    let whole = json!({"method": "attention", "layers": "all", "heads": "all"});
    let request = |count| serde_json::from_value(json!({"text": "hi", "explain": vec![whole.clone(); count]})).unwrap();
    // 2 layers × 2 heads × 3 × 3 each.
    let limits = Limits { response_values: 71, ..limits() };
    let plan = |count| plan(&catalog(), &limits, "id".into(), request(count), None, Wanted::Explanations);
    assert!(plan(1).is_ok());
    let Some(PlanError::Invalid(fields)) = plan(2).err() else { panic!("two were taken") };
    assert_eq!(fields[0].pointer, "/explain/1/layers");
    assert!(fields[0].detail.contains("leaves 35"), "{}", fields[0].detail);
}
