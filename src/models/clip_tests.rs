//! CLIP against transformers (tests/golden/models_clip.py): logits, attention and gradients with respect to pixels.

use super::super::tests::{Golden, close, edit, folder, golden, replace};
use super::super::{Row, load};
use super::*;

fn unit(values: &[f32]) -> (Vec<f64>, f64) {
    let length = values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    (values.iter().map(|&value| f64::from(value) / length).collect(), length)
}

fn forward<'p>(model: &dyn Model, tape: &mut Tape<'p>, rows: Vec<Row>, taps: &TapPlan) -> Outputs {
    model.forward(tape, &Batch::new(rows), taps).unwrap()
}

/// The labels' embeddings of one case, from the ids that CLIP's tokenizer gives.
fn texts(model: &dyn Model, case: &Value) -> Vec<Vec<f64>> {
    let ids = case["ids"].as_array().unwrap().iter();
    let row = |ids: &Value| {
        let ids: Vec<u32> = ids.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect();
        Row { read: vec![ids.len() - 1], content: Content::Tokens { ids, type_ids: Vec::new() } }
    };
    let outputs = forward(model, &mut Tape::new(&(), false), ids.map(row).collect(), &TapPlan::default());
    outputs.logits.value().chunks(outputs.logits.cols()).map(|text| unit(text).0).collect()
}

#[test]
fn logits_attention_and_gradients_are_those_of_transformers() {
    let model = load(&folder("tiny-clip")).unwrap();
    let About::Similarity { scale } = model.spec().about else { panic!() };
    let values = Golden::of("tiny-clip");
    let cases: Value = serde_json::from_slice(&std::fs::read(golden("values/tiny-clip.json")).unwrap()).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    let mut tape = Tape::new(&(), true);
    let rows = (0..cases.len()).map(|case| values.row(case)).collect();
    let mut outputs = forward(&*model, &mut tape, rows, &TapPlan::attention(vec![0, 1]));
    let attention = std::mem::take(&mut outputs.tapped).record().unwrap().attention;
    let columns = outputs.logits.cols();
    let mut seed = vec![0.0; outputs.logits.value().len()];
    for (index, case) in cases.iter().enumerate() {
        let texts = texts(&*model, case);
        let (image, length) = unit(&outputs.logits.value()[index * columns..][..columns]);
        let cosines: Vec<f64> = texts.iter().map(|text| text.iter().zip(&image).map(|(a, b)| a * b).sum()).collect();
        let logits: Vec<f32> = cosines.iter().map(|cosine| (cosine * f64::from(scale)) as f32).collect();
        close(&format!("{index} logits"), &logits, &values.get(&format!("{index}.logits")), 1e-5);
        for map in &attention {
            let oracle = values.get(&format!("{index}.attention.{}", map.layer));
            close(&format!("{index} attention {}", map.layer), map.row(index), &oracle, 1e-5);
        }
        for (slot, (text, image)) in seed[index * columns..].iter_mut().zip(texts[1].iter().zip(&image)) {
            *slot = (f64::from(scale) * (text - cosines[1] * image) / length) as f32;
        }
    }
    let gradient = tape.backward(&outputs.logits, &seed, &outputs.input).unwrap();
    for (index, own) in gradient.chunks(outputs.input.cols()).enumerate() {
        close(&format!("{index} gradient"), own, &values.get(&format!("{index}.gradient.1")), 1e-5);
    }
}

#[test]
fn gradients_of_the_image_are_central_differences() {
    let model = load(&folder("tiny-clip")).unwrap();
    let row = Golden::of("tiny-clip").row(0);
    let mut tape = Tape::new(&(), true);
    let outputs = forward(&*model, &mut tape, vec![row], &TapPlan::default());
    let mut seed = vec![0.0; outputs.logits.cols()];
    seed[3] = 1.0;
    let gradient = tape.backward(&outputs.logits, &seed, &outputs.input).unwrap();
    let square: f32 = gradient.iter().map(|g| g * g).sum();
    let at = |step: f32| {
        let moved = outputs.input.value().iter().zip(&gradient).map(|(x, g)| x + step * g).collect();
        let row = Row { content: Content::Pixels(moved), read: vec![0] };
        forward(&*model, &mut Tape::new(&(), false), vec![row], &TapPlan::default()).logits.value()[3]
    };
    let h = 1e-3 / square.sqrt();
    let numeric = (at(h) - at(-h)) / (2.0 * h);
    assert!((numeric - square).abs() < 5e-3 * square, "{numeric} against {square}");
}

#[test]
fn damaged_folders_name_the_tensor_or_the_key() {
    for (from, to, part) in [
        ("\"projection_dim\": 12", "\"projection_dim\": 13", "text_projection.weight"),
        ("\"patch_size\": 6", "\"patch_size\": 5", "patch_size"),
        ("\"image_size\": 24", "\"image_size\": 30", "vision_model.embeddings.position_embedding"),
        ("\"vocab_size\": 678", "\"vocab_size\": 679", "text_model.embeddings.token_embedding"),
        ("\"hidden_size\": 16", "\"hidden_size\": \"x\"", "text_config.hidden_size"),
        ("\"hidden_size\": 16", "\"hidden_size\": 17", "num_attention_heads"),
        ("\"hidden_act\": \"quick_gelu\"", "\"hidden_act\": \"gelu_10\"", "gelu_10"),
        ("\"num_channels\": 3", "\"num_channels\": 4", "num_channels"),
    ] {
        let error = edit("tiny-clip", |folder| replace(folder, from, to));
        assert!(error.contains(part), "{to}: {error}");
    }
}
