//! `smooth_grad` against Captum's NoiseTunnel given the same noise; its standard errors, when it stops, what it refuses.

use serde_json::{Value, json};

use super::*;
use crate::methods::ErasedMethod;
use crate::methods::support::fake::{self, Fake, HIDDEN};
use crate::methods::support::mlp::{Captum, Mlp, close};

fn explain(fake: &Fake, settings: &Value) -> Result<Vec<Attribution>, Error> {
    let planned = SmoothGrad.plan(settings.as_object().unwrap().clone(), &fake.subject());
    planned.unwrap_or_else(|error| panic!("{settings}: {} {error}", error.path)).explain(fake)
}

fn resolved(fake: &Fake, settings: Value) -> Resolved {
    SmoothGrad::resolve(serde_json::from_value(settings).unwrap(), &fake.subject()).unwrap()
}

#[test]
fn the_same_noise_gives_captums_numbers() {
    let (fake, captum) = (Mlp::golden().fake(), Captum::golden());
    let input = fake.embedding(None).unwrap();
    let write = |sample: usize, out: &mut [f32]| {
        for ((out, x), noise) in out.iter_mut().zip(&input).zip(&captum.noise[sample]) {
            *out = (f64::from(*x) + noise) as f32;
        }
    };
    for (variant, oracle) in [("mean", &captum.mean), ("squared", &captum.squared), ("variance", &captum.variance)] {
        let resolved = resolved(&fake, json!({"variant": variant, "samples": captum.noise.len()}));
        let found = smooth(&resolved, &fake, &write).unwrap().remove(0);
        close(found.scores.tokens.as_ref().unwrap(), oracle, 2e-5);
        assert_eq!(found.diagnostics.samples, Some(6));
        assert_eq!(found.diagnostics.standard_error.unwrap().len(), 7);
    }
}

/// Over many runs the spread of a score is what its standard error says.
#[test]
fn standard_errors_are_the_spread_of_the_scores() {
    let mlp = Mlp::golden();
    for variant in ["mean", "squared", "variance"] {
        let runs: Vec<(Vec<f32>, Vec<f32>)> = (0..200)
            .map(|seed| {
                let mut fake = mlp.fake();
                fake.seed = seed;
                let found =
                    explain(&fake, &json!({"variant": variant, "samples": 64, "noise": 0.3})).unwrap().remove(0);
                (found.scores.tokens.unwrap(), found.diagnostics.standard_error.unwrap())
            })
            .collect();
        for token in 0..7 {
            let n = runs.len() as f64;
            let mean = runs.iter().map(|(scores, _)| f64::from(scores[token])).sum::<f64>() / n;
            let spread =
                (runs.iter().map(|(s, _)| (f64::from(s[token]) - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
            let said = runs.iter().map(|(_, errors)| f64::from(errors[token])).sum::<f64>() / n;
            assert!((said / spread - 1.0).abs() < 0.25, "{variant} {token}: {said} for {spread}");
        }
    }
}

#[test]
fn it_draws_until_its_errors_are_small() {
    let fake = Mlp::golden().fake();
    let found = explain(&fake, &json!({"noise": 0.3})).unwrap().remove(0);
    let samples = found.diagnostics.samples.unwrap();
    assert!(found.diagnostics.converged == Some(true) && samples.is_power_of_two() && samples >= 16);
    let largest = |list: &[f32]| list.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let error = largest(found.diagnostics.standard_error.as_ref().unwrap());
    assert!(error <= 0.05 * largest(found.scores.tokens.as_ref().unwrap()));
    assert_eq!((found.diagnostics.evaluations, fake.rows.get()), (samples, samples));
    let cut = explain(&fake, &json!({"noise": 3.0, "tolerance": 1e-6, "max_evaluations": 40})).unwrap().remove(0);
    assert_eq!((cut.diagnostics.converged, cut.diagnostics.samples), (Some(false), Some(40)));
    assert_eq!(fake.codes(), ["not_converged"]);
    // Fixed samples are the caller's choice; one has no error.
    let one = explain(&fake, &json!({"samples": 1})).unwrap().remove(0);
    assert_eq!((one.diagnostics.standard_error, one.diagnostics.converged), (None, Some(false)));
    assert_eq!(fake.codes().len(), 1);
}

#[test]
fn a_target_does_not_depend_on_the_targets_beside_it() {
    let mut fake = Mlp::golden().fake();
    let alone = explain(&fake, &json!({"noise": 0.4})).unwrap();
    fake.targets = vec![fake::target(0), fake::target(1)];
    assert_eq!(explain(&fake, &json!({"noise": 0.4})).unwrap()[1], alone[0]);
}

#[test]
fn a_linear_model_has_no_noise() {
    let text = Fake::text(2).white(
        |x| vec![0.0, x[HIDDEN]],
        |x, c| {
            let mut gradient = vec![0.0; x.len()];
            gradient[HIDDEN] = 3.0 * c[1];
            gradient
        },
    );
    let found = explain(&text, &json!({})).unwrap().remove(0);
    assert_eq!(found.scores.words.unwrap(), [3.0, 0.0]);
    assert_eq!((found.diagnostics.samples, found.diagnostics.standard_error), (Some(16), Some(vec![0.0; 4])));
    let image = Fake::image(4).white(|x| vec![0.0, x.iter().sum()], |x, c| vec![-c[1]; x.len()]);
    for (variant, cell) in [("mean", 12.0), ("squared", 12.0), ("variance", 0.0)] {
        let found = explain(&image, &json!({"variant": variant, "samples": 4})).unwrap().remove(0);
        assert_eq!(found.scores.grid.unwrap(), vec![vec![cell; 2]; 2], "{variant}");
    }
    let empty = Fake::text(0).white(|x| vec![0.0, x[0]], |x, c| vec![c[1]; x.len()]);
    let scores = explain(&empty, &json!({})).unwrap().remove(0).scores;
    assert_eq!((scores.tokens.unwrap().len(), scores.words.unwrap().len()), (2, 0));
}

#[test]
fn errors_are_shown_as_the_scores_are() {
    let fake = Mlp::golden().fake();
    let plain = explain(&fake, &json!({"samples": 8})).unwrap().remove(0);
    let scaled = explain(&fake, &json!({"samples": 8, "normalize": "max"})).unwrap().remove(0);
    let largest = plain.scores.tokens.unwrap().into_iter().fold(0.0_f32, f32::max);
    let errors: Vec<f64> =
        plain.diagnostics.standard_error.unwrap().iter().map(|error| f64::from(error / largest)).collect();
    close(&scaled.diagnostics.standard_error.unwrap(), &errors, 1e-6);
}

#[test]
fn a_deadline_leaves_the_samples_so_far() {
    let mut fake = Mlp::golden().fake();
    fake.partial = true;
    fake.left.set(Some(9));
    let found = explain(&fake, &json!({"samples": 30})).unwrap().remove(0);
    assert!(found.partial);
    assert_eq!((found.diagnostics.samples, found.diagnostics.converged), (Some(9), Some(false)));
    fake.left.set(Some(1));
    assert!(explain(&fake, &json!({})).unwrap_err().stopped().is_some(), "one sample has no error");
    (fake.partial, fake.left) = (false, std::cell::Cell::new(Some(20)));
    assert!(explain(&fake, &json!({"samples": 30})).unwrap_err().stopped().is_some());
}

#[test]
fn settings_out_of_range_are_refused_in_place() {
    let fake = Fake::text(2);
    for (settings, path) in [
        (json!({"samples": 0}), "/samples"),
        (json!({"samples": 20_001}), "/samples"),
        (json!({"samples": 9, "max_evaluations": 8}), "/samples"),
        (json!({"max_evaluations": 1}), "/max_evaluations"),
        (json!({"tolerance": 0.0}), "/tolerance"),
        (json!({"noise": 0.0}), "/noise"),
        (json!({"noise": 11.0}), "/noise"),
        (json!({"variant": "max"}), "/variant"),
    ] {
        let planned = SmoothGrad.plan(settings.as_object().unwrap().clone(), &fake.subject());
        assert_eq!(planned.err().unwrap().path, path, "{settings}");
    }
    let plan = SmoothGrad.plan(Default::default(), &fake.subject()).unwrap();
    let expected = json!({"variant": "mean", "noise": 0.15, "samples": null, "max_evaluations": 512, "tolerance": 0.05,
        "output": "logit", "normalize": "none", "absolute": false, "precision": "f32"});
    assert_eq!(plan.settings(), &expected);
}

fn plan(settings: &Value, subject: &Subject<'_>) -> Result<Box<dyn crate::methods::Planned>, SettingError> {
    SmoothGrad.plan(settings.as_object().cloned().unwrap_or_default(), subject)
}

#[test]
fn variants_are_their_definitions() {
    let samples: [[f32; 4]; 3] = [[1.0, -2.0, 0.5, 0.0], [2.0, 0.0, 0.25, -1.0], [0.0, 1.0, 0.75, 4.0]];
    let mean = |at: usize, term: &dyn Fn(f64) -> f64| {
        samples.iter().map(|sample| term(f64::from(sample[at]))).sum::<f64>() / samples.len() as f64
    };
    let (first, square) = (|at| mean(at, &|x| x), |at| mean(at, &|x| x * x));
    let pairs = |number: &dyn Fn(usize) -> f64| [number(0) + number(1), number(2) + number(3)];
    let sums = crate::methods::support::finest::Sums::Chunks { count: 2 };
    for (variant, expected) in
        [(Variant::Mean, pairs(&|at| first(at).powi(2)).map(f64::sqrt)), (Variant::Squared, pairs(&square))]
    {
        let mut smoothed = Smoothed::new(variant, &sums);
        samples.iter().enumerate().for_each(|(index, sample)| smoothed.add(index, sample));
        for (found, expected) in smoothed.scores().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-12, "{variant:?}: {found} is not {expected}");
        }
        assert_eq!(smoothed.errors().map(|errors| errors.len()), Some(2));
    }
    let mut smoothed = Smoothed::new(Variant::Variance, &sums);
    samples.iter().enumerate().for_each(|(index, sample)| smoothed.add(index, sample));
    let variances = pairs(&|at| square(at) - first(at).powi(2));
    for (found, expected) in smoothed.scores().iter().zip(variances) {
        assert!((found - expected).abs() < 1e-12, "{found} is not {expected}");
    }
}

#[test]
fn mean_gradients_are_bounded() {
    let fake = Fake::text(4);
    let most = MOST_MEANS / (6 * fake::HIDDEN);
    let at = |variant: &str, targets: usize| plan(&json!({"variant": variant}), &Subject { targets, ..fake.subject() });
    for variant in ["mean", "variance"] {
        assert!(at(variant, most).is_ok());
        let error = at(variant, most + 1).err().unwrap();
        assert!(error.path == "/variant" && error.detail.contains("\"squared\""), "{error}");
    }
    assert!(at("squared", most + 1).is_ok());
}

#[test]
fn standard_errors_by_pixel_count_as_numbers_of_the_answer() {
    let fake = Fake::image(4);
    let subject = |response_values| Subject { targets: 2, response_values, ..fake.subject() };
    let pixels = json!({"resolution": "pixel"});
    assert_eq!(plan(&pixels, &subject(32)).unwrap().values(), 32);
    let error = plan(&pixels, &subject(31)).err().unwrap();
    assert!(error.path == "/resolution" && error.detail.contains("32 numbers"), "{error}");
    assert_eq!(plan(&json!({}), &subject(0)).unwrap().values(), 0);
    let text = Fake::text(4);
    assert_eq!(plan(&json!({}), &Subject { response_values: 0, ..text.subject() }).unwrap().values(), 0);
}
