//! `POST /explain` and `POST /predict`: one input, one answer.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Extension, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tracing::Span;

use super::events;
use crate::engine::{Feed, JobRequest, JobStats};
use crate::explain::{Answer, ExplainRequest, Wanted};
use crate::http::audit::Asked;
use crate::http::forms::{Form, QueryForm, named_methods, registered};
use crate::http::layers::{KeyId, RequestId};
use crate::http::negotiate::{accept, prefers};
use crate::http::openapi::MultipartForm;
use crate::http::openapi::responses::JobProblems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::telemetry::{Explained, Stages};

const JSON: &str = "application/json";
const EVENTS: &str = "text/event-stream";

/// Explain one input with one or more methods
///
/// The body is JSON; or multipart with the file in a part `image` and, if need be, the JSON without the image in a
/// part `request`; or the raw image or text, with `method`, `target` and `model` in the query string.
///
/// With `Accept: text/event-stream` the answer comes as server-sent events: `token` `{"index", "id", "text",
/// "probability", "log_probability"}` (of a completion that the model writes, each as it is written; the texts make the
/// completion), `progress` `{"explanation", "evaluations", "budget"}` (place in the answer of the explanation that is
/// worked on; model rows so far, and at most), `explanation` `{"index", "final", "explanation"}` (as soon as there is one,
/// again where it was refined, and once it is final), and last either `answer`, the same bytes as without events, or
/// `problem`. Who reads slowly gets every token and the newest of each other. A comment line comes after 15 s of silence.
/// With an audit log (`audit.file`) no `token` or `explanation` comes before the answer is recorded. What is refused
/// before work begins has its status as always.
#[utoipa::path(
    post, path = "/explain", tag = "explain", operation_id = "explain",
    params(QueryForm),
    request_body(description = "The input and what is asked about it", content(
        (ExplainRequest = "application/json"), (MultipartForm = "multipart/form-data"),
        (String = "text/plain"), (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"),
    )),
    responses(
        (status = 200, description = "The prediction and its explanations", content(
            (Answer = "application/json"), (String = "text/event-stream"),
        )),
        JobProblems,
    ),
)]
pub async fn explain(
    State(state): State<AppState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    if !prefers(request.headers(), EVENTS, JSON) {
        return one(state, id, request, Wanted::Explanations).await;
    }
    let asker = Asker::of(&request, "/explain", id.0.to_string());
    let (form, room) = Form::read(&state, request).await?;
    events::explain(state, asker, form, room).await
}

/// Predict without explaining
///
/// The same three body forms as `/explain`; the answer is the same without `explanations`.
#[utoipa::path(
    post, path = "/predict", tag = "explain", operation_id = "predict",
    params(QueryForm),
    request_body(description = "The input", content(
        (ExplainRequest = "application/json"), (MultipartForm = "multipart/form-data"),
        (String = "text/plain"), (Vec<u8> = "image/png"), (Vec<u8> = "image/jpeg"), (Vec<u8> = "image/webp"),
    )),
    responses((status = 200, description = "The prediction", body = Answer), JobProblems),
)]
pub async fn predict(
    State(state): State<AppState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    one(state, id, request, Wanted::Prediction).await
}

async fn one(state: AppState, id: RequestId, request: Request, wanted: Wanted) -> Result<Response, Problem> {
    accept(request.headers(), JSON)?;
    let route = if wanted == Wanted::Prediction { "/predict" } else { "/explain" };
    let asker = Asker::of(&request, route, id.0.to_string());
    // `_room` is held until the job is done: until then the input is in memory.
    let (form, _room) = Form::read(&state, request).await?;
    let bytes = run(&state, asker, form, wanted, false, None).await?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(JSON))], bytes).into_response())
}

/// Whose request it is, by its id.
#[derive(Debug, Clone)]
pub struct Asker {
    pub id: String,
    pub route: &'static str,
    /// The API key's name, where keys are set.
    pub key: Option<String>,
}

impl Asker {
    pub fn of(request: &Request, route: &'static str, id: String) -> Self {
        let key = request.extensions().get::<KeyId>().map(|key| key.0.clone());
        Self { id, route, key }
    }
}

/// Runs one request, counts it and records its answer where answers are. Dropping the future cancels the job.
pub async fn run(
    state: &AppState,
    asker: Asker,
    form: Form,
    wanted: Wanted,
    wait: bool,
    feed: Option<Arc<Feed>>,
) -> Result<Vec<u8>, Problem> {
    let methods = match wanted {
        Wanted::Explanations => named_methods(&form.request),
        Wanted::Prediction => Vec::new(),
    };
    let Asker { id, route, key } = asker;
    let failed = |problem: Problem| {
        state.metrics.explained(&methods, problem.code.as_str());
        problem
    };
    let (form, recorded) = match &state.audit {
        Some(audit) => {
            let (form, input) = audit.keep(form).await.map_err(failed)?;
            (form, Some((audit, Asked { id: id.clone(), route, key, input })))
        }
        None => (form, None),
    };
    let job = JobRequest {
        id,
        request: form.request,
        image: form.image,
        body_bytes: form.body_bytes,
        wanted,
        wait,
        span: Span::current(),
        feed,
    };
    match state.engine.run(job).await {
        Ok(output) => {
            let bytes = match recorded {
                Some((audit, asked)) => audit.record(asked, output.outline, output.bytes).await.map_err(failed)?,
                None => output.bytes,
            };
            count(state, &output.stats);
            Ok(bytes)
        }
        Err(error) => Err(failed(Problem::from(error))),
    }
}

fn count(state: &AppState, stats: &JobStats) {
    let milliseconds = |value: f64| Duration::try_from_secs_f64(value / 1e3).unwrap_or_default();
    let stages = Stages {
        queue: milliseconds(stats.queue_ms),
        plan: milliseconds(stats.plan_ms),
        compute: milliseconds(stats.compute_ms),
    };
    let explained: Vec<Explained> = stats
        .methods
        .iter()
        .filter_map(|method| {
            let name = *registered(std::iter::once(method.name.as_str())).first()?;
            Some(Explained {
                method: name,
                evaluations: method.evaluations as u64,
                took: milliseconds(method.elapsed_ms),
            })
        })
        .collect();
    state.metrics.job(stages, &explained, stats.rows, stats.tokens);
    tracing::info!(
        model = stats.model,
        explanations = explained.len(),
        rows = stats.rows,
        tokens = stats.tokens,
        queue_ms = stats.queue_ms,
        plan_ms = stats.plan_ms,
        compute_ms = stats.compute_ms,
        "job done"
    );
}
