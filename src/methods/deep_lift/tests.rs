//! `deep_lift` over a job whose multipliers are complete: sums, ends, baselines, targets. The rules are tested in `nn`
//! and, against Captum, in `models`.

use serde_json::{Value, json};

use super::*;
use crate::methods::ErasedMethod;
use crate::methods::support::fake::{self, Fake};
use crate::methods::support::mlp::Mlp;

fn explain(fake: &Fake, settings: &Value) -> Vec<Attribution> {
    let planned = DeepLift.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake).unwrap()
}

#[test]
fn scores_add_up_to_the_change() {
    let mlp = Mlp::golden();
    let mut fake = mlp.fake();
    fake.targets = vec![fake::target(0), fake::target(1)];
    for output in ["logit", "probability", "log_probability"] {
        for baseline in ["pad", "mask", "zero"] {
            fake.rows.set(0);
            let found = explain(&fake, &json!({"baseline": baseline, "output": output}));
            assert_eq!((found.len(), fake.rows.get()), (2, 2), "targets share a pair of rows");
            for one in found {
                let (base, output) = (one.base_value.unwrap(), one.output_value.unwrap());
                let tokens = one.scores.tokens.unwrap();
                let residual = output - base - tokens.iter().sum::<f32>();
                assert!(one.residual.unwrap().abs() < 1e-4 && (residual - one.residual.unwrap()).abs() < 1e-5);
                assert_eq!(one.diagnostics.convergence_delta, Some(-one.residual.unwrap()));
                assert_eq!((tokens[0], tokens[6], one.diagnostics.evaluations), (0.0, 0.0, 2));
            }
        }
    }
}

#[test]
fn short_texts_and_images_have_their_lists() {
    for words in [0, 1, 2] {
        let fake = Fake::text(words).white(|x| vec![0.0, x.iter().sum()], |x, c| vec![c[1]; x.len()]);
        let one = explain(&fake, &json!({})).remove(0);
        assert_eq!((one.scores.tokens.unwrap().len(), one.scores.words.unwrap().len()), (words + 2, words));
        assert!(one.residual.unwrap().abs() < 1e-5);
    }
    let fake = Fake::image(6).white(|x| vec![0.0, x.iter().sum()], |x, c| vec![c[1]; x.len()]);
    for baseline in ["zero", "mean", "blur", "black", "white"] {
        let one = explain(&fake, &json!({"baseline": baseline, "cells": 2, "resolution": "pixel"})).remove(0);
        assert!(one.residual.unwrap().abs() < 1e-3 && one.scores.pixels.is_some());
        assert_eq!(one.scores.grid.unwrap().len(), 2);
    }
}

#[test]
fn baselines_of_the_other_kind_are_refused() {
    let refused = |fake: &Fake, baseline: &str| {
        DeepLift.plan(json!({"baseline": baseline}).as_object().unwrap().clone(), &fake.subject()).err().unwrap().path
    };
    assert_eq!(
        (refused(&Fake::text(2), "black"), refused(&Fake::image(4), "pad")),
        ("/baseline".into(), "/baseline".into())
    );
}
