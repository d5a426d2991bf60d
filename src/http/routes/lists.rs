//! `GET /models` and `GET /methods`: what is loaded, and what can be asked of it.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;

use crate::explain::listing::{MethodsView, ModelsView, methods_view, models_view};
use crate::http::negotiate::accept;
use crate::http::openapi::responses::ListProblems;
use crate::http::problem::Problem;
use crate::http::state::AppState;

/// List the loaded models
#[utoipa::path(
    get, path = "/models", tag = "lists", operation_id = "listModels",
    responses((status = 200, description = "Every loaded model, in the order given at start", body = ModelsView), ListProblems),
)]
pub async fn list_models(State(state): State<AppState>, headers: HeaderMap) -> Result<Json<ModelsView>, Problem> {
    accept(&headers, "application/json")?;
    let catalog = state.engine.catalog().ok_or_else(|| Problem::not_ready(state.phase().as_str()))?;
    Ok(Json(models_view(&catalog)))
}

/// List the explanation methods
///
/// What each needs, takes and returns; `models` is empty until loading is done.
#[utoipa::path(
    get, path = "/methods", tag = "lists", operation_id = "listMethods",
    responses((status = 200, description = "Every method", body = MethodsView), ListProblems),
)]
pub async fn list_methods(State(state): State<AppState>, headers: HeaderMap) -> Result<Json<MethodsView>, Problem> {
    accept(&headers, "application/json")?;
    Ok(Json(methods_view(state.engine.catalog().as_deref())))
}
