//! `attention_relevance`: attention weighted by its own gradient. One forward, and one backward a target; the relevance
//! maps come from the model's taps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::support::settings::{self, Normalize, Presentation};
use super::support::{gradients, layers, sequence};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Objective, Pass, SettingError, Subject, TappedMap};
use crate::input::Kind;
use crate::models::{Capability, Fused, Fusion, TapPlan};
use crate::nn::Rule;
use crate::tasks::OutputSpace;

pub struct AttentionRelevance;

/// Which tokens or image patches the attention brought to the output with a positive effect on the target, through all
/// layers.
///
/// # What it computes
/// R = I; for every layer from `start_layer` on, R ← R + Ā · R with Ā = mean over heads of max(0, A ∘ ∂f/∂A), A the
/// attention probabilities and f the target's `output`. The scores are the row of R at the position the head reads,
/// its own entry 0 (where the head reads the mean of all: the mean row of R − I). `words` sums it over each word's
/// tokens; `grid` are its entries at the image's patches. `heads[layer][head]` is Σ |A ∘ ∂f/∂A|, how much the target
/// depends on that head.
///
/// # Settings
/// `start_layer` and `output` as above; `normalize` comes last and concerns the lists of scores alone.
///
/// # Same numbers as
/// Chefer's rule for self-attention, computed with transformers' eager attention and PyTorch's autograd, within 1e-5
/// of the largest score.
///
/// # Limits
/// Scores are never negative: what speaks against the target is left out (ask for the other class, or a contrastive
/// target). It sees what attention moves, not what feed-forward blocks make of it. No relevance is propagated through
/// layers by any other rule.
///
/// Chefer, Gur and Wolf, Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
/// Transformers, ICCV 2021; of heads, Michel, Levy and Neubig, Are Sixteen Heads Really Better than One?, NeurIPS 2019.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AttentionRelevanceSettings)]
pub struct Settings {
    /// The first layer that counts; negative ones count from the end. Default 0.
    pub start_layer: Option<i64>,
    /// The space of the explained output. Default `logit`; a regression has no other.
    pub output: Option<OutputSpace>,
    /// Divides each list by its largest (`max`) or summed (`sum`) score. Default `none`.
    pub normalize: Option<Normalize>,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    start_layer: usize,
    output: OutputSpace,
    normalize: Normalize,
    #[serde(skip)]
    layers: usize,
}

impl Method for AttentionRelevance {
    const NAME: &'static str = "attention_relevance";
    const GROUP: &'static str = "attention";
    const REQUIRES: &'static [Capability] = &[Capability::Attention, Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const SIGNED: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let layers = subject.spec.layers;
        let start_layer = layers::one("start_layer", "layer", settings.start_layer.unwrap_or(0), layers)?;
        sequence::check_maps("start_layer", (layers - start_layer) * subject.targets.max(1), subject)?;
        Ok(Resolved {
            start_layer,
            output: settings::output(settings.output, OutputSpace::Logit, subject)?,
            normalize: settings.normalize.unwrap_or_default(),
            layers,
        })
    }

    fn cost(_resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        gradients::cost(0, 1, subject)
    }

    /// A map a layer.
    fn kept(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        let length = sequence::length(subject);
        (resolved.layers - resolved.start_layer).saturating_mul(length).saturating_mul(length)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let objectives = Objective::of_targets(ctx, resolved.output);
        let fused = Some(Fused { layers: (resolved.start_layer..resolved.layers).collect(), by: Fusion::Relevance });
        let taps = TapPlan { fused, gradients: true, ..TapPlan::default() };
        let pass = Pass { rows: 1, embedding: None, objectives: &objectives, rule: Rule::Gradient, taps };
        let mut attributions = Vec::new();
        ctx.pass(&pass, &mut |view| {
            for (index, (objective, &value)) in objectives.iter().zip(view.values).enumerate() {
                let mut found = attribute(resolved, ctx, (index, objective), &view.inside.fused)?;
                found.output_value = Some(settings::float(value, "the output value")?);
                found.diagnostics = Diagnostics { evaluations: 1, ..Diagnostics::default() };
                attributions.push(found);
            }
            Ok(())
        })?;
        Ok(attributions)
    }
}

fn attribute(
    resolved: &Resolved,
    ctx: &dyn Ctx,
    (index, objective): (usize, &Objective),
    maps: &[TappedMap<'_>],
) -> Result<Attribution, Error> {
    let length = maps.first().ok_or(Error::Missing { what: "the tapped attention" })?.length;
    let reading = sequence::reading(ctx, Some(&objective.target));
    let start = reading.weights(length);
    let mut row = relate(start.clone(), maps, index)?;
    match reading {
        sequence::Reading::At(position) => row.get_mut(position).into_iter().for_each(|own| *own = 0.0),
        sequence::Reading::Mean => row.iter_mut().zip(&start).for_each(|(row, own)| *row -= own),
    }
    let mut found = sequence::attribution(ctx, row, Presentation::new(Some(resolved.normalize), None))?;
    let heads = maps.iter().map(|map| {
        let heads = map.importance.get(index).ok_or(Error::Missing { what: "the heads' importance" })?;
        heads.iter().map(|&head| settings::float(f64::from(head), "a head's importance")).collect()
    });
    found.heads = Some(heads.collect::<Result<_, Error>>()?);
    Ok(found)
}

/// `row` · (I + Ā_L) · … · (I + Ā_s): a row goes through the layers from the last to the first, so that no product of
/// matrices is made.
fn relate(mut row: Vec<f64>, maps: &[TappedMap<'_>], objective: usize) -> Result<Vec<f64>, Error> {
    for map in maps.iter().rev() {
        let values = map.values.get(objective).copied().unwrap_or_default();
        if map.length != row.len() || values.len() != row.len() * row.len() {
            return Err(Error::Missing { what: "a tapped layer's relevance" });
        }
        let mut before = row.clone();
        for (weight, relevance) in row.iter().zip(values.chunks(row.len())) {
            before.iter_mut().zip(relevance).for_each(|(before, &share)| *before += weight * f64::from(share));
        }
        row = before;
    }
    Ok(row)
}

#[cfg(test)]
mod tests;
