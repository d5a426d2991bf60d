//! Every way a request can fail, in ONE table: code, status, title. A [`Problem`] becomes `application/problem+json`
//! (RFC 9457) in `layers::observe`, which knows the request's id; nothing else writes an error body.

use std::fmt;
use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::EngineError;
use crate::explain::{Field, PlanError, RunError, Stopped};

/// What `type` begins with; the code follows.
pub const TYPE_BASE: &str = "https://explaind.dev/problems/";

/// How much of a caller's own words an error may repeat, in characters.
pub const ECHO_CHARS: usize = 64;

macro_rules! problems {
    ($($name:ident $code:literal $status:literal $title:literal;)*) => {
        /// Which problem. The code is stable, the words are not.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($name),* }

        impl Code {
            /// Every code, in the order of the table.
            pub const ALL: &'static [Code] = &[$(Code::$name),*];
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code),* }
            }
            pub const fn status(self) -> u16 {
                match self { $(Code::$name => $status),* }
            }
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title),* }
            }
        }
    };
}

problems! {
    InvalidJson        "invalid-json"           400 "The body is not JSON";
    NotUtf8            "not-utf8"               400 "The body is not UTF-8";
    InvalidMultipart   "invalid-multipart"      400 "The multipart body is broken";
    BadRequest         "bad-request"            400 "The request could not be read";
    Unauthorized       "unauthorized"           401 "A key is needed";
    UnknownModel       "unknown-model"          404 "No such model is loaded";
    UnknownRoute       "unknown-route"          404 "No such route";
    MethodNotAllowed   "method-not-allowed"     405 "The route does not take this HTTP method";
    NotAcceptable      "not-acceptable"         406 "The answer has no form the caller accepts";
    BodyTimeout        "body-timeout"           408 "The body came too slowly";
    TooLarge           "too-large"              413 "The input is over a limit";
    UnsupportedMedia   "unsupported-media-type" 415 "The body's media type is not read here";
    InvalidRequest     "invalid-request"        422 "The request is not valid";
    TooCostly          "too-costly"             422 "The request needs more work than one request may";
    RateLimited        "rate-limited"           429 "Too many requests from this address";
    Internal           "internal"               500 "The job failed";
    QueueFull          "queue-full"             503 "There is no room for more work";
    Unrecorded         "unrecorded"             503 "The answer could not be recorded";
    NotReady           "not-ready"              503 "The service is not ready";
    Draining           "draining"               503 "The service is shutting down";
    Deadline           "deadline"               504 "The deadline passed";
}

impl Code {
    /// The problem that an answer of `status` without a body of its own means.
    fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            401 => Self::Unauthorized,
            404 => Self::UnknownRoute,
            405 => Self::MethodNotAllowed,
            406 => Self::NotAcceptable,
            408 => Self::BodyTimeout,
            413 => Self::TooLarge,
            415 => Self::UnsupportedMedia,
            422 => Self::InvalidRequest,
            429 => Self::RateLimited,
            503 => Self::NotReady,
            504 => Self::Deadline,
            400..=499 => Self::BadRequest,
            _ => Self::Internal,
        }
    }

    pub fn uri(self) -> String {
        format!("{TYPE_BASE}{}", self.as_str())
    }
}

/// What went wrong, before it has a request's id.
#[derive(Debug, Clone)]
pub struct Problem {
    pub code: Code,
    pub detail: String,
    pub errors: Vec<Field>,
    pub retry_after: Option<Duration>,
}

/// The JSON of an error (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// `https://explaind.dev/problems/` and a code.
    #[serde(rename = "type")]
    pub uri: String,
    /// The same for every problem of this type.
    pub title: String,
    pub status: u16,
    /// What was wrong with this request and what to do.
    pub detail: String,
    /// Every place that is wrong, where the problem has places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldBody>,
    /// Of the request: the answer's `x-request-id`.
    pub id: String,
}

/// One thing wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = ProblemField)]
pub struct FieldBody {
    /// Where, as a JSON pointer into the request (RFC 6901).
    pub pointer: String,
    /// What, and what to do.
    pub detail: String,
}

impl Problem {
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self { code, detail: clip_quoted(&detail.into()), errors: Vec::new(), retry_after: None }
    }

    /// A problem with its places; `detail` sums them up.
    pub fn with_fields(code: Code, fields: Vec<Field>) -> Self {
        let fields: Vec<Field> = fields
            .into_iter()
            .map(|field| Field { pointer: clip_pointer(&field.pointer), detail: clip_quoted(&in_json(field.detail)) })
            .collect();
        let detail = match fields.as_slice() {
            [] => code.title().to_owned(),
            [field] if field.pointer.is_empty() => field.detail.clone(),
            [field] => format!("{}: {}", field.pointer, field.detail),
            [first, rest @ ..] => format!("{}: {} (and {} more)", first.pointer, first.detail, rest.len()),
        };
        Self { code, detail, errors: fields, retry_after: None }
    }

    /// 422 at one place.
    pub fn invalid(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::with_fields(Code::InvalidRequest, vec![Field::new(pointer, detail)])
    }

    pub fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// 500. Says nothing of the cause: the log has it under the request's id.
    pub fn internal() -> Self {
        Self::new(Code::Internal, "the job failed; the service's log says more under this id")
    }

    /// What an answer of `status` without a readable body means.
    pub fn of_status(status: StatusCode) -> Self {
        let code = Code::of_status(status);
        let detail = match code {
            Code::UnknownRoute => "there is nothing here; /docs lists the routes",
            Code::MethodNotAllowed => "the header Allow lists the methods this route takes",
            Code::Internal => return Self::internal(),
            _ => code.title(),
        };
        Self::new(code, detail)
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn body(&self, id: &str) -> ProblemBody {
        ProblemBody {
            uri: self.code.uri(),
            title: self.code.title().to_owned(),
            status: self.code.status(),
            detail: self.detail.clone(),
            errors: self
                .errors
                .iter()
                .map(|field| FieldBody { pointer: field.pointer.clone(), detail: field.detail.clone() })
                .collect(),
            id: id.to_owned(),
        }
    }

    /// The whole answer; headers of `parts` (Allow, WWW-Authenticate, CORS) are kept.
    pub fn render(&self, id: &str, mut response: Response) -> Response {
        let body = serde_json::to_vec(&self.body(id)).unwrap_or_default();
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.remove(axum::http::header::CONTENT_LENGTH);
        headers.remove(axum::http::header::TRANSFER_ENCODING);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        *response.body_mut() = axum::body::Body::from(body);
        response
    }
}

/// Seconds of a `Retry-After`: rounded up, at least one.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl IntoResponse for Problem {
    /// Without a body: `layers::observe` renders it with the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<PlanError> for Problem {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::UnknownModel { .. } => {
                Self::with_fields(Code::UnknownModel, vec![Field::new("/model", error.to_string())])
            }
            PlanError::Invalid(fields) => Self::with_fields(Code::InvalidRequest, fields),
            PlanError::TooLarge { pointer, detail } => {
                Self::with_fields(Code::TooLarge, vec![Field::new(pointer, detail)])
            }
        }
    }
}

impl From<RunError> for Problem {
    fn from(error: RunError) -> Self {
        match (error.stopped(), error) {
            (Some(Stopped::Deadline), _) => Self::deadline(None),
            (Some(Stopped::Cancelled), _) => Self::draining(),
            (None, RunError::Invalid { pointer, detail }) => Self::invalid(pointer, detail),
            (None, error) => {
                tracing::error!(%error, "a job failed");
                Self::internal()
            }
        }
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::NotReady { phase } => Self::not_ready(phase.as_str()),
            // A caller that is still here was cancelled by the drain alone.
            EngineError::Draining | EngineError::Cancelled => Self::draining(),
            EngineError::QueueFull { retry_after } => {
                Self::new(Code::QueueFull, "the queue is full; come back after Retry-After seconds")
                    .retry_after(retry_after)
            }
            EngineError::TooCostly { cost, limit } => Self::new(
                Code::TooCostly,
                format!(
                    "the request plans {cost} rows × tokens and the queue holds {limit}; ask for fewer samples, \
                     steps or methods, or raise queue.cost"
                ),
            ),
            EngineError::Plan(error) => error.into(),
            EngineError::Run(error) => error.into(),
            EngineError::Deadline { done } => Self::deadline(Some(done)),
            EngineError::Failed { .. } => Self::internal(),
        }
    }
}

impl Problem {
    pub fn not_ready(phase: &str) -> Self {
        Self::new(Code::NotReady, format!("the service is {phase}; /readyz says when it can take work"))
            .retry_after(Duration::from_secs(1))
    }

    pub fn draining() -> Self {
        Self::new(Code::Draining, "the service is shutting down; send the request again, to another instance")
            .retry_after(Duration::from_secs(1))
    }

    /// `done`: model rows evaluated until then, where that is known.
    fn deadline(done: Option<u64>) -> Self {
        let done = done.map_or(String::new(), |done| format!(" after {done} evaluations"));
        Self::new(
            Code::Deadline,
            format!("the deadline passed{done}; raise deadline_ms, ask for less, or send \"partial\": true"),
        )
    }
}

/// At most [`ECHO_CHARS`] characters of a caller's words.
pub fn clip(text: &str) -> String {
    match text.char_indices().nth(ECHO_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// A message of serde that ends with a Rust type, in JSON's words.
fn in_json(detail: String) -> String {
    const TYPES: [(&str, &str); 4] = [
        (", expected u64", ", expected an integer from 0"),
        (", expected usize", ", expected an integer from 0"),
        (", expected f64", ", expected a number"),
        (", expected a sequence", ", expected a list"),
    ];
    let said = TYPES.iter().find_map(|(rust, json)| Some(format!("{}{json}", detail.strip_suffix(rust)?)));
    said.unwrap_or(detail)
}

/// Shortens what stands in quotes or backticks, where a message repeats what a caller wrote.
fn clip_quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(1024));
    let mut rest = text;
    while let Some(open) = rest.find(['"', '`']) {
        let (before, quoted) = rest.split_at(open);
        let quote = if quoted.starts_with('"') { '"' } else { '`' };
        let inside = quoted.get(1..).unwrap_or_default();
        out.push_str(before);
        out.push(quote);
        let Some(end) = inside.find(quote) else { return out + &clip(inside) };
        out.push_str(&clip(inside.get(..end).unwrap_or_default()));
        out.push(quote);
        rest = inside.get(end + 1..).unwrap_or_default();
    }
    out.push_str(rest);
    out
}

/// Shortens the segments of a pointer, which hold the names of unknown fields.
fn clip_pointer(pointer: &str) -> String {
    pointer.split('/').map(clip).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_statuses_are_errors() {
        let mut codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), Code::ALL.len());
        for code in Code::ALL {
            assert!((400..600).contains(&code.status()), "{code:?}");
        }
    }

    #[test]
    fn no_detail_repeats_more_than_64_characters() {
        let long = "x".repeat(5000);
        let plan = PlanError::UnknownModel { name: long.clone(), known: "a, b".to_owned() };
        let field = Field::new(format!("/{long}"), format!("unknown field `{long}`, and \"{long}\""));
        for problem in [Problem::from(plan), Problem::with_fields(Code::InvalidRequest, vec![field])] {
            let body = serde_json::to_string(&problem.body("id")).unwrap();
            assert!(!body.contains(&"x".repeat(ECHO_CHARS + 1)), "{body}");
        }
    }

    #[test]
    fn retry_after_is_rounded_up() {
        assert_eq!(whole_seconds(Duration::ZERO), 1);
        assert_eq!(whole_seconds(Duration::from_millis(2001)), 3);
    }

    #[test]
    fn a_detail_names_no_type_of_rust() {
        let detail = |message: &str| Problem::invalid("/a", message).errors[0].detail.clone();
        assert_eq!(
            detail("invalid value: integer `-1`, expected usize"),
            "invalid value: integer `-1`, expected an integer from 0"
        );
        assert_eq!(detail("invalid type: string \"x\", expected f64"), "invalid type: string \"x\", expected a number");
        assert_eq!(detail("send less"), "send less");
    }

    #[test]
    fn one_wrong_field_stands_in_the_detail() {
        let problem = Problem::invalid("/explain/0/steps", "steps must be at least 1");
        assert_eq!(problem.body("id").detail, "/explain/0/steps: steps must be at least 1");
        assert_eq!(problem.body("id").status, 422);
    }
}
