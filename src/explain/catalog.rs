//! What is loaded: each model with its preprocessing and its task, by the name it is served under.

use std::sync::Arc;

use crate::hub::{HubError, HubOptions, Source};
use crate::input::Kind;
use crate::input::image::{ImageError, ImageProcessor};
use crate::input::text::{TextError, TextProcessor};
use crate::models::{self, Model};
use crate::tasks::Task;

/// A model ready to be asked.
pub struct ServedModel {
    pub name: String,
    pub source: String,
    pub revision: Option<String>,
    pub sha256: String,
    pub model: Box<dyn Model>,
    pub task: Box<dyn Task>,
    pub processor: Processor,
}

pub enum Processor {
    Text(TextProcessor),
    Image(ImageProcessor),
}

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Hub(#[from] HubError),
    #[error("{source_name}: {error}")]
    Model { source_name: String, error: models::LoadError },
    #[error("{source_name}: {error}")]
    Tokenizer { source_name: String, error: TextError },
    #[error("{source_name}: {error}")]
    Image { source_name: String, error: ImageError },
    #[error("{source_name}: {file} is missing")]
    MissingFile { source_name: String, file: &'static str },
    #[error("two models are named \"{0}\"; give each its own with --model NAME=SOURCE")]
    DuplicateName(String),
}

impl ServedModel {
    pub fn load(name: Option<String>, source: &Source, hub: &HubOptions) -> Result<Self, LoadError> {
        let _ = (name, source, hub);
        todo!()
    }
    pub fn kind(&self) -> Kind {
        self.model.spec().kind
    }
    /// Text models: the longest input in tokens.
    pub fn max_tokens(&self) -> Option<usize> {
        todo!()
    }
}

/// The loaded models, in the order given.
#[derive(Default)]
pub struct Catalog {
    models: Vec<Arc<ServedModel>>,
}

impl Catalog {
    pub fn new(models: Vec<ServedModel>) -> Result<Self, LoadError> {
        let _ = models;
        todo!()
    }
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.models.iter()
    }
    pub fn get(&self, name: &str) -> Option<&Arc<ServedModel>> {
        self.models.iter().find(|model| model.name == name)
    }
}
