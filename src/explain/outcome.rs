//! The JSON of an answer.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::reasons::Reason;
use super::{Evaluate, Faithfulness, Generation};
use crate::input::Kind;
use crate::input::image::Region;
use crate::input::text::{Message, Token, Word};
use crate::methods::{Amount, Attribution, Grid, Warning};
use crate::models::SequenceItem;
use crate::tasks::{Prediction, Target};

/// What `POST /explain` answers; `/predict` the same without `explanations`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    pub id: String,
    pub model: ModelIdentity,
    /// Other models that explanations asked: masked language models.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub helpers: Vec<ModelIdentity>,
    /// The request as resolved, without the input.
    pub request: ResolvedRequest,
    pub input: InputView,
    pub prediction: Prediction,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanations: Option<Vec<Explanation>>,
    pub warnings: Vec<Warning>,
    /// True where the deadline ended the work early (`"partial": true` in the request).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    pub provenance: Provenance,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelIdentity {
    pub name: String,
    pub source: String,
    /// Commit of a hub model.
    pub revision: Option<String>,
    /// Of the weights.
    pub sha256: String,
    pub architecture: String,
    pub task: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ResolvedRequest {
    pub model: String,
    pub target: Vec<Target>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hypothesis_template: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multi_label: Option<bool>,
    /// Each item with its `method` and all of its settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explain: Option<Vec<Value>>,
    /// Language models: how the completion was written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<Generation>,
    pub evaluate: Evaluate,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truncation: Option<crate::input::text::Truncation>,
    pub deadline_ms: u64,
    pub partial: bool,
    pub seed: u64,
    pub echo: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum InputView {
    Text(TextView),
    Image(ImageView),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TextView {
    pub kind: Kind,
    /// Of the text in UTF-8, or of `messages` as compact JSON; then, after a NUL, of the pair or the completion sent.
    pub sha256: String,
    /// With `echo`; of `messages` always: the prompt that they became.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// With `echo`: as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<Vec<Message>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// Of a language model the prompt's.
    pub tokens: Vec<Token>,
    pub words: Vec<Word>,
    /// Language models: the tokens that follow the prompt and are explained, their offsets in
    /// `prediction.completion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<Vec<Token>>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ImageView {
    pub kind: Kind,
    pub sha256: String,
    /// With `echo`: base64 of the bytes as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// As sent, after EXIF rotation.
    pub width: usize,
    pub height: usize,
    /// The model's own grid.
    pub grid: Grid,
    /// The part of the image that the model sees.
    pub region: Region,
    /// What query and key of attention count over.
    pub sequence: Vec<SequenceItem>,
}

/// What there is to say of an answer without repeating it.
#[derive(Debug, Clone)]
pub struct Outline {
    pub model: ModelIdentity,
    pub request: ResolvedRequest,
    pub kind: Kind,
    pub input_sha256: String,
    pub provenance: Provenance,
}

impl From<Answer> for Outline {
    fn from(answer: Answer) -> Self {
        let Answer { model, request, input, provenance, .. } = answer;
        let (kind, input_sha256) = match input {
            InputView::Text(text) => (text.kind, text.sha256),
            InputView::Image(image) => (image.kind, image.sha256),
        };
        Self { model, request, kind, input_sha256, provenance }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    pub method: String,
    /// Null for methods without a target.
    pub target: Option<Target>,
    /// All of them, as resolved.
    pub settings: Value,
    #[serde(flatten)]
    pub attribution: Attribution<Amount>,
    /// With `evaluate`: null where there are no scores to measure, and where the deadline came first.
    #[serde(default, deserialize_with = "asked", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Faithfulness>)]
    pub faithfulness: Option<Option<Box<Faithfulness>>>,
    /// With `reasons`: the units that spoke most for the target, then those that spoke most against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasons: Option<Vec<Reason>>,
    pub elapsed_ms: f32,
}

/// A field that is there, null or not.
fn asked<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Provenance {
    /// explaind's.
    pub version: String,
    /// Where the model was computed: `cpu`, `cuda` or `metal`.
    pub device: String,
    pub dtype: String,
    /// The processor's name and the widest vector instructions in use.
    pub cpu: String,
    pub threads: usize,
}
