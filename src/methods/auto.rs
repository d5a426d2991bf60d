//! `auto`: runs other methods of the registry and answers with the one whose scores the model goes by most.

mod agreement;
mod trial;

use serde::Serialize;

use self::trial::{Entry, Trial};
use super::support::curves::PERCENT;
use super::support::settings;
use super::{Attribution, Auto as Choice, Candidate, Cost, Ctx, Error, Method, SettingError, Subject, masks_cost};
use crate::input::units::Fill;
use crate::input::{Input, Kind};
use crate::models::{Capability, TapPlan};
use crate::nn::{self, Stopped};
use crate::tasks::{OutputSpace, check_fill};

/// The cheap ones first: what they leave of a deadline is the others'. One sampling method alone, the most faithful
/// (docs/quality.md): a second one would halve its budget.
const CANDIDATES: [&str; 5] = ["input_x_gradient", "attention_relevance", "deep_lift", "occlusion", "kernel_shap"];
/// Masks that measuring a candidate takes for a target.
const MEASURING: usize = 2 * PERCENT.len();

pub struct Auto;

/// The explanation that the model bears out best, of several methods that are run and measured on this input.
///
/// # What it computes
/// Every candidate that the model can serve and `max_evaluations` has room for explains the input with its own defaults.
/// Its units are then taken away, the foremost first, and put back alone: a candidate's `faithfulness` is the mean over
/// 10, 20, … 100 % of the units of comprehensiveness less sufficiency, which is that of f(top alone) − f(without top), f
/// the target's probability (a regression's output). The largest wins, of equal ones the first. The answer is the
/// winner's, with `auto`: `chosen` and its `settings`, each candidate's `faithfulness`, the rows computed for it and
/// its measuring (`evaluations`) or why it was `skipped`, and `agreement`: Kendall's τ-b of every two candidates' words
/// or cells, and the share of their five foremost that they have in common.
///
/// # Settings
/// `candidates` are run in their order, so the cheap ones belong first. Equal masks of all of them, and of their
/// measuring, are evaluated once. Past the deadline of a request with `partial`, the best so far is given.
///
/// # Same numbers as
/// The chosen method with its `settings`; `faithfulness` is `aopc_comprehensiveness` − `aopc_sufficiency` of
/// `"evaluate"`.
///
/// # Limits
/// Measured by taking away: methods that take away have the advantage of the kind. Segments and cells are measured
/// each by their own units. Scores of different methods differ in their space: read `settings.output` of the chosen
/// one.
///
/// DeYoung et al., ERASER: A Benchmark to Evaluate Rationalized NLP Models, ACL 2020.
#[derive(Debug, Default, serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = AutoSettings)]
pub struct Settings {
    /// Methods to choose from, in the order they are run. Default: those of `input_x_gradient`, `attention_relevance`,
    /// `deep_lift`, `occlusion` and `kernel_shap` that the model can serve.
    #[schema(min_items = 1)]
    pub candidates: Option<Vec<String>>,
    /// What an absent unit becomes, for candidates that take units away and for measuring: text `remove` (default),
    /// `mask`, `pad`, `unk`; image `mean` (default), `blur`, `zero`.
    pub fill: Option<Fill>,
    /// The space of the explained output. Default: each candidate's own.
    pub output: Option<OutputSpace>,
    /// Model rows at most, measuring included; from 32 to `limits.max_evaluations`. Each candidate may take an equal share
    /// of what those before it leave, one that cannot do with it all that is left; else it is skipped. Default: text
    /// 7000, image 3000.
    #[schema(minimum = 32)]
    pub max_evaluations: Option<usize>,
}

#[derive(Serialize)]
pub struct Resolved {
    candidates: Vec<String>,
    fill: Fill,
    output: Option<OutputSpace>,
    max_evaluations: usize,
    /// What faithfulness is measured in.
    #[serde(skip)]
    measure: OutputSpace,
    #[serde(skip)]
    entries: Vec<Entry>,
}

impl Method for Auto {
    const NAME: &'static str = "auto";
    const GROUP: &'static str = "auto";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const ADDS_UP: bool = false;
    const COMPOSED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let (most, fill) = match subject.input {
            Input::Text(_) => (7000, Fill::Remove),
            Input::Image(_) => (3000, Fill::Mean),
        };
        let max_evaluations = settings::evaluations(settings.max_evaluations, most, 32, subject)?;
        let fill = settings.fill.unwrap_or(fill);
        check_fill(subject.input, fill).map_err(|error| SettingError::new("fill", error.to_string()))?;
        let candidates = match settings.candidates {
            Some(named) => trial::checked(named)?,
            None => trial::fitting(&CANDIDATES, subject),
        };
        let output = settings.output.map(|asked| settings::output(Some(asked), asked, subject)).transpose()?;
        let entries = trial::plan(&candidates, fill, output, max_evaluations, subject);
        if entries.iter().all(|entry| entry.planned.is_err()) {
            return Err(SettingError::new("candidates", trial::none_left(&entries)));
        }
        let measure = settings::output(None, OutputSpace::Probability, subject)?;
        Ok(Resolved { candidates, fill, output, max_evaluations, measure, entries })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let planned = resolved.entries.iter().filter_map(|entry| entry.planned.as_ref().ok());
        let measuring = masks_cost(MEASURING * subject.targets.max(1), subject);
        planned.fold(Cost::default(), |sum, planned| sum + planned.cost() + measuring)
    }

    fn values(resolved: &Resolved, _subject: &Subject<'_>) -> usize {
        let planned = resolved.entries.iter().filter_map(|entry| entry.planned.as_ref().ok());
        planned.map(|planned| planned.values()).max().unwrap_or(0)
    }

    fn taps(resolved: &Resolved) -> TapPlan {
        let mut taps = TapPlan::default();
        let planned = resolved.entries.iter().filter_map(|entry| entry.planned.as_ref().ok());
        planned.for_each(|planned| taps.join(&planned.taps()));
        taps
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let before = ctx.rows();
        let mut trials = Vec::with_capacity(resolved.entries.len());
        for entry in &resolved.entries {
            trials.push(trial::run(entry, resolved.measure, resolved.fill, ctx)?);
        }
        let rows = ctx.rows().saturating_sub(before);
        (0..ctx.targets().len()).map(|target| choose(resolved, &trials, target, rows)).collect()
    }
}

/// The answer for one target: that of the best trial, of unmeasured ones the first.
fn choose(resolved: &Resolved, trials: &[Trial], target: usize, rows: usize) -> Result<Attribution, Error> {
    let mut best: Option<usize> = None;
    for (place, trial) in trials.iter().enumerate().filter(|(_, trial)| trial.of(target).is_some()) {
        let better = best.is_none_or(|best| trial.score(target) > trials[best].score(target));
        if better {
            best = Some(place);
        }
    }
    let stopped = || Error::Model(nn::Error::Stopped(Stopped::Deadline));
    let best = best.ok_or_else(stopped)?;
    let mut attribution = trials[best].of(target).cloned().ok_or_else(stopped)?;
    let entry = &resolved.entries[best];
    let candidate = |(entry, trial): (&Entry, &Trial)| Candidate {
        method: entry.method.to_owned(),
        faithfulness: trial.score(target).map(|score| score as f32),
        evaluations: trial.evaluations,
        skipped: trial.skipped.clone(),
    };
    attribution.auto = Some(Box::new(Choice {
        chosen: entry.method.to_owned(),
        settings: entry.planned.as_ref().map(|planned| planned.settings().clone()).unwrap_or_default(),
        candidates: resolved.entries.iter().zip(trials).map(candidate).collect(),
        agreement: agreement::of(&resolved.entries, trials, target),
    }));
    attribution.partial |= trials.iter().any(|trial| trial.late);
    attribution.diagnostics.evaluations = attribution.diagnostics.evaluations.max(rows);
    Ok(attribution)
}

#[cfg(test)]
mod tests;
