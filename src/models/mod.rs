//! Model families. One file a family, one instrumented forward each; a family speaks to `nn` alone.
//!
//! Adding a family is a file here and a line in [`FAMILIES`].

mod albert;
pub mod batch;
mod bert;
mod bert_like;
mod config;
mod deberta;
mod distilbert;
mod electra;
mod embeddings;
mod encoder;
mod head;
mod modernbert;
mod mpnet;
mod roberta;
mod spec;
mod tap;
#[cfg(test)]
mod tests;
mod text_encoder;
mod vit;
pub mod weights;
mod xlm_roberta_xl;

use crate::hub::ModelFolder;
use crate::nn::{self, Node, Tape};

pub use batch::{Batch, Content, Row};
pub use spec::{About, Capabilities, Capability, ImageSpec, Problem, Reads, SequenceItem, Spec};
pub use tap::{AttentionMap, TapPlan};
pub use weights::Weights;

/// What one forward gives.
pub struct Outputs {
    /// Where gradients are asked for: the word embeddings (tokens × hidden) or the normalised pixels
    /// (rows × channels·height·width).
    pub input: Node,
    /// One row per position read × labels.
    pub logits: Node,
    /// The layers named in [`TapPlan::attention`], in its order.
    pub attention: Vec<AttentionMap>,
}

/// A loaded model.
pub trait Model: Send + Sync {
    fn spec(&self) -> &Spec;
    /// The output of the model's embedding module for `batch`: before position and type embeddings and normalisation.
    /// Images: the pixels themselves.
    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error>;
    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error>;
}

/// An architecture that explaind can run.
pub trait Family: Sync {
    /// Values of `model_type` in config.json.
    fn model_types(&self) -> &'static [&'static str];
    /// Values of `architectures[0]` that this family runs.
    fn architectures(&self) -> &'static [&'static str];
    fn load(&self, folder: &ModelFolder, weights: &Weights<'_>) -> Result<Box<dyn Model>, LoadError>;
}

pub static FAMILIES: &[&dyn Family] = &[
    &albert::Albert,
    &bert::Bert,
    &deberta::DebertaV2,
    &distilbert::DistilBert,
    &electra::Electra,
    &modernbert::ModernBert,
    &mpnet::MpNet,
    &roberta::Roberta,
    &vit::Vit,
    &xlm_roberta_xl::XlmRobertaXl,
];

/// Why a model folder could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// `key` is a path inside config.json.
    #[error("config.json: {key}: {detail}")]
    Config { key: String, detail: String },
    #[error("config.json: model_type \"{found}\" is not known; known are {known}")]
    UnknownFamily { found: String, known: String },
    #[error(
        "config.json: architecture \"{found}\" of model_type \"{model_type}\" is not supported; supported are {known}"
    )]
    UnknownArchitecture { found: String, model_type: String, known: String },
    #[error("{file}: {detail}")]
    Weights { file: String, detail: String },
    #[error("model.safetensors: tensor \"{name}\" is missing")]
    MissingTensor { name: String },
    #[error("model.safetensors: the head is missing (tensors {names}); the model was saved without one")]
    MissingHead { names: String },
    #[error("model.safetensors: tensor \"{name}\" has shape {found:?}, config.json asks for {expected:?}")]
    Shape { name: String, found: Vec<usize>, expected: Vec<usize> },
}

impl From<nn::Error> for LoadError {
    fn from(error: nn::Error) -> Self {
        Self::Weights { file: "model.safetensors".into(), detail: error.to_string() }
    }
}

/// Finds the family that config.json names and loads the model.
pub fn load(folder: &ModelFolder) -> Result<Box<dyn Model>, LoadError> {
    let config = folder.file("config.json").unwrap_or_default();
    let common: config::Common = config::read(config)?;
    let model_type = common.model_type.unwrap_or_default();
    let Some(family) = FAMILIES.iter().find(|family| family.model_types().contains(&model_type.as_str())) else {
        let known = FAMILIES.iter().flat_map(|family| family.model_types()).copied().collect::<Vec<_>>();
        return Err(LoadError::UnknownFamily { found: model_type, known: known.join(", ") });
    };
    let architecture = common.architectures.and_then(|names| names.into_iter().next()).unwrap_or_default();
    if !family.architectures().contains(&architecture.as_str()) {
        let known = family.architectures().join(", ");
        return Err(LoadError::UnknownArchitecture { found: architecture, model_type, known });
    }
    family.load(folder, &Weights::open(folder)?)
}
