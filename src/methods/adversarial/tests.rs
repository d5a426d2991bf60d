//! Steps and flips with known gradients, what is refused, and what a deadline leaves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::*;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, FakeTask, word_embedding};

fn explain(fake: &Fake, settings: &Value) -> Attribution {
    let planned = Adversarial.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake).unwrap().remove(0)
}

fn refused(fake: &Fake, settings: &Value, path: &str) {
    let error = Adversarial.plan(settings.as_object().unwrap().clone(), &fake.subject()).err();
    assert_eq!(error.unwrap_or_else(|| panic!("{settings} was taken")).path, path, "{settings}");
}

/// logits = (0, bias + x · a), a_i = sign_i · weight.
fn linear(fake: Fake, bias: f32, slope: impl Fn(usize) -> f32 + Copy + 'static) -> Fake {
    fake.white(
        move |x| vec![0.0, bias + x.iter().enumerate().map(|(index, x)| x * slope(index)).sum::<f32>()],
        move |x, cotangent| (0..x.len()).map(|index| cotangent[1] * slope(index)).collect(),
    )
}

fn alternating(index: usize) -> f32 {
    if index.is_multiple_of(2) { 0.01 } else { -0.01 }
}

/// An image that is YES by a little: a change of all pixels by some bytes makes it NO.
fn image() -> Fake {
    let zero = linear(Fake::image(4), 0.0, alternating);
    let bias = 0.01 - zero.logits[1];
    linear(Fake::image(4), bias, alternating)
}

fn picture(change: &Change) -> Vec<u8> {
    let png = STANDARD.decode(change.image.as_ref().unwrap()).unwrap();
    image::load_from_memory(&png).unwrap().into_rgb8().into_raw()
}

#[test]
fn one_step_is_the_gradients_sign() {
    let fake = image();
    let found = explain(&fake, &json!({"attack": "fgsm", "epsilon": 4.0 / 255.0}));
    let change = found.change.unwrap();
    assert!(change.found && (change.distance - 4.0 / 255.0).abs() < 1e-6);
    let input = fake.input.as_image().unwrap();
    for (index, (&now, &own)) in picture(&change).iter().zip(&input.rgb).enumerate() {
        let (pixel, channel) = (index / 3, index % 3);
        let step = if alternating(channel * 16 + pixel) > 0.0 { -4 } else { 4 };
        assert_eq!(i32::from(now), (i32::from(own) + step).clamp(0, 255));
    }
    assert_eq!(found.diagnostics.evaluations, 3);
    let grid = found.scores.grid.unwrap();
    assert!(grid.iter().flatten().all(|&size| size > 0.0 && size <= 4.0 / 255.0 + 1e-6));
}

#[test]
fn smaller_steps_end_where_it_flips_and_stay_inside_epsilon() {
    let fake = image();
    let found = explain(&fake, &json!({"epsilon": 0.05, "step_size": 1.0 / 255.0, "steps": 50}));
    let change = found.change.unwrap();
    assert!(change.found && change.distance < 0.05);
    // What is answered is what the PNG holds.
    let input = fake.input.as_image().unwrap();
    let bytes: Vec<f32> = picture(&change).iter().map(|&byte| f32::from(byte)).collect();
    let logits = (fake.white)(&input.normalised(&bytes));
    assert!(logits[1] < logits[0], "{logits:?}");
    let none = explain(&linear(Fake::image(4), 99.0, alternating), &json!({"steps": 3}));
    assert_eq!((none.change, none.diagnostics.evaluations), (Some(Change::default()), 7));
    assert!(none.scores.grid.unwrap().iter().flatten().all(|&size| size == 0.0));
}

#[test]
fn a_class_that_is_not_answered_is_climbed_to() {
    let mut fake = image();
    fake.targets = vec![fake::target(0)];
    let change = explain(&fake, &json!({})).change.unwrap();
    assert!(change.found);
    fake.targets = vec![fake::target(1)];
    assert_eq!(explain(&fake, &json!({"to": 0})).change.unwrap(), change);
}

/// The logit is a bias and the sum of the embeddings' first numbers.
fn first(index: usize) -> f32 {
    if index.is_multiple_of(fake::HIDDEN) { 1.0 } else { 0.0 }
}

#[test]
fn the_flip_is_the_one_of_most_gain() {
    let plain = linear(Fake::text(4), 0.0, first);
    let fake = linear(Fake::text(4), 0.1 - plain.logits[1], first);
    let found = explain(&fake, &json!({}));
    let change = found.change.unwrap();
    // Brute force over all words: the largest fall of the sum.
    let ids: Vec<u32> = fake.input.as_text().unwrap().ids().collect();
    let fall = |token: usize, id: u32| word_embedding(ids[token])[0] - word_embedding(id)[0];
    let all = (1..5).flat_map(|token| (0..100).map(move |id| (token, id))).filter(|&(token, id)| id != ids[token]);
    let (token, id) = all.max_by(|a, b| fall(a.0, a.1).total_cmp(&fall(b.0, b.1))).unwrap();
    assert!(change.found && change.distance == 1.0);
    let lexicon = crate::methods::Ctx::lexicon(&fake).unwrap();
    assert_eq!(change.edits[0].to, lexicon.vocabulary().piece(id).unwrap().text);
    assert_eq!(change.edits[0].from, format!("w{}", token - 1));
    let size: f32 = word_embedding(ids[token]).iter().zip(word_embedding(id)).map(|(a, b)| (b - a).powi(2)).sum();
    let tokens = found.scores.tokens.unwrap();
    assert!((tokens[token] - size.sqrt()).abs() < 1e-5);
    assert_eq!(found.scores.words.unwrap()[token - 1], tokens[token]);
}

#[test]
fn several_flips_are_made_and_no_more_than_needed() {
    let plain = linear(Fake::text(6), 0.0, first);
    let fake = linear(Fake::text(6), 3.0 - plain.logits[1], first);
    let change = explain(&fake, &json!({})).change.unwrap();
    assert!(change.found && change.distance >= 2.0, "{change:?}");
    assert_eq!(explain(&fake, &json!({"max_changes": 1})).change, Some(Change::default()));
    let text = change.text.unwrap();
    assert_eq!(text.split(' ').filter(|word| !word.starts_with('w')).count(), change.edits.len());
}

#[test]
fn an_empty_text_has_nothing_to_flip() {
    let found = explain(&linear(Fake::text(0), 1.0, first), &json!({}));
    assert_eq!((found.change, found.scores.words), (Some(Change::default()), Some(Vec::new())));
}

#[test]
fn a_deadline_leaves_nothing_found() {
    for mut fake in [image(), linear(Fake::text(4), 99.0, first)] {
        fake.partial = true;
        fake.left.set(Some(1));
        let found = explain(&fake, &json!({}));
        assert!(found.partial && !found.change.unwrap().found);
    }
}

#[test]
fn numbers_are_on_a_side_of_a_threshold() {
    let mut fake = image();
    fake.task = FakeTask { probability: false };
    refused(&fake, &json!({}), "/threshold");
    let change = explain(&fake, &json!({"threshold": 0.0})).change.unwrap();
    assert!(change.found);
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    for (settings, path) in [
        (json!({"epsilon": 0.1}), "/epsilon"),
        (json!({"attack": "pgd"}), "/attack"),
        (json!({"cells": 2}), "/cells"),
        (json!({"max_changes": 0}), "/max_changes"),
        (json!({"candidates": 0}), "/candidates"),
        (json!({"beam": 101}), "/beam"),
        (json!({"to": 9}), "/to"),
        (json!({"precision": "bf16"}), "/precision"),
    ] {
        refused(&Fake::text(2), &settings, path);
    }
    for (settings, path) in [
        (json!({"epsilon": 0.003}), "/epsilon"),
        (json!({"epsilon": 1.5}), "/epsilon"),
        (json!({"steps": 0}), "/steps"),
        (json!({"step_size": 0.0}), "/step_size"),
        (json!({"attack": "fgsm", "steps": 3}), "/steps"),
        (json!({"attack": "fgsm", "step_size": 0.1}), "/step_size"),
        (json!({"beam": 2}), "/beam"),
        (json!({"cells": 5}), "/cells"),
    ] {
        refused(&Fake::image(4), &settings, path);
    }
}

/// tests/golden/attacks.py: Captum's FGSM and PGD over a sum of sines.
#[test]
fn pictures_are_captums() {
    let golden: Value = serde_json::from_str(include_str!("../../../tests/golden/methods/attacks.json")).unwrap();
    let fake = Fake::image(4).white(
        |x| vec![0.0, x.iter().enumerate().map(|(index, x)| (4.0 * x + index as f32).sin()).sum()],
        |x, cotangent| {
            x.iter().enumerate().map(|(index, x)| cotangent[1] * 4.0 * (4.0 * x + index as f32).cos()).collect()
        },
    );
    assert!((f64::from(fake.logits[1]) - golden["start"].as_f64().unwrap()).abs() < 1e-4);
    let bytes = |expected: &Value| -> Vec<u8> {
        expected["picture"].as_array().unwrap().iter().map(|byte| byte.as_u64().unwrap() as u8).collect()
    };
    let (fgsm, pgd) = (&golden["fgsm"], &golden["pgd"]);
    let threshold = 0.5 * (fgsm["value"].as_f64().unwrap() + golden["start"].as_f64().unwrap());
    let settings = json!({"attack": "fgsm", "epsilon": 4.0 / 255.0, "threshold": threshold, "output": "logit"});
    assert_eq!(picture(&explain(&fake, &settings).change.unwrap()), bytes(fgsm));
    let settings = json!({"epsilon": 9.0 / 255.0, "step_size": 1.3 / 255.0, "steps": pgd["steps"], "output": "logit",
        "threshold": pgd["threshold"]});
    let found = explain(&fake, &settings);
    assert_eq!(picture(&found.change.unwrap()), bytes(pgd));
    // The input, and a gradient and a look at each step: none was enough before the last.
    assert_eq!(found.diagnostics.evaluations, 13);
}
