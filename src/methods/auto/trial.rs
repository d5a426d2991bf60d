//! A candidate: planned with what is left of the budget, run, and measured.

use serde_json::{Map, Value, json};

use super::{Auto, MEASURING};
use crate::input::units::Fill;
use crate::methods::support::curves::{Curve, Meter, PERCENT, counts};
use crate::methods::support::parts::Parts;
use crate::methods::support::time::in_time;
use crate::methods::{
    Attribution, Ctx, ErasedMethod, Error, METHODS, Method, Planned, SettingError, Subject, masks_cost,
};
use crate::nn;
use crate::tasks::{OutputSpace, quote};

/// How often a method is planned again with a smaller budget: what an evaluation of its own costs in rows is found in two
/// or three.
const ATTEMPTS: usize = 6;
/// What gives no scores to measure.
const SCORELESS: [&str; 4] = ["counterfactual", "adversarial", "neurons", "logit_lens"];

/// A candidate, or why it is not run.
pub struct Entry {
    pub method: &'static str,
    pub planned: Result<Box<dyn Planned>, String>,
}

/// The methods whose scores can be compared.
fn usable() -> impl Iterator<Item = &'static dyn ErasedMethod> {
    METHODS.iter().copied().filter(|method| method.name() != Auto::NAME && !SCORELESS.contains(&method.name()))
}

fn named(name: &str) -> Option<&'static dyn ErasedMethod> {
    usable().find(|method| method.name() == name)
}

/// The names a caller wrote.
///
/// # Errors
/// None, one twice, or one that is no method with scores.
pub fn checked(names: Vec<String>) -> Result<Vec<String>, SettingError> {
    if names.is_empty() {
        return Err(SettingError::new("candidates", "the list is empty; name methods, or leave it out"));
    }
    for (place, name) in names.iter().enumerate() {
        let wrong = |detail: String| Err(SettingError::new(&format!("candidates/{place}"), detail));
        if named(name).is_none() {
            let known: Vec<&str> = usable().map(|method| method.name()).collect();
            let detail =
                format!("{} is no method with scores to compare; name some of {}", quote(name), known.join(", "));
            return wrong(detail);
        }
        if names.iter().take(place).any(|before| before == name) {
            return wrong(format!("{} is named twice; name it once", quote(name)));
        }
    }
    Ok(names)
}

/// Those of `names` that the subject's model can serve.
pub fn fitting(names: &[&str], subject: &Subject<'_>) -> Vec<String> {
    let fits = |name: &&&str| named(name).is_some_and(|method| method.fits(subject.spec));
    names.iter().filter(fits).map(|name| (*name).to_owned()).collect()
}

/// Plans the candidates one after another: each may take an equal share of what those before it leave of `most` rows, and
/// where that is too little for it, all that is left.
pub fn plan(
    names: &[String],
    fill: Fill,
    output: Option<OutputSpace>,
    most: usize,
    subject: &Subject<'_>,
) -> Vec<Entry> {
    let mut left = most as u64;
    let mut entries = Vec::with_capacity(names.len());
    let measuring = masks_cost(MEASURING * subject.targets.max(1), subject).rows;
    let methods: Vec<_> = names.iter().filter_map(|name| named(name)).collect();
    for (place, method) in methods.iter().copied().enumerate() {
        let to_come = (methods.len() - place) as u64;
        let share = left.saturating_sub(measuring.saturating_mul(to_come)) / to_come;
        let within = |rows| fitted(method, fill, output, rows, subject);
        let planned = within(share).or_else(|_| within(left.saturating_sub(measuring)));
        if let Ok(planned) = &planned {
            left = left.saturating_sub(planned.cost().rows.saturating_add(measuring));
        }
        entries.push(Entry { method: method.name(), planned });
    }
    entries
}

/// The method with its defaults, or, where these may take more than `rows`, with the largest budget that does not.
fn fitted(
    method: &dyn ErasedMethod,
    fill: Fill,
    output: Option<OutputSpace>,
    rows: u64,
    subject: &Subject<'_>,
) -> Result<Box<dyn Planned>, String> {
    if !method.fits(subject.spec) {
        return Err("this model cannot serve it".to_owned());
    }
    let mut settings = Map::new();
    if method.group() == "perturbation" {
        settings.insert("fill".to_owned(), json!(fill));
    }
    if let (true, Some(output)) = (method.targeted(), output) {
        settings.insert("output".to_owned(), json!(output));
    }
    let planned = method.plan(settings.clone(), subject).map_err(|error| error.detail)?;
    let needed = planned.cost().rows;
    if needed <= rows {
        return Ok(planned);
    }
    let smaller = smaller(method, settings, rows, subject);
    smaller.ok_or_else(|| format!("it may take {needed} evaluations and {rows} are left"))
}

/// The method with a budget of its own that takes at most `rows`: what it counts as one evaluation may be several rows (of
/// labels of the request's own, of a text in windows). `None` where it cannot do with so few.
fn smaller(
    method: &dyn ErasedMethod,
    mut settings: Map<String, Value>,
    rows: u64,
    subject: &Subject<'_>,
) -> Option<Box<dyn Planned>> {
    let mut most = rows;
    for _ in 0..ATTEMPTS {
        settings.insert("max_evaluations".to_owned(), Value::from(most));
        let planned = method.plan(settings.clone(), subject).ok()?;
        let needed = planned.cost().rows;
        if needed <= rows {
            return Some(planned);
        }
        let scaled = u128::from(most) * u128::from(rows) / u128::from(needed.max(1));
        most = u64::try_from(scaled).unwrap_or(rows).min(most.checked_sub(1)?);
    }
    None
}

/// Why no candidate is left.
pub fn none_left(entries: &[Entry]) -> String {
    let reasons = entries.iter().filter_map(|entry| {
        let reason = entry.planned.as_ref().err()?;
        Some(format!("{}: {reason}", entry.method))
    });
    format!("no candidate can be run ({})", reasons.collect::<Vec<_>>().join("; "))
}

/// What became of a candidate.
#[derive(Default)]
pub struct Trial {
    /// One a target of the job, or a single one for all.
    attributions: Vec<Attribution>,
    /// One a target; `None` where there was nothing to measure.
    scores: Vec<Option<f64>>,
    pub evaluations: usize,
    pub skipped: Option<String>,
    /// The deadline came first.
    pub late: bool,
}

impl Trial {
    pub fn of(&self, target: usize) -> Option<&Attribution> {
        self.attributions.get(target.min(self.attributions.len().saturating_sub(1)))
    }

    pub fn score(&self, target: usize) -> Option<f64> {
        self.scores.get(target).copied().flatten()
    }

    fn skipped(reason: String) -> Self {
        Self { skipped: Some(reason), ..Self::default() }
    }

    fn late() -> Self {
        Self { late: true, ..Self::skipped("the deadline passed".to_owned()) }
    }
}

/// Runs and measures a candidate. Where the deadline passes and the caller wants what there is, it is late, with what it
/// has so far.
///
/// # Errors
/// The model failed, had to stop, or said something that is not finite.
pub fn run(entry: &Entry, measure: OutputSpace, fill: Fill, ctx: &dyn Ctx) -> Result<Trial, Error> {
    let planned = match &entry.planned {
        Ok(planned) => planned,
        Err(reason) => return Ok(Trial::skipped(reason.clone())),
    };
    let before = ctx.rows();
    let attributions = match in_time(ctx, planned.explain(ctx)) {
        Ok(Some(attributions)) => attributions,
        Ok(None) => return Ok(Trial::late()),
        Err(error @ Error::Model(nn::Error::NoRule { .. })) => return Ok(Trial::skipped(error.to_string())),
        Err(error) => return Err(error),
    };
    let mut trial = Trial { attributions, ..Trial::default() };
    for (place, target) in ctx.targets().iter().enumerate() {
        let parts = trial.of(place).and_then(|found| Parts::of(found, planned.settings(), ctx.input()));
        let Some(parts) = parts else {
            trial.scores.push(None);
            continue;
        };
        let parts = parts.filled(planned.settings(), fill);
        let meter = Meter { ctx, target, output: measure };
        let Some(score) = in_time(ctx, faithfulness(meter, &parts))? else {
            let Trial { attributions, scores, .. } = trial;
            return Ok(Trial { attributions, scores, ..Trial::late() });
        };
        trial.scores.push(Some(score));
    }
    trial.evaluations = ctx.rows().saturating_sub(before);
    Ok(trial)
}

fn faithfulness(meter: Meter<'_>, parts: &Parts) -> Result<f64, Error> {
    let (units, whole) = (parts.units.len(), meter.whole()?);
    let curve = Curve::trace(meter, parts, counts(units, &PERCENT, std::iter::empty()))?;
    Ok(curve.bins(whole, units, &PERCENT).score())
}
