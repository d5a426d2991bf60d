//! Masked language models: what they fill in, against transformers (tests/golden/models_masked.py), explained and as
//! the source of a counterfactual's words.

use explaind::explain::{Catalog, Processor, ServedModel, blanks};
use explaind::hub::Source;
use explaind::input::text::Truncation;
use explaind::models::Content;
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::parity::{ask, floats, golden, no_hub, tiny};

const MODELS: [&str; 3] = ["tiny-bert-mask", "tiny-distilbert-mask", "tiny-roberta-mask"];
/// Of log-probabilities.
const TOLERANCE: f64 = 1e-4;

fn values() -> Value {
    serde_json::from_slice(&std::fs::read(golden("values/masks.json")).unwrap()).unwrap()
}

fn load(name: &str) -> ServedModel {
    ServedModel::load(None, &Source::Folder(golden(name)), &no_hub()).unwrap()
}

fn ids(value: &Value) -> Vec<u64> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap()).collect()
}

/// The likeliest tokens at a written mask and their log-probabilities are transformers', and so is the pipeline's
/// answer.
#[test]
fn masks_are_filled_as_transformers_fills_them() {
    for name in MODELS {
        let catalog = tiny(name);
        for case in values()[name].as_array().unwrap() {
            let answer = ask(&catalog, json!({"text": case["masked"], "method": "gradient"}), None);
            let found = serde_json::to_value(&answer).unwrap();
            let read: Vec<u64> = found["input"]["tokens"]
                .as_array()
                .unwrap()
                .iter()
                .map(|token| token["id"].as_u64().unwrap())
                .collect();
            assert_eq!(read, ids(&case["ids"]), "{name} {case}");
            let scores = found["prediction"]["scores"].as_array().unwrap();
            assert_eq!(scores.len(), 5);
            for (place, score) in scores.iter().enumerate() {
                assert_eq!(score["index"], case["likeliest"][place], "{name} {case}");
                let own = score["probability"].as_f64().unwrap().ln();
                let oracle = case["log_probabilities"][place].as_f64().unwrap();
                assert!((own - oracle).abs() < TOLERANCE, "{name}: {own} for {oracle}");
                if let Some(piped) = case["pipeline"].get(place) {
                    assert_eq!((&score["label"], &score["index"]), (&piped["token_str"], &piped["token"]), "{name}");
                }
            }
            let target = &found["explanations"][0]["target"];
            assert_eq!((&target["token"], &target["index"]), (&case["place"], &case["likeliest"][0]));
        }
    }
}

/// A mask in a word's place is read as transformers reads it, and the words proposed have its log-probabilities.
#[test]
fn words_are_blanked_and_ranked_as_transformers_has_them() {
    for name in MODELS {
        let model = load(name);
        let Processor::Text(processor) = &model.processor else { panic!() };
        let written = processor.all_written();
        for case in values()[name].as_array().unwrap() {
            let text = processor.encode(case["text"].as_str().unwrap(), None, Truncation::Error).unwrap();
            let word = case["word"].as_u64().unwrap() as usize;
            let read = blanks::Read::of(&model, &text).unwrap();
            let row = read.blanks(&model).unwrap().row(&read.tokens_of(&text.words[word])).unwrap();
            let Content::Tokens { ids: own, .. } = &row.content else { panic!() };
            assert_eq!(own.iter().map(|&id| u64::from(id)).collect::<Vec<_>>(), ids(&case["ids"]), "{name} {case}");
            assert_eq!(row.read, [case["place"].as_u64().unwrap() as usize]);
            // The words among the likeliest tokens, by what they write.
            let mut logits = vec![-50.0_f32; written.len()];
            for (id, value) in ids(&case["likeliest"]).into_iter().zip(floats(&case["log_probabilities"])) {
                logits[id as usize] = value;
            }
            let found = blanks::ranked(&model, &logits, &text.words[word].text, 3);
            assert!(found.windows(2).all(|pair| pair[0].log_probability >= pair[1].log_probability));
            for proposal in found.iter().filter(|proposal| proposal.log_probability > -20.0) {
                assert!(written.iter().any(|own| own.trim() == proposal.text), "{name} {proposal:?}");
            }
        }
    }
}

/// Every kind of method explains what stands in a mask's place.
#[test]
fn what_is_filled_in_is_explained() {
    for name in MODELS {
        let catalog = tiny(name);
        let case = values()[name][1].clone();
        let request = json!({"text": case["masked"], "target": ["predicted", {"index": case["likeliest"][0], "against": case["likeliest"][1]}],
            "explain": ["integrated_gradients", "kernel_shap", "occlusion", "attention", "counterfactual", "logit_lens"]});
        let found = serde_json::to_value(ask(&catalog, request, None)).unwrap();
        let explanations = found["explanations"].as_array().unwrap();
        assert_eq!(explanations.len(), 11, "{name}");
        // The mask is the question: no word, and nothing of it is scored.
        let tokens = found["input"]["tokens"].as_array().unwrap();
        let is_mask = |token: &Value| ["[MASK]", "<mask>"].contains(&token["text"].as_str().unwrap().trim());
        let mask = tokens.iter().position(is_mask).unwrap();
        assert_eq!((&tokens[mask]["special"], &tokens[mask]["word"]), (&json!(true), &Value::Null), "{name}");
        for one in explanations.iter().filter(|one| one["method"] == "integrated_gradients") {
            assert_eq!(one["scores"]["tokens"][mask], 0.0, "{name}");
        }
        for one in explanations.iter().filter(|one| one["residual"].is_number()) {
            let change = one["output_value"].as_f64().unwrap() - one["base_value"].as_f64().unwrap();
            assert!(one["residual"].as_f64().unwrap().abs() <= 0.011 * change.abs().max(0.01), "{one}");
        }
    }
}

fn refused(app: &TestApp, request: &Value) -> (String, String) {
    let response = app.send("/explain", request);
    assert_eq!(response.status(), 422, "{request}");
    let error = response.json::<Value>().unwrap()["errors"][0].clone();
    let text = |key: &str| error[key].as_str().unwrap().to_owned();
    (text("pointer"), text("detail"))
}

fn serving() -> TestApp {
    let app = TestApp::unloaded(|_| {});
    app.load_with(|| {
        let models = ["tiny-bert", "tiny-gpt2", "tiny-bert-mask", "tiny-roberta-mask"].map(load);
        Catalog::new(models.into_iter().collect())
    });
    app
}

#[test]
fn what_is_wrong_is_said_where() {
    let app = serving();
    for (request, pointer, part) in [
        (json!({"model": "tiny-bert-mask", "text": "a film", "method": "lime"}), "/text", "holds no [MASK]"),
        (json!({"model": "tiny-bert-mask", "text": "[MASK] [MASK]"}), "/text", "one is filled at a time"),
        (
            json!({"model": "tiny-bert-mask", "text": "a [MASK]", "target": "unheard"}),
            "/target",
            "no token of the vocabulary",
        ),
        (
            json!({"model": "tiny-bert-mask", "text": "a [MASK]", "target": "all"}),
            "/target",
            "no token of the vocabulary",
        ),
        (
            json!({"model": "tiny-bert", "text": "a film", "explain": [
                {"method": "counterfactual", "edit": "replace", "language_model": "tiny-gpt2"}]}),
            "/explain/0/language_model",
            "loaded are \"tiny-bert-mask\", \"tiny-roberta-mask\"",
        ),
        (
            json!({"model": "tiny-bert", "text": "a film", "explain": [
                {"method": "counterfactual", "edit": "replace", "language_model": "none"}]}),
            "/explain/0/language_model",
            "no model is named \"none\"",
        ),
        (
            json!({"model": "tiny-bert", "text": "a film", "explain": [
                {"method": "counterfactual", "language_model": "tiny-bert-mask"}]}),
            "/explain/0/language_model",
            "replace",
        ),
    ] {
        let (found, detail) = refused(&app, &request);
        assert_eq!(found, pointer, "{detail}");
        assert!(detail.contains(part), "{detail}");
    }
}

/// Words that a language model proposes, of its own tokenizer or of another, in edits that make the changed text: what
/// the answer says of it is what the model says of that text.
#[test]
fn a_counterfactual_takes_its_words_from_a_language_model() {
    let app = serving();
    let mut found = 0;
    for (model, helper, text) in [
        ("tiny-bert", "tiny-bert-mask", "not a bad film"),
        ("tiny-bert", "tiny-roberta-mask", "The unhappiness never closed"),
        ("tiny-gpt2", "tiny-roberta-mask", "The train is slow"),
        ("tiny-gpt2", "tiny-bert-mask", "a really good film"),
    ] {
        let item = json!({"method": "counterfactual", "edit": "replace", "language_model": helper, "neighbours": 30});
        let request = json!({"model": model, "text": text, "explain": [item]});
        let answer = app.ask("/explain", &request);
        assert_eq!(answer["helpers"][0]["name"], helper, "{answer}");
        assert_eq!(answer["helpers"][0]["task"], "fill-mask");
        assert_eq!(answer["explanations"][0]["settings"]["language_model"], helper);
        let change = &answer["explanations"][0]["change"];
        if change["found"] != true {
            continue;
        }
        found += 1;
        for edit in change["edits"].as_array().unwrap() {
            let [start, end] = ["start", "end"].map(|key| edit[key].as_u64().unwrap() as usize);
            let from: String = text.chars().skip(start).take(end - start).collect();
            assert_eq!(edit["from"], from);
            assert!(edit["to"].as_str().unwrap().chars().all(char::is_alphanumeric), "{edit}");
        }
        let retokenised = answer["warnings"].as_array().unwrap().iter().any(|one| one["code"] == "retokenised");
        let again = app.ask("/predict", &json!({"model": model, "text": change["text"]}))["prediction"].clone();
        if !retokenised {
            let [now, then] = [&again, &change["prediction"]].map(|one| one["probability"].as_f64().unwrap());
            assert!((now - then).abs() < 1e-6, "{model} {helper}: {now} {then}");
            assert_ne!(again["label"], answer["prediction"]["label"]);
        }
    }
    assert!(found > 1, "{found}");
    // The same with the model's own neighbours: also a word of several tokens may go.
    let item = json!({"method": "counterfactual", "edit": "replace", "neighbours": 100, "max_changes": 2});
    let answer = app.ask("/explain", &json!({"model": "tiny-bert", "text": "unhappiness", "explain": [item]}));
    assert!(answer["input"]["tokens"].as_array().unwrap().len() > 3);
    assert!(answer["explanations"][0]["diagnostics"]["evaluations"].as_u64().unwrap() > 1, "{answer}");
}
