//! GGUF, llama.cpp's files: weights, configuration and tokenizer in one. What a model folder of such a file lacks
//! (config.json, the tokenizer) is made from the file's own description, and its tensors go by transformers' names, so
//! that families and tasks see a folder like any other.
//!
//! `header` reads the description, `config` and `tokenizer` make files of it, `tensors` says what each tensor is called.

mod config;
mod header;
mod tensors;
#[cfg(test)]
mod tests;
mod tokenizer;

use std::borrow::Cow;
use std::sync::Arc;

pub use header::{Header, Tensor};
pub use tensors::{Change, tensors};

use super::LoadError;
use crate::hub::{FileBytes, ModelFolder};

/// The end of such a file's name.
pub const ENDING: &str = ".gguf";

/// The GGUF file of a folder.
fn file(folder: &ModelFolder) -> Option<&String> {
    folder.weights.iter().find(|name| name.ends_with(ENDING))
}

/// An error of a model whose config.json and tensors are those of a GGUF file, by the name of that file.
pub fn of_its_file(folder: &ModelFolder, error: LoadError) -> LoadError {
    let Some(file) = file(folder) else { return error };
    let detail = match &error {
        LoadError::Weights { detail, .. } => detail.clone(),
        LoadError::Config { key, detail } => format!("what it says of itself, as config.json would: {key}: {detail}"),
        other => other.to_string().trim_start_matches("model.safetensors: ").to_owned(),
    };
    LoadError::Weights { file: file.clone(), detail }
}

/// The folder with the files that its GGUF file stands for; any other as it is.
///
/// # Errors
/// A file that is none, is cut short, or describes a model that is not known here.
pub fn completed(folder: &ModelFolder) -> Result<Cow<'_, ModelFolder>, LoadError> {
    let Some(name) = file(folder).filter(|_| folder.file("config.json").is_none()) else {
        return Ok(Cow::Borrowed(folder));
    };
    let wrong = |detail: String| LoadError::Weights { file: name.clone(), detail };
    let bytes = folder.bytes(name).ok_or_else(|| wrong("is missing".into()))?;
    let header = Header::read(bytes).map_err(|detail| wrong(format!("is no GGUF file that can be read: {detail}")))?;
    let mut made = vec![("config.json", config::config(&header, bytes).map_err(wrong)?)];
    if folder.file("tokenizer.json").is_none() {
        let (tokenizer, settings) = tokenizer::files(&header).map_err(wrong)?;
        made.extend([("tokenizer.json", tokenizer), ("tokenizer_config.json", settings)]);
    }
    let mut folder = folder.clone();
    for (file, json) in made {
        folder.files.insert(file.to_owned(), FileBytes::Owned(Arc::new(json.to_string().into_bytes())));
    }
    Ok(Cow::Owned(folder))
}
