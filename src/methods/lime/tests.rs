//! What `lime` resolves, refuses and returns; the estimator's own tests are beside it.

use serde_json::{Value, json};

use super::*;
use crate::input::segment;
use crate::input::units::{Mask, UnitKind};
use crate::methods::Grid;
use crate::methods::erased::ErasedMethod;
use crate::methods::support::fake::{self, Fake};

fn explain(fake: &Fake, settings: &Value) -> Attribution {
    let planned = Lime.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake).unwrap().remove(0)
}

fn echoed(fake: &Fake, settings: &Value) -> Value {
    Lime.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap().settings().clone()
}

/// Each unit present adds its weight to the logit.
fn additive(units: &Units, mask: &Mask) -> Vec<f32> {
    vec![0.0, (0..units.len()).filter(|&unit| mask.contains(unit)).map(weight).sum::<f32>() - 0.5]
}

fn weight(unit: usize) -> f32 {
    [0.5, -0.25, 1.0, 0.125][unit % 4]
}

fn text(words: usize) -> Fake {
    let fake = Fake::text(words);
    let units = fake.units();
    fake.black(&units, additive)
}

#[test]
fn an_additive_logit_gives_its_weights() {
    let found = explain(&text(4), &json!({"output": "logit"}));
    let words = found.scores.words.unwrap();
    words.iter().enumerate().for_each(|(unit, score)| assert!((score - weight(unit)).abs() < 1e-6));
    assert_eq!((found.base_value, found.output_value, found.residual), (Some(-0.5), Some(0.875), None));
    let diagnostics = found.diagnostics;
    assert_eq!((diagnostics.exact, diagnostics.converged, diagnostics.evaluations), (Some(true), Some(true), 16));
    assert_eq!(diagnostics.standard_error, Some(vec![0.0; 4]));
    assert!((diagnostics.r2.unwrap() - 1.0).abs() < 1e-6);
    assert!((diagnostics.intercept.unwrap() + 0.5).abs() < 1e-6);
    assert_eq!(found.scores.tokens, None);
}

#[test]
fn tokens_stand_in_the_inputs_order() {
    let found = explain(&text(3), &json!({"output": "logit", "unit": "token"}));
    let tokens = found.scores.tokens.unwrap();
    assert_eq!(tokens.len(), 5);
    assert_eq!((tokens[0], tokens[4]), (0.0, 0.0));
    assert!((tokens[3] - 1.0).abs() < 1e-6);
    assert_eq!((found.scores.words, found.diagnostics.standard_error), (None, Some(vec![0.0; 5])));
}

#[test]
fn a_picture_has_segments_and_a_grid() {
    let fake = Fake::image(4);
    let units = Units::Image { kind: UnitKind::Patch, segmentation: segment::patches(4, 4, 2, 2) };
    let fake = fake.black(&units, additive);
    let found = explain(&fake, &json!({"unit": "patch", "output": "logit", "cells": 4}));
    let segments = found.scores.segments.unwrap();
    assert_eq!(segments.len(), 4);
    let grid = found.scores.grid.unwrap();
    assert_eq!(found.grid, Some(Grid { rows: 4, cols: 4 }));
    assert_eq!((grid[0][1], grid[1][2], grid[3][0], grid[3][3]), (segments[0], segments[1], segments[2], segments[3]));
    assert!(found.segments.is_some());
    assert_eq!(found.diagnostics.standard_error.map(|errors| errors.len()), Some(4));
    let coarse = explain(&fake, &json!({"unit": "patch", "output": "logit", "cells": 1}));
    assert!((coarse.scores.grid.unwrap()[0][0] - segments.iter().sum::<f32>() / 4.0).abs() < 1e-6);
}

#[test]
fn scores_and_their_errors_are_shown_together() {
    let fake = text(14);
    let plain = explain(&fake, &json!({"max_evaluations": 600, "tolerance": 1e-6}));
    let shown =
        explain(&fake, &json!({"max_evaluations": 600, "tolerance": 1e-6, "normalize": "max", "absolute": true}));
    assert_eq!(fake.codes(), ["not_converged"; 2]);
    let (plain_words, words) = (plain.scores.words.unwrap(), shown.scores.words.unwrap());
    let largest = plain_words.iter().fold(0.0_f32, |largest, score| largest.max(score.abs()));
    let pairs = |plain: &[f32], shown: &[f32]| {
        for (plain, shown) in plain.iter().zip(shown) {
            assert!((plain.abs() / largest - shown).abs() < 1e-6);
        }
    };
    pairs(&plain_words, &words);
    pairs(&plain.diagnostics.standard_error.unwrap(), &shown.diagnostics.standard_error.unwrap());
}

#[test]
fn the_settings_choose_the_procedure() {
    let small = explain(&text(4), &json!({"samples": 100}));
    assert_eq!((small.diagnostics.exact, small.diagnostics.samples), (Some(false), Some(100)));
    assert!(small.diagnostics.evaluations <= 16 && small.diagnostics.converged.is_none());
    let tight = explain(&text(12), &json!({"max_evaluations": 4095}));
    assert_eq!(tight.diagnostics.exact, Some(false));
    let fits = explain(&text(12), &json!({"max_evaluations": 4096}));
    assert_eq!((fits.diagnostics.exact, fits.diagnostics.evaluations), (Some(true), 4096));
}

#[test]
fn a_text_without_words_has_nothing_to_explain() {
    for (unit, words) in [("word", true), ("token", false)] {
        let fake = text(0);
        let found = explain(&fake, &json!({"unit": unit}));
        assert_eq!((found.scores.words.is_some(), found.scores.tokens.is_some()), (words, !words));
        assert_eq!(found.scores.words.or(found.scores.tokens), Some(Vec::new()));
        assert_eq!((found.base_value, fake.rows.get()), (found.output_value, 0));
    }
}

#[test]
fn defaults_are_limes() {
    assert_eq!(
        echoed(&text(2), &json!({})),
        json!({"unit": "word", "fill": "remove", "variant": "lime", "samples": null, "max_evaluations": 5000, "tolerance": 0.05,
            "kernel_width": 25.0, "ridge": 0.0, "output": "probability", "normalize": "none", "absolute": false,
            "precision": "f32"})
    );
    assert_eq!(
        echoed(&Fake::image(4), &json!({"samples": 1000})),
        json!({"unit": "segment", "segmenter": "slic", "segments": 50, "fill": "mean", "variant": "lime", "samples": 1000,
            "max_evaluations": 1000, "tolerance": 0.05, "kernel_width": 0.25, "ridge": 1.0, "output": "probability",
            "normalize": "none", "absolute": false, "precision": "f32"})
    );
    let mut regression = text(2);
    regression.task = fake::FakeTask { probability: false };
    assert_eq!(echoed(&regression, &json!({}))["output"], "logit");
}

#[test]
fn settings_that_cannot_be_are_refused_in_place() {
    let refused = |fake: &Fake, settings: &Value, path: &str| {
        let planned = Lime.plan(settings.as_object().unwrap().clone(), &fake.subject());
        let error = planned.err().unwrap_or_else(|| panic!("{settings} was taken"));
        assert_eq!(error.path, path, "{settings}");
    };
    for (settings, path) in [
        (json!({"unit": "segment"}), "/unit"),
        (json!({"unit": "patch"}), "/unit"),
        (json!({"fill": "mean"}), "/fill"),
        (json!({"fill": "unk"}), "/fill"),
        (json!({"segments": 9}), "/segments"),
        (json!({"cells": 9}), "/cells"),
        (json!({"samples": 1}), "/samples"),
        (json!({"samples": 20_001}), "/samples"),
        (json!({"samples": 500, "max_evaluations": 100}), "/samples"),
        (json!({"max_evaluations": 3}), "/max_evaluations"),
        (json!({"max_evaluations": 20_001}), "/max_evaluations"),
        (json!({"kernel_width": 0.0}), "/kernel_width"),
        (json!({"tolerance": -0.1}), "/tolerance"),
        (json!({"ridge": 0.5}), "/ridge"),
        (json!({"ridge": -1.0, "samples": 9}), "/ridge"),
        (json!({"lasso": 0.1}), "/lasso"),
        (json!({"variant": "sparse", "lasso": 0.0}), "/lasso"),
        (json!({"variant": "sparse", "samples": 1}), "/samples"),
        (json!({"variant": "sparse", "samples": 20_001}), "/samples"),
        (json!({"variant": "sparse", "ridge": 1.0}), "/ridge"),
        (json!({"variant": "sparse", "kernel_width": 1.0}), "/kernel_width"),
        (json!({"variant": "sparse", "tolerance": 0.1}), "/tolerance"),
        (json!({"variant": "sparse", "max_evaluations": 100}), "/max_evaluations"),
    ] {
        refused(&text(2), &settings, path);
    }
    for (settings, path) in [
        (json!({"unit": "word"}), "/unit"),
        (json!({"fill": "remove"}), "/fill"),
        (json!({"unit": "patch", "segments": 9}), "/segments"),
        (json!({"segmenter": "quickshift", "segments": 9}), "/segments"),
        (json!({"segments": 0}), "/segments"),
        (json!({"cells": 5}), "/cells"),
    ] {
        refused(&Fake::image(4), &settings, path);
    }
}

#[test]
fn the_cost_is_what_may_be_evaluated() {
    let cost = |words: usize, settings: Value| {
        let fake = text(words);
        Lime.plan(settings.as_object().unwrap().clone(), &fake.subject()).unwrap().cost()
    };
    assert_eq!(cost(4, json!({})), Cost { rows: 16, tokens: 96 });
    assert_eq!(cost(20, json!({})).rows, 5000);
    assert_eq!(cost(20, json!({"samples": 70})).rows, 71);
    assert_eq!(cost(20, json!({"variant": "sparse"})).rows, 66);
    assert_eq!(cost(6, json!({"variant": "sparse"})).rows, 64);
}

#[test]
fn a_sparse_fit_keeps_what_counts() {
    let units = 30;
    let weigh = |units: &Units, mask: &Mask| {
        let counts = (0..units.len()).filter(|&unit| mask.contains(unit) && unit % 10 == 3);
        vec![0.0, counts.count() as f32 * 2.0 - 1.0]
    };
    let fake = Fake::text(units);
    let all = fake.units();
    let fake = fake.black(&all, weigh);
    let found = explain(&fake, &json!({"variant": "sparse", "output": "logit", "lasso": 0.1}));
    let words = found.scores.words.unwrap();
    for (unit, score) in words.iter().enumerate() {
        // The penalty takes its share of what counts, and all of what does not: its chance covariance is smaller.
        let expected = if unit % 10 == 3 { 1.3..2.0 } else { -0.25..0.25 };
        assert!(expected.contains(score), "{unit}: {score}");
    }
    assert!(words.iter().filter(|score| **score == 0.0).count() >= 20, "{words:?}");
    assert_eq!((found.base_value, found.output_value), (Some(-1.0), Some(5.0)));
    let diagnostics = found.diagnostics;
    assert_eq!((diagnostics.samples, diagnostics.exact, diagnostics.converged), (Some(64), Some(false), None));
    assert_eq!((diagnostics.evaluations, diagnostics.standard_error), (66, None));
    assert!(diagnostics.r2.unwrap() > 0.9);
    assert!(fake.codes().is_empty());
}

#[test]
fn a_sparse_fit_of_few_units_takes_every_mask_once() {
    for units in [1, 2, 5] {
        let found = explain(&text(units), &json!({"variant": "sparse", "output": "logit", "lasso": 0.01}));
        let masks = 1 << units;
        let diagnostics = found.diagnostics;
        assert_eq!((diagnostics.exact, diagnostics.converged), (Some(true), Some(true)));
        assert_eq!((diagnostics.evaluations, diagnostics.samples), (masks, Some(masks)));
        // Orthogonal columns of standard deviation one half: each coefficient loses twice the penalty, less none.
        for (unit, score) in found.scores.words.unwrap().iter().enumerate() {
            let expected = weight(unit) - 0.02 * weight(unit).signum();
            assert!((score - expected).abs() < 1e-6, "{unit} of {units}: {score} for {expected}");
        }
    }
}

#[test]
fn a_sparse_fit_has_defaults_of_its_own() {
    assert_eq!(
        echoed(&text(2), &json!({"variant": "sparse"})),
        json!({"unit": "word", "fill": "remove", "variant": "sparse", "samples": 64, "lasso": 0.01,
            "output": "log_odds", "normalize": "none", "absolute": false, "precision": "f32"})
    );
    let mut regression = text(2);
    regression.task = fake::FakeTask { probability: false };
    assert_eq!(echoed(&regression, &json!({"variant": "sparse"}))["output"], "logit");
    let nothing = explain(&text(0), &json!({"variant": "sparse"}));
    assert_eq!((nothing.scores.words, nothing.diagnostics.standard_error), (Some(Vec::new()), None));
}

#[test]
fn a_deadline_leaves_a_sparse_fit_of_what_there_is() {
    let settings = json!({"variant": "sparse", "samples": 500});
    let mut fake = text(40);
    fake.partial = true;
    fake.left.set(Some(300));
    let found = explain(&fake, &settings);
    assert!(found.partial && found.diagnostics.evaluations <= 301, "{}", found.diagnostics.evaluations);
    assert_eq!((found.diagnostics.exact, found.diagnostics.converged), (Some(false), Some(false)));
}

/// The deadline that passes with the last evaluation ends a fit: it is long where units or targets are many.
#[test]
fn a_deadline_is_noticed_while_a_model_is_fitted() {
    for (units, settings) in [
        (40, json!({"variant": "sparse", "output": "logit"})),
        (40, json!({"samples": 100, "output": "logit"})),
        (4, json!({"output": "logit"})),
    ] {
        let (fake, late) = (text(units), text(units));
        explain(&fake, &settings);
        late.left.set(Some(fake.rows.get()));
        let planned = Lime.plan(settings.as_object().unwrap().clone(), &late.subject()).unwrap();
        let stopped = planned.explain(&late).unwrap_err().stopped();
        assert_eq!(stopped, Some(crate::nn::Stopped::Deadline), "{settings}");
    }
}
