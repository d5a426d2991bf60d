//! `value_zeroing`: what each token's value vector does to the others, layer by layer. One forward for the states, then
//! one row a token.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::support::layers::{self, LayerChoice, LayerName};
use super::support::sequence;
use super::support::settings::{self, Presentation};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Pass, SettingError, Subject, TappedState};
use crate::input::Kind;
use crate::models::{Capability, Replacement, TapPlan};
use crate::nn::Rule;

pub struct ValueZeroing;

/// How much each token changes the others' hidden states in a layer, by what happens when nobody gets its value vector.
///
/// # What it computes
/// For every token j a row of the model in which the value vectors of j are 0 in all heads, while every layer starts
/// from the unchanged hidden states: layers do not add up, and one row serves all of them.
/// C\[i\]\[j\] = 1 − cos(hᵢ, h̃ᵢ), h and h̃ being what the layer gives for token i without and with the change; each row
/// is divided by its sum. `scores.layers[layer][0]` is that matrix; `scores.tokens` its row of the position that the
/// head reads, in the deepest chosen layer; `words` sums it over each word's tokens; `grid` are its entries at the
/// image's patches.
///
/// # Settings
/// `layers` chooses what `scores.layers` holds.
///
/// # Same numbers as
/// The definition computed with transformers, within 1e-4.
///
/// # Limits
/// n + 1 model rows for n positions. It tells how tokens mix in a layer, norms and feed-forward included, and knows
/// neither target nor sign.
///
/// Mohebbi, Zuidema, Chrupała and Alishahi, Quantifying Context Mixing in Transformers, EACL 2023.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ValueZeroingSettings)]
pub struct Settings {
    /// `"all"`, `"last"` (default), or a list of layer indices from 0; negative ones count from the end.
    /// `scores.layers` keeps their order; `tokens`, `words` and `grid` are the deepest one's, wherever it stands.
    pub layers: Option<LayerChoice>,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    layers: Vec<usize>,
    #[serde(skip)]
    all: usize,
}

impl Method for ValueZeroing {
    const NAME: &'static str = "value_zeroing";
    const GROUP: &'static str = "attention";
    const REQUIRES: &'static [Capability] = &[Capability::Attention, Capability::Hidden];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = false;
    const SIGNED: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let all = subject.spec.layers;
        let resolved = Resolved { layers: layers::resolve(settings.layers, LayerName::Last, all)?, all };
        let (length, limit) = (sequence::length(subject), subject.max_evaluations);
        if length >= limit {
            let detail = format!("{length} positions take {} rows and limits.max_evaluations is {limit}", length + 1);
            return Err(SettingError::new("", detail));
        }
        let (numbers, left) = (Self::values(&resolved, subject), subject.response_values);
        if numbers > left {
            let detail = format!(
                "{} layers × {length} × {length} are {numbers} numbers and limits.response_values leaves {left}; choose \
                 fewer layers, or shorten the input",
                resolved.layers.len()
            );
            return Err(SettingError::new("layers", detail));
        }
        Ok(resolved)
    }

    fn cost(_resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let length = sequence::length(subject) as u64;
        Cost { rows: length + 1, tokens: (length + 1).saturating_mul(length) }
    }

    fn values(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        let length = sequence::length(subject);
        resolved.layers.len().saturating_mul(length).saturating_mul(length)
    }

    /// What enters every layer, and what leaves the chosen ones.
    fn taps(resolved: &Resolved) -> TapPlan {
        TapPlan { hidden: (0..=resolved.all).collect(), ..TapPlan::default() }
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let mut states: Vec<Arc<Vec<f32>>> = Vec::new();
        let mut width = 0;
        let pass = Pass { rows: 1, embedding: None, objectives: &[], rule: Rule::Gradient, taps: Self::taps(resolved) };
        ctx.pass(&pass, &mut |view| {
            states = view.inside.hidden.iter().map(|state| Arc::new(state.values.to_vec())).collect();
            width = view.inside.hidden.first().map_or(0, |state| state.width);
            Ok(())
        })?;
        let length = states.first().map_or(0, |state| state.len() / width.max(1));
        if states.len() != resolved.all + 1 || length == 0 {
            return Err(Error::Missing { what: "the tapped hidden states" });
        }
        let replace = Replacement {
            silenced: (0..length).map(Some).collect(),
            states: states[..resolved.all].iter().cloned().map(Some).collect(),
        };
        let hidden = resolved.layers.iter().map(|layer| layer + 1).collect();
        let taps = TapPlan { hidden, replace: Some(replace), ..TapPlan::default() };
        let pass = Pass { rows: length, embedding: None, objectives: &[], rule: Rule::Gradient, taps };
        let mut layers = vec![vec![0.0; length * length]; resolved.layers.len()];
        ctx.pass(&pass, &mut |view| {
            for (matrix, changed) in layers.iter_mut().zip(&view.inside.hidden) {
                let clean = states.get(changed.layer).ok_or(Error::Missing { what: "a tapped layer" })?;
                moved(matrix, view.row, clean, changed)?;
            }
            Ok(())
        })?;
        layers.iter_mut().for_each(|matrix| normalise(matrix, length));
        Ok(vec![attribute(resolved, ctx, &layers, length)?])
    }
}

/// Puts the distances that silencing `token` makes into its column.
fn moved(matrix: &mut [f64], token: usize, clean: &[f32], changed: &TappedState<'_>) -> Result<(), Error> {
    if changed.values.len() != clean.len() || changed.width == 0 {
        return Err(Error::Missing { what: "a tapped layer" });
    }
    let length = clean.len() / changed.width;
    let states = clean.chunks(changed.width).zip(changed.values.chunks(changed.width));
    for (row, (clean, changed)) in states.enumerate() {
        matrix[row * length + token] = distance(clean, changed);
    }
    Ok(())
}

/// 1 − cosine; 0 where a state is 0.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let size = (dot(a, a) * dot(b, b)).sqrt();
    if size > 0.0 { (1.0 - dot(a, b) / size).max(0.0) } else { 0.0 }
}

/// Every row a distribution; a token that nothing moves has itself.
fn normalise(matrix: &mut [f64], length: usize) {
    for (token, row) in matrix.chunks_mut(length).enumerate() {
        let total: f64 = row.iter().sum();
        match total > 0.0 {
            true => row.iter_mut().for_each(|share| *share /= total),
            false => row[token] = 1.0,
        }
    }
}

fn attribute(resolved: &Resolved, ctx: &dyn Ctx, layers: &[Vec<f64>], length: usize) -> Result<Attribution, Error> {
    let deepest = resolved.layers.iter().zip(layers).max_by_key(|(layer, _)| **layer);
    let (_, matrix) = deepest.ok_or(Error::Missing { what: "a tapped layer" })?;
    let row = sequence::reading(ctx, ctx.targets().first()).row(matrix, length);
    let mut found = sequence::attribution(ctx, row, Presentation::default())?;
    let rows = |matrix: &Vec<f64>| {
        let rows = matrix.chunks(length).map(|row| settings::floats(row, "a distance"));
        rows.collect::<Result<Vec<_>, _>>().map(|rows| vec![rows])
    };
    found.scores.layers = Some(layers.iter().map(rows).collect::<Result<_, Error>>()?);
    found.diagnostics = Diagnostics { evaluations: length + 1, ..Diagnostics::default() };
    Ok(found)
}

#[cfg(test)]
mod tests;
