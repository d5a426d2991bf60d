//! What looks inside a forward, from a request to its answer, against transformers, PyTorch's autograd and Captum
//! (tests/golden/inside.py), and over HTTP.

use explaind::explain::{Answer, Explanation};
use serde_json::{Value, json};

use crate::app::TestApp;
use crate::parity::{Values, ask, cases, close, floats, golden, golden_png, logits, request, tiny};

const TEXT: [&str; 5] = ["tiny-bert", "tiny-deberta-v3", "tiny-modernbert", "tiny-gpt2", "tiny-llama"];
/// Images went through resizing, where a pixel may differ by one level.
const OF_IMAGES: f32 = 2e-3;

fn oracle() -> Value {
    serde_json::from_slice(&std::fs::read(golden("methods/inside.json")).unwrap()).unwrap()
}

/// Explains the golden case of `name` by one method.
fn explain(name: &str, oracle: &Value, item: Value, target: Value) -> Answer {
    let index = oracle["case"].as_u64().unwrap() as usize;
    match TEXT.contains(&name) {
        true => ask(&tiny(name), request(&cases(name)[index], item, target), None),
        false => {
            ask(&tiny(name), json!({"explain": [item], "target": target}), Some(golden_png(&Values::of(name), index)))
        }
    }
}

fn first(answer: &Answer) -> &Explanation {
    &answer.explanations.as_ref().unwrap()[0]
}

/// The row over the sequence that an answer shows: of images without the class token.
fn row(answer: &Answer) -> Vec<f32> {
    let scores = &first(answer).attribution.scores;
    match (&scores.tokens, &scores.grid) {
        (Some(tokens), _) => tokens.clone(),
        (_, Some(grid)) => grid.concat(),
        _ => panic!("no row"),
    }
}

fn flat(value: &Value) -> Vec<f32> {
    match value.as_array() {
        Some(list) => list.iter().flat_map(flat).collect(),
        None => vec![value.as_f64().unwrap() as f32],
    }
}

fn models() -> impl Iterator<Item = (&'static str, Value, f32, usize)> {
    let oracle = oracle();
    let names = TEXT.into_iter().map(|name| (name, 1e-5, 0)).chain([("tiny-vit", OF_IMAGES, 1)]);
    names.map(move |(name, tolerance, before)| (name, oracle[name].clone(), tolerance, before))
}

/// Within 1e-5 of the largest score; images 2e-3.
#[test]
fn relevance_is_chefers_rule_over_autograd() {
    for (name, oracle, tolerance, before) in models() {
        for (target, expected) in oracle["relevance"].as_object().unwrap() {
            let index: u64 = target.parse().unwrap();
            let answer = explain(name, &oracle, json!({"method": "attention_relevance"}), json!(index));
            close(&format!("{name} {target}"), &row(&answer), &floats(&expected["row"])[before..], tolerance);
            let heads = first(&answer).attribution.heads.as_ref().unwrap().concat();
            close(&format!("{name} {target} heads"), &heads, &flat(&expected["heads"]), tolerance);
        }
    }
}

/// Within 1e-5 of the largest score; images 2e-3.
#[test]
fn rollout_is_the_formula_over_eager_attention() {
    for (name, oracle, tolerance, before) in models() {
        for (fusion, discard, start) in [("mean", 0.0, 0), ("max", 0.3, 0), ("min", 0.0, 1)] {
            let item = json!({"method": "attention_rollout", "head_fusion": fusion, "discard_ratio": discard,
                "start_layer": start});
            let answer = explain(name, &oracle, item, json!("predicted"));
            assert!(first(&answer).target.is_none());
            let expected = &floats(&oracle["rollout"][fusion])[before..];
            close(&format!("{name} {fusion}"), &row(&answer), expected, tolerance);
        }
    }
}

/// Distances are differences of nearly equal cosines: within 1e-4 of the largest share; images 2e-3.
#[test]
fn value_zeroing_is_the_definition_run_with_hooks() {
    for (name, oracle, tolerance, _) in models() {
        let answer = explain(name, &oracle, json!({"method": "value_zeroing", "layers": "all"}), json!("predicted"));
        let layers = first(&answer).attribution.scores.layers.as_ref().unwrap();
        let expected = oracle["value_zeroing"].as_array().unwrap();
        assert_eq!(layers.len(), expected.len());
        for (index, (layer, expected)) in layers.iter().zip(expected).enumerate() {
            assert_eq!(layer.len(), 1);
            close(&format!("{name} {index}"), &layer[0].concat(), &flat(expected), tolerance.max(1e-4));
        }
    }
}

/// Within 1e-5 of a layer's largest logit; images 2e-3. The last layer's are the model's own.
#[test]
fn the_lens_is_the_head_on_every_layer() {
    for (name, oracle, tolerance, _) in models() {
        let answer = explain(name, &oracle, json!({"method": "logit_lens"}), json!(0));
        let layers = first(&answer).attribution.layers.as_ref().unwrap();
        let expected = oracle["lens"].as_array().unwrap();
        assert_eq!(layers.len(), expected.len());
        for (layer, expected) in layers.iter().zip(expected) {
            let ours: Vec<f32> = layer.scores.iter().map(|score| score.logit).collect();
            close(&format!("{name} {}", layer.layer), &ours, &floats(expected), tolerance);
        }
        let last: Vec<f32> = layers[layers.len() - 1].scores.iter().map(|score| score.logit).collect();
        assert_eq!(last, logits(&answer), "{name}");
    }
}

/// One list a layer, of the numbers of every unit.
fn units(answer: &Answer, layers: usize, number: impl Fn(&explaind::methods::Neuron) -> f32) -> Vec<Vec<f32>> {
    let neurons = first(answer).attribution.neurons.as_ref().unwrap();
    let mut lists = vec![vec![0.0; neurons.len() / layers]; layers];
    neurons.iter().for_each(|neuron| lists[neuron.layer][neuron.unit] = number(neuron));
    lists
}

/// Captum's LayerGradientXActivation within 1e-5 of the largest (images 2e-3), and LayerConductance within 1e-3: its
/// 2,000 pieces are rectangles, these 300 trapezoids.
#[test]
fn units_are_captums() {
    for (name, oracle, tolerance, _) in models() {
        let item = json!({"method": "neurons", "top": 10_000});
        let answer = explain(name, &oracle, item, json!(0));
        let of = |key: &str| oracle["units"][key].as_array().unwrap().clone();
        let layers = of("gradient").len();
        for (key, ours) in [
            ("gradient", units(&answer, layers, |neuron| neuron.influence)),
            ("activation", units(&answer, layers, |neuron| neuron.activation)),
        ] {
            for (layer, (ours, expected)) in ours.iter().zip(of(key)).enumerate() {
                close(&format!("{name} {key} {layer}"), ours, &floats(&expected), tolerance);
            }
        }
        if oracle["units"]["conductance"].is_array() {
            let item = json!({"method": "neurons", "measure": "conductance", "steps": 300, "top": 10_000});
            let answer = explain(name, &oracle, item, json!(0));
            let ours = units(&answer, layers, |neuron| neuron.influence);
            for (layer, (ours, expected)) in ours.iter().zip(of("conductance")).enumerate() {
                close(&format!("{name} conductance {layer}"), ours, &floats(&expected), 1e-3);
            }
        }
    }
}

/// Captum's LayerGradCam and pytorch-grad-cam's formulas, of an early and the last map, within 5e-3 of the largest
/// place: one pixel may differ by one level, and ReLUs have kinks.
#[test]
fn feature_maps_are_weighed_as_by_captum_and_pytorch_grad_cam() {
    let oracle = oracle();
    for name in ["tiny-resnet", "tiny-vit", "tiny-convnext", "tiny-swin"] {
        let maps = oracle[name]["maps"].as_object().unwrap();
        for (layer, expected) in maps {
            let layer: i64 = layer.parse().unwrap();
            for variant in ["grad_cam", "grad_cam++", "layer_cam", "hires_cam"] {
                for relu in [false, true] {
                    let item = json!({"method": "grad_cam", "variant": variant, "layer": layer, "relu": relu});
                    let answer = explain(name, &oracle[name], item, json!(1));
                    let attribution = &first(&answer).attribution;
                    let grid = attribution.grid.unwrap();
                    assert_eq!(json!([grid.rows, grid.cols]), expected["grid"], "{name} {layer}");
                    let mut places = floats(&expected[variant]);
                    // The last map of ViT reaches the head through a norm alone, whose gradient is orthogonal to it:
                    // there `hires_cam` is 0.
                    let scale = places.iter().fold(1e-3_f32, |max, place| max.max(place.abs()));
                    if relu {
                        places.iter_mut().for_each(|place| *place = place.max(0.0));
                    }
                    let ours = attribution.scores.grid.as_ref().unwrap().concat();
                    // Of the whole map, whatever ReLU leaves of it.
                    for (ours, place) in ours.iter().zip(&places) {
                        let off = (ours - place).abs() / scale;
                        assert!(off < 5e-3, "{name} {layer} {variant}: {ours} against {place}");
                    }
                }
            }
        }
        let deepest = maps.keys().max().unwrap();
        let answer = explain(name, &oracle[name], json!("grad_cam"), json!(1));
        assert_eq!(json!(first(&answer).settings["layer"].to_string()), json!(deepest), "{name}: the last by default");
    }
}

/// Every family whose model has the capability gives it; the others say what is missing.
#[test]
fn every_family_is_looked_into_or_says_why_not() {
    let methods = ["attention_rollout", "attention_relevance", "value_zeroing", "logit_lens", "neurons", "grad_cam"];
    let folders = std::fs::read_dir(golden("")).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<String> = folders.map(|name| name.into_string().unwrap()).collect();
    // Targets of pairs, of language models and of masks are others: they have tests of their own.
    let others = ["-nli", "-lm", "-mask"];
    names.retain(|name| name.starts_with("tiny-") && others.iter().all(|end| !name.ends_with(end)));
    names.sort();
    for name in names {
        let catalog = tiny(&name);
        let capabilities = catalog.iter().next().unwrap().model.spec().capabilities.0.clone();
        let has = |capability: &str| capabilities.iter().any(|own| json!(own) == json!(capability));
        for method in methods {
            let needs: &[&str] = match method {
                "grad_cam" => &["feature_map"],
                "logit_lens" | "neurons" => &["hidden"],
                "value_zeroing" => &["hidden", "attention"],
                _ => &["attention"],
            };
            if needs.iter().all(|capability| has(capability)) {
                let texts = std::path::Path::new(&golden(&format!("values/{name}.json"))).exists();
                let (mut body, image) = match texts && name != "tiny-clip" {
                    true => (request(&cases(&name)[0], json!(method), json!(0)), None),
                    false => (json!({"explain": [method], "target": 1}), Some(golden_png(&Values::of(&name), 0))),
                };
                if name.ends_with("-tokens") {
                    body["target"] = json!({"token": 1});
                } else if name.ends_with("-answers") {
                    body["target"] = json!("answer");
                }
                if name == "tiny-clip" {
                    (body["labels"], body["target"]) = (json!(["a cell", "a film"]), json!("a cell"));
                }
                let answer = ask(&catalog, body, image);
                assert_eq!(first(&answer).method, method, "{name}");
            } else {
                assert!(
                    name.contains("swin")
                        || name.contains("resnet")
                        || name.contains("convnext")
                        || name.contains("vgg")
                        || name == "tiny-clip"
                        || method == "grad_cam",
                    "{name} {method}"
                );
            }
        }
    }
}

#[test]
fn over_http_what_a_model_cannot_give_is_a_422_that_says_so() {
    let app = TestApp::start();
    let ask = |body: Value| app.post("/explain").json(&body).send().unwrap();
    let answer = ask(json!({"text": "a good film", "model": "sentiment", "explain": ["grad_cam"]}));
    assert_eq!(answer.status(), 422);
    let problem: Value = answer.json().unwrap();
    assert_eq!(problem["errors"][0]["pointer"], "/explain/0");
    for (item, pointer) in [
        (json!({"method": "attention_rollout", "discard_ratio": 1}), "/explain/0/discard_ratio"),
        (json!({"method": "attention_relevance", "start_layer": 99}), "/explain/0/start_layer"),
        (json!({"method": "neurons", "top": 0}), "/explain/0/top"),
        (json!({"method": "logit_lens", "layers": []}), "/explain/0/layers"),
        (json!({"method": "value_zeroing", "heads": "all"}), "/explain/0/heads"),
    ] {
        let answer = ask(json!({"text": "a good film", "model": "sentiment", "explain": [item]}));
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.json::<Value>().unwrap()["errors"][0]["pointer"], pointer);
    }
}

/// An empty text, one word, two words; several targets and a contrastive one; the same bytes again.
#[test]
fn over_http_every_method_answers_short_texts() {
    let app = TestApp::start();
    let methods = ["attention_rollout", "attention_relevance", "value_zeroing", "logit_lens", "neurons"];
    for (text, words) in [("", 0), ("good", 1), ("good film", 2)] {
        let body = json!({"text": text, "model": "sentiment", "explain": methods,
            "target": [0, {"index": 1, "against": 0}]});
        let answer: Value = app.post("/explain").json(&body).send().unwrap().json().unwrap();
        let explanations = answer["explanations"].as_array().unwrap();
        assert_eq!(explanations.len(), 1 + 2 + 1 + 2 + 2, "{answer}");
        for explanation in explanations {
            let method = explanation["method"].as_str().unwrap();
            let targeted = !["attention_rollout", "value_zeroing"].contains(&method);
            assert_eq!(explanation["target"].is_object(), targeted, "{method}");
            if method.starts_with("attention") || method == "value_zeroing" {
                assert_eq!(explanation["scores"]["words"].as_array().unwrap().len(), words, "{method}");
            }
        }
        let contrast = &explanations[2];
        assert_eq!(
            (&contrast["method"], &contrast["target"]["against"]["index"]),
            (&json!("attention_relevance"), &json!(0))
        );
        let again: Value = app.post("/explain").json(&body).send().unwrap().json().unwrap();
        for (one, other) in explanations.iter().zip(again["explanations"].as_array().unwrap()) {
            for key in ["scores", "heads", "neurons", "layers"] {
                assert_eq!(one[key], other[key]);
            }
        }
    }
}

/// What the head makes of a layer is read where the target is, whichever rows and tokens the other targets are about:
/// the last layer's answer is the prediction's.
#[test]
fn the_lens_reads_where_the_target_is() {
    let asked = |name: &str, mut request: Value| -> Value {
        request["explain"] = json!([{"method": "logit_lens", "layers": "last"}]);
        serde_json::to_value(ask(&tiny(name), request, None)).unwrap()
    };
    let logit = |answer: &Value, explanation: usize, score: usize| {
        answer["explanations"][explanation]["layers"][0]["scores"][score]["logit"].as_f64().unwrap()
    };
    let near = |what: &str, ours: f64, own: &Value| {
        let own = own.as_f64().unwrap();
        assert!((ours - own).abs() <= 1e-5 * own.abs().max(1.0), "{what}: {ours} for {own}");
    };
    // A label's row.
    for alone in [false, true] {
        let request = json!({"text": "The train is late.", "labels": ["sport", "travel", "cooking"], "target": "cooking",
            "multi_label": alone});
        let answer = asked("tiny-bert-nli", request);
        near("zero-shot", logit(&answer, 0, 0), &answer["prediction"]["scores"][2]["logit"]);
        let probability = &answer["explanations"][0]["layers"][0]["scores"][0]["probability"];
        assert_eq!(probability.is_number(), alone, "{probability}");
    }
    // An end's part.
    let question =
        json!({"text": "Who is late?", "pair": "The train is late because of the snow.", "target": "answer"});
    let answer = asked("tiny-bert-answers", question.clone());
    let token = answer["input"]["tokens"].as_array().unwrap().len() - 3;
    let mut ends = question;
    ends["target"] = json!([{"start": token}, {"end": token}]);
    let answer = asked("tiny-bert-answers", ends);
    near("start", logit(&answer, 0, 0), &answer["prediction"]["start_logits"][token]);
    near("end", logit(&answer, 1, 0), &answer["prediction"]["end_logits"][token]);
    // A token's softmax.
    let answer =
        asked("tiny-bert-tokens", json!({"text": "The train is late.", "target": [{"token": 3}, {"token": 2}]}));
    for (explanation, token) in [3, 2].into_iter().enumerate() {
        let said = &answer["prediction"]["tokens"][token]["scores"];
        for score in 0..said.as_array().unwrap().len() {
            near("token", logit(&answer, explanation, score), &said[score]["logit"]);
        }
    }
}
