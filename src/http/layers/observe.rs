//! The outermost layer: gives a request its id, its span, its log line and its metrics, and turns whatever failed
//! inside into `application/problem+json` with that id.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use tracing::{Instrument, Span};
use uuid::Uuid;

use super::is_probe;
use crate::http::problem::Problem;
use crate::http::state::AppState;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_ID_CHARS: usize = 128;

/// The request's id: the caller's, or a fresh one.
#[derive(Debug, Clone)]
pub struct RequestId(pub Arc<str>);

impl RequestId {
    fn of(headers: &HeaderMap) -> Self {
        let sent = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
        match sent.filter(|id| is_id(id)) {
            Some(id) => Self(id.into()),
            None => Self(Uuid::new_v4().to_string().into()),
        }
    }
}

/// 1 to 128 visible ASCII characters: harmless in headers, logs and JSON.
fn is_id(id: &str) -> bool {
    (1..=MAX_ID_CHARS).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic())
}

/// See the module.
pub async fn observe(State(state): State<AppState>, mut request: Request, next: Next) -> Response {
    let begin = Instant::now();
    let id = RequestId::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let probe = is_probe(request.uri().path());
    let span = span(&id, request.method().as_str(), &route);
    request.extensions_mut().insert(id.clone());

    let in_flight = state.metrics.enter();
    let response = next.run(request).instrument(span.clone()).await;
    let response = finish(&state, &id, response);
    in_flight.answered();

    let status = response.status().as_u16();
    let took = begin.elapsed();
    state.metrics.answered(&route, status, took);
    let took_ms = took.as_secs_f64() * 1e3;
    span.in_scope(|| match probe {
        true => tracing::debug!(status, took_ms, "answered"),
        false => tracing::info!(status, took_ms, "answered"),
    });
    response
}

fn span(id: &RequestId, method: &str, route: &str) -> Span {
    tracing::info_span!("request", id = %id.0, method, route)
}

/// Renders a problem, and sets the headers that every answer carries.
fn finish(state: &AppState, id: &RequestId, mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>().or_else(|| unspoken(&response)) {
        state.metrics.rejected(problem.code.as_str());
        response = problem.render(&id.0, response);
    }
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        headers.insert(REQUEST_ID, value);
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(axum::http::header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// The problem of an error that came without a body of ours: the router's own 405, a page's 404.
fn unspoken(response: &Response) -> Option<Problem> {
    let status = response.status();
    let json =
        response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    ((status.is_client_error() || status.is_server_error()) && !json).then(|| Problem::of_status(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_visible_ascii_of_bounded_length() {
        assert!(is_id("a"));
        assert!(is_id(&"z".repeat(128)));
        for bad in ["", "with space", "tab\t", "ünïcode", &"z".repeat(129)] {
            assert!(!is_id(bad), "{bad:?}");
        }
    }
}
