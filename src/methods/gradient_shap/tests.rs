//! `gradient_shap` against Captum given the same draws; completeness in expectation, baselines, what it refuses.

use serde_json::{Value, json};

use super::*;
use crate::methods::ErasedMethod;
use crate::methods::support::fake::{self, Fake};
use crate::methods::support::mlp::{Captum, Mlp, close};

fn explain(fake: &Fake, settings: &Value) -> Result<Vec<Attribution>, Error> {
    let planned = GradientShap.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake)
}

#[test]
fn the_same_draws_give_captums_numbers() {
    let (fake, captum) = (Mlp::golden().fake(), Captum::golden());
    let settings = json!({"baselines": ["pad", "zero"], "samples": captum.draws.len()});
    let resolved = GradientShap::resolve(serde_json::from_value(settings).unwrap(), &fake.subject()).unwrap();
    let found = expect(&resolved, &fake, &|sample| captum.draws[sample]).unwrap().remove(0);
    close(found.scores.tokens.as_ref().unwrap(), &captum.gradient_shap, 2e-5);
    close(&[found.base_value.unwrap(), found.output_value.unwrap()], &[captum.base, captum.output], 1e-5);
    assert_eq!(found.diagnostics.evaluations, captum.draws.len() + 3);
}

/// The residual is within five of its standard errors of 0, run after run, and shrinks with the samples; its spread is
/// what its standard error says.
#[test]
fn scores_add_up_in_expectation() {
    let mut fake = Mlp::golden().fake();
    let (mut sum, mut squares, mut said, runs) = (0.0, 0.0, 0.0, 200);
    for seed in 0..runs {
        fake.seed = seed;
        let settings = json!({"baselines": ["pad", "zero", "mask"], "samples": 64});
        let found = explain(&fake, &settings).unwrap().remove(0);
        let (residual, error) =
            (f64::from(found.residual.unwrap()), f64::from(found.diagnostics.residual_error.unwrap()));
        assert!(residual.abs() < 5.0 * error, "{seed}: {residual} with an error of {error}");
        let total =
            found.output_value.unwrap() - found.base_value.unwrap() - found.scores.tokens.unwrap().iter().sum::<f32>();
        assert!((f64::from(total) - residual).abs() < 1e-5);
        (sum, squares, said) = (sum + residual, squares + residual * residual, said + error);
    }
    let n = runs as f64;
    let spread = (squares / n).sqrt();
    assert!((sum / n).abs() < 4.0 * spread / n.sqrt(), "the residual's mean is {}", sum / n);
    assert!((said / n / spread - 1.0).abs() < 0.2, "{} for {spread}", said / n);
}

#[test]
fn its_limit_is_the_mean_of_integrated_gradients() {
    let mlp = Mlp::golden();
    let found = explain(&mlp.fake(), &json!({"baselines": ["pad", "zero"], "samples": 19_000})).unwrap().remove(0);
    let (pad, zero) = (&mlp.results["pad_1000"].tokens, &mlp.results["zero_1000"].tokens);
    let errors = found.diagnostics.standard_error.unwrap();
    for (token, (score, error)) in found.scores.tokens.unwrap().iter().zip(errors).enumerate() {
        let limit = 0.5 * (pad[token] + zero[token]);
        assert!((f64::from(*score) - limit).abs() <= 5.0 * f64::from(error) + 1e-6, "{token}: {score} for {limit}");
    }
}

#[test]
fn it_draws_until_its_errors_are_small() {
    let mut fake = Mlp::golden().fake();
    let alone = explain(&fake, &json!({"tolerance": 0.1})).unwrap();
    let samples = alone[0].diagnostics.samples.unwrap();
    assert!(alone[0].diagnostics.converged == Some(true) && samples >= 16);
    assert_eq!((fake.rows.get(), alone[0].diagnostics.evaluations), (samples + 1, samples + 2));
    fake.targets = vec![fake::target(0), fake::target(1)];
    assert_eq!(explain(&fake, &json!({"tolerance": 0.1})).unwrap()[1], alone[0]);
    let cut = explain(&fake, &json!({"tolerance": 1e-6, "max_evaluations": 22})).unwrap().remove(1);
    assert_eq!((cut.diagnostics.converged, cut.diagnostics.samples), (Some(false), Some(20)));
    assert_eq!(fake.codes(), ["not_converged", "not_converged"]);
}

#[test]
fn images_have_four_baselines_and_short_texts_one() {
    let image = Fake::image(4).white(|x| vec![0.0, x.iter().sum()], |x, c| vec![c[1]; x.len()]);
    let plan = GradientShap.plan(Default::default(), &image.subject()).unwrap();
    assert_eq!(plan.settings()["baselines"], json!(["black", "white", "mean", "blur"]));
    let found = explain(&image, &json!({"samples": 200})).unwrap().remove(0);
    assert!(found.residual.unwrap().abs() < 5.0 * found.diagnostics.residual_error.unwrap() + 1e-3);
    for words in [0, 1, 2] {
        let text = Fake::text(words).white(|x| vec![0.0, x.iter().sum()], |x, c| vec![c[1]; x.len()]);
        let found = explain(&text, &json!({})).unwrap().remove(0);
        // Linear, with one baseline: exact from the first sample.
        assert!(found.residual.unwrap().abs() < 1e-4);
        assert_eq!(found.scores.words.unwrap().len(), words);
    }
}

#[test]
fn a_deadline_leaves_the_samples_so_far() {
    let mut fake = Mlp::golden().fake();
    fake.partial = true;
    fake.left.set(Some(1 + 5));
    let found = explain(&fake, &json!({"samples": 30})).unwrap().remove(0);
    assert!(found.partial && found.diagnostics.samples == Some(5));
}

#[test]
fn settings_out_of_range_are_refused_in_place() {
    let fake = Fake::text(2);
    for (settings, path) in [
        (json!({"baselines": []}), "/baselines"),
        (json!({"baselines": vec!["pad"; 9]}), "/baselines"),
        (json!({"baselines": ["pad", "black"]}), "/baselines/1"),
        (json!({"baselines": ["none"]}), "/baselines/0"),
        (json!({"samples": 20_000}), "/samples"),
        (json!({"max_evaluations": 2}), "/max_evaluations"),
    ] {
        let planned = GradientShap.plan(settings.as_object().unwrap().clone(), &fake.subject());
        assert_eq!(planned.err().unwrap().path, path, "{settings}");
    }
}

fn plan(settings: &Value, subject: &Subject<'_>) -> Result<Box<dyn crate::methods::Planned>, SettingError> {
    GradientShap.plan(settings.as_object().cloned().unwrap_or_default(), subject)
}

#[test]
fn standard_errors_by_pixel_count_as_numbers_of_the_answer() {
    let fake = Fake::image(4);
    let subject = |response_values| Subject { targets: 3, response_values, ..fake.subject() };
    let pixels = json!({"resolution": "pixel"});
    assert_eq!(plan(&pixels, &subject(48)).unwrap().values(), 48);
    let error = plan(&pixels, &subject(47)).err().unwrap();
    assert!(error.path == "/resolution" && error.detail.contains("leaves 47"), "{error}");
    assert_eq!(plan(&json!({}), &subject(0)).unwrap().values(), 0);
}
