//! What a method returns: scores and what is known about their quality, in the shapes of the answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use super::findings::{Agreement, Auto, Candidate, Change, Edit, Rule, Tree};
use crate::input::text::Word;
use crate::tasks::ClassScore;

/// Cells over the model's input: cell r covers rows ⌊r·H/rows⌋ … ⌊(r+1)·H/rows⌋.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grid {
    pub rows: usize,
    pub cols: usize,
}

/// A score per pixel of the model's input: value = sample · scale + offset.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PixelMap {
    /// Base64 of a 16-bit grey PNG.
    pub png: String,
    pub scale: f32,
    pub offset: f32,
}

/// The scores. Which lists stand here depends on the method, the input and the unit; absent ones are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Scores {
    /// One per token of `input.tokens`, specials included (unit `token`: 0 at specials).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Vec<f32>>,
    /// One per word of `input.words`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<Vec<f32>>,
    /// One per sentence of the explanation's `units`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentences: Option<Vec<f32>>,
    /// One per span asked for, in its order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub spans: Option<Vec<f32>>,
    /// One per cell of the explanation's `grid`, as a list of rows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Vec<Vec<f32>>>,
    /// One per segment of `segments`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<Vec<f32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelMap>,
    /// Language models: a row for each completion token that is explained, of the prompt's units (for methods over the
    /// embedding and attention its tokens) and, where the method scores them, the completion tokens before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matrix: Option<Vec<Vec<f32>>>,
    /// `[layer][head][query][key]`, each row a distribution.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<Vec<Vec<Vec<f32>>>>>,
}

/// How good the numbers are. Absent entries do not apply to the method.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Diagnostics {
    /// Distinct model rows this explanation needed, shared with others or not.
    pub evaluations: usize,
    /// Whether the method's own error estimate came inside `tolerance` (of `partition_shap`, whether every group was
    /// split); absent where nothing is estimated, as with a fixed number of samples of perturbation methods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub converged: Option<bool>,
    /// Captum's `convergence_delta`: sum of scores − (output − base), the residual's negative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convergence_delta: Option<f32>,
    /// `gradient_shap`: the residual's standard error. A residual within about twice as much is chance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual_error: Option<f32>,
    /// Points of the path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nodes: Option<usize>,
    /// Everything that counts was evaluated, so the scores have no sampling error: all combinations of units, of
    /// `occlusion` all windows, of `partition_shap` all groups of its hierarchy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<bool>,
    /// Samples drawn, repeated masks counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// One per score of the finest list; absent where the samples are too few to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standard_error: Option<Vec<f32>>,
    /// The surrogate's weighted R².
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub r2: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intercept: Option<f32>,
    /// Where the model computed in bf16: the largest difference of the explained output from f32's, over up to 32
    /// masked inputs that were evaluated again in f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision_error: Option<f32>,
}

/// Something a reader of the answer should know. `code` is stable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Warning {
    /// `truncated`, `not_converged`, `unstable`, …
    pub code: String,
    pub detail: String,
}

/// A unit of a feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Neuron {
    pub layer: usize,
    pub unit: usize,
    /// Mean over the positions of the input.
    pub activation: f32,
    /// What it adds to the target's output, summed over positions.
    pub influence: f32,
}

/// The answer of the model's head on one layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LensLayer {
    pub layer: usize,
    /// As `prediction.scores`; of a question the target's alone.
    pub scores: Vec<ClassScore>,
}

/// A number, or one for each completion token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Amount {
    One(f32),
    Each(Vec<f32>),
}

impl Default for Amount {
    fn default() -> Self {
        Self::One(0.0)
    }
}

impl Amount {
    pub fn is_finite(&self) -> bool {
        match self {
            Self::One(number) => number.is_finite(),
            Self::Each(numbers) => numbers.iter().all(|number| number.is_finite()),
        }
    }
    /// The number that it is, where it is one.
    pub fn one(&self) -> Option<f32> {
        match self {
            Self::One(number) => Some(*number),
            Self::Each(_) => None,
        }
    }
}

/// One explanation of one target: of a method with `V` a number, of an answer with [`Amount`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attribution<V = f32> {
    pub scores: Scores,
    /// Units `sentence` and `span`: what each score is of, in characters of the text as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Vec<Word>>,
    /// Images: what `scores.grid` counts over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grid: Option<Grid>,
    /// Segment methods: base64 of a 16-bit grey PNG of the model input's size; value i = `scores.segments[i]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segments: Option<String>,
    /// Shapley methods with `interactions`: the Shapley interaction index of every pair, a row and a column for each
    /// entry of the finest list; on the diagonal the score less half the rest of its row. Above 0, two units say more
    /// together than each by itself; below 0, they say the same in part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interactions: Option<Vec<Vec<f32>>>,
    /// `anchors`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<Rule>,
    /// `decision_tree`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<Tree>,
    /// `decision_tree`: its leaves in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rules: Option<Vec<String>>,
    /// `counterfactual` and `adversarial`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change: Option<Change>,
    /// The explained output with nothing present (the baseline).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_value: Option<V>,
    /// The explained output at the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_value: Option<V>,
    /// `output_value` − `base_value` − the sum of the finest list, for methods that promise completeness.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residual: Option<V>,
    /// `attention_relevance`: how much the target depends on each head, `[layer][head]` from `start_layer` on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heads: Option<Vec<Vec<f32>>>,
    /// `neurons`: the units that stand out, the first foremost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub neurons: Option<Vec<Neuron>>,
    /// `logit_lens`: what the model's own head answers on each layer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<LensLayer>>,
    /// `auto`: which method this is of, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto: Option<Box<Auto>>,
    pub diagnostics: Diagnostics,
    /// True where the deadline ended the work early and the best answer so far is given.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
}

impl Attribution {
    /// Whether those of several targets make one by adding up: its scores are all that it says.
    pub fn adds_up(&self) -> bool {
        let Self { rule, tree, rules, change, neurons, layers, auto, .. } = self;
        rule.is_none()
            && tree.is_none()
            && rules.is_none()
            && change.is_none()
            && neurons.is_none()
            && layers.is_none()
            && auto.is_none()
            && self.scores.layers.is_none()
    }

    /// As an answer shows it.
    pub fn shown(self) -> Attribution<Amount> {
        let amount = |number: Option<f32>| number.map(Amount::One);
        Attribution {
            base_value: amount(self.base_value),
            output_value: amount(self.output_value),
            residual: amount(self.residual),
            scores: self.scores,
            units: self.units,
            grid: self.grid,
            segments: self.segments,
            interactions: self.interactions,
            rule: self.rule,
            tree: self.tree,
            rules: self.rules,
            change: self.change,
            heads: self.heads,
            neurons: self.neurons,
            layers: self.layers,
            auto: self.auto,
            diagnostics: self.diagnostics,
            partial: self.partial,
        }
    }
}

impl Diagnostics {
    /// Those of one piece of work over several targets. What is of a target alone is left out.
    pub fn together<'a>(all: impl Iterator<Item = &'a Self> + Clone) -> Self {
        let every = |of: fn(&Self) -> Option<bool>| {
            let known: Option<Vec<bool>> = all.clone().map(of).collect();
            known.filter(|known| !known.is_empty()).map(|known| known.into_iter().all(|each| each))
        };
        let most = |of: fn(&Self) -> Option<usize>| all.clone().filter_map(of).max();
        Self {
            evaluations: most(|each| Some(each.evaluations)).unwrap_or(0),
            converged: every(|each| each.converged),
            nodes: most(|each| each.nodes),
            exact: every(|each| each.exact),
            samples: most(|each| each.samples),
            precision_error: all.clone().filter_map(|each| each.precision_error).reduce(f32::max),
            ..Self::default()
        }
    }
}
