//! About the service itself: `/metrics`, `/openapi.json`, `/`.

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{Html, IntoResponse, Response};

use crate::engine::Phase;
use crate::http::openapi::document;
use crate::http::openapi::responses::AnyProblems;
use crate::http::problem::Problem;
use crate::http::state::AppState;
use crate::telemetry::ModelLabels;

/// Metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", tag = "service", operation_id = "metrics",
    responses(
        (status = 200, description = "Prometheus text, or OpenMetrics to a caller that names it", body = String, content_type = "text/plain"),
        AnyProblems,
    ),
)]
pub async fn metrics(State(state): State<AppState>, headers: HeaderMap) -> Result<Response, Problem> {
    let status = state.engine.status();
    let ready = state.phase() == Phase::Ready;
    state.metrics.engine(status.queued_requests, status.queued_cost, status.running, ready);
    for served in state.engine.catalog().iter().flat_map(|catalog| catalog.iter()) {
        state.metrics.model(&ModelLabels {
            name: served.name.clone(),
            source: served.source.clone(),
            architecture: served.model.spec().architecture.clone(),
            task: served.task.name().to_owned(),
            sha256: served.sha256.clone(),
        });
    }
    let text = state.metrics.encode().map_err(|_| Problem::internal())?;
    let named = |value: &HeaderValue| value.to_str().is_ok_and(|value| value.contains("application/openmetrics-text"));
    let kind = match headers.get_all(ACCEPT).iter().any(named) {
        true => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        false => "text/plain; version=0.0.4; charset=utf-8",
    };
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// This document
#[utoipa::path(
    get, path = "/openapi.json", tag = "service", operation_id = "openapi",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"), AnyProblems),
)]
pub async fn openapi() -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], document())
}

/// A page with the way to everything else
#[utoipa::path(
    get, path = "/", tag = "service", operation_id = "home",
    responses((status = 200, description = "HTML", body = String, content_type = "text/html"), AnyProblems),
)]
pub async fn home() -> Html<&'static str> {
    Html(include_str!("../assets/home.html"))
}
