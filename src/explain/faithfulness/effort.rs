//! How much measuring may take: what a caller writes under `evaluate`, and what it means.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::methods::SettingError;
use crate::methods::support::settings::within;

/// Changed inputs of `max_sensitivity`, as Captum's default.
const DRAWS: usize = 10;
const MOST_DRAWS: usize = 100;
/// Rows that all runs on changed inputs may take.
const ROWS: usize = 5000;

/// Whether explanations are measured, or, in an object, how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Evaluate {
    Whether(bool),
    How(EvaluateOptions),
}

/// What measuring may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EvaluateOptions {
    /// Changed inputs that `max_sensitivity` runs the method on again, 0 to 100; 0 leaves it out. Default 10.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(maximum = 100)]
    pub sensitivity_draws: Option<usize>,
    /// Model rows that all of these runs may take, 1 to `limits.max_evaluations`; where they may take more, there is no
    /// `max_sensitivity`. Default 5000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub sensitivity_evaluations: Option<usize>,
}

/// What measuring may take, with its defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Effort {
    /// Changed inputs of `max_sensitivity`.
    pub draws: usize,
    /// Rows that all runs on them may take.
    pub rows: usize,
}

impl Evaluate {
    pub fn asked(&self) -> bool {
        *self != Self::Whether(false)
    }

    /// `limit` is `limits.max_evaluations`.
    ///
    /// # Errors
    /// A number out of range.
    pub fn effort(&self, limit: usize) -> Result<Effort, SettingError> {
        let how = match self {
            Self::Whether(_) => EvaluateOptions::default(),
            Self::How(how) => *how,
        };
        let rows = how.sensitivity_evaluations.unwrap_or(ROWS.min(limit));
        Ok(Effort {
            draws: within("sensitivity_draws", how.sensitivity_draws.unwrap_or(DRAWS), 0..=MOST_DRAWS, "")?,
            rows: within("sensitivity_evaluations", rows, 1..=limit.max(1), " (limits.max_evaluations)")?,
        })
    }

    /// As it was written, an object with its defaults.
    pub fn resolved(self, effort: Effort) -> Self {
        match self {
            Self::Whether(whether) => Self::Whether(whether),
            Self::How(_) => Self::How(EvaluateOptions {
                sensitivity_draws: Some(effort.draws),
                sensitivity_evaluations: Some(effort.rows),
            }),
        }
    }
}

/// By hand, because the error of an untagged enum says neither what was found nor what is possible.
impl<'de> Deserialize<'de> for Evaluate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EvaluateVisitor;
        impl<'de> Visitor<'de> for EvaluateVisitor {
            type Value = Evaluate;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("true, false or an object of what measuring may take")
            }
            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Evaluate, E> {
                Ok(Evaluate::Whether(value))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Evaluate, A::Error> {
                EvaluateOptions::deserialize(MapAccessDeserializer::new(map)).map(Evaluate::How)
            }
        }
        deserializer.deserialize_any(EvaluateVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Evaluate, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn it_is_a_switch_or_an_object() {
        assert_eq!(read("true").unwrap().effort(9000).unwrap(), Effort { draws: 10, rows: 5000 });
        assert_eq!(read("true").unwrap().effort(600).unwrap().rows, 600);
        assert!(!read("false").unwrap().asked() && read("{}").unwrap().asked());
        let how = read(r#"{"sensitivity_draws": 3}"#).unwrap();
        let effort = how.effort(9000).unwrap();
        assert_eq!(effort, Effort { draws: 3, rows: 5000 });
        let resolved = serde_json::to_string(&how.resolved(effort)).unwrap();
        assert_eq!(resolved, r#"{"sensitivity_draws":3,"sensitivity_evaluations":5000}"#);
        assert_eq!(read(&resolved).unwrap().effort(9000).unwrap(), effort);
        assert_eq!(read("true").unwrap().resolved(effort), Evaluate::Whether(true));
    }

    #[test]
    fn what_is_wrong_is_said() {
        assert!(read("1").unwrap_err().contains("true, false or an object"));
        assert!(read(r#"{"draws": 3}"#).unwrap_err().contains("sensitivity_draws"));
        for (json, path) in [
            (r#"{"sensitivity_draws": 101}"#, "/sensitivity_draws"),
            (r#"{"sensitivity_evaluations": 0}"#, "/sensitivity_evaluations"),
            (r#"{"sensitivity_evaluations": 601}"#, "/sensitivity_evaluations"),
        ] {
            assert_eq!(read(json).unwrap().effort(600).unwrap_err().path, path, "{json}");
        }
    }
}
