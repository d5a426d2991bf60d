//! `input_x_gradient`: the input times its gradient. The pass and the answer are `support::gradients`.

use super::support::gradients::{self, Shown, gradient_settings};
use super::{Attribution, Cost, Ctx, Error, Method, SettingError, Subject};
use crate::input::Kind;
use crate::models::Capability;
use crate::nn::Rule;

pub struct InputXGradient;

gradient_settings! {
    /// How much each token or image region moved the output, by the slope at the input.
    ///
    /// # What it computes
    /// A_i = x_i · ∂f/∂x_i, x the word embeddings (text) or the normalised pixels (image), f the target's `output`.
    /// `scores.tokens` sums A over a token's embedding, `words` over a word's tokens, `grid` over the channels and
    /// pixels of a cell, `pixels` over a pixel's channels. Special tokens have scores too.
    ///
    /// # Settings
    /// `output` is the space that is explained; `cells` and `resolution` say how fine an image's scores are.
    /// `absolute`, then `normalize`, change every list by itself and after everything else.
    ///
    /// # Same numbers as
    /// Captum 0.9 `InputXGradient`, summed as above, within 1e-4 of the largest score.
    ///
    /// # Limits
    /// One step of `integrated_gradients` from a baseline of zeros, and exact where the model is linear; otherwise the
    /// scores add up to nothing in particular.
    ///
    /// Shrikumar, Greenside, Shcherbina and Kundaje, Not Just a Black Box, 2016.
    InputXGradientSettings {}
}

impl Method for InputXGradient {
    const NAME: &'static str = "input_x_gradient";
    const GROUP: &'static str = "gradients";
    const REQUIRES: &'static [Capability] = &[Capability::Forward, Capability::Gradient];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
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
        let input = gradients::wide(&ctx.embedding(None)?);
        resolved.at_input(ctx, Rule::Gradient, |gradient| {
            let mut scores = vec![0.0; sums.count()];
            sums.products(&input, gradient, &mut scores);
            scores
        })
    }
}

#[cfg(test)]
mod tests;
