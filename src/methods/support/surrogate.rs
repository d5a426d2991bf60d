//! A weighted linear model of the output over masks: which masks are drawn, what they weigh, and when they are enough.
//!
//! What a unit is and what its absence looks like is the caller's; the solution is `numerics::least_squares`. Memory
//! is one bit a unit and one number a target for every distinct mask, and units².

mod sampled;
mod sparse;

pub mod drawing;

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;

use super::precision::{self, Check};
use super::{spread, time};
use crate::input::units::{Fill, Mask, Units};
use crate::methods::{Ctx, Error, Masking};
use crate::nn::Precision;
use crate::numerics::lasso;
use crate::numerics::least_squares::{self, Fit, Observations};
use crate::numerics::sampling;
use crate::tasks::OutputSpace;

pub use sampled::{Sampled, sample};

/// Masks asked for at once: what a deadline can lose.
const CHUNK: usize = 128;
/// Draws between two looks at the standard errors, at least.
const BATCH: usize = 256;
/// Draws per budgeted row at most: where nearly every draw repeats a known mask.
const REPEATS: usize = 10;
/// Fewer different masks than this times the unknowns say nothing about their error: HC0 is far too small there.
const ROWS_PER_UNKNOWN: usize = 2;

/// No kernel is computed narrower than this.
const NARROWEST: f64 = 1e-100;

/// Weight of a mask by its distance from the input, the square root of lime's exponential kernel:
/// √exp(−D²/width²), D = scale · (1 − √(present / units)), the cosine distance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Kernel {
    pub scale: f64,
    pub width: f64,
}

impl Kernel {
    /// The weight's logarithm, so that narrow kernels keep their proportions.
    fn ln(self, present: usize, units: usize) -> f64 {
        let distance = self.scale * (1.0 - (present as f64 / units as f64).sqrt());
        // Far above this the nearest masks already have all the weight; a square that overflows has no proportions.
        -0.5 * (distance / self.width.max(NARROWEST)).powi(2)
    }
}

/// How lime draws masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draw {
    /// Text: how many units are away is uniform on 1 … d, which ones is uniform.
    Sizes,
    /// Images: each unit is present with probability one half.
    Coins,
}

impl Draw {
    fn mask(self, rng: &mut ChaCha8Rng, units: usize) -> Mask {
        let mut mask = Mask::full(units);
        match self {
            Self::Sizes => {
                let away = sampling::integer(rng, 1, units);
                sampling::without_replacement(rng, units, away).into_iter().for_each(|unit| mask.set(unit, false));
            }
            Self::Coins => (0..units).for_each(|unit| mask.set(unit, sampling::coin(rng))),
        }
        mask
    }

    /// Logarithm of a mask's probability, up to a constant.
    fn ln_probability(self, away: usize, units: usize) -> f64 {
        match self {
            Self::Sizes => -(0..away).map(|i| ((units - i) as f64 / (i + 1) as f64).ln()).sum::<f64>(),
            Self::Coins => 0.0,
        }
    }
}

/// Which masks are evaluated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// All of them.
    Exact,
    /// lime's own procedure: the input, then `samples` − 1 draws, with a penalty.
    Fixed { samples: usize, ridge: f64 },
    /// Draws until every target's largest standard error is within `tolerance` of its largest score.
    Adaptive { tolerance: f64, evaluations: usize },
    /// ContextCite's: `samples` draws of coins, all of one weight, or all masks where they are no more; few units keep
    /// a score, by a penalty on its size.
    Sparse { samples: usize, penalty: f64 },
}

/// What is asked.
pub struct Plan<'a> {
    pub ctx: &'a dyn Ctx,
    pub units: &'a Units,
    pub fill: Fill,
    pub precision: Precision,
    pub output: OutputSpace,
    pub kernel: Kernel,
    pub draw: Draw,
    pub mode: Mode,
    /// Shown what there is after a batch that was not enough, where the job is followed.
    pub refined: &'a dyn Fn(Vec<Surrogate>) -> Result<(), Error>,
}

/// One target's surrogate.
#[derive(Debug, Clone)]
pub struct Surrogate {
    pub fit: Fit,
    /// The target's output with nothing present and at the input.
    pub base: f64,
    pub output: f64,
    /// Draws, repeated ones counted.
    pub samples: usize,
    /// Distinct masks.
    pub evaluations: usize,
    pub exact: bool,
    /// `None` where nothing is estimated.
    pub converged: Option<bool>,
    pub partial: bool,
    /// Largest difference of the output from f32's; `None` where everything is f32.
    pub precision_error: Option<f64>,
}

impl Plan<'_> {
    fn masking(&self) -> Masking<'_> {
        Masking { units: self.units, fill: self.fill, precision: self.precision }
    }
}

impl Surrogate {
    /// Largest standard error ÷ largest absolute score.
    pub fn relative_error(&self) -> f64 {
        relative_error(&self.fit)
    }
}

fn relative_error(fit: &Fit) -> f64 {
    spread::relative_error(&fit.standard_errors, &fit.coefficients)
}

/// One surrogate per target of the job; there must be at least one unit.
pub fn explain(plan: &Plan<'_>) -> Result<Vec<Surrogate>, Error> {
    let mut table = Table::new(plan)?;
    let mut surrogates = match plan.mode {
        Mode::Exact => {
            table.enumerate();
            table.once(plan, true)
        }
        Mode::Fixed { samples, .. } => {
            table.draws.push(FULL);
            table.draw(plan.ctx, plan.draw, samples, usize::MAX)?;
            table.once(plan, false)
        }
        Mode::Adaptive { tolerance, evaluations } => table.until(plan, tolerance, evaluations),
        Mode::Sparse { samples, .. } => {
            let exact = table.toss(plan.ctx, samples)?;
            table.once(plan, exact)
        }
    }?;
    if let Some(Check { evaluations, errors }) = table.check(plan)? {
        for (surrogate, error) in surrogates.iter_mut().zip(errors) {
            surrogate.precision_error = Some(error);
            surrogate.evaluations += evaluations;
        }
    }
    Ok(surrogates)
}

/// Index of the full mask in the table, and of the empty one.
const FULL: usize = 0;
const EMPTY: usize = 1;

/// The masks drawn so far, each evaluated once.
struct Table {
    units: usize,
    rng: ChaCha8Rng,
    masks: Vec<Mask>,
    known: HashMap<Mask, usize>,
    /// Indices of masks, in the order drawn. New masks are numbered by their first draw.
    draws: Vec<usize>,
    /// Per target, one value a mask evaluated.
    values: Vec<Vec<f64>>,
}

impl Table {
    fn new(plan: &Plan<'_>) -> Result<Self, Error> {
        let units = plan.units.len();
        let masks = vec![Mask::full(units), Mask::empty(units)];
        let known = masks.iter().cloned().zip(0..).collect();
        let values = plan.ctx.targets().iter().map(|_| Vec::new()).collect();
        let rng = sampling::generator(plan.ctx.seed());
        let mut table = Self { units, rng, masks, known, draws: Vec::new(), values };
        table.record(plan, plan.ctx.logits())?;
        table.evaluate(plan)?;
        Ok(table)
    }

    fn record(&mut self, plan: &Plan<'_>, logits: &[f32]) -> Result<(), Error> {
        for (values, target) in self.values.iter_mut().zip(plan.ctx.targets()) {
            let value = plan.ctx.task().value(logits, target, plan.output);
            if !value.is_finite() {
                return Err(Error::NotFinite { what: "the explained output of a perturbed input" });
            }
            values.push(value);
        }
        Ok(())
    }

    fn evaluated(&self) -> usize {
        self.values.first().map_or(self.masks.len(), Vec::len)
    }

    /// Evaluates the masks that are new.
    fn evaluate(&mut self, plan: &Plan<'_>) -> Result<(), Error> {
        while self.evaluated() < self.masks.len() {
            let start = self.evaluated();
            let end = self.masks.len().min(start + CHUNK);
            let outputs = plan.ctx.outputs(plan.masking(), &self.masks[start..end])?;
            if outputs.len() != end - start {
                return Err(Error::Missing { what: "the output of every mask" });
            }
            outputs.iter().try_for_each(|logits| self.record(plan, logits))?;
        }
        Ok(())
    }

    /// All masks but the full one, in random order, so that a deadline leaves a fair sample. One unit alone has a
    /// single such mask, which determines no slope: there the full one joins.
    fn enumerate(&mut self) {
        self.draws.push(EMPTY);
        if self.units == 1 {
            self.draws.push(FULL);
            return;
        }
        let patterns = 1_usize << self.units;
        for pattern in sampling::without_replacement(&mut self.rng, patterns, patterns) {
            if pattern == 0 || pattern == patterns - 1 {
                continue;
            }
            let mut mask = Mask::empty(self.units);
            (0..self.units).for_each(|unit| mask.set(unit, pattern >> unit & 1 == 1));
            let index = self.index(mask);
            self.draws.push(index);
        }
    }

    fn index(&mut self, mask: Mask) -> usize {
        let next = self.masks.len();
        *self.known.entry(mask).or_insert_with_key(|mask| {
            self.masks.push(mask.clone());
            next
        })
    }

    /// Draws until there are `samples`; false where that would take more than `masks` distinct ones.
    fn draw(&mut self, ctx: &dyn Ctx, draw: Draw, samples: usize, masks: usize) -> Result<bool, Error> {
        while self.draws.len() < samples {
            // Of a long text many masks take a while; what a deadline leaves of them is seen when they are evaluated.
            if self.draws.len().is_multiple_of(CHUNK) {
                time::left(ctx)?;
            }
            let mask = draw.mask(&mut self.rng, self.units);
            if self.masks.len() >= masks && !self.known.contains_key(&mask) {
                return Ok(false);
            }
            let index = self.index(mask);
            self.draws.push(index);
        }
        Ok(true)
    }

    /// Every mask of the plan is known: one evaluation, one fit. `all`: they are all there are.
    fn once(&mut self, plan: &Plan<'_>, all: bool) -> Result<Vec<Surrogate>, Error> {
        let partial = self.evaluate_or_end_early(plan)?;
        let targets: Vec<usize> = (0..self.values.len()).collect();
        let exact = all && !partial;
        let mut fits = self.fits(plan, &targets)?;
        if exact {
            fits.iter_mut().for_each(|fit| fit.standard_errors.fill(0.0));
        }
        let converged = if exact { Some(true) } else { partial.then_some(false) };
        let surrogate = |(target, fit)| Surrogate { exact, converged, partial, ..self.surrogate(target, fit) };
        Ok(fits.into_iter().enumerate().map(surrogate).collect())
    }

    /// Draws batch by batch. Each target ends at the first batch that is enough for it, so it does not depend on the
    /// targets beside it.
    fn until(&mut self, plan: &Plan<'_>, tolerance: f64, budget: usize) -> Result<Vec<Surrogate>, Error> {
        let mut results: Vec<Option<Surrogate>> = self.values.iter().map(|_| None).collect();
        let mut samples = BATCH.max(2 * ROWS_PER_UNKNOWN * (self.units + 1));
        while results.iter().any(Option::is_none) {
            let more = self.draw_unfull(plan, samples, budget)? && samples < budget.saturating_mul(REPEATS);
            // A batch of known masks evaluates nothing, so the deadline is asked for as well.
            let partial = self.evaluate_or_end_early(plan)? || !time::left(plan.ctx)?;
            let targets: Vec<usize> = (0..results.len()).filter(|&target| results[target].is_none()).collect();
            let fits = self.fits(plan, &targets)?;
            let followed = plan.ctx.followed();
            let mut shown = if followed { results.clone() } else { Vec::new() };
            let enough = self.evaluated() >= ROWS_PER_UNKNOWN * (self.units + 1);
            for (&target, fit) in targets.iter().zip(fits) {
                let converged = !partial && enough && fit.unique && relative_error(&fit) <= tolerance;
                let surrogate = Surrogate { converged: Some(converged), partial, ..self.surrogate(target, fit) };
                if followed {
                    shown[target] = Some(surrogate.clone());
                }
                if converged || partial || !more {
                    results[target] = Some(surrogate);
                }
            }
            if followed && results.iter().any(Option::is_none) {
                (plan.refined)(shown.into_iter().flatten().collect())?;
            }
            samples += BATCH.max(samples / 4);
        }
        Ok(results.into_iter().flatten().collect())
    }

    /// As [`Self::draw`], but the full mask, which has no part in the limit, is drawn again.
    fn draw_unfull(&mut self, plan: &Plan<'_>, samples: usize, masks: usize) -> Result<bool, Error> {
        while self.draws.len() < samples {
            if !self.draw(plan.ctx, plan.draw, self.draws.len() + 1, masks)? {
                return Ok(false);
            }
            if self.draws.last() == Some(&FULL) {
                self.draws.pop();
            }
        }
        Ok(true)
    }

    /// True where the deadline passed but what is there is enough for an answer that the caller wants.
    fn evaluate_or_end_early(&mut self, plan: &Plan<'_>) -> Result<bool, Error> {
        let Err(error) = self.evaluate(plan) else { return Ok(false) };
        let end = self.draws.iter().position(|&mask| mask >= self.evaluated()).unwrap_or(self.draws.len());
        if !time::ends_early(plan.ctx, &error) || end < self.least(plan.mode) {
            return Err(error);
        }
        self.draws.truncate(end);
        self.masks.truncate(self.evaluated());
        Ok(true)
    }

    /// Fits `targets` to the draws.
    fn fits(&self, plan: &Plan<'_>, targets: &[usize]) -> Result<Vec<Fit>, Error> {
        let mut drawn = vec![0_usize; self.masks.len()];
        self.draws.iter().for_each(|&mask| drawn[mask] += 1);
        let used: Vec<usize> = (0..self.masks.len()).filter(|&mask| drawn[mask] > 0).collect();
        let counts: Vec<f64> = used.iter().map(|&mask| drawn[mask] as f64).collect();
        let row = |index: usize, out: &mut [f64]| {
            let mask = &self.masks[used[index]];
            out.iter_mut().enumerate().for_each(|(unit, out)| *out = if mask.contains(unit) { 1.0 } else { 0.0 });
        };
        let values: Vec<Vec<f64>> =
            targets.iter().map(|&target| used.iter().map(|&mask| self.values[target][mask]).collect()).collect();
        let values: Vec<&[f64]> = values.iter().map(Vec::as_slice).collect();
        let weights = self.weights(plan, &used);
        let rows = Observations { columns: self.units, row: &row, weights: &weights, counts: &counts };
        Ok(match plan.mode {
            Mode::Sparse { penalty, .. } => lasso::fit(&rows, &values, penalty)?,
            Mode::Fixed { ridge, .. } => least_squares::fit(&rows, &values, ridge)?,
            Mode::Exact | Mode::Adaptive { .. } => least_squares::fit(&rows, &values, 0.0)?,
        })
    }

    /// The kernel's, times the probability where no chance draws the masks. Only lime's ridge depends on their
    /// size; elsewhere the largest is 1.
    fn weights(&self, plan: &Plan<'_>, used: &[usize]) -> Vec<f64> {
        let ln = |&mask: &usize| {
            let present = self.masks[mask].count();
            let kernel = plan.kernel.ln(present, self.units);
            match plan.mode {
                Mode::Exact => kernel + plan.draw.ln_probability(self.units - present, self.units),
                Mode::Fixed { .. } | Mode::Adaptive { .. } => kernel,
                Mode::Sparse { .. } => 0.0,
            }
        };
        let logs: Vec<f64> = used.iter().map(ln).collect();
        let largest = match plan.mode {
            Mode::Fixed { .. } => 0.0,
            Mode::Exact | Mode::Adaptive { .. } | Mode::Sparse { .. } => {
                logs.iter().copied().fold(f64::NEG_INFINITY, f64::max)
            }
        };
        logs.iter().map(|log| (log - largest).exp()).collect()
    }

    fn surrogate(&self, target: usize, fit: Fit) -> Surrogate {
        let values = &self.values[target];
        Surrogate {
            fit,
            base: values[EMPTY],
            output: values[FULL],
            samples: self.draws.len(),
            evaluations: self.masks.len(),
            exact: false,
            converged: None,
            partial: false,
            precision_error: None,
        }
    }

    /// What another precision than f32 cost. The full mask is f32 anyway.
    fn check(&self, plan: &Plan<'_>) -> Result<Option<Check>, Error> {
        let evaluated = self.evaluated();
        let values: Vec<Vec<f64>> = self.values.iter().map(|values| values[EMPTY..evaluated].to_vec()).collect();
        let mask = |index: usize| self.masks[EMPTY + index].clone();
        precision::check(plan.ctx, plan.masking(), plan.output, mask, &values)
    }
}

#[cfg(test)]
mod tests;
