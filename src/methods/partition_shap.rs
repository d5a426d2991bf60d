//! `partition_shap`: the settings and the answer. `hierarchy` makes the groups, `owen` shares the output out over them.

mod hierarchy;
mod owen;

use serde::Serialize;

use self::hierarchy::{Hierarchy, Rule, Tree};
use self::owen::{Owen, Refined, owen, unsplit};
use super::support::game::Game;
use super::support::precision;
use super::support::settings::{self, Precision, Presentation};
use super::support::shapley::{Outcome, Show, exact};
use super::support::units::{self, Choice, FEW, few, perturbation_settings};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Masking, Method, SettingError, Subject};
use crate::input::units::{UnitKind, Units};
use crate::input::{Input, Kind};
use crate::models::Capability;
use crate::tasks::OutputSpace;

/// shap's own budget.
const EVALUATIONS: usize = 500;

pub struct PartitionShap;

perturbation_settings! {
    /// How much each word or image region moved the output, shared out from groups to their parts: from a text to its
    /// sentences, clauses and words, from an image to its halves and regions. The scores add up to the change of the
    /// output within any budget.
    ///
    /// # What it computes
    /// Owen values. A group's share in a context S (other groups of the levels above, present or away) is
    /// v(S ∪ group) − v(S), v(S) the target's `output` with only the units of S present, the others filled. It is split
    /// among the group's parts by their exact Shapley values in that context, and so on to single units; the weights of
    /// all contexts of a unit add up to 1. Groups with the largest |share| · weight are split first. Where
    /// `max_evaluations` ends it, what is left of a group is spread evenly over its units.
    ///
    /// # Settings
    /// `hierarchy` chooses the groups. `interactions` adds the Shapley interaction index of each pair, with `flat` alone.
    /// `absolute`, then `normalize`, change the scores after everything else: `residual` is that of the raw scores.
    ///
    /// # Same numbers as
    /// shap 0.51 `PartitionExplainer` with the same binary hierarchy over these units and fills and a budget that splits
    /// every group, within 1e-6. With `flat`, Shapley values.
    ///
    /// # Limits
    /// Owen values are not Shapley values: units of a group share what the group earns. The values depend on what absence
    /// looks like (`fill`). `not_converged` warns where `max_evaluations` left groups unsplit.
    ///
    /// Owen, Values of Games with a Priori Unions, 1977; Lundberg and Lee, A Unified Approach to Interpreting Model
    /// Predictions, NeurIPS 2017.
    PartitionShapSettings {
        /// The groups: `clauses`, `balanced`, `flat`, or nested lists of unit numbers such as `[[0, 1], [2, [3, 4]]]`,
        /// each list of at most 12 parts. Default: `clauses` for words and tokens, else `balanced`.
        pub hierarchy: Option<Hierarchy>,
        /// Different masks evaluated at most, for each target, 2 to `limits.max_evaluations`. Default 500; `flat`: all.
        #[schema(minimum = 2)]
        pub max_evaluations: Option<usize>,
        /// Adds the matrix `interactions`; with the hierarchy `flat` alone. Default false.
        pub interactions: Option<bool>,
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    #[serde(flatten)]
    units: Choice,
    hierarchy: Hierarchy,
    max_evaluations: usize,
    interactions: bool,
    output: OutputSpace,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
    /// Rows of one target at most.
    #[serde(skip)]
    rows: usize,
}

impl Method for PartitionShap {
    const NAME: &'static str = "partition_shap";
    const GROUP: &'static str = "perturbation";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(mut settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let mut units = Choice::resolve(settings.units(), subject)?;
        let players = units.settle(subject);
        let hierarchy = hierarchy(settings.hierarchy, units.unit, subject.input)?;
        let flat = hierarchy == Hierarchy::Rule(Rule::Flat);
        let (limit, from) = (subject.max_evaluations, " (limits.max_evaluations)");
        let default = if flat && few(players, limit) { EVALUATIONS.max(1 << players) } else { EVALUATIONS.min(limit) };
        let evaluations = settings.max_evaluations.unwrap_or(default);
        let max_evaluations = settings::within("max_evaluations", evaluations, 2..=limit, from)?;
        check_hierarchy(&hierarchy, players, max_evaluations)?;
        let interactions = settings.interactions.unwrap_or(false);
        if interactions && !flat {
            let detail = "interactions are those of Shapley values; add \"hierarchy\": \"flat\", or use kernel_shap";
            return Err(SettingError::new("interactions", detail));
        }
        Ok(Resolved {
            units,
            hierarchy,
            max_evaluations,
            interactions,
            output: settings::output(settings.output, OutputSpace::Probability, subject)?,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::precision(settings.precision, subject)?,
            rows: if few(players, max_evaluations) { 1 << players } else { max_evaluations },
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        // Targets share what they have in common, which is everything where every group is split.
        let all = resolved.rows.saturating_mul(subject.targets.max(1));
        let rows = if resolved.rows < resolved.max_evaluations { resolved.rows } else { all };
        units::cost(rows + precision::cost(resolved.precision), subject)
    }

    fn values(resolved: &Resolved, subject: &Subject<'_>) -> usize {
        if resolved.interactions { resolved.units.entries(subject.input).pow(2) } else { 0 }
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let units = resolved.units.units(ctx.input(), ctx.seed())?;
        if units.is_empty() {
            return ctx.targets().iter().map(|target| nothing(resolved, ctx, target)).collect();
        }
        let tree = resolved.tree(ctx.input(), &units)?;
        let masking = Masking { units: &units, fill: resolved.units.fill, precision: resolved.precision };
        let mut game = Game::new(ctx, masking, resolved.output)?;
        let show = Show { choice: &resolved.units, presentation: resolved.presentation, ctx, units: &units };
        let mut values: Vec<Owen> = Vec::new();
        for target in 0..game.targets() {
            let refined = |game: &Game<'_>, owen: Owen| {
                let mut all = [values.clone(), vec![owen]].concat();
                for later in all.len()..game.targets() {
                    all.push(unsplit(game, &tree, later)?);
                }
                let answer = |(index, owen)| answer(&show, game, (index, owen), None, None);
                ctx.refine(all.into_iter().enumerate().map(answer).collect::<Result<_, Error>>()?);
                Ok(())
            };
            let refined = ctx.followed().then_some(&refined as Refined<'_>);
            let found = owen(&mut game, &tree, target, resolved.max_evaluations, refined)?;
            values.push(found);
        }
        let check = game.check()?;
        let answers = values.into_iter().zip(ctx.targets()).enumerate().map(|(index, (owen, target))| {
            warn(ctx, resolved, &owen, &target.to_string());
            let table = if resolved.interactions && owen.unsplit == 0 { exact::table(&game, index)? } else { None };
            let interactions = table.map(|table| exact::interactions(&table, game.players(), &owen.scores));
            answer(&show, &game, (index, owen), interactions.as_deref(), check.as_ref())
        });
        answers.collect()
    }
}

impl Resolved {
    fn tree(&self, input: &Input, units: &Units) -> Result<Tree, Error> {
        match &self.hierarchy {
            Hierarchy::Rule(rule) => Ok(Tree::by_rule(*rule, input, units)),
            Hierarchy::Groups(groups) => {
                Tree::named(groups, units.len()).map_err(|_| Error::Missing { what: "the units of the hierarchy" })
            }
        }
    }
}

fn hierarchy(asked: Option<Hierarchy>, unit: UnitKind, input: &Input) -> Result<Hierarchy, SettingError> {
    let words = matches!(unit, UnitKind::Word | UnitKind::Token);
    let default = if words { Rule::Clauses } else { Rule::Balanced };
    let hierarchy = asked.unwrap_or(Hierarchy::Rule(default));
    if hierarchy == Hierarchy::Rule(Rule::Clauses) && (input.kind() != Kind::Text || !words) {
        let detail = "clauses are made of a text's words or tokens; use \"balanced\"";
        return Err(SettingError::new("hierarchy", detail));
    }
    Ok(hierarchy)
}

/// The groups name every unit, and none has too many parts.
fn check_hierarchy(hierarchy: &Hierarchy, players: usize, evaluations: usize) -> Result<(), SettingError> {
    let refused = |detail: String| Err(SettingError::new("hierarchy", detail));
    match hierarchy {
        Hierarchy::Rule(Rule::Flat) if !few(players, evaluations) => refused(format!(
            "\"flat\" evaluates all coalitions: of at most {FEW} units, with 2^units within max_evaluations; here are \
             {players}. Use another hierarchy, a coarser unit, or kernel_shap"
        )),
        Hierarchy::Rule(_) => Ok(()),
        Hierarchy::Groups(groups) => match Tree::named(groups, players) {
            Err(detail) => refused(detail),
            Ok(tree) if tree.widest() > FEW => {
                refused(format!("a group has {} parts; use at most {FEW}, in groups of groups", tree.widest()))
            }
            Ok(_) => Ok(()),
        },
    }
}

/// The answer to target `index`.
fn answer(
    show: &Show<'_>,
    game: &Game<'_>,
    (index, owen): (usize, Owen),
    interactions: Option<&[f64]>,
    check: Option<&precision::Check>,
) -> Result<Attribution, Error> {
    let check = check.map(|check| (check, index));
    let mut answer = show.answer(game.ends(index)?, &outcome(owen), interactions, check)?;
    // Nothing is sampled.
    answer.diagnostics.samples = None;
    Ok(answer)
}

fn outcome(owen: Owen) -> Outcome {
    let exact = owen.unsplit == 0;
    Outcome {
        scores: owen.scores,
        errors: None,
        samples: 0,
        evaluations: owen.evaluations,
        exact,
        converged: Some(exact),
        partial: owen.partial,
        unique: true,
    }
}

fn warn(ctx: &dyn Ctx, resolved: &Resolved, owen: &Owen, label: &str) {
    if owen.unsplit > 0 && !owen.partial {
        let detail = format!(
            "partition_shap of \"{label}\" left {} groups unsplit after {} evaluations (max_evaluations {}) and spread \
             their share evenly over their units; raise max_evaluations",
            owen.unsplit, owen.evaluations, resolved.max_evaluations
        );
        ctx.warn("not_converged", detail);
    }
}

fn nothing(resolved: &Resolved, ctx: &dyn Ctx, target: &crate::tasks::Target) -> Result<Attribution, Error> {
    let mut attribution = units::nothing(&resolved.units, ctx, target, resolved.output, true)?;
    let diagnostics = std::mem::take(&mut attribution.diagnostics);
    attribution.diagnostics = Diagnostics { converged: Some(true), ..diagnostics };
    Ok(attribution)
}

#[cfg(test)]
mod tests;
