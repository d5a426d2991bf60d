//! What rounding the model's products cost: some masks are evaluated again in f32.

use super::time::in_time;
use crate::input::units::Mask;
use crate::methods::{Ctx, Error, Masking};
use crate::nn::Precision;
use crate::tasks::OutputSpace;

/// Masks evaluated twice at most.
const CHECKED: usize = 32;

/// Rows that a check adds to a method's budget.
pub fn cost(precision: Precision) -> usize {
    if precision == Precision::F32 { 0 } else { CHECKED }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Masks evaluated again.
    pub evaluations: usize,
    /// Per target of the job, the largest absolute difference of its output from f32's.
    pub errors: Vec<f64>,
}

/// Evaluates up to 32 of the masks that `known` is of (per target, one output a mask), evenly chosen, in f32, and
/// compares; `mask` makes one by its number. `None` where they are f32 already, or where the deadline passed and what is
/// there is wanted.
pub fn check(
    ctx: &dyn Ctx,
    masking: Masking<'_>,
    output: OutputSpace,
    mask: impl Fn(usize) -> Mask,
    known: &[Vec<f64>],
) -> Result<Option<Check>, Error> {
    let masks = known.first().map_or(0, Vec::len);
    if masking.precision == Precision::F32 || masks == 0 {
        return Ok(None);
    }
    let evaluations = masks.min(CHECKED);
    let chosen: Vec<usize> = (0..evaluations).map(|index| index * masks / evaluations).collect();
    let again: Vec<Mask> = chosen.iter().map(|&index| mask(index)).collect();
    let exactly = Masking { precision: Precision::F32, ..masking };
    let Some(outputs) = in_time(ctx, ctx.outputs(exactly, &again))? else { return Ok(None) };
    let errors = ctx.targets().iter().zip(known).map(|(target, known)| {
        let value = |logits: &Vec<f32>| ctx.task().value(logits, target, output);
        let differences = chosen.iter().zip(&outputs).map(|(&index, logits)| (value(logits) - known[index]).abs());
        differences.fold(0.0, f64::max)
    });
    Ok(Some(Check { evaluations, errors: errors.collect() }))
}

/// As [`check`], for a method that keeps no outputs: the masks' own are asked for again, which costs nothing where they
/// are known.
pub fn recheck(
    ctx: &dyn Ctx,
    masking: Masking<'_>,
    output: OutputSpace,
    masks: &[Mask],
) -> Result<Option<Check>, Error> {
    if masking.precision == Precision::F32 {
        return Ok(None);
    }
    let masks = masks.get(..CHECKED).unwrap_or(masks);
    let Some(outputs) = in_time(ctx, ctx.outputs(masking, masks))? else { return Ok(None) };
    let of_target = |target| outputs.iter().map(|logits| ctx.task().value(logits, target, output)).collect();
    let known: Vec<Vec<f64>> = ctx.targets().iter().map(of_target).collect();
    check(ctx, masking, output, |index| masks[index].clone(), &known)
}
