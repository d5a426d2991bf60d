//! config.json as transformers reads it: the keys that families share, with transformers' defaults, and bounds on
//! what a damaged file may ask for.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{About, LoadError, Problem};
use crate::nn::Activation;

/// The keys that say which family a model is and what its head means.
#[derive(Debug, Clone, Deserialize)]
pub struct Common {
    pub model_type: Option<String>,
    #[serde(default)]
    pub architectures: Option<Vec<String>>,
    #[serde(default)]
    id2label: Option<Map<String, Value>>,
    #[serde(default)]
    num_labels: Option<usize>,
    #[serde(default)]
    problem_type: Option<String>,
}

impl Common {
    /// What the architecture's head is about; `load` has checked that the family has it.
    pub fn about(&self) -> About {
        let name = self.architectures.as_ref().and_then(|names| names.first()).map_or("", String::as_str);
        match name {
            _ if name.ends_with("ForTokenClassification") => About::Tokens,
            _ if name.ends_with("ForQuestionAnswering") => About::Span,
            _ => About::Sequence,
        }
    }

    /// Labels in the order of the logits; `LABEL_0`, … where config.json names none.
    pub fn labels(&self) -> Result<Vec<String>, LoadError> {
        if self.about() == About::Span {
            return self.span_labels();
        }
        let Some(names) = &self.id2label else {
            let count = self.num_labels.unwrap_or(2);
            check("num_labels", count, 1, 1_000_000)?;
            return Ok((0..count).map(|index| format!("LABEL_{index}")).collect());
        };
        if names.is_empty() {
            return Err(invalid("id2label", "names no label"));
        }
        (0..names.len())
            .map(|index| match names.get(&index.to_string()) {
                Some(Value::String(label)) => Ok(label.clone()),
                Some(_) => Err(invalid("id2label", format!("the name of label {index} is no string"))),
                None => {
                    Err(invalid("id2label", format!("label {index} of {} is missing; count them from 0", names.len())))
                }
            })
            .collect()
    }

    /// A span's two logits are its start and its end, whatever config.json calls them.
    fn span_labels(&self) -> Result<Vec<String>, LoadError> {
        let count = self.id2label.as_ref().map(Map::len).or(self.num_labels).unwrap_or(2);
        if count != 2 {
            let detail = format!("a model that answers questions has 2 outputs (start, end), not {count}");
            return Err(invalid(if self.id2label.is_some() { "id2label" } else { "num_labels" }, detail));
        }
        Ok(vec!["start".to_owned(), "end".to_owned()])
    }

    /// What the logits mean, as the pipelines have it: one logit that is no regression is a sigmoid, whatever
    /// `problem_type` says.
    pub fn problem(&self, labels: usize) -> Result<Problem, LoadError> {
        // Tokens and spans are softmaxes, whatever `problem_type` says.
        if self.about() != About::Sequence {
            return Ok(Problem::SingleLabel);
        }
        match self.problem_type.as_deref() {
            Some("single_label_classification") | None if labels > 1 => Ok(Problem::SingleLabel),
            Some("single_label_classification" | "multi_label_classification") | None => Ok(Problem::MultiLabel),
            Some("regression") if labels == 1 => Ok(Problem::Regression),
            Some("regression") => {
                Err(invalid("problem_type", format!("a regression over {labels} values; one is supported")))
            }
            Some(other) => Err(invalid(
                "problem_type",
                format!(
                    "\"{other}\" is not known; known are single_label_classification, multi_label_classification, regression"
                ),
            )),
        }
    }
}

/// Reads config.json into a family's own struct; a wrong type is an error with the key's path.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LoadError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        // Where not even an object could be read there is no key to name.
        let key = match error.path().to_string().as_str() {
            "." | "?" => "the whole file".to_owned(),
            key => key.to_owned(),
        };
        LoadError::Config { key, detail: error.into_inner().to_string() }
    })
}

pub fn invalid(key: &str, detail: impl Into<String>) -> LoadError {
    LoadError::Config { key: key.into(), detail: detail.into() }
}

/// `least ≤ value ≤ most`, so that absurd values fail before anything is allocated for them.
pub fn check(key: &str, value: usize, least: usize, most: usize) -> Result<usize, LoadError> {
    if (least..=most).contains(&value) {
        Ok(value)
    } else {
        Err(invalid(key, format!("{value} is outside {least} … {most}")))
    }
}

pub fn activation(name: &str) -> Result<Activation, LoadError> {
    activation_of("hidden_act", name)
}

/// The activation that `key` names.
pub fn activation_of(key: &str, name: &str) -> Result<Activation, LoadError> {
    Activation::named(name)
        .ok_or_else(|| invalid(key, format!("\"{name}\" is not supported; supported are {}", Activation::NAMES)))
}

pub fn epsilon(value: f64) -> Result<f32, LoadError> {
    epsilon_of("layer_norm_eps", value)
}

/// The ε of a norm that `key` gives.
pub fn epsilon_of(key: &str, value: f64) -> Result<f32, LoadError> {
    if value > 0.0 && value < 1.0 { Ok(value as f32) } else { Err(invalid(key, "must be between 0 and 1")) }
}

/// The sizes every encoder has.
pub struct Sizes {
    pub hidden: usize,
    pub layers: usize,
    pub heads: usize,
    pub intermediate: usize,
}

impl Sizes {
    pub fn check(self) -> Result<Self, LoadError> {
        self.check_as(["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"])
    }

    /// The same where config.json has other names for the four.
    pub fn check_as(self, [hidden, layers, heads, intermediate]: [&str; 4]) -> Result<Self, LoadError> {
        check(hidden, self.hidden, 1, 65_536)?;
        check(layers, self.layers, 1, 1_000)?;
        check(heads, self.heads, 1, self.hidden)?;
        check(intermediate, self.intermediate, 1, 1 << 20)?;
        if !self.hidden.is_multiple_of(self.heads) {
            let detail = format!("{} does not divide {hidden} {}", self.heads, self.hidden);
            return Err(invalid(heads, detail));
        }
        Ok(self)
    }
}
