//! Targets a portion at a time, so that the gradients of many targets (the tokens of a long completion, say) are never there
//! all at once.

use super::{Attribution, Ctx, Error, of_ctx};
use crate::nn;
use crate::tasks::Target;

/// Numbers of gradients that one variant of the input may have (64 MiB).
const AT_ONCE: usize = 16 << 20;

/// A method's answer about a job.
type Explain<'e> = &'e dyn Fn(&dyn Ctx) -> Result<Vec<Attribution>, Error>;

/// How many targets of `numbers` numbers each are explained at once.
pub fn together(numbers: usize) -> usize {
    (AT_ONCE / numbers.max(1)).max(1)
}

/// What `explain` gives for the job, asked about `together` of its targets at a time. A target's attribution does not
/// depend on those beside it.
///
/// # Errors
/// Those of `explain`. `Stopped` where the deadline passes before the last portion has begun: half of a completion is no
/// explanation of it.
pub fn explain(together: usize, ctx: &dyn Ctx, explain: Explain<'_>) -> Result<Vec<Attribution>, Error> {
    let targets = ctx.targets();
    if targets.len() <= together {
        return explain(ctx);
    }
    let mut all = Vec::with_capacity(targets.len());
    for targets in targets.chunks(together) {
        ctx.checkpoint().map_err(nn::Error::from)?;
        all.extend(explain(&Portion { ctx, targets })?);
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
