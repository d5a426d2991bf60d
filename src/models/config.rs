//! config.json as transformers reads it: the keys that families share, with transformers' defaults, and bounds on
//! what a damaged file may ask for.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::{About, LoadError, Problem};
use crate::nn::Activation;

/// The `model_type` of timm's models, whose files have none.
pub const TIMM: &str = "timm";

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
    /// What timm calls a model. Other files may have anything under its keys.
    #[serde(default, rename = "architecture")]
    timm: Option<Value>,
    /// timm's labels, and how many there are where they have no names.
    #[serde(default)]
    label_names: Option<Value>,
    #[serde(default)]
    num_classes: Option<Value>,
    #[serde(default)]
    tie_word_embeddings: Option<bool>,
    /// Of models that read more than text.
    #[serde(default)]
    text_config: Option<Value>,
}

impl Common {
    /// `model_type`; [`TIMM`] for a model of timm's, whose file has none or its wrapper's.
    pub fn model_type(&self) -> &str {
        match self.model_type.as_deref() {
            None | Some("timm_wrapper") if self.timm.as_ref().is_some_and(Value::is_string) => TIMM,
            own => own.unwrap_or_default(),
        }
    }

    /// The `model_type` of the part that reads text.
    pub fn text_part(&self) -> Option<&str> {
        self.text_config.as_ref()?.get("model_type")?.as_str()
    }

    /// `architectures[0]`, the class that the weights were saved by, or timm's name for the model.
    pub fn architecture(&self) -> &str {
        match self.model_type() {
            TIMM => self.timm.as_ref().and_then(Value::as_str).unwrap_or_default(),
            _ => self.architectures.as_ref().and_then(|names| names.first()).map_or("", String::as_str),
        }
    }

    /// What the architecture's head is about; `load` has checked that the family has it.
    pub fn about(&self) -> About {
        match self.architecture() {
            name if name.ends_with("ForTokenClassification") => About::Tokens,
            name if name.ends_with("ForQuestionAnswering") => About::Span,
            name if name.ends_with("ForCausalLM") || name.ends_with("LMHeadModel") => About::Next,
            name if name.ends_with("ForMaskedLM") => About::Masked,
            _ => About::Sequence,
        }
    }

    /// timm's labels; ImageNet's 1,000 where nothing is said.
    fn timm_labels(&self) -> Result<Vec<String>, LoadError> {
        if let Some(names) = &self.label_names {
            let names =
                names.as_array().map(|names| names.iter().map(|name| name.as_str().map(str::to_owned)).collect());
            let names: Option<Vec<String>> = names.flatten();
            return names
                .filter(|names| !names.is_empty())
                .ok_or_else(|| invalid("label_names", "is no list of names"));
        }
        let count = self.num_classes.as_ref().map_or(Some(1_000), Value::as_u64);
        let count = count.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
        check("num_classes", count, 1, 1_000_000)?;
        Ok(numbered(count))
    }

    /// Labels in the order of the logits; `LABEL_0`, … where config.json names none.
    pub fn labels(&self) -> Result<Vec<String>, LoadError> {
        if self.model_type() == TIMM && self.id2label.is_none() {
            return self.timm_labels();
        }
        match self.about() {
            About::Span => return self.span_labels(),
            // What stands there is a token of the vocabulary.
            About::Next | About::Masked => return Ok(Vec::new()),
            _ => {}
        }
        let Some(names) = &self.id2label else {
            let count = self.num_labels.unwrap_or(2);
            check("num_labels", count, 1, 1_000_000)?;
            return Ok(numbered(count));
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

    /// What a language model's logits come from: the word embeddings, or a matrix of their own.
    pub fn tied(&self, default: bool) -> bool {
        self.tie_word_embeddings.unwrap_or(default)
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

/// Names of labels that have none.
fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("LABEL_{index}")).collect()
}

/// Reads config.json into a family's own struct; a wrong type is an error with the key's path.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, LoadError> {
    if bytes.trim_ascii_start().first().is_some_and(|first| b"[\"".contains(first)) {
        return Err(invalid("the whole file", "is no JSON object"));
    }
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

/// For a key whose null means something else than its absence: `Some(None)`.
pub fn nullable<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// For each layer, whether `layer_types` gives it a window.
///
/// # Errors
/// Not one entry a layer, or an entry that is neither `full_attention` nor `sliding_attention`.
pub fn sliding_layers(kinds: &[String], layers: usize) -> Result<Vec<bool>, LoadError> {
    check("layer_types", kinds.len(), layers, layers)?;
    let kind = |kind: &String| match kind.as_str() {
        "full_attention" => Ok(false),
        "sliding_attention" => Ok(true),
        other => {
            let detail = format!("\"{other}\" is not known; known are full_attention, sliding_attention");
            Err(invalid("layer_types", detail))
        }
    };
    kinds.iter().map(kind).collect()
}
