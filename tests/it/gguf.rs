//! A GGUF file served: its tokenizer, its memory, and every kind of method over its blocks.

use std::path::PathBuf;

use explaind::explain::ServedModel;
use explaind::hub::Source;
use serde_json::{Value, json};

use crate::app::{TestApp, stable};
use crate::parity::{golden, no_hub};

fn file(name: &str) -> PathBuf {
    golden(&format!("gguf/{name}.gguf"))
}

#[test]
fn a_file_is_a_model() {
    let app = TestApp::unloaded(|_| {});
    app.load_folders(vec![file("qwen2")]);
    let models: Value = app.get("/models").send().unwrap().json().unwrap();
    let model = &models["models"][0];
    assert_eq!((&model["name"], &model["architecture"]), (&json!("qwen2"), &json!("qwen2")));
    assert_eq!(model["capabilities"], json!(["forward", "gradient", "attention", "hidden"]));
    let [bytes, as_f32] = ["bytes", "as_f32"].map(|key| model["memory"][key].as_u64().unwrap());
    assert!(bytes < as_f32 / 2, "{bytes} of {as_f32}");

    let request = json!({
        "text": "The teacher was waiting for", "completion": " a letter",
        "explain": ["occlusion", "lime", "integrated_gradients", "attention_relevance", {"method": "logit_lens"}],
    });
    let answer = app.ask("/explain", &request);
    // Some are one for each token of the completion.
    let mut methods: Vec<_> = answer["explanations"].as_array().unwrap().iter().map(|one| &one["method"]).collect();
    methods.dedup();
    assert_eq!(methods, ["occlusion", "lime", "integrated_gradients", "attention_relevance", "logit_lens"]);
    assert_eq!(stable(answer).to_string(), stable(app.ask("/explain", &request)).to_string(), "the same bytes again");
    // What goes back through the blocks adds up to the change of the output.
    let request = json!({"text": "The teacher was waiting for", "completion": " a", "target": {"token": 0},
        "explain": ["deep_lift"]});
    let answer = app.ask("/explain", &request);
    let [base, output, residual] =
        ["base_value", "output_value", "residual"].map(|key| answer["explanations"][0][key].as_f64().unwrap());
    assert!(residual.abs() < 1e-3 * (output - base).abs(), "{residual} of {base} to {output}");
    let written = app.ask("/predict", &json!({"text": "The teacher", "generate": {"max_new_tokens": 4}}));
    assert_eq!(written["prediction"]["tokens"].as_array().unwrap().len(), 4);
    // The file's own template of chats.
    let chat = json!({"messages": [{"role": "user", "content": "The teacher"}], "generate": {"max_new_tokens": 2}});
    assert_eq!(app.ask("/predict", &chat)["prediction"]["tokens"].as_array().unwrap().len(), 2);
}

#[test]
fn what_is_wrong_with_a_file_is_said_by_its_name() {
    let load = |path: PathBuf| match ServedModel::load(None, &Source::Folder(path), &no_hub()) {
        Ok(_) => panic!("loaded"),
        Err(error) => error.to_string(),
    };
    // No tokenizer that could be read out of it, and none beside.
    let error = load(file("llama"));
    assert!(error.contains("llama.gguf: its tokenizer is of the kind \"llama\""), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let cut = folder.path().join("cut.gguf");
    let bytes = std::fs::read(file("qwen2")).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 100]).unwrap();
    let error = load(cut);
    assert!(error.contains("cut.gguf: is no GGUF file that can be read: it ends before tensor"), "{error}");
}
