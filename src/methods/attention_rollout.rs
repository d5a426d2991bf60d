//! `attention_rollout`: attention followed through the layers. One forward; the fused maps come from the model's taps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::support::settings::{Normalize, Presentation};
use super::support::{layers, sequence};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Pass, SettingError, Subject, TappedMap};
use crate::input::Kind;
use crate::models::{Capability, Fused, Fusion, TapPlan};
use crate::nn::Rule;

pub struct AttentionRollout;

/// How much of each token or image patch reaches the position that the head reads, if all that layers do is mix
/// positions as their attention says and add the result to what was there.
///
/// # What it computes
/// Every layer's heads become one map A (`head_fusion`), its lowest entries 0 (`discard_ratio`), and
/// Â = rownorm((A + I) / 2), I standing for the residual connection. R = Â_L · … · Â_s, s = `start_layer`. The scores
/// are the row of R at the position the head reads (the classifying token; of causal classifiers the last token; the
/// first target's token; where the head reads the mean of all, the mean of all rows). A row sums to 1, the reading
/// position's own share included. `words` sums it over each word's tokens; `grid` are its entries at the image's
/// patches.
///
/// # Settings
/// `head_fusion`, `discard_ratio` and `start_layer` as above. `normalize` comes last.
///
/// # Same numbers as
/// The formula over transformers' eager attention, within 1e-5. Not the widespread implementation for ViT, which
/// drops the lowest 90 % by default, divides by column where it means rows, and scales to a largest entry of 1.
///
/// # Limits
/// No target and no sign: it says where information may flow from, not what it does to the output. Feed-forward
/// blocks and value vectors count for nothing.
///
/// Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AttentionRolloutSettings)]
pub struct Settings {
    /// How a layer's heads become one map, entry by entry: `mean`, `max` or `min`. Default `mean`.
    pub head_fusion: Option<HeadFusion>,
    /// The share of a fused map's entries, the lowest ones, that are taken as 0; 0 to below 1. Default 0.
    #[schema(minimum = 0, exclusive_maximum = 1)]
    pub discard_ratio: Option<f64>,
    /// The first layer that counts; negative ones count from the end. Default 0.
    pub start_layer: Option<i64>,
    /// Divides each list by its largest (`max`) or summed (`sum`) score. Default `none`.
    pub normalize: Option<Normalize>,
}

/// How heads become one map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum HeadFusion {
    Mean,
    Max,
    Min,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    head_fusion: HeadFusion,
    discard_ratio: f64,
    start_layer: usize,
    normalize: Normalize,
    #[serde(skip)]
    layers: usize,
}

impl Method for AttentionRollout {
    const NAME: &'static str = "attention_rollout";
    const GROUP: &'static str = "attention";
    const REQUIRES: &'static [Capability] = &[Capability::Attention];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = false;
    const SIGNED: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let discard_ratio = settings.discard_ratio.unwrap_or(0.0);
        if !(0.0..1.0).contains(&discard_ratio) {
            let detail = format!("{discard_ratio:?} is out of range; use 0 to less than 1");
            return Err(SettingError::new("discard_ratio", detail));
        }
        let layers = subject.spec.layers;
        let start_layer = layers::one("start_layer", "layer", settings.start_layer.unwrap_or(0), layers)?;
        sequence::check_maps("start_layer", layers - start_layer, subject)?;
        Ok(Resolved {
            head_fusion: settings.head_fusion.unwrap_or(HeadFusion::Mean),
            discard_ratio,
            start_layer,
            normalize: settings.normalize.unwrap_or_default(),
            layers,
        })
    }

    fn cost(_resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        Cost { rows: 1, tokens: sequence::length(subject) as u64 }
    }

    fn taps(resolved: &Resolved) -> TapPlan {
        let by = match resolved.head_fusion {
            HeadFusion::Mean => Fusion::Mean,
            HeadFusion::Max => Fusion::Max,
            HeadFusion::Min => Fusion::Min,
        };
        let fused = Some(Fused { layers: (resolved.start_layer..resolved.layers).collect(), by });
        TapPlan { fused, ..TapPlan::default() }
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let pass = Pass { rows: 1, embedding: None, objectives: &[], rule: Rule::Gradient, taps: Self::taps(resolved) };
        let mut attribution = None;
        ctx.pass(&pass, &mut |view| {
            let length = view.inside.fused.first().ok_or(Error::Missing { what: "the tapped attention" })?.length;
            let start = sequence::reading(ctx, ctx.targets().first()).weights(length);
            let row = roll(start, &view.inside.fused, resolved.discard_ratio)?;
            let show = Presentation::new(Some(resolved.normalize), None);
            let mut found = sequence::attribution(ctx, row, show)?;
            found.diagnostics = Diagnostics { evaluations: 1, ..Diagnostics::default() };
            attribution = Some(found);
            Ok(())
        })?;
        Ok(attribution.into_iter().collect())
    }
}

/// `row` · Â_L · … · Â_s: a row goes through the layers from the last to the first, so that no product of matrices is
/// made.
fn roll(mut row: Vec<f64>, maps: &[TappedMap<'_>], discard: f64) -> Result<Vec<f64>, Error> {
    for map in maps.iter().rev() {
        let values = map.values.first().copied().unwrap_or_default();
        if map.length != row.len() || values.len() != row.len() * row.len() {
            return Err(Error::Missing { what: "a tapped layer's attention" });
        }
        let kept = discarded(values, discard);
        let mut before = vec![0.0; row.len()];
        for (query, (weight, attention)) in row.iter().zip(kept.chunks(row.len())).enumerate() {
            let total: f64 = 1.0 + attention.iter().sum::<f64>();
            before[query] += weight / total;
            before.iter_mut().zip(attention).for_each(|(before, share)| *before += weight * share / total);
        }
        row = before;
    }
    Ok(row)
}

/// The map with the lowest `share` of its entries taken as 0; of equal ones those that come first.
fn discarded(values: &[f32], share: f64) -> Vec<f64> {
    let mut kept: Vec<f64> = values.iter().map(|&value| f64::from(value)).collect();
    let count = (share * values.len() as f64).floor() as usize;
    if count > 0 {
        let mut order: Vec<usize> = (0..values.len()).collect();
        order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
        order.iter().take(count).for_each(|&lowest| kept[lowest] = 0.0);
    }
    kept
}

#[cfg(test)]
mod tests;
