//! Every family against transformers (tests/golden) and against central differences; damaged folders.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::*;
use crate::hub::FileBytes;
use crate::nn::{Device, Tape};

pub(super) const TEXT: [&str; 26] = [
    "tiny-bert",
    "tiny-bert-tanh",
    "tiny-bert-multilabel",
    "tiny-bert-regression",
    "tiny-bert-sigmoid",
    "tiny-distilbert",
    "tiny-roberta",
    "tiny-camembert",
    "tiny-xlm-roberta",
    "tiny-xlm-roberta-xl",
    "tiny-electra",
    "tiny-albert",
    "tiny-deberta",
    "tiny-deberta-v3",
    "tiny-deberta-v2",
    "tiny-mpnet",
    "tiny-modernbert",
    "tiny-modernbert-mean",
    "tiny-gpt2",
    "tiny-llama",
    "tiny-mistral",
    "tiny-qwen2",
    "tiny-qwen3",
    "tiny-gemma2",
    "tiny-gemma3",
    "tiny-phi3",
];
pub(super) const IMAGE: [&str; 14] = [
    "tiny-vit",
    "tiny-vit-plain",
    "tiny-deit",
    "tiny-deit-distilled",
    "tiny-dinov2",
    "tiny-dinov2-registers",
    "tiny-beit",
    "tiny-beit-shared",
    "tiny-swin",
    "tiny-resnet",
    "tiny-resnet-basic",
    "tiny-convnext",
    "tiny-vgg",
    "tiny-vgg-bn",
];

pub(crate) fn golden(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

pub(super) fn folder(name: &str) -> ModelFolder {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        let file = path.file_name().unwrap().to_str().unwrap().to_owned();
        files.insert(file, FileBytes::Owned(Arc::new(std::fs::read(&path).unwrap())));
    }
    let weights = files.keys().filter(|file| file.ends_with(".safetensors")).cloned().collect();
    ModelFolder { source: name.into(), revision: None, files, weights, sha256: String::new() }
}

pub(super) struct Golden(std::collections::HashMap<String, Tensor>);

impl Golden {
    pub fn of(name: &str) -> Self {
        let path = golden(&format!("values/{name}.safetensors"));
        Self(candle_core::safetensors::load(path, &candle_core::Device::Cpu).unwrap())
    }
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    pub fn get(&self, name: &str) -> Vec<f32> {
        let tensor = self.0.get(name).unwrap_or_else(|| panic!("golden {name}"));
        tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
    }
    fn ids(&self, name: &str) -> Vec<u32> {
        self.get(name).into_iter().map(|id| id as u32).collect()
    }
    pub fn row(&self, case: usize) -> Row {
        let content = match self.has(&format!("{case}.input_ids")) {
            true => Content::Tokens {
                ids: self.ids(&format!("{case}.input_ids")),
                type_ids: self.ids(&format!("{case}.token_type_ids")),
            },
            false => Content::Pixels(self.get(&format!("{case}.pixel_values"))),
        };
        let read = format!("{case}.read");
        Row { content, read: vec![if self.has(&read) { self.ids(&read)[0] as usize } else { 0 }] }
    }
    pub fn cases(&self) -> usize {
        (0..).take_while(|case| self.has(&format!("{case}.logits"))).count()
    }
}

/// Largest difference relative to the oracle's largest value, which is given back.
pub(super) fn close(what: &str, ours: &[f32], oracle: &[f32], tolerance: f32) -> f32 {
    assert_eq!(ours.len(), oracle.len(), "{what}");
    let scale = oracle.iter().fold(1e-6f32, |max, x| max.max(x.abs()));
    let worst = ours.iter().zip(oracle).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(worst <= tolerance * scale, "{what}: off by {} of scale", worst / scale);
    worst / scale
}

/// All cases of a folder packed into one batch: logits, attention maps and gradients equal transformers' within 1e-5
/// of each tensor's largest value, on every device. `--nocapture` shows how far they are off.
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
        let attends = model.spec().capabilities.covers(&[Capability::Attention]);
        let layers: Vec<usize> = (0..if attends { model.spec().layers } else { 0 }).collect();
        let mut tape = Tape::new(&(), true).on(device);
        let mut outputs = model.forward(&mut tape, &batch, &TapPlan::attention(layers)).unwrap();
        let attention = std::mem::take(&mut outputs.tapped).record().unwrap().attention;
        let name = &format!("{name} on {device:?}");
        let labels = model.spec().labels.len();
        let mut worst = [0f32; 2];
        for case in 0..cases {
            let logits = &outputs.logits.value()[case * labels..][..labels];
            let off = close(&format!("{name} {case} logits"), logits, &golden.get(&format!("{case}.logits")), 1e-5);
            worst[0] = worst[0].max(off);
            for map in &attention {
                let oracle = golden.get(&format!("{case}.attention.{}", map.layer));
                let off = close(&format!("{name} {case} attention {}", map.layer), map.row(case), &oracle, 1e-5);
                worst[1] = worst[1].max(off);
            }
        }
        let gradients = check_gradients(name, &golden, &tape, &outputs, &batch, labels);
        println!("{name}: logits {:.1e}, attention {:.1e}, gradients {gradients:.1e} of scale", worst[0], worst[1]);
    }
}

fn check_gradients(
    name: &str,
    golden: &Golden,
    tape: &Tape<'_>,
    outputs: &Outputs,
    batch: &Batch,
    labels: usize,
) -> f32 {
    let mut worst = 0f32;
    for (target, cotangent) in [("0", [1.0, 0.0]), ("1", [0.0, 1.0]), ("1-0", [-1.0, 1.0])] {
        let keys = (0..batch.rows.len()).map(|case| format!("{case}.gradient.{target}"));
        if !keys.into_iter().any(|key| golden.has(&key)) {
            assert_ne!(target, "0", "{name}: no golden gradient");
            continue;
        }
        let mut seed = vec![0.0; outputs.logits.value().len()];
        for logits in seed.chunks_exact_mut(labels) {
            logits.iter_mut().zip(cotangent).for_each(|(seed, value)| *seed = value);
        }
        let gradient = tape.backward(&outputs.logits, &seed, &outputs.input).unwrap();
        let offsets = batch.offsets();
        for case in 0..batch.rows.len() {
            let key = format!("{case}.gradient.{target}");
            if golden.has(&key) {
                let own = &gradient[offsets[case] * outputs.input.cols()..offsets[case + 1] * outputs.input.cols()];
                worst = worst.max(close(&format!("{name} {key}"), own, &golden.get(&key), 1e-5));
            }
        }
    }
    worst
}

/// Every model on every device.
fn everywhere() -> impl Iterator<Item = (Device, &'static str)> {
    Device::every().into_iter().flat_map(|device| TEXT.into_iter().chain(IMAGE).map(move |name| (device.clone(), name)))
}

/// d logit / d input along random directions equals central differences of the forward.
#[test]
fn gradients_of_families_are_central_differences() {
    for (device, name) in everywhere() {
        let model = load(&folder(name)).unwrap();
        let row = Golden::of(name).row(0);
        // A logit of the images' models whose gradient is not small.
        let target = if IMAGE.contains(&name) { 1 } else { model.spec().labels.len() - 1 };
        let mut tape = Tape::new(&(), true).on(&device);
        let outputs = model.forward(&mut tape, &Batch::new(vec![row.clone()]), &TapPlan::default()).unwrap();
        let mut seed = vec![0.0; outputs.logits.value().len()];
        seed[target] = 1.0;
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
            let batch = Batch::new(vec![Row { content, read: row.read.clone() }]);
            let mut tape = Tape::new(&(), false).on(&device);
            model.forward(&mut tape, &batch, &TapPlan::default()).unwrap().logits.value()[target]
        };
        let square: f32 = gradient.iter().map(|g| g * g).sum();
        // Small, so that few ReLUs change sides on the way.
        let h = 5e-4 / square.sqrt();
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
                false => assert!(close(&format!("{name} on {device:?}"), together, alone, 1e-5) <= 1e-5),
            }
        }
    }
}

fn tokens(ids: Vec<u32>) -> Batch {
    Batch::new(vec![Row { content: Content::Tokens { ids, type_ids: Vec::new() }, read: vec![0] }])
}

/// The position that a spec names is the one that transformers reads, pads written by the user included.
#[test]
fn the_position_read_is_that_of_transformers() {
    for name in TEXT {
        let (model, golden) = (load(&folder(name)).unwrap(), Golden::of(name));
        for case in 0..golden.cases() {
            let row = golden.row(case);
            let Content::Tokens { ids, .. } = row.content else { panic!("{name}") };
            assert_eq!(model.spec().reads.position(ids.into_iter()), row.read[0], "{name} {case}");
        }
    }
}

/// A row of one token attends to itself alone; a row longer than the model is an error and no panic.
#[test]
fn rows_may_be_short_but_not_too_long() {
    for name in TEXT {
        let model = load(&folder(name)).unwrap();
        let spec = model.spec();
        let taps = TapPlan::attention((0..spec.layers).collect());
        let outputs = model.forward(&mut Tape::new(&(), true), &tokens(vec![2]), &taps).unwrap();
        let attention = outputs.tapped.record().unwrap().attention;
        assert!(attention.iter().all(|map| map.values.iter().all(|p| *p == 1.0)), "{name}");
        let run = |ids| model.forward(&mut Tape::new(&(), false), &tokens(ids), &TapPlan::default());
        assert!(run(vec![5; spec.max_positions]).is_ok(), "{name}");
        // Without a position table length is the tokenizer's business.
        let decoders =
            ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3", "phi3"].map(|name| format!("tiny-{name}"));
        let unbounded = name == "tiny-deberta"
            || name == "tiny-deberta-v3"
            || name.starts_with("tiny-modernbert")
            || decoders.contains(&name.into());
        assert_eq!(run(vec![5; spec.max_positions + 1]).is_ok(), unbounded, "{name}");
        assert!(run(vec![spec.vocab as u32]).is_err(), "{name}: an id outside the vocabulary");
        assert!(run(Vec::new()).is_err(), "{name}: a row without a token has no first");
    }
}

pub(super) fn edit(name: &str, change: impl FnOnce(&mut ModelFolder)) -> String {
    let mut folder = folder(name);
    change(&mut folder);
    match load(&folder) {
        Ok(_) => panic!("a damaged folder was loaded"),
        Err(error) => error.to_string(),
    }
}

pub(super) fn replace(folder: &mut ModelFolder, from: &str, to: &str) {
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
    assert!(family.contains("\"bart\" is not known; known are albert,"), "{family}");
    assert!(FAMILIES.iter().flat_map(|known| known.model_types()).all(|known| family.contains(known)), "{family}");
    let head = edit("tiny-bert", |f| replace(f, "BertForSequenceClassification", "BertForMultipleChoice"));
    assert!(head.contains("BertForMultipleChoice") && head.contains("BertForSequenceClassification"), "{head}");
    let act = edit("tiny-bert", |f| replace(f, "\"hidden_act\": \"gelu\"", "\"hidden_act\": \"mish\""));
    assert!(act.contains("hidden_act: \"mish\" is not supported"), "{act}");
    let text = edit("tiny-bert", |f| replace(f, "\"hidden_size\": 32", "\"hidden_size\": \"32\""));
    assert!(text.starts_with("config.json: hidden_size: invalid type"), "{text}");
    let relative = edit("tiny-electra", |f| replace(f, "{", "{\"position_embedding_type\": \"relative_key\","));
    assert!(relative.starts_with("config.json: position_embedding_type: only \"absolute\""), "{relative}");
    let pad = edit("tiny-roberta", |f| replace(f, "\"pad_token_id\": 1", "\"pad_token_id\": 99"));
    assert!(pad.starts_with("config.json: pad_token_id: leaves none of 42 positions"), "{pad}");
    let dim = edit("tiny-distilbert", |f| replace(f, "\"n_heads\": 2", "\"n_heads\": 3"));
    assert_eq!(dim, "config.json: n_heads: 3 does not divide dim 32");
    let groups = edit("tiny-albert", |f| replace(f, "\"num_hidden_groups\": 2", "\"num_hidden_groups\": 9"));
    assert!(groups.starts_with("config.json: num_hidden_groups: 9 is outside 1 … 3"), "{groups}");
    let even = edit("tiny-deberta-v2", |f| replace(f, "\"conv_kernel_size\": 3", "\"conv_kernel_size\": 4"));
    assert!(even.starts_with("config.json: conv_kernel_size: an even number"), "{even}");
    let range =
        edit("tiny-deberta-v2", |f| replace(f, "\"max_relative_positions\": 9", "\"max_relative_positions\": 8"));
    assert!(range.contains("rel_embeddings.weight\" has shape [18, 32], config.json asks for [16, 32]"), "{range}");
    let groups = edit("tiny-llama", |f| replace(f, "\"num_key_value_heads\": 2", "\"num_key_value_heads\": 3"));
    assert_eq!(groups, "config.json: num_key_value_heads: 3 does not divide num_attention_heads 4");
    let rope = edit("tiny-llama", |f| replace(f, "\"rope_type\": \"llama3\"", "\"rope_type\": \"proportional\""));
    assert!(rope.starts_with("config.json: rope_scaling.rope_type: \"proportional\" is not supported"), "{rope}");
    let window = edit("tiny-mistral", |f| replace(f, "\"sliding_window\": 5", "\"sliding_window\": 0"));
    assert!(window.starts_with("config.json: sliding_window: 0 is outside"), "{window}");
    let none = edit("tiny-qwen2", |f| replace(f, "\"use_sliding_window\": true", "\"use_sliding_window\": false"));
    assert!(none.starts_with("config.json: sliding_window: there is none"), "{none}");
    let kind = edit("tiny-gemma2", |f| replace(f, "\"full_attention\"", "\"linear_attention\""));
    assert!(kind.starts_with("config.json: layer_types: \"linear_attention\" is not known"), "{kind}");
    let deep = edit("tiny-qwen3", |f| replace(f, "\"head_dim\": 12", "\"head_dim\": 99999"));
    assert!(deep.starts_with("config.json: head_dim: 99999 is outside"), "{deep}");
    let odd = edit("tiny-phi3", |f| replace(f, "\"partial_rotary_factor\": 0.5", "\"partial_rotary_factor\": 2.0"));
    assert!(odd.starts_with("config.json: partial_rotary_factor: 2 is not"), "{odd}");
    let both = edit("tiny-gemma3", |f| {
        replace(f, "_attention\": false", "_attention\": true");
        replace(f, "Gemma3TextForSequenceClassification", "Gemma3ForCausalLM");
    });
    assert!(both.starts_with("config.json: use_bidirectional_attention: is for Gemma 3 with a"), "{both}");
    let older = edit("tiny-gemma2", |f| replace(f, "_attention\": null", "_attention\": true"));
    assert!(older.starts_with("config.json: use_bidirectional_attention: is for Gemma 3 with a"), "{older}");
    let multimodal = "\"text_config\": {\"model_type\": \"gemma3_text\"}, \"model_type\": \"gemma3\"";
    let images = edit("tiny-gemma3", |f| replace(f, "\"model_type\": \"gemma3_text\"", multimodal));
    assert!(images.starts_with("config.json: model_type: \"gemma3\" reads images"), "{images}");
    assert!(images.contains("\"gemma3_text\""), "{images}");
    let wide = edit("tiny-gpt2", |f| replace(f, "\"n_inner\": 48", "\"n_inner\": 49"));
    assert!(wide.contains("transformer.h.0.mlp.c_fc.weight") && wide.contains("[32, 49]"), "{wide}");
    let shard = |folder: &mut ModelFolder| {
        let first = folder.weights.remove(0);
        folder.files.remove(&first);
    };
    assert!(edit("tiny-bert-tanh", shard).contains("is missing"));
}

/// Keys as checkpoints on the hub have them give the same bits as those that transformers 5 writes.
#[test]
fn older_configurations_mean_the_same() {
    let logits = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut folder = folder(name);
        let mut config = serde_json::from_slice(folder.file("config.json").unwrap()).unwrap();
        change(&mut config);
        folder.files.insert("config.json".into(), FileBytes::Owned(Arc::new(config.to_string().into_bytes())));
        let batch = Batch::new(vec![Golden::of(name).row(1)]);
        let outputs = load(&folder).unwrap().forward(&mut Tape::new(&(), false), &batch, &TapPlan::default());
        outputs.unwrap().logits.value().to_vec()
    };
    let same = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        assert_eq!(logits(name, change), logits(name, &|_| ()), "{name}");
    };
    same("tiny-modernbert", &|config| {
        config.as_object_mut().unwrap().retain(|key, _| !["layer_types", "rope_parameters"].contains(&key.as_str()));
        config["global_rope_theta"] = 160_000.0.into();
        config["local_rope_theta"] = serde_json::Value::Null;
    });
    same("tiny-deberta-v3", &|config| config["pos_att_type"] = "p2c|c2p".into());
    same("tiny-distilbert", &|config| {
        config["hidden_size"] = config["dim"].clone();
        config.as_object_mut().unwrap().remove("dim");
    });
    same("tiny-roberta", &|config| drop(config.as_object_mut().unwrap().remove("pad_token_id")));
    // Of transformers 4 and 5, the other way round.
    same("tiny-llama", &|config| {
        config["rope_parameters"] = config.as_object_mut().unwrap().remove("rope_scaling").unwrap();
    });
    same("tiny-qwen3", &|config| {
        config["rope_theta"] = 1000.0.into();
        config["rope_scaling"] = serde_json::json!({"type": "linear", "factor": 2.0});
        config.as_object_mut().unwrap().retain(|key, _| !["layer_types", "rope_parameters"].contains(&key.as_str()));
    });
    same("tiny-gemma2", &|config| drop(config.as_object_mut().unwrap().remove("layer_types")));
    same("tiny-gemma3", &|config| {
        config.as_object_mut().unwrap().retain(|key, _| !key.starts_with("rope") && key != "sliding_window_pattern");
        config["layer_types"] = serde_json::json!(["sliding_attention", "full_attention", "sliding_attention"]);
        config["rope_parameters"] = serde_json::json!({
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 5000.0},
            "sliding_attention": {"rope_type": "default", "rope_theta": 50.0},
        });
    });
    // No row is longer than the model, so nothing is stretched.
    same("tiny-mistral", &|config| {
        config["rope_parameters"]["rope_type"] = "dynamic".into();
        config["rope_parameters"]["factor"] = 4.into();
    });
}

/// Every text family has the heads of tokens and spans under their usual names, and a classifier's folder has neither.
#[test]
fn heads_of_tokens_and_spans_go_by_their_usual_names() {
    for name in
        ["tiny-distilbert", "tiny-camembert", "tiny-electra", "tiny-deberta-v3", "tiny-mpnet", "tiny-xlm-roberta"]
    {
        for (head, tensor) in
            [("ForTokenClassification", "classifier.weight"), ("ForQuestionAnswering", "qa_outputs.weight")]
        {
            let error = edit(name, |folder| {
                let text = String::from_utf8(folder.file("config.json").unwrap().to_vec()).unwrap();
                let mut config: serde_json::Value = serde_json::from_str(&text).unwrap();
                let old = config["architectures"][0].as_str().unwrap().to_owned();
                config["architectures"][0] = old.replace("ForSequenceClassification", head).into();
                config["id2label"] = serde_json::json!({"0": "a", "1": "b"});
                folder.files.insert("config.json".into(), FileBytes::Owned(Arc::new(config.to_string().into_bytes())));
                let bytes = folder.file("model.safetensors").unwrap();
                let kept = safetensors::SafeTensors::deserialize(bytes).unwrap().tensors();
                let kept = kept.into_iter().filter(|(tensor, _)| tensor != "classifier.weight");
                let bytes = safetensors::serialize(kept, None).unwrap();
                folder.files.insert("model.safetensors".into(), FileBytes::Owned(Arc::new(bytes)));
            });
            assert!(error.contains("the head is missing") && error.contains(tensor), "{name} {head}: {error}");
        }
    }
    let three = edit("tiny-bert-answers", |f| {
        replace(f, "\"architectures\"", "\"id2label\": {\"0\": \"a\", \"1\": \"b\", \"2\": \"c\"}, \"architectures\"");
    });
    assert!(three.starts_with("config.json: id2label: a model that answers questions has 2 outputs"), "{three}");
}

/// A base model's folder whose config.json claims a classifier: the error names every tensor, nothing is filled in.
#[test]
fn a_missing_head_is_an_error_that_names_its_tensors() {
    let heads = [
        ("tiny-bert-sigmoid", ["bert.pooler.dense.weight", "classifier.bias"]),
        ("tiny-roberta", ["classifier.dense.weight", "classifier.out_proj.bias"]),
        ("tiny-distilbert", ["pre_classifier.weight", "classifier.bias"]),
        ("tiny-deberta-v3", ["pooler.dense.weight", "classifier.bias"]),
        ("tiny-gpt2", ["score.weight"; 2]),
        ("tiny-gemma3", ["score.weight"; 2]),
        ("tiny-roberta-tokens", ["classifier.weight", "classifier.bias"]),
        ("tiny-bert-answers", ["qa_outputs.weight", "qa_outputs.bias"]),
        ("tiny-modernbert-answers", ["classifier.weight", "classifier.bias"]),
    ];
    for (name, tensors) in heads {
        let error = edit(name, |folder| {
            let bytes = folder.file("model.safetensors").unwrap();
            let kept: Vec<_> = safetensors::SafeTensors::deserialize(bytes).unwrap().tensors();
            let kept = kept.into_iter().filter(|(tensor, _)| {
                !["classifier", "pre_classifier", "pooler", "bert.pooler", "qa_outputs", "score"]
                    .iter()
                    .any(|head| tensor.starts_with(head))
            });
            let bytes = safetensors::serialize(kept, None).unwrap();
            folder.files.insert("model.safetensors".into(), FileBytes::Owned(Arc::new(bytes)));
        });
        assert!(error.starts_with("model.safetensors: the head is missing"), "{name}: {error}");
        assert!(tensors.iter().all(|tensor| error.contains(tensor)), "{name}: {error}");
    }
}
