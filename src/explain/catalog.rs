//! What is loaded: each model with its preprocessing and its task, by the name it is served under. `cli` and `http`
//! load it, `explain::plan` picks from it.

use std::sync::Arc;

use super::plan::{Field, PlanError};
use crate::config;
use crate::hub::{self, HubError, HubOptions, ModelFolder, Source};
#[cfg(test)]
use crate::input::Input;
use crate::input::Kind;
use crate::input::image::{ImageError, ImageProcessor};
use crate::input::text::{Lexicon, TextError, TextProcessor};
use crate::methods::Helpers;
use crate::models::{self, About, Loaded, Memory, Model, Randomised, Spec};
use crate::nn::Precision;
use crate::tasks::{self, FillMask, Task, quote};

/// A model ready to be asked.
pub struct ServedModel {
    pub name: String,
    pub source: String,
    pub revision: Option<String>,
    pub sha256: String,
    pub model: Box<dyn Model>,
    /// Of its weights.
    pub memory: Memory,
    pub task: Arc<dyn Task>,
    pub processor: Processor,
}

/// What makes an input ready for the model.
pub enum Processor {
    Text(Box<TextProcessor>),
    Image(ImageProcessor),
    /// Images, and texts that they are compared with.
    Both {
        image: ImageProcessor,
        text: Box<TextProcessor>,
    },
    /// Tests: the same input whatever is sent.
    #[cfg(test)]
    Fixed(Box<Input>),
}

/// Why a model cannot be served.
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
    #[error("compute.precision: this processor has neither AMX nor AVX512-BF16; use \"f32\"")]
    Precision,
}

impl ServedModel {
    /// Fetches (if need be), opens and loads `source`, to be served as `name` (default: the source's last part).
    pub fn load(name: Option<String>, source: &Source, hub: &HubOptions) -> Result<Self, LoadError> {
        Self::from_folder(name.unwrap_or_else(|| source.default_name()), hub::open(source, hub)?)
    }

    /// Loads a model whose files are there.
    pub fn from_folder(name: String, folder: ModelFolder) -> Result<Self, LoadError> {
        Self::with(name, folder, None)
    }

    /// The same with random numbers in some of its weights, to see whether explanations depend on them.
    pub fn randomised(name: String, folder: ModelFolder, how: Randomised) -> Result<Self, LoadError> {
        Self::with(name, folder, Some(how))
    }

    fn with(name: String, folder: ModelFolder, random: Option<Randomised>) -> Result<Self, LoadError> {
        let source_name = folder.source.clone();
        let wrong = |error| LoadError::Model { source_name: source_name.clone(), error };
        let folder = models::completed(&folder).map_err(wrong)?.into_owned();
        let Loaded { model, memory } = models::load_with(&folder, random).map_err(wrong)?;
        let processor = Processor::load(&folder, model.spec())?;
        let task: Arc<dyn Task> = match &processor {
            Processor::Text(text) if model.spec().about == About::Masked => {
                Arc::new(FillMask::new(model.spec(), text.all_written().into()))
            }
            _ => tasks::of_model(model.spec()),
        };
        Ok(Self {
            name,
            source: folder.source,
            revision: folder.revision,
            sha256: folder.sha256,
            model,
            memory,
            task,
            processor,
        })
    }

    pub fn kind(&self) -> Kind {
        self.model.spec().kind
    }

    /// Text models: the words it has.
    pub fn lexicon(&self) -> Option<&dyn Lexicon> {
        match &self.processor {
            Processor::Text(text) => Some(&**text),
            _ => None,
        }
    }

    /// Whether it says what could stand in a mask's place.
    pub fn fills_masks(&self) -> bool {
        match &self.processor {
            Processor::Text(text) => self.model.spec().about == About::Masked && text.specials().mask.is_some(),
            _ => false,
        }
    }

    /// Text models: the longest input in tokens.
    pub fn max_tokens(&self) -> Option<usize> {
        match &self.processor {
            Processor::Text(text) => Some(text.max_tokens()),
            Processor::Image(_) | Processor::Both { .. } => None,
            #[cfg(test)]
            Processor::Fixed(_) => Some(self.model.spec().max_positions),
        }
    }
}

impl Processor {
    fn load(folder: &ModelFolder, spec: &Spec) -> Result<Self, LoadError> {
        let source_name = || folder.source.clone();
        let file = |file: &'static str| {
            folder.file(file).ok_or_else(|| LoadError::MissingFile { source_name: source_name(), file })
        };
        let text = || {
            let config = folder.file("tokenizer_config.json");
            TextProcessor::new(file("tokenizer.json")?, config, spec.max_positions, spec.vocab)
                .map(|text| {
                    let generation = folder.file("generation_config.json").or_else(|| folder.file("config.json"));
                    text.writing(folder.file("chat_template.jinja"), generation)
                })
                .map(Box::new)
                .map_err(|error| LoadError::Tokenizer { source_name: source_name(), error })
        };
        let image = || {
            let size = spec.image.as_ref().map_or((0, 0), |image| (image.rows, image.cols));
            let processor = match folder.file("config.json").filter(|config| models::is_timm(config)) {
                Some(config) => ImageProcessor::timm(config, size),
                None => ImageProcessor::new(file("preprocessor_config.json")?, size),
            };
            processor.map_err(|error| LoadError::Image { source_name: source_name(), error })
        };
        Ok(match (spec.kind, spec.about) {
            (Kind::Image, About::Similarity { .. }) => Self::Both { image: image()?, text: text()? },
            (Kind::Image, _) => Self::Image(image()?),
            (Kind::Text, _) => Self::Text(text()?),
        })
    }
}

/// The loaded models, in the order given.
#[derive(Default)]
pub struct Catalog {
    models: Vec<Arc<ServedModel>>,
    precision: Precision,
}

impl Catalog {
    /// Refuses two models of one name.
    pub fn new(models: Vec<ServedModel>) -> Result<Self, LoadError> {
        for (position, model) in models.iter().enumerate() {
            if models.iter().take(position).any(|other| other.name == model.name) {
                return Err(LoadError::DuplicateName(model.name.clone()));
            }
        }
        Ok(Self { models: models.into_iter().map(Arc::new).collect(), precision: Precision::default() })
    }

    /// What black-box methods compute in where a request does not say.
    ///
    /// # Errors
    /// This processor does not multiply such numbers.
    pub fn computing_in(mut self, precision: config::Precision) -> Result<Self, LoadError> {
        let precision = match precision {
            config::Precision::F32 => Precision::F32,
            config::Precision::Bf16 => Precision::Bf16,
        };
        if !precision.available() {
            return Err(LoadError::Precision);
        }
        self.precision = precision;
        Ok(self)
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    pub fn iter(&self) -> impl Iterator<Item = &Arc<ServedModel>> {
        self.models.iter()
    }

    pub fn get(&self, name: &str) -> Option<&Arc<ServedModel>> {
        self.models.iter().find(|model| model.name == name)
    }

    /// The model of that name, else an error that lists what is loaded.
    pub fn named(&self, name: &str) -> Result<&Arc<ServedModel>, PlanError> {
        self.get(name).ok_or_else(|| PlanError::UnknownModel { name: name.to_owned(), known: names(self.iter()) })
    }

    /// The only model that reads inputs of `kind`. Mask fillers, which stand beside others, count where there is no other.
    pub fn only(&self, kind: Kind) -> Result<&Arc<ServedModel>, Field> {
        let all: Vec<_> = self.iter().filter(|model| model.kind() == kind).collect();
        let others: Vec<_> = all.iter().copied().filter(|model| !model.fills_masks()).collect();
        let fitting = if others.is_empty() { all } else { others };
        match fitting.as_slice() {
            [model] => Ok(model),
            [] => Err(Field::new(
                "/model",
                format!("no loaded model reads {}; loaded are {}", noun(kind), names(self.iter())),
            )),
            _ => Err(Field::new(
                "/model",
                format!("several loaded models read {}; name one of {}", noun(kind), names(fitting.into_iter())),
            )),
        }
    }
}

impl Helpers for Catalog {
    fn fills_masks(&self, name: &str) -> Result<(), String> {
        let fitting = || names(self.iter().filter(|model| model.fills_masks()));
        match self.get(name) {
            Some(model) if model.fills_masks() => Ok(()),
            Some(model) => Err(format!(
                "model {} is for {} and fills no masks; load a masked language model (an architecture …ForMaskedLM \
                 with a mask token) and name it: loaded are {}",
                quote(name),
                model.task.name(),
                fitting()
            )),
            None => {
                Err(format!("no model is named {}; of those that are loaded {} can fill masks", quote(name), fitting()))
            }
        }
    }
}

/// A kind of input, in a sentence.
pub(super) fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Text => "text",
        Kind::Image => "images",
    }
}

fn names<'a>(models: impl Iterator<Item = &'a Arc<ServedModel>>) -> String {
    let names: Vec<_> = models.map(|model| format!("\"{}\"", model.name)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::fakes;
    use super::*;

    #[test]
    fn names_are_unique() {
        let error = Catalog::new(vec![fakes::text_model("a"), fakes::image_model("b"), fakes::image_model("a")]).err();
        assert!(matches!(error, Some(LoadError::DuplicateName(name)) if name == "a"));
    }

    #[test]
    fn the_only_fitting_model_is_picked() {
        let catalog =
            Catalog::new(vec![fakes::text_model("a"), fakes::image_model("b"), fakes::image_model("c")]).unwrap();
        assert_eq!(catalog.only(Kind::Text).map(|model| model.name.clone()), Ok("a".to_owned()));
        let error = catalog.only(Kind::Image).err().unwrap();
        assert_eq!(error.pointer, "/model");
        assert!(error.detail.contains("\"b\", \"c\"") && !error.detail.contains("\"a\""), "{}", error.detail);
        let error = Catalog::default().only(Kind::Text).err().unwrap();
        assert!(error.detail.contains("loaded are none"), "{}", error.detail);
    }

    #[test]
    fn unknown_names_list_what_is_loaded() {
        let catalog = Catalog::new(vec![fakes::text_model("a"), fakes::image_model("b")]).unwrap();
        let error = catalog.named("x").err().unwrap().to_string();
        assert!(error.contains("\"x\"") && error.contains("\"a\", \"b\""), "{error}");
    }
}
