//! candle-transformers' networks against timm and transformers, on weights that both sides make by one formula
//! (tests/golden/blackbox.py); damaged folders.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::hub::{FileBytes, ModelFolder};
use crate::models::{self, Batch, Capability, Content, LoadError, Model, Row, TapPlan};
use crate::nn::Tape;

type Tensors = Vec<(String, Vec<usize>)>;

fn golden() -> BTreeMap<String, Value> {
    let path = models::tests::golden("values/blackbox.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn tensors(golden: &Value) -> Tensors {
    serde_json::from_value(golden["tensors"].clone()).unwrap()
}

/// As `unit` of blackbox.py.
fn unit(name: &str, count: usize) -> impl Iterator<Item = f32> {
    let hash = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
    let state = name.bytes().fold(0xCBF2_9CE4_8422_2325, hash);
    (1..=count as u64).map(move |k| {
        let z = state.wrapping_add(k.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 40) as f32 / 16_777_216.0 - 0.5
    })
}

/// As `made` of blackbox.py.
fn made(name: &str, shape: &[usize]) -> Vec<u8> {
    let (base, spread) = match shape {
        _ if name.ends_with("running_var") => (1.0, 0.5),
        [_, rest @ ..] if matches!(shape.len(), 2 | 4) => {
            (0.0, (6.0 / rest.iter().product::<usize>() as f64).sqrt() as f32)
        }
        _ if name.ends_with("weight") || name.contains("gamma") => (1.0, 0.4),
        _ => (0.0, 0.2),
    };
    unit(name, shape.iter().product()).flat_map(|unit| (base + unit * spread).to_le_bytes()).collect()
}

fn folder(config: &Value, tensors: &Tensors) -> ModelFolder {
    let bytes: Vec<Vec<u8>> = tensors.iter().map(|(name, shape)| made(name, shape)).collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape), bytes)| {
        let view = safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape.clone(), bytes).unwrap();
        (name.as_str(), view)
    });
    let weights = safetensors::serialize(views, None).unwrap();
    let owned = |bytes: Vec<u8>| FileBytes::Owned(Arc::new(bytes));
    let files = BTreeMap::from([
        ("config.json".to_owned(), owned(config.to_string().into_bytes())),
        ("model.safetensors".to_owned(), owned(weights)),
        ("preprocessor_config.json".to_owned(), owned(json!({"size": {"height": 64, "width": 64}}).to_string().into())),
    ]);
    let weights = vec!["model.safetensors".to_owned()];
    ModelFolder { source: "made".into(), revision: None, files, weights, sha256: String::new() }
}

fn logits(model: &dyn Model, images: &[Vec<f32>]) -> Vec<f32> {
    let row = |pixels: &Vec<f32>| Row { content: Content::Pixels(pixels.clone()), read: vec![0] };
    let batch = Batch::new(images.iter().map(row).collect());
    let mut tape = Tape::new(&(), false);
    model.forward(&mut tape, &batch, &TapPlan::default()).unwrap().logits.value().to_vec()
}

fn error(config: &Value, tensors: &Tensors) -> String {
    models::load(&folder(config, tensors)).err().unwrap().to_string()
}

#[test]
fn logits_are_those_of_timm_and_transformers() {
    for (name, golden) in golden() {
        let model = models::load(&folder(&golden["config"], &tensors(&golden))).unwrap();
        assert_eq!(model.spec().capabilities.0, [Capability::Forward], "{name}");
        let side = golden["side"].as_u64().unwrap() as usize;
        let pixels: Vec<f32> = unit("pixels", 3 * side * side).map(|unit| unit * 4.0).collect();
        let found = logits(&*model, std::slice::from_ref(&pixels));
        let expected: Vec<f32> = serde_json::from_value(golden["logits"].clone()).unwrap();
        let scale = expected.iter().fold(0.0_f32, |most, logit| most.max(logit.abs()));
        for (found, expected) in found.iter().zip(&expected) {
            assert!((found - expected).abs() <= 2e-4 + 2e-3 * scale, "{name}: {found} for {expected}");
        }
        let grey = vec![0.1; pixels.len()];
        let batch = logits(&*model, &[grey.clone(), pixels.clone(), grey]);
        assert_eq!(batch[found.len()..2 * found.len()], found, "{name}: a row's bits depend on its neighbours");
    }
}

#[test]
fn files_that_do_not_fit_are_errors_that_say_what() {
    let golden = &golden()["mobilenetv4_conv_small"];
    let (config, whole) = (&golden["config"], tensors(golden));
    let without = |part: &str| whole.iter().filter(|(name, _)| !name.contains(part)).cloned().collect::<Tensors>();
    assert!(error(config, &without("classifier")).contains("the head is missing"));
    // One that candle would do without, and one that it asks for.
    for part in ["dw_start", "conv_stem"] {
        let error = error(config, &without(part));
        assert!(error.contains("mobilenetv4_conv_small has 2518112"), "{part}: {error}");
    }
    let mut other = whole.clone();
    other.iter_mut().find(|(name, _)| name == "conv_stem.weight").unwrap().0 = "conv_stern.weight".into();
    assert!(error(config, &other).contains("\"conv_stem.weight\" is missing"));
    let mut other = whole.clone();
    other.iter_mut().find(|(name, _)| name == "conv_stem.weight").unwrap().1 = vec![32, 3, 9, 1];
    assert!(error(config, &other).contains("has shape [32, 3, 9, 1], the architecture asks for [32, 3, 3, 3]"));
    let mut labels = config.clone();
    labels["num_classes"] = json!(6);
    assert!(error(&labels, &whole).contains("classifier"));
    let mut unknown = config.clone();
    unknown["architecture"] = json!("resnet18d");
    let error = models::load(&folder(&unknown, &whole)).err().unwrap();
    assert!(
        matches!(&error, LoadError::UnknownArchitecture { known, .. } if known.contains("vgg16, ") && known.contains("repvgg_a0"))
    );
}

#[test]
fn absurd_segformers_name_the_key() {
    let golden = &golden()["segformer"];
    let whole = tensors(golden);
    for (key, value) in [
        ("depths", json!([1, 2, 1])),
        ("depths", json!([1, 2, 1, 100_000])),
        ("strides", json!([4, 0, 2, 2])),
        ("num_attention_heads", json!([1, 2, 5, 4])),
        ("num_encoder_blocks", json!(0)),
        ("hidden_act", json!("maxout")),
        ("num_channels", json!(4)),
    ] {
        let mut config = golden["config"].clone();
        config[key] = value;
        let error = error(&config, &whole);
        assert!(error.starts_with(&format!("config.json: {key}")), "{key}: {error}");
    }
    let extra: Tensors =
        whole.iter().cloned().chain([("decode_head.classifier.weight".to_owned(), vec![2, 2])]).collect();
    let error = error(&golden["config"], &extra);
    assert!(error.contains("\"decode_head.classifier.weight\" is no part of segformer"), "{error}");
}
