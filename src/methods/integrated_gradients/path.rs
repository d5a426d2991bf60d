//! The integral of gradients along a straight path, for all targets at once, refined until it is good enough.
//!
//! A gradient is reduced to its finest scores at once and added to the sum of every rule that has the node: memory is
//! rules × scores × targets, whatever the number of nodes.

use crate::methods::support::finest::Sums;
use crate::methods::support::{gradients, time};
use crate::methods::{Ctx, Error, Objective, Pass, RowView};
use crate::models::TapPlan;
use crate::nn::Rule;
use crate::numerics::quadrature;

/// Rules over one list of nodes: each uses the first `sizes[rule]`.
pub struct Ladder {
    nodes: Vec<f64>,
    sizes: Vec<usize>,
    weights: Vec<Vec<f64>>,
}

impl Ladder {
    /// One Gauss-Legendre rule.
    pub fn fixed(steps: usize) -> Self {
        let rule = quadrature::gauss_legendre(steps);
        Self { nodes: rule.nodes, sizes: vec![steps], weights: vec![rule.weights] }
    }

    /// The nested rules up to `last`.
    pub fn nested(last: usize) -> Self {
        let sizes = quadrature::NESTED.iter().take(last + 1).copied().collect::<Vec<_>>();
        let weights = (0..sizes.len()).map(quadrature::nested_weights).collect();
        Self { nodes: quadrature::nested_nodes(), sizes, weights }
    }
}

/// One target's integral.
#[derive(Debug, Clone)]
pub struct PathResult {
    pub scores: Vec<f64>,
    /// The target's output at the baseline and at the input.
    pub base: f64,
    pub output: f64,
    pub nodes: usize,
    /// Distinct model rows: the nodes, the baseline and the input.
    pub evaluations: usize,
    pub converged: bool,
    pub partial: bool,
}

impl PathResult {
    /// What the scores leave of the change of the output.
    pub fn residual(&self) -> f64 {
        self.output - self.base - self.scores.iter().sum::<f64>()
    }
}

/// The error of the last of `rules`, from how far the scores moved between them: a step is about the error of the rule
/// before it. Along a smooth path errors shrink geometrically with the number of nodes, and each rule adds twice as
/// many as the one before, so the last step shrinks by the square of what it shrank by itself. 0 where there is but
/// one rule.
fn estimated_error(rules: &[Vec<f64>]) -> f64 {
    let moved = |pair: &[Vec<f64>]| {
        let differences = pair[1].iter().zip(&pair[0]).map(|(new, old)| (new - old).abs());
        differences.fold(0.0, f64::max)
    };
    let moves: Vec<f64> = rules.windows(2).map(moved).collect();
    match moves.as_slice() {
        [] => 0.0,
        [.., before, last] if last < before => last * (last / before).powi(2),
        [.., last] => *last,
    }
}

pub struct Path<'a> {
    pub ctx: &'a dyn Ctx,
    pub input: Vec<f32>,
    pub baseline: Vec<f32>,
    pub sums: Sums,
    pub objectives: &'a [Objective],
    pub tolerance: f64,
    /// The tolerance is relative to the change of the output, but to no less than this.
    pub least_change: f64,
    /// Shown what there is after a rule that was not enough, where the job is followed.
    pub refined: &'a dyn Fn(Vec<PathResult>) -> Result<(), Error>,
}

/// A target on its way.
struct Running<'a> {
    objective: &'a Objective,
    base: f64,
    output: f64,
    /// One list of scores a rule.
    rules: Vec<Vec<f64>>,
    result: Option<PathResult>,
}

impl<'a> Path<'a> {
    /// One result per objective. Each stops at its own first rule that is good enough, so it does not depend on the
    /// targets beside it.
    pub fn integrate(&self, ladder: &Ladder) -> Result<Vec<PathResult>, Error> {
        let step = gradients::step(&self.input, &self.baseline);
        if step.iter().all(|&step| step == 0.0) {
            return Ok(self.nothing_to_do());
        }
        let mut running = self.start(ladder);
        let mut done = 0;
        // The first three rules come from one pass: fewer say too little about their error to stop at.
        let mut rule = 2.min(ladder.sizes.len() - 1);
        loop {
            match self.extend(ladder, &step, ladder.sizes[rule], &mut done, &mut running) {
                Ok(()) => self.settle(ladder, rule, &mut running),
                Err(error) => {
                    let complete = ladder.sizes.iter().rposition(|&size| size <= done);
                    let Some(rule) = complete.filter(|_| time::ends_early(self.ctx, &error)) else { return Err(error) };
                    for target in running.iter_mut().filter(|target| target.result.is_none()) {
                        target.result = Some(self.result(ladder, rule, target, false, true));
                    }
                }
            }
            if running.iter().all(|target| target.result.is_some()) {
                return Ok(running.into_iter().filter_map(|target| target.result).collect());
            }
            if self.ctx.followed() {
                let so_far = |target: &Running<'_>| self.result(ladder, rule, target, false, false);
                let shown = running.iter().map(|target| target.result.clone().unwrap_or_else(|| so_far(target)));
                (self.refined)(shown.collect())?;
            }
            rule += 1;
        }
    }

    /// The input is its own baseline: a text without words.
    fn nothing_to_do(&self) -> Vec<PathResult> {
        let result = |objective: &Objective| {
            let output = self.ctx.task().value(self.ctx.logits(), &objective.target, objective.output);
            let scores = vec![0.0; self.sums.count()];
            PathResult { scores, base: output, output, nodes: 0, evaluations: 1, converged: true, partial: false }
        };
        self.objectives.iter().map(result).collect()
    }

    /// No node is evaluated yet; the output at the input is the request's prediction.
    fn start(&self, ladder: &Ladder) -> Vec<Running<'a>> {
        let running = |objective: &'a Objective| Running {
            objective,
            base: 0.0,
            output: self.ctx.task().value(self.ctx.logits(), &objective.target, objective.output),
            rules: vec![vec![0.0; self.sums.count()]; ladder.sizes.len()],
            result: None,
        };
        self.objectives.iter().map(running).collect()
    }

    /// Adds the nodes `done..size` to every rule that has them, for the targets that still run. `done` counts on
    /// even where the pass ends early. The baseline goes in front of the first nodes: alone, it would read every
    /// weight for one row.
    fn extend(
        &self,
        ladder: &Ladder,
        step: &[f64],
        size: usize,
        done: &mut usize,
        running: &mut [Running<'_>],
    ) -> Result<(), Error> {
        let first = *done;
        let ahead = usize::from(first == 0);
        let mut active: Vec<&mut Running<'_>> = running.iter_mut().filter(|target| target.result.is_none()).collect();
        let objectives: Vec<Objective> = active.iter().map(|target| target.objective.clone()).collect();
        let write = |row: usize, out: &mut [f32]| {
            let Some(row) = row.checked_sub(ahead) else { return out.copy_from_slice(&self.baseline) };
            let alpha = ladder.nodes[first + row];
            for ((out, step), from) in out.iter_mut().zip(step).zip(&self.baseline) {
                *out = (f64::from(*from) + alpha * step) as f32;
            }
        };
        let mut terms = vec![0.0; self.sums.count()];
        let mut sink = |view: &RowView<'_>| {
            let Some(row) = view.row.checked_sub(ahead) else {
                for (target, base) in active.iter_mut().zip(view.values) {
                    target.base = *base;
                }
                return Ok(());
            };
            let node = first + row;
            for (target, gradient) in active.iter_mut().zip(view.gradients) {
                self.sums.products(step, gradient, &mut terms);
                for (rule, weights) in target.rules.iter_mut().zip(&ladder.weights) {
                    if let Some(weight) = weights.get(node) {
                        rule.iter_mut().zip(&terms).for_each(|(sum, term)| *sum += weight * term);
                    }
                }
            }
            *done = node + 1;
            Ok(())
        };
        let rows = ahead + size - first;
        let taps = TapPlan::default();
        let pass = Pass { rows, embedding: Some(&write), objectives: &objectives, rule: Rule::Gradient, taps };
        self.ctx.pass(&pass, &mut sink)
    }

    /// Gives their result to the targets that `rule` is good enough for, or to all after the last one.
    fn settle(&self, ladder: &Ladder, rule: usize, running: &mut [Running<'_>]) {
        for target in running.iter_mut().filter(|target| target.result.is_none()) {
            let converged = self.converged(rule, target);
            if converged || rule + 1 == ladder.sizes.len() {
                target.result = Some(self.result(ladder, rule, target, converged, false));
            }
        }
    }

    fn converged(&self, rule: usize, target: &Running<'_>) -> bool {
        let change = target.output - target.base;
        let allowed = self.tolerance * change.abs().max(self.least_change);
        let scores = &target.rules[rule];
        let residual = change - scores.iter().sum::<f64>();
        residual.abs() <= allowed && estimated_error(&target.rules[..=rule]) <= allowed
    }

    fn result(&self, ladder: &Ladder, rule: usize, target: &Running<'_>, converged: bool, partial: bool) -> PathResult {
        let nodes = ladder.sizes[rule];
        PathResult {
            scores: target.rules[rule].clone(),
            base: target.base,
            output: target.output,
            nodes,
            evaluations: nodes + 2,
            converged,
            partial,
        }
    }
}
