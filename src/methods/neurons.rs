//! `neurons`: the feed-forward units that stand out. Settings, order and answer; the sums over the input's forward or
//! over a path are `measure`.

mod measure;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use self::measure::Sums;
use super::attribution::Neuron;
use super::support::baseline::Baseline;
use super::support::layers::{self, LayerChoice, LayerName};
use super::support::{gradients, sequence, settings};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, Objective, SettingError, Subject};
use crate::input::Kind;
use crate::models::{Capability, TapPlan};
use crate::tasks::OutputSpace;

const MOST_STEPS: usize = 1024;
const MOST_TOP: usize = 10_000;
/// Units of a feed-forward block, as a multiple of the hidden size: no family has more.
const WIDEST: usize = 8;

pub struct Neurons;

/// Which units of the feed-forward blocks were most active for this input, or moved the target most.
///
/// # What it computes
/// A unit is one number between the two products of a layer's feed-forward block, behind its activation function (and
/// gate). `activation` is its mean over the input's positions. `influence` is, with a the unit and f the target's
/// `output`: for `activation` and `gradient` Σ a · ∂f/∂a over positions; for `conductance` Σ ∫ ∂f/∂a · da along the
/// straight path from the baseline's embedding to the input's, by the trapezoidal rule over `steps` pieces. The answer's
/// `neurons` are the `top` units of all chosen layers, by |activation| for `activation`, else by |influence|; of equal
/// ones those of the first layer, then of the lowest number.
///
/// # Settings
/// `measure`, `layers`, `top` and `output` as above. `steps` and `baseline` are for `conductance` alone.
///
/// # Same numbers as
/// Captum 0.9 `LayerGradientXActivation` (`gradient`) and `LayerConductance` (`conductance`, as its steps grow), summed
/// over positions, within 1e-3 of the largest.
///
/// # Limits
/// Units need not mean anything by themselves. Residual connections lead around every block, so influences do not add up
/// to the output.
///
/// Dhamdhere, Sundararajan and Yan, How Important Is a Neuron?, ICLR 2019; Shrikumar, Su and Kundaje, Computationally
/// Efficient Measures of Internal Neuron Importance, 2018.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NeuronsSettings)]
pub struct Settings {
    /// What units are ordered by, and what influence is: `activation`, `gradient` or `conductance`. Default `gradient`.
    pub measure: Option<Measure>,
    /// `"all"` (default), `"last"`, or a list of layer indices from 0; negative ones count from the end.
    pub layers: Option<LayerChoice>,
    /// How many units are returned, 1 to 10,000. Default 20.
    #[schema(minimum = 1, maximum = 10_000)]
    pub top: Option<usize>,
    /// `conductance`: pieces of the path, 1 to 1024 and to `limits.max_evaluations` less 1. Default 50.
    #[schema(minimum = 1, maximum = 1024)]
    pub steps: Option<usize>,
    /// `conductance`: where the path begins, as of `integrated_gradients`. Default: text `pad`, without a pad token
    /// `unk`, else `zero`; image `zero`.
    pub baseline: Option<Baseline>,
    /// The space of the explained output. Default `logit`; a regression has no other.
    pub output: Option<OutputSpace>,
}

/// What makes a unit stand out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Measure {
    Activation,
    Gradient,
    Conductance,
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    measure: Measure,
    layers: Vec<usize>,
    top: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    baseline: Option<Baseline>,
    output: OutputSpace,
}

impl Method for Neurons {
    const NAME: &'static str = "neurons";
    const GROUP: &'static str = "inside";
    const REQUIRES: &'static [Capability] = &[Capability::Hidden, Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const ADDS_UP: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let measure = settings.measure.unwrap_or(Measure::Gradient);
        let (steps, baseline) = match measure {
            Measure::Conductance => {
                let most = MOST_STEPS.min(subject.max_evaluations.saturating_sub(1)).max(1);
                let steps = settings.steps.unwrap_or(50.min(most));
                let steps = settings::within("steps", steps, 1..=most, " (limits.max_evaluations less 1 at most)")?;
                (Some(steps), Some(Baseline::resolve(settings.baseline, subject)?))
            }
            Measure::Activation | Measure::Gradient => {
                settings::refuse("steps", &settings.steps, "the measure \"conductance\"")?;
                settings::refuse("baseline", &settings.baseline, "the measure \"conductance\"")?;
                (None, None)
            }
        };
        Ok(Resolved {
            measure,
            layers: layers::resolve(settings.layers, LayerName::All, subject.spec.layers)?,
            top: settings::within("top", settings.top.unwrap_or(20), 1..=MOST_TOP, "")?,
            steps,
            baseline,
            output: settings::output(settings.output, OutputSpace::Logit, subject)?,
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        gradients::cost(0, resolved.steps.map_or(1, |steps| steps + 1), subject)
    }

    /// Every unit at every position; along a path also those of the node before, while they are put in its place.
    fn kept(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        let copies = if resolved.measure == Measure::Conductance { 3 } else { 1 };
        let units = resolved.layers.len() * WIDEST * subject.spec.hidden;
        sequence::length(subject).saturating_mul(units).saturating_mul(copies)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let objectives = Objective::of_targets(ctx, resolved.output);
        let mut activations = resolved.layers.clone();
        activations.sort_unstable();
        let taps = TapPlan { activations, gradients: true, ..TapPlan::default() };
        let path = match (resolved.steps, resolved.baseline) {
            (Some(steps), Some(baseline)) => Some((steps, baseline.embedding(ctx)?)),
            _ => None,
        };
        let sums = match &path {
            Some((steps, baseline)) => measure::along(ctx, &objectives, taps, (*steps, baseline))?,
            None => measure::at_input(ctx, &objectives, taps)?,
        };
        let evaluations = path.map_or(1, |(steps, _)| steps + 1);
        (0..objectives.len()).map(|objective| attribute(resolved, &sums, objective, evaluations)).collect()
    }
}

fn attribute(resolved: &Resolved, sums: &Sums, objective: usize, evaluations: usize) -> Result<Attribution, Error> {
    let mut units = Vec::new();
    for layer in &sums.layers {
        let influence = layer.influence.get(objective).ok_or(Error::Missing { what: "the activations' gradient" })?;
        let each = layer.activation.iter().zip(influence).enumerate();
        units.extend(each.map(|(unit, (&activation, &influence))| (layer.layer, unit, activation, influence)));
    }
    // What is no number is an error before it is sorted away.
    for (_, _, activation, influence) in &units {
        settings::float(*activation, "a unit's activation")?;
        settings::float(*influence, "a unit's influence")?;
    }
    let size = |&(_, _, activation, influence): &(usize, usize, f64, f64)| match resolved.measure {
        Measure::Activation => activation.abs(),
        Measure::Gradient | Measure::Conductance => influence.abs(),
    };
    units.sort_by(|a, b| size(b).total_cmp(&size(a)));
    units.truncate(resolved.top);
    let neuron = |(layer, unit, activation, influence): (usize, usize, f64, f64)| Neuron {
        layer,
        unit,
        activation: activation as f32,
        influence: influence as f32,
    };
    let value = sums.values.get(objective).copied().ok_or(Error::Missing { what: "the output" })?;
    Ok(Attribution {
        neurons: Some(units.into_iter().map(neuron).collect()),
        output_value: Some(settings::float(value, "the output value")?),
        diagnostics: Diagnostics { evaluations, ..Diagnostics::default() },
        ..Attribution::default()
    })
}

#[cfg(test)]
mod tests;
