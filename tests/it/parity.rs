//! Whole explanations, from a request to its answer, against transformers and Captum (tests/golden).

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use explaind::config::Limits;
use explaind::engine;
use explaind::explain::outcome::InputView;
use explaind::explain::{Answer, Catalog, ExplainRequest, ServedModel, Wanted, plan};
use explaind::hub::{HubOptions, Source};
use explaind::methods::Amount;
use serde_json::{Value, json};

pub fn golden(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(path)
}

pub fn no_hub() -> HubOptions {
    HubOptions {
        cache: PathBuf::new(),
        endpoint: String::new(),
        token: None,
        offline: true,
        deadline: std::time::Duration::from_secs(1),
        progress: false,
    }
}

fn catalog(source: Source) -> Catalog {
    Catalog::new(vec![ServedModel::load(None, &source, &no_hub()).unwrap()]).unwrap()
}

pub fn tiny(name: &str) -> Catalog {
    catalog(Source::Folder(golden(name)))
}

pub fn bundled(name: &str) -> Catalog {
    catalog(Source::Bundled(name.into()))
}

fn limits() -> Limits {
    explaind::config::Settings::default().limits
}

pub fn ask(catalog: &Catalog, request: Value, image: Option<Vec<u8>>) -> Answer {
    let request: ExplainRequest = serde_json::from_value(request).unwrap();
    let plan = plan(catalog, &limits(), "parity".into(), request, image, Wanted::Explanations).unwrap();
    engine::run_blocking(&plan, 2, 1024, &engine::Device::default()).unwrap()
}

pub struct Values(HashMap<String, Tensor>);

impl Values {
    pub fn of(name: &str) -> Self {
        let path = golden(&format!("values/{name}.safetensors"));
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }
    pub fn get(&self, name: &str) -> Option<Vec<f32>> {
        let tensor = self.0.get(name)?;
        Some(tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap())
    }
    pub fn shape(&self, name: &str) -> Vec<usize> {
        self.0[name].dims().to_vec()
    }
}

pub fn cases(name: &str) -> Vec<Value> {
    let file = std::fs::read(golden(&format!("values/{name}.json"))).unwrap();
    serde_json::from_slice::<Value>(&file).unwrap()["cases"].as_array().unwrap().clone()
}

/// Within `tolerance` of the oracle's largest value.
pub fn close(what: &str, ours: &[f32], oracle: &[f32], tolerance: f32) {
    assert_eq!(ours.len(), oracle.len(), "{what}");
    let scale = oracle.iter().fold(1e-6f32, |max, x| max.max(x.abs()));
    let worst = ours.iter().zip(oracle).fold(0f32, |max, (a, b)| max.max((a - b).abs()));
    assert!(worst <= tolerance * scale, "{what}: off by {} of scale", worst / scale);
}

pub fn floats(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap() as f32).collect()
}

pub fn logits(answer: &Answer) -> Vec<f32> {
    answer.prediction.classes().iter().map(|score| score.logit).collect()
}

pub fn request(case: &Value, item: Value, target: Value) -> Value {
    let mut request = json!({"text": case["text"], "explain": [item], "target": target});
    if case["pair"].is_string() {
        request["pair"] = case["pair"].clone();
    }
    request
}

const TEXT: [&str; 26] = [
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

/// Captum's integrated gradients, 200 and 16 nodes, on the logit against the pad baseline: within 1e-4 of the
/// largest score. ReLU (`multilabel`, `distilbert`): 1e-3, since rounding may take a node to the other side of a kink.
#[test]
fn integrated_gradients_of_texts_are_captums() {
    for name in TEXT {
        let (catalog, values) = (tiny(name), Values::of(name));
        let tolerance = if ["tiny-bert-multilabel", "tiny-distilbert"].contains(&name) { 1e-3 } else { 1e-4 };
        for (index, case) in cases(name).iter().enumerate() {
            for (target, key) in [(json!(0), "0"), (json!(1), "1"), (json!({"index": 1, "against": 0}), "1-0")] {
                for (steps, golden) in [(200, format!("{index}.ig.{key}")), (16, format!("{index}.ig16.{key}"))] {
                    let Some(oracle) = values.get(&golden) else { continue };
                    let item = json!({"method": "integrated_gradients", "steps": steps});
                    let answer = ask(&catalog, request(case, item, target.clone()), None);
                    let one = &answer.explanations.as_ref().unwrap()[0].attribution;
                    let what = format!("{name} {golden}");
                    close(&what, one.scores.tokens.as_ref().unwrap(), &oracle, tolerance);
                    // On one scale: a base may be a difference of equals.
                    let end = |end: &str| values.get(&format!("{index}.ig_{end}.{key}")).unwrap()[0];
                    let ours =
                        [&one.base_value, &one.output_value].map(|end| end.as_ref().and_then(Amount::one).unwrap());
                    close(&format!("{what} ends"), &ours, &[end("base"), end("output")], 1e-4);
                }
            }
        }
    }
}

/// Tokens and character offsets are the Python tokenizer's, probabilities the text-classification pipeline's: softmax, sigmoid (several labels; one label), the raw logit.
#[test]
fn predictions_are_those_of_the_pipelines() {
    for name in TEXT {
        let (catalog, values) = (tiny(name), Values::of(name));
        for (index, case) in cases(name).iter().enumerate() {
            let answer = ask(&catalog, request(case, json!("attention"), json!("predicted")), None);
            same_tokens(&answer, case);
            close(name, &logits(&answer), &values.get(&format!("{index}.logits")).unwrap(), 1e-5);
            for score in answer.prediction.classes() {
                let oracle = case["pipeline"][&score.label].as_f64().unwrap() as f32;
                let ours = score.probability.unwrap_or(score.logit);
                assert!((ours - oracle).abs() < 1e-5 * (1.0 + oracle.abs()), "{name} {index}: {ours} against {oracle}");
            }
        }
    }
}

/// The whole answer's attention maps equal transformers' eager ones, every layer and head.
#[test]
fn attention_maps_are_those_of_transformers() {
    for name in ["tiny-bert", "tiny-vit", "tiny-deit-distilled", "tiny-dinov2-registers", "tiny-beit"] {
        let (catalog, values) = (tiny(name), Values::of(name));
        let item = json!({"method": "attention", "layers": "all", "heads": "all"});
        for index in 0..3 {
            let answer = match name {
                "tiny-bert" => ask(&catalog, request(&cases(name)[index], item.clone(), json!("predicted")), None),
                _ => ask(&catalog, json!({"explain": [item.clone()]}), Some(golden_png(&values, index))),
            };
            let one = &answer.explanations.as_ref().unwrap()[0];
            assert!(one.target.is_none());
            let layers = one.attribution.scores.layers.as_ref().unwrap();
            for (layer, heads) in layers.iter().enumerate() {
                let ours: Vec<f32> = heads.iter().flatten().flatten().copied().collect();
                let oracle = values.get(&format!("{index}.attention.{layer}")).unwrap();
                // Images went through resizing: a pixel may differ by one level.
                close(
                    &format!("{name} {index} layer {layer}"),
                    &ours,
                    &oracle,
                    if name == "tiny-bert" { 1e-5 } else { 2e-3 },
                );
            }
        }
    }
}

/// A causal classifier's tokens are scored by the attention of the token it reads, the last that is no pad: two cases
/// of `tiny-mistral` end in pads.
#[test]
fn causal_classifiers_are_read_at_their_last_token() {
    for (name, cases_of) in [("tiny-mistral", 7), ("tiny-gpt2", 5), ("tiny-gemma3", 7)] {
        let (catalog, values) = (tiny(name), Values::of(name));
        let cases = cases(name);
        assert_eq!(cases.len(), cases_of);
        for (index, case) in cases.iter().enumerate() {
            let answer = ask(&catalog, request(case, json!("attention"), json!("predicted")), None);
            let ours = answer.explanations.as_ref().unwrap()[0].attribution.scores.tokens.clone().unwrap();
            let layers = (0..).take_while(|layer| values.get(&format!("{index}.attention.{layer}")).is_some()).count();
            let key = format!("{index}.attention.{}", layers - 1);
            let (map, shape) = (values.get(&key).unwrap(), values.shape(&key));
            let (heads, length) = (shape[0], shape[1]);
            let read = values.get(&format!("{index}.read")).unwrap()[0] as usize;
            let of_head = |head: usize, token: usize| map[(head * length + read) * length + token];
            let mean = |token| (0..heads).map(|head| of_head(head, token)).sum::<f32>() / heads as f32;
            close(&format!("{name} {index}"), &ours, &(0..length).map(mean).collect::<Vec<_>>(), 1e-5);
            assert!(ours[read + 1..].iter().all(|&score| score == 0.0), "{name} {index}");
        }
    }
}

/// GPT-2's tokenizer adds nothing, and the empty text has no token: one stands for it, as for a text of which nothing
/// is left.
#[test]
fn the_empty_text_of_a_causal_classifier_is_one_token() {
    let catalog = tiny("tiny-gpt2");
    let all = json!([{"method": "integrated_gradients"}, "attention", {"method": "lime", "output": "logit"}]);
    let empty = ask(&catalog, json!({"text": "", "explain": all, "target": 0}), None);
    let written = ask(&catalog, json!({"text": "<|endoftext|>", "method": "attention"}), None);
    assert_eq!(logits(&empty), logits(&written));
    let InputView::Text(text) = &empty.input else { panic!("a text") };
    assert!(text.tokens.len() == 1 && text.tokens[0].special && text.words.is_empty());
    for explanation in empty.explanations.as_ref().unwrap() {
        let scores = &explanation.attribution.scores;
        assert_eq!(scores.words.as_deref(), Some([].as_slice()), "{}", explanation.method);
        assert!(scores.tokens.as_ref().is_none_or(|tokens| tokens.len() == 1), "{}", explanation.method);
    }
    let one = ask(
        &catalog,
        json!({"text": "good film", "explain": [{"method": "lime", "output": "logit"}], "target": 0}),
        None,
    );
    let base = one.explanations.as_ref().unwrap()[0].attribution.base_value.as_ref().and_then(Amount::one).unwrap();
    assert_eq!(base, logits(&empty)[0]);
}

/// The golden image as a client sends it.
pub fn golden_png(values: &Values, index: usize) -> Vec<u8> {
    let shape = values.shape(&format!("{index}.image"));
    let bytes = values.get(&format!("{index}.image")).unwrap().into_iter().map(|x| x as u8).collect();
    let image = image::RgbImage::from_raw(shape[1] as u32, shape[0] as u32, bytes).unwrap();
    let mut png = std::io::Cursor::new(Vec::new());
    image.write_to(&mut png, image::ImageFormat::Png).unwrap();
    png.into_inner()
}

const IMAGE: [(&str, f32); 14] = [
    ("tiny-vit", 1e-3),
    ("tiny-vit-plain", 1e-3),
    ("tiny-deit", 1e-3),
    ("tiny-deit-distilled", 1e-3),
    ("tiny-dinov2", 1e-3),
    ("tiny-dinov2-registers", 1e-3),
    ("tiny-beit", 1e-3),
    ("tiny-beit-shared", 1e-3),
    ("tiny-swin", 1e-3),
    ("tiny-resnet", 1e-2),
    ("tiny-resnet-basic", 1e-2),
    ("tiny-convnext", 1e-3),
    ("tiny-vgg", 1e-2),
    ("tiny-vgg-bn", 1e-2),
];

/// Captum's integrated gradients of images, zero baseline, every pixel: within 1e-3 of the largest; with ReLU and max
/// pooling 1e-2, since rounding may take a node to the other side of a kink.
#[test]
fn integrated_gradients_of_images_are_captums() {
    for (name, tolerance) in IMAGE {
        let (catalog, values) = (tiny(name), Values::of(name));
        for index in 0..3 {
            for (steps, kind) in [(200, "ig"), (16, "ig16")] {
                // Some models have the first image's alone.
                let Some(oracle) = values.get(&format!("{index}.{kind}.1")) else {
                    assert!(index > 0, "{name}");
                    continue;
                };
                let item = json!({"method": "integrated_gradients", "steps": steps});
                let answer = ask(&catalog, json!({"explain": [item], "target": 1}), Some(golden_png(&values, index)));
                let one = &answer.explanations.as_ref().unwrap()[0].attribution;
                let grid = one.grid.unwrap();
                let shape = values.shape(&format!("{index}.{kind}.1"));
                let mut cells = vec![0.0; grid.rows * grid.cols];
                for (pixel, value) in oracle.iter().enumerate() {
                    // Cell r begins at ⌊rH/R⌋.
                    let cell = |at: usize, count: usize, length: usize| ((at + 1) * count - 1) / length;
                    let row = cell(pixel / shape[1], grid.rows, shape[0]);
                    cells[row * grid.cols + cell(pixel % shape[1], grid.cols, shape[1])] += value;
                }
                let ours: Vec<f32> = one.scores.grid.as_ref().unwrap().iter().flatten().copied().collect();
                close(&format!("{name} {index} {kind}"), &ours, &cells, tolerance);
            }
        }
    }
}

/// 20 real sentences: ids, offsets and logits as the Python tokenizer and transformers give them.
#[test]
fn bundled_sentiment_is_transformers() {
    let catalog = bundled("sentiment");
    let cases = cases("sentiment");
    assert_eq!(cases.len(), 20);
    for case in &cases {
        let answer = ask(&catalog, json!({"text": case["text"], "method": "attention"}), None);
        same_tokens(&answer, case);
        close("sentiment", &logits(&answer), &floats(&case["logits"]), 1e-4);
    }
}

fn same_tokens(answer: &Answer, case: &Value) {
    let InputView::Text(text) = &answer.input else { panic!("a text") };
    let ids: Vec<u64> = text.tokens.iter().map(|token| u64::from(token.id)).collect();
    assert_eq!(json!(ids), case["ids"], "{}", case["text"]);
    let offsets: Vec<[usize; 2]> = text.tokens.iter().map(|token| [token.start, token.end]).collect();
    assert_eq!(json!(offsets), case["offsets"], "{}", case["text"]);
    let pieces: Vec<&str> = text.tokens.iter().map(|token| token.text.as_str()).collect();
    assert_eq!(json!(pieces), case["tokens"], "{}", case["text"]);
}

/// Accents, emoji, CJK, contractions, pairs: character offsets as the Python tokenizer's.
#[test]
fn offsets_are_those_of_the_python_tokenizer() {
    let catalog = bundled("sentiment");
    for case in cases("offsets") {
        let answer = ask(&catalog, request(&case, json!("attention"), json!("predicted")), None);
        same_tokens(&answer, &case);
    }
}

/// 10 real images, as PNG of the pixels Pillow decodes: logits within 1e-3 of scale. Two as JPEG, whose decoders may
/// differ by a level or two: within 5e-2.
#[test]
fn bundled_blood_cells_is_transformers() {
    let catalog = bundled("blood-cells");
    let cases = cases("blood-cells");
    assert_eq!(cases.len(), 10);
    let mut jpegs = 0;
    for case in &cases {
        let oracle = floats(&case["logits"]);
        for (file, tolerance) in [(&case["file"], 1e-3), (&case["jpeg"], 5e-2)] {
            let Some(file) = file.as_str() else { continue };
            jpegs += usize::from(file.ends_with(".jpg"));
            let bytes = std::fs::read(golden(&format!("images/{file}"))).unwrap();
            let answer = ask(&catalog, json!({"method": "attention"}), Some(bytes));
            close(file, &logits(&answer), &oracle, tolerance);
        }
    }
    assert_eq!(jpegs, 2);
}
