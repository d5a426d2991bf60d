//! `attention`: the model's own attention probabilities. The forward and its taps are the model's; this chooses,
//! averages and reads.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::support::layers::{self, LayerChoice, LayerName};
use super::support::sequence;
use super::support::settings::{self, Presentation};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Pass, SettingError, Subject, TappedAttention};
use crate::input::Kind;
use crate::models::{Capability, TapPlan};
use crate::nn::Rule;

pub struct Attention;

/// Where each layer and head of the model looked: its attention probabilities, read out of one forward.
///
/// # What it computes
/// `layers[layer][head][query][key]` = softmax(Q·Kᵀ / √d), each row a distribution over keys. Text: queries and keys
/// are `input.tokens`; images: `input.sequence`. `scores.tokens` is the row of the reading token (the classifying
/// token; of causal classifiers the last token; the first target's token; the token an answer starts with) in the
/// deepest chosen layer, averaged over all of its heads; `words` sums it over each word's tokens; `grid` are its
/// entries at the image's patches.
///
/// # Settings
/// `layers` and `heads` choose what `scores.layers` holds. They do not change the heads that `tokens`, `words` and
/// `grid` average over.
///
/// # Same numbers as
/// `output_attentions=True` of transformers (eager attention), within 1e-4.
///
/// # Limits
/// Attention says what a layer mixed, not what decided the output; it has no target and no sign. More than
/// `limits.response_values` numbers are refused: ask for fewer layers or for `"heads": "mean"`.
///
/// Vaswani et al., Attention Is All You Need, NeurIPS 2017; Jain and Wallace, Attention is not Explanation, NAACL 2019.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AttentionSettings)]
pub struct Settings {
    /// `"all"`, `"last"` (default), or a list of layer indices from 0; negative ones count from the end.
    /// `scores.layers` keeps their order; `tokens`, `words` and `grid` are the deepest one's, wherever it stands.
    pub layers: Option<LayerChoice>,
    /// `"mean"` (default: one head, the mean of all), `"all"`, or a list of head indices from 0; negative ones count
    /// from the end.
    pub heads: Option<HeadChoice>,
}

/// Which heads.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected \"all\", \"mean\" or a list of head indices")]
pub enum HeadChoice {
    Named(HeadName),
    Indices(Vec<i64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeadName {
    All,
    Mean,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    layers: Vec<usize>,
    heads: Heads,
}

/// Echoed as `"mean"` or as indices.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Heads {
    Mean(HeadName),
    Indices(Vec<usize>),
}

impl Heads {
    fn len(&self) -> usize {
        match self {
            Self::Mean(_) => 1,
            Self::Indices(heads) => heads.len(),
        }
    }
}

impl Method for Attention {
    const NAME: &'static str = "attention";
    const GROUP: &'static str = "attention";
    const REQUIRES: &'static [Capability] = &[Capability::Attention];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = false;
    const SIGNED: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let spec = subject.spec;
        let layers = layers::resolve(settings.layers, LayerName::Last, spec.layers)?;
        let heads = match settings.heads.unwrap_or(HeadChoice::Named(HeadName::Mean)) {
            HeadChoice::Named(HeadName::All) => Heads::Indices((0..spec.heads).collect()),
            HeadChoice::Named(HeadName::Mean) => Heads::Mean(HeadName::Mean),
            HeadChoice::Indices(indices) => Heads::Indices(layers::chosen("heads", "head", &indices, spec.heads)?),
        };
        let resolved = Resolved { layers, heads };
        let numbers = Self::values(&resolved, subject);
        if numbers > subject.response_values {
            return Err(too_many(&resolved, subject, numbers));
        }
        Ok(resolved)
    }

    fn cost(_resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        Cost { rows: 1, tokens: sequence::length(subject) as u64 }
    }

    fn values(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        let length = sequence::length(subject);
        [resolved.heads.len(), length, length].iter().fold(resolved.layers.len(), |n, &m| n.saturating_mul(m))
    }

    fn taps(resolved: &Resolved) -> TapPlan {
        let mut attention = resolved.layers.clone();
        attention.sort_unstable();
        TapPlan::attention(attention)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let pass = Pass { rows: 1, embedding: None, objectives: &[], rule: Rule::Gradient, taps: Self::taps(resolved) };
        let mut attribution = None;
        ctx.pass(&pass, &mut |view| {
            attribution = Some(attribute(resolved, ctx, view.attention)?);
            Ok(())
        })?;
        Ok(attribution.into_iter().collect())
    }
}

fn too_many(resolved: &Resolved, subject: &Subject<'_>, numbers: usize) -> SettingError {
    let (layers, heads) = (resolved.layers.len(), resolved.heads.len());
    let (length, left) = (sequence::length(subject), subject.response_values);
    let detail = format!(
        "{layers} layers × {heads} heads × {length} × {length} are {numbers} numbers and limits.response_values leaves \
         {left}; choose fewer layers or heads, or shorten the input"
    );
    SettingError::new(if layers > 1 || heads == 1 { "layers" } else { "heads" }, detail)
}

fn attribute(resolved: &Resolved, ctx: &dyn Ctx, maps: &[TappedAttention<'_>]) -> Result<Attribution, Error> {
    let mut layers = Vec::with_capacity(resolved.layers.len());
    for &layer in &resolved.layers {
        let map = maps.iter().find(|map| map.layer == layer).filter(|map| map.length > 0);
        let map = map.ok_or(Error::Missing { what: "a tapped layer's attention" })?;
        layers.push(match &resolved.heads {
            Heads::Mean(_) => vec![matrix(&mean(map), map.length)?],
            Heads::Indices(heads) => {
                let head = |&head: &usize| matrix(&head_values(map, head), map.length);
                heads.iter().map(head).collect::<Result<_, _>>()?
            }
        });
    }
    let deepest = maps.iter().max_by_key(|map| map.layer).ok_or(Error::Missing { what: "the tapped attention" })?;
    let row = sequence::reading(ctx, ctx.targets().first()).row(&mean(deepest), deepest.length);
    let mut attribution = sequence::attribution(ctx, row, Presentation::default())?;
    attribution.scores.layers = Some(layers);
    attribution.diagnostics = Diagnostics { evaluations: 1, ..Diagnostics::default() };
    Ok(attribution)
}

/// length × length of one head.
fn head_values(map: &TappedAttention<'_>, head: usize) -> Vec<f64> {
    let size = map.length * map.length;
    map.values.iter().skip(head * size).take(size).map(|&value| f64::from(value)).collect()
}

/// length × length, the mean of all heads.
fn mean(map: &TappedAttention<'_>) -> Vec<f64> {
    let mut mean = vec![0.0; map.length * map.length];
    for head in 0..map.heads {
        mean.iter_mut().zip(head_values(map, head)).for_each(|(mean, value)| *mean += value);
    }
    mean.iter_mut().for_each(|value| *value /= map.heads as f64);
    mean
}

fn matrix(values: &[f64], length: usize) -> Result<Vec<Vec<f32>>, Error> {
    values.chunks(length).map(|row| settings::floats(row, "attention")).collect()
}

#[cfg(test)]
mod tests;
