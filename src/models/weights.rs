//! Tensors of a model folder, read from safetensors by candle and widened to f32.
//!
//! Every tensor is asked for with the shape that config.json implies, so a wrong or damaged file is an error that
//! names the tensor; nothing is ever filled in.

use std::collections::HashMap;

use candle_core::safetensors::SliceSafetensors;
use candle_core::{DType, Device};

use super::LoadError;
use crate::hub::ModelFolder;
use crate::nn::{Embedding, LayerNorm, Linear};

/// The tensors of one model folder, one file or sharded.
pub struct Weights<'a> {
    files: Vec<(&'a str, SliceSafetensors<'a>)>,
    /// Which file holds a tensor.
    places: HashMap<String, usize>,
}

impl<'a> Weights<'a> {
    pub fn open(folder: &'a ModelFolder) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        let mut places = HashMap::new();
        for name in &folder.weights {
            let damaged = |detail: String| LoadError::Weights { file: name.clone(), detail };
            let bytes = folder.file(name).ok_or_else(|| damaged("is missing".into()))?;
            let tensors = SliceSafetensors::new(bytes)
                .map_err(|error| damaged(format!("is no safetensors file or is cut short ({})", first_line(&error))))?;
            for (tensor, _) in tensors.tensors() {
                places.insert(tensor, files.len());
            }
            files.push((name.as_str(), tensors));
        }
        Ok(Self { files, places })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// A tensor in f32, row by row.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let place = self.places.get(name).ok_or_else(|| LoadError::MissingTensor { name: name.into() })?;
        let (file, tensors) = &self.files[*place];
        let damaged = |detail: String| LoadError::Weights { file: (*file).into(), detail };
        let view = tensors.get(name).map_err(|error| damaged(first_line(&error)))?;
        if view.shape() != shape {
            let found = view.shape().to_vec();
            return Err(LoadError::Shape { name: name.into(), found, expected: shape.to_vec() });
        }
        let values = tensors
            .load(name, &Device::Cpu)
            .and_then(|tensor| tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>())
            .map_err(|error| damaged(format!("tensor \"{name}\" cannot be read ({})", first_line(&error))))?;
        if values.iter().any(|value| !value.is_finite()) {
            return Err(damaged(format!("tensor \"{name}\" holds values that are not finite")));
        }
        Ok(values)
    }

    /// `{prefix}.weight` and, if `bias`, `{prefix}.bias`.
    pub fn linear(&self, prefix: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear, LoadError> {
        let weight = self.tensor(&format!("{prefix}.weight"), &[outputs, inputs])?;
        let bias = bias.then(|| self.tensor(&format!("{prefix}.bias"), &[outputs])).transpose()?;
        Ok(Linear::new(weight, bias, inputs, outputs)?)
    }

    /// `{prefix}.weight` and `.bias`, or `.gamma` and `.beta` as checkpoints made from TensorFlow have them.
    pub fn layer_norm(&self, prefix: &str, width: usize, epsilon: f32) -> Result<LayerNorm, LoadError> {
        let old = self.contains(&format!("{prefix}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let weight = self.tensor(&format!("{prefix}.{weight}"), &[width])?;
        let bias = self.tensor(&format!("{prefix}.{bias}"), &[width])?;
        Ok(LayerNorm::new(weight, bias, epsilon)?)
    }

    /// `{name}.weight`, entries × width.
    pub fn embedding(&self, name: &str, entries: usize, width: usize) -> Result<Embedding, LoadError> {
        let table = self.tensor(&format!("{name}.weight"), &[entries, width])?;
        Ok(Embedding::new(table, width)?)
    }
}

/// candle appends a backtrace to its errors where RUST_BACKTRACE is set.
fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
