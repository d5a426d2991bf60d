//! Tensors of a model folder, read from safetensors or GGUF one by one.
//!
//! Every tensor is asked for with the shape that config.json implies, so a wrong or damaged file is an error that
//! names the tensor; nothing is ever filled in. A tensor is read when it is asked for, so loading takes the memory of
//! the model and of one tensor. Matrices and tables of half precision, or quantised, stay so; all else is widened to f32.
//!
//! `file` reads one file, `layers` makes the layers of `nn`, `random` changes what is read.

mod file;
mod layers;
mod random;

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{LoadError, gguf};
use crate::hub::ModelFolder;
use file::{Entry, WeightsFile};

pub use random::{Part, Randomised};

/// What the weights of a model take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Memory {
    /// As they are kept. Tables of hub models stay in the file, mapped, and count as well.
    pub bytes: u64,
    /// What they would take in f32.
    pub as_f32: u64,
}

/// The tensors of one model folder, one file or sharded.
pub struct Weights<'a> {
    files: Vec<WeightsFile<'a>>,
    /// Which file holds a tensor.
    places: HashMap<String, usize>,
    /// Matrices are read into the same memory, one after the other: pages once used stay with the process.
    room: RefCell<Vec<f32>>,
    /// The same for numbers of two bytes.
    narrow_room: RefCell<Vec<u16>>,
    /// What was handed out.
    memory: Cell<Memory>,
    /// Which tensors come out as random numbers, and the number of the last layer.
    random: Option<(Randomised, Vec<Part>, usize)>,
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
            let file = match name.ends_with(gguf::ENDING) {
                true => WeightsFile::gguf(name, bytes)
                    .map_err(|detail| damaged(format!("is no GGUF file that can be read: {detail}")))?,
                false => WeightsFile::safetensors(name, bytes)
                    .map_err(|detail| damaged(format!("is no safetensors file or is cut short ({detail})")))?,
            };
            places.extend(file.tensors.keys().map(|tensor| (tensor.clone(), files.len())));
            files.push(file);
        }
        Ok(Self {
            files,
            places,
            room: RefCell::default(),
            narrow_room: RefCell::default(),
            memory: Cell::default(),
            random: None,
        })
    }

    /// What the tensors and layers that were read so far take.
    pub fn memory(&self) -> Memory {
        self.memory.get()
    }

    /// Notes that `numbers` numbers of type `T` are kept.
    fn keeps<T>(&self, numbers: usize) {
        self.keeps_in(numbers, numbers * size_of::<T>());
    }

    /// Notes that `numbers` numbers are kept in `bytes` bytes.
    fn keeps_in(&self, numbers: usize, bytes: usize) {
        let Memory { bytes: kept, as_f32 } = self.memory.get();
        let as_f32 = as_f32 + (numbers * size_of::<f32>()) as u64;
        self.memory.set(Memory { bytes: kept + bytes as u64, as_f32 });
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
            let entry = self.files[place].tensors.get(name)?;
            entry.numbers.have_fractions().then_some((name.as_str(), entry.shape.as_slice()))
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
        self.keeps::<f32>(values.len());
        Ok(values)
    }

    /// Puts a tensor behind what `values` holds.
    fn append(&self, name: &str, shape: &[usize], values: &mut Vec<f32>) -> Result<(), LoadError> {
        let (file, entry) = self.find(name, shape)?;
        let start = values.len();
        file.read(entry, values).map_err(|detail| file.unreadable(name, &detail))?;
        file.check(name, &values[start..])?;
        if let Some(seed) = self.random(name) {
            random::scramble(seed, name, &mut values[start..]);
        }
        Ok(())
    }

    fn find(&self, name: &str, shape: &[usize]) -> Result<(&WeightsFile<'a>, &Entry), LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into() };
        let file = self.places.get(name).map(|&place| &self.files[place]).ok_or_else(missing)?;
        let entry = file.tensors.get(name).ok_or_else(missing)?;
        if entry.shape != shape {
            let found = entry.shape.clone();
            return Err(LoadError::Shape { name: name.into(), found, expected: shape.to_vec() });
        }
        Ok((file, entry))
    }

    /// The first number of a tensor's shape: the outputs of a layer whose width config.json does not say.
    ///
    /// # Errors
    /// The tensor is missing or has no dimension.
    pub fn rows(&self, name: &str) -> Result<usize, LoadError> {
        let missing = || LoadError::MissingTensor { name: name.into() };
        let file = self.places.get(name).map(|&place| &self.files[place]).ok_or_else(missing)?;
        file.tensors.get(name).and_then(|entry| entry.shape.first().copied()).ok_or_else(missing)
    }
}

/// candle appends a backtrace to its errors where RUST_BACKTRACE is set.
pub(super) fn first_line(error: &candle_core::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}
