//! `decision_tree`: settings and answer. The masks are lime's (`support::surrogate`), the tree is
//! `numerics::regression_tree`.

use serde::Serialize;

use super::support::settings::{self, Precision, Presentation};
use super::support::surrogate::{self, Mode, Plan, Sampled, drawing};
use super::support::units::{self, Choice, Scored, few, perturbation_settings};
use super::support::{naming, precision, time};
use super::{Attribution, Cost, Ctx, Diagnostics, Error, Method, SettingError, Subject, Tree};
use crate::input::Kind;
use crate::input::units::Units;
use crate::models::Capability;
use crate::numerics::regression_tree::{self, Node, Samples};
use crate::tasks::{OutputSpace, Target};

const MOST_DEPTH: usize = 8;

pub struct DecisionTree;

perturbation_settings! {
    /// A small decision tree that says what the output is by which words or image regions are there.
    ///
    /// # What it computes
    /// The regression tree (CART, squared error) of at most `depth` levels over the masks that `lime` draws, with lime's
    /// weights: at most 12 units whose 2^units masks fit into `max_evaluations` are enumerated, all but the full one (a
    /// single unit: with it), each weighted by the chance that lime draws it times its kernel; more are drawn. A split
    /// asks for the unit that takes the most off the weighted squared error, the first of equals; each leaf has at least
    /// `min_weight` of all weight (a single unit is always split). `tree` is it, `rules` its leaves in words, those where the units are there first, and
    /// `diagnostics.r2` how much of the output's weighted variance it explains.
    ///
    /// # Settings
    /// A unit's score is the share of the variance that its splits explain, positive where the output is higher with
    /// the unit there and negative where it is lower; a unit that is asked for twice with different signs gets the sum.
    /// So the absolute scores add up to R² at most. `samples` fixes the number of draws, the input being the first.
    ///
    /// # Same numbers as
    /// scikit-learn 1.9.1, `DecisionTreeRegressor(max_depth, min_weight_fraction_leaf)` on the same masks, weights and
    /// outputs: splits, leaves, R² and unsigned importances within 1e-6, where no two splits are equally good
    /// (scikit-learn draws one, and splits on where nothing is gained).
    ///
    /// # Limits
    /// A tree this small shows interactions (one unit matters only where another is there) and no more units than it has
    /// splits. A low `diagnostics.r2` says that it does not describe the output.
    ///
    /// Breiman, Friedman, Olshen and Stone, Classification and Regression Trees, 1984; Craven and Shavlik, Extracting
    /// Tree-Structured Representations of Trained Networks, NIPS 1995.
    DecisionTreeSettings {
        /// Levels of splits, 1 to 8. Default 3.
        #[schema(minimum = 1, maximum = 8)]
        pub depth: Option<usize>,
        /// Least share of all weight in a leaf, from 0 to less than one half. Default 0.01.
        #[schema(minimum = 0, exclusive_maximum = 0.5)]
        pub min_weight: Option<f64>,
        /// Draws, repeated masks counted; 2 to `limits.max_evaluations`. Default: none, all masks of few units, else as
        /// many as `max_evaluations` allows.
        #[schema(minimum = 2)]
        pub samples: Option<usize>,
        /// Different masks evaluated at most, 4 to `limits.max_evaluations`. Default: text 5000, image 1000. With
        /// `samples`, no less than these.
        #[schema(minimum = 4)]
        pub max_evaluations: Option<usize>,
        /// Width of lime's kernel, in cosine distance × 100 (text) or cosine distance (images); more than 0. Default: text 25,
        /// image 0.25.
        #[schema(exclusive_minimum = 0)]
        pub kernel_width: Option<f64>,
    }
}

#[derive(Debug, Serialize)]
pub struct Resolved {
    #[serde(flatten)]
    units: Choice,
    depth: usize,
    min_weight: f64,
    samples: Option<usize>,
    max_evaluations: usize,
    kernel_width: f64,
    output: OutputSpace,
    #[serde(flatten)]
    presentation: Presentation,
    precision: Precision,
}

impl Method for DecisionTree {
    const NAME: &'static str = "decision_tree";
    const GROUP: &'static str = "perturbation";
    const REQUIRES: &'static [Capability] = &[Capability::Forward];
    const INPUTS: &'static [Kind] = &[Kind::Text, Kind::Image];
    const TARGETED: bool = true;
    const ADDS_UP: bool = false;
    type Settings = Settings;
    type Resolved = Resolved;

    fn resolve(mut settings: Settings, subject: &Subject<'_>) -> Result<Resolved, SettingError> {
        let kernel_width = drawing::width(settings.kernel_width, subject)?;
        let min_weight = settings.min_weight.unwrap_or(0.01);
        if !(0.0..0.5).contains(&min_weight) {
            let detail = format!("{min_weight:?} is out of range; use 0 to less than 0.5");
            return Err(SettingError::new("min_weight", detail));
        }
        let (samples, max_evaluations) = drawing::budget(settings.samples, settings.max_evaluations, subject)?;
        Ok(Resolved {
            units: Choice::resolve(settings.units(), subject)?,
            depth: settings::within("depth", settings.depth.unwrap_or(3), 1..=MOST_DEPTH, "")?,
            min_weight,
            samples,
            max_evaluations,
            kernel_width,
            output: settings::output(settings.output, OutputSpace::Probability, subject)?,
            presentation: Presentation::new(settings.normalize, settings.absolute),
            precision: settings::precision(settings.precision, subject)?,
        })
    }

    fn cost(resolved: &Resolved, subject: &Subject<'_>) -> Cost {
        let rows = match resolved.units.count() {
            Some(units) if resolved.mode(units) == Mode::Exact => 1 << units,
            _ => resolved.samples.map_or(resolved.max_evaluations, |samples| samples + 1),
        };
        units::cost(rows + precision::cost(resolved.precision), subject)
    }

    fn explain(resolved: &Resolved, ctx: &dyn Ctx) -> Result<Vec<Attribution>, Error> {
        let units = resolved.units.units(ctx.input(), ctx.seed())?;
        if units.is_empty() {
            return ctx.targets().iter().map(|target| nothing(resolved, ctx, target)).collect();
        }
        let (kernel, draw) = drawing::procedure(ctx.input().kind(), resolved.kernel_width);
        let sampled = surrogate::sample(&Plan {
            ctx,
            units: &units,
            fill: resolved.units.fill,
            precision: resolved.precision,
            output: resolved.output,
            kernel,
            draw,
            mode: resolved.mode(units.len()),
            refined: &|_| Ok(()),
        })?;
        (0..ctx.targets().len()).map(|target| resolved.of(ctx, &units, &sampled, target)).collect()
    }
}

impl Resolved {
    fn mode(&self, units: usize) -> Mode {
        match self.samples {
            Some(samples) => Mode::Fixed { samples, ridge: 0.0 },
            None if few(units, self.max_evaluations) => Mode::Exact,
            None => Mode::Adaptive { tolerance: 0.0, evaluations: self.max_evaluations },
        }
    }

    fn of(&self, ctx: &dyn Ctx, units: &Units, sampled: &Sampled, target: usize) -> Result<Attribution, Error> {
        let one = |row: usize, column: usize| sampled.masks[row].contains(column);
        let samples = Samples {
            rows: sampled.masks.len(),
            columns: units.len(),
            one: &one,
            weights: &sampled.mass,
            values: &sampled.values[target],
        };
        // Of a single unit there are two masks, and the kernel gives one of them next to nothing.
        let least = if units.len() == 1 { 0.0 } else { self.min_weight };
        let tree = regression_tree::grow(&samples, self.depth, least, &|| time::left(ctx).map(drop))?;
        let tree = tree.ok_or(Error::Missing { what: "a mask of any weight" })?;
        let mut scores = vec![0.0; units.len()];
        let explained = credit(&tree.root, tree.spread, &mut scores);
        let (base, output) = sampled.ends[target];
        let scored = Scored { scores: &scores, errors: None, base, output, complete: false };
        let mut attribution = units::answer(&self.units, self.presentation, ctx.input(), units, &scored)?;
        // A constant is explained in full.
        let r2 = if tree.spread > 0.0 { explained } else { 1.0 };
        let error = sampled.precision_errors.as_ref().and_then(|errors| errors.get(target)).copied();
        attribution.partial = sampled.partial;
        attribution.diagnostics = Diagnostics {
            evaluations: sampled.evaluations,
            exact: Some(sampled.exact),
            samples: Some(sampled.samples),
            r2: Some(settings::float(r2, "r²")?),
            precision_error: error.map(|error| settings::float(error, "the precision's error")).transpose()?,
            ..Diagnostics::default()
        };
        attribution.tree = Some(shown(&tree.root, units)?);
        let mut rules = Vec::new();
        tell(&tree.root, &|unit| naming::name(ctx.input(), units, unit), &mut Vec::new(), &mut rules);
        attribution.rules = Some(rules);
        Ok(attribution)
    }
}

/// Adds each split's share of the variance to its unit's score, with the sign of the difference it makes; returns the
/// shares' sum.
fn credit(node: &Node, spread: f64, scores: &mut [f64]) -> f64 {
    let Node::Split { column, gain, zero, one } = node else { return 0.0 };
    let share = if spread > 0.0 { gain / spread } else { 0.0 };
    let sign = if one.mean().1 >= zero.mean().1 { 1.0 } else { -1.0 };
    scores[*column] += sign * share;
    share + credit(zero, spread, scores) + credit(one, spread, scores)
}

/// As the answer has it.
fn shown(node: &Node, units: &Units) -> Result<Tree, Error> {
    Ok(match node {
        Node::Leaf { mean, .. } => Tree::Leaf { value: settings::float(*mean, "a leaf's value")? },
        Node::Split { column, zero, one, .. } => Tree::Split {
            unit: naming::index(units, *column),
            absent: Box::new(shown(zero, units)?),
            present: Box::new(shown(one, units)?),
        },
    })
}

/// One sentence a leaf.
fn tell(node: &Node, name: &dyn Fn(usize) -> String, path: &mut Vec<String>, rules: &mut Vec<String>) {
    match node {
        Node::Leaf { mean, .. } if path.is_empty() => rules.push(format!("whatever is taken away: {mean:.3}")),
        Node::Leaf { mean, .. } => rules.push(format!("{}: {mean:.3}", naming::list(path))),
        Node::Split { column, zero, one, .. } => {
            for (side, verb) in [(one, "stays"), (zero, "goes")] {
                path.push(format!("{} {verb}", name(*column)));
                tell(side, name, path, rules);
                path.pop();
            }
        }
    }
}

/// A text without units: a leaf.
fn nothing(resolved: &Resolved, ctx: &dyn Ctx, target: &Target) -> Result<Attribution, Error> {
    let mut attribution = units::nothing(&resolved.units, ctx, target, resolved.output, false)?;
    let value = attribution.output_value.unwrap_or_default();
    attribution.diagnostics.samples = Some(0);
    attribution.diagnostics.r2 = Some(1.0);
    attribution.tree = Some(Tree::Leaf { value });
    attribution.rules = Some(vec![format!("there is nothing to take away: {value:.3}")]);
    Ok(attribution)
}

#[cfg(test)]
mod tests;
