//! `gradient`: how large the gradient at the input is. The pass and the answer are `support::gradients`.

use super::support::gradients::{self, Shown, gradient_settings};
use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::models::Capability;
use crate::nn::Rule;

pub struct Gradient;

gradient_settings! {
    /// How strongly the output would answer to a small change of each token or image region.
    ///
    /// # What it computes
    /// g = ∂f/∂x, x the word embeddings (text) or the normalised pixels (image), f the target's `output`.
    /// `scores.tokens` is the L2 norm of g over a token's embedding, `words` the sum of a word's tokens, `grid` the sum
    /// of |g| over the channels and pixels of a cell, `pixels` over a pixel's channels. Nothing is signed and nothing
    /// adds up to the output; special tokens have scores too.
    ///
    /// # Settings
    /// `output` is the space that is explained; `cells` and `resolution` say how fine an image's scores are;
    /// `normalize` changes every list by itself.
    ///
    /// # Same numbers as
    /// PyTorch's autograd and Captum 0.9 `Saliency`, reduced as above, within 1e-5 of the largest score.
    ///
    /// # Limits
    /// A gradient sees the neighbourhood of the input alone: where the output is saturated, important parts have small
    /// ones.
    ///
    /// Simonyan, Vedaldi and Zisserman, Deep Inside Convolutional Networks, ICLR workshop 2014.
    GradientSettings {}
}

impl Method for Gradient {
    const NAME: &'static str = "gradient";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Forward, Capability::Gradient];
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
        resolved.at_input(ctx, Rule::Gradient, |gradient| sums.magnitudes(&gradients::wide(gradient)))
    }
}

#[cfg(test)]
mod tests;
