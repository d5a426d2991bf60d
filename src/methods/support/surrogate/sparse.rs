//! The masks of a sparse surrogate (ContextCite): coins, each mask of one weight. Which units keep a score is
//! `numerics::lasso`'s to say.

use super::{Draw, FULL, Mode, Table};
use crate::methods::support::units::few;
use crate::methods::{Ctx, Error};

/// Draws without which a deadline leaves nothing to say.
const LEAST: usize = 16;

impl Table {
    /// Draws `samples` masks in which each unit is present with probability one half; where all masks are no more than
    /// that, takes each once (true).
    pub fn toss(&mut self, ctx: &dyn Ctx, samples: usize) -> Result<bool, Error> {
        let all = few(self.units, samples);
        if all {
            self.enumerate();
            if self.draws.last() != Some(&FULL) {
                self.draws.push(FULL);
            }
        } else {
            self.draw(ctx, Draw::Coins, samples, usize::MAX)?;
        }
        Ok(all)
    }

    /// Draws that an answer at the deadline is made of, at least: least squares need more than there are unknowns.
    pub fn least(&self, mode: Mode) -> usize {
        match mode {
            Mode::Sparse { samples, .. } => LEAST.min(samples),
            Mode::Exact | Mode::Fixed { .. } | Mode::Adaptive { .. } => self.units + 2,
        }
    }
}
