//! `gradient` against Captum and closed forms; what all methods over one gradient refuse.

use serde_json::{Value, json};

use super::*;
use crate::methods::support::fake::{self, Fake, HIDDEN};
use crate::methods::support::mlp::{Captum, Mlp, close};
use crate::methods::{ErasedMethod, METHODS};

fn explain(fake: &Fake, settings: &Value) -> Vec<Attribution> {
    let planned = Gradient.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake).unwrap()
}

#[test]
fn tokens_are_norms_as_captums() {
    let (fake, captum) = (Mlp::golden().fake(), Captum::golden());
    let found = explain(&fake, &json!({})).remove(0);
    let tokens = found.scores.tokens.unwrap();
    close(&tokens, &captum.gradient, 2e-5);
    assert_eq!(found.scores.words.unwrap(), tokens[1..6]);
    close(&[found.output_value.unwrap()], &[captum.output], 1e-5);
    assert_eq!((found.base_value, found.residual, found.diagnostics.evaluations), (None, None, 1));
    assert_eq!(fake.rows.get(), 1);
}

#[test]
fn targets_share_a_forward() {
    let mut fake = Mlp::golden().fake();
    let alone = explain(&fake, &json!({"output": "probability"})).remove(0);
    fake.targets = vec![fake::target(0), fake::target(1)];
    fake.rows.set(0);
    let both = explain(&fake, &json!({"output": "probability"}));
    assert_eq!((both.len(), fake.rows.get()), (2, 1));
    assert_eq!(both[1], alone);
}

#[test]
fn texts_of_no_word_and_of_one_have_their_lists() {
    for words in [0, 1, 2] {
        let fake = Fake::text(words).white(|x| vec![0.0, x.iter().sum()], |x, cotangent| vec![cotangent[1]; x.len()]);
        let scores = explain(&fake, &json!({})).remove(0).scores;
        // √4 for every token, specials included.
        assert_eq!(scores.tokens.unwrap(), vec![2.0; words + 2]);
        assert_eq!(scores.words.unwrap(), vec![2.0; words]);
    }
    assert_eq!(HIDDEN, 4);
}

/// Alternating signs: absolute numbers are added, over channels and pixels.
#[test]
fn cells_sum_absolute_gradients() {
    let fake = Fake::image(6).white(
        |x| vec![0.0, x.iter().step_by(2).sum::<f32>() - x.iter().skip(1).step_by(2).sum::<f32>()],
        |x, cotangent| (0..x.len()).map(|at| if at % 2 == 0 { cotangent[1] } else { -cotangent[1] }).collect(),
    );
    for cells in [1, 2, 3, 4] {
        let found = explain(&fake, &json!({"cells": cells, "resolution": "pixel"})).remove(0);
        let grid = found.scores.grid.unwrap();
        assert_eq!(grid.len(), cells);
        assert!((grid.concat().iter().sum::<f32>() - 108.0).abs() < 1e-4);
        assert!(found.scores.pixels.unwrap().offset == 3.0);
    }
    assert_eq!(explain(&fake, &json!({})).remove(0).scores.grid.unwrap(), vec![vec![12.0; 3]; 3]);
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    let (text, image) = (Fake::text(2), Fake::image(4));
    let mut regression = Fake::text(2);
    regression.task.probability = false;
    let names = ["gradient", "input_x_gradient", "guided_backprop", "deep_lift", "smooth_grad", "gradient_shap"];
    for name in names {
        let method = METHODS.iter().find(|method| method.name() == name).unwrap();
        let path = |fake: &Fake, settings: Value| {
            let planned = method.plan(settings.as_object().unwrap().clone(), &fake.subject());
            planned.err().unwrap_or_else(|| panic!("{name} took {settings}")).path
        };
        assert_eq!(path(&text, json!({"cells": 2})), "/cells");
        assert_eq!(path(&text, json!({"resolution": "cell"})), "/resolution");
        assert_eq!(path(&text, json!({"precision": "bf16"})), "/precision");
        assert_eq!(path(&text, json!({"output": "odds"})), "/output");
        assert_eq!(path(&image, json!({"cells": 5})), "/cells");
        assert_eq!(path(&regression, json!({"output": "probability"})), "/output");
    }
}
