//! What can be done to an input, and what one target's tries of it say.

use super::words::{Place, Replacement};
use crate::input::Input;
use crate::input::text::TextInput;
use crate::input::units::Mask;
use crate::methods::support::fewest::{Attempt, Changes};
use crate::methods::support::goal::{Goal, Reached};
use crate::methods::support::time::in_time;
use crate::methods::{Ctx, Error, Masking, Splice, Variant};

/// Inputs asked for at once: what a deadline can lose.
const CHUNK: usize = 128;

/// What can be done to an input.
pub(super) enum Means {
    /// Each unit can be taken away.
    Units,
    /// Words can be replaced.
    Words(Vec<Place>),
}

impl Means {
    /// The units that `changes` are at.
    pub fn units(&self, changes: &Changes) -> Vec<usize> {
        let unit = |&(place, _): &(usize, usize)| match self {
            Self::Units => Some(place),
            Self::Words(places) => places.get(place).map(|place| place.word),
        };
        changes.iter().filter_map(unit).collect()
    }

    /// What stands in a place after a change.
    pub fn option(&self, (place, option): (usize, usize)) -> Option<(&Place, &Replacement)> {
        let Self::Words(places) = self else { return None };
        let place = places.get(place)?;
        Some((place, place.options.get(option)?))
    }

    /// Other tokens in the place of those that `changes` are at.
    pub fn splices(&self, changes: &Changes) -> Vec<Splice> {
        let splice =
            |(place, new): (&Place, &Replacement)| Splice { tokens: place.tokens.clone(), ids: new.ids.clone() };
        changes.iter().filter_map(|&change| self.option(change)).map(splice).collect()
    }

    /// The input's ids after `changes`.
    pub fn ids(&self, text: &TextInput, changes: &Changes) -> Vec<u32> {
        let own: Vec<u32> = text.ids().collect();
        let (mut ids, mut at) = (Vec::with_capacity(own.len()), 0);
        for Splice { tokens, ids: new } in self.splices(changes) {
            ids.extend(own.get(at..tokens.start).unwrap_or_default());
            ids.extend(new);
            at = tokens.end;
        }
        ids.extend(own.get(at..).unwrap_or_default());
        ids
    }
}

/// Only the units present that `changes` leave.
pub(super) fn mask(units: usize, changes: &Changes) -> Mask {
    let mut mask = Mask::full(units);
    changes.iter().for_each(|&(unit, _)| mask.set(unit, false));
    mask
}

/// One target's tries.
pub(super) struct Trials<'a> {
    pub ctx: &'a dyn Ctx,
    pub goal: &'a Goal,
    pub masking: Masking<'a>,
    pub means: &'a Means,
    pub budget: usize,
    /// Those evaluated, of removals.
    pub masks: Vec<Mask>,
    pub tried: usize,
    pub partial: bool,
}

impl Trials<'_> {
    fn outputs(&mut self, sets: &[Changes]) -> Result<Vec<Vec<f32>>, Error> {
        match (self.means, self.ctx.input()) {
            (Means::Words(_), Input::Text(_)) => {
                let variants: Vec<Variant> = sets.iter().map(|set| Variant::Spliced(self.means.splices(set))).collect();
                self.ctx.variants(&variants)
            }
            _ => {
                let masks: Vec<Mask> = sets.iter().map(|set| mask(self.masking.units.len(), set)).collect();
                let outputs = self.ctx.outputs(self.masking, &masks)?;
                self.masks.extend(masks);
                Ok(outputs)
            }
        }
    }
}

impl Attempt for Trials<'_> {
    fn attempt(&mut self, sets: &[Changes]) -> Result<Option<Vec<Reached>>, Error> {
        let mut all = Vec::with_capacity(sets.len());
        for chunk in sets.chunks(CHUNK) {
            let outputs = self.outputs(chunk);
            let Some(outputs) = in_time(self.ctx, outputs)? else {
                self.partial = true;
                return Ok(None);
            };
            if outputs.len() != chunk.len() {
                return Err(Error::Missing { what: "the output of every changed input" });
            }
            self.tried += chunk.len();
            for logits in &outputs {
                all.push(self.goal.of(self.ctx, logits)?);
            }
        }
        Ok(Some(all))
    }

    fn left(&self) -> usize {
        self.budget.saturating_sub(self.tried)
    }

    fn cost(&self, changes: &Changes) -> f64 {
        changes.iter().filter_map(|&change| self.means.option(change)).map(|(_, new)| new.distance).sum()
    }
}
