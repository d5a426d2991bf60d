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
        // Until they converge, each target by itself.
        ("smooth_grad", json!({"max_evaluations": 40})),
        ("gradient_shap", json!({"max_evaluations": 40})),
        ("deep_lift", json!({})),
        ("attention_relevance", json!({})),
        ("neurons", json!({})),
        ("neurons", json!({"measure": "conductance", "steps": 4})),
    ] {
        let job = job();
        let method = METHODS.iter().find(|method| method.name() == name).unwrap();
        let planned = method.plan(settings.as_object().unwrap().clone(), &job.subject());
        let planned = planned.unwrap_or_else(|error| panic!("{name}: {error}"));
        let together = planned.explain(&job).unwrap();
        for most in [1, 2, 5] {
            assert_eq!(explain(most, &job, &|ctx| planned.explain(ctx)).unwrap(), together, "{name} {most}");
        }
    }
}

#[test]
fn methods_without_gradients_see_all_targets() {
    let units = job().units();
    let mut job = job().black(&units, |_, mask| vec![mask.count() as f32, 0.0]);
    job.spec.embedding = AT_ONCE;
    let method = METHODS.iter().find(|method| method.name() == "occlusion").unwrap();
    let planned = method.plan(serde_json::Map::new(), &job.subject()).unwrap();
    job.spec.embedding = fake::HIDDEN;
    let before = job.rows.get();
    planned.explain(&job).unwrap();
    assert_eq!(job.rows.get() - before, 5, "five masks, for all targets");
}

/// The most objectives that one pass of a job has.
struct Counted<'a> {
    ctx: &'a dyn Ctx,
    most: std::cell::Cell<usize>,
}

impl Ctx for Counted<'_> {
    of_ctx!(
        spec, task, input, targets, seed, logits, partial, outputs, embedding, variants, proposals, vectors, lexicon,
        checkpoint, rows, warn
    );

    fn pass(
        &self,
        pass: &crate::methods::Pass<'_>,
        sink: &mut dyn FnMut(&crate::methods::RowView<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.most.set(self.most.get().max(pass.objectives.len()));
        self.ctx.pass(pass, sink)
    }
}

/// What counts is what a method keeps of a target: units of all layers, maps of attention, not the embedding alone.
#[test]
fn targets_are_together_where_what_they_keep_has_room() {
    for (name, settings, numbers) in [
        ("input_x_gradient", json!({}), 6 * 1000),
        ("attention_relevance", json!({}), 3 * 6 * 6),
        ("neurons", json!({}), 3 * 6 * 8 * 500),
        ("neurons", json!({"layers": "last"}), 6 * 8 * 500),
        ("neurons", json!({"measure": "conductance", "steps": 2}), 3 * 3 * 6 * 8 * 500),
    ] {
        // Of a size that has room twice.
        let (mut large, scale) = (job(), AT_ONCE / (2 * numbers));
        (large.spec.hidden, large.spec.embedding) = (500 * scale, 1000 * scale);
        if name == "attention_relevance" {
            large.input = Fake::text((AT_ONCE / 6).isqrt() - 2).input;
        }
        let method = METHODS.iter().find(|method| method.name() == name).unwrap();
        let planned = method.plan(settings.as_object().unwrap().clone(), &large.subject()).unwrap();
        let counted = Counted { ctx: &job(), most: std::cell::Cell::new(0) };
        planned.explain(&counted).unwrap();
        assert_eq!(counted.most.get(), 2, "{name} {settings}");
    }
}

#[test]
fn a_deadline_between_portions_ends_the_method() {
    let job = job();
    let method = METHODS.iter().find(|method| method.name() == "input_x_gradient").unwrap();
    let planned = method.plan(serde_json::Map::new(), &job.subject()).unwrap();
    job.left.set(Some(1));
    let stopped = explain(2, &job, &|ctx| planned.explain(ctx)).unwrap_err();
    assert_eq!(stopped.stopped(), Some(Stopped::Deadline));
}
