//! `guided_backprop`: `gradient` under another rule for ReLUs, which `nn` knows.

use super::support::gradients::{self, Shown, gradient_settings};
use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::models::Capability;
use crate::nn::Rule;

pub struct GuidedBackprop;

gradient_settings! {
    /// The gradient with its negative parts cut at every ReLU, which makes sharp pictures of what the model's units
    /// found.
    ///
    /// # What it computes
    /// Backpropagation in which a ReLU hands on a gradient only where its input **and** the gradient are above 0. Other
    /// operations hand on gradients as they are. Scores are those of `gradient`: a token's is the L2 norm over its
    /// embedding, a cell's the sum of absolute numbers over its channels and pixels.
    ///
    /// # Settings
    /// `output` is the space that is explained; `cells` and `resolution` say how fine an image's scores are;
    /// `normalize` changes every list by itself.
    ///
    /// # Same numbers as
    /// Captum 0.9 `GuidedBackprop`, reduced as above, within 1e-4 of the largest score.
    ///
    /// # Limits
    /// It is defined for ReLUs: models without any (GELU, SiLU) cannot serve it, and a request is refused with 422. Captum
    /// changes ReLU modules alone, so that there it returns the plain gradient, with its signs: `gradient` is that. The
    /// picture shows what was found in the image rather than what the target depends on: it changes little from target
    /// to target (Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018).
    ///
    /// Springenberg, Dosovitskiy, Brox and Riedmiller, Striving for Simplicity: The All Convolutional Net, ICLR
    /// workshop 2015.
    GuidedBackpropSettings {}
}

impl Method for GuidedBackprop {
    const NAME: &'static str = "guided_backprop";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Forward, Capability::Gradient, Capability::Relu];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const SIGNED: bool = false;
    type Settings = Settings;
    type Resolved = Shown;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Shown, SettingError> {
        Shown::resolve(settings.asked(), subject)
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
