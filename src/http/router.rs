//! Routes and layers. A route is registered once, for the router and the OpenAPI document together.

use std::any::Any;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Method};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use utoipa_swagger_ui::{Config, SwaggerUi};

use super::layers::{authenticate, limit_address, observe};
use super::openapi::base;
use super::problem::{Code, Problem};
use super::routes::{batch, explain, lists, meta, probes};
use super::state::AppState;

/// Answers smaller than this are not worth compressing, in bytes.
const COMPRESS_ABOVE: u64 = 1024;

/// Every documented route.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(base())
        .routes(routes!(explain::explain))
        .routes(routes!(batch::explain_batch))
        .routes(routes!(explain::predict))
        .routes(routes!(lists::list_models))
        .routes(routes!(lists::list_methods))
        .routes(routes!(probes::livez))
        .routes(routes!(probes::readyz))
        .routes(routes!(probes::startupz))
        .routes(routes!(probes::healthz))
        .routes(routes!(meta::metrics))
        .routes(routes!(meta::openapi))
        .routes(routes!(meta::home))
}

/// The service as a function of its state. Layers from the inside out: compression, keys, addresses, CORS (a
/// preflight carries no key), panics, and around all of it ids, logs, metrics and problems.
pub fn router(state: AppState) -> Router {
    let (router, _document) = routes().split_for_parts();
    // No badge that asks a validator elsewhere; the page works without any network.
    let page = SwaggerUi::new("/docs").config(Config::new(["/openapi.json"]).validator_url("none"));
    let router = router
        .merge(page)
        .fallback(unknown_route)
        // Bodies are bounded where they are read, with an answer that says so.
        .layer(DefaultBodyLimit::disable())
        .layer(compression())
        .layer(from_fn_with_state(state.clone(), authenticate))
        .layer(from_fn_with_state(state.clone(), limit_address));
    let router = match cors(&state.origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.layer(CatchPanicLayer::custom(panicked)).layer(from_fn_with_state(state.clone(), observe)).with_state(state)
}

/// gzip for callers that ask for it; not for a batch, whose lines are sent as they come.
fn compression() -> CompressionLayer<impl Predicate> {
    let worth = SizeAbove::new(COMPRESS_ABOVE)
        .and(NotForContentType::new("application/x-ndjson"))
        .and(NotForContentType::new("image/"));
    CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(worth)
}

/// `None`: off.
fn cors(origins: &[HeaderValue]) -> Option<CorsLayer> {
    let allowed = match origins {
        [] => return None,
        origins if origins.iter().any(|origin| origin == "*") => AllowOrigin::any(),
        origins => AllowOrigin::list(origins.iter().cloned()),
    };
    let id = HeaderName::from_static("x-request-id");
    let cors = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers([CONTENT_TYPE, AUTHORIZATION, id.clone()])
        .expose_headers([id, RETRY_AFTER]);
    Some(cors)
}

async fn unknown_route() -> Problem {
    Problem::new(Code::UnknownRoute, "there is nothing here; /docs lists the routes")
}

/// What the panic says is not repeated: it may hold the input.
fn panicked(_panic: Box<dyn Any + Send + 'static>) -> Response {
    Problem::internal().into_response()
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::{Request, StatusCode};
    use axum::routing::get;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panicking_handler_is_a_500_that_keeps_its_message() {
        let router: Router = Router::new()
            .route("/", get(|| async { panic!("a secret") as () }))
            .layer(CatchPanicLayer::custom(panicked));
        let response = router.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(response.extensions().get::<Problem>().map(|problem| problem.code), Some(Code::Internal));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(!String::from_utf8_lossy(&body).contains("secret"));
    }

    #[test]
    fn cors_is_off_without_origins() {
        assert!(cors(&[]).is_none());
        assert!(cors(&[HeaderValue::from_static("https://a.example")]).is_some());
    }
}
