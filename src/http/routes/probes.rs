//! Probes. They read the engine's phase and nothing else: no model, no queue, no lock that work holds. A full queue
//! changes none of them.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::engine::Phase;
use crate::http::state::AppState;

/// What a probe answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` or `unavailable`.
    pub status: String,
    /// `loading`, `warming`, `ready`, `draining` or `broken`.
    pub phase: String,
}

fn health(phase: Phase, ok: bool) -> (StatusCode, Json<Health>) {
    let (status, word) = if ok { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "unavailable") };
    (status, Json(Health { status: word.to_owned(), phase: phase.as_str().to_owned() }))
}

/// Is the process up?
///
/// 503 only where a restart is the cure.
#[utoipa::path(
    get, path = "/livez", tag = "probes", operation_id = "livez", security(()),
    responses((status = 200, description = "Up", body = Health), (status = 503, description = "Broken", body = Health)),
)]
pub async fn livez(State(state): State<AppState>) -> (StatusCode, Json<Health>) {
    let phase = state.phase();
    health(phase, phase != Phase::Broken)
}

/// Can it take work?
#[utoipa::path(
    get, path = "/readyz", tag = "probes", operation_id = "readyz", security(()),
    responses(
        (status = 200, description = "Loaded and warm", body = Health),
        (status = 503, description = "Loading, warming, draining or broken", body = Health),
    ),
)]
pub async fn readyz(State(state): State<AppState>) -> (StatusCode, Json<Health>) {
    let phase = state.phase();
    health(phase, phase == Phase::Ready)
}

/// The same as `/readyz`
#[utoipa::path(
    get, path = "/healthz", tag = "probes", operation_id = "healthz", security(()),
    responses(
        (status = 200, description = "Loaded and warm", body = Health),
        (status = 503, description = "Loading, warming, draining or broken", body = Health),
    ),
)]
pub async fn healthz(state: State<AppState>) -> (StatusCode, Json<Health>) {
    readyz(state).await
}

/// Is loading done?
#[utoipa::path(
    get, path = "/startupz", tag = "probes", operation_id = "startupz", security(()),
    responses(
        (status = 200, description = "Every model is loaded and warm", body = Health),
        (status = 503, description = "Loading, warming or broken", body = Health),
    ),
)]
pub async fn startupz(State(state): State<AppState>) -> (StatusCode, Json<Health>) {
    let phase = state.phase();
    health(phase, matches!(phase, Phase::Ready | Phase::Draining))
}
