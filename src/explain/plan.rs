//! From a request to work whose size is known: the model, the input ready for it, every method's settings resolved.
//!
//! [`plan`] goes from cheap to dear: what the request alone shows, then what the model's description shows, then
//! tokenising or decoding, then the settings, whose defaults depend on all of that. Each step reports everything it
//! finds wrong.

use std::sync::Arc;

use super::items::{self, Chosen};
use super::prepare::{self, Raw};
use super::prompt::{self, Asked};
use super::{Catalog, ExplainRequest, Generation, ServedModel, bounds, faithfulness, reasons};
use crate::config::Limits;
use crate::input::text::{Message, Truncation};
use crate::input::{Input, TextInput};
use crate::methods::{Cost, Planned, Subject, Warning};
use crate::models::Model;
use crate::tasks::{Hypotheses, Labelled, TargetError, TargetSpec, Task, quote};

/// Targets that a list may name for each that may be explained: written again they count once.
const REPEATS: usize = 16;

/// The largest integer that every JSON reader keeps exactly.
const MAX_SEED: u64 = (1 << 53) - 1;

/// One thing wrong with a request: where (RFC 6901), what, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    pub pointer: String,
    pub detail: String,
}

impl Field {
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// Why a request cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// 404.
    #[error("no model is named {}; loaded are {known}", quote(name))]
    UnknownModel { name: String, known: String },
    /// 422, each with its pointer.
    #[error("the request is not valid")]
    Invalid(Vec<Field>),
    /// 413: characters or pixels over the limit.
    #[error("{detail}")]
    TooLarge { pointer: String, detail: String },
}

impl From<Field> for PlanError {
    fn from(field: Field) -> Self {
        Self::Invalid(vec![field])
    }
}

/// A request, ready to run.
pub struct Plan {
    pub id: String,
    pub model: Arc<ServedModel>,
    /// The other models that its methods ask, each once.
    pub helpers: Vec<Arc<ServedModel>>,
    /// The model's, or zero-shot over the request's labels.
    pub task: Arc<dyn Task>,
    /// Of zero-shot classification.
    pub hypotheses: Option<Hypotheses>,
    pub input: Input,
    pub target: TargetSpec,
    pub methods: Vec<Box<dyn Planned>>,
    /// Where each of them stands in the request.
    pub pointers: Vec<String>,
    /// False for `/predict`.
    pub explains: bool,
    pub seed: u64,
    pub deadline_ms: u64,
    pub partial: bool,
    /// Where explanations are measured.
    pub evaluate: Option<faithfulness::Measuring>,
    /// How many reasons of each direction are named.
    pub reasons: Option<usize>,
    pub echo: bool,
    pub truncation: Truncation,
    /// What the prompt was made of, where it is a chat's.
    pub messages: Option<Vec<Message>>,
    /// How a language model writes what is explained; `None` where it was sent.
    pub generation: Option<Generation>,
    pub warnings: Vec<Warning>,
    /// The prediction's and all methods' together.
    pub cost: Cost,
}

/// Which part of the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    Explanations,
    /// `explain`, `method` and `evaluate` are ignored.
    Prediction,
}

/// Plans `request`. `image` holds the bytes of an image that came as a body or a part rather than as base64.
pub fn plan(
    catalog: &Catalog,
    limits: &Limits,
    id: String,
    mut request: ExplainRequest,
    image: Option<Vec<u8>>,
    wanted: Wanted,
) -> Result<Plan, PlanError> {
    let named = request.model.as_deref().map(|name| catalog.named(name)).transpose()?;
    let mut fields = Vec::new();
    let raw = prepare::take(&mut request, image, limits, &mut fields)?;
    check_options(&request, limits, &mut fields);
    let model = match (named, &raw) {
        (Some(model), Some(raw)) => prepare::check_kind(model, raw).map(|()| Some(model)),
        (Some(model), None) => Ok(Some(model)),
        (None, Some(raw)) => catalog.only(raw.kind()).map(Some),
        (None, None) => Ok(None),
    };
    let model = model.unwrap_or_else(|field| {
        fields.push(field);
        None
    });
    let Some(model) = model else { return Err(PlanError::Invalid(fields)) };
    let target = request.target.take().unwrap_or(TargetSpec::Predicted);
    let hypotheses = prepare::hypotheses(&mut request, &mut fields);
    let zero_shot = prepare::zero_shot(model, hypotheses.as_ref(), limits, &mut fields)?;
    let task = zero_shot.as_ref().map_or(&*model.task, Labelled::task);
    prepare::check_pair(task, raw.as_ref(), &mut fields);
    let asked = prompt::take(&mut request, task, &mut fields);
    let (chosen, targets) = choose(model, task, &mut request, &target, limits, wanted, &mut fields);
    match raw {
        Some(raw) if fields.is_empty() => {
            let model = Arc::clone(model);
            finish(
                Checked {
                    id,
                    model,
                    catalog,
                    hypotheses,
                    zero_shot,
                    request,
                    raw,
                    asked,
                    target,
                    chosen,
                    targets,
                    wanted,
                },
                limits,
            )
        }
        _ => Err(PlanError::Invalid(fields)),
    }
}

/// What a request's scalar fields alone show.
fn check_options(request: &ExplainRequest, limits: &Limits, fields: &mut Vec<Field>) {
    if request.seed.is_some_and(|seed| seed > MAX_SEED) {
        fields.push(Field::new("/seed", format!("a seed is an integer from 0 to {MAX_SEED}")));
    }
    if request.reasons.is_some_and(|count| count == 0 || count > reasons::MOST) {
        fields.push(Field::new("/reasons", format!("reasons are from 1 to {}", reasons::MOST)));
    }
    if request.deadline_ms.is_some_and(|deadline| deadline == 0 || deadline > limits.deadline_ms) {
        let detail = format!("a deadline is from 1 to {} ms (limits.deadline_ms)", limits.deadline_ms);
        fields.push(Field::new("/deadline_ms", detail));
    }
}

/// The methods and how many targets they explain at most.
fn choose(
    model: &ServedModel,
    task: &dyn Task,
    request: &mut ExplainRequest,
    target: &TargetSpec,
    limits: &Limits,
    wanted: Wanted,
    fields: &mut Vec<Field>,
) -> (Vec<Chosen>, usize) {
    let chosen = match wanted {
        Wanted::Explanations => items::choose(request, model.model.spec(), limits.explanations, fields),
        Wanted::Prediction => Vec::new(),
    };
    // A prediction alone has no target to miss.
    let unasked = wanted == Wanted::Prediction && *target == TargetSpec::Predicted && task.needs_target();
    let checked = match target {
        _ if unasked => Ok(0),
        TargetSpec::List(list) if list.len() / REPEATS > limits.explanations => {
            fields.push(Field::new("/target", long_list(list.len(), limits.explanations)));
            return (chosen, 1);
        }
        target => task.check_target(target),
    };
    let targets = checked.unwrap_or_else(|error| {
        fields.push(wrong_target(error));
        1
    });
    let each = |chosen: &Chosen| if chosen.method.targeted() { targets } else { 1 };
    let explanations: usize = chosen.iter().map(each).sum();
    if explanations > limits.explanations {
        let detail = format!(
            "the methods and targets make {explanations} explanations and the limit is {}; send fewer of either \
             or raise limits.explanations",
            limits.explanations
        );
        // Many targets of few methods are the targets' matter.
        fields.push(Field::new(if targets > chosen.len() { "/target" } else { "/explain" }, detail));
    }
    (chosen, targets)
}

fn long_list(targets: usize, limit: usize) -> String {
    format!(
        "{targets} targets are far more than the {limit} explanations of a request (limits.explanations); send fewer, \
         each once"
    )
}

fn wrong_target(error: TargetError) -> Field {
    Field::new(format!("/target{}", error.path), error.detail)
}

/// A request that nothing but its input and its methods' settings can still make invalid.
struct Checked<'a> {
    id: String,
    model: Arc<ServedModel>,
    catalog: &'a Catalog,
    hypotheses: Option<Hypotheses>,
    zero_shot: Option<Labelled>,
    request: ExplainRequest,
    raw: Raw,
    asked: Option<Asked>,
    target: TargetSpec,
    chosen: Vec<Chosen>,
    targets: usize,
    wanted: Wanted,
}

/// Tokenises or decodes, resolves the settings and adds up the cost.
fn finish(checked: Checked<'_>, limits: &Limits) -> Result<Plan, PlanError> {
    let Checked { id, model, catalog, hypotheses, zero_shot, request, raw, asked, mut target, chosen, targets, wanted } =
        checked;
    let truncation = request.truncation.unwrap_or_default();
    let (task, behind) = match zero_shot {
        Some(labelled) => prepare::tokenised(&model, labelled, hypotheses.as_ref())?,
        None => (Arc::clone(&model.task), None),
    };
    let mut warnings = Vec::new();
    let input = match (&asked, raw) {
        (Some(asked), Raw::Text { text, .. }) => {
            let (input, more) = prompt::prepare(&model.processor, &text, asked, truncation)?;
            prompt::look_up(&mut target, &model.processor, model.model.spec())?;
            warnings.extend(input.as_text().and_then(prompt::too_long));
            warnings.extend(more);
            input
        }
        (_, raw) => prepare::prepare(&model, raw, truncation, behind.as_ref(), limits)?,
    };
    prepare::check_second(&*task, &input)?;
    task.check_text(&input).map_err(|detail| Field::new("/text", detail))?;
    if targets > 0 {
        task.check_input(&target, &input).map_err(wrong_target)?;
    }
    if asked.is_none() {
        warnings.extend(input.as_text().and_then(too_long));
    }
    let generation = asked.as_ref().and_then(Asked::generation).cloned();
    let explanations = targets;
    let targets = task.objectives(&target, &input, explanations);
    bounds::explanations(&chosen, (explanations, targets), limits.explanations)?;
    let seed = request.seed.unwrap_or(0);
    let spec = model.model.spec();
    let mut subject = Subject {
        spec,
        task: &*task,
        input: &input,
        target: &target,
        targets,
        seed,
        max_evaluations: limits.max_evaluations,
        precision: catalog.precision(),
        response_values: limits.response_values,
        helpers: catalog,
    };
    let mut fields = Vec::new();
    let mut methods: Vec<Box<dyn Planned>> = Vec::with_capacity(chosen.len());
    let pointers = chosen.iter().map(|chosen| chosen.pointer.clone()).collect();
    for method in chosen {
        match bounds::planned(method, &mut subject) {
            Ok(planned) => methods.push(planned),
            Err(field) => fields.push(field),
        }
    }
    let measured = request.evaluate.filter(|asked| wanted == Wanted::Explanations && asked.asked());
    let evaluate = measured.and_then(|asked| {
        let planned = faithfulness::plan(asked, &methods, &subject);
        planned.map_err(|error| fields.push(Field::new(format!("/evaluate{}", error.path), error.detail))).ok()
    });
    if !fields.is_empty() {
        return Err(PlanError::Invalid(fields));
    }
    let rows = task.whole(spec, &input).rows;
    let tokens: usize = rows.iter().map(|row| spec.row_tokens(row.row.len())).sum();
    let prediction = Cost { rows: rows.len() as u64, tokens: tokens as u64 };
    let writing = generation.as_ref().map(|generation| written(generation, tokens, &*model.model));
    let prediction = prediction + writing.unwrap_or_default();
    let cost = methods
        .iter()
        .map(|method| method.cost())
        .chain(evaluate.iter().flat_map(|evaluate| evaluate.costs.iter().copied()))
        .fold(prediction, |sum, cost| sum + cost);
    Ok(Plan {
        id,
        helpers: helpers(catalog, &methods),
        warnings,
        messages: asked.as_ref().and_then(Asked::messages).map(<[Message]>::to_vec),
        generation,
        input,
        target,
        methods,
        pointers,
        explains: wanted == Wanted::Explanations,
        seed,
        deadline_ms: request.deadline_ms.unwrap_or(limits.deadline_ms),
        partial: request.partial.unwrap_or(false),
        evaluate,
        reasons: request.reasons,
        echo: request.echo.unwrap_or(false),
        truncation,
        cost,
        task,
        hypotheses,
        model,
    })
}

/// The models that `methods` ask beside their own.
fn helpers(catalog: &Catalog, methods: &[Box<dyn Planned>]) -> Vec<Arc<ServedModel>> {
    let asked: Vec<&str> = methods.iter().filter_map(|method| method.asks()).collect();
    catalog.iter().filter(|model| asked.contains(&model.name.as_str())).map(Arc::clone).collect()
}

/// What writing a completion behind `tokens` tokens costs: each token is read once, or by every step where `model` must
/// read them again.
fn written(generation: &Generation, tokens: usize, model: &dyn Model) -> Cost {
    let count = generation.max_new_tokens;
    let steps = if model.reuses(tokens + count) { 1 } else { count };
    Cost { rows: count as u64, tokens: (steps * tokens + steps.midpoint(1) * count) as u64 }
}

/// What became of a text of more tokens than the model takes.
fn too_long(text: &TextInput) -> Option<Warning> {
    if let [first, .., last] = text.windows.as_slice() {
        let (windows, longest) = (text.windows.len(), first.tokens.len());
        let overlap = text.windows.get(1).map_or(0, |second| first.stretch.end.saturating_sub(second.stretch.start));
        let detail = format!(
            "the text has {} tokens and the model takes {longest}; it was read in {windows} windows of {longest} tokens \
             (the last of {}) that overlap by {overlap}, and their outputs were put together",
            text.original_tokens,
            last.tokens.len()
        );
        return Some(Warning { code: "windows".to_owned(), detail });
    }
    text.truncated().then(|| Warning {
        code: "truncated".to_owned(),
        detail: format!(
            "the text has {} tokens and the model takes {}; the end was cut and is not explained",
            text.original_tokens,
            text.tokens.len()
        ),
    })
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
