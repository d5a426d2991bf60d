//! Evaluates the faithfulness of one explanation over a job.

use super::sensitivity::{self, Again};
use super::{Bins, Curves, Effort, Evaluate, Faithfulness, Unmeasured};
use crate::input::Input;
use crate::input::units::Mask;
use crate::methods::support::curves::{self, Curve, ERASER, Meter, PERCENT};
use crate::methods::support::parts::{Parts, setting};
use crate::methods::{self, Amount, Attribution, Cost, Ctx, Error, Planned, SettingError, Subject};
use crate::models::About;
use crate::numerics::evidence::{area, gini, infidelity};
use crate::numerics::ranking;
use crate::numerics::sampling::{MEASURING, coin, generator_of, without_replacement};
use crate::tasks::{OutputSpace, Target};

/// Points of a curve: all counts of so many units, else as many evenly spread.
const STEPS: usize = 32;
/// Units left out one by one, at most.
const LEFT_OUT: usize = 256;
/// Random masks of infidelity; where all masks are fewer, all.
const MASKS: usize = 64;

/// What is measured, and how.
#[derive(Clone, Copy)]
pub(in crate::explain) struct Measured<'a> {
    pub ctx: &'a dyn Ctx,
    pub planned: &'a dyn Planned,
    /// Its place among the method's attributions.
    pub place: usize,
    pub attribution: &'a Attribution<Amount>,
    pub target: &'a Target,
    pub output: OutputSpace,
    pub effort: Effort,
    /// Rows that one run of the method takes at most, for all of its targets.
    pub once: usize,
    /// Its runs on changed inputs.
    pub again: &'a Again,
}

/// Rows that masks take at most, for one explanation.
fn masks(subject: &Subject<'_>) -> usize {
    let units = match subject.input {
        Input::Text(text) => text.tokens.len(),
        Input::Image(_) => LEFT_OUT,
    };
    2 * (STEPS + 1 + PERCENT.len() + ERASER.len()) + units.min(LEFT_OUT) + MASKS
}

/// How the explanations of a plan are measured.
pub struct Measuring {
    /// As resolved.
    pub asked: Evaluate,
    pub effort: Effort,
    /// What the measuring of each method's explanations costs at most.
    pub costs: Vec<Cost>,
}

/// How the explanations of `methods` are measured.
///
/// # Errors
/// A number out of range, more rows than `limits.max_evaluations` allows, or explanations of a completion.
pub(in crate::explain) fn plan(
    asked: Evaluate,
    methods: &[Box<dyn Planned>],
    subject: &Subject<'_>,
) -> Result<Measuring, SettingError> {
    if subject.spec.about == About::Next {
        let detail = "explanations of what a language model writes are not measured; leave it out";
        return Err(SettingError::new("", detail));
    }
    let effort = asked.effort(subject.max_evaluations)?;
    let (masks, limit) = (masks(subject), subject.max_evaluations);
    if masks > limit {
        let detail = format!(
            "measuring an explanation takes up to {masks} evaluations and limits.max_evaluations is {limit}; leave it \
             out or raise the limit"
        );
        return Err(SettingError::new("", detail));
    }
    let costs = methods.iter().map(|method| cost(&**method, effort, subject)).collect();
    Ok(Measuring { asked: asked.resolved(effort), effort, costs })
}

/// What measuring the explanations of `planned` costs at most.
fn cost(planned: &dyn Planned, effort: Effort, subject: &Subject<'_>) -> Cost {
    let explanations = if planned.targeted() { subject.targets.max(1) } else { 1 };
    let measured = methods::masks_cost(masks(subject) * explanations, subject);
    measured + sensitivity::cost(planned.cost(), effort)
}

impl Measured<'_> {
    /// `None` where there are no scores or units, and where no change was found or none was needed: the scores, all 0,
    /// rank nothing. The job is warned of that.
    ///
    /// # Errors
    /// The model failed, had to stop, or said something that is not finite.
    pub fn faithfulness(self) -> Result<Option<Faithfulness>, Error> {
        let before = self.ctx.rows();
        let chosen = self.attribution.auto.as_ref().map(|auto| &auto.settings);
        let settings = chosen.unwrap_or(self.planned.settings());
        if let Some(reason) = self.unchanged() {
            self.ctx.warn("not_measured", format!("{} of \"{}\" {reason}", self.planned.method(), self.target));
            return Ok(None);
        }
        let Some(parts) = Parts::of(self.attribution, settings, self.ctx.input()) else { return Ok(None) };
        // What `auto` chose is measured as it was chosen.
        let fill = chosen.and_then(|_| setting(self.planned.settings(), "fill"));
        let parts = fill.into_iter().fold(parts, |parts, fill| parts.filled(settings, fill));
        let meter = Meter { ctx: self.ctx, target: self.target, output: self.output };
        let (units, whole) = (parts.units.len(), meter.whole()?);
        let curve = Curve::trace(meter, &parts, counts(units))?;
        let bins = |percent: &[usize]| shown(&curve.bins(whole, units, percent), percent);
        let own = bins(&PERCENT);
        let at: Vec<f64> = curve.taken.iter().map(|&taken| taken as f64).collect();
        let mut gaps = Gaps::default();
        let loo_correlation = gaps.keep("loo_correlation", leave_one_out(meter, &parts, whole)?);
        let asked = Meter { output: setting(settings, "output").unwrap_or(self.output), ..meter };
        let infidelity = random_masks(asked, &parts)?;
        let max_sensitivity = gaps.keep("max_sensitivity", sensitivity::largest(self, &parts)?);
        let no_scores = || "every score is 0".to_owned();
        let sparsity = gaps.keep("sparsity", gini(&parts.scores).ok_or_else(no_scores));
        Ok(Some(Faithfulness {
            output: self.output,
            target: (!self.planned.targeted()).then(|| self.target.clone()),
            units,
            fractions: own.fractions,
            comprehensiveness: own.comprehensiveness,
            sufficiency: own.sufficiency,
            aopc_comprehensiveness: own.aopc_comprehensiveness,
            aopc_sufficiency: own.aopc_sufficiency,
            eraser: bins(&ERASER),
            deletion_auc: area(&at, &curve.deletion) as f32,
            insertion_auc: area(&at, &curve.insertion) as f32,
            curves: Curves {
                taken: curve.taken,
                deletion: narrow(&curve.deletion),
                insertion: narrow(&curve.insertion),
            },
            loo_correlation: loo_correlation.map(|number| number as f32),
            infidelity: infidelity.map(|(raw, _)| raw as f32),
            infidelity_scaled: infidelity.map(|(_, scaled)| scaled as f32),
            max_sensitivity: max_sensitivity.map(|number| number as f32),
            sparsity: sparsity.map(|number| number as f32),
            unmeasured: gaps.0,
            evaluations: self.ctx.rows().saturating_sub(before),
        }))
    }

    /// Why a method that looks for a changed input has scored nothing.
    fn unchanged(&self) -> Option<&'static str> {
        let change = self.attribution.change.as_ref()?;
        match (change.found, change.distance > 0.0) {
            (false, _) => Some("found no changed input, so there are no scores to measure; faithfulness is null"),
            (true, false) => Some("needed no change, so there are no scores to measure; faithfulness is null"),
            (true, true) => None,
        }
    }
}

/// Counts at which the curves are taken.
fn counts(units: usize) -> Vec<usize> {
    let steps = units.min(STEPS);
    let even = (0..=steps).map(|step| step * units / steps.max(1));
    curves::counts(units, &[PERCENT.as_slice(), &ERASER].concat(), even)
}

fn narrow(numbers: &[f64]) -> Vec<f32> {
    numbers.iter().map(|&number| number as f32).collect()
}

fn shown(bins: &curves::Bins, percent: &[usize]) -> Bins {
    Bins {
        fractions: percent.iter().map(|&percent| (percent as f64 / 100.0) as f32).collect(),
        comprehensiveness: narrow(&bins.comprehensiveness),
        sufficiency: narrow(&bins.sufficiency),
        aopc_comprehensiveness: bins.aopc_comprehensiveness() as f32,
        aopc_sufficiency: bins.aopc_sufficiency() as f32,
    }
}

/// Why numbers are missing.
#[derive(Default)]
struct Gaps(Vec<Unmeasured>);

impl Gaps {
    fn keep<T>(&mut self, measure: &str, found: Result<T, String>) -> Option<T> {
        match found {
            Ok(found) => Some(found),
            Err(reason) => {
                self.0.push(Unmeasured { measure: measure.to_owned(), reason });
                None
            }
        }
    }
}

/// τ-b between the scores and what leaving each unit (of many, a random choice) out takes.
fn leave_one_out(meter: Meter<'_>, parts: &Parts, whole: f64) -> Result<Result<f64, String>, Error> {
    let units = parts.units.len();
    let mut chosen = match units <= LEFT_OUT {
        true => (0..units).collect(),
        false => without_replacement(&mut generator_of(meter.ctx.seed(), MEASURING), units, LEFT_OUT),
    };
    chosen.sort_unstable();
    let without = |&unit: &usize| {
        let mut mask = Mask::full(units);
        mask.set(unit, false);
        mask
    };
    let values = meter.masked(parts, chosen.iter().map(without))?;
    let drops: Vec<f64> = values.iter().map(|value| whole - value).collect();
    let scores: Vec<f64> = chosen.iter().filter_map(|&unit| parts.scores.get(unit).copied()).collect();
    let constant = || "a ranking needs two units and different scores".to_owned();
    Ok(ranking::kendall(&scores, &drops).ok_or_else(constant))
}

/// Infidelity over masks that leave each unit out with probability one half: of few units all masks but the full one.
fn random_masks(meter: Meter<'_>, parts: &Parts) -> Result<Option<(f64, f64)>, Error> {
    let units = parts.units.len();
    let few = 1_usize.checked_shl(units as u32).filter(|&all| all <= MASKS);
    let mask = |index: usize| {
        let mut mask = Mask::empty(units);
        let mut rng = generator_of(meter.ctx.seed(), MEASURING + 1 + index as u64);
        for unit in 0..units {
            let present = if few.is_some() { index >> unit & 1 == 1 } else { coin(&mut rng) };
            mask.set(unit, present);
        }
        mask
    };
    let masks: Vec<Mask> = (0..few.map_or(MASKS, |all| all - 1)).map(mask).collect();
    let whole = meter.whole()?;
    let did: Vec<f64> = meter.masked(parts, masks.iter().cloned())?.iter().map(|value| whole - value).collect();
    let said = |mask: &Mask| {
        let absent = parts.scores.iter().enumerate().filter(|(unit, _)| !mask.contains(*unit));
        absent.map(|(_, score)| score).sum::<f64>()
    };
    Ok(infidelity(&masks.iter().map(said).collect::<Vec<f64>>(), &did))
}
