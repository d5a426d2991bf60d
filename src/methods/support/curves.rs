//! What the output does as the foremost units of an explanation are taken away, or stand alone.

use super::game::CHUNK;
use super::parts::Parts;
use crate::input::units::Mask;
use crate::methods::{Ctx, Error, Masking};
use crate::nn::Precision;
use crate::numerics::evidence::{mean, share};
use crate::numerics::ranking;
use crate::tasks::{OutputSpace, Target};

/// Per cent of the units at which comprehensiveness and sufficiency are taken.
pub const PERCENT: [usize; 10] = [10, 20, 30, 40, 50, 60, 70, 80, 90, 100];
/// ERASER's.
pub const ERASER: [usize; 5] = [1, 5, 10, 20, 50];

/// Explained outputs of an input without some of its units, for one target in one space.
#[derive(Clone, Copy)]
pub struct Meter<'a> {
    pub ctx: &'a dyn Ctx,
    pub target: &'a Target,
    pub output: OutputSpace,
}

impl Meter<'_> {
    /// The explained output of the whole input.
    ///
    /// # Errors
    /// It is not finite.
    pub fn whole(&self) -> Result<f64, Error> {
        self.value(self.ctx.logits())
    }

    /// The explained output of each mask, in f32, a few masks at a time.
    ///
    /// # Errors
    /// The model failed, had to stop, or said something that is not finite.
    pub fn masked(&self, parts: &Parts, masks: impl Iterator<Item = Mask>) -> Result<Vec<f64>, Error> {
        let masking = Masking { units: &parts.units, fill: parts.fill, precision: Precision::F32 };
        let (mut masks, mut values) = (masks, Vec::new());
        loop {
            let chunk: Vec<Mask> = masks.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(values);
            }
            let outputs = self.ctx.outputs(masking, &chunk)?;
            if outputs.len() != chunk.len() {
                return Err(Error::Missing { what: "the output of every mask" });
            }
            for logits in outputs {
                values.push(self.value(&logits)?);
            }
        }
    }

    fn value(&self, logits: &[f32]) -> Result<f64, Error> {
        let value = self.ctx.task().value(logits, self.target, self.output);
        if value.is_finite() { Ok(value) } else { Err(Error::NotFinite { what: "the explained output of a mask" }) }
    }
}

/// The outputs as units are taken, the foremost first.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// How many units were taken: ascending, 0 and all of them included.
    pub taken: Vec<usize>,
    /// The output without those, and with those alone.
    pub deletion: Vec<f64>,
    pub insertion: Vec<f64>,
}

/// The numbers of ERASER at some fractions.
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    pub comprehensiveness: Vec<f64>,
    pub sufficiency: Vec<f64>,
}

impl Bins {
    pub fn aopc_comprehensiveness(&self) -> f64 {
        mean(&self.comprehensiveness)
    }

    pub fn aopc_sufficiency(&self) -> f64 {
        mean(&self.sufficiency)
    }

    /// What methods are compared by: comprehensiveness less sufficiency, averaged.
    pub fn score(&self) -> f64 {
        self.aopc_comprehensiveness() - self.aopc_sufficiency()
    }
}

impl Curve {
    /// Evaluates the curve at the counts `taken` (ascending, without repeats) of `parts`' units.
    ///
    /// # Errors
    /// As [`Meter::masked`].
    pub fn trace(meter: Meter<'_>, parts: &Parts, taken: Vec<usize>) -> Result<Self, Error> {
        let units = parts.units.len();
        let order = ranking::descending(&parts.scores);
        let mask = |count: &usize, first: bool| {
            let mut mask = if first { Mask::empty(units) } else { Mask::full(units) };
            order.iter().take(*count).for_each(|&unit| mask.set(unit, first));
            mask
        };
        // Together, so that few units make few forwards.
        let masks = taken.iter().map(|count| mask(count, false)).chain(taken.iter().map(|count| mask(count, true)));
        let mut deletion = meter.masked(parts, masks)?;
        let insertion = deletion.split_off(taken.len());
        Ok(Self { taken, deletion, insertion })
    }

    /// Comprehensiveness and sufficiency where `percent` of `units` are taken, all of which the curve knows; `whole` is
    /// the output of the input.
    pub fn bins(&self, whole: f64, units: usize, percent: &[usize]) -> Bins {
        let drop = |values: &[f64]| {
            let at = |&percent: &usize| {
                let place = self.taken.partition_point(|&taken| taken < share(percent, units));
                whole - values.get(place).copied().unwrap_or(whole)
            };
            percent.iter().map(at).collect()
        };
        Bins { comprehensiveness: drop(&self.deletion), sufficiency: drop(&self.insertion) }
    }
}

/// The counts at which `percent` of `units` stand, with `others`: ascending, without repeats.
pub fn counts(units: usize, percent: &[usize], others: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut counts: Vec<usize> = percent.iter().map(|&percent| share(percent, units)).chain(others).collect();
    counts.sort_unstable();
    counts.dedup();
    counts
}
