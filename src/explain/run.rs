//! Calls the methods of a plan and puts the answer together. `engine` calls [`run`] on a job's own thread; `http` and
//! `cli` send [`to_bytes`].

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::faithfulness::{Again, Effort, Evaluate, Measured};
use super::finite::not_finite;
use super::outcome::{ImageView, InputView, ModelIdentity, ResolvedRequest, TextView};
use super::provenance::provenance;
use super::{Answer, Audience, Explanation, Plan, ServedModel, Stage, reasons};
use crate::input::{Input, Kind};
use crate::methods::{self, Cost, Ctx, Grid, Planned, Warning};
use crate::nn::{self, Stopped};
use crate::tasks::{Explained, OutputSpace, Target, Task};

/// Why a planned request gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// 504 or nobody there to answer.
    #[error(transparent)]
    Stopped(nn::Stopped),
    /// A target that only the prediction could show to be wrong, or a method that only the forward could.
    #[error("{detail}")]
    Invalid { pointer: String, detail: String },
    #[error("{method}: {error}")]
    Method { method: &'static str, error: methods::Error },
    /// A method broke its contract.
    #[error("{method}: {found} attributions for {expected} targets")]
    Count { method: &'static str, found: usize, expected: usize },
    #[error(transparent)]
    Model(nn::Error),
    /// `place` is where in the answer.
    #[error("{place} is not finite")]
    NotFinite { place: String },
    #[error("the answer could not be written: {0}")]
    Write(#[from] serde_json::Error),
}

impl RunError {
    /// Whether the deadline or the caller, not the work, ended it.
    pub fn stopped(&self) -> Option<Stopped> {
        match self {
            Self::Stopped(why) | Self::Model(nn::Error::Stopped(why)) => Some(*why),
            Self::Method { error, .. } => error.stopped(),
            _ => None,
        }
    }
}

/// What `run` needs beyond a method's [`Ctx`].
pub trait Job: Ctx {
    /// Milliseconds since the job began, for `elapsed_ms` alone.
    fn elapsed_ms(&self) -> f32;
    fn threads(&self) -> usize;
    /// Where the model computes, as `compute.device` names it.
    fn device(&self) -> &'static str;
    /// The whole input's logits, for the prediction.
    fn whole_logits(&self) -> &[f32];
    /// The warnings so far, in order.
    fn warnings(&self) -> Vec<Warning>;
    /// All methods have run: from here on explanations are measured, and what measuring shares may be used.
    fn measures(&self) {}
    /// Who follows the job.
    fn audience(&self) -> &dyn Audience;
}

/// Runs every method. `job`'s targets are those of the plan.
///
/// Past the deadline a plan with `partial` answers with what there is, anything else is [`RunError::Stopped`].
pub fn run(plan: &Plan, job: &dyn Job) -> Result<Answer, RunError> {
    let explained = plan.task.explained(&plan.target, job.input(), job.targets());
    let mut explanations: Vec<Explanation> = Vec::new();
    let mut places = Vec::new();
    let mut cut = false;
    for (index, method) in plan.methods.iter().enumerate() {
        let pointer = plan.pointers.get(index).map_or("/explain", String::as_str);
        let first = explanations.len();
        match explain(plan, &**method, pointer, (&explained, first), job) {
            Ok(found) => {
                places.push(first..first + found.len());
                explanations.extend(found);
            }
            Err(RunError::Stopped(Stopped::Deadline)) if plan.partial => {
                cut = true;
                break;
            }
            Err(error) => return Err(error),
        }
    }
    if let Some(evaluation) = &plan.evaluate {
        job.measures();
        for ((method, cost), places) in plan.methods.iter().zip(&evaluation.costs).zip(places) {
            let found = (places.start, &mut explanations[places]);
            cut |= !evaluate(plan, (&**method, *cost, evaluation.effort), &explained, found, cut, job)?;
        }
    }
    let answer = Answer {
        id: plan.id.clone(),
        model: identity(&plan.model, &*plan.task),
        helpers: plan.helpers.iter().map(|model| identity(model, &*model.task)).collect(),
        request: resolved_request(plan, &explained),
        input: input_view(plan, job.input()),
        prediction: plan.task.prediction(job.input(), job.whole_logits()),
        partial: cut || explanations.iter().any(|explanation| explanation.attribution.partial),
        explanations: plan.explains.then_some(explanations),
        warnings: plan.warnings.iter().cloned().chain(job.warnings()).collect(),
        provenance: provenance(job.threads(), job.device()),
    };
    match not_finite(&answer) {
        Some(place) => Err(RunError::NotFinite { place }),
        None => Ok(answer),
    }
}

/// One method's explanations of what is `explained`, the first of them at `first` of the answer. `pointer` is its item's.
fn explain(
    plan: &Plan,
    method: &dyn Planned,
    pointer: &str,
    (explained, first): (&[Explained], usize),
    job: &dyn Job,
) -> Result<Vec<Explanation>, RunError> {
    let stage = Stage::new(method, (job.targets(), explained), job.input(), first, job.elapsed_ms());
    let audience = job.audience();
    if audience.listens() {
        audience.begins(stage.clone());
    }
    let attributions = method.explain(job).map_err(|error| match &error {
        methods::Error::Model(nn::Error::NoRule { .. }) => {
            RunError::Invalid { pointer: pointer.to_owned(), detail: error.to_string() }
        }
        _ => failed(method, error),
    })?;
    if attributions.len() != stage.attributions {
        let (found, expected) = (attributions.len(), stage.attributions);
        return Err(RunError::Count { method: method.method(), found, expected });
    }
    let mut explanations = stage.explanations(attributions, job.elapsed_ms());
    if let Some(count) = plan.reasons {
        explanations.iter_mut().for_each(|one| one.reasons = Some(reasons::of(one, job.input(), count)));
    }
    // What is measured later is final later.
    if audience.listens() && plan.evaluate.is_none() {
        explanations.iter().zip(first..).for_each(|(explanation, index)| audience.explained(index, explanation));
    }
    Ok(explanations)
}

fn failed(method: &dyn Planned, error: methods::Error) -> RunError {
    match error.stopped() {
        Some(why) => RunError::Stopped(why),
        None => RunError::Method { method: method.method(), error },
    }
}

/// Measures the explanations of `method`, of which the first is at `first` of the answer; false where the deadline ended
/// it, or had `passed` before, and the caller wants what there is.
fn evaluate(
    plan: &Plan,
    (method, cost, effort): (&dyn Planned, Cost, Effort),
    explained: &[Explained],
    (first, explanations): (usize, &mut [Explanation]),
    passed: bool,
    job: &dyn Job,
) -> Result<bool, RunError> {
    let audience = job.audience();
    if audience.listens() {
        let stage = Stage::new(method, (job.targets(), explained), job.input(), first, job.elapsed_ms());
        audience.begins(Stage { budget: cost.rows, ..stage });
    }
    let output = match plan.task.outputs(&plan.target).has(OutputSpace::Probability) {
        true => OutputSpace::Probability,
        false => OutputSpace::Logit,
    };
    let mut in_time = true;
    let all = explanations.iter().map(|explanation| explanation.attribution.diagnostics.evaluations).sum::<usize>();
    let once = all.min(usize::try_from(method.cost().rows).unwrap_or(usize::MAX));
    let again = Again::default();
    for (place, explanation) in explanations.iter_mut().enumerate() {
        let Explanation { attribution, target, .. } = &*explanation;
        let Some(target) = target.as_ref().or(job.targets().first()) else { continue };
        // A completion is measured token by token, where they are asked for.
        if matches!(target, Target::Completion(_)) {
            explanation.faithfulness = Some(None);
            continue;
        }
        let known = job.targets().iter().position(|known| known == target).filter(|_| method.targeted());
        let own = known.unwrap_or(0);
        let measured = Measured {
            ctx: job,
            planned: method,
            place: own,
            attribution,
            target,
            output,
            effort,
            once,
            again: &again,
        };
        let measured = match passed || !in_time {
            true => Err(nn::Error::Stopped(Stopped::Deadline).into()),
            false => measured.faithfulness(),
        };
        let found = match measured {
            Ok(found) => found,
            Err(error) if plan.partial && error.stopped() == Some(Stopped::Deadline) => {
                in_time = false;
                explanation.attribution.partial = true;
                None
            }
            Err(error) => return Err(failed(method, error)),
        };
        explanation.faithfulness = Some(found.map(Box::new));
        if audience.listens() {
            audience.explained(first + place, explanation);
        }
    }
    Ok(in_time)
}

fn identity(model: &ServedModel, task: &dyn Task) -> ModelIdentity {
    ModelIdentity {
        name: model.name.clone(),
        source: model.source.clone(),
        revision: model.revision.clone(),
        sha256: model.sha256.clone(),
        architecture: model.model.spec().architecture.clone(),
        task: task.name().to_owned(),
    }
}

fn resolved_request(plan: &Plan, explained: &[Explained]) -> ResolvedRequest {
    ResolvedRequest {
        model: plan.model.name.clone(),
        target: explained.iter().map(|one| one.target.clone()).collect(),
        labels: plan.hypotheses.as_ref().map(|asked| asked.labels.clone()),
        hypothesis_template: plan.hypotheses.as_ref().and_then(|_| plan.task.template().map(str::to_owned)),
        multi_label: plan.hypotheses.as_ref().map(|asked| asked.multi_label),
        explain: plan.explains.then(|| plan.methods.iter().map(|method| resolved_item(&**method)).collect()),
        evaluate: plan.evaluate.as_ref().map_or(Evaluate::Whether(false), |evaluation| evaluation.asked),
        reasons: plan.reasons,
        generate: plan.generation.clone(),
        truncation: (plan.input.kind() == Kind::Text).then_some(plan.truncation),
        deadline_ms: plan.deadline_ms,
        partial: plan.partial,
        seed: plan.seed,
        echo: plan.echo,
    }
}

/// An item of `explain` with all of its settings, as it could be sent again.
fn resolved_item(method: &dyn Planned) -> Value {
    let mut item = Map::new();
    item.insert("method".to_owned(), method.method().into());
    if let Value::Object(settings) = method.settings() {
        item.extend(settings.clone());
    }
    Value::Object(item)
}

fn input_view(plan: &Plan, input: &Input) -> InputView {
    match input {
        Input::Text(text) => InputView::Text(TextView {
            kind: Kind::Text,
            sha256: text.sha256.clone(),
            text: (plan.echo || plan.messages.is_some()).then(|| text.text.clone()),
            messages: plan.messages.clone().filter(|_| plan.echo),
            pair: text.pair.clone().filter(|_| plan.echo),
            tokens: text.own_tokens().to_vec(),
            completion: text.continuation.as_ref().map(|continuation| continuation.tokens.clone()),
            words: text.words.clone(),
        }),
        Input::Image(image) => {
            let spec = plan.model.model.spec().image.as_ref();
            InputView::Image(ImageView {
                kind: Kind::Image,
                sha256: image.sha256.clone(),
                image: plan.echo.then(|| STANDARD.encode(&image.bytes)),
                width: image.width,
                height: image.height,
                grid: spec
                    .map_or(Grid { rows: 1, cols: 1 }, |spec| Grid { rows: spec.grid_rows, cols: spec.grid_cols }),
                region: image.region,
                sequence: spec.map(|spec| spec.sequence.clone()).unwrap_or_default(),
            })
        }
    }
}

/// The bytes of an answer, as HTTP and the command line send them: f32 numbers in their shortest form.
pub fn to_bytes(answer: &Answer) -> Result<Vec<u8>, RunError> {
    Ok(serde_json::to_vec(answer)?)
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
