//! `input_x_gradient` against Captum and on a linear model, where it is exact.

use serde_json::{Value, json};

use super::*;
use crate::methods::ErasedMethod;
use crate::methods::support::fake::Fake;
use crate::methods::support::mlp::{Captum, Mlp, close};

fn explain(fake: &Fake, settings: &Value) -> Attribution {
    let planned = InputXGradient.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap();
    planned.explain(fake).unwrap().remove(0)
}

#[test]
fn scores_are_captums() {
    let captum = Captum::golden();
    let found = explain(&Mlp::golden().fake(), &json!({}));
    close(&found.scores.tokens.unwrap(), &captum.input_x_gradient, 2e-5);
    assert_eq!((found.base_value, found.residual), (None, None));
}

#[test]
fn a_linear_image_adds_up_to_its_output() {
    let weight = |at: usize| ((at * 7 % 11) as f32 - 5.0) / 5.0;
    let fake = Fake::image(6).white(
        move |x| vec![0.0, x.iter().enumerate().map(|(at, x)| weight(at) * x).sum()],
        move |x, cotangent| (0..x.len()).map(|at| cotangent[1] * weight(at)).collect(),
    );
    for settings in [json!({}), json!({"cells": 4, "resolution": "pixel"})] {
        let found = explain(&fake, &settings);
        let sum: f32 = found.scores.grid.unwrap().concat().iter().sum();
        assert!((sum - found.output_value.unwrap()).abs() < 1e-3, "{sum}");
    }
}
