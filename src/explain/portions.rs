//! Targets a portion at a time, so that the gradients of a long completion's tokens are never there all at once: each is
//! as long as the input's embedding.

use crate::input::Input;
use crate::input::text::Lexicon;
use crate::input::units::Mask;
use crate::methods::{Attribution, Ctx, Error, Masking, Pass, Planned, RowView, Variant};
use crate::models::Spec;
use crate::nn::{self, Stopped};
use crate::tasks::{Readout, Target};

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
    fn spec(&self) -> &Spec {
        self.ctx.spec()
    }
    fn task(&self) -> &dyn Readout {
        self.ctx.task()
    }
    fn input(&self) -> &Input {
        self.ctx.input()
    }
    fn targets(&self) -> &[Target] {
        self.targets
    }
    fn seed(&self) -> u64 {
        self.ctx.seed()
    }
    fn logits(&self) -> &[f32] {
        self.ctx.logits()
    }
    fn partial(&self) -> bool {
        self.ctx.partial()
    }
    fn outputs(&self, masking: Masking<'_>, masks: &[Mask]) -> Result<Vec<Vec<f32>>, Error> {
        self.ctx.outputs(masking, masks)
    }
    fn pass(&self, pass: &Pass<'_>, sink: &mut dyn FnMut(&RowView<'_>) -> Result<(), Error>) -> Result<(), Error> {
        self.ctx.pass(pass, sink)
    }
    fn embedding(&self, ids: Option<&[u32]>) -> Result<Vec<f32>, Error> {
        self.ctx.embedding(ids)
    }
    fn variants(&self, variants: &[Variant]) -> Result<Vec<Vec<f32>>, Error> {
        self.ctx.variants(variants)
    }
    fn vectors(&self, ids: &[u32]) -> Result<Vec<f32>, Error> {
        self.ctx.vectors(ids)
    }
    fn lexicon(&self) -> Option<&dyn Lexicon> {
        self.ctx.lexicon()
    }
    fn checkpoint(&self) -> Result<(), Stopped> {
        self.ctx.checkpoint()
    }
    fn rows(&self) -> usize {
        self.ctx.rows()
    }
    fn warn(&self, code: &'static str, detail: String) {
        self.ctx.warn(code, detail);
    }
}

#[cfg(test)]
mod tests;
