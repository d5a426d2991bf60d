//! The JSON of `POST /explain`: what `http` and `cli` read and [`super::plan`] makes sense of.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::{Evaluate, Generate};
use crate::input::text::{Message, Truncation};
use crate::tasks::TargetSpec;

/// Explains one input with one or more methods.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExplainRequest {
    /// Name of a served model; optional where one loaded model fits the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The text to explain; either this or `image`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Language models with a chat template: a conversation in place of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    /// Second text for models of sentence pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// Base64 of a PNG, JPEG or WebP file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Zero-shot classification over these labels, at most 1000: of texts by a model of natural language inference, of
    /// images by CLIP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// With `labels`: the sentence that each makes in place of `{}`; "This example is {}." (images: "This is a photo of {}.")
    /// where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypothesis_template: Option<String>,
    /// With `labels`: each by itself rather than one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_label: Option<bool>,
    /// Language models: what follows the prompt `text`, and is explained. Without it the model writes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// Language models: how a completion is written where none is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generate>,
    /// What is explained; the predicted class where nothing is said, of a language model every token of the completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetSpec>,
    /// Methods by name, or with settings: `{"method": "lime", "samples": 1000}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Vec<ExplainItem>>,
    /// Short for one method with its defaults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Measure every explanation: `faithfulness` in the answer. An object says what that may take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate: Option<Evaluate>,
    /// Name so many units that spoke most for the target, and as many that spoke most against it, in sentences; 1 to
    /// 100. Nothing where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 100)]
    pub reasons: Option<usize>,
    /// What happens to a text of more tokens than the model takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncation: Option<Truncation>,
    /// Past it: 504, or with `partial` the best answer so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Past the deadline: the best answer so far, marked as partial.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub partial: Option<bool>,
    /// Every random choice follows from it: 0 … 2^53 − 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Carry the input itself in the answer, so that it can be replayed alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub echo: Option<bool>,
}

/// A method by its name, or an object of its `method` and settings.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ExplainItem {
    Name(String),
    Settings(Map<String, Value>),
}

/// By hand, because the error of an untagged enum says neither what was found nor what is possible.
impl<'de> Deserialize<'de> for ExplainItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ItemVisitor;
        impl<'de> Visitor<'de> for ItemVisitor {
            type Value = ExplainItem;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a method's name or an object of its \"method\" and settings")
            }
            fn visit_str<E: de::Error>(self, value: &str) -> Result<ExplainItem, E> {
                Ok(ExplainItem::Name(value.to_owned()))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ExplainItem, A::Error> {
                Map::deserialize(MapAccessDeserializer::new(map)).map(ExplainItem::Settings)
            }
        }
        deserializer.deserialize_any(ItemVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_names_or_objects() {
        let json = r#"{"text": "a", "explain": ["lime", {"method": "attention", "layers": "all"}], "target": "all"}"#;
        let request: ExplainRequest = serde_json::from_str(json).unwrap();
        let items = request.explain.as_deref().unwrap();
        assert_eq!(items[0], ExplainItem::Name("lime".into()));
        assert!(matches!(&items[1], ExplainItem::Settings(map) if map.len() == 2));
        let again: ExplainRequest = serde_json::from_str(&serde_json::to_string(&request).unwrap()).unwrap();
        assert_eq!(again, request);
    }

    #[test]
    fn wrong_types_say_where_and_what() {
        for (json, path, part) in [
            (r#"{"explain": [1]}"#, "explain[0]", "a method's name or an object"),
            (r#"{"explain": "lime"}"#, "explain", "expected a sequence"),
            (r#"{"txt": "a"}"#, "txt", "unknown field `txt`"),
            (r#"{"seed": -1}"#, "seed", "integer `-1`"),
            (r#"{"target": [true]}"#, "target[0]", "boolean `true`"),
            (r#"{"truncation": "cut"}"#, "truncation", "unknown variant `cut`"),
            (r#"{"evaluate": "yes"}"#, "evaluate", "expected true, false or an object"),
        ] {
            let error =
                serde_path_to_error::deserialize::<_, ExplainRequest>(&mut serde_json::Deserializer::from_str(json))
                    .unwrap_err();
            assert_eq!(error.path().to_string(), path);
            assert!(error.inner().to_string().contains(part), "{json}: {error}");
        }
    }
}
