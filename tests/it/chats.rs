//! Chats: messages through a model's own template. tiny-llama-lm has one, tiny-gpt2-lm none.

use std::fs;
use std::path::PathBuf;

use explaind::config::{AuditInputs, Settings};
use serde_json::{Value, json};

use crate::app::{TestApp, problem};
use crate::parity::golden;

/// Beside both models, folders of tiny-llama-lm with other templates.
fn app(templates: &[(&str, &str)], change: impl FnOnce(&mut Settings)) -> TestApp {
    let app = TestApp::unloaded(change);
    let at = tempfile::tempdir().unwrap();
    let mut folders: Vec<PathBuf> = ["tiny-llama-lm", "tiny-gpt2-lm"].map(golden).into();
    for (name, template) in templates {
        let folder = at.path().join(name);
        fs::create_dir(&folder).unwrap();
        for file in fs::read_dir(golden("tiny-llama-lm")).unwrap().map(Result::unwrap) {
            fs::copy(file.path(), folder.join(file.file_name())).unwrap();
        }
        fs::write(folder.join("chat_template.jinja"), template).unwrap();
        folders.push(folder);
    }
    app.load_folders(folders);
    app
}

fn user(content: &str) -> Value {
    json!([{"role": "user", "content": content}])
}

/// What is wrong with a request, by pointer.
fn refused(app: &TestApp, request: &Value, pointer: &str, part: &str) {
    let body = problem(app.send("/explain", request), 422, "invalid-request");
    let fits = |error: &Value| error["pointer"] == pointer && error["detail"].as_str().unwrap().contains(part);
    assert!(body["errors"].as_array().unwrap().iter().any(fits), "{request}: {body}");
}

/// The characters that a token or word stands for.
fn of(text: &str, part: &Value) -> String {
    let [start, end] = ["start", "end"].map(|key| part[key].as_u64().unwrap() as usize);
    text.chars().skip(start).take(end - start).collect()
}

#[test]
fn messages_go_through_the_models_template() {
    let app = app(&[], |_| {});
    let messages = json!([{"role": "system", "content": "good film"}, {"role": "user", "content": " The train? "}]);
    let ask = |more: Value| {
        let mut request =
            json!({"model": "tiny-llama-lm", "messages": messages, "explain": ["occlusion", "input_x_gradient"]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    let answer = app.ask("/explain", &ask(json!({"completion": " waited"})));
    let text = answer["input"]["text"].as_str().unwrap();
    assert_eq!(text, "<system>good film\n<user>The train?\n<assistant>");
    // The template's tokens are nobody's units; what the caller wrote is.
    let tokens = answer["input"]["tokens"].as_array().unwrap();
    let own = tokens.iter().filter(|token| token["special"] == false);
    assert_eq!(own.map(|token| of(text, token)).collect::<String>(), "good filmThe train?");
    let words = answer["input"]["words"].as_array().unwrap();
    assert_eq!(words.iter().map(|word| of(text, word)).collect::<Vec<_>>(), ["good", "film", "The", "train?"]);
    assert!(words.iter().all(|word| word["text"] == of(text, word).as_str()));
    for token in tokens {
        let word = token["word"].as_u64().map(|word| &words[word as usize]);
        assert_eq!(word.is_none(), token["special"] == true, "{token}");
        assert!(word.is_none_or(|word| word["start"].as_u64() <= token["end"].as_u64()), "{token}");
    }
    let scores = |index: usize, list: &str| answer["explanations"][index]["scores"][list].as_array().unwrap().len();
    assert_eq!((scores(0, "words"), scores(1, "tokens"), scores(1, "words")), (4, tokens.len(), 4));
    assert!(answer["input"]["messages"].is_null());
    let echoed = app.ask("/explain", &ask(json!({"completion": " waited", "echo": true})));
    assert_eq!(echoed["input"]["messages"], messages);
    // Written by the model as well.
    let written = app.ask("/explain", &ask(json!({"generate": {"max_new_tokens": 3}})));
    assert_eq!(written["prediction"]["tokens"].as_array().unwrap().len(), 3);

    refused(&app, &ask(json!({"model": "tiny-gpt2-lm"})), "/messages", "no chat template");
    refused(&app, &ask(json!({"text": "a"})), "/messages", "one prompt");
    refused(&app, &ask(json!({"messages": []})), "/messages", "empty");
    // What is too long is named: the model takes 40 tokens.
    let long = "The train is slow. ".repeat(8);
    refused(&app, &ask(json!({"completion": long})), "/completion", "make it shorter");
    refused(&app, &ask(json!({"generate": {"max_new_tokens": 40}})), "/generate/max_new_tokens", "make it shorter");
    let error = json!({"messages": user(&long), "completion": " x", "truncation": "error"});
    refused(&app, &ask(error), "/messages", "tokens and the model takes 40");
    for (wrong, pointer) in [
        (json!("hey"), "/messages"),
        (json!(["hey"]), "/messages/0"),
        (json!([{"role": "user"}]), "/messages/0"),
        (json!([{"role": "user", "content": ["hey"]}]), "/messages/0/content"),
        (json!([{"role": 1, "content": "hey"}]), "/messages/0/role"),
        (json!([{"role": "user", "content": "hey", "name": "x"}]), "/messages/0/name"),
    ] {
        refused(&app, &ask(json!({"messages": wrong})), pointer, "");
    }
}

#[test]
fn templates_begin_and_end_their_prompts_themselves() {
    let begins = "{{ bos_token }}{% for m in messages %}{{ m.role[:1] + ':' + m.content + eos_token }}{% endfor %}a:";
    let dated = "{{ strftime_now('%d %B %Y') }} {{ messages[0].content }}";
    let endless = "{% for a in range(90000) %}{{ 'x' * 1000 }}{% endfor %}";
    let strict = "{% if messages[0].role != 'user' %}{{ raise_exception('A user begins.') }}{% endif %}";
    let upper = "{{ messages[0].content | upper }}";
    let templates = [
        ("begins", begins),
        ("dated", dated),
        ("endless", endless),
        ("strict", strict),
        ("upper", upper),
        ("broken", "{% if %}"),
    ];
    let app = app(&templates, |_| {});
    let ask = |model: &str, messages: Value, more: Value| {
        let mut request =
            json!({"model": model, "messages": messages, "generate": {"max_new_tokens": 2}, "explain": ["occlusion"]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        request
    };
    // The tokenizer adds nothing to what the template wrote.
    let answer = app.ask("/explain", &ask("begins", user("The train"), json!({})));
    assert_eq!(answer["input"]["text"], "<s>u:The train</s>a:");
    let tokens = answer["input"]["tokens"].as_array().unwrap();
    let ids: Vec<u64> = tokens.iter().map(|token| token["id"].as_u64().unwrap()).collect();
    let special: Vec<bool> = tokens.iter().map(|token| token["special"] == true).collect();
    assert_eq!(
        (ids[0], ids.iter().filter(|id| **id == 1).count(), ids.iter().filter(|id| **id == 2).count()),
        (1, 1, 1)
    );
    assert_eq!(special.iter().filter(|special| !**special).count(), 5, "{tokens:?}");
    assert_eq!(answer["warnings"], json!([]));
    // A caller's own tokens that look like the template's are the caller's.
    let answer = app.ask("/explain", &ask("begins", user("u:</s>"), json!({})));
    let tokens = answer["input"]["tokens"].as_array().unwrap();
    let special: Vec<bool> = tokens.iter().map(|token| token["special"] == true).collect();
    assert_eq!(special, [true, true, true, false, false, false, true, true, true], "{tokens:?}");

    // What is too long loses the caller's first words and nothing of the template.
    let long = "The train waited. ".repeat(6);
    let answer = app.ask("/explain", &ask("begins", user(&long), json!({})));
    assert_eq!(answer["warnings"][0]["code"], "truncated");
    let tokens = answer["input"]["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 39);
    assert_eq!((&tokens[0]["text"], &tokens[3]["special"]), (&json!("<s>"), &json!(false)));
    assert_eq!(tokens.iter().filter(|token| token["special"] == true).count(), 6);
    let words = answer["input"]["words"].as_array().unwrap();
    assert_eq!(answer["explanations"][0]["scores"]["words"].as_array().unwrap().len(), words.len());
    assert_eq!(words.last().unwrap()["text"], "waited.");
    let none_left = json!([{"role": "user", "content": "a"}, {"role": "user", "content": ""}]);
    let generate = json!({"generate": {"max_new_tokens": 35}});
    refused(&app, &ask("begins", none_left, generate), "/generate/max_new_tokens", "the model takes 40");
    refused(&app, &ask("begins", user(&long), json!({"truncation": "error"})), "/messages", "the model takes 40");
    refused(&app, &ask("begins", user(&long), json!({"truncation": "window"})), "/truncation", "not read in windows");

    let answer = app.ask("/explain", &ask("dated", user("The"), json!({})));
    assert_eq!(answer["input"]["text"], "26 July 2024 The");
    assert_eq!(answer["warnings"][0]["code"], "fixed_date");
    // A template that changes what was written hides it: all of the prompt is the caller's.
    let answer = app.ask("/explain", &ask("upper", user("the"), json!({})));
    assert!(answer["input"]["tokens"].as_array().unwrap().iter().all(|token| token["special"] == false));
    // Nothing written, nothing to explain.
    let answer = app.ask("/explain", &ask("begins", user(""), json!({})));
    assert_eq!(answer["explanations"][0]["scores"]["words"], json!([]));

    refused(&app, &ask("endless", user("a"), json!({})), "/messages", "writes without end");
    refused(&app, &ask("broken", user("a"), json!({})), "/messages", "chat template");
    let system = json!([{"role": "system", "content": "a"}]);
    refused(&app, &ask("strict", system, json!({})), "/messages", "A user begins.");
    // The model itself works without its template.
    let text = json!({"model": "broken", "text": "The train", "completion": " waited", "method": "occlusion"});
    app.ask("/explain", &text);
}

#[test]
fn others_have_no_chats_and_long_ones_are_refused() {
    let plain = TestApp::start();
    refused(&plain, &json!({"messages": user("a")}), "/messages", "this model is none");
    let app = app(&[], |settings| settings.limits.text_chars = 20);
    let long = json!({"model": "tiny-llama-lm", "messages": user("seventeen letters"), "completion": "a"});
    let body = problem(app.send("/explain", &long), 413, "too-large");
    assert_eq!(body["errors"][0]["pointer"], "/messages", "{body}");
}

#[test]
fn the_audit_log_holds_messages_where_it_holds_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    let app = app(&[], |settings| {
        settings.audit.file = Some(path.clone());
        settings.audit.inputs = AuditInputs::Full;
    });
    let request = json!({"model": "tiny-llama-lm", "messages": user("The train"), "completion": " waited"});
    let answer = app.ask("/predict", &request);
    let line = fs::read_to_string(&path).unwrap();
    let record: Value = serde_json::from_str(line.lines().last().unwrap()).unwrap();
    assert_eq!(record["input"]["messages"], request["messages"]);
    assert_eq!(record["input"]["sha256"], answer["input"]["sha256"]);
}
