//! What the Shapley methods share: settings, the ways to a value (all coalitions, sampled sizes, sampled orders), and
//! the answer.

pub mod coalitions;
mod control;
pub mod exact;
#[cfg(test)]
pub mod oracle;
pub mod orders;

use serde::Serialize;

use super::game::Game;
use super::precision::{self, Check};
use super::settings::{self, Precision, Presentation};
use super::spread;
use super::units::{self, Asked, Choice, FEW, Scored, few};
use crate::input::Input;
use crate::input::units::Units;
use crate::methods::{Attribution, Cost, Ctx, Diagnostics, Error, Masking, SettingError, Subject};
use crate::tasks::{OutputSpace, Target};

/// How a game is solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    /// All coalitions.
    Exact,
    /// A fixed number of samples.
    Fixed { samples: usize },
    /// Until every target's largest standard error is within `tolerance` of its largest score.
    Adaptive { tolerance: f64, evaluations: usize },
}

/// One target's values.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// One a player; they add up to the output's change.
    pub scores: Vec<f64>,
    /// `None` where there are too few samples to tell.
    pub errors: Option<Vec<f64>>,
    /// Samples drawn, in the method's own unit.
    pub samples: usize,
    /// Distinct masks.
    pub evaluations: usize,
    pub exact: bool,
    pub converged: Option<bool>,
    pub partial: bool,
    /// False where the samples do not tell the players apart.
    pub unique: bool,
}

impl Outcome {
    /// Largest standard error ÷ largest absolute score; `None` where there is no error to tell.
    pub fn relative_error(&self) -> Option<f64> {
        self.errors.as_ref().map(|errors| spread::relative_error(errors, &self.scores))
    }
}

/// The settings that the sampling methods share, as a caller wrote them.
pub struct Shared {
    pub units: Asked,
    pub samples: Option<usize>,
    pub max_evaluations: Option<usize>,
    pub tolerance: Option<f64>,
    pub interactions: Option<bool>,
    pub output: Option<OutputSpace>,
    pub presentation: Presentation,
    pub precision: Option<Precision>,
}

/// [`Shared`] of a sampling method's `Settings`.
macro_rules! shared {
    ($settings:ident) => {
        $crate::methods::support::shapley::Shared {
            units: $settings.units(),
            samples: $settings.samples,
            max_evaluations: $settings.max_evaluations,
            tolerance: $settings.tolerance,
            interactions: $settings.interactions,
            output: $settings.output,
            presentation: $crate::methods::support::settings::Presentation::new(
                $settings.normalize,
                $settings.absolute,
            ),
            precision: $settings.precision,
        }
    };
}
pub(crate) use shared;

/// The same with their values.
#[derive(Debug, Serialize)]
pub struct Resolved {
    #[serde(flatten)]
    units: Choice,
    /// Null: all coalitions, or samples until `tolerance`.
    samples: Option<usize>,
    max_evaluations: usize,
    tolerance: f64,
    interactions: bool,
    output: OutputSpace,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
    #[serde(skip)]
    mode: Mode,
    /// Rows at most.
    #[serde(skip)]
    rows: usize,
}

/// What differs between the sampling methods.
pub struct Sampler {
    pub name: &'static str,
    /// Whether it fits a regression over the units.
    pub fits: bool,
    /// Rows that so many samples of so many players take.
    pub rows: fn(samples: usize, players: usize) -> usize,
    /// The fewest rows that say anything about so many players.
    pub least: fn(players: usize) -> usize,
    pub run: Run,
}

/// Solves a game from a seed.
type Run = fn(&mut Game<'_>, Mode, u64, Refined<'_>) -> Result<Vec<Outcome>, Error>;

/// Told what there is after a round that was not the last, one outcome a target.
pub type Refined<'a> = &'a dyn Fn(&Game<'_>, Vec<Outcome>) -> Result<(), Error>;

impl Sampler {
    pub fn resolve(&self, shared: Shared, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let mut units = Choice::resolve(shared.units, subject)?;
        let players = units.settle(subject);
        if self.fits {
            units.fitted()?;
        }
        let default = if matches!(subject.input, Input::Text(_)) { 5000 } else { 1000 };
        let (samples, max_evaluations) =
            self.budget(shared.samples, shared.max_evaluations, default, players, subject)?;
        let tolerance = settings::tolerance(shared.tolerance, 0.05)?;
        let mode = match samples {
            Some(samples) => Mode::Fixed { samples },
            None if few(players, max_evaluations) => Mode::Exact,
            None => Mode::Adaptive { tolerance, evaluations: max_evaluations },
        };
        let interactions = shared.interactions.unwrap_or(false);
        if interactions && mode != Mode::Exact {
            return Err(no_interactions(players));
        }
        let rows = match mode {
            Mode::Exact => 1 << players,
            Mode::Fixed { samples } => (self.rows)(samples, players),
            Mode::Adaptive { evaluations, .. } => evaluations,
        };
        let output = settings::output(shared.output, OutputSpace::Probability, subject)?;
        let (presentation, precision) = (shared.presentation, settings::precision(shared.precision, subject)?);
        let resolved = Resolved {
            units,
            samples,
            max_evaluations,
            tolerance,
            interactions,
            output,
            presentation,
            precision,
            mode,
            rows,
        };
        Ok(resolved)
    }

    /// `samples` and `max_evaluations`.
    fn budget(
        &self,
        samples: Option<usize>,
        asked: Option<usize>,
        default: usize,
        players: usize,
        subject: &Subject<'_>,
    ) -> Result<(Option<usize>, usize), SettingError> {
        let (limit, from) = (subject.max_evaluations, " (limits.max_evaluations)");
        let least = if players <= FEW { (self.least)(players).min(1 << players) } else { (self.least)(players) };
        // The fewest samples that a caller may fix take a pair.
        let needed = if samples.is_some() { (self.rows)(2, players).min(least) } else { least };
        if needed > limit {
            let detail = format!(
                "{} over {players} units takes {needed} evaluations at least, and limits.max_evaluations is {limit}; use a \
                 coarser unit",
                self.name
            );
            return Err(SettingError::new("unit", detail));
        }
        let evaluations = asked.unwrap_or(default.max(least).min(limit));
        let evaluations = settings::within("max_evaluations", evaluations, least.min(limit)..=limit, from)?;
        let Some(samples) = samples else { return Ok((None, evaluations)) };
        let rows = (self.rows)(samples, players);
        let most = if asked.is_some() { evaluations } else { limit };
        if samples < 2 || samples % 2 == 1 {
            let detail = format!("{samples} cannot be drawn in pairs; use an even number from 2");
            return Err(SettingError::new("samples", detail));
        }
        if rows > most {
            let detail = format!("{samples} samples may need {rows} evaluations, more than {most}; use fewer");
            return Err(SettingError::new("samples", detail));
        }
        Ok((Some(samples), evaluations.max(rows)))
    }

    pub fn explain(&self, resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let units = resolved.units.units(ctx.input(), ctx.seed())?;
        if units.is_empty() {
            let nothing = |target| nothing(&resolved.units, ctx, target, resolved.output);
            return ctx.targets().iter().map(nothing).collect();
        }
        let masking = Masking { units: &units, fill: resolved.units.fill, precision: resolved.precision };
        let mut game = Game::new(ctx, masking, resolved.output)?;
        let show = Show { choice: &resolved.units, presentation: resolved.presentation, ctx, units: &units };
        let refined = |game: &Game<'_>, outcomes: Vec<Outcome>| {
            if ctx.followed() {
                let answer = |(index, outcome)| show.answer(game.ends(index)?, outcome, None, None);
                ctx.refine(outcomes.iter().enumerate().map(answer).collect::<Result<_, Error>>()?);
            }
            Ok(())
        };
        let outcomes = (self.run)(&mut game, resolved.mode, ctx.seed(), &refined)?;
        let check = game.check()?;
        let answers = outcomes.iter().zip(ctx.targets()).enumerate().map(|(index, (outcome, target))| {
            self.warn(resolved, ctx, outcome, target);
            let table = if resolved.interactions && outcome.exact { exact::table(&game, index)? } else { None };
            let interactions = table.map(|table| exact::interactions(&table, game.players(), &outcome.scores));
            let ends = game.ends(index)?;
            show.answer(ends, outcome, interactions.as_deref(), check.as_ref().map(|check| (check, index)))
        });
        answers.collect()
    }

    fn warn(&self, resolved: &Resolved, ctx: &dyn Ctx, outcome: &Outcome, target: &Target) {
        let name = self.name;
        if outcome.converged == Some(false) && !outcome.partial {
            let reached = match outcome.relative_error() {
                Some(error) => format!("a relative standard error of {error:.3}"),
                None => "no standard error".to_owned(),
            };
            let detail = format!(
                "{name} of \"{target}\" reached {reached} after {} evaluations (tolerance {}); raise max_evaluations or \
                 tolerance",
                outcome.evaluations, resolved.tolerance
            );
            ctx.warn("not_converged", detail);
        }
        if !outcome.unique {
            let detail = format!(
                "{name} of \"{target}\" has too few different samples to tell its units apart or to say how good the \
                 scores are, so the most equal ones that fit are given; raise max_evaluations or samples"
            );
            ctx.warn("unstable", detail);
        }
    }
}

impl Resolved {
    pub fn cost(&self, subject: &Subject<'_>) -> Cost {
        units::cost(self.rows + precision::cost(self.precision), subject)
    }

    /// Numbers of the interactions' matrix.
    pub fn values(&self, subject: &Subject<'_>) -> usize {
        if self.interactions { self.units.entries(subject.input).pow(2) } else { 0 }
    }
}

/// Interactions were asked for and not all coalitions will be evaluated.
pub fn no_interactions(players: usize) -> SettingError {
    let detail = format!(
        "interactions are computed from all coalitions: of at most {FEW} units, with 2^units within max_evaluations and \
         without samples; here are {players}. Use a coarser unit"
    );
    SettingError::new("interactions", detail)
}

/// The answer where there is no player.
pub fn nothing(choice: &Choice, ctx: &dyn Ctx, target: &Target, output: OutputSpace) -> Result<Attribution, Error> {
    let mut attribution = units::nothing(choice, ctx, target, output, true)?;
    let diagnostics = std::mem::take(&mut attribution.diagnostics);
    attribution.diagnostics =
        Diagnostics { converged: Some(true), samples: Some(0), standard_error: Some(Vec::new()), ..diagnostics };
    Ok(attribution)
}

/// What an answer needs besides the values.
pub struct Show<'a> {
    pub choice: &'a Choice,
    pub presentation: Presentation,
    pub ctx: &'a dyn Ctx,
    pub units: &'a Units,
}

impl Show<'_> {
    /// The attribution of one target; `ends` is the output with nothing and with everything present.
    ///
    /// # Errors
    /// A number that is not finite.
    pub fn answer(
        &self,
        (base, output): (f64, f64),
        outcome: &Outcome,
        interactions: Option<&[f64]>,
        check: Option<(&Check, usize)>,
    ) -> Result<Attribution, Error> {
        let input = self.ctx.input();
        let scored =
            Scored { scores: &outcome.scores, errors: outcome.errors.as_deref(), base, output, complete: true };
        let mut attribution = units::answer(self.choice, self.presentation, input, self.units, &scored)?;
        if let Some(interactions) = interactions {
            attribution.interactions = Some(units::matrix(input, self.units, interactions)?);
        }
        let error = check.and_then(|(check, target)| check.errors.get(target).copied());
        attribution.partial = outcome.partial;
        attribution.diagnostics = Diagnostics {
            evaluations: outcome.evaluations + check.map_or(0, |(check, _)| check.evaluations),
            converged: outcome.converged,
            exact: Some(outcome.exact),
            samples: Some(outcome.samples),
            precision_error: error.map(|error| settings::float(error, "the precision's error")).transpose()?,
            ..attribution.diagnostics
        };
        Ok(attribution)
    }
}
