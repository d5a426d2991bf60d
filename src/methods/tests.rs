//! What every registered method promises, whatever it computes.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};

use super::support::fake::{self, Fake};
use super::{Attribution, ErasedMethod, Error, METHODS};
use crate::input::Input;
use crate::input::units::Mask;

/// A small text and a small picture over models that every method can explain.
fn jobs() -> Vec<Fake> {
    let white = |fake: Fake| {
        fake.white(
            |x| vec![0.1, x.iter().enumerate().map(|(i, x)| x * (i as f32).sin() * 0.1).sum::<f32>().tanh()],
            |x, cotangent| {
                let total: f32 = x.iter().enumerate().map(|(i, x)| x * (i as f32).sin() * 0.1).sum();
                let slope = cotangent[1] * (1.0 - total.tanh() * total.tanh());
                (0..x.len()).map(|i| slope * (i as f32).sin() * 0.1).collect()
            },
        )
    };
    let mut text = white(Fake::text(4));
    text.black = Box::new(|_, mask| vec![0.0, (0..4).map(|unit| f32::from(u8::from(mask.contains(unit)))).sum()]);
    let mut image = white(Fake::image(4));
    image.black = Box::new(|_, mask| vec![0.0, mask.count() as f32 * 0.1]);
    vec![text, image]
}

fn defaults(method: &dyn ErasedMethod, fake: &Fake) -> Map<String, Value> {
    // Superpixels are the input's own business, with their own tests.
    let patches = method.group() == "perturbation" && matches!(fake.input, Input::Image(_));
    if patches { json!({"unit": "patch"}).as_object().cloned().unwrap_or_default() } else { Map::new() }
}

/// The methods for the fake's kind of input.
fn explaining(fake: &Fake) -> impl Iterator<Item = &'static dyn ErasedMethod> + use<> {
    let kind = fake.spec.kind;
    METHODS.iter().copied().filter(move |method| method.inputs().contains(&kind))
}

fn explain(method: &dyn ErasedMethod, fake: &Fake) -> Result<Vec<Attribution>, Error> {
    let planned = method.plan(defaults(method, fake), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{}: {error}", method.name())).explain(fake)
}

#[test]
fn names_are_unique() {
    let names: BTreeSet<_> = METHODS.iter().map(|method| method.name()).collect();
    let schemas: BTreeSet<_> = METHODS.iter().map(|method| method.schema().0).collect();
    assert_eq!((names.len(), schemas.len()), (METHODS.len(), METHODS.len()));
    assert!(names.iter().all(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')));
}

#[test]
fn every_setting_is_described() {
    for method in METHODS {
        let (name, schema) = method.schema();
        let RefOr::T(Schema::Object(object)) = &schema else { panic!("{name} is no object") };
        let text = object.description.as_deref().unwrap_or_default();
        for heading in ["# What it computes", "# Settings", "# Same numbers as", "# Limits"] {
            assert!(text.contains(heading), "{name} lacks {heading}");
        }
        let written = serde_json::to_value(&schema).unwrap();
        assert_eq!(written["additionalProperties"], false, "{name}");
        for (field, schema) in written["properties"].as_object().unwrap() {
            assert!(described(schema), "{name}.{field}: {schema}");
        }
        let known: BTreeSet<String> = method.schemas().into_iter().map(|(name, _)| name).collect();
        let text = written.to_string();
        for reference in text.split("#/components/schemas/").skip(1) {
            let reference = reference.split('"').next().unwrap();
            assert!(known.contains(reference), "{name} refers to {reference}");
        }
    }
}

/// A field's own text; one of a named type has it beside the reference.
fn described(schema: &Value) -> bool {
    let own = |schema: &Value| schema["description"].as_str().is_some_and(|text| text.contains("efault"));
    own(schema) || schema["oneOf"].as_array().is_some_and(|options| options.iter().any(own))
}

#[test]
fn settings_echo_every_default() {
    for fake in jobs() {
        for method in explaining(&fake) {
            let planned = method.plan(defaults(method, &fake), &fake.subject()).unwrap();
            assert_eq!((planned.method(), planned.targeted()), (method.name(), method.targeted()));
            assert!(planned.settings().as_object().is_some_and(|settings| !settings.is_empty()));
            assert!(planned.cost().rows > 0 && planned.cost().tokens >= planned.cost().rows);
            assert!(method.fits(&fake.spec));
            // An answer can be replayed: what is echoed is accepted again, and means the same.
            let echoed = planned.settings().as_object().cloned().unwrap();
            assert_eq!(method.plan(echoed, &fake.subject()).unwrap().settings(), planned.settings());
        }
    }
}

#[test]
fn unknown_fields_are_refused_by_name() {
    let fake = Fake::text(2);
    for method in METHODS {
        for (field, path) in [("no_such_setting", "/no_such_setting"), ("a.b/c~d", "/a.b~1c~0d")] {
            let settings = json!({field: 1}).as_object().cloned().unwrap();
            let error = method.plan(settings, &fake.subject()).err().unwrap();
            assert_eq!(error.path, path);
            assert!(error.detail.contains("unknown field"), "{error}");
        }
    }
}

#[test]
fn equal_requests_give_equal_bytes() {
    for (first, second) in jobs().iter().zip(&jobs()) {
        for method in explaining(first) {
            let bytes = |fake| serde_json::to_vec(&explain(method, fake).unwrap()).unwrap();
            assert_eq!(bytes(first), bytes(second), "{}", method.name());
        }
    }
}

#[test]
fn one_attribution_a_target() {
    for mut fake in jobs() {
        fake.targets = vec![fake::target(1), fake::target(0)];
        for method in explaining(&fake) {
            let expected = if method.targeted() { 2 } else { 1 };
            assert_eq!(explain(method, &fake).unwrap().len(), expected, "{}", method.name());
        }
    }
}

#[test]
fn a_deadline_ends_the_work() {
    for fake in jobs() {
        for method in explaining(&fake) {
            fake.left.set(None);
            fake.rows.set(0);
            explain(method, &fake).unwrap();
            let rows = fake.rows.get();
            for left in [0, rows / 2, rows - 1] {
                fake.left.set(Some(left));
                let error = explain(method, &fake).err();
                assert!(error.and_then(|error| error.stopped()).is_some(), "{} {left}", method.name());
            }
        }
    }
}

#[test]
fn what_is_not_finite_never_leaves() {
    for mut fake in jobs() {
        fake.white = Box::new(|_| vec![f32::NAN; 2]);
        fake.backward = Box::new(|x, _| vec![f32::INFINITY; x.len()]);
        fake.black = Box::new(|_, _| vec![f32::NAN; 2]);
        for method in explaining(&fake).filter(|method| method.targeted()) {
            let error = explain(method, &fake).unwrap_err();
            assert!(matches!(error, Error::NotFinite { .. }), "{}: {error}", method.name());
        }
    }
}

/// A text of 20 words over functions that no batch of samples and no small rule gets right.
fn rough() -> Fake {
    let weight = |i: usize| ((i * i) as f32 * 0.7).sin();
    let sum = move |x: &[f32]| x.iter().enumerate().map(|(i, x)| x * weight(i)).sum::<f32>();
    let mut fake = Fake::text(20).white(
        move |x| vec![0.3 * (3.0 * sum(x)).cos(), (2.0 * sum(x)).sin()],
        move |x, cotangent| {
            let slope = -0.9 * cotangent[0] * (3.0 * sum(x)).sin() + 2.0 * cotangent[1] * (2.0 * sum(x)).cos();
            (0..x.len()).map(|i| slope * weight(i)).collect()
        },
    );
    fake.black = Box::new(|units, mask| {
        let present = (0..units.len()).filter(|&unit| mask.contains(unit));
        let sum: f32 = present.map(|unit| (unit as f32 * 1.3).cos()).sum();
        vec![(2.0 * sum).sin(), (5.0 * sum).cos()]
    });
    fake.logits = (fake.black)(&fake.units(), &Mask::full(20));
    fake.targets = vec![fake::target(1), fake::target(0)];
    fake
}

#[test]
fn what_is_refined_is_shown_and_changes_nothing() {
    for (name, settings) in [
        ("integrated_gradients", json!({"tolerance": 1e-6})),
        ("smooth_grad", json!({"tolerance": 1e-6, "max_evaluations": 200})),
        ("gradient_shap", json!({"tolerance": 1e-6, "max_evaluations": 200})),
        ("lime", json!({"tolerance": 1e-6, "max_evaluations": 1000})),
        ("kernel_shap", json!({"tolerance": 1e-6, "max_evaluations": 1000})),
        ("shapley_sampling", json!({"tolerance": 1e-6, "max_evaluations": 1000})),
        ("partition_shap", json!({"max_evaluations": 300})),
    ] {
        let method = METHODS.iter().find(|method| method.name() == name).unwrap();
        let run = |followed: bool| {
            let fake = Fake { followed, ..rough() };
            let planned = method.plan(settings.as_object().cloned().unwrap(), &fake.subject());
            let found = planned.unwrap_or_else(|error| panic!("{name}: {error}")).explain(&fake).unwrap();
            (found, fake.refined.into_inner())
        };
        let (whole, shown) = run(true);
        let (alone, silent) = run(false);
        let bytes = |found: &[Attribution]| serde_json::to_vec(found).unwrap();
        assert_eq!(bytes(&whole), bytes(&alone), "{name}");
        assert!(silent.is_empty(), "{name} prepares what nobody looks at");
        assert!(!shown.is_empty(), "{name} shows nothing before it is final");
        let evaluations = |found: &[Attribution]| -> Vec<usize> {
            found.iter().map(|attribution| attribution.diagnostics.evaluations).collect()
        };
        let mut before = vec![1; whole.len()];
        for round in shown.iter().map(|round| evaluations(round)).chain([evaluations(&whole)]) {
            assert_eq!(round.len(), whole.len(), "{name}");
            assert!(round.iter().zip(&before).all(|(now, before)| now >= before), "{name}: {before:?} {round:?}");
            assert!(round > before, "{name} shows the same again: {round:?}");
            before = round;
        }
    }
}
