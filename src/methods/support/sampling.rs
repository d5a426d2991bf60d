//! Means over random variants of the input, drawn until their standard errors are small enough.

use serde::Serialize;

use super::settings;
use super::spread::largest;
use super::time;
use crate::methods::{Attribution, Ctx, Error, Objective, Pass, SettingError, WriteEmbedding};
use crate::models::TapPlan;
use crate::nn::Rule;

/// Samples before an error is first looked at: fewer say too little about it.
const FIRST: usize = 16;
/// Samples at most, where nothing is said.
const MOST: usize = 512;

/// How many samples are drawn.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sampling {
    /// Null: drawn until `tolerance`.
    pub samples: Option<usize>,
    pub max_evaluations: usize,
    pub tolerance: f64,
}

impl Sampling {
    /// `beside`: rows that a method takes beside its samples.
    pub fn resolve(
        samples: Option<usize>,
        max_evaluations: Option<usize>,
        tolerance: Option<f64>,
        beside: usize,
        limit: usize,
    ) -> Result<Self, SettingError> {
        let tolerance = settings::tolerance(tolerance, 0.05)?;
        if limit < beside + 2 {
            let detail = format!("limits.max_evaluations is below {}, too few for two samples; raise it", beside + 2);
            return Err(SettingError::new("", detail));
        }
        let most = max_evaluations.unwrap_or((MOST + beside).min(limit));
        let most = settings::within("max_evaluations", most, beside + 2..=limit, " (limits.max_evaluations)")?;
        let Some(samples) = samples else { return Ok(Self { samples, max_evaluations: most, tolerance }) };
        let why = format!(" (limits.max_evaluations less {beside} at most)");
        settings::within("samples", samples, 1..=limit - beside, &why)?;
        if max_evaluations.is_some() && samples + beside > most {
            let detail = format!(
                "{samples} samples take {} rows and max_evaluations is {most}; drop one of them",
                samples + beside
            );
            return Err(SettingError::new("samples", detail));
        }
        Ok(Self { samples: Some(samples), max_evaluations: most.max(samples + beside), tolerance })
    }

    /// Samples at most.
    pub fn most(&self, beside: usize) -> usize {
        self.samples.unwrap_or_else(|| self.max_evaluations.saturating_sub(beside))
    }
}

/// Numbers that are averaged, with their spread (Welford).
#[derive(Debug, Clone)]
pub struct Moments {
    count: usize,
    pub means: Vec<f64>,
    squares: Vec<f64>,
}

impl Moments {
    pub fn new(len: usize) -> Self {
        Self { count: 0, means: vec![0.0; len], squares: vec![0.0; len] }
    }

    pub fn add(&mut self, numbers: &[f64]) {
        self.count += 1;
        let n = self.count as f64;
        for ((mean, square), x) in self.means.iter_mut().zip(&mut self.squares).zip(numbers) {
            let step = x - *mean;
            *mean += step / n;
            *square += step * (x - *mean);
        }
    }

    /// The means' standard errors; `None` of fewer than two samples.
    pub fn errors(&self) -> Option<Vec<f64>> {
        errors(&self.squares, self.count)
    }
}

/// Standard errors of means of `count` samples with these sums of squared deviations.
pub fn errors(squares: &[f64], count: usize) -> Option<Vec<f64>> {
    let n = count as f64;
    (count > 1).then(|| squares.iter().map(|square| (square.max(0.0) / (n - 1.0) / n).sqrt()).collect())
}

/// A target's running mean.
pub trait Estimate {
    /// The gradient of sample `sample`.
    fn add(&mut self, sample: usize, gradient: &[f32]);
    /// The finest scores so far.
    fn scores(&self) -> Vec<f64>;
    /// Their standard errors; `None` of fewer than two samples.
    fn errors(&self) -> Option<Vec<f64>>;
}

/// A target's estimate and how it ended.
pub struct Sampled<E> {
    pub estimate: E,
    pub samples: usize,
    /// Whether the largest standard error is within tolerance of the largest score.
    pub converged: bool,
    pub partial: bool,
}

struct Running<'a, E> {
    objective: &'a Objective,
    sampled: Sampled<E>,
    done: bool,
}

/// Draws samples by `write` (the number of the sample, the embedding) until each objective's own estimate is good
/// enough, or `most` are drawn. A target stops by itself, so it does not depend on the targets beside it. `show` makes an
/// attribution of what there is of an objective, by its place, after a round, where somebody follows.
pub fn sample<E: Estimate>(
    ctx: &dyn Ctx,
    objectives: &[Objective],
    sampling: &Sampling,
    most: usize,
    write: WriteEmbedding<'_>,
    new: impl Fn() -> E,
    show: impl Fn(usize, &Sampled<E>) -> Result<Attribution, Error>,
) -> Result<Vec<Sampled<E>>, Error> {
    let start = |objective| {
        let sampled = Sampled { estimate: new(), samples: 0, converged: false, partial: false };
        Running { objective, sampled, done: false }
    };
    let mut running: Vec<Running<'_, E>> = objectives.iter().map(start).collect();
    let mut drawn = 0;
    while drawn < most {
        let size = if sampling.samples.is_some() { most } else { most.min((2 * drawn).max(FIRST)) };
        let drawing = draw(ctx, drawn, size, write, &mut running);
        if let Err(error) = drawing {
            let enough = running.iter().all(|target| target.done || target.sampled.samples > 1);
            if !(enough && time::ends_early(ctx, &error)) {
                return Err(error);
            }
            running.iter_mut().filter(|target| !target.done).for_each(|target| target.sampled.partial = true);
            break;
        }
        drawn = size;
        for target in running.iter_mut().filter(|target| !target.done) {
            target.sampled.converged = converged(&target.sampled.estimate, sampling.tolerance);
            target.done = target.sampled.converged;
        }
        if running.iter().all(|target| target.done) {
            break;
        }
        if drawn < most && ctx.followed() {
            let shown = running.iter().enumerate().map(|(place, target)| show(place, &target.sampled));
            ctx.refine(shown.collect::<Result<_, _>>()?);
        }
    }
    Ok(running.into_iter().map(|target| target.sampled).collect())
}

/// Adds the samples `drawn..size` to the targets that still run.
fn draw<E: Estimate>(
    ctx: &dyn Ctx,
    drawn: usize,
    size: usize,
    write: WriteEmbedding<'_>,
    running: &mut [Running<'_, E>],
) -> Result<(), Error> {
    let mut active: Vec<&mut Running<'_, E>> = running.iter_mut().filter(|target| !target.done).collect();
    let objectives: Vec<Objective> = active.iter().map(|target| target.objective.clone()).collect();
    let shifted = |row: usize, out: &mut [f32]| write(drawn + row, out);
    let pass = Pass {
        rows: size - drawn,
        embedding: Some(&shifted),
        objectives: &objectives,
        rule: Rule::Gradient,
        taps: TapPlan::default(),
    };
    ctx.pass(&pass, &mut |view| {
        for (target, gradient) in active.iter_mut().zip(view.gradients) {
            target.sampled.estimate.add(drawn + view.row, gradient);
            target.sampled.samples += 1;
        }
        Ok(())
    })
}

fn converged(estimate: &impl Estimate, tolerance: f64) -> bool {
    let error = estimate.errors().map(|errors| largest(&errors));
    error.is_some_and(|error| error <= tolerance * largest(&estimate.scores()))
}

/// Says that the samples did not suffice, unless their number was the caller's choice.
pub fn warn<E: Estimate>(
    ctx: &dyn Ctx,
    method: &str,
    sampling: &Sampling,
    objective: &Objective,
    sampled: &Sampled<E>,
) {
    if sampling.samples.is_none() && !sampled.converged && !sampled.partial {
        let detail = format!(
            "{method} of \"{}\" has standard errors beyond tolerance {} of its largest score after {} samples; raise \
             max_evaluations or tolerance",
            objective.target, sampling.tolerance, sampled.samples
        );
        ctx.warn("not_converged", detail);
    }
}
