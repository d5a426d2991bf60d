//! `auto` and `reasons` over HTTP: the choice is the method's own answer, the table is whole, sentences have their form.

use serde_json::{Value, json};

use crate::app::{TEXT, TestApp};

fn explanations(app: &TestApp, body: &Value) -> Vec<Value> {
    let response = app.post("/explain").json(body).send().unwrap();
    let status = response.status();
    let answer: Value = response.json().unwrap();
    assert_eq!(status, 200, "{answer}");
    answer["explanations"].as_array().unwrap().clone()
}

#[test]
fn the_choice_is_what_the_method_gives_and_evaluate_measures() {
    let app = TestApp::start();
    let found =
        &explanations(&app, &json!({"model": "sentiment", "text": TEXT, "method": "auto", "evaluate": true}))[0];
    let auto = &found["auto"];
    let candidates = auto["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 5);
    let score = |one: &Value| one["faithfulness"].as_f64().unwrap();
    let best = candidates.iter().map(score).fold(f64::MIN, f64::max);
    let chosen = candidates.iter().find(|one| one["method"] == auto["chosen"]).unwrap();
    assert_eq!(score(chosen), best);
    let measured = |field: &str| found["faithfulness"][field].as_f64().unwrap();
    assert!((measured("aopc_comprehensiveness") - measured("aopc_sufficiency") - best).abs() < 1e-5);
    let body = json!({"model": "sentiment", "text": TEXT, "method": auto["chosen"]});
    let alone = &explanations(&app, &body)[0];
    assert_eq!((&alone["scores"], &alone["settings"]), (&found["scores"], &auto["settings"]));
    assert_eq!(auto["agreement"]["rank_correlation"].as_array().unwrap().len(), 5);
}

/// What is chosen is measured as it was chosen, by `auto`'s fill where it has none of its own.
#[test]
fn another_fill_is_the_measures_too() {
    let app = TestApp::start();
    let mut found = Vec::new();
    for (fill, candidate) in
        [("remove", "deep_lift"), ("mask", "deep_lift"), ("remove", "occlusion"), ("mask", "occlusion")]
    {
        let auto = json!({"method": "auto", "candidates": [candidate], "fill": fill});
        let body = json!({"model": "sentiment", "text": TEXT, "evaluate": true, "explain": [auto]});
        let explanation = explanations(&app, &body).remove(0);
        let [comprehensiveness, sufficiency] = ["aopc_comprehensiveness", "aopc_sufficiency"]
            .map(|field| explanation["faithfulness"][field].as_f64().unwrap());
        let own = explanation["auto"]["candidates"][0]["faithfulness"].as_f64().unwrap();
        assert!((comprehensiveness - sufficiency - own).abs() < 1e-5, "{candidate} by {fill}: {explanation}");
        found.push(own);
    }
    assert!(found[0] != found[1] && found[2] != found[3], "{found:?}");
}

/// With labels of the request's own a mask is a row for each of them.
#[test]
fn the_budget_is_counted_in_rows() {
    let app = TestApp::golden(&["tiny-bert-nli"]);
    let auto = json!({"method": "auto", "max_evaluations": 500});
    let body = json!({"model": "tiny-bert-nli", "text": "a good film at all and not a bad film", "explain": [auto],
        "labels": ["good", "bad", "long"]});
    let found = &explanations(&app, &body)[0];
    let candidates = found["auto"]["candidates"].as_array().unwrap();
    let rows: u64 = candidates.iter().map(|one| one["evaluations"].as_u64().unwrap()).sum();
    let sampled = candidates.iter().find(|one| one["method"] == "kernel_shap").unwrap();
    assert!(sampled["skipped"].is_null() && sampled["faithfulness"].is_number(), "{found}");
    assert!((250..=500).contains(&rows), "{rows}: {candidates:?}");
}

#[test]
fn reasons_are_sentences_of_a_fixed_form() {
    let app = TestApp::start();
    let body =
        json!({"model": "sentiment", "text": TEXT, "reasons": 2, "explain": ["occlusion", "gradient", "attention"]});
    let found = explanations(&app, &body);
    let words = found[0]["scores"]["words"].as_array().unwrap();
    let reasons = found[0]["reasons"].as_array().unwrap();
    assert!(!reasons.is_empty() && reasons.len() <= 4);
    for reason in reasons {
        let [start, end] = ["start", "end"].map(|field| reason[field].as_u64().unwrap() as usize);
        let word: String = TEXT.chars().skip(start).take(end - start).collect();
        let score = reason["score"].as_f64().unwrap();
        assert!(words.iter().any(|own| (own.as_f64().unwrap() - score).abs() < 1e-7));
        let said = if reason["direction"] == "for" { "spoke for" } else { "spoke against" };
        assert_eq!(reason["text"], format!("\"{word}\" {said} POSITIVE ({score:+.4})."));
    }
    assert_eq!((&found[1]["reasons"], &found[2]["reasons"]), (&json!([]), &json!([])));
    for wrong in [0, 101] {
        let body = json!({"model": "sentiment", "text": TEXT, "reasons": wrong});
        let response = app.post("/explain").json(&body).send().unwrap();
        assert_eq!(response.status(), 422);
        assert_eq!(response.json::<Value>().unwrap()["errors"][0]["pointer"], "/reasons");
    }
}

#[test]
fn wrong_candidates_are_refused_at_their_place() {
    let app = TestApp::start();
    let body =
        json!({"model": "sentiment", "text": TEXT, "explain": [{"method": "auto", "candidates": ["lime", "none"]}]});
    let response = app.post("/explain").json(&body).send().unwrap();
    assert_eq!(response.status(), 422);
    assert_eq!(response.json::<Value>().unwrap()["errors"][0]["pointer"], "/explain/0/candidates/1");
}
