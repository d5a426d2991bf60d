//! `POST /explain/batch`: NDJSON in, NDJSON out in order of completion. The answer's body pulls everything: it reads
//! a line only where a job has ended, so memory is bounded by [`CONCURRENCY`], a caller that stops reading stops the
//! work, and one that goes away drops, and so cancels, all of it.

use std::io;

use axum::body::Body;
use axum::extract::{Extension, Request, State};
use axum::http::HeaderValue;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt, stream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::explain::{Asker, run};
use crate::engine::Phase;
use crate::explain::{ExplainRequest, Wanted};
use crate::http::body::{needs_room, next_chunk, too_large, wait_for_room};
use crate::http::forms::{Form, parse};
use crate::http::layers::RequestId;
use crate::http::negotiate::{accept, content_type, unsupported};
use crate::http::openapi::BatchLine;
use crate::http::openapi::responses::BatchProblems;
use crate::http::problem::{Code, Problem};
use crate::http::state::AppState;

const NDJSON: &str = "application/x-ndjson";
const READ: &str = "application/x-ndjson, application/ndjson or application/jsonl";

/// Lines of one batch that are worked on at once. The engine decides how many of them compute.
const CONCURRENCY: usize = 8;

/// Explain many inputs in one call
///
/// One request a line. Each answer is a line `{"index": 0, "answer": {…}}` or `{"index": 0, "problem": {…}}`, in
/// order of completion; `index` counts requests from 0, blank lines are skipped, a bad line never ends the others.
/// Lines wait for room, and deadlines run per line.
#[utoipa::path(
    post, path = "/explain/batch", tag = "explain", operation_id = "explainBatch",
    request_body(content = ExplainRequest, content_type = "application/x-ndjson", description = "One request a line"),
    responses(
        (status = 200, description = "One line a request", body = BatchLine, content_type = "application/x-ndjson"),
        BatchProblems,
    ),
)]
pub async fn explain_batch(
    State(state): State<AppState>,
    Extension(id): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    accept(request.headers(), NDJSON)?;
    let kind = content_type(request.headers())?;
    if !matches!(kind.as_str(), NDJSON | "application/ndjson" | "application/jsonl" | "application/x-jsonlines") {
        return Err(unsupported(&kind, READ));
    }
    match state.phase() {
        Phase::Ready => {}
        Phase::Draining => return Err(Problem::draining()),
        phase => return Err(Problem::not_ready(phase.as_str())),
    }
    let asker = Asker::of(&request, "/explain/batch", id.0.to_string());
    let lines = Lines::new(state.clone(), request.into_body());
    let answers = answers(state, asker, lines);
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(NDJSON))], Body::from_stream(answers)).into_response())
}

fn answers(state: AppState, asker: Asker, lines: Lines) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
    let lines = stream::unfold(lines, |mut lines| async move { Some((lines.next().await?, lines)) });
    lines
        .map(move |line| answer(state.clone(), asker.clone(), line))
        .buffer_unordered(CONCURRENCY)
        // The caller broke off: an error ends the answer, and dropping it cancels every job of it.
        .map(|line| line.map_err(|Gone| io::Error::from(io::ErrorKind::BrokenPipe)))
}

/// The caller is not there any more.
struct Gone;

async fn answer(state: AppState, asker: Asker, line: Line) -> Result<Bytes, Gone> {
    let Line { index, content } = line;
    let id = format!("{}-{index}", asker.id);
    let asker = Asker { id: id.clone(), ..asker };
    let result = match content {
        Content::Request { bytes, room: _room } => explain_line(&state, asker, bytes).await,
        Content::Problem(problem) => Err(problem),
        Content::Gone => return Err(Gone),
    };
    Ok(match result {
        Ok(answer) => answer_line(index, &answer),
        Err(problem) => {
            state.metrics.rejected(problem.code.as_str());
            problem_line(index, &problem, &id)
        }
    })
}

async fn explain_line(state: &AppState, asker: Asker, bytes: Vec<u8>) -> Result<Vec<u8>, Problem> {
    let body_bytes = bytes.len();
    let request = parse(bytes).await?;
    run(state, asker, Form { request, image: None, body_bytes }, Wanted::Explanations, true, None).await
}

/// The answer's own bytes, unread: numbers stay as they were written.
fn answer_line(index: usize, answer: &[u8]) -> Bytes {
    let mut line = BytesMut::with_capacity(answer.len() + 40);
    line.extend_from_slice(format!("{{\"index\":{index},\"answer\":").as_bytes());
    line.extend_from_slice(answer.trim_ascii_end());
    line.extend_from_slice(b"}\n");
    line.freeze()
}

fn problem_line(index: usize, problem: &Problem, id: &str) -> Bytes {
    let body = serde_json::to_string(&problem.body(id)).unwrap_or_else(|_| "{}".to_owned());
    Bytes::from(format!("{{\"index\":{index},\"problem\":{body}}}\n"))
}

struct Line {
    index: usize,
    content: Content,
}

enum Content {
    /// A line, and the room it takes until it is answered.
    Request {
        bytes: Vec<u8>,
        room: Option<OwnedSemaphorePermit>,
    },
    Problem(Problem),
    /// The body broke off.
    Gone,
}

/// Splits a body into lines, each bounded, without holding more than one.
struct Lines {
    state: AppState,
    body: Body,
    buffer: BytesMut,
    /// How much of `buffer` holds no line end.
    searched: usize,
    index: usize,
    ended: bool,
}

impl Lines {
    fn new(state: AppState, body: Body) -> Self {
        Self { state, body, buffer: BytesMut::new(), searched: 0, index: 0, ended: false }
    }

    /// The next line that is not blank; `None` at the end.
    async fn next(&mut self) -> Option<Line> {
        if self.ended {
            return None;
        }
        let mut room = None;
        let content = loop {
            match self.line(&mut room).await {
                Ok(None) => return None,
                Ok(Some(bytes)) if bytes.trim_ascii().is_empty() => {}
                Ok(Some(bytes)) => break Content::Request { bytes: bytes.into(), room: room.take() },
                Err(End::Line(problem)) => break Content::Problem(problem),
                Err(End::Body(problem)) => {
                    self.ended = true;
                    break Content::Problem(problem);
                }
                Err(End::Gone) => {
                    self.ended = true;
                    break Content::Gone;
                }
            }
        };
        let index = self.index;
        self.index += 1;
        let limit = self.state.settings.limits.batch_lines;
        if index >= limit {
            self.ended = true;
            let detail =
                format!("a batch has at most {limit} lines; send the rest in another or raise limits.batch_lines");
            return Some(Line { index, content: Content::Problem(Problem::new(Code::TooLarge, detail)) });
        }
        Some(Line { index, content })
    }

    /// The next line without its end.
    async fn line(&mut self, room: &mut Option<OwnedSemaphorePermit>) -> Result<Option<BytesMut>, End> {
        let limit = self.state.settings.limits.body_bytes;
        loop {
            let found = self.buffer.get(self.searched..).and_then(|rest| rest.iter().position(|&byte| byte == b'\n'));
            if let Some(at) = found.map(|at| self.searched + at) {
                self.searched = 0;
                let mut line = self.buffer.split_to(at + 1);
                line.truncate(at);
                return if line.len() > limit { Err(End::Line(too_large(limit))) } else { Ok(Some(line)) };
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > limit {
                self.skip_line().await?;
                return Err(End::Line(too_large(limit)));
            }
            if room.is_none() && needs_room(self.buffer.len()) {
                *room = wait_for_room(&self.state.body_room, limit).await;
            }
            match self.chunk().await? {
                Some(chunk) => self.buffer.extend_from_slice(&chunk),
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    self.searched = 0;
                    return Ok(Some(self.buffer.split()));
                }
            }
        }
    }

    /// Reads past the end of a line that is too long.
    async fn skip_line(&mut self) -> Result<(), End> {
        self.buffer.clear();
        self.searched = 0;
        while let Some(mut chunk) = self.chunk().await? {
            if let Some(at) = chunk.iter().position(|&byte| byte == b'\n') {
                let _line = chunk.split_to(at + 1);
                self.buffer.extend_from_slice(&chunk);
                break;
            }
        }
        Ok(())
    }

    /// The clock runs only while the body is waited for: a caller may be slow to read.
    async fn chunk(&mut self) -> Result<Option<Bytes>, End> {
        let end = Instant::now() + self.state.settings.server.body_timeout;
        next_chunk(&mut self.body, end).await.map_err(|problem| match problem.code {
            Code::BodyTimeout => End::Body(problem),
            _ => End::Gone,
        })
    }
}

/// Why there is no line.
enum End {
    /// This line alone is bad.
    Line(Problem),
    /// No line comes after this one.
    Body(Problem),
    Gone,
}
