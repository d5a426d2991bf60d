//! Integrated gradients against Captum, against closed forms, and its promises: completeness, refinement, deadlines.

use serde_json::{Value, json};

use super::*;
use crate::methods::Grid;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake, HIDDEN};
use crate::methods::support::mlp::{Mlp, close};

fn explain(fake: &Fake, settings: &Value) -> Result<Vec<Attribution>, Error> {
    let planned = IntegratedGradients.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake)
}

fn refused(fake: &Fake, settings: &Value) -> SettingError {
    let planned = IntegratedGradients.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.err().unwrap_or_else(|| panic!("{settings} was taken"))
}

#[test]
fn fixed_steps_equal_captum() {
    let mlp = Mlp::golden();
    let fake = mlp.fake();
    for (name, golden) in &mlp.results {
        let (baseline, steps) = name.split_once('_').unwrap();
        let steps: usize = steps.parse().unwrap();
        let found = explain(&fake, &json!({"steps": steps, "baseline": baseline})).unwrap().remove(0);
        close(found.scores.tokens.as_ref().unwrap(), &golden.tokens, 1e-5);
        close(&[found.diagnostics.convergence_delta.unwrap()], &[golden.delta], 1e-5);
        assert_eq!(found.diagnostics.nodes, Some(steps));
        assert_eq!(found.diagnostics.evaluations, steps + 2);
    }
}

#[test]
fn without_steps_it_refines_until_captums_limit() {
    let mlp = Mlp::golden();
    let fake = mlp.fake();
    let limit = &mlp.results["pad_1000"].tokens;
    let found = explain(&fake, &json!({})).unwrap().remove(0);
    let change = f64::from(found.output_value.unwrap() - found.base_value.unwrap());
    assert!(f64::from(found.residual.unwrap()).abs() <= 0.01 * change.abs().max(0.01));
    assert_eq!(found.diagnostics.converged, Some(true));
    assert!(found.diagnostics.nodes.unwrap() <= 31);
    close(found.scores.tokens.as_ref().unwrap(), limit, 0.01 * change.abs());
    let exact = explain(&fake, &json!({"tolerance": 1e-6})).unwrap().remove(0);
    close(exact.scores.tokens.as_ref().unwrap(), limit, 2e-6 * change.abs().max(1.0));
    assert!(fake.codes().is_empty());
}

#[test]
fn words_sum_tokens_and_specials_get_nothing() {
    let found = explain(&Mlp::golden().fake(), &json!({"steps": 8})).unwrap().remove(0);
    let tokens = found.scores.tokens.unwrap();
    assert_eq!((tokens[0], tokens[6]), (0.0, 0.0));
    assert_eq!(found.scores.words.unwrap(), tokens[1..6]);
    let sum: f32 = tokens.iter().sum();
    let residual = found.output_value.unwrap() - found.base_value.unwrap() - sum;
    assert!((residual - found.residual.unwrap()).abs() < 1e-6);
}

#[test]
fn a_target_does_not_depend_on_the_targets_beside_it() {
    let mut fake = Mlp::golden().fake();
    let alone = explain(&fake, &json!({"output": "probability"})).unwrap();
    fake.targets = vec![fake::target(0), fake::target(1)];
    let both = explain(&fake, &json!({"output": "probability"})).unwrap();
    assert_eq!(both[1], alone[0]);
    let rows = |evaluations: usize| evaluations - 1;
    fake.rows.set(0);
    let both = explain(&fake, &json!({"steps": 10})).unwrap();
    assert_eq!(fake.rows.get(), rows(both[0].diagnostics.evaluations), "all targets share a pass");
}

/// x₀·x₁: the path integral is x₀·x₁ split evenly from a zero baseline.
#[test]
fn a_product_is_split_evenly() {
    let fake = Fake::text(2).white(
        |x| vec![0.0, x[HIDDEN] * x[2 * HIDDEN]],
        |x, cotangent| {
            let mut gradient = vec![0.0; x.len()];
            gradient[HIDDEN] = cotangent[1] * x[2 * HIDDEN];
            gradient[2 * HIDDEN] = cotangent[1] * x[HIDDEN];
            gradient
        },
    );
    let found = explain(&fake, &json!({"baseline": "zero"})).unwrap().remove(0);
    let half = fake::word_embedding(10)[0] * fake::word_embedding(11)[0] / 2.0;
    close(&found.scores.words.unwrap(), &[f64::from(half); 2], 1e-7);
    assert_eq!(found.diagnostics.nodes, Some(15), "three rules are the least");
}

/// A step is no polynomial: no rule comes inside a narrow tolerance.
#[test]
fn what_does_not_converge_says_so() {
    let step = |x: &[f32]| vec![0.0, if x[HIDDEN].abs() > 0.01 { 1.0 } else { 0.0 }];
    let fake = Fake::text(2).white(step, |x, _| vec![0.0; x.len()]);
    let found = explain(&fake, &json!({"baseline": "zero"})).unwrap().remove(0);
    assert_eq!((found.diagnostics.converged, found.diagnostics.nodes), (Some(false), Some(511)));
    assert_eq!(fake.codes(), ["not_converged"]);
    let fixed = explain(&fake, &json!({"baseline": "zero", "steps": 4})).unwrap().remove(0);
    assert_eq!(fixed.diagnostics.converged, Some(false));
    assert_eq!(fake.codes().len(), 1, "fixed steps are the caller's choice");
}

#[test]
fn a_text_without_words_has_nothing_to_explain() {
    let fake = Fake::text(0).white(|x| vec![0.0, x[0]], |x, _| vec![1.0; x.len()]);
    let found = explain(&fake, &json!({})).unwrap().remove(0);
    assert_eq!((found.scores.tokens.unwrap(), found.scores.words.unwrap()), (vec![0.0; 2], Vec::new()));
    assert_eq!((found.residual, found.diagnostics.evaluations, fake.rows.get()), (Some(0.0), 1, 0));
}

fn linear_image() -> Fake {
    let weight = |index: usize| ((index * 13 % 17) as f32 - 8.0) / 8.0;
    Fake::image(6).white(
        move |x| vec![0.0, x.iter().enumerate().map(|(index, x)| weight(index) * x).sum()],
        move |x, cotangent| (0..x.len()).map(|index| cotangent[1] * weight(index)).collect(),
    )
}

#[test]
fn an_image_sums_channels_and_cells() {
    let fake = linear_image();
    for baseline in ["zero", "mean", "blur", "black", "white"] {
        for cells in [1, 4, 6] {
            let settings = json!({"baseline": baseline, "cells": cells, "steps": 2, "resolution": "pixel"});
            let found = explain(&fake, &settings).unwrap().remove(0);
            assert_eq!(found.grid, Some(Grid { rows: cells, cols: cells }));
            let sum: f32 = found.scores.grid.as_ref().unwrap().concat().iter().sum();
            let change = found.output_value.unwrap() - found.base_value.unwrap();
            assert!((sum - change).abs() < 1e-3, "{baseline} {cells}: {sum} {change}");
            assert!(found.residual.unwrap().abs() < 1e-3);
            assert!(found.scores.pixels.is_some() && found.scores.tokens.is_none());
        }
    }
    let own = explain(&fake, &json!({})).unwrap().remove(0);
    let named = explain(&fake, &json!({"cells": 3})).unwrap().remove(0);
    assert_eq!(own, named);
    assert!(own.scores.pixels.is_none());
}

#[test]
fn a_deadline_leaves_the_last_whole_rule() {
    let mut fake = Mlp::golden().fake();
    fake.partial = true;
    let whole = explain(&fake, &json!({"tolerance": 1e-9})).unwrap().remove(0);
    assert!(whole.diagnostics.nodes.unwrap() > 15);
    for (rows, nodes) in [(1 + 3, 3), (1 + 9, 7), (1 + 20, 15)] {
        fake.left.set(Some(rows));
        let found = explain(&fake, &json!({"tolerance": 1e-9})).unwrap().remove(0);
        assert!(found.partial);
        assert_eq!((found.diagnostics.nodes, found.diagnostics.converged), (Some(nodes), Some(false)));
    }
    for (rows, settings) in [(3, json!({})), (0, json!({})), (5, json!({"steps": 8}))] {
        fake.left.set(Some(rows));
        assert!(explain(&fake, &settings).unwrap_err().stopped().is_some(), "{rows}");
    }
    fake.partial = false;
    fake.left.set(Some(12));
    assert!(explain(&fake, &json!({})).unwrap_err().stopped().is_some());
}

#[test]
fn settings_out_of_range_are_refused_in_place() {
    let text = Fake::text(2);
    for (settings, path) in [
        (json!({"steps": 0}), "/steps"),
        (json!({"steps": 1025}), "/steps"),
        (json!({"steps": -1}), "/steps"),
        (json!({"steps": 9, "max_evaluations": 10}), "/steps"),
        (json!({"max_evaluations": 4}), "/max_evaluations"),
        (json!({"tolerance": 0.0}), "/tolerance"),
        (json!({"baseline": "unk"}), "/baseline"),
        (json!({"baseline": "black"}), "/baseline"),
        (json!({"cells": 4}), "/cells"),
        (json!({"resolution": "pixel"}), "/resolution"),
        (json!({"precision": "bf16"}), "/precision"),
    ] {
        assert_eq!(refused(&text, &settings).path, path, "{settings}");
    }
    let image = Fake::image(4);
    for (settings, path) in [(json!({"baseline": "pad"}), "/baseline"), (json!({"cells": 5}), "/cells")] {
        assert_eq!(refused(&image, &settings).path, path);
    }
    let mut regression = Fake::text(2);
    regression.task.probability = false;
    assert_eq!(refused(&regression, &json!({"output": "probability"})).path, "/output");
    let small = Subject { max_evaluations: 4, ..text.subject() };
    assert_eq!(IntegratedGradients.plan(Default::default(), &small).err().unwrap().path, "");
}

#[test]
fn settings_are_echoed_in_full() {
    let plan = IntegratedGradients.plan(Default::default(), &Fake::text(2).subject()).unwrap();
    let expected = json!({"steps": null, "max_evaluations": 513, "tolerance": 0.01, "baseline": "pad", "output": "logit", "normalize": "none",
        "absolute": false, "precision": "f32"});
    assert_eq!(plan.settings(), &expected);
}
