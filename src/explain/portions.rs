//! Targets a portion at a time, so that the gradients of a long completion's tokens are never there all at once: each is
//! as long as the input's embedding.

use crate::input::Input;
use crate::methods::{Attribution, Ctx, Error, Planned, of_ctx};
use crate::nn;
use crate::tasks::Target;

/// Numbers of gradients that one variant of the input may have (64 MiB).
const AT_ONCE: usize = 16 << 20;

/// As [`Planned::explain`]. A target's attribution does not depend on those beside it.
///
/// # Errors
/// Those of the method. `Stopped` where the deadline passes before the last portion has begun: half of a completion is
/// no explanation of it.
pub fn explain(method: &dyn Planned, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
    let numbers = match ctx.input() {
        Input::Text(text) => text.length() * ctx.spec().embedding,
        Input::Image(image) => image.pixels.len(),
    };
    let together = (AT_ONCE / numbers.max(1)).max(1);
    explain_by(together, method, ctx)
}

fn explain_by(together: usize, method: &dyn Planned, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
    let targets = ctx.targets();
    if !method.targeted() || !method.differentiates() || targets.len() <= together {
        return method.explain(ctx);
    }
    let mut all = Vec::with_capacity(targets.len());
    for targets in targets.chunks(together) {
        ctx.checkpoint().map_err(nn::Error::from)?;
        all.extend(method.explain(&Portion { ctx, targets })?);
    }
    Ok(all)
}

/// A job about some of its targets. Nobody follows it: what is shown before it is final is of all of them.
struct Portion<'a> {
    ctx: &'a dyn Ctx,
    targets: &'a [Target],
}

impl Ctx for Portion<'_> {
    of_ctx!(
        spec, task, input, seed, logits, partial, outputs, pass, embedding, variants, proposals, vectors, lexicon,
        checkpoint, rows, warn
    );

    fn targets(&self) -> &[Target] {
        self.targets
    }
}

#[cfg(test)]
mod tests;
