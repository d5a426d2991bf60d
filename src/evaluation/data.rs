//! A data set on disk as a list of items: JSON lines, CSV and TSV, text files, folders of images; and the marks that
//! people made, in the same file or in one of their own. Whatever is wrong is named with its file and line.

mod digest;
mod images;
mod lines;
mod marks;
mod table;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

pub use digest::sha256;
pub use images::marked;
pub use marks::{Marks, Named, Span};

/// Names of the column or key that holds the text, the first one there is.
pub const TEXT: &[&str] = &["text", "sentence", "premise", "question", "sentence1", "content", "review", "tweet"];
/// Of the second text.
pub const PAIR: &[&str] = &["pair", "hypothesis", "context", "sentence2"];
/// Of the label.
pub const LABEL: &[&str] = &["label", "class"];
/// Of what names the item.
pub const ID: &[&str] = &["id", "idx"];

/// U+FEFF in UTF-8.
const MARK: &[u8] = b"\xef\xbb\xbf";

/// Why a data set could not be read.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{}: {error}", file.display())]
    Io { file: PathBuf, error: std::io::Error },
    #[error("{}:{line}: {detail}", file.display())]
    Line { file: PathBuf, line: usize, detail: String },
    #[error("{}: {detail}", file.display())]
    File { file: PathBuf, detail: String },
}

/// What is explained.
#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Text {
        text: String,
        pair: Option<String>,
    },
    /// A file of an image.
    Image(PathBuf),
}

/// One input of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub id: String,
    /// From 1, in its file; of an image 0.
    pub line: usize,
    pub content: Content,
    /// As written; null and empty ones are none.
    pub label: Option<String>,
    pub marks: Option<Marks>,
}

/// How to read a data set.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The text's column, where it is none of [`TEXT`].
    pub text: Option<String>,
    /// The label's column, where it is none of [`LABEL`].
    pub label: Option<String>,
    /// Marks in a file or folder of their own.
    pub rationales: Option<PathBuf>,
    /// Which boxes speak for a label: pairs of a label and the name its boxes bear.
    pub boxes_of: Vec<(String, String)>,
    /// At most so many items, from the first.
    pub limit: Option<usize>,
}

/// Reads `path`.
///
/// # Errors
/// The first line that cannot be read, or a file that is no data set.
pub fn read(path: &Path, reading: &Reading) -> Result<Vec<Item>, DataError> {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_lowercase();
    let mut items = match ending.as_str() {
        _ if path.is_dir() => images::read(path, reading)?,
        "jsonl" | "ndjson" => lines::read(path, reading)?,
        "csv" => table::read(path, b',', reading)?,
        "tsv" => table::read(path, b'\t', reading)?,
        "txt" => lines::plain(path)?,
        _ => {
            let detail = "a data set is a .jsonl, .csv, .tsv or .txt file or a folder of images".to_owned();
            return Err(DataError::File { file: path.to_owned(), detail });
        }
    };
    if items.is_empty() {
        return Err(DataError::File { file: path.to_owned(), detail: "there is nothing in it".to_owned() });
    }
    if let Some(limit) = reading.limit {
        items.truncate(limit);
    }
    if let Some(from) = reading.rationales.as_deref().filter(|_| !path.is_dir()) {
        lines::join_rationales(&mut items, from)?;
    }
    Ok(items)
}

/// A file as text, without the mark that some programs put in front of UTF-8.
fn text_of(path: &Path) -> Result<String, DataError> {
    let mut bytes = std::fs::read(path).map_err(|error| DataError::Io { file: path.to_owned(), error })?;
    if bytes.starts_with(MARK) {
        bytes.drain(..MARK.len());
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        DataError::Line { file: path.to_owned(), line, detail: "it is not UTF-8".to_owned() }
    })
}

/// An item from the keys of a line or the columns of a row. What is missing or wrong is said without the place.
fn item(fields: &Map<String, Value>, line: usize, reading: &Reading) -> Result<Item, String> {
    let first = |names: &[&str]| names.iter().find_map(|name| fields.get(*name).filter(|value| !value.is_null()));
    let text = match &reading.text {
        Some(name) => fields.get(name).ok_or_else(|| format!("there is no \"{name}\", which --text-column names"))?,
        None => first(TEXT).ok_or_else(|| {
            format!("there is no text: name it one of {} or give its name with --text-column", TEXT.join(", "))
        })?,
    };
    let text = text.as_str().ok_or_else(|| format!("the text is no string: {text}"))?.to_owned();
    let pair = first(PAIR).map(|pair| pair.as_str().map(str::to_owned).ok_or("the second text is no string"));
    let pair = pair.transpose()?;
    let label = match &reading.label {
        Some(name) => {
            Some(fields.get(name).ok_or_else(|| format!("there is no \"{name}\", which --label-column names"))?)
        }
        None => first(LABEL),
    };
    Ok(Item {
        id: first(ID).and_then(written).unwrap_or_else(|| line.to_string()),
        line,
        marks: marks::of_text(fields, &text, pair.as_deref())?,
        content: Content::Text { text, pair },
        label: label.map(label_of).transpose()?.flatten(),
    })
}

fn label_of(label: &Value) -> Result<Option<String>, String> {
    match label {
        Value::Null => Ok(None),
        label => written(label)
            .map(|label| Some(label).filter(|label| !label.is_empty()))
            .ok_or_else(|| format!("the label is neither a name nor a number: {label}")),
    }
}

/// A string or a number as text.
fn written(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// Which class a written label is: a label's name, then that in any case, then an index in digits.
pub fn class_of(label: &str, labels: &[String]) -> Option<usize> {
    let exact = labels.iter().position(|known| known == label);
    let loose = || labels.iter().position(|known| known.to_lowercase() == label.to_lowercase());
    let index = || label.parse().ok().filter(|&index: &usize| index < labels.len());
    exact.or_else(loose).or_else(index)
}
