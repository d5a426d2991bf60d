//! Token classification, question answering and zero-shot classification over HTTP: values against transformers and
//! Captum (tests/golden), shapes, targets, refusals.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::parity::{Values, cases, close, floats, golden};

const FAMILIES: [&str; 3] = ["bert", "roberta", "modernbert"];

/// The tiny models of `task`, under their folders' names.
fn app(tasks: &'static [&'static str]) -> TestApp {
    let app = TestApp::unloaded(|_| {});
    let names = tasks.iter().flat_map(|task| FAMILIES.map(|family| format!("tiny-{family}-{task}")));
    app.load_folders(names.map(|name| golden(&name)).filter(|folder| folder.exists()).collect());
    app
}

fn name(family: &str, task: &str) -> String {
    format!("tiny-{family}-{task}")
}

fn number(value: &Value) -> f32 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number")) as f32
}

fn near(what: &str, ours: &Value, oracle: f32) {
    let ours = number(ours);
    assert!((ours - oracle).abs() <= 1e-4 * oracle.abs().max(0.1), "{what}: {ours} for {oracle}");
}

fn ig(output: &str) -> Value {
    json!({"method": "integrated_gradients", "steps": 200, "output": output})
}

/// Captum's scores, base and output of `key` in the first explanation.
fn check_ig(what: &str, answer: &Value, values: &Values, key: &str) {
    let one = &answer["explanations"][0];
    let what = format!("{what} {key}");
    let mut oracle = values.get(&format!("0.ig.{key}")).unwrap_or_else(|| panic!("golden {what}"));
    let scores = floats(&one["scores"]["tokens"]);
    // Behind the text, at a hypothesis, nothing moved.
    let rest = oracle.split_off(scores.len());
    assert!(rest.iter().all(|score| *score == 0.0), "{what}");
    close(&what, &scores, &oracle, 1e-3);
    near(&what, &one["base_value"], values.get(&format!("0.ig_base.{key}")).unwrap()[0]);
    near(&what, &one["output_value"], values.get(&format!("0.ig_output.{key}")).unwrap()[0]);
    let words = one["scores"]["words"].as_array().unwrap().len();
    assert_eq!(words, answer["input"]["words"].as_array().unwrap().len());
}

fn refused(app: &TestApp, path: &str, request: &Value, pointer: &str, part: &str) {
    let response = app.send(path, request);
    assert_eq!(response.status(), 422, "{request}");
    let problem: Value = response.json().unwrap();
    let errors = problem["errors"].as_array().unwrap();
    let fits = |error: &Value| error["pointer"] == pointer && error["detail"].as_str().unwrap().contains(part);
    assert!(errors.iter().any(fits), "{request}: {problem}");
}

#[test]
fn models_say_their_task() {
    let app = app(&["tokens", "answers", "nli"]);
    let models: Value = app.get("/models").send().unwrap().json().unwrap();
    for model in models["models"].as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        let (task, labels) = match name.rsplit('-').next().unwrap() {
            "tokens" => ("token-classification", 4),
            "answers" => ("question-answering", 2),
            _ => ("text-classification", 3),
        };
        assert_eq!(model["task"], task, "{name}");
        assert_eq!(model["labels"].as_array().unwrap().len(), labels);
        for method in [
            "gradient",
            "integrated_gradients",
            "deep_lift",
            "attention",
            "lime",
            "kernel_shap",
            "anchors",
            "counterfactual",
        ] {
            assert!(model["methods"].as_array().unwrap().contains(&json!(method)), "{name}: {method}");
        }
    }
}

#[test]
fn every_token_is_classified_as_in_the_pipeline() {
    let app = app(&["tokens"]);
    for family in FAMILIES {
        let (model, values) = (name(family, "tokens"), Values::of(&name(family, "tokens")));
        for (index, case) in cases(&model).iter().enumerate() {
            let answer = app.ask("/predict", &json!({"model": model, "text": case["text"]}));
            assert_eq!(answer["model"]["task"], "token-classification");
            assert_eq!(answer["request"]["target"], json!([]));
            let tokens = answer["prediction"]["tokens"].as_array().unwrap();
            assert_eq!(tokens.len(), answer["input"]["tokens"].as_array().unwrap().len());
            let logits = values.get(&format!("{index}.logits")).unwrap();
            let mut found = 0;
            for (place, token) in tokens.iter().enumerate() {
                let expected = case["pipeline"].as_array().unwrap().iter().find(|one| one["index"] == place);
                assert_eq!(token.is_null(), case["special"][place].as_bool().unwrap(), "{model} {place}");
                let Some(expected) = expected.filter(|_| !token.is_null()) else { continue };
                assert_eq!(token["label"], expected["entity"], "{model} {index} {place}");
                near(&model, &token["probability"], number(&expected["score"]));
                let scores = token["scores"].as_array().unwrap();
                let own: Vec<f32> = scores.iter().map(|score| number(&score["logit"])).collect();
                close(&model, &own, &logits[place * 4..][..4], 1e-4);
                found += 1;
            }
            assert!(found > 3);
        }
    }
}

#[test]
fn a_token_is_explained_where_it_stands() {
    let app = app(&["tokens"]);
    for family in FAMILIES {
        let (model, values) = (name(family, "tokens"), Values::of(&name(family, "tokens")));
        let case = &cases(&model)[0];
        let (token, label) = (&case["token"], &case["label"]);
        let ask = |target: Value, item: Value| {
            app.ask("/explain", &json!({"model": model, "text": case["text"], "target": target, "explain": [item]}))
        };
        let named = ["O", "B-PER", "I-PER", "B-LOC"][label.as_u64().unwrap() as usize];
        let echo = json!({"token": token, "label": named, "index": label});
        for target in
            [json!({"token": token}), json!({"token": token, "label": named}), json!({"token": token, "label": label})]
        {
            let answer = ask(target, ig("logit"));
            assert_eq!(answer["explanations"][0]["target"], echo);
            check_ig(&model, &answer, &values, &format!("{token}.{label}"));
        }
        check_ig(
            &model,
            &ask(json!({"token": token}), ig("probability")),
            &values,
            &format!("{token}.{label}.probability"),
        );

        // With every word gone, the target token itself is still there.
        let lime = ask(json!({"token": token}), json!("lime"));
        near(&format!("{model} lime"), &lime["explanations"][0]["base_value"], number(&case["removed"]));
        assert_eq!(lime["explanations"][0]["diagnostics"]["exact"], true);

        let attention = ask(json!([{"token": token}, {"token": 1}]), json!("attention"));
        let one = &attention["explanations"][0];
        let row = &one["scores"]["layers"][0][0][token.as_u64().unwrap() as usize];
        close(&model, &floats(&one["scores"]["tokens"]), &floats(row), 1e-5);
    }
}

/// The difference of two labels at a token, and an answer's own targets asked for again.
#[test]
fn targets_are_contrasts_too_and_can_be_sent_again() {
    let app = app(&["tokens", "answers", "nli"]);
    let ask = |mut request: Value, target: Value, method: &str| {
        (request["target"], request["method"]) = (target, json!(method));
        app.ask("/explain", &request)
    };
    let output = |answer: &Value| number(&answer["explanations"][0]["output_value"]);
    let text = json!({"model": "tiny-bert-tokens", "text": "The train is slow."});
    let of = |label: &str| output(&ask(text.clone(), json!({"token": 3, "label": label}), "integrated_gradients"));
    let contrast = ask(text.clone(), json!({"token": 3, "label": "B-PER", "against": "O"}), "integrated_gradients");
    near("contrast", &contrast["explanations"][0]["output_value"], of("B-PER") - of("O"));
    let echo = json!({"token": 3, "label": "B-PER", "index": 1, "against": {"label": "O", "index": 0}});
    assert_eq!(contrast["explanations"][0]["target"], echo);

    let question = json!({"model": "tiny-bert-answers", "text": "What?", "pair": "The train is slow."});
    let last = app.ask("/predict", &question)["input"]["tokens"].as_array().unwrap().len() - 2;
    let pair = json!({"model": "tiny-bert-nli", "text": "a film", "pair": "a good film"});
    for (request, target) in [
        (text, json!([{"token": 3, "against": 2}, {"token": 1}])),
        (question, json!(["answer", {"start": last}])),
        (pair, json!(["predicted", {"index": "neutral", "against": 0}])),
    ] {
        let first = ask(request.clone(), target, "lime");
        let again = ask(request, first["request"]["target"].clone(), "lime");
        let scores = |answer: &Value| {
            let all = answer["explanations"].as_array().unwrap().iter();
            all.map(|one| (one["target"].clone(), one["scores"].clone())).collect::<Vec<_>>()
        };
        assert_eq!(scores(&first), scores(&again));
        assert_eq!(first["request"], again["request"]);
    }
}

/// What is said of a token does not depend on the others that are asked for, with any fill.
#[test]
fn targets_do_not_see_one_another() {
    let app = app(&["tokens", "answers"]);
    let token = |token: usize| json!({"token": token, "label": "B-PER"});
    let text = json!({"model": "tiny-bert-tokens", "text": "The train is slow."});
    let question = json!({"model": "tiny-bert-answers", "text": "What?", "pair": "The train is slow."});
    let place = app.ask("/predict", &question)["input"]["tokens"].as_array().unwrap().len() - 2;
    let ends = [json!({"start": place}), json!({"end": place}), json!({"end": place - 1})];
    for (request, targets) in [(text, vec![token(1), token(3), token(4)]), (question, ends.to_vec())] {
        for item in [
            json!({"method": "lime", "fill": "remove"}),
            json!({"method": "lime", "fill": "mask"}),
            json!("integrated_gradients"),
        ] {
            let ask = |target: &Value| {
                let mut request = request.clone();
                (request["target"], request["explain"]) = (target.clone(), json!([item]));
                app.ask("/explain", &request)["explanations"].as_array().unwrap().clone()
            };
            let together = ask(&json!(targets));
            assert_eq!(together.len(), 3);
            for (one, target) in together.iter().zip(&targets) {
                let alone = &ask(target)[0];
                assert_eq!(one["scores"], alone["scores"], "{item} {target}");
                assert_eq!(one["base_value"], alone["base_value"], "{item} {target}");
            }
        }
    }
}

#[test]
fn questions_are_answered_from_the_context() {
    let app = app(&["answers"]);
    for family in FAMILIES {
        let (model, values) = (name(family, "answers"), Values::of(&name(family, "answers")));
        for (index, case) in cases(&model).iter().enumerate() {
            let request = json!({"model": model, "text": case["text"], "pair": case["pair"]});
            let answer = app.ask("/predict", &request);
            let found = &answer["prediction"];
            for key in ["text", "start", "end"] {
                assert_eq!(found[key], case["answer"][key], "{model} {index}");
            }
            near(&model, &found["score"], number(&case["answer"]["score"]));
            assert_eq!(answer["request"]["target"], json!(["answer"]));
            let logits = values.get(&format!("{index}.logits")).unwrap();
            for (place, key) in ["start_logits", "end_logits"].into_iter().enumerate() {
                let oracle: Vec<f32> = logits.iter().copied().skip(place).step_by(2).collect();
                close(&model, &floats(&found[key]), &oracle, 1e-4);
            }
        }
    }
}

#[test]
fn an_answer_and_its_ends_are_explained() {
    let app = app(&["answers"]);
    for family in FAMILIES {
        let (model, values) = (name(family, "answers"), Values::of(&name(family, "answers")));
        let case = &cases(&model)[0];
        let token = &case["token"];
        let ask = |target: Value, item: Value| {
            let request = json!({"model": model, "text": case["text"], "pair": case["pair"], "target": target, "explain": [item]});
            app.ask("/explain", &request)
        };
        let answer = ask(json!("answer"), ig("logit"));
        assert_eq!(answer["explanations"][0]["target"], "answer");
        check_ig(&model, &answer, &values, "answer");
        check_ig(&model, &ask(json!({"start": token}), ig("logit")), &values, &format!("start.{token}"));
        let end = ask(json!({"end": token}), ig("probability"));
        assert_eq!(end["explanations"][0]["target"], json!({"end": token}));
        check_ig(&model, &end, &values, &format!("end.{token}.probability"));

        let lime = ask(json!("answer"), json!({"method": "lime", "samples": 50}));
        let one = &lime["explanations"][0];
        assert_eq!(one["settings"]["output"], "logit");
        near(&format!("{model} lime"), &one["base_value"], number(&case["removed"]));
        let lime = ask(json!({"start": token}), json!({"method": "lime", "samples": 50}));
        assert_eq!(lime["explanations"][0]["settings"]["output"], "probability");

        let attention = ask(json!("answer"), json!("attention"));
        let one = &attention["explanations"][0];
        let row = &one["scores"]["layers"][0][0][case["span"][0].as_u64().unwrap() as usize];
        close(&model, &floats(&one["scores"]["tokens"]), &floats(row), 1e-5);
    }
}

#[test]
fn zero_shot_labels_are_those_of_the_pipeline() {
    let app = app(&["nli"]);
    for family in ["bert", "roberta"] {
        let model = name(family, "nli");
        for case in cases(&model) {
            let ask = |labels: Value, multi: bool| {
                let mut request = json!({"model": model, "text": case["text"], "labels": labels, "multi_label": multi});
                if case["hypothesis_template"].is_string() {
                    request["hypothesis_template"] = case["hypothesis_template"].clone();
                }
                app.ask("/predict", &request)
            };
            for (key, labels, multi) in [
                ("single", case["labels"].clone(), false),
                ("multi", case["labels"].clone(), true),
                ("one", json!([case["labels"][0]]), false),
            ] {
                let answer = ask(labels.clone(), multi);
                assert_eq!(answer["model"]["task"], "zero-shot-classification");
                assert_eq!(answer["request"]["labels"], labels);
                let scores = answer["prediction"]["scores"].as_array().unwrap();
                assert_eq!(scores.len(), labels.as_array().unwrap().len());
                for score in scores {
                    let oracle = &case["pipeline"][key][score["label"].as_str().unwrap()];
                    near(&format!("{model} {key}"), &score["probability"], number(oracle));
                }
                let best = &answer["prediction"]["label"];
                let most = scores.iter().max_by(|a, b| number(&a["probability"]).total_cmp(&number(&b["probability"])));
                assert_eq!(best, &most.unwrap()["label"]);
            }
            // The same model of pairs without labels.
            let pair = app.ask("/predict", &json!({"model": model, "text": case["text"], "pair": case["pair"]}));
            assert_eq!(pair["model"]["task"], "text-classification");
            for score in pair["prediction"]["scores"].as_array().unwrap() {
                near(&model, &score["probability"], number(&case["nli"][score["label"].as_str().unwrap()]));
            }
        }
    }
}

#[test]
fn zero_shot_explains_the_text_alone() {
    let app = app(&["nli"]);
    for family in ["bert", "roberta"] {
        let (model, values) = (name(family, "nli"), Values::of(&name(family, "nli")));
        let case = &cases(&model)[0];
        let ask = |target: Value, multi: bool, item: Value| {
            let request = json!({"model": model, "text": case["text"], "labels": case["labels"], "multi_label": multi,
                "target": target, "explain": [item]});
            app.ask("/explain", &request)
        };
        let label = case["labels"][1].clone();
        let answer = ask(label.clone(), false, ig("logit"));
        assert_eq!(answer["explanations"][0]["target"], json!({"label": label, "index": 1}));
        check_ig(&model, &answer, &values, "1");
        check_ig(&model, &ask(json!(1), true, ig("probability")), &values, "1.multi");

        let answer = ask(json!("all"), false, json!("lime"));
        let explanations = answer["explanations"].as_array().unwrap();
        assert_eq!(explanations.len(), 3);
        for (one, removed) in explanations.iter().zip(floats(&case["removed"])) {
            assert_eq!(
                one["scores"]["words"].as_array().unwrap().len(),
                answer["input"]["words"].as_array().unwrap().len()
            );
            near(&model, &one["base_value"], removed);
        }
        // Probabilities over the labels: what one gains the others lose.
        let sums: Vec<f32> = (0..explanations[0]["scores"]["words"].as_array().unwrap().len())
            .map(|word| explanations.iter().map(|one| number(&one["scores"]["words"][word])).sum())
            .collect();
        assert!(sums.iter().all(|sum| sum.abs() < 1e-5), "{sums:?}");

        let answer = ask(label.clone(), false, json!("attention"));
        let tokens = answer["input"]["tokens"].as_array().unwrap().len();
        let scores = &answer["explanations"][0]["scores"];
        assert_eq!(scores["tokens"].as_array().unwrap().len(), tokens);
        assert!(scores["layers"][0][0].as_array().unwrap().len() > tokens, "the hypothesis is behind the text");
    }
}

#[test]
fn wrong_requests_say_where_and_what() {
    let app = app(&["tokens", "answers", "nli"]);
    let long = "film ".repeat(80);
    let tokens = |more: Value| merged(json!({"model": "tiny-bert-tokens", "text": "a good film"}), more);
    let answers = |more: Value| merged(json!({"model": "tiny-bert-answers", "text": "what?", "pair": "a film"}), more);
    let labels = |more: Value| {
        merged(json!({"model": "tiny-bert-nli", "text": "a film", "labels": ["a", "b"], "method": "lime"}), more)
    };
    for (request, pointer, part) in [
        (tokens(json!({})), "/target", "a target is required"),
        (tokens(json!({"target": "B-PER"})), "/target", "asked for a token"),
        (tokens(json!({"target": {"token": 0}})), "/target/token", "special"),
        (tokens(json!({"target": [{"token": 1}, {"token": 99}]})), "/target/1/token", "there is no token 99"),
        (tokens(json!({"target": {"token": 1, "label": "X"}})), "/target/label", "B-PER"),
        (tokens(json!({"target": {"token": 1}, "pair": "b"})), "/pair", "one text"),
        (tokens(json!({"target": {"token": 1}, "labels": ["x"]})), "/labels", "inference"),
        (answers(json!({"target": 1})), "/target", "\"answer\""),
        (answers(json!({"target": {"start": 1}})), "/target/start", "belongs to the question"),
        (answers(json!({"target": {"end": 0}})), "/target/end", "special"),
        (answers(json!({"pair": null})), "/pair", "context"),
        (answers(json!({"explain": [{"method": "lime", "output": "probability"}]})), "/explain/0/output", "logit"),
        (labels(json!({"labels": []})), "/labels", "empty"),
        (labels(json!({"labels": ["a", "b", "a"]})), "/labels/2", "twice"),
        (labels(json!({"labels": ["a", " "]})), "/labels/1", "empty"),
        (labels(json!({"labels": ["a", long]})), "/labels/1", "too few for the text"),
        (labels(json!({"labels": ["a", long], "truncation": "window"})), "/labels/1", "too few for the text"),
        (labels(json!({"labels": ["a", long], "truncation": "error"})), "/labels/1", "too few for the text"),
        (labels(json!({"hypothesis_template": format!("{long} {{}}")})), "/hypothesis_template", "too few"),
        (labels(json!({"text": long, "truncation": "error"})), "/text", "tokens and the model takes"),
        (answers(json!({"text": long, "truncation": "error"})), "/text", "tokens and the model takes"),
        (answers(json!({"pair": long, "truncation": "error"})), "/pair", "tokens and the model takes"),
        (labels(json!({"hypothesis_template": "this"})), "/hypothesis_template", "{}"),
        (labels(json!({"pair": "b"})), "/pair", "hypothesis"),
        (labels(json!({"target": "c"})), "/target", "0 \"a\""),
        (labels(json!({"target": {"token": 1}})), "/target", "class"),
        (labels(json!({"method": "attention", "target": ["a", "b"]})), "/method", "one label"),
        (json!({"model": "tiny-bert-nli", "text": "a", "multi_label": true}), "/multi_label", "labels"),
    ] {
        refused(&app, "/explain", &request, pointer, part);
    }
    let no_context = json!({"model": "tiny-bert-answers", "text": "what?", "pair": ""});
    refused(&app, "/predict", &no_context, "/pair", "no token");
}

fn merged(mut request: Value, more: Value) -> Value {
    for (key, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(request.as_object_mut().unwrap().remove(key)),
            value => request[key] = value.clone(),
        }
    }
    request
}
