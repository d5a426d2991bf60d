//! Language models over HTTP: log-probabilities against transformers, attributions against Captum's LLMAttribution and
//! LLMGradientAttribution (tests/golden/values/lm.json), generation, shapes, refusals.

use serde_json::{Value, json};

use crate::app::TestApp;
use crate::parity::{close, floats, golden};

const MODELS: [&str; 2] = ["tiny-llama-lm", "tiny-gpt2-lm"];

fn app() -> TestApp {
    TestApp::golden(&MODELS)
}

fn values() -> Value {
    let file = std::fs::read(golden("values/lm.json")).unwrap();
    serde_json::from_slice::<Value>(&file).unwrap()["whole"].clone()
}

/// A request about `model`'s golden prompt and completion, with more keys.
fn request(model: &str, values: &Value, more: Value) -> Value {
    let own = &values[model];
    let mut request = json!({"model": model, "text": own["prompt"], "completion": own["completion"]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    request
}

fn refused(app: &TestApp, request: &Value, pointer: &str, part: &str) {
    let response = app.send("/explain", request);
    assert_eq!(response.status(), 422, "{request}");
    let problem: Value = response.json().unwrap();
    let errors = problem["errors"].as_array().unwrap();
    let fits = |error: &Value| error["pointer"] == pointer && error["detail"].as_str().unwrap().contains(part);
    assert!(errors.iter().any(fits), "{request}: {problem}");
}

fn rows(value: &Value) -> Vec<Vec<f32>> {
    value.as_array().unwrap_or_else(|| panic!("{value}")).iter().map(floats).collect()
}

/// Whether `sum` is the sum of the rows' first entries.
fn adds_up(what: &str, matrix: &[Vec<f32>], sum: &[f32]) {
    for (at, &sum) in sum.iter().enumerate() {
        let own: f32 = matrix.iter().map(|row| row[at]).sum();
        assert!((own - sum).abs() <= 1e-4 * (1.0 + sum.abs()), "{what} {at}: {own} for {sum}");
    }
}

#[test]
fn a_completion_has_the_log_probabilities_of_transformers() {
    let (app, values) = (app(), values());
    for model in MODELS {
        let own = &values[model];
        let answer = app.ask("/predict", &request(model, &values, json!({})));
        assert_eq!(answer["model"]["task"], "text-generation");
        assert_eq!(answer["prediction"]["completion"], own["completion"]);
        assert_eq!(answer["prediction"]["finish"], "length");
        let tokens = answer["prediction"]["tokens"].as_array().unwrap();
        let oracle = floats(&own["log_probabilities"]);
        assert_eq!(tokens.len(), oracle.len());
        for (index, (token, oracle)) in tokens.iter().zip(oracle).enumerate() {
            let found = token["log_probability"].as_f64().unwrap() as f32;
            assert!((found - oracle).abs() < 1e-4, "{model} {index}: {found} for {oracle}");
            let probability = token["probability"].as_f64().unwrap() as f32;
            assert!((probability - oracle.exp()).abs() < 1e-5, "{model} {index}");
            assert_eq!(token["id"], own["completion_ids"][index]);
        }
        let ids = |key: &str| -> Vec<Value> {
            answer["input"][key].as_array().unwrap().iter().map(|token| token["id"].clone()).collect()
        };
        assert_eq!((ids("tokens"), ids("completion")).0, *own["ids"].as_array().unwrap());
        assert_eq!(ids("completion"), *own["completion_ids"].as_array().unwrap());
    }
}

#[test]
fn gradients_are_those_of_captum() {
    let (app, values) = (app(), values());
    for model in MODELS {
        let own = &values[model];
        let prompt = own["ids"].as_array().unwrap().len();
        let methods = json!([
            {"method": "input_x_gradient", "output": "log_probability"},
            {"method": "integrated_gradients", "output": "log_probability", "steps": own["steps"], "baseline": "unk"},
        ]);
        let answer = app.ask("/explain", &request(model, &values, json!({"explain": methods})));
        let explanations = answer["explanations"].as_array().unwrap();
        assert_eq!(explanations.len(), 2);
        for (one, tolerance) in explanations.iter().zip([1e-4, 1e-3]) {
            let method = one["method"].as_str().unwrap();
            assert_eq!(one["target"], "completion");
            let (matrix, oracle) = (rows(&one["scores"]["matrix"]), rows(&own[method]));
            assert_eq!(matrix.len(), oracle.len());
            for (c, (row, oracle)) in matrix.iter().zip(&oracle).enumerate() {
                assert_eq!(row.len(), prompt + c, "{model} {method} {c}");
                close(&format!("{model} {method} {c}"), &row[..prompt], oracle, tolerance);
            }
            adds_up(method, &matrix, &floats(&one["scores"]["tokens"]));
            assert_eq!(floats(&one["scores"]["tokens"]).len(), prompt);
            close("output", &floats(&one["output_value"]), &floats(&own["log_probabilities"]), 1e-4);
        }
        // The completion before a token stays where the baseline is.
        let ig = &explanations[1];
        let (matrix, ends) = (rows(&ig["scores"]["matrix"]), [&ig["base_value"], &ig["output_value"], &ig["residual"]]);
        let [base, output, residual] = ends.map(floats);
        for (c, row) in matrix.iter().enumerate() {
            assert!(row[prompt..].iter().all(|score| *score == 0.0));
            let left = output[c] - base[c] - row.iter().sum::<f32>();
            assert!((left - residual[c]).abs() < 1e-3, "{model} {c}: {left} for {}", residual[c]);
        }
        assert_eq!(residual.len(), matrix.len());
    }
}

#[test]
fn ablations_are_those_of_captum() {
    let (app, values) = (app(), values());
    for model in MODELS {
        let own = &values[model];
        let item = json!({"method": "occlusion", "unit": "token", "fill": "unk", "output": "log_probability"});
        let answer = app.ask("/explain", &request(model, &values, json!({"explain": [item]})));
        let one = &answer["explanations"][0];
        let special: Vec<bool> =
            answer["input"]["tokens"].as_array().unwrap().iter().map(|token| token["special"] == true).collect();
        let kept = |row: &[f32]| -> Vec<f32> {
            row.iter().zip(&special).filter(|(_, special)| !**special).map(|(score, _)| *score).collect()
        };
        let (matrix, oracle) = (rows(&one["scores"]["matrix"]), rows(&own["feature_ablation"]["by_token"]));
        for (c, (row, oracle)) in matrix.iter().zip(&oracle).enumerate() {
            assert_eq!(row.len(), special.len());
            close(&format!("{model} occlusion {c}"), &kept(row), oracle, 1e-4);
        }
        let together = floats(&own["feature_ablation"]["together"]);
        close(&format!("{model} occlusion"), &kept(&floats(&one["scores"]["tokens"])), &together, 1e-4);
    }
}

#[test]
fn one_token_or_two_are_explained_alone() {
    let (app, values) = (app(), values());
    for model in MODELS {
        let own = &values[model];
        let ask = |target: Value, item: Value| {
            app.ask("/explain", &request(model, &values, json!({"target": target, "explain": [item]})))
        };
        for item in [
            json!({"method": "occlusion", "output": "logit"}),
            json!({"method": "kernel_shap", "output": "logit"}),
            json!({"method": "integrated_gradients", "steps": 8}),
            json!({"method": "attention_relevance"}),
        ] {
            let all = ask(json!("completion"), item.clone());
            let (all, matrix) = (&all["explanations"][0], rows(&all["explanations"][0]["scores"]["matrix"]));
            let one = ask(json!({"token": 2}), item.clone());
            let one = &one["explanations"][0];
            let label = &one["target"]["label"];
            assert_eq!(one["target"], json!({"token": 2, "label": label, "index": own["completion_ids"][2]}));
            assert_eq!(rows(&one["scores"]["matrix"]), [matrix[2].clone()], "{model} {item}");
            assert_eq!(one["output_value"], all["output_value"][2]);
            // Again by what the answer calls it, and by its id.
            for target in [one["target"].clone(), json!({"token": 2, "label": own["completion_ids"][2]})] {
                assert_eq!(ask(target, item.clone())["explanations"][0]["scores"], one["scores"]);
            }
            // Against another: the difference of both.
            let other = json!({"token": 2, "label": 5});
            let contrast = ask(json!([{"token": 2, "against": 5}, other]), item.clone());
            let (contrast, other) = (&contrast["explanations"][0], &contrast["explanations"][1]);
            assert_eq!(contrast["target"]["against"]["index"], 5);
            let outputs = [one, other, contrast].map(|one| one["output_value"].as_f64().unwrap());
            assert!((outputs[0] - outputs[1] - outputs[2]).abs() < 1e-4, "{model} {item}: {outputs:?}");
            if item["method"] != "attention_relevance" {
                let [one, other, contrast] = [one, other, contrast].map(|one| floats(&one["scores"]["words"]));
                let difference: Vec<f32> = one.iter().zip(&other).map(|(a, b)| a - b).collect();
                close(&format!("{model} {item}"), &contrast, &difference, 1e-3);
            }
        }
    }
}

/// Every method that the model can serve answers a completion, in the shapes of its kind.
#[test]
fn every_method_answers() {
    let (app, values) = (app(), values());
    let models: Value = app.get("/models").send().unwrap().json().unwrap();
    let mut refusals = Vec::new();
    for model in models["models"].as_array().unwrap() {
        let name = model["name"].as_str().unwrap();
        for method in model["methods"].as_array().unwrap() {
            let response = app.send("/explain", &request(name, &values, json!({"explain": [method]})));
            let status = response.status();
            let answer: Value = response.json().unwrap();
            assert!(status == 200 || status == 422, "{name} {method}: {answer}");
            let Some(explanations) = answer["explanations"].as_array() else {
                refusals.push(format!("{name} {} {}", method.as_str().unwrap(), answer["errors"][0]["pointer"]));
                continue;
            };
            let (tokens, words) = (&answer["input"]["tokens"], &answer["input"]["words"]);
            for one in explanations {
                for (list, of) in [("tokens", tokens), ("words", words)] {
                    if let Some(scores) = one["scores"][list].as_array() {
                        assert_eq!(scores.len(), of.as_array().unwrap().len(), "{name} {method} {list}");
                    }
                }
                if one["target"] == "completion" {
                    let matrix = one["scores"]["matrix"].as_array().unwrap();
                    assert_eq!(matrix.len(), answer["input"]["completion"].as_array().unwrap().len());
                }
            }
        }
    }
    assert!(refusals.is_empty(), "listed and refused: {refusals:?}");
}

/// An answer's bytes without its id and its times.
fn bytes(app: &TestApp, request: &Value) -> String {
    let response = app.send("/explain", request);
    assert_eq!(response.status(), 200);
    let mut text = response.text().unwrap();
    // An id that is a string is the answer's own: tokens' are numbers.
    for (key, ends) in [("\"id\":\"", &['"'][..]), ("\"elapsed_ms\":", &[',', '}'][..])] {
        let mut parts = text.split(key);
        let first = parts.next().unwrap_or_default().to_owned();
        text = parts.fold(first, |cut, part| cut + key + &part[part.find(ends).unwrap_or(0)..]);
    }
    text
}

#[test]
fn the_same_request_gets_the_same_bytes() {
    let (app, values) = (app(), values());
    let methods = json!(["shapley_sampling", "lime", "smooth_grad"]);
    let request = request(MODELS[1], &values, json!({"explain": methods}));
    let alone = bytes(&app, &request);
    // Under load too: several at once, and others between them.
    let other = json!({"model": MODELS[0], "text": "The train is slow", "generate": {"max_new_tokens": 8}});
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..4).map(|_| scope.spawn(|| bytes(&app, &request))).collect();
        let others: Vec<_> = (0..2).map(|_| scope.spawn(|| app.send("/explain", &other).status())).collect();
        for answer in asked {
            assert_eq!(answer.join().unwrap(), alone);
        }
        others.into_iter().for_each(|status| assert_eq!(status.join().unwrap(), 200));
    });
}

#[test]
fn entropy_is_an_output() {
    let (app, values) = (app(), values());
    for model in MODELS {
        let item = json!({"method": "occlusion", "output": "entropy"});
        let answer = app.ask("/explain", &request(model, &values, json!({"explain": [item]})));
        close(model, &floats(&answer["explanations"][0]["output_value"]), &floats(&values[model]["entropy"]), 1e-4);
        let target = json!({"token": 0, "against": 5});
        refused(
            &app,
            &request(model, &values, json!({"explain": [item], "target": target})),
            "/explain/0/output",
            "entropy",
        );
    }
}

/// Which sentences made it say each token. Two have four masks: what the lasso makes of them follows from the outputs that
/// occlusion gives.
#[test]
fn a_sparse_surrogate_weighs_the_sentences_of_a_prompt() {
    let app = app();
    for model in MODELS {
        let penalty = 0.02;
        let request = json!({"model": model, "text": "The train is slow. We waited.", "completion": " for a letter",
        "explain": [
            {"method": "lime", "variant": "sparse", "unit": "sentence", "lasso": penalty},
            {"method": "occlusion", "unit": "sentence", "output": "log_odds"},
        ]});
        let answer = app.ask("/explain", &request);
        let [sparse, occlusion] = [0, 1].map(|index| &answer["explanations"][index]);
        assert_eq!(sparse["settings"]["output"], "log_odds");
        assert_eq!(sparse["diagnostics"]["exact"], true);
        let ends = |key: &str| floats(&sparse[key]);
        let (base, output) = (ends("base_value"), ends("output_value"));
        let (matrix, ablated) = (rows(&sparse["scores"]["matrix"]), rows(&occlusion["scores"]["matrix"]));
        for (c, (row, ablated)) in matrix.iter().zip(&ablated).enumerate() {
            let probability = answer["prediction"]["tokens"][c]["probability"].as_f64().unwrap() as f32;
            assert!((output[c] - (probability / (1.0 - probability)).ln()).abs() < 1e-4, "{model} {c}");
            assert_eq!((row.len(), ablated.len()), (2, 2));
            for unit in 0..2 {
                // Without the other: what is left there less nothing at all.
                let alone = output[c] - ablated[1 - unit] - base[c];
                let effect = (ablated[unit] + alone) / 2.0;
                let expected = effect.signum() * (effect.abs() - 2.0 * penalty).max(0.0);
                assert!((row[unit] - expected).abs() < 1e-4, "{model} {c} {unit}: {} for {expected}", row[unit]);
            }
        }
        adds_up(model, &matrix, &floats(&sparse["scores"]["sentences"]));
        let mut wrong = request.clone();
        wrong["explain"] = json!([{"method": "lime", "variant": "sparse", "kernel_width": 3}]);
        refused(&app, &wrong, "/explain/0/kernel_width", "variant \"lime\"");
        wrong["explain"] = json!([{"method": "lime", "lasso": 0.1}]);
        refused(&app, &wrong, "/explain/0/lasso", "variant \"sparse\"");
    }
}

#[test]
fn the_likeliest_tokens_are_written() {
    let (app, values) = (app(), values());
    for model in MODELS {
        let own = &values[model];
        let ask = |generate: Value, more: Value| {
            let mut request = json!({"model": model, "text": own["prompt"], "generate": generate});
            request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            app.ask("/explain", &request)
        };
        let ids = |answer: &Value| -> Vec<Value> {
            answer["prediction"]["tokens"].as_array().unwrap().iter().map(|token| token["id"].clone()).collect()
        };
        let greedy = ask(json!({"max_new_tokens": 8}), json!({"method": "input_x_gradient"}));
        assert_eq!(ids(&greedy), *own["generated"].as_array().unwrap(), "{model}");
        assert_eq!(greedy["prediction"]["finish"], "length");
        let matrix = rows(&greedy["explanations"][0]["scores"]["matrix"]);
        assert_eq!((matrix.len(), matrix[7].len()), (8, own["ids"].as_array().unwrap().len() + 7));
        assert_eq!(greedy["request"]["generate"]["temperature"], 0.0);

        // The tokens' offsets cover the completion.
        let text: Vec<char> = greedy["prediction"]["completion"].as_str().unwrap().chars().collect();
        let tokens = greedy["input"]["completion"].as_array().unwrap();
        assert_eq!(tokens.last().unwrap()["end"], text.len(), "{model}");
        assert!(tokens.windows(2).all(|pair| pair[0]["end"] == pair[1]["start"]));

        // A stop string ends it with the token that holds it.
        let third: String = tokens[..3]
            .iter()
            .map(|token| {
                text[token["start"].as_u64().unwrap() as usize..token["end"].as_u64().unwrap() as usize]
                    .iter()
                    .collect::<String>()
            })
            .collect();
        if !third.is_empty() {
            let stopped = ask(json!({"max_new_tokens": 8, "stop": third}), json!({"method": "occlusion"}));
            assert_eq!(stopped["prediction"]["finish"], "stop", "{model}");
            assert!(ids(&stopped).len() <= 3);
        }

        // Draws follow the seed.
        let drawn = |seed: u64| {
            ids(&ask(
                json!({"max_new_tokens": 12, "temperature": 1.5, "top_p": 0.95, "top_k": 50}),
                json!({"seed": seed, "method": "attention"}),
            ))
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        // As if it had been sent.
        let target = ask(json!({"max_new_tokens": 3}), json!({"method": "occlusion", "target": {"token": 2}}));
        assert_eq!(target["explanations"][0]["target"]["token"], 2);
    }
}

#[test]
fn borders_prompts_and_lengths() {
    let (app, values) = (app(), values());
    for model in MODELS {
        // A space before the border belongs to the word behind it.
        let split = app.ask(
            "/explain",
            &json!({"model": model, "text": "The train ", "completion": "waited", "method": "occlusion"}),
        );
        let codes: Vec<&str> =
            split["warnings"].as_array().unwrap().iter().map(|one| one["code"].as_str().unwrap()).collect();
        assert_eq!(codes, ["border_split"], "{model}");
        let whole = app.ask(
            "/explain",
            &json!({"model": model, "text": "The train", "completion": " waited", "method": "occlusion"}),
        );
        assert_eq!(whole["warnings"], json!([]));

        // Nothing but what the tokenizer adds, or what stands for nothing.
        let empty = app.ask("/explain", &json!({"model": model, "text": "", "completion": "The train", "explain": ["occlusion", "input_x_gradient", "kernel_shap"]}));
        assert_eq!(empty["input"]["tokens"].as_array().unwrap().len(), 1);
        assert_eq!(empty["explanations"][0]["scores"]["words"], json!([]));
        let completion = empty["input"]["completion"].as_array().unwrap().len();
        assert_eq!(rows(&empty["explanations"][0]["scores"]["matrix"]), vec![Vec::<f32>::new(); completion]);
        assert_eq!(rows(&empty["explanations"][1]["scores"]["matrix"])[completion - 1].len(), completion);

        // The model takes 40 tokens: a longer prompt loses its beginning, or is refused.
        let long = "The train is slow. ".repeat(8);
        let ask = |more: Value| {
            let mut request =
                json!({"model": model, "text": long, "completion": "We waited", "method": "input_x_gradient"});
            request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            request
        };
        let cut = app.ask("/explain", &ask(json!({})));
        assert!(cut["warnings"].as_array().unwrap().iter().any(|one| one["code"] == "truncated"), "{model}");
        let (tokens, after) =
            (cut["input"]["tokens"].as_array().unwrap(), cut["input"]["completion"].as_array().unwrap());
        assert_eq!(tokens.len() + after.len() - 1, 40);
        assert_eq!(tokens.last().unwrap()["end"], long.chars().count());
        refused(&app, &ask(json!({"truncation": "error"})), "/text", "tokens and the model takes 40");
        refused(&app, &ask(json!({"truncation": "window"})), "/truncation", "not read in windows");
        let mut endless = ask(json!({"completion": "The train is slow. ".repeat(8)}));
        endless["text"] = json!("a");
        refused(&app, &endless, "/completion", "tokens and the model takes 40");
        endless["truncation"] = json!("error");
        refused(&app, &endless, "/completion", "tokens and the model takes 40");
        for truncation in ["truncate", "error"] {
            let written =
                ask(json!({"completion": null, "generate": {"max_new_tokens": 60}, "truncation": truncation}));
            refused(&app, &written, "/generate/max_new_tokens", "tokens and the model takes 40");
        }

        refused(&app, &ask(json!({"completion": ""})), "/completion", "empty");
        refused(
            &app,
            &request(model, &values, json!({"target": {"token": 99}})),
            "/target/token",
            "there is no token 99",
        );
        refused(
            &app,
            &request(model, &values, json!({"target": {"token": 0, "against": " cats and dogs"}})),
            "/target/against",
            "tokens and one is asked for",
        );
        refused(
            &app,
            &request(model, &values, json!({"target": {"token": 0, "against": 99999}})),
            "/target/against",
            "no token of id 99999",
        );
        refused(&app, &request(model, &values, json!({"target": "POSITIVE"})), "/target", "tokens of its completion");
        refused(&app, &request(model, &values, json!({"pair": "x"})), "/pair", "one prompt");
        let generate = json!({"generate": {"top_p": 2}, "completion": null});
        refused(&app, &request(model, &values, generate), "/generate/top_p", "out of range");
        // A completion leaves it unused; what is wrong with it is said all the same.
        let unused = json!({"generate": {"max_new_tokens": 0}, "completion": " x"});
        refused(&app, &request(model, &values, unused), "/generate/max_new_tokens", "out of range");
    }
}

#[test]
fn others_are_no_language_models() {
    let app = TestApp::start();
    for (key, value) in [("completion", json!(" x")), ("generate", json!({}))] {
        refused(&app, &json!({"text": "a", key: value}), &format!("/{key}"), "this model is none");
    }
    let entropy = json!({"text": "a", "explain": [{"method": "occlusion", "output": "entropy"}]});
    refused(&app, &entropy, "/explain/0/output", "language model");
}
