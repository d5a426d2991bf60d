//! What is `shapley_sampling`'s own; `kernel_shap`'s tests hold for both.

use serde_json::json;

use crate::methods::support::shapley::oracle::{self, explain};

#[test]
fn samples_are_orders() {
    let fake = oracle::text(14, oracle::smooth(14));
    let found = explain("shapley_sampling", &fake, &json!({"samples": 10})).remove(0);
    let diagnostics = found.diagnostics;
    assert_eq!((diagnostics.samples, diagnostics.converged, diagnostics.exact), (Some(10), None, Some(false)));
    assert!(diagnostics.evaluations <= 2 + 10 * 13 && diagnostics.standard_error.is_some());
    let pair = explain("shapley_sampling", &fake, &json!({"samples": 2})).remove(0);
    assert!(pair.diagnostics.standard_error.is_none() && pair.residual.unwrap().abs() < 1e-6);
}
