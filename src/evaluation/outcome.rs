//! What is kept of an answer: the lines of the journal, from which a report follows.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::explain::outcome::InputView;
use crate::explain::{Answer, Explanation};
use crate::input::image::Region;
use crate::input::text::Word;
use crate::tasks::Prediction;

/// Scores over an image's cells, row by row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GridScores {
    pub rows: usize,
    pub cols: usize,
    pub values: Vec<f32>,
}

/// Scores over what an input consists of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// One per word of the input.
    Words(Vec<f32>),
    Grid(GridScores),
}

impl Scores {
    pub fn values(&self) -> Vec<f64> {
        let (Self::Words(values) | Self::Grid(GridScores { values, .. })) = self;
        values.iter().map(|value| f64::from(*value)).collect()
    }
}

/// The class that the model chose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Predicted {
    pub index: usize,
    pub label: String,
    pub probability: Option<f32>,
    /// Of every class, in their order; empty for a regression.
    pub probabilities: Vec<f32>,
}

/// What the model read and said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub words: Vec<Word>,
    /// Images: width and height as sent, and the part that the model sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<(usize, usize, Region)>,
    /// Classifiers alone.
    pub predicted: Option<Predicted>,
}

/// One method's explanation of one item, or why there is none.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The explained class; none of a method without targets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Scores>,
    pub evaluations: usize,
    pub elapsed_ms: f32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converged: Option<bool>,
    /// As the answer has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faithfulness: Option<Map<String, Value>>,
}

/// A finished item: a line of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 0: the model as it is. Sanity checks count on.
    pub stage: usize,
    pub item: usize,
    pub seen: Option<Seen>,
    /// One a method, in their order.
    pub outcomes: Vec<Outcome>,
}

impl Seen {
    pub fn of(answer: &Answer) -> Self {
        let predicted = match &answer.prediction {
            Prediction::Class(class) => Some(Predicted {
                index: class.index,
                label: class.label.clone(),
                probability: class.probability,
                probabilities: class.scores.iter().filter_map(|score| score.probability).collect(),
            }),
            Prediction::Tokens(_) | Prediction::Answer(_) | Prediction::Completion(_) => None,
        };
        match &answer.input {
            InputView::Text(text) => Self { words: text.words.clone(), image: None, predicted },
            InputView::Image(view) => {
                Self { words: Vec::new(), image: Some((view.width, view.height, view.region)), predicted }
            }
        }
    }
}

impl Outcome {
    /// The first explanation of `answer`.
    pub fn of(answer: &Answer) -> Self {
        let Some(explanation) = answer.explanations.iter().flatten().next() else {
            return Self::failed("the answer has no explanation");
        };
        // The report shows what there is by its name.
        let found = explanation.faithfulness.as_ref().and_then(Option::as_ref);
        let faithfulness = found.and_then(|found| match serde_json::to_value(found) {
            Ok(Value::Object(found)) => Some(found),
            _ => None,
        });
        let diagnostics = &explanation.attribution.diagnostics;
        Self {
            error: None,
            class: explanation.target.as_ref().map(crate::tasks::Target::index),
            scores: scores(answer, explanation),
            evaluations: diagnostics.evaluations,
            elapsed_ms: explanation.elapsed_ms,
            converged: diagnostics.converged,
            faithfulness,
        }
    }

    pub fn failed(error: impl Into<String>) -> Self {
        Self { error: Some(error.into()), ..Self::default() }
    }
}

/// The words' scores, else the sums of their tokens', else the grid's.
fn scores(answer: &Answer, explanation: &Explanation) -> Option<Scores> {
    let scores = &explanation.attribution.scores;
    match &answer.input {
        InputView::Image(_) => {
            let grid = scores.grid.as_ref()?;
            let cols = grid.first()?.len();
            Some(Scores::Grid(GridScores { rows: grid.len(), cols, values: grid.iter().flatten().copied().collect() }))
        }
        InputView::Text(text) => {
            if let Some(words) = &scores.words {
                return Some(Scores::Words(words.clone()));
            }
            let mut words = vec![0.0; text.words.len()];
            for (token, score) in text.tokens.iter().zip(scores.tokens.as_ref()?) {
                if let Some(sum) = token.word.and_then(|word| words.get_mut(word)) {
                    *sum += score;
                }
            }
            Some(Scores::Words(words))
        }
    }
}
