//! Weights of half precision: every decoder's numbers are those that the same weights give in f32, to the last bit.

use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use half::{bf16, f16};

use super::lm_tests::{changed, values};
use super::tests::folder;
use super::*;
use crate::hub::FileBytes;
use crate::nn::{Precision, Tape};

/// The folder with its weights rounded to `dtype`, stored so and stored in f32.
fn rounded(folder: &ModelFolder, dtype: DType) -> [ModelFolder; 2] {
    let bytes = folder.file("model.safetensors").unwrap();
    let tensors = candle_core::safetensors::load_buffer(bytes, &candle_core::Device::Cpu).unwrap();
    [dtype, DType::F32].map(|stored| {
        let convert = |tensor: &Tensor| tensor.to_dtype(dtype).unwrap().to_dtype(stored).unwrap();
        let tensors: HashMap<&String, Tensor> = tensors.iter().map(|(name, tensor)| (name, convert(tensor))).collect();
        let bytes = safetensors::serialize(tensors, None).unwrap();
        let mut files = folder.files.clone();
        files.insert("model.safetensors".into(), FileBytes::Owned(Arc::new(bytes)));
        let (source, weights) = (folder.source.clone(), folder.weights.clone());
        ModelFolder { source, revision: None, files, weights, sha256: String::new() }
    })
}

/// Bits of all logits in every precision, and of the gradient of the first.
fn bits(model: &dyn Model) -> [Vec<u32>; 3] {
    let ids: Vec<u32> = (0..11).map(|at| (at * 29 + 3) % model.spec().vocab as u32).collect();
    let read = (0..ids.len()).collect();
    let batch = Batch::new(vec![Row { content: Content::Tokens { ids, type_ids: Vec::new() }, read }]);
    let logits = |precision: Precision| {
        let mut tape = Tape::new(&(), false).computing_in(precision);
        let outputs = model.forward(&mut tape, &batch, &TapPlan::default()).unwrap();
        outputs.logits.value().iter().map(|x| x.to_bits()).collect::<Vec<u32>>()
    };
    let mut tape = Tape::new(&(), true);
    let outputs = model.forward(&mut tape, &batch, &TapPlan::default()).unwrap();
    let mut seed = vec![0.0; outputs.logits.value().len()];
    seed[outputs.logits.cols() * 7 + 1] = 1.0;
    let gradient = tape.backward(&outputs.logits, &seed, &outputs.input).unwrap();
    assert!(gradient.iter().any(|x| *x != 0.0));
    [logits(Precision::F32), logits(Precision::Bf16), gradient.iter().map(|x| x.to_bits()).collect()]
}

#[test]
fn decoders_of_half_precision_have_the_bits_of_the_same_numbers_in_f32() {
    let values = values();
    let mut folders: Vec<(String, ModelFolder)> = values["families"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, family)| (name.clone(), changed(name, &family["config"])))
        .collect();
    folders.extend(["tiny-llama-lm", "tiny-gpt2-lm"].map(|name| (name.to_owned(), folder(name))));
    assert_eq!(folders.len(), 10);
    for (name, folder) in folders {
        for dtype in [DType::BF16, DType::F16] {
            let [own, wide] = rounded(&folder, dtype).map(|folder| load_with(&folder, None).unwrap());
            assert_eq!(bits(&*own.model), bits(&*wide.model), "{name} {dtype:?}");
            assert_eq!((own.memory.as_f32, wide.memory.bytes), (wide.memory.as_f32, wide.memory.as_f32), "{name}");
            // All but the norms and biases take half of what they did.
            let share = own.memory.bytes as f64 / own.memory.as_f32 as f64;
            assert!((0.5..0.52).contains(&share), "{name} {dtype:?}: {share}");
        }
    }
}

/// Two bytes a number of the matrices and tables, four of the norms; all of a tied table's uses count.
#[test]
fn memory_is_that_of_the_tensors() {
    let [own, _] =
        rounded(&folder("tiny-llama-lm"), DType::BF16).map(|folder| load_with(&folder, None).unwrap().memory);
    let (hidden, vocab, inner, kv) = (32, 339, 48, 16);
    let layer = 2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner;
    let (matrices, norms) = (2 * layer + 2 * vocab * hidden, 5 * hidden);
    assert_eq!(own, Memory { bytes: 2 * matrices + 4 * norms, as_f32: 4 * (matrices + norms) });
}

/// Encoders load by the same way.
#[test]
fn a_classifier_of_half_precision_has_the_same_bits() {
    for name in ["tiny-bert", "tiny-modernbert", "tiny-roberta"] {
        let [own, wide] = rounded(&folder(name), DType::BF16).map(|folder| load(&folder).unwrap());
        let row = || Row { content: Content::Tokens { ids: vec![2, 7, 9, 4], type_ids: vec![0; 4] }, read: vec![0] };
        let run = |model: &dyn Model| {
            let batch = Batch::new(vec![row()]);
            let outputs = model.forward(&mut Tape::new(&(), false), &batch, &TapPlan::default()).unwrap();
            outputs.logits.value().to_vec()
        };
        assert_eq!(run(&*own), run(&*wide), "{name}");
    }
}

/// A number that is not finite is found whatever it is stored in.
#[test]
fn what_is_not_finite_is_named() {
    for (dtype, infinity) in [(DType::BF16, bf16::INFINITY.to_bits()), (DType::F16, f16::INFINITY.to_bits())] {
        let [mut folder, _] = rounded(&folder("tiny-llama-lm"), dtype);
        let mut bytes = folder.file("model.safetensors").unwrap().to_vec();
        let end = bytes.len();
        bytes[end - 2..].copy_from_slice(&infinity.to_le_bytes());
        folder.files.insert("model.safetensors".into(), FileBytes::Owned(Arc::new(bytes)));
        let error = load(&folder).err().unwrap().to_string();
        assert!(error.contains("holds values that are not finite"), "{error}");
    }
}
