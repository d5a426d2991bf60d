//! The running means against their definition, and what `smooth_grad` refuses.

use serde_json::{Value, json};

use super::*;
use crate::methods::support::fake::{self, Fake};
use crate::methods::support::finest::Sums;
use crate::methods::{ErasedMethod, Planned};

fn plan(settings: &Value, subject: &Subject<'_>) -> Result<Box<dyn Planned>, SettingError> {
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
    let sums = Sums::Chunks { count: 2 };
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
