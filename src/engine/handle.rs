//! The async side: what HTTP holds. The only file of the engine, with its folder, that knows a runtime.
//!
//! A request goes through [`Engine::run`]: room by number and body, planning on a thread of its own, room by planned
//! cost, a place among the running jobs, and a named worker thread. Nothing here computes on a runtime thread.

mod error;
mod feed;
mod lane;
mod phase;
mod room;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use super::admission::{Bounds, Origin};
use super::deadline::{Cancel, Deadline};
use super::executor::Turns;
use crate::config;
use crate::engine::Device;
use crate::explain::outcome::Outline;
use crate::explain::{Catalog, ExplainRequest, Plan, Wanted, plan};

pub use error::{EngineError, StartError};
pub use feed::{Feed, News};
use lane::Lane;
pub use phase::Phase;
use phase::Phases;
use room::{Permit, Room};
use worker::Loaded;

/// Bodies of so many requests of the largest size may be held at once.
const BODIES: u64 = 16;
/// How long after its deadline a job may take to say so, as it does between two layers. What lies between two looks at the
/// deadline may be more than that; who waits is told then all the same, and the job ends by itself.
const NOTICE: Duration = Duration::from_millis(50);
/// After a drain's time is up, how long cancelled jobs may take to notice: each stops at its next layer.
const GRACE: Duration = Duration::from_secs(2);

/// How the engine uses the machine, and its bounds.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Threads of the compute, for `provenance`; they are set up by the process.
    pub threads: usize,
    pub tokens_per_turn: usize,
    /// Where the models compute.
    pub device: Device,
    pub queue: config::Queue,
    /// Texts that are tokenised at once, and images that are decoded.
    pub plan_threads: usize,
    pub limits: config::Limits,
}

/// A request to explain or predict.
pub struct JobRequest {
    pub id: String,
    pub request: ExplainRequest,
    /// An image that came as a body or a part.
    pub image: Option<Vec<u8>>,
    pub body_bytes: usize,
    pub wanted: Wanted,
    /// Batch lines wait for room rather than fail; their deadline runs from when they have it.
    pub wait: bool,
    /// The request's, entered on every thread that works on it.
    pub span: Span,
    /// Where news of the work is left for a caller who follows it.
    pub feed: Option<Arc<Feed>>,
}

/// An answer and what it took.
#[derive(Debug)]
pub struct JobOutput {
    /// The answer's JSON.
    pub bytes: Vec<u8>,
    pub outline: Outline,
    pub stats: JobStats,
}

/// What a job took, for metrics and logs.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct JobStats {
    /// Waiting for room and for a place, all together.
    pub queue_ms: f64,
    /// Tokenising or decoding and resolving settings.
    pub plan_ms: f64,
    /// On the worker thread, waiting for turns included.
    pub compute_ms: f64,
    pub rows: u64,
    pub tokens: u64,
    pub model: String,
    /// One per explanation, in the answer's order.
    pub methods: Vec<MethodStats>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct MethodStats {
    pub name: String,
    pub evaluations: usize,
    pub elapsed_ms: f64,
}

/// What the engine holds now, for metrics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EngineStatus {
    /// Admitted requests that do not run yet.
    pub queued_requests: usize,
    /// Planned cost of all admitted requests, running ones included.
    pub queued_cost: u64,
    pub running: usize,
}

/// The engine; clones are the same one. It is there before any model is.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    options: EngineOptions,
    phases: Phases,
    loaded: OnceLock<Arc<Loaded>>,
    room: Arc<Room>,
    /// Seats for planning texts and images, apart: images to decode keep no text waiting.
    planners: [Arc<Semaphore>; 2],
    /// One semaphore a lane.
    places: [Arc<Semaphore>; Lane::ALL.len()],
    turns: Arc<Turns>,
    /// Stops everything, at the end of a drain.
    cancel: Cancel,
    ended: CancellationToken,
}

impl Engine {
    /// An engine in phase `loading` that refuses work until [`Engine::load`] is through.
    pub fn start(options: EngineOptions) -> Self {
        let bounds = Bounds {
            requests: options.queue.requests,
            body_bytes: (options.limits.body_bytes as u64).saturating_mul(BODIES),
            cost: options.queue.cost,
        };
        let shared = Shared {
            phases: Phases::default(),
            loaded: OnceLock::new(),
            room: Arc::new(Room::new(bounds)),
            planners: [(); 2].map(|()| Arc::new(Semaphore::new(options.plan_threads.max(1)))),
            places: Lane::ALL.map(|lane| Arc::new(Semaphore::new(lane.places()))),
            turns: Arc::default(),
            cancel: Cancel::new(),
            ended: CancellationToken::new(),
            options,
        };
        Self { shared: Arc::new(shared) }
    }

    pub fn phase(&self) -> Phase {
        self.shared.phases.now().0
    }

    /// What the phase waits for or why the engine is broken; empty while it is ready.
    pub fn phase_detail(&self) -> String {
        self.shared.phases.now().1
    }

    /// Resolves when the engine is broken, with the reason. The process should then end with 70.
    pub async fn broken(&self) -> String {
        self.shared.phases.until_broken().await
    }

    /// Resolves once the engine no longer loads or warms up.
    pub async fn settled(&self) -> Phase {
        self.shared.phases.until_settled().await
    }

    pub fn catalog(&self) -> Option<Arc<Catalog>> {
        self.shared.loaded.get().map(|loaded| Arc::clone(&loaded.catalog))
    }

    pub fn status(&self) -> EngineStatus {
        let (requests, cost, running) = self.shared.room.status();
        EngineStatus { queued_requests: requests.saturating_sub(running), queued_cost: cost, running }
    }

    /// Runs one request. Dropping the future cancels it: a queued one is never started, a running one stops at its
    /// next layer.
    ///
    /// # Errors
    /// See [`EngineError`].
    pub async fn run(&self, job: JobRequest) -> Result<JobOutput, EngineError> {
        let loaded = self.admits()?;
        let cancel = self.shared.cancel.sibling();
        let mut guard = CancelOnDrop { cancel: cancel.clone(), turns: Arc::clone(&self.shared.turns), waits: true };
        let output = tokio::select! {
            biased;
            output = self.stages(job, loaded, cancel) => output,
            () = self.shared.ended.cancelled() => Err(EngineError::Draining),
        };
        guard.waits = false;
        match output {
            // Somebody still waits here, so it was the drain that stopped it.
            Err(EngineError::Cancelled) if self.shared.ended.is_cancelled() => Err(EngineError::Draining),
            output => output,
        }
    }

    async fn stages(&self, job: JobRequest, loaded: Arc<Loaded>, cancel: Cancel) -> Result<JobOutput, EngineError> {
        let shared = &self.shared;
        let (id, span, wait, feed) = (job.id.clone(), job.span.clone(), job.wait, job.feed.clone());
        let arrived = Deadline::none();
        let longest = shared.options.limits.deadline_ms;
        // One out of range is the plan's to refuse.
        let asked = job.request.deadline_ms.filter(|asked| (1..=longest).contains(asked));
        let limit = Duration::from_millis(asked.unwrap_or(longest));

        let origin = if wait { Origin::Bulk } else { Origin::Interactive };
        let permit = shared.room.enter(origin, job.body_bytes as u64, wait).await?;
        // A line that has waited for room begins to count now.
        let due = if wait { Deadline::after(limit) } else { arrived.with_limit(limit) };
        let (plan, permit, plan_ms) = within(&due, self.plan(job, &loaded, permit)).await??;
        let permit = permit.charge(plan.cost.tokens, wait).await?;
        let due = if wait { Deadline::after(limit) } else { due };

        let lane = Lane::of(plan.cost.tokens, shared.options.tokens_per_turn);
        let place = within(&due, Arc::clone(&shared.places[lane as usize]).acquire_owned()).await?;
        let place = place.map_err(|_| EngineError::Draining)?;
        let queue_ms = millis(arrived.elapsed()) - plan_ms;
        // The best answer so far takes what it takes to be put together.
        let left = if plan.partial { None } else { due.remaining() };
        let rows = Arc::<AtomicU64>::default();
        let task = worker::Task { id, plan, loaded, due, cancel, permit, place, feed, rows: Arc::clone(&rows) };
        let working = timeout(left.map_or(Duration::MAX, |left| left + NOTICE), self.work(task, span));
        let late = || EngineError::Deadline { done: rows.load(Ordering::Relaxed) };
        let mut output = working.await.unwrap_or_else(|_| Err(late()))?;
        output.stats.queue_ms = queue_ms.max(0.0);
        output.stats.plan_ms = plan_ms;
        Ok(output)
    }

    fn admits(&self) -> Result<Arc<Loaded>, EngineError> {
        match (self.phase(), self.shared.loaded.get()) {
            (Phase::Ready, Some(loaded)) => Ok(Arc::clone(loaded)),
            (Phase::Draining, _) => Err(EngineError::Draining),
            (phase, _) => Err(EngineError::NotReady { phase }),
        }
    }

    /// Plans on a thread of its own; the permit goes along, so that a body counts until it is freed.
    async fn plan(
        &self,
        job: JobRequest,
        loaded: &Arc<Loaded>,
        permit: Permit,
    ) -> Result<(Plan, Permit, f64), EngineError> {
        let shared = &self.shared;
        let image = job.image.is_some() || job.request.image.is_some();
        let seat = Arc::clone(&shared.planners[usize::from(image)])
            .acquire_owned()
            .await
            .map_err(|_| EngineError::Draining)?;
        let (catalog, limits) = (Arc::clone(&loaded.catalog), shared.options.limits.clone());
        let (id, span) = (job.id.clone(), job.span.clone());
        let planning = worker::on_thread("explaind-plan", move || {
            let _entered = job.span.enter();
            let _seat = seat;
            let began = Deadline::none();
            let plan = plan(&catalog, &limits, job.id, job.request, job.image, job.wanted);
            plan.map(|plan| (plan, permit, millis(began.elapsed())))
        });
        match worker::outcome(planning).await {
            Ok(planned) => planned.map_err(EngineError::Plan),
            Err(failure) => Err(worker::report(&span, id, "planning", &failure)),
        }
    }

    /// Stops admitting, waits for what is admitted for at most `limit`, then cancels the rest. True where nothing
    /// had to be cancelled.
    pub async fn drain(&self, limit: Duration) -> bool {
        self.shared.phases.drain();
        if timeout(limit, self.shared.room.until_empty()).await.is_ok() {
            return true;
        }
        self.shared.cancel.cancel_all();
        self.shared.ended.cancel();
        self.shared.turns.nudge();
        if timeout(GRACE, self.shared.room.until_empty()).await.is_err() {
            tracing::warn!("jobs still run after they were cancelled");
        }
        false
    }
}

/// `future`, unless the deadline passes first: nothing has been evaluated then.
async fn within<T>(due: &Deadline, future: impl Future<Output = T>) -> Result<T, EngineError> {
    let left = due.remaining().unwrap_or(Duration::MAX);
    timeout(left, future).await.map_err(|_| EngineError::Deadline { done: 0 })
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Sets the stop flag when the caller goes while the answer is still to come.
struct CancelOnDrop {
    cancel: Cancel,
    turns: Arc<Turns>,
    waits: bool,
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        if self.waits {
            self.cancel.cancel();
            self.turns.nudge();
        }
    }
}

#[cfg(test)]
mod tests;
