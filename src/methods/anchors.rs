//! `anchors`: settings, draws and answer. The search for the rule is `search`.

mod search;

use std::collections::HashMap;

use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use self::search::{Draw, Found, Wanted};
use super::support::decision::Decision;
use super::support::settings::{self, Precision, Presentation};
use super::support::time::{self, in_time};
use super::support::units::{self, Choice, Scored, few, perturbation_settings};
use super::support::{naming, precision};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Masking, Method, Rule, SettingError, Subject};
use crate::input::Kind;
use crate::input::units::{Mask, Units};
use crate::models::Capability;
use crate::numerics::sampling;
use crate::tasks::{OutputSpace, Target};

const LEAST_EVALUATIONS: usize = 4;
/// Masks asked for at once: what a deadline can lose.
const CHUNK: usize = 128;
/// Draws per budgeted mask at most: where nearly every draw repeats a known one.
const REPEATS: usize = 20;

pub struct Anchors;

perturbation_settings! {
    /// The fewest words or image regions that, kept, keep what the model says, whatever else is taken away.
    ///
    /// # What it computes
    /// The smallest set A of units whose precision P(the model says the same | all of A are present) is at least
    /// `min_precision`, each other unit being present with probability one half and filled otherwise. What the model
    /// says is whether it answers the target: the target's class is the predicted one, of several labels at once its
    /// probability is one half or more, of a contrastive target its output is the larger of both. So the rule of a
    /// class that is not predicted says what keeps the model from it. With `threshold` it is whether the output reaches
    /// the threshold. Of sets of one size the one of highest precision is the rule, and its coverage is
    /// 2^(−size), the share of masks it applies to. At most 12 units whose 2^units masks fit into `max_evaluations` are
    /// enumerated: all rules are looked at, and their precision has no sampling error (`diagnostics.exact`). More units
    /// are searched by size with a beam: KL-LUCB draws masks for the candidates until the best are told from the others
    /// to within `tau` (or a quarter of what is left of the budget is used), with bounds that are bisected in full, then
    /// draws for each of the beam until its precision is decided.
    ///
    /// # Settings
    /// Scores are 1 at the rule's units and 0 elsewhere. `precision` is the model's arithmetic, not the rule's: that is
    /// `rule.precision`, and `min_precision` what is asked of it. Each target is searched by itself, with the same
    /// draws where the rules are the same.
    ///
    /// # Same numbers as
    /// anchor-exp 0.0.2 and alibi's AnchorText define the same rule; the precision of enumerated rules equals brute
    /// force, that of drawn ones lies inside `precision_bounds` with probability 1 − `delta`. anchor-exp bisects its
    /// bounds once, so they are wider.
    ///
    /// # Limits
    /// A rule says what is enough, not what each of its units adds. An empty rule: whatever is taken away, the model
    /// says the same. A smaller rule than the one found may exist where units were drawn. `not_converged` warns where
    /// `max_evaluations` did not suffice to decide a precision.
    ///
    /// Ribeiro, Singh and Guestrin, Anchors: High-Precision Model-Agnostic Explanations, AAAI 2018; Kaufmann and
    /// Kalyanakrishnan, Information Complexity in Bandit Subset Selection, COLT 2013.
    AnchorsSettings {
        /// The precision that a rule needs, more than 0, at most 1. Default 0.95.
        #[schema(exclusive_minimum = 0, maximum = 1)]
        pub min_precision: Option<f64>,
        /// Chance that a bound does not hold, between 0 and 1. Default 0.1.
        #[schema(exclusive_minimum = 0, exclusive_maximum = 1)]
        pub delta: Option<f64>,
        /// How much worse than the best a rule of the beam may be, between 0 and 1. Default 0.15.
        #[schema(exclusive_minimum = 0, exclusive_maximum = 1)]
        pub tau: Option<f64>,
        /// Rules of a size that are extended, 1 to 100. Default 4.
        #[schema(minimum = 1, maximum = 100)]
        pub beam: Option<usize>,
        /// Most units of a rule, from 1. Default: none, all units together always are a rule.
        #[schema(minimum = 1)]
        pub max_units: Option<usize>,
        /// The output from which on the answer is another; needed where the target's output is a number that chooses
        /// nothing (a regression). Default: none, the model's own choice.
        pub threshold: Option<f64>,
        /// Different masks evaluated at most, 4 to `limits.max_evaluations`. Default: text 5000, image 2000.
        #[schema(minimum = 4)]
        pub max_evaluations: Option<usize>,
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    #[serde(flatten)]
    units: Choice,
    min_precision: f64,
    delta: f64,
    tau: f64,
    beam: usize,
    max_units: Option<usize>,
    threshold: Option<f64>,
    max_evaluations: usize,
    output: OutputSpace,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
}

/// A number inside (0, 1), or up to 1 where `closed`.
fn share(field: &str, asked: Option<f64>, default: f64, closed: bool) -> Result<f64, SettingError> {
    let share = asked.unwrap_or(default);
    if share > 0.0 && (share < 1.0 || closed && share == 1.0) {
        return Ok(share);
    }
    let end = if closed { "at most" } else { "less than" };
    Err(SettingError::new(field, format!("{share:?} is out of range; use more than 0 and {end} 1")))
}

impl Method for Anchors {
    const NAME: &'static str = "anchors";
    const GROUP: &'static str = "perturbation";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const ADDS_UP: bool = false;
    const SIGNED: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(mut settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let default = if subject.input.kind() == Kind::Text { 5000 } else { 2000 };
        let decision = Decision::resolve(settings.threshold, settings.output, subject)?;
        Ok(Resolved {
            units: Choice::resolve(settings.units(), subject)?,
            min_precision: share("min_precision", settings.min_precision, 0.95, true)?,
            delta: share("delta", settings.delta, 0.1, false)?,
            tau: share("tau", settings.tau, 0.15, false)?,
            beam: settings::within("beam", settings.beam.unwrap_or(4), 1..=100, "")?,
            max_units: settings
                .max_units
                .map(|most| settings::within("max_units", most, 1..=usize::MAX, ""))
                .transpose()?,
            threshold: decision.threshold,
            max_evaluations: settings::evaluations(settings.max_evaluations, default, LEAST_EVALUATIONS, subject)?,
            output: decision.output,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::precision(settings.precision, subject)?,
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let rows = match resolved.units.count() {
            Some(units) if few(units, resolved.max_evaluations) => 1 << units,
            // Targets are searched one by one.
            _ => resolved.max_evaluations.saturating_mul(subject.targets.max(1)),
        };
        units::cost(rows + precision::cost(resolved.precision), subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let units = resolved.units.units(ctx.input(), ctx.seed())?;
        ctx.targets().iter().enumerate().map(|(place, target)| resolved.of(ctx, &units, target, place)).collect()
    }
}

/// A finished search and what it took.
struct Searched {
    found: Found,
    samples: usize,
    masks: Vec<Mask>,
    exact: bool,
    partial: bool,
}

impl Resolved {
    fn decision(&self) -> Decision {
        Decision { threshold: self.threshold, output: self.output }
    }

    fn wanted(&self) -> Wanted {
        let Self { min_precision, delta, tau, beam, .. } = *self;
        Wanted { min_precision, delta, tau, beam, max_units: self.max_units.unwrap_or(usize::MAX) }
    }

    fn of(&self, ctx: &dyn Ctx, units: &Units, target: &Target, place: usize) -> Result<Attribution, Error> {
        let says = self.decision().verdict(ctx, ctx.logits(), target)?.answers;
        if units.is_empty() {
            let mut attribution = units::nothing(&self.units, ctx, target, self.output, false)?;
            attribution.diagnostics.converged = Some(true);
            attribution.rule = Some(Rule {
                units: Vec::new(),
                text: format!("there is nothing to take away, and {}", self.decision().words(target, says)),
                precision: 1.0,
                precision_bounds: [1.0; 2],
                coverage: 1.0,
            });
            return Ok(attribution);
        }
        let masking = Masking { units, fill: self.units.fill, precision: self.precision };
        let empty = Mask::empty(units.len());
        let outputs = ctx.outputs(masking, std::slice::from_ref(&empty))?;
        let logits = outputs.first().ok_or(Error::Missing { what: "the output of every mask" })?;
        let base = ctx.task().value(logits, target, self.output);
        let mut draws = Draws::new(self, ctx, masking, target, says);
        draws.know(&empty, logits)?;
        let searched = if few(units.len(), self.max_evaluations) { draws.enumerate()? } else { draws.search()? };
        self.attribute(ctx, masking, target, (place, says, base), searched)
    }

    fn attribute(
        &self,
        ctx: &dyn Ctx,
        masking: Masking<'_>,
        target: &Target,
        (place, says, base): (usize, bool, f64),
        searched: Searched,
    ) -> Result<Attribution, Error> {
        let Searched { found, samples, masks, exact, partial } = searched;
        let units = masking.units;
        let scores: Vec<f64> = (0..units.len()).map(|unit| f64::from(u8::from(found.units.contains(&unit)))).collect();
        let output = ctx.task().value(ctx.logits(), target, self.output);
        let scored = Scored { scores: &scores, errors: None, base, output, complete: false };
        let mut attribution = units::answer(&self.units, self.presentation, ctx.input(), units, &scored)?;
        let check = precision::recheck(ctx, masking, self.output, &masks)?;
        let error = check.as_ref().and_then(|check| check.errors.get(place)).copied();
        attribution.diagnostics = Diagnostics {
            evaluations: masks.len() + check.map_or(0, |check| check.evaluations),
            converged: Some(found.converged),
            exact: Some(exact),
            samples: Some(samples),
            precision_error: error.map(|error| settings::float(error, "the precision's error")).transpose()?,
            ..Diagnostics::default()
        };
        attribution.partial = partial;
        if !found.converged && !partial {
            self.warn(ctx, target, &found, exact, masks.len());
        }
        let bound = |index: usize| settings::float(found.bounds[index], "a bound");
        attribution.rule = Some(Rule {
            units: found.units.iter().map(|&unit| naming::index(units, unit)).collect(),
            text: self.text(ctx, units, target, says, &found),
            precision: settings::float(found.precision, "the rule's precision")?,
            precision_bounds: [bound(0)?, bound(1)?],
            coverage: 0.5_f32.powi(found.units.len().min(i32::MAX as usize) as i32),
        });
        Ok(attribution)
    }

    fn warn(&self, ctx: &dyn Ctx, target: &Target, found: &Found, exact: bool, evaluations: usize) {
        let what = if exact {
            "no rule within max_units is precise enough, so the most precise one is given; raise max_units or lower \
             min_precision"
        } else {
            "that it is enough was not to be decided; raise max_evaluations or delta, or lower min_precision"
        };
        let [low, high] = found.bounds;
        let detail = format!(
            "the rule of \"{target}\" has a precision of {low:.3} to {high:.3} after {evaluations} evaluations: {what}"
        );
        ctx.warn("not_converged", detail);
    }

    /// The rule in words.
    fn text(&self, ctx: &dyn Ctx, units: &Units, target: &Target, says: bool, found: &Found) -> String {
        let said = self.decision().words(target, says);
        let percent = 100.0 * found.precision;
        let names: Vec<String> = found.units.iter().map(|&unit| naming::name(ctx.input(), units, unit)).collect();
        let verb = if names.len() == 1 { "stays" } else { "stay" };
        match names.as_slice() {
            [] => format!("whatever is taken away, {said} in {percent:.1} % of cases"),
            names => format!("where {} {verb}, {said} in {percent:.1} % of cases", naming::list(names)),
        }
    }
}

/// Masks of one target, each evaluated once.
struct Draws<'a> {
    resolved: &'a Resolved,
    ctx: &'a dyn Ctx,
    masking: Masking<'a>,
    target: &'a Target,
    says: bool,
    rng: ChaCha8Rng,
    /// Whether the model says the same, by mask.
    known: HashMap<Mask, bool>,
    /// The masks evaluated, in order.
    masks: Vec<Mask>,
    samples: usize,
    partial: bool,
}

impl<'a> Draws<'a> {
    fn new(resolved: &'a Resolved, ctx: &'a dyn Ctx, masking: Masking<'a>, target: &'a Target, says: bool) -> Self {
        let rng = sampling::generator(ctx.seed());
        let full = Mask::full(masking.units.len());
        let known = HashMap::from([(full.clone(), true)]);
        Self { resolved, ctx, masking, target, says, rng, known, masks: vec![full], samples: 0, partial: false }
    }

    fn know(&mut self, mask: &Mask, logits: &[f32]) -> Result<(), Error> {
        let verdict = self.resolved.decision().verdict(self.ctx, logits, self.target)?;
        self.known.insert(mask.clone(), verdict.answers == self.says);
        self.masks.push(mask.clone());
        Ok(())
    }

    /// Evaluates those of `masks` that are new; false where the deadline came before.
    fn evaluate(&mut self, masks: &[Mask]) -> Result<bool, Error> {
        let mut new: Vec<Mask> = Vec::new();
        for mask in masks {
            if !self.known.contains_key(mask) && !new.contains(mask) {
                new.push(mask.clone());
            }
        }
        for chunk in new.chunks(CHUNK) {
            let Some(outputs) = in_time(self.ctx, self.ctx.outputs(self.masking, chunk))? else {
                self.partial = true;
                return Ok(false);
            };
            if outputs.len() != chunk.len() {
                return Err(Error::Missing { what: "the output of every mask" });
            }
            for (mask, logits) in chunk.iter().zip(&outputs) {
                self.know(mask, logits)?;
            }
        }
        Ok(true)
    }

    /// All masks, in random order, so that a deadline leaves a fair sample.
    fn enumerate(mut self) -> Result<Searched, Error> {
        let units = self.masking.units.len();
        let patterns = sampling::without_replacement(&mut self.rng, 1 << units, 1 << units);
        let mask = |pattern: usize| {
            let mut mask = Mask::empty(units);
            (0..units).for_each(|unit| mask.set(unit, pattern >> unit & 1 == 1));
            mask
        };
        for chunk in patterns.chunks(CHUNK) {
            let masks: Vec<Mask> = chunk.iter().map(|&pattern| mask(pattern)).collect();
            if !self.evaluate(&masks)? {
                break;
            }
        }
        let known: Vec<Option<bool>> = (0..1 << units).map(|pattern| self.known.get(&mask(pattern)).copied()).collect();
        let found = search::enumerate(units, self.resolved.wanted(), &known);
        let exact = !self.partial;
        Ok(Searched { found, samples: self.masks.len(), masks: self.masks, exact, partial: self.partial })
    }

    fn search(mut self) -> Result<Searched, Error> {
        let found = search::search(self.masking.units.len(), self.resolved.wanted(), &mut self)?;
        Ok(Searched { found, samples: self.samples, masks: self.masks, exact: false, partial: self.partial })
    }
}

impl Draw for Draws<'_> {
    fn draw(&mut self, kept: &[usize], count: usize) -> Result<Option<usize>, Error> {
        let units = self.masking.units.len();
        let ended = self.partial || self.samples >= self.resolved.max_evaluations.saturating_mul(REPEATS);
        if ended || self.left() < count {
            return Ok(None);
        }
        let mut masks = Vec::with_capacity(count);
        for _ in 0..count {
            let mut mask = Mask::empty(units);
            (0..units).for_each(|unit| mask.set(unit, sampling::coin(&mut self.rng)));
            kept.iter().for_each(|&unit| mask.set(unit, true));
            masks.push(mask);
        }
        // A batch of known masks evaluates nothing, so the deadline is asked for as well.
        if !time::left(self.ctx)? {
            self.partial = true;
            return Ok(None);
        }
        if !self.evaluate(&masks)? {
            return Ok(None);
        }
        self.samples += count;
        Ok(Some(masks.iter().filter(|mask| self.known.get(*mask) == Some(&true)).count()))
    }

    fn left(&self) -> usize {
        self.resolved.max_evaluations.saturating_sub(self.masks.len())
    }
}

#[cfg(test)]
mod tests;
