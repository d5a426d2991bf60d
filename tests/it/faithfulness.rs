//! `"evaluate": true` over HTTP: every explanation with scores is measured, rows are shared, budgets and deadlines hold.

use explaind::explain::faithfulness::evidence;
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

/// An object says what measuring may take, and stands in the answer with its defaults.
#[test]
fn what_measuring_may_take_can_be_said() {
    let app = TestApp::start();
    let of = |evaluate: Value| {
        let body = json!({"model": "sentiment", "text": TEXT, "evaluate": evaluate, "explain": ["gradient", "lime"]});
        post(&app, &body)
    };
    let (status, answer) = of(json!({"sensitivity_draws": 2, "sensitivity_evaluations": 20}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["request"]["evaluate"], json!({"sensitivity_draws": 2, "sensitivity_evaluations": 20}));
    let measured = |place: usize| answer["explanations"][place]["faithfulness"].clone();
    assert!(measured(0)["max_sensitivity"].is_number());
    assert!(measured(1)["unmeasured"][0]["reason"].as_str().unwrap().contains("more than 20"), "{}", measured(1));
    let (_, answer) = of(json!({"sensitivity_draws": 0}));
    assert_eq!(answer["request"]["evaluate"]["sensitivity_evaluations"], 5000);
    assert!(answer["explanations"][0]["faithfulness"]["max_sensitivity"].is_null());
    for (wrong, pointer) in [
        (json!({"sensitivity_draws": 101}), "/evaluate/sensitivity_draws"),
        (json!({"sensitivity_evaluations": 0}), "/evaluate/sensitivity_evaluations"),
        (json!({"draws": 1}), "/evaluate/draws"),
        (json!("yes"), "/evaluate"),
    ] {
        let (status, problem) = of(wrong);
        assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!(pointer)), "{problem}");
    }
}

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/values/faithfulness.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Where ferret's definitions are ours: shares that are whole numbers of tokens, each a word, no score below 0.
#[test]
fn ferrets_numbers_are_ours() {
    for case in golden()["ferret"].as_array().unwrap() {
        let catalog = crate::parity::tiny(case["model"].as_str().unwrap());
        let request = json!({"text": case["text"], "target": case["target"], "evaluate": true, "method": "gradient"});
        let answer = crate::parity::ask(&catalog, request, None);
        let explanation = serde_json::to_value(&answer.explanations.unwrap()[0]).unwrap();
        let close = |name: &str, ours: &Value, theirs: &Value, tolerance: f64| {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            assert!((ours - theirs).abs() < tolerance, "{name}: {ours} and {theirs} of {}", case["text"]);
        };
        let (ours, theirs) = (&explanation["scores"]["tokens"], case["scores"].as_array().unwrap());
        theirs.iter().enumerate().for_each(|(token, score)| close("a score", &ours[token], score, 1e-5));
        for name in ["aopc_comprehensiveness", "aopc_sufficiency", "loo_correlation"] {
            close(name, &explanation["faithfulness"][name], &case[name], 1e-6);
        }
    }
}

#[test]
fn quantus_and_captums_numbers_are_ours() {
    let golden = golden();
    let close = |ours: f64, theirs: &Value, tolerance: f64| {
        assert!((ours - theirs.as_f64().unwrap()).abs() < tolerance, "{ours} and {theirs}");
    };
    for case in golden["quantus"].as_array().unwrap() {
        // Quantus adds 1e-7 to every score.
        close(evidence::gini(&numbers(&case["scores"])).unwrap(), &case["sparsity"], 1e-6);
    }
    for case in golden["captum"].as_array().unwrap() {
        let (raw, scaled) = evidence::infidelity(&numbers(&case["said"]), &numbers(&case["did"])).unwrap();
        close(raw, &case["infidelity"], 1e-9);
        close(scaled, &case["infidelity_scaled"], 1e-9);
        let scores = numbers(&case["scores"]);
        let moved = case["changed"].as_array().unwrap().iter().map(|one| evidence::sensitivity(&scores, &numbers(one)));
        close(moved.fold(0.0, f64::max), &case["max_sensitivity"], 1e-9);
    }
}
