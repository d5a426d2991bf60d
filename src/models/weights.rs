//! Tensors of a model folder, read from safetensors one by one and widened to f32.
//!
//! Every tensor is asked for with the shape that config.json implies, so a wrong or damaged file is an error that
//! names the tensor; nothing is ever filled in. A tensor is read when it is asked for, so loading takes the memory of
//! the model and of one tensor.

mod random;

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};

use super::LoadError;
use crate::hub::{FileBytes, ModelFolder};
use crate::nn::{Embedding, LayerNorm, Linear, RmsNorm, Table};

pub use random::{Part, Randomised};

/// Bytes of the number that a safetensors file begins with: the length of its header.
const LENGTH: usize = 8;
/// The longest header that the format allows.
const LONGEST_HEADER: usize = 100_000_000;
/// Numbers looked at together where a table that stays in its file is checked.
const CHUNK: usize = 1 << 18;

/// The tensors of one model folder, one file or sharded.
pub struct Weights<'a> {
    files: Vec<WeightsFile<'a>>,
    /// Which file holds a tensor.
    places: HashMap<String, usize>,
    /// Matrices are read into the same memory, one after the other: pages once used stay with the process.
    room: RefCell<Vec<f32>>,
    /// Which tensors come out as random numbers, and the number of the last layer.
    random: Option<(Randomised, Vec<Part>, usize)>,
}

struct WeightsFile<'a> {
    name: &'a str,
    bytes: &'a FileBytes,
    /// Where the tensors begin.
    start: usize,
    header: Metadata,
}

impl<'a> Weights<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// Names the file that is missing, cut short or no safetensors file.
    pub fn open(folder: &'a ModelFolder) -> Result<Self, LoadError> {
        let mut files = Vec::new();
        let mut places = HashMap::new();
        for name in &folder.weights {
            let damaged = |detail: String| LoadError::Weights { file: name.clone(), detail };
            let bytes = folder.bytes(name).ok_or_else(|| damaged("is missing".into()))?;
            let (start, header) = header(bytes)
                .map_err(|detail| damaged(format!("is no safetensors file or is cut short ({detail})")))?;
            for tensor in header.offset_keys() {
                places.insert(tensor, files.len());
            }
            files.push(WeightsFile { name, bytes, start, header });
        }
        Ok(Self { files, places, room: RefCell::default(), random: None })
    }

    /// The parts that the tensors make, from the head down.
    pub fn parts(&self) -> Vec<Part> {
        random::parts(self.places.keys().map(String::as_str))
    }

    /// The same weights, the first parts of them random: every tensor keeps its mean and deviation.
    pub fn randomised(mut self, how: Randomised) -> Self {
        let parts = self.parts().into_iter().take(how.parts).collect();
        let last = random::last_layer(self.places.keys().map(String::as_str));
        self.random = Some((how, parts, last));
        self
    }

    /// How the tensor becomes random, if it does.
    fn random(&self, name: &str) -> Option<u64> {
        let (how, parts, last) = self.random.as_ref()?;
        parts.contains(&random::part(name, *last)).then_some(how.seed)
    }

    /// Names and shapes of the tensors that hold numbers with fractions.
    pub fn floats(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.places.iter().filter_map(|(name, &place)| {
            let info = self.files[place].header.info(name)?;
            let float = matches!(info.dtype, Dtype::F16 | Dtype::BF16 | Dtype::F32 | Dtype::F64);
            float.then_some((name.as_str(), info.shape.as_slice()))
        })
    }

    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Sees that the linear layers of a head are there, all of them in one error. The last one always has a bias, those
    /// before it if `bias`.
    ///
    /// # Errors
    /// Names every weight and bias that is missing.
    pub fn require_head(&self, layers: &[&str], bias: bool) -> Result<(), LoadError> {
        let parts = layers.iter().enumerate().flat_map(|(index, layer)| {
            let biased = bias || index + 1 == layers.len();
            [Some(format!("{layer}.weight")), biased.then(|| format!("{layer}.bias"))]
        });
        self.require_of_head(parts.flatten())
    }

    /// Sees that the tensors of a head are there.
    ///
    /// # Errors
    /// Names every one that is missing.
    pub fn require_of_head(&self, names: impl IntoIterator<Item = String>) -> Result<(), LoadError> {
        let missing: Vec<String> = names.into_iter().filter(|name| !self.contains(name)).collect();
        if missing.is_empty() { Ok(()) } else { Err(LoadError::MissingHead { names: missing.join(", ") }) }
    }

    /// A tensor in f32, row by row.
    ///
    /// # Errors
    /// It is missing, has another shape, cannot be read, or holds numbers that are not finite.
    pub fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, LoadError> {
        let mut values = Vec::new();
        self.append(name, shape, &mut values)?;
        Ok(values)
    }

    /// Puts a tensor behind what `values` holds.
    fn append(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<(), LoadError> {
        let (file, info) = self.find(name, shape)?;
        let start = values.len();
        file.read(info, values).map_err(|detail| file.unreadable(name, &detail))?;
        file.check(name, &values[start..])?;
        if let Some(seed) = self.random(name) {
            random::scramble(seed, name, &mut values[start..]);
        }
        Ok(())
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&WeightsFile<'a>, &TensorInfo), LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into() };
        let file = self.places.get(name).map(|&place| &self.files[place]).ok_or_else(missing)?;
        let info = file.header.info(name).ok_or_else(missing)?;
        if info.shape != shape {
            let found = info.shape.clone();
            return Err(LoadError::Shape { name: name.into(), found, expected: shape.to_vec() });
        }
        Ok((file, info))
    }

    /// The first number of a tensor's shape: the outputs of a layer whose width config.json does not say.
    ///
    /// # Errors
    /// The tensor is missing or has no dimension.
    pub fn rows(&self, name: &str) -> Result<usize, LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into() };
        let file = self.places.get(name).map(|&place| &self.files[place]).ok_or_else(missing)?;
        file.header.info(name).and_then(|info| info.shape.first().copied()).ok_or_else(missing)
    }

    /// `{name}.weight`, entries × width. The table stays in its file where that is immutable and holds f32: a text
    /// reads few of its entries.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn embedding(&self, name: &str, entries: usize, width: usize) -> Result<Embedding, LoadError> {
        let (name, shape) = (format!("{name}.weight"), [entries, width]);
        let (file, info) = self.find(&name, &shape)?;
        let as_it_is = info.dtype == Dtype::F32 && self.random(&name).is_none();
        let shared = as_it_is.then(|| file.bytes.shared_floats(file.place(info))).flatten();
        let table: Table = match shared {
            Some(table) => {
                file.check_in_place(&name, info)?;
                Arc::new(table)
            }
            None => Arc::new(self.tensor(&name, &shape)?),
        };
        Ok(Embedding::new(table, width)?)
    }

    /// The same, every number times `factor`.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn scaled_embedding(
        &self,
        name: &str,
        entries: usize,
        width: usize,
        factor: f32,
    ) -> Result<Embedding, LoadError> {
        let mut table = self.tensor(&format!("{name}.weight"), &[entries, width])?;
        table.iter_mut().for_each(|number| *number *= factor);
        Ok(Embedding::new(Arc::new(table), width)?)
    }

    /// `{prefix}.weight` and `.bias` of a `Conv1D` of transformers: a linear layer whose weight is stored inputs ×
    /// outputs.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn conv1d(&self, prefix: &str, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let stored = self.tensor(&format!("{prefix}.weight"), &[inputs, outputs])?;
        let bias = self.tensor(&format!("{prefix}.bias"), &[outputs])?;
        let mut weight = self.room.borrow_mut();
        weight.clear();
        weight.extend((0..outputs).flat_map(|output| stored.iter().skip(output).step_by(outputs)));
        Ok(Linear::new(weight.as_slice(), Some(bias), inputs, outputs)?)
    }

    /// `{prefix}.weight` and, if `bias`, `{prefix}.bias`.
    pub fn linear(&self, prefix: &str, inputs: usize, outputs: usize, bias: bool) -> Result<Linear, LoadError> {
        self.stacked(&[(prefix, outputs)], inputs, bias)
    }

    /// A layer whose weight and bias have names of their own.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn linear_of(&self, weight: &str, bias: &str, inputs: usize, outputs: usize) -> Result<Linear, LoadError> {
        let mut numbers = self.room.borrow_mut();
        numbers.clear();
        self.append(weight, &[outputs, inputs], &mut numbers)?;
        Ok(Linear::new(numbers.as_slice(), Some(self.tensor(bias, &[outputs])?), inputs, outputs)?)
    }

    /// Layers over the same input as one whose outputs stand side by side: their names, and how many each has.
    pub fn stacked(&self, parts: &[(&str, usize)], inputs: usize, bias: bool) -> Result<Linear, LoadError> {
        let (mut weight, mut biases) = (self.room.borrow_mut(), Vec::new());
        weight.clear();
        for (prefix, outputs) in parts {
            self.append(&format!("{prefix}.weight"), &[*outputs, inputs], &mut weight)?;
            if bias {
                self.append(&format!("{prefix}.bias"), &[*outputs], &mut biases)?;
            }
        }
        let outputs = parts.iter().map(|(_, outputs)| outputs).sum();
        Ok(Linear::new(weight.as_slice(), bias.then_some(biases), inputs, outputs)?)
    }

    /// `{prefix}.weight` and `.bias`, or `.gamma` and `.beta` as checkpoints made from TensorFlow have them.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn layer_norm(&self, prefix: &str, width: usize, epsilon: f32) -> Result<LayerNorm, LoadError> {
        let old = self.contains(&format!("{prefix}.gamma"));
        let (weight, bias) = if old { ("gamma", "beta") } else { ("weight", "bias") };
        let weight = self.tensor(&format!("{prefix}.{weight}"), &[width])?;
        let bias = self.tensor(&format!("{prefix}.{bias}"), &[width])?;
        Ok(LayerNorm::new(weight, bias, epsilon)?)
    }

    /// `{prefix}.weight` alone: a layer norm that adds nothing.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn layer_norm_unbiased(&self, prefix: &str, width: usize, epsilon: f32) -> Result<LayerNorm, LoadError> {
        let weight = self.tensor(&format!("{prefix}.weight"), &[width])?;
        Ok(LayerNorm::new(weight, vec![0.0; width], epsilon)?)
    }

    /// `{prefix}.weight`, with what the family adds to it.
    ///
    /// # Errors
    /// As [`Weights::tensor`].
    pub fn rms_norm(&self, prefix: &str, width: usize, epsilon: f32, offset: f32) -> Result<RmsNorm, LoadError> {
        let weight = self.tensor(&format!("{prefix}.weight"), &[width])?;
        Ok(RmsNorm::new(weight, epsilon, offset)?)
    }
}

/// Where the tensors begin, and what they are.
fn header(bytes: &FileBytes) -> Result<(usize, Metadata), String> {
    let mut length = [0; LENGTH];
    bytes.read(0, &mut length).map_err(|error| error.to_string())?;
    let length = usize::try_from(u64::from_le_bytes(length)).ok().filter(|&length| length <= LONGEST_HEADER);
    let length = length.ok_or("its header is too long")?;
    let start = LENGTH + length;
    let text = bytes.range(LENGTH..start).map_err(|error| error.to_string())?;
    let header: Metadata = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    let end = start.checked_add(header.data_len());
    if end != Some(bytes.len()) {
        return Err(format!("{} bytes where its header promises {}", bytes.len(), end.unwrap_or(usize::MAX)));
    }
    Ok((start, header))
}

impl WeightsFile<'_> {
    fn place(&self, info: &TensorInfo) -> std::ops::Range<usize> {
        self.start + info.data_offsets.0..self.start + info.data_offsets.1
    }

    /// Puts a tensor's numbers behind what `values` holds.
    fn read(&self, info: &TensorInfo, values: &mut Vec<f32>) -> Result<(), String> {
        let place = self.place(info);
        let start = values.len();
        let count = place.len() / if info.dtype == Dtype::F32 { size_of::<f32>() } else { size_of::<f16>() };
        if info.dtype == Dtype::F32 && cfg!(target_endian = "little") {
            values.reserve_exact(count);
            values.resize(start + count, 0.0);
            let to = bytemuck::cast_slice_mut(&mut values[start..]);
            return self.bytes.read(place.start, to).map_err(|error| error.to_string());
        }
        let bytes = self.bytes.range(place).map_err(|error| error.to_string())?;
        if matches!(info.dtype, Dtype::F16 | Dtype::BF16) {
            values.resize(start + count, 0.0);
        }
        match info.dtype {
            Dtype::F16 => {
                widen(&bytes, &mut values[start..], |bits, values| {
                    bits.reinterpret_cast::<f16>().convert_to_f32_slice(values)
                });
            }
            Dtype::BF16 => {
                widen(&bytes, &mut values[start..], |bits, values| {
                    bits.reinterpret_cast::<bf16>().convert_to_f32_slice(values)
                });
            }
            other => values.extend(
                DType::try_from(other)
                    .and_then(|dtype| Tensor::from_raw_buffer(&bytes, dtype, &info.shape, &Device::Cpu))
                    .and_then(|tensor| tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1::<f32>())
                    .map_err(|error| first_line(&error))?,
            ),
        }
        Ok(())
    }

    fn unreadable(&self, name: &str, detail: &str) -> LoadError {
        LoadError::Weights { file: self.name.into(), detail: format!("tensor \"{name}\" cannot be read ({detail})") }
    }

    fn check(&self, name: &str, values: &[f32]) -> Result<(), LoadError> {
        // Every number is looked at, so that the loop has no early end and becomes vectors.
        if values.iter().fold(true, |all, value| all & value.is_finite()) {
            return Ok(());
        }
        let detail = format!("tensor \"{name}\" holds values that are not finite");
        Err(LoadError::Weights { file: self.name.into(), detail })
    }

    /// Checks numbers that stay in the file. They are read beside their map, whose pages would otherwise all come in.
    fn check_in_place(&self, name: &str, info: &TensorInfo) -> Result<(), LoadError> {
        let place = self.place(info);
        let mut values = vec![0.0_f32; CHUNK];
        for first in place.clone().step_by(CHUNK * size_of::<f32>()) {
            let len = (place.end - first).min(CHUNK * size_of::<f32>()) / size_of::<f32>();
            let part = &mut values[..len];
            self.bytes
                .read(first, bytemuck::cast_slice_mut(part))
                .map_err(|error| self.unreadable(name, &error.to_string()))?;
            self.check(name, part)?;
        }
        Ok(())
    }
}

/// Numbers of two bytes, little end first, by `convert` of whole slices. candle would pass over memory three times.
fn widen(bytes: &[u8], values: &mut [f32], convert: impl Fn(&[u16], &mut [f32]) + Sync) {
    values.par_chunks_mut(CHUNK).zip(bytes.par_chunks(2 * CHUNK)).for_each(|(values, bytes)| {
        let (pairs, _) = bytes.as_chunks::<2>();
        let bits: Vec<u16> = pairs.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
        convert(&bits, values);
    });
}

/// candle appends a backtrace to its errors where RUST_BACKTRACE is set.
pub(super) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
