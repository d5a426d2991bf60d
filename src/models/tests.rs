//! Every family against transformers (tests/golden) and against central differences; damaged folders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::*;
use crate::hub::FileBytes;
use crate::nn::{Device, Tape};

const TEXT: [&str; 5] =
    ["tiny-bert", "tiny-bert-tanh", "tiny-bert-multilabel", "tiny-bert-regression", "tiny-bert-sigmoid"];
const IMAGE: [&str; 2] = ["tiny-vit", "tiny-vit-plain"];

fn golden(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

fn folder(name: &str) -> ModelFolder {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.insert(file, FileBytes::Owned(Arc::new(std::fs::read(&path).unwrap())));
    }
    let weights = files.keys().filter(|file| file.ends_with(".safetensors")).cloned().collect();
    ModelFolder { source: name.into(), revision: None, files, weights, sha256: String::new() }
}

struct Golden(std::collections::HashMap<String, Tensor>);

impl Golden {
    fn of(name: &str) -> Self {
        let path = golden(&format!("values/{name}.safetensors"));
        Self(candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap())
    }
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    fn get(&self, name: &str) -> Vec<f32> {
        let tensor = self.0.get(name).unwrap_or_else(|| panic!("golden {name}"));
        tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }
    fn ids(&self, name: &str) -> Vec<u32> {
        self.get(name).into_iter().map(|id| id as u32).collect()
    }
    fn row(&self, case: usize) -> Row {
        let content = match self.has(&format!("{case}.input_ids")) {
            true => Content::Tokens {
                ids: self.ids(&format!("{case}.input_ids")),
                type_ids: self.ids(&format!("{case}.token_type_ids")),
            },
            false => Content::Pixels(self.get(&format!("{case}.pixel_values"))),
        };
        Row { content, read: vec![0] }
    }
    fn cases(&self) -> usize {
        (0..).take_while(|case| self.has(&format!("{case}.logits"))).count()
    }
}

/// Largest difference relative to the oracle's largest value.
fn close(what: &str, ours: &[f32], oracle: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), oracle.len(), "{what}");
    let scale = oracle.iter().fold(1e-6f32, |max, x| max.max(x.abs()));
    let worst = ours.iter().zip(oracle).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(worst <= tolerance * scale, "{what}: off by {} of scale", worst / scale);
}

/// All cases of a folder packed into one batch: logits, attention maps and gradients equal transformers' within 1e-5
/// of each tensor's largest value, on every device.
#[test]
fn logits_attention_and_gradients_are_those_of_transformers() {
    for device in Device::every() {
        parity_on(&device);
    }
}

fn parity_on(device: &Device) {
    for name in TEXT.into_iter().chain(IMAGE) {
        let model = load(&folder(name)).unwrap();
        let golden = Golden::of(name);
        let cases = golden.cases();
        assert!(cases >= 3, "{name}");
        let batch = Batch::new((0..cases).map(|case| golden.row(case)).collect());
        let layers: Vec<usize> = (0..model.spec().layers).collect();
        let mut tape = Tape::new(&(), true).on(device);
        let outputs = model.forward(&mut tape, &batch, &TapPlan { attention: layers }).unwrap();
        let name = &format!("{name} on {device:?}");
        let labels = model.spec().labels.len();
        for case in 0..cases {
            let logits = &outputs.logits.value()[case * labels..][..labels];
            close(&format!("{name} {case} logits"), logits, &golden.get(&format!("{case}.logits")), 1e-5);
            for map in &outputs.attention {
                let oracle = golden.get(&format!("{case}.attention.{}", map.layer));
                close(&format!("{name} {case} attention {}", map.layer), map.row(case), &oracle, 1e-5);
            }
        }
        check_gradients(name, &golden, &tape, &outputs, &batch, labels);
    }
}

fn check_gradients(name: &str, golden: &Golden, tape: &Tape<'_>, outputs: &Outputs, batch: &Batch, labels: usize) {
    for (target, cotangent) in [("0", [1.0, 0.0]), ("1", [0.0, 1.0]), ("1-0", [-1.0, 1.0])] {
        if labels == 1 && target != "0" {
            continue;
        }
        let mut seed = vec![0.0; outputs.logits.value().len()];
        for logits in seed.chunks_exact_mut(labels) {
            logits.iter_mut().zip(cotangent).for_each(|(seed, value)| *seed = value);
        }
        let gradient = tape.backward(&outputs.logits, &seed, &outputs.input).unwrap();
        let offsets = batch.offsets();
        let mut checked = 0;
        for case in 0..batch.rows.len() {
            let key = format!("{case}.gradient.{target}");
            if golden.has(&key) {
                let own = &gradient[offsets[case] * outputs.input.cols()..offsets[case + 1] * outputs.input.cols()];
                close(&format!("{name} {key}"), own, &golden.get(&key), 1e-5);
                checked += 1;
            }
        }
        assert!(checked > 0, "{name}: no golden gradient of {target}");
    }
}

/// A text model and an image model on every device.
fn everywhere() -> impl Iterator<Item = (Device, &'static str)> {
    Device::every().into_iter().flat_map(|device| ["tiny-bert", "tiny-vit"].map(|name| (device.clone(), name)))
}

/// d logit / d input along random directions equals central differences of the forward.
#[test]
fn gradients_of_families_are_central_differences() {
    for (device, name) in everywhere() {
        let model = load(&folder(name)).unwrap();
        let row = Golden::of(name).row(0);
        let mut tape = Tape::new(&(), true).on(&device);
        let outputs = model.forward(&mut tape, &Batch::new(vec![row.clone()]), &TapPlan::default()).unwrap();
        let mut seed = vec![0.0; outputs.logits.value().len()];
        seed[1] = 1.0;
        let gradient = tape.backward(&outputs.logits, &seed, &outputs.input).unwrap();
        let x = outputs.input.value().to_vec();
        let at = |step: f32| {
            let moved: Vec<f32> = x.iter().zip(&gradient).map(|(x, g)| x + step * g).collect();
            let content = match &row.content {
                Content::Tokens { ids, type_ids } => {
                    Content::Embedded { values: moved, tokens: ids.len(), type_ids: type_ids.clone() }
                }
                _ => Content::Pixels(moved),
            };
            let batch = Batch::new(vec![Row { content, read: vec![0] }]);
            let mut tape = Tape::new(&(), false).on(&device);
            model.forward(&mut tape, &batch, &TapPlan::default()).unwrap().logits.value()[1]
        };
        let square: f32 = gradient.iter().map(|g| g * g).sum();
        let h = 2e-3 / square.sqrt();
        let numeric = (at(h) - at(-h)) / (2.0 * h);
        assert!((numeric - square).abs() < 5e-3 * square, "{name}: {numeric} against {square}");
    }
}

/// A row's logits are the same alone and packed among others, in any order: the same bits on the host.
#[test]
fn rows_do_not_see_their_neighbours() {
    for (device, name) in everywhere() {
        let model = load(&folder(name)).unwrap();
        let golden = Golden::of(name);
        let rows: Vec<Row> = (0..golden.cases()).map(|case| golden.row(case)).collect();
        let run = |rows: Vec<Row>| {
            let mut tape = Tape::new(&(), false).on(&device);
            let outputs = model.forward(&mut tape, &Batch::new(rows), &TapPlan::default()).unwrap();
            outputs.logits.value().chunks_exact(model.spec().labels.len()).map(<[f32]>::to_vec).collect::<Vec<_>>()
        };
        let packed = run(rows.iter().rev().cloned().collect());
        for (row, together) in rows.iter().rev().zip(&packed) {
            let alone = &run(vec![row.clone()])[0];
            match device.is_host() {
                true => assert_eq!(alone, together, "{name}"),
                false => close(&format!("{name} on {device:?}"), together, alone, 1e-5),
            }
        }
    }
}

fn edit(name: &str, change: impl FnOnce(&mut ModelFolder)) -> String {
    let mut folder = folder(name);
    change(&mut folder);
    match load(&folder) {
        Ok(_) => panic!("a damaged folder was loaded"),
        Err(error) => error.to_string(),
    }
}

fn replace(folder: &mut ModelFolder, from: &str, to: &str) {
    let config = String::from_utf8(folder.file("config.json").unwrap().to_vec()).unwrap();
    assert!(config.contains(from), "{from}");
    let changed = config.replacen(from, to, 1);
    folder.files.insert("config.json".into(), FileBytes::Owned(Arc::new(changed.into_bytes())));
}

#[test]
fn damaged_folders_are_errors_that_name_the_file_and_the_key() {
    let cut = |folder: &mut ModelFolder| {
        let bytes = folder.file("model.safetensors").unwrap();
        let half = bytes[..bytes.len() / 2].to_vec();
        folder.files.insert("model.safetensors".into(), FileBytes::Owned(Arc::new(half)));
    };
    assert!(edit("tiny-bert", cut).starts_with("model.safetensors: is no safetensors file or is cut short"));
    let wide = edit("tiny-bert", |f| replace(f, "\"intermediate_size\": 64", "\"intermediate_size\": 65"));
    assert!(wide.contains("bert.encoder.layer.0.intermediate.dense.weight") && wide.contains("[65, 32]"), "{wide}");
    let deep = edit("tiny-bert", |f| replace(f, "\"num_hidden_layers\": 3", "\"num_hidden_layers\": 4"));
    assert!(deep.contains("\"bert.encoder.layer.3.attention.self.query.weight\" is missing"), "{deep}");
    let absurd = edit("tiny-bert", |f| replace(f, "\"hidden_size\": 32", "\"hidden_size\": 4000000000"));
    assert!(absurd.starts_with("config.json: hidden_size"), "{absurd}");
    let heads = edit("tiny-bert", |f| replace(f, "\"num_attention_heads\": 4", "\"num_attention_heads\": 5"));
    assert!(heads.contains("num_attention_heads: 5 does not divide hidden_size 32"), "{heads}");
    let family = edit("tiny-bert", |f| replace(f, "\"model_type\": \"bert\"", "\"model_type\": \"bart\""));
    assert!(family.contains("\"bart\" is not known; known are bert, vit"), "{family}");
    let head = edit("tiny-bert", |f| replace(f, "BertForSequenceClassification", "BertForMaskedLM"));
    assert!(head.contains("BertForMaskedLM") && head.contains("BertForSequenceClassification"), "{head}");
    let act = edit("tiny-bert", |f| replace(f, "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"mish\""));
    assert!(act.contains("hidden_act: \"mish\" is not supported"), "{act}");
    let text = edit("tiny-bert", |f| replace(f, "\"hidden_size\": 32", "\"hidden_size\": \"32\""));
    assert!(text.starts_with("config.json: hidden_size: invalid type"), "{text}");
    let shard = |folder: &mut ModelFolder| {
        let first = folder.weights.remove(0);
        folder.files.remove(&first);
    };
    assert!(edit("tiny-bert-tanh", shard).contains("is missing"));
}
