//! Model families. One file a family, one instrumented forward each; a family speaks to `nn` alone.
//!
//! Adding a family is a file here and a line in [`FAMILIES`].

mod albert;
pub mod batch;
mod beit;
mod bert;
mod bert_like;
mod blackbox;
mod clip;
mod config;
mod convnext;
mod convolution;
mod deberta;
mod decoder;
mod deit;
mod dinov2;
mod distilbert;
mod electra;
mod embeddings;
mod encoder;
mod gemma;
mod gguf;
mod gpt2;
mod head;
mod llama;
mod llama_like;
#[cfg(test)]
pub(crate) mod lm_tests;
mod mistral;
mod modernbert;
mod mpnet;
#[cfg(test)]
mod narrow_tests;
mod phi3;
mod positions;
mod qwen;
mod relative;
mod resnet;
mod roberta;
mod rope;
#[cfg(test)]
mod rule_tests;
mod spec;
mod swin;
mod swin_layer;
mod tap;
#[cfg(test)]
mod tests;
mod text_encoder;
mod vgg;
mod vision;
mod vision_stack;
#[cfg(test)]
mod vision_tests;
mod vision_transformer;
mod vit;
pub mod weights;
mod xlm_roberta_xl;

use crate::hub::ModelFolder;
use crate::input::image::ImageError;
use crate::nn::{self, Node, Tape};

pub use batch::{Batch, Content, Prefix, Row};
pub use gguf::completed;
pub use spec::{About, Capabilities, Capability, ImageSpec, Problem, Reads, SequenceItem, Spec};
pub use tap::{AttentionMap, Fused, FusedMap, Fusion, Recording, Replacement, StateMap, TapPlan, Tapped};
pub use weights::{Memory, Part, Randomised, Weights};

/// What one forward gives.
pub struct Outputs {
    /// Where gradients are asked for: the word embeddings (tokens × `Spec::embedding`) or the normalised pixels
    /// (rows × channels·height·width).
    pub input: Node,
    /// One row per position read × labels.
    pub logits: Node,
    /// What the plan names.
    pub tapped: Tapped,
}

/// A loaded model.
pub trait Model: Send + Sync {
    fn spec(&self) -> &Spec;
    /// The output of the model's embedding module for `batch`: before position and type embeddings and normalisation.
    /// Images: the pixels themselves.
    fn embed(&self, tape: &mut Tape<'_>, batch: &Batch) -> Result<Node, nn::Error>;
    fn forward(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error>;
    /// [`Model::forward`] without what [`Model::head`] does: in the logits' place, also those of [`TapPlan::lens`], stand
    /// the states that it reads, a row for each position. For heads whose logits are too many to have all at once.
    fn states(&self, tape: &mut Tape<'_>, batch: &Batch, taps: &TapPlan) -> Result<Outputs, nn::Error> {
        self.forward(tape, batch, taps)
    }
    /// The logits of rows out of what [`Model::states`] gives.
    fn head(&self, _tape: &mut Tape<'_>, states: &Node) -> Result<Node, nn::Error> {
        Ok(states.clone())
    }
    /// Whether rows of up to `tokens` tokens may stand behind a [`Prefix`] that was computed by itself.
    fn reuses(&self, _tokens: usize) -> bool {
        false
    }
    /// Numbers of a token that a [`Prefix`] holds.
    fn kept(&self) -> usize {
        0
    }
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
    &beit::Beit,
    &bert::Bert,
    &blackbox::Segformer,
    &blackbox::Timm,
    &clip::Clip,
    &convnext::ConvNext,
    &deberta::Deberta,
    &deberta::DebertaV2,
    &deit::Deit,
    &dinov2::Dinov2,
    &distilbert::DistilBert,
    &electra::Electra,
    &gemma::Gemma2,
    &gemma::Gemma3,
    &gpt2::Gpt2,
    &llama::Llama,
    &mistral::Mistral,
    &modernbert::ModernBert,
    &mpnet::MpNet,
    &phi3::Phi3,
    &qwen::Qwen2,
    &qwen::Qwen3,
    &resnet::ResNet,
    &roberta::Roberta,
    &swin::Swin,
    &vgg::Vgg,
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
    #[error(transparent)]
    Image(#[from] ImageError),
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

/// Whether config.json is that of a timm model, which says there how images are prepared.
pub fn is_timm(config_json: &[u8]) -> bool {
    config::read::<config::Common>(config_json).is_ok_and(|common| common.model_type() == config::TIMM)
}

/// A model, and what its weights take.
pub struct Loaded {
    pub model: Box<dyn Model>,
    pub memory: Memory,
}

/// Finds the family that config.json names and loads the model.
pub fn load(folder: &ModelFolder) -> Result<Box<dyn Model>, LoadError> {
    Ok(load_with(folder, None)?.model)
}

/// The same, with random numbers in some of its weights where that is asked for.
pub fn load_with(folder: &ModelFolder, random: Option<Randomised>) -> Result<Loaded, LoadError> {
    let folder = &*completed(folder)?;
    let load = || {
        let family = family(folder)?;
        let mut weights = Weights::open(folder)?;
        if let Some(how) = random {
            weights = weights.randomised(how);
        }
        let model = family.load(folder, &weights)?;
        Ok(Loaded { model, memory: weights.memory() })
    };
    load().map_err(|error| gguf::of_its_file(folder, error))
}

fn family(folder: &ModelFolder) -> Result<&'static dyn Family, LoadError> {
    let config = folder.file("config.json").unwrap_or_default();
    let common: config::Common = config::read(config)?;
    let model_type = common.model_type().to_owned();
    let families: Vec<&&dyn Family> =
        FAMILIES.iter().filter(|family| family.model_types().contains(&model_type.as_str())).collect();
    if families.is_empty() {
        return Err(unknown(model_type, &common));
    }
    let Some(family) = families.iter().find(|family| family.architectures().contains(&common.architecture())) else {
        let known: Vec<&str> = families.iter().flat_map(|family| family.architectures()).copied().collect();
        let found = common.architecture().to_owned();
        return Err(LoadError::UnknownArchitecture { found, model_type, known: known.join(", ") });
    };
    Ok(**family)
}

/// The error of a model that no family runs.
fn unknown(model_type: String, common: &config::Common) -> LoadError {
    let mut known: Vec<&str> = Vec::new();
    // Several families may run one.
    for name in FAMILIES.iter().flat_map(|family| family.model_types()) {
        if !known.contains(name) {
            known.push(name);
        }
    }
    match common.text_part().filter(|text| known.contains(text)) {
        Some(text) => config::invalid(
            "model_type",
            format!(
                "\"{model_type}\" reads images with its text and is not supported; its text part alone is, saved as \
                 model_type \"{text}\""
            ),
        ),
        None => LoadError::UnknownFamily { found: model_type, known: known.join(", ") },
    }
}
