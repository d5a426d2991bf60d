//! The game that a perturbation method plays: its players are the units, a coalition is a mask, and its worth is the
//! explained output with only those units present, for every target of the job at once.
//!
//! Memory is one bit a unit and one number a target for every distinct mask.

use std::collections::{HashMap, HashSet};

use super::precision::{self, Check};
use super::time::{self, in_time};
use crate::input::units::Mask;
use crate::methods::{Ctx, Error, Masking};
use crate::nn::Stopped;
use crate::tasks::{OutputSpace, Target};

/// Masks asked for at once: what a deadline can lose.
pub const CHUNK: usize = 128;

/// What is known of a game; each mask is evaluated once.
pub struct Game<'a> {
    ctx: &'a dyn Ctx,
    masking: Masking<'a>,
    output: OutputSpace,
    masks: Vec<Mask>,
    known: HashMap<Mask, usize>,
    /// Per target, one value a mask.
    values: Vec<Vec<f64>>,
}

impl<'a> Game<'a> {
    /// Evaluates the input with nothing present; with everything present it is the prediction.
    ///
    /// # Errors
    /// The model failed, had to stop, or said something that is not finite.
    pub fn new(ctx: &'a dyn Ctx, masking: Masking<'a>, output: OutputSpace) -> Result<Self, Error> {
        let values = ctx.targets().iter().map(|_| Vec::new()).collect();
        let mut game = Self { ctx, masking, output, masks: Vec::new(), known: HashMap::new(), values };
        game.record(game.full(), ctx.logits())?;
        game.evaluate([game.empty()])?;
        Ok(game)
    }

    pub fn players(&self) -> usize {
        self.masking.units.len()
    }

    pub fn targets(&self) -> usize {
        self.values.len()
    }

    pub fn full(&self) -> Mask {
        Mask::full(self.players())
    }

    pub fn empty(&self) -> Mask {
        Mask::empty(self.players())
    }

    /// Distinct masks evaluated, the full and the empty one included.
    pub fn evaluations(&self) -> usize {
        self.masks.len()
    }

    /// The number of a mask that was evaluated.
    pub fn index(&self, mask: &Mask) -> Option<usize> {
        self.known.get(mask).copied()
    }

    /// The worth of `mask` to each target.
    ///
    /// # Errors
    /// It was never evaluated.
    pub fn value(&self, target: usize, mask: &Mask) -> Result<f64, Error> {
        let value = self.index(mask).and_then(|index| self.values.get(target)?.get(index).copied());
        value.ok_or(Error::Missing { what: "the output of every mask" })
    }

    /// The target's output with nothing present and at the input.
    ///
    /// # Errors
    /// None, after [`Self::new`].
    pub fn ends(&self, target: usize) -> Result<(f64, f64), Error> {
        Ok((self.value(target, &self.empty())?, self.value(target, &self.full())?))
    }

    /// How many of `masks` are not known yet.
    pub fn unknown<'m>(&self, masks: impl IntoIterator<Item = &'m Mask>) -> usize {
        masks.into_iter().filter(|mask| !self.known.contains_key(*mask)).collect::<HashSet<_>>().len()
    }

    /// Evaluates those of `masks` that are new, in their order. What was evaluated before an error stays known.
    ///
    /// # Errors
    /// The model failed, had to stop, or said something that is not finite.
    pub fn evaluate(&mut self, masks: impl IntoIterator<Item = Mask>) -> Result<(), Error> {
        let mut asked = HashSet::new();
        let new = masks.into_iter().filter(|mask| !self.known.contains_key(mask) && asked.insert(mask.clone()));
        let new: Vec<Mask> = new.collect();
        for chunk in new.chunks(CHUNK) {
            let outputs = self.ctx.outputs(self.masking, chunk)?;
            if outputs.len() != chunk.len() {
                return Err(Error::Missing { what: "the output of every mask" });
            }
            for (mask, logits) in chunk.iter().zip(outputs) {
                self.record(mask.clone(), &logits)?;
            }
        }
        Ok(())
    }

    /// The worth of `masks` to each target, one after another, of which nothing is kept; `None` where the deadline
    /// passed and the caller wants what there is.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn passing(&self, masks: &[Mask]) -> Result<Option<Vec<Vec<f64>>>, Error> {
        let Some(outputs) = in_time(self.ctx, self.ctx.outputs(self.masking, masks))? else { return Ok(None) };
        if outputs.len() != masks.len() {
            return Err(Error::Missing { what: "the output of every mask" });
        }
        let worth = |target| outputs.iter().map(|logits| self.worth(target, logits)).collect();
        self.ctx.targets().iter().map(worth).collect::<Result<_, _>>().map(Some)
    }

    fn worth(&self, target: &Target, logits: &[f32]) -> Result<f64, Error> {
        let value = self.ctx.task().value(logits, target, self.output);
        match value.is_finite() {
            true => Ok(value),
            false => Err(Error::NotFinite { what: "the explained output of a perturbed input" }),
        }
    }

    fn record(&mut self, mask: Mask, logits: &[f32]) -> Result<(), Error> {
        let ctx = self.ctx;
        let values: Vec<f64> =
            ctx.targets().iter().map(|target| self.worth(target, logits)).collect::<Result<_, _>>()?;
        self.values.iter_mut().zip(values).for_each(|(all, value)| all.push(value));
        self.known.insert(mask.clone(), self.masks.len());
        self.masks.push(mask);
        Ok(())
    }

    /// [`Self::evaluate`], but false where the deadline passed and the caller wants what there is.
    ///
    /// # Errors
    /// As [`Self::evaluate`].
    pub fn evaluate_in_time(&mut self, masks: impl IntoIterator<Item = Mask>) -> Result<bool, Error> {
        let evaluated = self.evaluate(masks);
        Ok(in_time(self.ctx, evaluated)?.is_some())
    }

    /// For rounds that evaluate nothing new: false where the deadline has passed and the caller wants what there is.
    ///
    /// # Errors
    /// The deadline passed, or the caller has gone.
    pub fn in_time(&self) -> Result<bool, Error> {
        time::left(self.ctx)
    }

    /// The error for a deadline that left too little for any answer.
    pub fn stopped(&self) -> Error {
        crate::nn::Error::Stopped(Stopped::Deadline).into()
    }

    /// What another precision than f32 cost; the full mask, which comes first, is f32 anyway.
    ///
    /// # Errors
    /// The model failed or had to stop.
    pub fn check(&self) -> Result<Option<Check>, Error> {
        let values: Vec<Vec<f64>> = self.values.iter().map(|values| values[1..].to_vec()).collect();
        precision::check(self.ctx, self.masking, self.output, |index| self.masks[index + 1].clone(), &values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::units::{Fill, Units};
    use crate::methods::support::fake::{self, Fake};
    use crate::nn::Precision;

    fn masking(units: &Units) -> Masking<'_> {
        Masking { units, fill: Fill::Remove, precision: Precision::F32 }
    }

    fn of(units: &[usize]) -> Mask {
        let mut mask = Mask::empty(4);
        units.iter().for_each(|&unit| mask.set(unit, true));
        mask
    }

    #[test]
    fn masks_are_evaluated_once_for_all_targets() {
        let mut fake = Fake::text(4);
        let units = fake.units();
        fake = fake.black(&units, |_, mask| vec![mask.count() as f32, -(mask.count() as f32)]);
        fake.targets = vec![fake::target(1), fake::target(0)];
        let mut game = Game::new(&fake, masking(&units), OutputSpace::Logit).unwrap();
        assert_eq!((game.players(), game.targets(), game.ends(0).unwrap()), (4, 2, (0.0, -4.0)));
        assert_eq!(game.unknown(&[of(&[1]), of(&[1]), of(&[])]), 1);
        game.evaluate([of(&[1]), of(&[1]), of(&[1, 2]), of(&[]), Mask::full(4)]).unwrap();
        assert_eq!((game.evaluations(), fake.rows.get()), (4, 3));
        assert_eq!((game.value(0, &of(&[1, 2])).unwrap(), game.value(1, &of(&[1])).unwrap()), (-2.0, 1.0));
        assert!(game.value(0, &of(&[3])).is_err());
    }

    #[test]
    fn a_deadline_is_an_error_unless_a_part_is_wanted() {
        let mut fake = Fake::text(4);
        let units = fake.units();
        fake.left.set(Some(1));
        let mut game = Game::new(&fake, masking(&units), OutputSpace::Logit).unwrap();
        assert!(game.evaluate_in_time([of(&[1])]).is_err() && game.in_time().is_err());
        fake.left.set(Some(1));
        fake.partial = true;
        let mut game = Game::new(&fake, masking(&units), OutputSpace::Logit).unwrap();
        assert!(!game.evaluate_in_time([of(&[1])]).unwrap() && !game.in_time().unwrap());
        assert_eq!(game.evaluations(), 2);
    }
}
