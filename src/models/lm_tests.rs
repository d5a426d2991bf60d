//! Heads over the vocabulary against transformers (tests/golden/values/lm.json).

use std::sync::Arc;

use serde_json::Value;

use super::tests::{close, edit, folder, golden};
use super::*;
use crate::hub::FileBytes;
use crate::nn::Tape;

pub(crate) fn values() -> Value {
    serde_json::from_slice(&std::fs::read(golden("values/lm.json")).unwrap()).unwrap()
}

fn numbers<T>(value: &Value, of: impl Fn(f64) -> T) -> Vec<T> {
    value.as_array().unwrap().iter().map(|number| of(number.as_f64().unwrap())).collect()
}

/// The folder of a classifier with config.json changed to that of a language model.
pub(crate) fn changed(name: &str, changes: &Value) -> ModelFolder {
    let mut folder = folder(name);
    let mut config: Value = serde_json::from_slice(folder.file("config.json").unwrap()).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        config[key] = value.clone();
    }
    folder.files.insert("config.json".into(), FileBytes::Owned(Arc::new(config.to_string().into_bytes())));
    folder
}

/// Logits of the first completion token within 1e-5 of the largest, log-probabilities of all within 1e-5.
fn check(name: &str, model: &dyn Model, case: &Value) {
    let ids = |key: &str| numbers(&case[key], |id| id as u32);
    let (prompt, completion) = (ids("ids"), ids("completion_ids"));
    let read = (0..completion.len()).map(|index| prompt.len() - 1 + index).collect();
    let all = prompt.iter().chain(&completion).take(prompt.len() + completion.len() - 1).copied().collect();
    let row = Row { content: Content::Tokens { ids: all, type_ids: Vec::new() }, read };
    let mut tape = Tape::new(&(), false);
    let logits = model.forward(&mut tape, &Batch::new(vec![row]), &TapPlan::default()).unwrap().logits;
    assert_eq!((logits.rows(), logits.cols()), (completion.len(), model.spec().outputs()), "{name}");
    let first = numbers(&case["logits"], |logit| logit as f32);
    if first.len() == logits.cols() {
        close(name, &logits.value()[..first.len()], &first, 1e-5);
    }
    let oracle = numbers(&case["log_probabilities"], |value| value);
    for (index, (row, &id)) in logits.value().chunks(logits.cols()).zip(&completion).enumerate() {
        let sum: f64 = row.iter().map(|&logit| f64::from(logit).exp()).sum();
        let own = f64::from(row[id as usize]) - sum.ln();
        assert!((own - oracle[index]).abs() < 1e-5, "{name} {index}: {own} for {}", oracle[index]);
    }
}

#[test]
fn log_probabilities_are_those_of_transformers() {
    let values = values();
    let families = values["families"].as_object().unwrap();
    assert_eq!(families.len(), 8);
    for (name, family) in families {
        let model = load(&changed(name, &family["config"])).unwrap();
        let spec = model.spec();
        assert_eq!((spec.about, spec.reads, spec.labels.len()), (About::Next, Reads::Each, 0), "{name}");
        family["cases"].as_array().unwrap().iter().for_each(|case| check(name, &*model, case));
    }
    for (name, case) in values["whole"].as_object().unwrap() {
        check(name, &*load(&folder(name)).unwrap(), case);
    }
}

/// Gemma 3 that sees both sides, against transformers (values/bidirectional.json): logits within 1e-5 of the largest,
/// norms of gradients within 1e-4.
#[test]
fn gemma_3_may_see_both_sides() {
    let values = std::fs::read(golden("values/bidirectional.json")).unwrap();
    let values: Value = serde_json::from_slice(&values).unwrap();
    for family in values["all"].as_array().unwrap() {
        let model = load(&changed("tiny-gemma3", &family["config"])).unwrap();
        for case in family["cases"].as_array().unwrap() {
            let (ids, read) = (numbers(&case["ids"], |id| id as u32), case["read"].as_u64().unwrap() as usize);
            assert_eq!(model.spec().reads.position(ids.iter().copied()), read);
            let row = Row { content: Content::Tokens { ids, type_ids: Vec::new() }, read: vec![read] };
            let mut tape = Tape::new(&(), true);
            let outputs = model.forward(&mut tape, &Batch::new(vec![row]), &TapPlan::default()).unwrap();
            close("logits", outputs.logits.value(), &numbers(&case["logits"], |logit| logit as f32), 1e-5);
            let gradient = tape.backward(&outputs.logits, &[0.0, 1.0, 0.0], &outputs.input).unwrap();
            let norm = |token: &[f32]| token.iter().map(|x| x * x).sum::<f32>().sqrt();
            let norms: Vec<f32> = gradient.chunks(model.spec().embedding).map(norm).collect();
            close("gradient", &norms, &numbers(&case["gradient"], |norm| norm as f32), 1e-4);
        }
    }
}

#[test]
fn a_missing_head_is_named() {
    let changes = serde_json::json!({"architectures": ["Qwen2ForCausalLM"], "tie_word_embeddings": false});
    let error = edit("tiny-qwen2", |folder| *folder = changed("tiny-qwen2", &changes));
    assert!(error.contains("the head is missing") && error.contains("lm_head.weight"), "{error}");
}

/// OpenAI's own files of GPT-2 name their tensors without the prefix.
#[test]
fn names_without_a_prefix_are_gpt2s_too() {
    let mut bare = folder("tiny-gpt2-lm");
    let bytes = bare.file("model.safetensors").unwrap();
    let tensors = safetensors::SafeTensors::deserialize(bytes).unwrap().tensors();
    let renamed = tensors.into_iter().map(|(name, view)| (name.trim_start_matches("transformer.").to_owned(), view));
    let bytes = safetensors::serialize(renamed, None).unwrap();
    bare.files.insert("model.safetensors".into(), FileBytes::Owned(Arc::new(bytes)));
    check("bare", &*load(&bare).unwrap(), &values()["whole"]["tiny-gpt2-lm"]);
}

/// A row behind a prefix has the bits that it has as a whole.
#[test]
fn a_prefix_changes_no_bit() {
    let values = values();
    for (name, family) in values["families"].as_object().unwrap() {
        let model = load(&changed(name, &family["config"])).unwrap();
        let case = &family["cases"][0];
        let ids = numbers(&case["ids"], |id| id as u32);
        let row = |ids: &[u32]| Row {
            content: Content::Tokens { ids: ids.to_vec(), type_ids: Vec::new() },
            read: (0..ids.len()).collect(),
        };
        let taps = TapPlan { prefix: true, ..TapPlan::default() };
        let run = |batch: Batch| {
            let outputs = model.forward(&mut Tape::new(&(), false), &batch, &taps).unwrap();
            (outputs.logits.value().to_vec(), outputs.tapped.record().unwrap().prefix.unwrap())
        };
        assert!(model.reuses(ids.len()), "{name}");
        let (whole, kept) = run(Batch::new(vec![row(&ids)]));
        let (_, before) = run(Batch::new(vec![row(&ids[..4])]));
        let (rest, all) = run(Batch::behind(before.clone(), vec![row(&ids[4..])]));
        assert_eq!(rest, whole[4 * model.spec().outputs()..], "{name}");
        assert_eq!(*all, *kept, "{name}");
        // Two rows behind the same, each by itself.
        let batch = Batch::behind(before, vec![row(&ids[4..7]), row(&ids[4..])]);
        let outputs = model.forward(&mut Tape::new(&(), false), &batch, TapPlan::NOTHING).unwrap();
        assert_eq!(outputs.logits.value()[3 * model.spec().outputs()..], rest, "{name}");
        // Each behind as much of the whole as it shares.
        let shared = [0, 1, 4, ids.len() - 1];
        let rows = shared.map(|shared| (shared, row(&ids[shared..]))).to_vec();
        let branches = Batch::branching(kept, rows);
        let outputs = model.forward(&mut Tape::new(&(), false), &branches, TapPlan::NOTHING).unwrap();
        let expected: Vec<f32> =
            shared.iter().flat_map(|shared| &whole[shared * model.spec().outputs()..]).copied().collect();
        assert_eq!(outputs.logits.value(), expected, "{name}");
        let mut tape = Tape::new(&(), true);
        assert!(model.forward(&mut tape, &batch, TapPlan::NOTHING).is_err(), "{name}: gradients of a prefix");
    }
    // Beyond 16 tokens its rope turns otherwise.
    assert!(!load(&changed("tiny-phi3", &values["families"]["tiny-phi3"]["config"])).unwrap().reuses(17));
}
