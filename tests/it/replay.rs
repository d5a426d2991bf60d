//! `explaind replay`: every method on every bundled model repeats to the same bytes, and what was changed is found.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use explaind::engine::{self, Device};
use explaind::explain::replay::{Recorded, compare, parse};
use explaind::explain::{Catalog, plan, to_bytes};
use explaind::methods::METHODS;
use serde_json::{Value, json};

use crate::app::{TEXT, TestApp, bundled, png};
use crate::parity::{golden, no_hub};

/// Exit code, standard output and standard error of the program.
struct Ended {
    code: Option<i32>,
    out: String,
    error: String,
}

fn explaind(arguments: &[&str], input: &[u8]) -> Ended {
    let mut child = Command::new(env!("CARGO_BIN_EXE_explaind"))
        .args(arguments)
        .args(["--compute-threads", "2"])
        .env("EXPLAIND_HUB__OFFLINE", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that ends before it reads breaks the pipe.
    let _ = child.stdin.take().unwrap().write_all(input);
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), out: text(output.stdout), error: text(output.stderr) }
}

/// The answer of `explaind explain` to `request`.
fn answer(request: &Value, model: &[&str]) -> String {
    let ended =
        explaind(&[&["explain", "--request", "-", "--format", "json"], model].concat(), request.to_string().as_bytes());
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    ended.out
}

fn replay(answer: &str, more: &[&str]) -> Ended {
    explaind(&[&["replay", "-"], more].concat(), answer.as_bytes())
}

fn changed(answer: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut answer = serde_json::from_str(answer).unwrap();
    change(&mut answer);
    answer.to_string()
}

/// A method with little work to do.
fn small(name: &str) -> Value {
    let method = METHODS.iter().find(|method| method.name() == name).unwrap();
    let schema = serde_json::to_value(method.schema().1).unwrap();
    let mut item = json!({"method": name});
    for (field, few) in [("max_evaluations", json!(64)), ("segments", json!(8))] {
        if schema["properties"].get(field).is_some() {
            item[field] = few;
        }
    }
    item
}

/// The bytes of an answer without its times; its id is the same.
fn without_times(answer: &[u8]) -> String {
    let mut parts = std::str::from_utf8(answer).unwrap().split("\"elapsed_ms\":");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        text.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit() || ".eE+-".contains(c)));
    }
    text
}

#[test]
fn every_method_on_every_bundled_model_repeats_to_the_same_bytes() {
    let app = TestApp::start();
    let models: Value = app.get("/models").send().unwrap().json().unwrap();
    for (model, input) in
        [("sentiment", json!({"text": TEXT})), ("blood-cells", json!({"image": BASE64_STANDARD.encode(png())}))]
    {
        let served = models["models"].as_array().unwrap().iter().find(|served| served["name"] == model).unwrap();
        let catalog = Catalog::new(vec![bundled(model).unwrap()]).unwrap();
        let names: Vec<&str> =
            served["methods"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
        assert!(names.len() > 10, "{names:?}");
        for name in names {
            let item = match input.get("text") {
                Some(_) => json!({"method": name}),
                None => small(name),
            };
            let mut request = input.clone();
            request["model"] = json!(model);
            request["explain"] = json!([item]);
            request["echo"] = json!(true);
            request["seed"] = json!(11);
            let response = app.send("/explain", &request);
            let status = response.status();
            let recorded_bytes = response.bytes().unwrap();
            assert_eq!(status, 200, "{name}: {}", String::from_utf8_lossy(&recorded_bytes));

            let recorded = Recorded::read(&recorded_bytes).unwrap();
            let (request, image) = recorded.request(None).unwrap();
            let limits = explaind::config::Settings::default().limits;
            let plan = plan(&catalog, &limits, recorded.id().into(), request, image, recorded.wanted());
            let plan = plan.unwrap_or_else(|error| panic!("{model} {name}: {error:?}"));
            let replayed = engine::run_to_the_end(&plan, 2, 512, &Device::default()).unwrap();
            let replayed_bytes = to_bytes(&replayed).unwrap();
            let found = compare(recorded.answer(), &parse(&replayed_bytes).unwrap(), false);
            assert!(found.same(), "{model} {name}: {:?}", found.differences);
            assert_eq!(without_times(&recorded_bytes), without_times(&replayed_bytes), "{model} {name}");
        }
    }
}

#[test]
fn the_program_repeats_texts_images_predictions_and_lines() {
    let explain = json!(["integrated_gradients", {"method": "lime", "samples": 40, "tolerance": 0.30000000000000004}]);
    let text = answer(&json!({"text": TEXT, "target": "all", "explain": explain, "seed": 3}), &[]);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let input = file("input.txt", format!("{TEXT}\n").as_bytes());
    let ended = replay(&text, &["--input", &input]);
    assert_eq!(
        (ended.code, ended.out.as_str()),
        (Some(0), "the same: 4 explanations by sentiment, apart from id and elapsed_ms\n")
    );
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&text).unwrap()).unwrap();
    assert_eq!(replay(&pretty, &["--input", &input]).code, Some(0));
    let line = format!("{{\"index\":4,\"answer\":{text}}}\n");
    let ended = replay(&line, &["--input", &input, "--format", "json"]);
    let found: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &found["same"], &found["count"]), (Some(0), &json!(true), &json!(0)));

    let image = file("cell.png", &png());
    let ended = explaind(&["explain", "--image", &image, "--method", "gradient", "--format", "json"], b"");
    assert_eq!(replay(&ended.out, &["--input", &image]).code, Some(0));

    let app = TestApp::start();
    let prediction = app.send("/predict", &json!({"text": TEXT, "echo": true})).text().unwrap();
    let ended = replay(&prediction, &[]);
    assert_eq!((ended.code, ended.out.contains("prediction by sentiment")), (Some(0), true), "{}", ended.out);
}

#[test]
fn other_tasks_repeat() {
    let chat = json!([{"role": "user", "content": " a film "}]);
    let cases = [
        ("tiny-gpt2-lm", json!({"text": "a film", "completion": " of b", "method": "gradient"})),
        ("tiny-gpt2-lm", json!({"text": "a film", "generate": {"max_new_tokens": 3}, "method": "occlusion"})),
        ("tiny-llama-lm", json!({"messages": chat, "generate": {"temperature": 1}, "method": "occlusion"})),
        ("tiny-llama-lm", json!({"messages": chat, "completion": " of b", "method": "gradient"})),
        ("tiny-bert-tokens", json!({"text": "a film of b", "target": {"token": 1}, "method": "gradient"})),
        ("tiny-bert-answers", json!({"text": "what film", "pair": "the film was good", "method": "gradient"})),
        ("tiny-bert-nli", json!({"text": "a film", "labels": ["good", "bad"], "target": "bad", "method": "occlusion"})),
        ("tiny-bert-regression", json!({"text": "a good film", "method": "occlusion"})),
    ];
    for (name, mut request) in cases {
        request["echo"] = json!(true);
        let folder = golden(name);
        let answer = answer(&request, &["--model", folder.to_str().unwrap()]);
        let ended = replay(&answer, &[]);
        assert_eq!(ended.code, Some(0), "{name}: {}{}", ended.out, ended.error);
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[test]
fn changed_weights_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (model, moved) = (folder.path().join("model"), folder.path().join("moved"));
    copy(&golden("tiny-bert"), &model);
    let request = json!({"text": "a good film", "method": "gradient", "echo": true});
    let answer = answer(&request, &["--model", model.to_str().unwrap()]);
    assert_eq!(replay(&answer, &[]).code, Some(0));
    let before = serde_json::from_str::<Value>(&answer).unwrap()["model"]["sha256"].as_str().unwrap().to_owned();

    // Elsewhere it is the same model.
    fs::rename(&model, &moved).unwrap();
    let gone = replay(&answer, &[]);
    assert_eq!(gone.code, Some(66), "{}", gone.error);
    assert!(gone.error.contains("--model"), "{}", gone.error);
    let ended = replay(&answer, &["--model", moved.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(ended.out.contains("warning: /model/source"), "{}", ended.out);

    // One bit of the last weight, whatever it does to the numbers.
    let path = moved.join("model.safetensors");
    let mut weights = fs::read(&path).unwrap();
    *weights.last_mut().unwrap() ^= 1;
    fs::write(&path, weights).unwrap();
    let ended = replay(&answer, &["--model", moved.to_str().unwrap()]);
    assert_eq!(ended.code, Some(3));
    let line = ended.out.lines().find(|line| line.starts_with("/model/sha256")).unwrap();
    assert!(line.contains(&before) && line.contains("other weights"), "{line}");
}

#[test]
fn changed_records_are_found() {
    let explain = json!([{"method": "integrated_gradients", "steps": 8}, {"method": "lime", "samples": 40}]);
    let answer = answer(&json!({"text": TEXT, "explain": explain, "echo": true}), &[]);
    assert_eq!(replay(&answer, &[]).code, Some(0));
    let changes: [(&str, Value); 9] = [
        ("/explanations/0/scores/words/1", json!(0.5)),
        ("/explanations/0/settings/steps", json!(9)),
        ("/request/explain/0/steps", json!(9)),
        ("/request/explain/1/samples", json!(41)),
        ("/prediction/probability", json!(0.5)),
        ("/provenance/version", json!("0.0.0")),
        ("/model/sha256", json!("00")),
        ("/input/words/0/end", json!(2)),
        ("/input/text", json!("a dull film")),
    ];
    for (pointer, value) in changes {
        let other = changed(&answer, |answer| *answer.pointer_mut(pointer).unwrap() = value.clone());
        let ended = replay(&other, &[]);
        assert_eq!(ended.code, Some(3), "{pointer}: {}{}", ended.out, ended.error);
        // A changed setting is followed, so that what it led to differs; a changed input no longer has its hash.
        let place = match pointer {
            "/request/explain/0/steps" => "/explanations/0/settings/steps",
            "/request/explain/1/samples" => "/explanations/1/settings/samples",
            "/input/text" => "/input/sha256",
            place => place,
        };
        let line = ended.out.lines().find(|line| line.starts_with(&format!("{place}: recorded "))).unwrap();
        assert!(line.contains("replayed"), "{line}");
        assert!(ended.out.contains("not the same"), "{}", ended.out);
    }
    // A seed that decides nothing on its own still decides the samples.
    let other = changed(&answer, |answer| answer["request"]["seed"] = json!(5));
    assert!(replay(&other, &[]).out.contains("/explanations/1/scores/words/0"));
    let warned = changed(&answer, |answer| answer["provenance"]["cpu"] = json!("another one"));
    let ended = replay(&warned, &[]);
    assert_eq!(ended.code, Some(0), "{}", ended.out);
    assert!(ended.out.starts_with("warning: /provenance/cpu: recorded \"another one\""), "{}", ended.out);
    assert!(ended.out.contains("another processor"), "{}", ended.out);
}

#[test]
fn what_cannot_be_repeated_says_why() {
    let answer = answer(&json!({"text": TEXT, "method": "gradient"}), &[]);
    let partial = changed(&answer, |answer| answer["partial"] = json!(true));
    let absent = changed(&answer, |answer| {
        answer["model"]["source"] = json!("bundled:nothing");
        answer["request"]["echo"] = json!(true);
        answer["input"]["text"] = json!(TEXT);
    });
    for (text, code, part) in [
        (answer.as_str(), 2, "--input FILE"),
        (partial.as_str(), 2, "partial"),
        (absent.as_str(), 66, "nothing"),
        ("{\"models\": []}", 2, "/id is missing"),
        (&answer[..answer.len() / 2], 2, "damaged"),
        ("", 2, "damaged"),
        ("{\"type\": \"https://explaind.dev/problems/internal\", \"status\": 500}", 2, "problems/internal"),
    ] {
        let ended = replay(text, &[]);
        assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{text}: {}", ended.error);
        assert!(ended.error.contains(part), "{part}: {}", ended.error);
    }
    assert_eq!(explaind(&["replay", "no/such/file.json"], b"").code, Some(1));
}

/// A counterfactual's words come from another loaded model, which the answer names and a replay loads again.
#[test]
fn what_another_model_proposed_is_proposed_again() {
    let app = TestApp::unloaded(|_| {});
    app.load_with(|| {
        let models = ["tiny-bert", "tiny-roberta-mask"].map(|name| {
            explaind::explain::ServedModel::load(None, &explaind::hub::Source::Folder(golden(name)), &no_hub())
        });
        Catalog::new(models.into_iter().collect::<Result<_, _>>()?)
    });
    let item = json!({"method": "counterfactual", "edit": "replace", "language_model": "tiny-roberta-mask"});
    let request = json!({"text": "a really good film", "explain": [item], "echo": true});
    let recorded = app.send("/explain", &request).text().unwrap();
    let again = replay(&recorded, &[]);
    assert_eq!(again.code, Some(0), "{}{}", again.out, again.error);
    let lost = changed(&recorded, |answer| drop(answer.as_object_mut().unwrap().remove("helpers")));
    let refused = replay(&lost, &[]);
    assert_ne!(refused.code, Some(0));
    assert!(format!("{}{}", refused.out, refused.error).contains("tiny-roberta-mask"), "{}", refused.error);
}
