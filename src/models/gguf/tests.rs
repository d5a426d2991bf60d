//! Files that llama.cpp's converter would write against transformers (tests/golden/values/gguf.json), and damaged ones.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::*;
use crate::input::text::{TextProcessor, Truncation};
use crate::models::tests::{close, golden};
use crate::models::{Batch, Content, Loaded, Row, TapPlan, load_with};
use crate::nn::Tape;

const NAMES: [&str; 6] = ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"];

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(golden(&format!("gguf/{name}.gguf"))).unwrap()
}

/// A folder of this file, with some tokenizer beside it unless its own is to be read.
fn folder(bytes: Vec<u8>, beside: bool) -> ModelFolder {
    let mut files = BTreeMap::from([("m.gguf".to_owned(), FileBytes::Owned(Arc::new(bytes)))]);
    if beside {
        let tokenizer = std::fs::read(golden("tiny-llama-lm/tokenizer.json")).unwrap();
        files.insert("tokenizer.json".to_owned(), FileBytes::Owned(Arc::new(tokenizer)));
    }
    ModelFolder { source: "m".into(), revision: None, files, weights: vec!["m.gguf".into()], sha256: String::new() }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

fn values() -> Value {
    serde_json::from_slice(&std::fs::read(golden("values/gguf.json")).unwrap()).unwrap()
}

#[test]
fn logits_are_those_of_transformers_with_the_blocks_numbers() {
    let values = values();
    for name in NAMES {
        let Loaded { model, memory } = load_with(&folder(bytes(name), true), None).unwrap();
        let own = &values[name];
        let ids: Vec<u32> = numbers(&own["ids"]).into_iter().map(|id| id as u32).collect();
        let read = (0..ids.len()).collect();
        let row = Row { content: Content::Tokens { ids: ids.clone(), type_ids: Vec::new() }, read };
        let mut tape = Tape::new(&(), true);
        let outputs = model.forward(&mut tape, &Batch::new(vec![row]), &TapPlan::default()).unwrap();
        let logits = outputs.logits.value();
        let cols = outputs.logits.cols();
        let last: Vec<f32> = numbers(&own["logits"]).into_iter().map(|logit| logit as f32).collect();
        close(name, &logits[logits.len() - cols..], &last, 1e-5);
        for (index, expected) in numbers(&own["log_probabilities"]).into_iter().enumerate() {
            let row = &logits[index * cols..][..cols];
            let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
            let found = f64::from(row[ids[index + 1] as usize]) - sum.ln();
            assert!((found - expected).abs() < 1e-5, "{name} {index}: {found} for {expected}");
        }
        assert!(memory.bytes * 5 < memory.as_f32 * 4, "{name}: {memory:?}");
        // Gradients go through the blocks: against central differences of the embedding.
        let mut seed = vec![0.0; logits.len()];
        seed[logits.len() - 1] = 1.0;
        let gradient = tape.backward(&outputs.logits, &seed, &outputs.input).unwrap();
        let embedded = outputs.input.value().to_vec();
        let at = |change: f32| {
            let values = embedded.iter().zip(&gradient).map(|(x, slope)| x + change * slope).collect();
            let content = Content::Embedded { values, tokens: ids.len(), type_ids: Vec::new() };
            let row = Row { content, read: vec![ids.len() - 1] };
            let outputs = model.forward(&mut Tape::new(&(), false), &Batch::new(vec![row]), &TapPlan::default());
            f64::from(*outputs.unwrap().logits.value().last().unwrap())
        };
        let slope: f64 = gradient.iter().map(|x| f64::from(x * x)).sum();
        let step = 1e-2 / slope.sqrt();
        let found = (at(step as f32) - at(-step as f32)) / (2.0 * step);
        assert!((found - slope).abs() < 0.01 * slope, "{name}: {found} along the gradient for {slope}");
    }
}

#[test]
fn a_byte_level_tokenizer_is_read_out_of_the_file() {
    let folder = completed(&folder(bytes("qwen2"), false)).unwrap().into_owned();
    let own = folder.file("tokenizer.json").unwrap();
    let settings = folder.file("tokenizer_config.json").unwrap();
    let own = TextProcessor::new(own, Some(settings), 40, 400).unwrap();
    let file = |name: &str| std::fs::read(golden(&format!("tiny-qwen2/{name}"))).unwrap();
    let theirs = TextProcessor::new(&file("tokenizer.json"), Some(&file("tokenizer_config.json")), 40, 400).unwrap();
    for text in ["The teacher was", " a café: 4 € in 東京 🙂!", "12345  x\n\n y's", "<|endoftext|>a", "Cafe\u{301}"]
    {
        let ids = |processor: &TextProcessor| -> Vec<u32> {
            processor.encode(text, None, Truncation::Truncate).unwrap().ids().collect()
        };
        assert_eq!(ids(&own), ids(&theirs), "{text}");
    }
    assert_eq!(own.specials().eos, theirs.specials().eos);
}

fn refused(bytes: Vec<u8>) -> String {
    match load_with(&folder(bytes, true), None) {
        Ok(_) => panic!("a damaged file was loaded"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn a_file_cut_anywhere_is_an_error_that_names_it() {
    let whole = bytes("llama");
    // Behind the last tensor there may be zeros up to the next border, which nothing reads.
    let padding = whole.iter().rev().take(31).take_while(|byte| **byte == 0).count();
    for len in (0..whole.len() - padding).step_by(97).chain([whole.len() - padding - 1]) {
        let error = refused(whole[..len].to_vec());
        assert!(error.starts_with("m.gguf: is no GGUF file that can be read:"), "{len}: {error}");
    }
}

#[test]
fn absurd_counts_are_refused_before_anything_is_made_for_them() {
    let whole = bytes("llama");
    let with = |at: usize, number: u64| {
        let mut bytes = whole.clone();
        bytes[at..at + 8].copy_from_slice(&number.to_le_bytes());
        refused(bytes)
    };
    // Counts of tensors and of keys, and the length of the first key.
    for (at, what) in [(8, "tensors"), (16, "keys"), (24, "characters")] {
        for number in [u64::MAX, 1 << 60, 1 << 40] {
            let error = with(at, number);
            assert!(error.contains(&format!("it promises {number} {what}")), "{error}");
        }
    }
    let version = refused([b"GGUF".as_slice(), &9_u32.to_le_bytes(), &whole[8..]].concat());
    assert!(version.contains("version 9 is not read"), "{version}");
    assert!(refused(b"PK\x03\x04 something else".to_vec()).contains("does not begin with GGUF"));
}

/// Any byte changed: an error or a model, never a panic.
#[test]
fn changed_bytes_are_survived() {
    let whole = bytes("qwen2");
    let described = Header::read(&FileBytes::Owned(Arc::new(whole.clone()))).unwrap();
    let end = described.tensors.iter().map(|tensor| tensor.place.start).min().unwrap();
    for at in (0..end).step_by(if cfg!(miri) { 4001 } else { 13 }) {
        for change in [0x01, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] ^= change;
            if let Err(error) = load_with(&folder(bytes, true), None) {
                assert!(error.to_string().starts_with("m.gguf: "), "{at}: {error}");
            }
        }
    }
}

/// A file made by hand: one key that is wrong, or one tensor of a kind that is not read.
#[test]
fn what_cannot_be_served_is_said() {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat();
    let start = |tensors: u64, keys: u64| {
        [b"GGUF".as_slice(), &3_u32.to_le_bytes(), &tensors.to_le_bytes(), &keys.to_le_bytes()].concat()
    };
    let architecture = |name: &str| [text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text(name)].concat();
    let unknown = refused([start(0, 1), architecture("bloom")].concat());
    assert!(unknown.contains("architecture \"bloom\" is not supported; supported are llama, qwen2"), "{unknown}");
    let tensor = [
        text("token_embd.weight"),
        2_u32.to_le_bytes().to_vec(),
        [32_u64, 4].map(u64::to_le_bytes).concat(),
        20_u32.to_le_bytes().to_vec(),
        0_u64.to_le_bytes().to_vec(),
    ];
    let kind = refused([start(1, 1), architecture("llama"), tensor.concat()].concat());
    assert!(kind.contains("\"token_embd.weight\" is stored as IQ4_NL, which is not read; read are F32"), "{kind}");
    let alignment = [text("general.alignment"), 4_u32.to_le_bytes().to_vec(), 0_u32.to_le_bytes().to_vec()].concat();
    let alignment = refused([start(0, 1), alignment].concat());
    assert!(alignment.contains("general.alignment: 0 is no alignment"), "{alignment}");
    let missing = match completed(&folder(bytes("llama"), false)) {
        Ok(_) => panic!("a tokenizer that is not read"),
        Err(error) => error.to_string(),
    };
    assert!(
        missing.contains("kind \"llama\"") && missing.contains("put the model's tokenizer.json beside it"),
        "{missing}"
    );
}
