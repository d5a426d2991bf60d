//! What a model says of an input, as answers write it: one shape a task.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One class's share in a prediction.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassScore {
    pub label: String,
    pub index: usize,
    pub logit: f32,
    /// Null for a regression.
    pub probability: Option<f32>,
}

impl ClassScore {
    /// Whether JSON can hold its numbers.
    pub fn is_finite(&self) -> bool {
        self.logit.is_finite() && self.probability.is_none_or(f32::is_finite)
    }
}

/// What a classifier says of the input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ClassPrediction {
    pub label: String,
    pub index: usize,
    /// Null for a regression.
    pub probability: Option<f32>,
    /// One per label, in the order of the labels.
    pub scores: Vec<ClassScore>,
}

/// What a token classifier says of one token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenPrediction {
    pub label: String,
    pub index: usize,
    pub probability: f32,
    /// One per label, in the order of the labels.
    pub scores: Vec<ClassScore>,
}

/// What a token classifier says of every token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokensPrediction {
    /// One per token of `input.tokens`, null at specials.
    pub tokens: Vec<Option<TokenPrediction>>,
}

/// The part of the context that answers the question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AnswerPrediction {
    pub text: String,
    /// First Unicode character of the context.
    pub start: usize,
    /// Character after the last.
    pub end: usize,
    /// The product of both ends' probabilities among the context's tokens.
    pub score: f32,
    /// One per token of `input.tokens`.
    pub start_logits: Vec<f32>,
    pub end_logits: Vec<f32>,
}

/// A token of a completion, and what the model gives it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WrittenToken {
    pub id: u32,
    /// The vocabulary piece.
    pub text: String,
    pub probability: f32,
    pub log_probability: f32,
}

impl WrittenToken {
    pub fn new(id: u32, text: String, log_probability: f32) -> Self {
        Self { id, text, probability: f64::from(log_probability).exp() as f32, log_probability }
    }
}

/// Why a completion ends where it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// It has as many tokens as were asked for, or was given so.
    Length,
    /// With the token that ends a text, or with a string to stop at.
    Stop,
}

/// What follows a prompt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CompletionPrediction {
    pub completion: String,
    /// As `input.completion`.
    pub tokens: Vec<WrittenToken>,
    pub finish: Finish,
}

/// What the model says of the input; its task decides the shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Prediction {
    Completion(CompletionPrediction),
    Tokens(TokensPrediction),
    Answer(AnswerPrediction),
    Class(ClassPrediction),
}

impl Prediction {
    /// A classifier's classes; empty for the other tasks.
    pub fn classes(&self) -> &[ClassScore] {
        match self {
            Self::Class(class) => &class.scores,
            Self::Completion(_) | Self::Tokens(_) | Self::Answer(_) => &[],
        }
    }
    /// Whether JSON can hold all of its numbers.
    pub fn is_finite(&self) -> bool {
        let scores = |scores: &[ClassScore]| scores.iter().all(ClassScore::is_finite);
        match self {
            Self::Class(class) => class.is_finite(),
            Self::Completion(CompletionPrediction { completion: _, tokens, finish: _ }) => tokens.iter().all(|token| {
                let WrittenToken { id: _, text: _, probability, log_probability } = token;
                probability.is_finite() && log_probability.is_finite()
            }),
            Self::Tokens(TokensPrediction { tokens }) => tokens.iter().flatten().all(|token| {
                let TokenPrediction { label: _, index: _, probability, scores: classes } = token;
                probability.is_finite() && scores(classes)
            }),
            Self::Answer(AnswerPrediction { text: _, start: _, end: _, score, start_logits, end_logits }) => {
                score.is_finite() && start_logits.iter().chain(end_logits).all(|logit| logit.is_finite())
            }
        }
    }
}

impl ClassPrediction {
    /// Whether JSON can hold all of its numbers.
    pub fn is_finite(&self) -> bool {
        let Self { label: _, index: _, probability, scores } = self;
        probability.is_none_or(f32::is_finite) && finite(scores)
    }
}

fn finite(scores: &[ClassScore]) -> bool {
    scores.iter().all(|score| score.logit.is_finite() && score.probability.is_none_or(f32::is_finite))
}
