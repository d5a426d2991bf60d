//! Families that no file here instruments, run by candle-transformers: forwards alone, and so every black-box method
//! and no other. One file a place that their configurations come from.
//!
//! candle's products change their last bits with the number of rows, so each row is a forward of its own; it computes on
//! the host. candle reads some tensors only where they are there, which would make a damaged file another model: what a
//! file holds and the network did not read is an error.

mod segformer;
mod timm;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{DType, Device, Shape, Tensor};
use candle_nn::VarBuilder;
use candle_nn::var_builder::SimpleBackend;

pub use segformer::Segformer;
pub use timm::Timm;

use super::batch::Batch;
use super::config::Common;
use super::encoder::outputs;
use super::tap::Recorder;
use super::weights::first_line;
use super::{Capabilities, Capability, LoadError, Model, Outputs, Spec, TapPlan, Weights, vision};
use crate::nn::{self, Array, Node, Tape};

/// Normalised pixels (1 × 3 × rows × cols) to logits (1 × labels).
type Network = Box<dyn Fn(&Tensor) -> candle_core::Result<Tensor> + Send + Sync>;

/// What a network reads.
struct Image {
    /// Rows and columns.
    size: (usize, usize),
    /// Pixels from one cell of its last map to the next.
    stride: usize,
}

struct Blackbox {
    spec: Spec,
    network: Network,
}

/// Builds a network over the weights and tries it once, so that a file that does not fit is found here.
///
/// # Errors
/// Tensors that are missing, have another shape, are not finite, or that the network does not know.
fn load(
    name: &str,
    common: &Common,
    image: &Image,
    weights: &Weights<'_>,
    build: impl FnOnce(usize, VarBuilder<'_>) -> candle_core::Result<Network>,
) -> Result<Box<dyn Model>, LoadError> {
    let spec = spec(name, common, image)?;
    let tensors = Tensors::read(weights)?;
    let read = tensors.read.clone();
    let names: Vec<String> = tensors.named.keys().cloned().collect();
    let builder = VarBuilder::from_backend(Box::new(tensors), DType::F32, Device::Cpu);
    let network = build(spec.labels.len(), builder).map_err(unbuilt)?;
    let read = read.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = names.iter().filter(|name| !read.contains(*name)).min() {
        let detail = format!("tensor \"{name}\" is no part of {}, as config.json names the model", spec.architecture);
        return Err(LoadError::Weights { file: "model.safetensors".into(), detail });
    }
    let (rows, cols) = image.size;
    let model = Blackbox { spec, network };
    model.logits(&vec![0.0; 3 * rows * cols])?;
    Ok(Box::new(model))
}

fn spec(name: &str, common: &Common, image: &Image) -> Result<Spec, LoadError> {
    vision::check_pixels("input_size", image.size)?;
    let grid = (image.size.0.div_ceil(image.stride), image.size.1.div_ceil(image.stride));
    let mut spec = vision::spec(name, common, vision::maps(image.size, grid, 0), (0, 0, 0), &[])?;
    spec.capabilities = Capabilities(vec![Capability::Forward]);
    Ok(spec)
}

impl Blackbox {
    /// One row's logits.
    fn logits(&self, pixels: &[f32]) -> Result<Vec<f32>, nn::Error> {
        let (rows, cols) = self.spec.image.as_ref().map_or((0, 0), |image| (image.rows, image.cols));
        let logits = Tensor::from_slice(pixels, (1, 3, rows, cols), &Device::Cpu)
            .and_then(|pixels| (self.network)(&pixels))
            .and_then(|logits| logits.flatten_all()?.to_vec1::<f32>())
            .map_err(|error| nn::Error::Shape { op: "candle", detail: first_line(&error) })?;
        match logits.len() == self.spec.labels.len() {
            true => Ok(logits),
            false => Err(nn::Error::Shape {
                op: "candle",
                detail: format!("{} logits for {} labels", logits.len(), self.spec.labels.len()),
            }),
        }
    }
}

impl Model for Blackbox {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error> {
        vision::pixels(tape, batch, self.spec.image.as_ref())
    }

    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        let recorder = Recorder::of_images(taps, batch.rows.len());
        let input = self.embed(tape, batch)?;
        let mut logits = Vec::with_capacity(batch.rows.len() * self.spec.labels.len());
        for pixels in input.numbers()?.chunks_exact(input.cols().max(1)) {
            logits.extend(self.logits(pixels)?);
            tape.step()?;
        }
        let logits = Node::constant(Array::new(logits, batch.rows.len(), self.spec.labels.len()));
        outputs(input, logits, recorder.finish()?)
    }
}

/// The tensors of a folder as candle asks for them, and which it asked for.
struct Tensors {
    named: HashMap<String, Tensor>,
    read: Arc<Mutex<HashSet<String>>>,
}

/// What timm's models are called inside transformers' wrapper.
const WRAPPER: &str = "timm_model.";

impl Tensors {
    fn read(weights: &Weights<'_>) -> Result<Self, LoadError> {
        let mut named = HashMap::new();
        for (name, shape) in weights.floats() {
            let unreadable = |error: candle_core::Error| {
                let detail = format!("tensor \"{name}\" cannot be read ({})", first_line(&error));
                LoadError::Weights { file: "model.safetensors".into(), detail }
            };
            let tensor = Tensor::from_vec(weights.tensor(name, shape)?, shape, &Device::Cpu).map_err(unreadable)?;
            named.insert(name.strip_prefix(WRAPPER).unwrap_or(name).to_owned(), tensor);
        }
        Ok(Self { named, read: Arc::default() })
    }
}

impl SimpleBackend for Tensors {
    fn get(
        &self,
        shape: Shape,
        name: &str,
        _: candle_nn::Init,
        dtype: DType,
        device: &Device,
    ) -> candle_core::Result<Tensor> {
        let tensor = self.get_unchecked(name, dtype, device)?;
        if tensor.shape() != &shape {
            let (found, expected) = (tensor.dims(), shape.dims());
            candle_core::bail!("tensor \"{name}\" has shape {found:?}, the architecture asks for {expected:?}");
        }
        Ok(tensor)
    }

    fn get_unchecked(&self, name: &str, dtype: DType, device: &Device) -> candle_core::Result<Tensor> {
        let Some(tensor) = self.named.get(name) else {
            return Err(candle_core::Error::CannotFindTensor { path: name.to_owned() });
        };
        self.read.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
        tensor.to_device(device)?.to_dtype(dtype)
    }

    fn contains_tensor(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }
}

/// Why a network could not be built: a tensor that is not there by its name.
fn unbuilt(error: candle_core::Error) -> LoadError {
    use candle_core::Error;
    match error {
        Error::CannotFindTensor { path } => LoadError::MissingTensor { name: path },
        Error::WithBacktrace { inner, .. } | Error::WithPath { inner, .. } | Error::Context { inner, .. } => {
            unbuilt(*inner)
        }
        other => LoadError::Weights { file: "model.safetensors".into(), detail: first_line(&other) },
    }
}

#[cfg(test)]
mod tests;
