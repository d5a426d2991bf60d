//! `attention`: the model's own attention probabilities. The forward and its taps are the model's; this chooses,
//! averages and reads.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::support::{reduce, settings};
use super::{
    Attribution, Cost, Ctx, Diagnostics, Error, Grid, Method, Pass, Scores, SettingError, Subject, TappedAttention,
};
use crate::input::{Input, Kind, TextInput};
use crate::models::{Capability, ImageSpec, Reads, SequenceItem, TapPlan};
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
    /// `scores.layers` keeps their order.
    pub layers: Option<LayerChoice>,
    /// `"mean"` (default: one head, the mean of all), `"all"`, or a list of head indices from 0; negative ones count
    /// from the end.
    pub heads: Option<HeadChoice>,
}

/// Which layers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(untagged, expecting = "expected \"all\", \"last\" or a list of layer indices")]
pub enum LayerChoice {
    Named(LayerName),
    Indices(Vec<i64>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum LayerName {
    All,
    Last,
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
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let spec = subject.spec;
        let layers = match settings.layers.unwrap_or(LayerChoice::Named(LayerName::Last)) {
            LayerChoice::Named(LayerName::All) => (0..spec.layers).collect(),
            LayerChoice::Named(LayerName::Last) => (spec.layers.saturating_sub(1)..spec.layers).collect(),
            LayerChoice::Indices(indices) => chosen("layers", "layer", &indices, spec.layers)?,
        };
        let heads = match settings.heads.unwrap_or(HeadChoice::Named(HeadName::Mean)) {
            HeadChoice::Named(HeadName::All) => Heads::Indices((0..spec.heads).collect()),
            HeadChoice::Named(HeadName::Mean) => Heads::Mean(HeadName::Mean),
            HeadChoice::Indices(indices) => Heads::Indices(chosen("heads", "head", &indices, spec.heads)?),
        };
        let resolved = Resolved { layers, heads };
        let numbers = Self::values(&resolved, subject);
        if numbers > subject.response_values {
            return Err(too_many(&resolved, subject, numbers));
        }
        Ok(resolved)
    }

    fn cost(_resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        Cost { rows: 1, tokens: sequence(subject) as u64 }
    }

    fn values(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        let length = sequence(subject);
        [resolved.heads.len(), length, length].iter().fold(resolved.layers.len(), |n, &m| n.saturating_mul(m))
    }

    fn taps(resolved: &Resolved) -> TapPlan {
        let mut attention = resolved.layers.clone();
        attention.sort_unstable();
        TapPlan { attention }
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
    let (length, left) = (sequence(subject), subject.response_values);
    let detail = format!(
        "{layers} layers × {heads} heads × {length} × {length} are {numbers} numbers and limits.response_values leaves \
         {left}; choose fewer layers or heads, or shorten the input"
    );
    SettingError::new(if layers > 1 || heads == 1 { "layers" } else { "heads" }, detail)
}

/// Length of what queries and keys count over.
fn sequence(subject: &Subject<'_>) -> usize {
    subject.spec.row_tokens(subject.input.as_text().map_or(1, |text| text.tokens.len() + subject.task.tail()))
}

/// Indices counted from 0 and in range; negative ones count from the end.
fn chosen(field: &str, what: &str, indices: &[i64], count: usize) -> Result<Vec<usize>, SettingError> {
    let mut resolved = Vec::with_capacity(indices.len());
    for (position, &index) in indices.iter().enumerate() {
        let place = format!("{field}/{position}");
        let from_end = if index < 0 { index.checked_add_unsigned(count as u64) } else { Some(index) };
        let Some(index) = from_end.and_then(|index| usize::try_from(index).ok()).filter(|&index| index < count) else {
            let detail = format!("{what} {index} does not exist; the model has {count}, counted from 0");
            return Err(SettingError::new(&place, detail));
        };
        if resolved.contains(&index) {
            return Err(SettingError::new(&place, format!("{what} {index} is named twice")));
        }
        resolved.push(index);
    }
    if resolved.is_empty() {
        return Err(SettingError::new(field, format!("an empty list chooses nothing; name a {what}")));
    }
    Ok(resolved)
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
    let row = reading_row(ctx, deepest);
    let mut attribution = read(ctx, &row)?;
    attribution.scores.layers = Some(layers);
    attribution.diagnostics = Diagnostics { evaluations: 1, ..Diagnostics::default() };
    Ok(attribution)
}

/// The row of the position that the head reads, mean of all heads; where it reads all positions, the mean of their rows,
/// and where it reads any, that of the first target's token.
fn reading_row(ctx: &dyn Ctx, map: &TappedAttention<'_>) -> Vec<f64> {
    let (values, reads) = (mean(map), ctx.spec().reads);
    let mut rows = values.chunks(map.length);
    match reads {
        Reads::First | Reads::Last { .. } => {
            let position = reads.position(ctx.input().as_text().into_iter().flat_map(TextInput::ids));
            rows.nth(position).unwrap_or_default().to_vec()
        }
        Reads::Each => {
            let reading = ctx.targets().first().and_then(|target| ctx.task().reading(target));
            rows.nth(reading.unwrap_or(0)).unwrap_or_default().to_vec()
        }
        Reads::Mean => {
            let mut sum = vec![0.0; map.length];
            rows.for_each(|row| sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += value));
            sum.into_iter().map(|value| value / map.length as f64).collect()
        }
    }
}

/// The reading token's row as tokens and words, or as the patch grid.
fn read(ctx: &dyn Ctx, row: &[f64]) -> Result<Attribution, Error> {
    let mut scores = Scores::default();
    let mut grid = None;
    match ctx.input() {
        Input::Text(text) => {
            // Of a hypothesis behind the text nothing is scored.
            let row = row.get(..text.tokens.len()).ok_or(Error::Missing { what: "the text's attention" })?;
            scores.tokens = Some(settings::floats(row, "attention")?);
            scores.words = Some(settings::floats(&reduce::words(text, row), "attention")?);
        }
        Input::Image(_) => {
            if let Some(image) = &ctx.spec().image {
                let over = Grid { rows: image.grid_rows, cols: image.grid_cols };
                let cells = patches(image, row);
                scores.grid = Some(reduce::rows(&settings::floats(&cells, "attention")?, over));
                grid = Some(over);
            }
        }
    }
    Ok(Attribution { scores, grid, ..Attribution::default() })
}

/// The entries at patches, cell by cell; the other positions of the sequence are left out.
fn patches(image: &ImageSpec, row: &[f64]) -> Vec<f64> {
    let mut cells = vec![0.0; image.grid_rows * image.grid_cols];
    for (item, &value) in image.sequence.iter().zip(row) {
        if let SequenceItem::Patch([r, c]) = item
            && let Some(cell) = cells.get_mut(r * image.grid_cols + c)
        {
            *cell = value;
        }
    }
    cells
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
