//! What every handler shares. Cheap to clone.

use std::sync::Arc;

use axum::http::HeaderValue;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::audit::Audit;
use super::layers::{AddressLimit, Keys};
use crate::audit::OpenError;
use crate::config::Settings;
use crate::engine::{Engine, Phase};
use crate::telemetry::Metrics;

/// Bodies of all requests together, in KiB, that are being read or waited for; see [`AppState::body_room`].
const BODY_ROOM_KIB: usize = 256 * 1024;

/// Why the service cannot start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("auth.keys_file {path}: {detail}")]
    Keys { path: std::path::PathBuf, detail: String },
    #[error("audit.file {0}")]
    Audit(OpenError),
    #[error(
        "audit.inputs is \"full\" and limits.body_bytes larger than the {longest} bytes of input that a record takes; \
         lower limits.body_bytes, or record hashes alone"
    )]
    AuditInputs { longest: usize },
    #[error("cors.origins: \"{0}\" is no origin; write scheme://host[:port], or * for every one")]
    Origin(String),
}

/// The service's state.
#[derive(Clone)]
pub struct AppState {
    pub(super) engine: Engine,
    pub(super) settings: Arc<Settings>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) keys: Option<Arc<Keys>>,
    pub(super) audit: Option<Arc<Audit>>,
    pub(super) addresses: Option<Arc<AddressLimit>>,
    pub(super) origins: Arc<[HeaderValue]>,
    /// Permits of one KiB each: large bodies of all connections together stay within them.
    pub(super) body_room: Arc<Semaphore>,
    draining: CancellationToken,
}

impl AppState {
    /// # Errors
    /// The keys file cannot be read or holds no key; an origin is none; the audit log cannot be continued.
    pub fn new(engine: Engine, settings: Arc<Settings>, metrics: Arc<Metrics>) -> Result<Self, StateError> {
        let keys = settings.auth.keys_file.as_deref().map(Keys::read).transpose()?.map(Arc::new);
        let addresses = AddressLimit::new(settings.limits.requests_per_minute_per_address).map(Arc::new);
        let header = |origin: &String| HeaderValue::from_str(origin).map_err(|_| StateError::Origin(origin.clone()));
        let origins = settings.cors.origins.iter().map(header).collect::<Result<_, _>>()?;
        let audit = Audit::open(&settings)?.map(Arc::new);
        // One body of the largest size always fits.
        let room = BODY_ROOM_KIB.max(settings.limits.body_bytes.div_ceil(1024)).min(Semaphore::MAX_PERMITS);
        Ok(Self {
            engine,
            settings,
            metrics,
            keys,
            audit,
            addresses,
            origins,
            body_room: Arc::new(Semaphore::new(room)),
            draining: CancellationToken::new(),
        })
    }

    /// The engine's phase; draining from the moment a shutdown began.
    pub(super) fn phase(&self) -> Phase {
        if self.draining.is_cancelled() { Phase::Draining } else { self.engine.phase() }
    }

    pub(super) fn begin_draining(&self) {
        self.draining.cancel();
    }

    /// Resolves when a shutdown begins.
    pub(super) async fn until_draining(&self) {
        self.draining.cancelled().await;
    }
}
