//! `"evaluate": true` over HTTP: every explanation with scores is measured, rows are shared, budgets and deadlines hold.

use serde_json::{Value, json};

use crate::app::{TEXT, TestApp};

fn post(app: &TestApp, body: &Value) -> (u16, Value) {
    let response = app.post("/explain").json(body).send().unwrap();
    (response.status().as_u16(), response.json().unwrap())
}

fn explanations(app: &TestApp, body: &Value) -> Vec<Value> {
    let (status, answer) = post(app, body);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["request"]["evaluate"], true);
    answer["explanations"].as_array().unwrap().clone()
}

fn numbers(list: &Value) -> Vec<f64> {
    list.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

#[test]
fn texts_and_images_are_measured() {
    let app = TestApp::start();
    let text = json!({"model": "sentiment", "text": TEXT, "evaluate": true, "explain":
        ["occlusion", "lime", "integrated_gradients", "attention", "neurons", "logit_lens",
         {"method": "lime", "unit": "token"}]});
    let found = explanations(&app, &text);
    for (place, explanation) in found.iter().enumerate() {
        let measured = &explanation["faithfulness"];
        if ["neurons", "logit_lens"].contains(&explanation["method"].as_str().unwrap()) {
            assert!(measured.is_null() && explanation.get("faithfulness").is_some());
            continue;
        }
        let [fractions, comprehensiveness, sufficiency] =
            ["fractions", "comprehensiveness", "sufficiency"].map(|field| numbers(&measured[field]));
        assert_eq!((fractions.len(), comprehensiveness.len(), sufficiency.len()), (10, 10, 10));
        // All units: the same as nothing but the specials, and as everything.
        assert!(sufficiency[9].abs() < 1e-6);
        let base =
            explanation["output_value"].as_f64().unwrap_or(0.0) - explanation["base_value"].as_f64().unwrap_or(0.0);
        if place < 2 {
            assert!((comprehensiveness[9] - base).abs() < 1e-5, "{explanation}");
            assert!((measured["loo_correlation"].as_f64().unwrap() - 1.0).abs() < 1e-6 || place == 1);
        }
        for field in [
            "aopc_comprehensiveness",
            "aopc_sufficiency",
            "deletion_auc",
            "insertion_auc",
            "infidelity",
            "infidelity_scaled",
            "max_sensitivity",
            "sparsity",
        ] {
            assert!(measured[field].is_number(), "{field}: {measured}");
        }
    }
    // Of few units LIME knows all masks: nothing is left to evaluate.
    assert_eq!(found[1]["faithfulness"]["evaluations"], 0);
    assert_eq!(found[3]["faithfulness"]["target"]["label"], "POSITIVE");

    let image = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/images/platelet_027.png")).unwrap();
    let request = json!({"model": "blood-cells", "evaluate": true, "explain": ["gradient",
        {"method": "occlusion", "segments": 12}, {"method": "occlusion", "window": 32, "stride": 32}]});
    let part = reqwest::blocking::multipart::Part::bytes(image).file_name("a.png").mime_str("image/png").unwrap();
    let form = reqwest::blocking::multipart::Form::new().part("image", part).text("request", request.to_string());
    let answer: Value = app.post("/explain").multipart(form).send().unwrap().json().unwrap();
    let units = |place: usize| answer["explanations"][place]["faithfulness"]["units"].as_u64().unwrap();
    assert_eq!(units(0), 144, "{answer}");
    assert!((2..=20).contains(&units(1)) && units(2) == 144);
}

#[test]
fn edges_of_texts_and_targets() {
    let app = TestApp::start();
    let of = |text: &str, more: Value| {
        let mut body = json!({"model": "sentiment", "text": text, "evaluate": true, "explain": ["occlusion"]});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        explanations(&app, &body)
    };
    assert!(of("", json!({}))[0]["faithfulness"].is_null());
    let one = &of("good", json!({}))[0]["faithfulness"];
    assert_eq!(one["unmeasured"][0]["measure"], "loo_correlation");
    assert_eq!(of("good film", json!({}))[0]["faithfulness"]["units"], 2);
    let all = of(TEXT, json!({"target": "all"}));
    let [first, second] = [&all[0], &all[1]].map(|one| one["faithfulness"]["aopc_comprehensiveness"].as_f64().unwrap());
    // Two classes: what one loses the other wins; and each is ranked by its own scores.
    assert!(first.is_finite() && second.is_finite() && first != second);
    let contrast = of(TEXT, json!({"target": {"index": 1, "against": 0}}));
    assert!(contrast[0]["faithfulness"]["deletion_auc"].is_number());
}

#[test]
fn same_request_same_bytes() {
    let app = TestApp::start();
    let body = json!({"model": "sentiment", "text": TEXT, "evaluate": true, "explain": ["occlusion", "gradient"]});
    let [first, second] = [explanations(&app, &body), explanations(&app, &body)];
    let plain = |found: &[Value]| found.iter().map(|one| one["faithfulness"].to_string()).collect::<Vec<_>>();
    assert_eq!(plain(&first), plain(&second));
}

#[test]
fn the_limit_is_refused_by_its_name() {
    let app = TestApp::with(|settings| settings.limits.max_evaluations = 60);
    let body = json!({"model": "sentiment", "text": TEXT, "evaluate": true, "explain": ["gradient"]});
    let (status, problem) = post(&app, &body);
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/evaluate")));
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("limits.max_evaluations is 60"));
}
