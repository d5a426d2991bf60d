//! The masks that a linear surrogate is fitted to, for surrogates of another shape.

use super::{EMPTY, FULL, Mode, Plan, REPEATS, Table};
use crate::input::units::Mask;
use crate::methods::Error;

/// Masks with what they weigh and what the model says of them.
pub struct Sampled {
    pub masks: Vec<Mask>,
    /// How often a mask was drawn times its weight.
    pub mass: Vec<f64>,
    /// Per target, one a mask.
    pub values: Vec<Vec<f64>>,
    /// Per target, with nothing present and at the input.
    pub ends: Vec<(f64, f64)>,
    /// Draws, repeated ones counted.
    pub samples: usize,
    /// Distinct masks, those of the precision's check included.
    pub evaluations: usize,
    pub exact: bool,
    pub partial: bool,
    /// Per target, the largest difference of the output from f32's; `None` where everything is f32.
    pub precision_errors: Option<Vec<f64>>,
}

/// Draws as the plan's mode says; [`Mode::Adaptive`] draws all that its budget gives. There must be a unit.
pub fn sample(plan: &Plan<'_>) -> Result<Sampled, Error> {
    let mut table = Table::new(plan)?;
    match plan.mode {
        Mode::Exact => table.enumerate(),
        Mode::Fixed { samples, .. } => {
            table.draws.push(FULL);
            table.draw(plan.ctx, plan.draw, samples, usize::MAX)?;
        }
        Mode::Sparse { samples, .. } => {
            table.toss(plan.ctx, samples)?;
        }
        Mode::Adaptive { evaluations, .. } => {
            table.draw_unfull(plan, evaluations.saturating_mul(REPEATS), evaluations)?;
        }
    }
    let partial = table.evaluate_or_end_early(plan)?;
    let mut drawn = vec![0_usize; table.masks.len()];
    table.draws.iter().for_each(|&mask| drawn[mask] += 1);
    let used: Vec<usize> = (0..table.masks.len()).filter(|&mask| drawn[mask] > 0).collect();
    let weights = table.weights(plan, &used);
    let check = table.check(plan)?;
    Ok(Sampled {
        masks: used.iter().map(|&mask| table.masks[mask].clone()).collect(),
        mass: used.iter().zip(weights).map(|(&mask, weight)| drawn[mask] as f64 * weight).collect(),
        values: table.values.iter().map(|values| used.iter().map(|&mask| values[mask]).collect()).collect(),
        ends: table.values.iter().map(|values| (values[EMPTY], values[FULL])).collect(),
        samples: table.draws.len(),
        evaluations: table.masks.len() + check.as_ref().map_or(0, |check| check.evaluations),
        exact: plan.mode == Mode::Exact && !partial,
        partial,
        precision_errors: check.map(|check| check.errors),
    })
}
