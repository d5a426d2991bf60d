//! What a method finds beside scores: a rule, a tree, a changed input, a choice among methods, in the shapes of the answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::tasks::ClassPrediction;

/// Units that, kept, keep what the model says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// Indices of the scores' list, ascending. Empty: the model says the same whatever is taken away.
    pub units: Vec<usize>,
    /// In words.
    pub text: String,
    /// How often the model says the same where these units are kept and each other one with probability one half.
    pub precision: f32,
    /// Lower and upper bound of `precision`, both equal to it where every mask was evaluated.
    pub precision_bounds: [f32; 2],
    /// The share of perturbed inputs that the rule applies to: 2 to the power of minus its units.
    pub coverage: f32,
}

/// A decision tree over units that are there or not.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Tree {
    Split {
        /// Index of the scores' list.
        unit: usize,
        /// What follows where the unit is taken away.
        #[schema(no_recursion)]
        absent: Box<Tree>,
        /// What follows where it is there.
        #[schema(no_recursion)]
        present: Box<Tree>,
    },
    Leaf {
        /// The mean output.
        value: f32,
    },
}

impl Tree {
    pub(crate) fn is_finite(&self) -> bool {
        match self {
            Self::Split { unit: _, absent, present } => absent.is_finite() && present.is_finite(),
            Self::Leaf { value } => value.is_finite(),
        }
    }
}

/// One place of a text where another stands in the changed input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Edit {
    /// First Unicode character of the text as sent.
    pub start: usize,
    /// Character after the last.
    pub end: usize,
    /// What stands there.
    pub from: String,
    /// What stands there instead; empty where it is removed.
    pub to: String,
    /// With a pair: which text (0 or 1). Absent without a pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<usize>,
}

/// An input changed so that the model says something else.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Change {
    /// False where none was found: nothing else is given then, and `distance` is 0.
    pub found: bool,
    /// `counterfactual`: no fewer changes of this kind do it, for all of them were tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimal: Option<bool>,
    /// Text: the edits in order, which make `text` of the text as sent.
    pub edits: Vec<Edit>,
    /// The changed text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// With a pair: the changed second text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pair: Option<String>,
    /// Images: base64 of an 8-bit PNG of what the model sees, of its input's size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// How far the changed input is: units changed; of `adversarial` on images the largest change of a colour, of 1.
    pub distance: f32,
    /// What the model says of the changed input where the target asks; absent where that is no class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<ClassPrediction>,
}

/// A method chosen by its faithfulness.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Auto {
    /// The method whose explanation this is.
    pub chosen: String,
    /// Its settings, as resolved.
    #[schema(value_type = Object)]
    pub settings: Value,
    /// All candidates, in the order they were run.
    pub candidates: Vec<Candidate>,
    pub agreement: Agreement,
}

/// A method that could have been chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    pub method: String,
    /// AOPC comprehensiveness less sufficiency; null where it was skipped or had nothing to measure.
    pub faithfulness: Option<f32>,
    /// Model rows computed for it and its measuring, beyond those of the candidates before it.
    pub evaluations: usize,
    /// Why it was not run or not measured.
    pub skipped: Option<String>,
}

/// How far the candidates that were run say the same, over words or cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agreement {
    /// What rows and columns are of.
    pub methods: Vec<String>,
    /// Kendall's τ-b of every two; null where scores are all equal or over different cells.
    pub rank_correlation: Vec<Vec<Option<f32>>>,
    /// How many of the foremost are compared.
    pub k: usize,
    /// The share of the `k` foremost that every two have in common.
    pub overlap: Vec<Vec<Option<f32>>>,
}

impl Auto {
    pub(crate) fn is_finite(&self) -> bool {
        let Self { chosen: _, settings: _, candidates, agreement } = self;
        let Agreement { methods: _, rank_correlation, k: _, overlap } = agreement;
        let tables = rank_correlation.iter().chain(overlap).flatten().flatten();
        candidates.iter().filter_map(|one| one.faithfulness.as_ref()).chain(tables).all(|number| number.is_finite())
    }
}
