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
        json!({"unit": "word", "fill": "remove", "samples": null, "max_evaluations": 5000, "tolerance": 0.05,
            "kernel_width": 25.0, "ridge": 0.0, "output": "probability", "normalize": "none", "absolute": false,
            "precision": "f32"})
    );
    assert_eq!(
        echoed(&Fake::image(4), &json!({"samples": 1000})),
        json!({"unit": "segment", "segmenter": "slic", "segments": 50, "fill": "mean", "samples": 1000,
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
}
