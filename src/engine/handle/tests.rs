//! The engine without models: its phases, its threads and what it refuses. Whole requests are tested over HTTP.

use std::sync::mpsc;

use super::worker::{Failure, on_thread, outcome};
use super::*;
use crate::explain::LoadError;

fn options() -> EngineOptions {
    let limits = config::Limits {
        body_bytes: 1000,
        pixels: 1000,
        text_chars: 1000,
        explanations: 8,
        max_evaluations: 100,
        response_values: 1000,
        deadline_ms: 1000,
        batch_lines: 10,
        requests_per_minute_per_address: 0,
    };
    let queue = config::Queue { cost: 1000, requests: 4 };
    EngineOptions { threads: 1, tokens_per_turn: 64, device: Device::default(), queue, plan_threads: 1, limits }
}

fn request() -> JobRequest {
    JobRequest {
        id: "id".to_owned(),
        request: ExplainRequest::default(),
        image: None,
        body_bytes: 10,
        wanted: Wanted::Prediction,
        wait: false,
        feed: None,
        span: Span::none(),
    }
}

#[tokio::test]
async fn nothing_is_taken_before_the_models_are_there() {
    let engine = Engine::start(options());
    assert_eq!((engine.phase(), engine.catalog().is_none()), (Phase::Loading, true));
    let refused = engine.run(request()).await;
    assert!(matches!(refused, Err(EngineError::NotReady { phase: Phase::Loading })));
    assert_eq!(engine.status(), EngineStatus::default());
}

#[tokio::test]
async fn a_load_makes_it_ready() {
    let engine = Engine::start(options());
    let (go, wait) = mpsc::channel::<()>();
    let loading = engine.load(move || {
        wait.recv().unwrap();
        Ok(Catalog::default())
    });
    assert_eq!(engine.phase(), Phase::Loading, "the load runs beside");
    go.send(()).unwrap();
    loading.await.unwrap();
    assert_eq!((engine.phase(), engine.phase_detail()), (Phase::Ready, String::new()));
    assert!(engine.catalog().is_some());
    assert_eq!(engine.settled().await, Phase::Ready);
}

#[tokio::test]
async fn a_failed_load_breaks_it_and_says_why() {
    let engine = Engine::start(options());
    let error = engine.load(|| Err(LoadError::DuplicateName("m".to_owned()))).await.unwrap_err();
    assert!(matches!(error, StartError::Load(LoadError::DuplicateName(_))));
    assert_eq!(engine.broken().await, error.to_string());
    assert!(matches!(engine.run(request()).await, Err(EngineError::NotReady { phase: Phase::Broken })));
}

#[tokio::test]
async fn a_panic_while_loading_breaks_it() {
    let engine = Engine::start(options());
    let error = engine.load(|| panic!("planned")).await.unwrap_err();
    assert!(matches!(error, StartError::Panicked));
    assert_eq!(engine.phase(), Phase::Broken);
}

#[tokio::test]
async fn a_drain_of_an_idle_engine_ends_at_once_and_refuses_from_then_on() {
    let engine = Engine::start(options());
    engine.load(|| Ok(Catalog::default())).await.unwrap();
    assert!(engine.drain(Duration::from_secs(60)).await);
    assert_eq!(engine.phase(), Phase::Draining);
    assert!(matches!(engine.run(request()).await, Err(EngineError::Draining)));
}

#[tokio::test]
async fn a_drain_cancels_what_is_left_when_its_time_is_up() {
    let engine = Engine::start(options());
    let permit = engine.shared.room.enter(Origin::Interactive, 1, false).await.unwrap();
    let job = engine.shared.cancel.sibling();
    let leaving = async {
        engine.shared.ended.cancelled().await;
        assert!(job.is_cancelled());
        drop(permit);
    };
    let (idle, ()) = tokio::join!(engine.drain(Duration::ZERO), leaving);
    assert!(!idle);
    assert_eq!(engine.status(), EngineStatus::default());
}

#[tokio::test]
async fn work_is_done_on_a_named_thread() {
    let name = on_thread("explaind-test", || std::thread::current().name().map(str::to_owned));
    assert_eq!(outcome(name).await.unwrap().as_deref(), Some("explaind-test"));
}

#[tokio::test]
async fn a_panic_on_a_thread_is_a_value() {
    let panicking = on_thread("explaind-test", || panic!("planned"));
    assert!(matches!(outcome::<()>(panicking).await, Err(Failure::Panicked)));
}

#[tokio::test]
async fn a_passed_deadline_ends_a_wait() {
    let due = Deadline::after(Duration::ZERO);
    let ended = within(&due, std::future::pending::<()>()).await;
    assert!(matches!(ended, Err(EngineError::Deadline { done: 0 })));
    assert!(within(&Deadline::none(), async {}).await.is_ok());
}

#[test]
fn a_dropped_caller_sets_the_flag() {
    let (cancel, turns) = (Cancel::new(), Arc::<Turns>::default());
    drop(CancelOnDrop { cancel: cancel.clone(), turns, waits: true });
    assert!(cancel.is_cancelled());
}
