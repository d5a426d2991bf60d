//! What `gradient_shap` refuses.

use serde_json::{Value, json};

use super::*;
use crate::methods::support::fake::Fake;
use crate::methods::{ErasedMethod, Planned};

fn plan(settings: &Value, subject: &Subject<'_>) -> Result<Box<dyn Planned>, SettingError> {
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

#[test]
fn a_budget_holds_the_baselines_and_two_samples() {
    let fake = Fake::text(4);
    let at = |rows: usize| plan(&json!({"baselines": ["pad", "zero"], "max_evaluations": rows}), &fake.subject());
    assert_eq!(at(4).unwrap().cost().rows, 4);
    assert_eq!(at(3).err().unwrap().path, "/max_evaluations");
    assert_eq!(plan(&json!({"max_evaluations": 3}), &fake.subject()).unwrap().cost().rows, 3);
}
