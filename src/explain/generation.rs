//! How a completion is written: what a caller says, and what is made of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plan::Field;

/// Tokens written where a request does not say how many.
const DEFAULT_TOKENS: usize = 16;
const MOST_TOKENS: usize = 1024;
const MOST_STOPS: usize = 16;

/// How a language model writes its completion; the likeliest token each time without `temperature`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    /// Tokens at most; 1 to 1024. Default 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1024)]
    pub max_new_tokens: Option<usize>,
    /// Tokens are drawn by `seed` from softmax(logits / temperature); 0 to 100. Default 0: the likeliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 0, maximum = 100)]
    pub temperature: Option<f64>,
    /// Of the likeliest tokens as few as have this probability together are drawn from; more than 0, at most 1. Default 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub top_p: Option<f64>,
    /// As many of the likeliest tokens are drawn from; from 1. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub top_k: Option<usize>,
    /// Where the completion holds one of these, it ends: a string, or up to 16.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Stop>,
}

/// One string to stop at, or several.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected a string or a list of strings")]
pub enum Stop {
    One(String),
    Several(Vec<String>),
}

/// The same, resolved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Generation {
    pub max_new_tokens: usize,
    pub temperature: f64,
    pub top_p: f64,
    /// Null: all.
    pub top_k: Option<usize>,
    pub stop: Vec<String>,
}

impl Generate {
    /// # Errors
    /// Every setting out of range.
    pub fn resolve(self) -> Result<Generation, Vec<Field>> {
        let mut fields = Vec::new();
        let mut refuse = |key: &str, detail: String| fields.push(Field::new(format!("/generate/{key}"), detail));
        let tokens = self.max_new_tokens.unwrap_or(DEFAULT_TOKENS);
        if !(1..=MOST_TOKENS).contains(&tokens) {
            refuse("max_new_tokens", format!("{tokens} is out of range; use 1 to {MOST_TOKENS}"));
        }
        let temperature = self.temperature.unwrap_or(0.0);
        if !(0.0..=100.0).contains(&temperature) {
            refuse("temperature", format!("{temperature:?} is out of range; use 0 to 100"));
        }
        let top_p = self.top_p.unwrap_or(1.0);
        if !(top_p > 0.0 && top_p <= 1.0) {
            refuse("top_p", format!("{top_p:?} is out of range; use more than 0 and at most 1"));
        }
        if self.top_k == Some(0) {
            refuse("top_k", "0 leaves nothing to draw from; use 1 or more".to_owned());
        }
        let stop = match self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Several(stops)) => stops,
        };
        if stop.len() > MOST_STOPS {
            refuse("stop", format!("{} strings are more than {MOST_STOPS}", stop.len()));
        }
        if stop.iter().any(String::is_empty) {
            refuse("stop", "an empty string stands everywhere; leave it out".to_owned());
        }
        match fields.is_empty() {
            true => Ok(Generation { max_new_tokens: tokens, temperature, top_p, top_k: self.top_k, stop }),
            false => Err(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_greedy_and_short() {
        let resolved = Generate::default().resolve().unwrap();
        let expected = Generation { max_new_tokens: 16, temperature: 0.0, top_p: 1.0, top_k: None, stop: Vec::new() };
        assert_eq!(resolved, expected);
    }

    #[test]
    fn every_setting_out_of_range_is_named() {
        let json = r#"{"max_new_tokens": 0, "temperature": -1, "top_p": 0, "top_k": 0, "stop": ["a", ""]}"#;
        let wrong: Generate = serde_json::from_str(json).unwrap();
        let pointers: Vec<String> = wrong.resolve().unwrap_err().into_iter().map(|field| field.pointer).collect();
        let keys = ["max_new_tokens", "temperature", "top_p", "top_k", "stop"];
        assert_eq!(pointers, keys.map(|key| format!("/generate/{key}")));
        let one: Generate = serde_json::from_str(r#"{"stop": "."}"#).unwrap();
        assert_eq!(one.resolve().unwrap().stop, ["."]);
    }
}
