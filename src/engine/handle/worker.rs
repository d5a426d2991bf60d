//! The threads: one named thread for loading, one for each plan and each running job. A panic on any of them becomes
//! an error of its request; after one in a job the models must prove that they still compute what they did.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tracing::Span;

use super::feed::Feed;
use super::room::Permit;
use super::{Engine, EngineError, EngineOptions, JobOutput, JobStats, MethodStats, Shared, StartError, millis};
use crate::engine::Device;
use crate::engine::deadline::{Cancel, Deadline, Watch};
use crate::engine::evaluate::Placed;
use crate::engine::job::{Means, Spent, run_with};
use crate::engine::probe::Probe;
use crate::explain::{Answer, Audience, Catalog, Explanation, LoadError, Plan, RunError, ServedModel, Stage, to_bytes};
use crate::methods::Attribution;
use crate::nn::Stopped;
use crate::tasks::WrittenToken;

/// Nothing recurses over layers, but tokenizers and image decoders are other people's code.
const STACK: usize = 16 << 20;

/// The models, and what their probe rows gave when they were loaded.
pub(super) struct Loaded {
    pub catalog: Arc<Catalog>,
    probes: Vec<Probe>,
}

/// A planned request with its place.
pub(super) struct Task {
    pub id: String,
    pub plan: Plan,
    pub loaded: Arc<Loaded>,
    pub due: Deadline,
    pub cancel: Cancel,
    pub permit: Permit,
    pub place: OwnedSemaphorePermit,
    pub feed: Option<Arc<Feed>>,
    /// Model rows evaluated so far, for who does not wait until it ends.
    pub rows: Arc<AtomicU64>,
}

/// An audience, and the rows that it was told of.
struct Counted<'a> {
    audience: &'a dyn Audience,
    rows: &'a AtomicU64,
}

impl Audience for Counted<'_> {
    fn listens(&self) -> bool {
        self.audience.listens()
    }
    fn writes(&self, index: usize, token: WrittenToken) {
        self.audience.writes(index, token);
    }
    fn begins(&self, stage: Stage) {
        self.audience.begins(stage);
    }
    fn evaluated(&self, rows: usize) {
        self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        self.audience.evaluated(rows);
    }
    fn refines(&self, attributions: Vec<Attribution>, now: f32) {
        self.audience.refines(attributions, now);
    }
    fn explained(&self, index: usize, explanation: &Explanation) {
        self.audience.explained(index, explanation);
    }
}

/// What ended a thread without a result.
#[derive(Debug)]
pub(super) enum Failure {
    Panicked,
    Thread(std::io::Error),
}

type Outcome<T> = Result<T, Failure>;

/// A thread that was started, or why it could not be.
pub(super) type Started<T> = std::io::Result<oneshot::Receiver<Outcome<T>>>;

/// Runs `work` on a thread of its own that catches its panic. The result is dropped where nobody receives it.
pub(super) fn on_thread<T: Send + 'static>(name: &str, work: impl FnOnce() -> T + Send + 'static) -> Started<T> {
    let (sender, receiver) = oneshot::channel();
    thread::Builder::new().name(name.to_owned()).stack_size(STACK).spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(work)).map_err(|_| Failure::Panicked);
        // Whoever waited may have gone.
        let _ = sender.send(outcome);
    })?;
    Ok(receiver)
}

/// Waits for a thread of [`on_thread`].
pub(super) async fn outcome<T>(started: Started<T>) -> Outcome<T> {
    match started {
        Ok(receiver) => receiver.await.unwrap_or(Err(Failure::Panicked)),
        Err(error) => Err(Failure::Thread(error)),
    }
}

/// Logs a fault under the request's id. A panic's message may quote the input, so it is not repeated here.
pub(super) fn report(span: &Span, id: String, stage: &'static str, fault: &dyn std::fmt::Debug) -> EngineError {
    span.in_scope(|| tracing::error!(%id, stage, ?fault, "a request failed"));
    EngineError::Failed { id }
}

impl Engine {
    /// Loads models with `load` and warms them up, on a thread of its own that starts at once; the future tells how
    /// it ended and need not be awaited. The engine is then ready, or broken.
    pub fn load(
        &self,
        load: impl FnOnce() -> Result<Catalog, LoadError> + Send + 'static,
    ) -> impl Future<Output = Result<(), StartError>> + Send + 'static {
        let shared = Arc::clone(&self.shared);
        let loading = on_thread("explaind-load", move || {
            let load = || load().map_err(StartError::Load).and_then(|catalog| warm_up(&shared, catalog));
            let loaded = catch_unwind(AssertUnwindSafe(load)).unwrap_or(Err(StartError::Panicked));
            match loaded {
                Ok(loaded) => {
                    // A second load finds the first one's models and leaves them.
                    let _ = shared.loaded.set(Arc::new(loaded));
                    shared.phases.ready();
                    Ok(())
                }
                Err(error) => {
                    shared.phases.broke(error.to_string());
                    Err(error)
                }
            }
        });
        if let Err(error) = &loading {
            self.shared.phases.broke(error.to_string());
        }
        async move {
            outcome(loading).await.unwrap_or_else(|failure| match failure {
                Failure::Panicked => Err(StartError::Panicked),
                Failure::Thread(error) => Err(StartError::Thread(error)),
            })
        }
    }

    /// Runs `task` on a worker thread and waits for it.
    pub(super) async fn work(&self, task: Task, span: Span) -> Result<JobOutput, EngineError> {
        let (shared, id, inside) = (Arc::clone(&self.shared), task.id.clone(), span.clone());
        let working = on_thread("explaind-job", move || {
            let _entered = inside.enter();
            run(&shared, task)
        });
        outcome(working).await.unwrap_or_else(|failure| Err(report(&span, id, "running", &failure)))
    }
}

fn warm_up(shared: &Shared, catalog: Catalog) -> Result<Loaded, StartError> {
    let mut probes = Vec::new();
    for served in catalog.iter() {
        shared.phases.warm(&served.name);
        let model = placed(served, &shared.options.device);
        let probe = Probe::warm_up(&model).map_err(|error| StartError::WarmUp { model: served.name.clone(), error })?;
        probes.push(probe);
    }
    Ok(Loaded { catalog: Arc::new(catalog), probes })
}

fn placed<'a>(served: &'a ServedModel, device: &'a Device) -> Placed<'a> {
    Placed { model: &*served.model, device }
}

/// The body of a worker thread.
fn run(shared: &Shared, task: Task) -> Result<JobOutput, EngineError> {
    // Declared first and so dropped last: whoever sees the room empty sees the work done.
    let mut permit = task.permit;
    let _place = task.place;
    permit.begin();
    let began = task.due.elapsed();
    let spent = Cell::new(Spent::default());
    let watch = Watch { deadline: &task.due, cancel: &task.cancel };
    let EngineOptions { threads, tokens_per_turn, device, .. } = &shared.options;
    let (threads, tokens_per_turn) = (*threads, *tokens_per_turn);
    let audience: &dyn Audience = task.feed.as_deref().map_or(&(), |feed| feed);
    let audience = &Counted { audience, rows: &task.rows };
    let means = Means { turns: &shared.turns, watch, threads, tokens_per_turn, device, audience };
    let answered = catch_unwind(AssertUnwindSafe(|| {
        let answer = run_with(&task.plan, means, &spent)?;
        to_bytes(&answer).map(|bytes| (answer, bytes))
    }));
    let Ok(answered) = answered else {
        let error = report(&Span::current(), task.id, "running", &Failure::Panicked);
        check(shared, &task.loaded);
        return Err(error);
    };
    let (answer, bytes) = answered.map_err(|error| translate(task.id, error, spent.get()))?;
    let compute_ms = millis(task.due.elapsed().saturating_sub(began));
    let stats = stats(&answer, compute_ms, spent.get());
    Ok(JobOutput { bytes, stats, outline: answer.into() })
}

fn translate(id: String, error: RunError, spent: Spent) -> EngineError {
    match (error.stopped(), error) {
        (Some(Stopped::Deadline), _) => EngineError::Deadline { done: spent.rows },
        (Some(Stopped::Cancelled), _) => EngineError::Cancelled,
        (None, error @ RunError::Invalid { .. }) => EngineError::Run(error),
        (None, error) => {
            tracing::error!(%id, %error, "a request failed");
            EngineError::Failed { id }
        }
    }
}

/// Compares every model's probe row with its stored bits: a panic may have left a pool or a buffer unsound, and a
/// wrong explanation is worse than none.
fn check(shared: &Shared, loaded: &Loaded) {
    let sound = catch_unwind(AssertUnwindSafe(|| {
        let (deadline, cancel) = (Deadline::none(), Cancel::new());
        let seat = shared.turns.seat(0);
        let _turn = seat.take(Watch { deadline: &deadline, cancel: &cancel });
        loaded
            .catalog
            .iter()
            .zip(&loaded.probes)
            .all(|(served, probe)| probe.holds(&placed(served, &shared.options.device)))
    }));
    if !sound.unwrap_or(false) {
        tracing::error!("a model no longer computes what it did before a panic; the process has to be restarted");
        shared.phases.broke("a model no longer computes what it did before a panic".to_owned());
    }
}

fn stats(answer: &Answer, compute_ms: f64, spent: Spent) -> JobStats {
    let explanations = answer.explanations.iter().flatten();
    let methods = explanations.map(|explanation| MethodStats {
        name: explanation.method.clone(),
        evaluations: explanation.attribution.diagnostics.evaluations,
        elapsed_ms: f64::from(explanation.elapsed_ms),
    });
    JobStats {
        compute_ms,
        rows: spent.rows,
        tokens: spent.tokens,
        model: answer.model.name.clone(),
        methods: methods.collect(),
        ..JobStats::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{methods, nn};

    fn translated(error: RunError) -> EngineError {
        translate("id".to_owned(), error, Spent { rows: 3, tokens: 9 })
    }

    #[test]
    fn a_stop_is_found_wherever_it_surfaced() {
        let model = || nn::Error::Stopped(Stopped::Deadline);
        let method = RunError::Method { method: "lime", error: methods::Error::Model(model()) };
        for error in [RunError::Stopped(Stopped::Deadline), RunError::Model(model()), method] {
            assert!(matches!(translated(error), EngineError::Deadline { done: 3 }));
        }
        assert!(matches!(translated(RunError::Stopped(Stopped::Cancelled)), EngineError::Cancelled));
    }

    #[test]
    fn faults_of_the_service_say_the_id_alone() {
        let error = translated(RunError::Model(nn::Error::NotFinite));
        assert_eq!(error.to_string(), "the request failed; its id is id");
    }

    #[test]
    fn a_wrong_target_is_the_callers() {
        let error = RunError::Invalid { pointer: "/target".to_owned(), detail: "no".to_owned() };
        assert!(matches!(translated(error), EngineError::Run(RunError::Invalid { .. })));
    }
}
