//! Portions change no number.

use serde_json::json;

use super::*;
use crate::methods::METHODS;
use crate::methods::support::fake::{self, Fake};
use crate::nn::Stopped;

/// A job of five targets, some of them of the same class.
fn job() -> Fake {
    let white = |x: &[f32]| {
        let sum: f32 = x.iter().enumerate().map(|(at, x)| x * (at as f32 * 0.7).sin()).sum();
        vec![sum, (2.0 * sum).tanh()]
    };
    let backward = |x: &[f32], seed: &[f32]| {
        let weight = |at: usize| (at as f32 * 0.7).sin();
        let sum: f32 = x.iter().enumerate().map(|(at, x)| x * weight(at)).sum();
        let slope = seed[0] + seed[1] * 2.0 * (1.0 - (2.0 * sum).tanh().powi(2));
        (0..x.len()).map(|at| slope * weight(at)).collect()
    };
    let mut job = Fake::text(4).white(white, backward);
    job.targets = [0, 1, 1, 0, 1].map(fake::target).to_vec();
    job
}

#[test]
fn a_target_does_not_depend_on_those_beside_it() {
    for (name, settings) in [
        ("input_x_gradient", json!({})),
        ("integrated_gradients", json!({})),
        ("smooth_grad", json!({"samples": 6})),
        ("gradient_shap", json!({"samples": 6})),
        ("attention_relevance", json!({})),
    ] {
        let job = job();
        let method = METHODS.iter().find(|method| method.name() == name).unwrap();
        let planned = method.plan(settings.as_object().unwrap().clone(), &job.subject());
        let planned = planned.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(planned.differentiates(), "{name}");
        let together = planned.explain(&job).unwrap();
        for most in [1, 2, 5] {
            assert_eq!(explain_by(most, &*planned, &job).unwrap(), together, "{name} {most}");
        }
    }
}

#[test]
fn methods_without_gradients_see_all_targets() {
    let units = job().units();
    let job = job().black(&units, |_, mask| vec![mask.count() as f32, 0.0]);
    let method = METHODS.iter().find(|method| method.name() == "occlusion").unwrap();
    let planned = method.plan(serde_json::Map::new(), &job.subject()).unwrap();
    let before = job.rows.get();
    explain_by(1, &*planned, &job).unwrap();
    let once = job.rows.get() - before;
    planned.explain(&job).unwrap();
    assert_eq!(job.rows.get() - before, 2 * once);
}

#[test]
fn a_deadline_between_portions_ends_the_method() {
    let job = job();
    let method = METHODS.iter().find(|method| method.name() == "input_x_gradient").unwrap();
    let planned = method.plan(serde_json::Map::new(), &job.subject()).unwrap();
    job.left.set(Some(1));
    let stopped = explain_by(2, &*planned, &job).unwrap_err();
    assert_eq!(stopped.stopped(), Some(Stopped::Deadline));
}
