//! An answer as it was kept, and the request that asks for it again.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::compare::Difference;
use super::exact::{self, Damage};
use crate::explain::{ExplainRequest, Wanted};
use crate::input::text::{self, Message};

/// Why an answer cannot be repeated.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the answer is damaged{}: {}", place(&.0.pointer), .0.detail)]
    Damaged(Damage),
    #[error("{0}; replay takes one answer of POST /explain, POST /predict or `explaind explain --format json`")]
    NotAnAnswer(String),
    #[error(
        "the answer is partial: how far it came when its deadline passed depends on how fast the machine was, so it \
         cannot be repeated; ask again with a longer deadline_ms"
    )]
    Partial,
    #[error(
        "the answer does not hold the input it is about; give it with --input FILE (the text, the image, or the JSON \
         request), or ask with \"echo\": true to have it in the answer"
    )]
    NoInput,
    #[error("the input cannot be used: {0}")]
    Input(String),
    #[error("the answer's request cannot be asked again: /request{pointer}: {detail}; it may be another version's")]
    Request { pointer: String, detail: String },
    /// The input is another one than the answer's hash says.
    #[error("the input is not the one that was explained")]
    OtherInput(Box<Difference>),
}

fn place(pointer: &str) -> String {
    if pointer.is_empty() { String::new() } else { format!(" at {pointer}") }
}

/// An answer that can be repeated.
#[derive(Debug)]
pub struct Recorded {
    answer: Value,
}

/// A text, with a second one where the task takes pairs, a chat, or an image.
enum Given {
    Text(String, Option<String>),
    Chat(Vec<Message>),
    Image(Vec<u8>),
}

impl Given {
    /// As `input.sha256` of an answer. A prompt's `completion` is part of it.
    fn sha256(&self, completion: Option<&str>) -> String {
        match self {
            Self::Text(first, pair) => text::sha256(first, pair.as_deref().or(completion)),
            Self::Chat(messages) => text::sha256(&Message::sent(messages), completion),
            Self::Image(bytes) => format!("{:x}", Sha256::digest(bytes)),
        }
    }
}

impl Recorded {
    /// Reads an answer; a line of a batch is read as the answer in it.
    ///
    /// # Errors
    /// Anything that is no whole answer.
    pub fn read(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut answer = exact::parse(bytes).map_err(|damage| match damage.detail.contains("trailing characters") {
            true => RecordError::NotAnAnswer(format!("more follows after the first JSON value ({})", damage.detail)),
            false => RecordError::Damaged(damage),
        })?;
        if answer.get("index").is_some_and(Value::is_u64)
            && let Some(inner) = answer.get_mut("answer")
        {
            answer = inner.take();
        }
        let problem = answer.get("problem").unwrap_or(&answer);
        if let (Some(kind), Some(_)) = (problem.get("type").and_then(Value::as_str), problem.get("status")) {
            return Err(RecordError::NotAnAnswer(format!("this is a problem ({kind}), which has nothing to repeat")));
        }
        for pointer in ["/id", "/model/name", "/model/source", "/model/sha256", "/input/kind", "/input/sha256"] {
            if !answer.pointer(pointer).is_some_and(Value::is_string) {
                return Err(RecordError::NotAnAnswer(format!("{pointer} is missing or no string")));
            }
        }
        for pointer in ["/request", "/prediction", "/provenance"] {
            if !answer.pointer(pointer).is_some_and(Value::is_object) {
                return Err(RecordError::NotAnAnswer(format!("{pointer} is missing or no object")));
            }
        }
        let partial = |value: &Value| value.get("partial") == Some(&Value::Bool(true));
        let explanations = answer.get("explanations").and_then(Value::as_array);
        if partial(&answer) || explanations.is_some_and(|all| all.iter().any(partial)) {
            return Err(RecordError::Partial);
        }
        Ok(Self { answer })
    }

    pub fn answer(&self) -> &Value {
        &self.answer
    }

    fn string(&self, pointer: &str) -> &str {
        self.answer.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    pub fn id(&self) -> &str {
        self.string("/id")
    }

    /// What the model was served as.
    pub fn model(&self) -> &str {
        self.string("/model/name")
    }

    /// Where the model came from.
    pub fn source(&self) -> &str {
        self.string("/model/source")
    }

    /// The commit of a model from a hub.
    pub fn revision(&self) -> Option<&str> {
        self.answer.pointer("/model/revision").and_then(Value::as_str)
    }

    /// The other models that its explanations asked, each by its name, its source and a hub's commit.
    pub fn helpers(&self) -> Vec<(&str, &str, Option<&str>)> {
        fn helper(model: &Value) -> Option<(&str, &str, Option<&str>)> {
            let text = |key: &str| model.get(key).and_then(Value::as_str);
            Some((text("name")?, text("source")?, text("revision")))
        }
        let all = self.answer.get("helpers").and_then(Value::as_array);
        all.map_or(&[][..], Vec::as_slice).iter().filter_map(helper).collect()
    }

    pub fn deadline_ms(&self) -> Option<u64> {
        self.answer.pointer("/request/deadline_ms").and_then(Value::as_u64)
    }

    /// `/predict` answers without explanations.
    pub fn wanted(&self) -> Wanted {
        if self.answer.get("explanations").is_some() { Wanted::Explanations } else { Wanted::Prediction }
    }

    pub fn explanations(&self) -> usize {
        self.answer.get("explanations").and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// The request that this is the answer to, and the bytes of its image. `file` holds the input where the answer does
    /// not, or as well.
    ///
    /// # Errors
    /// There is no input, it is another one, or the request has fields that are not known here.
    pub fn request(&self, file: Option<&[u8]>) -> Result<(ExplainRequest, Option<Vec<u8>>), RecordError> {
        let image = self.string("/input/kind") == "image";
        let candidates = match file {
            Some(bytes) if image => of_image_file(bytes),
            Some(bytes) => of_text_file(bytes)?,
            None => vec![self.echoed(image)?],
        };
        let recorded = self.string("/input/sha256");
        let completion = self.completion();
        let first = candidates.first().map(|given| given.sha256(completion)).unwrap_or_default();
        let Some(given) = candidates.into_iter().find(|given| given.sha256(completion) == recorded) else {
            let difference = Difference::new("/input/sha256".to_owned(), Some(&recorded.into()), Some(&first.into()));
            return Err(RecordError::OtherInput(Box::new(difference)));
        };
        let mut fields = self.answer.get("request").and_then(Value::as_object).cloned().unwrap_or_default();
        // What a prediction of a task without a default target was asked for: nothing.
        if fields.get("target").and_then(Value::as_array).is_some_and(Vec::is_empty) {
            fields.shift_remove("target");
        }
        if let Some(completion) = completion {
            fields.insert("completion".to_owned(), completion.into());
        }
        let image = add(&mut fields, given)?;
        let request = serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| {
            let pointer = error.path().iter().map(|segment| format!("/{segment}")).collect();
            RecordError::Request { pointer, detail: error.into_inner().to_string() }
        })?;
        Ok((request, image))
    }

    /// Language models: what the request sent to follow the prompt. One that the model wrote is written again.
    fn completion(&self) -> Option<&str> {
        let written = self.answer.pointer("/request/generate").is_some();
        self.answer.pointer("/prediction/completion").and_then(Value::as_str).filter(|_| !written)
    }

    /// The input that the answer itself holds. That of a chat without `echo` holds the prompt alone that was made of it.
    fn echoed(&self, image: bool) -> Result<Given, RecordError> {
        if self.answer.pointer("/request/echo") != Some(&Value::Bool(true)) {
            return Err(RecordError::NoInput);
        }
        if let Some(messages) = self.answer.pointer("/input/messages") {
            return read_messages(messages).map(Given::Chat);
        }
        let field = |name: &str| self.answer.pointer(&format!("/input/{name}")).and_then(Value::as_str);
        if image {
            let text = field("image").ok_or(RecordError::NoInput)?;
            let bytes = STANDARD.decode(text);
            return bytes
                .map(Given::Image)
                .map_err(|error| RecordError::Input(format!("/input/image is no base64: {error}")));
        }
        let text = field("text").ok_or(RecordError::NoInput)?;
        Ok(Given::Text(text.to_owned(), field("pair").map(str::to_owned)))
    }
}

/// Puts the input into a request's fields; an image goes beside them.
fn add(fields: &mut Map<String, Value>, given: Given) -> Result<Option<Vec<u8>>, RecordError> {
    Ok(match given {
        Given::Text(text, pair) => {
            fields.insert("text".to_owned(), text.into());
            if let Some(pair) = pair {
                fields.insert("pair".to_owned(), pair.into());
            }
            None
        }
        Given::Chat(messages) => {
            let messages = serde_json::to_value(messages).map_err(|error| RecordError::Input(error.to_string()))?;
            fields.insert("messages".to_owned(), messages);
            None
        }
        Given::Image(bytes) => Some(bytes),
    })
}

fn read_messages(messages: &Value) -> Result<Vec<Message>, RecordError> {
    Vec::deserialize(messages).map_err(|error| RecordError::Input(format!("/input/messages: {error}")))
}

/// What a file may mean: the image itself, or a request that holds it.
fn of_image_file(bytes: &[u8]) -> Vec<Given> {
    let request = requested(bytes, "image").and_then(|text| STANDARD.decode(text).ok()).map(Given::Image);
    [Some(Given::Image(bytes.to_vec())), request].into_iter().flatten().collect()
}

/// What a file may mean: the text as it is, the text without the line end that editors add, or a request.
fn of_text_file(bytes: &[u8]) -> Result<Vec<Given>, RecordError> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        RecordError::Input(format!("the answer is about a text, and the file is not UTF-8: {error}"))
    })?;
    let chat = serde_json::from_slice::<Map<String, Value>>(bytes).ok().and_then(|mut request| {
        request.remove("messages").and_then(|messages| serde_json::from_value(messages).ok()).map(Given::Chat)
    });
    let request = requested(bytes, "text").map(|text| Given::Text(text, requested(bytes, "pair")));
    let without = text.strip_suffix('\n').map(|text| text.strip_suffix('\r').unwrap_or(text));
    let plain = |text: &str| Given::Text(text.to_owned(), None);
    Ok([Some(plain(text)), without.map(plain), request, chat].into_iter().flatten().collect())
}

/// A string of a JSON request.
fn requested(bytes: &[u8], field: &str) -> Option<String> {
    let request: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    Some(request.get(field)?.as_str()?.to_owned())
}

#[cfg(test)]
#[path = "record_tests.rs"]
mod tests;
