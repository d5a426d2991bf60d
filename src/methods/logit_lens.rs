//! `logit_lens`: the model's own head on every layer. One forward, the prediction's own; the head is applied by the
//! model's taps.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::attribution::LensLayer;
use super::ctx::TappedState;
use super::support::layers::{self, LayerChoice, LayerName};
use super::support::{sequence, settings};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Pass, SettingError, Subject};
use crate::input::Kind;
use crate::models::{About, Capability, TapPlan};
use crate::nn::{self, Rule};
use crate::tasks::{ClassScore, ClassTarget, OutputSpace, TOLD, Target, TokenTarget};

pub struct LogitLens;

/// What the model would answer if it stopped after a layer: at which depth the answer appears, and what it was before.
///
/// # What it computes
/// For each chosen layer the state that it gives at the position the head reads (the mean over positions where the head
/// reads that) goes through the rest of the model as if it were the last: the final norm where the family has one, the
/// pooler or dense layer of the head, the classifier. `layers[i]` = `{layer, scores}`, `scores` as `prediction.scores`:
/// every label with its logit and probability; of a question, or of labels of the request's own, the target's alone
/// (without a probability where that comes from the rows of all labels); of a language model, or one that fills masks,
/// the target's and then those of the layer's `top` likeliest tokens, the likeliest first, of the whole vocabulary. The
/// last layer's are the model's own answer. `scores` holds no list.
///
/// # Settings
/// `layers` chooses which; the answer keeps their order. `top` is for models over a vocabulary.
///
/// # Same numbers as
/// transformers' head applied to `hidden_states`, within 1e-5 of the largest logit.
///
/// # Limits
/// The head was trained on the last layer. What it makes of others tells when a state begins to point in the answer's
/// direction, no more; early answers of encoders with poolers are often far from the labels' prior.
///
/// nostalgebraist, interpreting GPT: the logit lens, 2020; Belrose et al., Eliciting Latent Predictions from
/// Transformers with the Tuned Lens, 2023.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = LogitLensSettings)]
pub struct Settings {
    /// `"all"` (default), `"last"`, or a list of layer indices from 0; negative ones count from the end.
    pub layers: Option<LayerChoice>,
    /// Language models and mask fillers: how many of a layer's likeliest tokens stand behind the target, 0 to 100.
    /// Default 5.
    #[schema(maximum = 100)]
    pub top: Option<usize>,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    layers: Vec<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top: Option<usize>,
    #[serde(skip)]
    probability: bool,
    /// A layer answers with every label of the model, not with the target's alone.
    #[serde(skip)]
    every: bool,
}

impl Method for LogitLens {
    const NAME: &'static str = "logit_lens";
    const GROUP: &'static str = "inside";
    const REQUIRES: &'static [Capability] = &[Capability::Hidden];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const ADDS_UP: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let vocabulary = subject.spec.about.over_vocabulary();
        if !vocabulary {
            settings::refuse("top", &settings.top, "models over a vocabulary")?;
        }
        let top = settings::within("top", settings.top.unwrap_or(5), 0..=100, "")?;
        let about = subject.spec.about;
        let resolved = Resolved {
            top: vocabulary.then_some(top),
            layers: layers::resolve(settings.layers, LayerName::All, subject.spec.layers)?,
            every: matches!(about, About::Sequence | About::Tokens) && subject.task.template().is_none(),
            probability: subject.task.outputs(subject.target).has(OutputSpace::Probability)
                && subject.task.one_row(subject.target, Some(OutputSpace::Probability)).is_ok(),
        };
        let (numbers, left) = (Self::values(&resolved, subject), subject.response_values);
        if numbers > left {
            let detail = format!(
                "the answers of {} layers for {} targets are {numbers} scores and limits.response_values leaves {left}; ask \
                 for fewer layers or targets",
                resolved.layers.len(),
                subject.targets
            );
            return Err(SettingError::new("layers", detail));
        }
        Ok(resolved)
    }

    /// The row, and the head behind each of the layers.
    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let continuation = subject.input.as_text().and_then(|text| text.continuation.as_ref());
        let read = continuation.map_or(1, |continuation| continuation.tokens.len().max(continuation.pending));
        let heads = subject.spec.head_tokens(read.saturating_mul(resolved.layers.len()));
        Cost { rows: 1, tokens: sequence::length(subject).saturating_add(heads) as u64 }
    }

    fn values(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        let own = if resolved.every { subject.spec.labels.len() } else { 1 };
        let a_layer = resolved.top.map_or(own, |top| top + 1);
        a_layer.saturating_mul(resolved.layers.len()).saturating_mul(subject.targets)
    }

    /// What a layer gives is what enters the next.
    fn taps(resolved: &Resolved) -> TapPlan {
        let mut lens: Vec<usize> = resolved.layers.iter().map(|layer| layer + 1).collect();
        lens.sort_unstable();
        TapPlan { lens, likeliest: resolved.top.unwrap_or(0), ..TapPlan::default() }
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let pass = Pass { rows: 1, embedding: None, objectives: &[], rule: Rule::Gradient, taps: Self::taps(resolved) };
        let mut attributions = Vec::new();
        ctx.pass(&pass, &mut |view| {
            for target in ctx.targets() {
                let layer = |&layer: &usize| {
                    ctx.checkpoint().map_err(nn::Error::from)?;
                    let read = view.inside.lens.iter().find(|read| read.layer == layer + 1);
                    let logits = read.ok_or(Error::Missing { what: "a tapped layer's answer" })?.values;
                    let mut scores = scores(ctx, target, logits, resolved)?;
                    let told = view.inside.likeliest.iter().find(|read| read.layer == layer + 1);
                    scores.extend(likeliest(ctx, target, told, resolved.top.unwrap_or(0))?);
                    Ok(LensLayer { layer, scores })
                };
                let layers = resolved.layers.iter().map(layer).collect::<Result<_, Error>>()?;
                let diagnostics = Diagnostics { evaluations: 1, ..Diagnostics::default() };
                attributions.push(Attribution { layers: Some(layers), diagnostics, ..Attribution::default() });
            }
            Ok(())
        })?;
        Ok(attributions)
    }
}

/// The likeliest tokens where `target` is read, without its own.
fn likeliest(
    ctx: &dyn Ctx,
    target: &Target,
    told: Option<&TappedState<'_>>,
    count: usize,
) -> Result<Vec<ClassScore>, Error> {
    let own = |index: usize| matches!(target, Target::Token(target) if target.index == index);
    let alone = ctx.spec().about == About::Masked;
    let label = |index: usize| ctx.lexicon().map(|lexicon| lexicon.written(index as u32, alone));
    let score = |told: &[f32]| {
        let (index, logit) = (told[0] as usize, told[1]);
        let probability = settings::float(f64::from(told[2]).exp(), "a layer's probability")?;
        let label = label(index).unwrap_or_else(|| index.to_string());
        Ok(ClassScore { label, index, logit, probability: Some(probability) })
    };
    let place = ctx.task().position(target).unwrap_or(0);
    let told = told.and_then(|told| told.values.chunks(told.width.max(1)).nth(place)).unwrap_or_default();
    told.chunks_exact(TOLD).take(count).filter(|told| !own(told[0] as usize)).map(score).collect()
}

/// Every label's score where `target` is read, by one softmax over them; of a target that is none of the model's labels its
/// own alone.
fn scores(ctx: &dyn Ctx, target: &Target, logits: &[f32], resolved: &Resolved) -> Result<Vec<ClassScore>, Error> {
    let known = match target {
        Target::Class(ClassTarget { label, index, .. }) | Target::Token(TokenTarget { label, index, .. }) => {
            resolved.every && ctx.spec().labels.get(*index) == Some(label)
        }
        _ => false,
    };
    if let Some(said) = known.then(|| ctx.task().said(logits, target)).flatten() {
        let finite = |score: &ClassScore| score.logit.is_finite() && score.probability.is_none_or(f32::is_finite);
        return match said.scores.iter().all(finite) {
            true => Ok(said.scores),
            false => Err(Error::NotFinite { what: "a layer's answer" }),
        };
    }
    let value = |output| ctx.task().value(logits, target, output);
    let probability = resolved.probability.then(|| value(OutputSpace::Probability));
    Ok(vec![ClassScore {
        label: target.to_string(),
        index: target.index(),
        logit: settings::float(value(OutputSpace::Logit), "a layer's logit")?,
        probability: probability.map(|value| settings::float(value, "a layer's probability")).transpose()?,
    }])
}

#[cfg(test)]
mod tests;
