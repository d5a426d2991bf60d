//! Targets as answers name them. Which ones exist is the task's matter; how callers write them is in `target_spec`.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A class, as an answer names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub label: String,
    pub index: usize,
}

/// One class's output, or the difference of two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClassTarget {
    pub label: String,
    pub index: usize,
    /// Contrastive: this class's output is subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Class>,
}

impl Class {
    /// That the token `against`, named at `path`, is another one.
    pub(super) fn unlike(index: usize, against: Option<&Self>, path: &str) -> Result<(), super::TargetError> {
        if against.is_none_or(|against| against.index != index) {
            return Ok(());
        }
        let detail = "a token's difference to itself is always 0; name another token".to_owned();
        Err(super::TargetError { path: path.to_owned(), detail })
    }
}

/// One class's output at a token (of a language model, one token's of the vocabulary), or the difference of two.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenTarget {
    /// Counts in `input.tokens`; of a language model in `input.completion`.
    pub token: usize,
    pub label: String,
    pub index: usize,
    /// Contrastive: this class's output at the same token is subtracted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub against: Option<Class>,
}

/// That an answer begins at a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StartTarget {
    /// Counts in `input.tokens`.
    pub start: usize,
}

/// That an answer ends with a token.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EndTarget {
    /// Counts in `input.tokens`.
    pub end: usize,
}

/// The predicted span: the sum of its start's and its end's logit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum AnswerTarget {
    Answer,
}

/// Every token of a completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum CompletionTarget {
    Completion,
}

/// What is explained.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Target {
    Token(TokenTarget),
    Class(ClassTarget),
    Answer(AnswerTarget),
    Completion(CompletionTarget),
    Start(StartTarget),
    End(EndTarget),
}

impl Target {
    pub fn class(label: impl Into<String>, index: usize) -> Self {
        Self::Class(ClassTarget { label: label.into(), index, against: None })
    }

    /// The same question about another class; `None` where it is about no class.
    pub fn about(&self, class: &Class) -> Option<Self> {
        match self {
            Self::Class(_) => Some(Self::class(class.label.clone(), class.index)),
            Self::Token(TokenTarget { token, .. }) => Some(Self::Token(TokenTarget {
                token: *token,
                label: class.label.clone(),
                index: class.index,
                against: None,
            })),
            Self::Answer(_) | Self::Completion(_) | Self::Start(_) | Self::End(_) => None,
        }
    }

    /// The class whose output it is; 0 where it is no class's.
    pub fn index(&self) -> usize {
        match self {
            Self::Class(ClassTarget { index, .. }) | Self::Token(TokenTarget { index, .. }) => *index,
            Self::Answer(_) | Self::Completion(_) | Self::Start(_) | Self::End(_) => 0,
        }
    }
}

/// In a sentence: `POSITIVE`, `B-PER at token 3`, `POSITIVE against NEGATIVE`.
impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Class(ClassTarget { label, against: None, .. }) => formatter.write_str(label),
            Self::Class(ClassTarget { label, against: Some(against), .. }) => {
                write!(formatter, "{label} against {}", against.label)
            }
            Self::Token(TokenTarget { token, label, against: None, .. }) => {
                write!(formatter, "{label} at token {token}")
            }
            Self::Token(TokenTarget { token, label, against: Some(against), .. }) => {
                write!(formatter, "{label} against {} at token {token}", against.label)
            }
            Self::Answer(_) => formatter.write_str("answer"),
            Self::Completion(_) => formatter.write_str("completion"),
            Self::Start(StartTarget { start }) => write!(formatter, "start at token {start}"),
            Self::End(EndTarget { end }) => write!(formatter, "end at token {end}"),
        }
    }
}

/// A target that this task does not have. `path` continues the request's `/target` pointer.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{detail}")]
pub struct TargetError {
    pub path: String,
    pub detail: String,
}

/// A caller's word in quotes for an error's detail, cut where it is no word any more.
pub(crate) fn quote(text: &str) -> String {
    const SHOWN: usize = 64;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
        None => format!("\"{text}\""),
    }
}
