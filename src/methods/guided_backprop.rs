//! `guided_backprop`: `gradient` under another rule for ReLUs, which `nn` knows.

use serde::Deserialize;
use utoipa::ToSchema;

use super::support::finest::Resolution;
use super::support::gradients::{self, Asked, Shown};
use super::support::settings::{Normalize, Precision};
use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::models::Capability;
use crate::nn::Rule;
use crate::tasks::OutputSpace;

pub struct GuidedBackprop;

/// The gradient with its negative parts cut at every ReLU, which makes sharp pictures of what the model's units found.
///
/// # What it computes
/// Backpropagation in which a ReLU hands on a gradient only where its input **and** the gradient are above 0. Other
/// operations hand on gradients as they are. Scores are those of `gradient`: a token's is the L2 norm over its
/// embedding, a cell's the sum of absolute numbers over its channels and pixels.
///
/// # Settings
/// `output` is the space that is explained; `cells` and `resolution` say how fine an image's scores are; `normalize`
/// changes every list by itself.
///
/// # Same numbers as
/// Captum 0.9 `GuidedBackprop`, reduced as above, within 1e-4 of the largest score.
///
/// # Limits
/// It is defined for ReLUs: a model without any (GELU, SiLU) is refused with 422, which names the activation. The picture
/// shows what was found in the image rather than what the target depends on: it changes little from target to target
/// (Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018).
///
/// Springenberg, Dosovitskiy, Brox and Riedmiller, Striving for Simplicity: The All Convolutional Net, ICLR workshop
/// 2015.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = GuidedBackpropSettings)]
pub struct Settings {
    /// The space of the explained output. Default `logit`; a regression has no other.
    pub output: Option<OutputSpace>,
    /// Images: the grid is N × N cells, 1 to the model input's shorter side. Default: the model's own grid.
    #[schema(minimum = 1)]
    pub cells: Option<usize>,
    /// Images: `pixel` adds a score for every pixel as `scores.pixels`. Default `cell`.
    pub resolution: Option<Resolution>,
    /// Divides each list by its largest (`max`) or summed (`sum`) absolute score. Default `none`.
    pub normalize: Option<Normalize>,
    /// Scores without their sign. Default false.
    pub absolute: Option<bool>,
    /// Numbers computed in. Default `f32`; sums are f64.
    pub precision: Option<Precision>,
}

impl Method for GuidedBackprop {
    const NAME: &'static str = "guided_backprop";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Forward, Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Shown;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Shown, SettingError> {
        let asked = Asked {
            output: settings.output,
            cells: settings.cells,
            resolution: settings.resolution,
            normalize: settings.normalize,
            absolute: settings.absolute,
            precision: settings.precision,
        };
        Shown::resolve(asked, subject)
    }

    fn cost(_: &Shown, subject: &Subject<'_>) -> Cost {
        gradients::cost(0, 1, subject)
    }

    fn explain(resolved: &Shown, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let sums = resolved.finest.sums(ctx.input());
        resolved.at_input(ctx, Rule::Guided, |gradient| sums.magnitudes(&gradients::wide(gradient)))
    }
}

#[cfg(test)]
mod tests;
