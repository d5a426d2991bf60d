//! Weights of half precision over HTTP: the same answers as from the same numbers in f32, in half the memory.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, safetensors};
use serde_json::{Value, json};

use crate::app::{TestApp, stable};
use crate::parity::golden;

/// A copy of a golden model in `folder`, its weights rounded to bf16 and stored as `stored`.
fn copy(name: &str, folder: &Path, stored: DType) {
    std::fs::create_dir(folder).unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    let file = folder.join("model.safetensors");
    let tensors = safetensors::load(&file, &Device::Cpu).unwrap();
    let convert = |tensor: Tensor| tensor.to_dtype(DType::BF16).unwrap().to_dtype(stored).unwrap();
    let tensors: HashMap<String, Tensor> = tensors.into_iter().map(|(name, tensor)| (name, convert(tensor))).collect();
    safetensors::save(&tensors, &file).unwrap();
}

#[test]
fn answers_are_those_of_the_same_numbers_in_f32() {
    let folder = tempfile::tempdir().unwrap();
    let folders = [("half", DType::BF16), ("whole", DType::F32)].map(|(name, stored)| {
        let folder = folder.path().join(name);
        copy("tiny-llama-lm", &folder, stored);
        folder
    });
    let app = TestApp::unloaded(|_| {});
    app.load_folders(folders.to_vec());
    let methods =
        ["occlusion", "lime", "shapley_sampling", "integrated_gradients", "input_x_gradient", "attention_relevance"];
    for precision in ["f32", "bf16"] {
        let items = methods.iter().map(|method| match *method {
            "occlusion" | "lime" | "shapley_sampling" => json!({"method": method, "precision": precision}),
            _ => json!(method),
        });
        let items: Vec<Value> = items.collect();
        let [half, whole] = ["half", "whole"].map(|model| {
            let request =
                json!({"model": model, "text": "a gripping film about", "completion": " the sea", "explain": items});
            let mut answer = stable(app.ask("/explain", &request));
            (answer["model"], answer["request"]["model"]) = (Value::Null, Value::Null);
            answer
        });
        assert_eq!(half["explanations"].as_array().unwrap().len(), methods.len());
        assert_eq!(half.to_string(), whole.to_string());
    }
    let models: Value = app.get("/models").send().unwrap().json().unwrap();
    let [half, whole] = [0, 1].map(|index| models["models"][index]["memory"].clone());
    assert_eq!((&half["as_f32"], &whole["bytes"]), (&whole["as_f32"], &whole["as_f32"]));
    let [bytes, as_f32] = ["bytes", "as_f32"].map(|key| half[key].as_u64().unwrap());
    assert!(as_f32 / 2 < bytes && bytes < as_f32 * 52 / 100, "{half}");
}
