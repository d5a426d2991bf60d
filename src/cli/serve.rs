//! `explaind serve`: opens the socket, loads the models behind it, serves until a signal, drains.

use std::io::Write as _;
use std::net::SocketAddr;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{Failure, load};
use crate::config::{LogFormat, Settings};
use crate::engine::{self, Engine, EngineOptions};
use crate::http::{self, AppState};
use crate::telemetry::{self, Metrics};

/// Threads of the runtime. They move bytes only; the compute has its own.
const RUNTIME_THREADS: usize = 2;
/// How long a failed load may take to say why, once it has broken the engine. Its error has its own exit code.
const LOAD_ERROR: std::time::Duration = std::time::Duration::from_secs(5);
/// Requests made ready at once.
const MAX_PLAN_THREADS: usize = 4;

pub(super) fn run(settings: Settings) -> Result<ExitCode, Failure> {
    telemetry::init(log_format(settings.log.format), &settings.log.level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("explaind-http")
        .enable_all()
        .build()
        .map_err(|error| Failure::io("the runtime", error))?;
    let served = runtime.block_on(serve(Arc::new(settings)));
    // A model that still loads, or a job past the drain, must not hold the exit up.
    runtime.shutdown_background();
    served
}

fn log_format(format: LogFormat) -> telemetry::Format {
    match format {
        LogFormat::Auto => telemetry::Format::Auto,
        LogFormat::Pretty => telemetry::Format::Pretty,
        LogFormat::Json => telemetry::Format::Json,
    }
}

async fn serve(settings: Arc<Settings>) -> Result<ExitCode, Failure> {
    let engine = Engine::start(options(&settings)?);
    let metrics = Arc::new(Metrics::new(env!("CARGO_PKG_VERSION")));
    let state = AppState::new(engine.clone(), Arc::clone(&settings), metrics)?;
    let listener = listen(settings.server.listen).await?;
    let stop = CancellationToken::new();
    stop_on_signal(stop.clone())?;
    let mut server = tokio::spawn(http::serve(listener, state, stop.cancelled_owned()));
    // Probes are answered while the models load on the engine's own thread.
    let mut loading = pin!(engine.load({
        let settings = Arc::clone(&settings);
        move || load::catalog(&load::wanted(&settings), &settings)
    }));
    let mut loaded = false;
    loop {
        tokio::select! {
            biased;
            result = &mut loading, if !loaded => {
                result?;
                loaded = true;
            }
            reason = engine.broken() => {
                // The load's own end may be a moment behind.
                if !loaded && let Ok(result) = tokio::time::timeout(LOAD_ERROR, &mut loading).await {
                    result?;
                }
                return Err(Failure::Engine(reason));
            }
            // The drain is over, whether or not the models ever came.
            ended = &mut server => {
                let served = ended.map_err(|error| Failure::Engine(error.to_string()))?;
                return served.map(|()| ExitCode::SUCCESS).map_err(|error| Failure::io("the server", error));
            }
        }
    }
}

fn options(settings: &Settings) -> Result<EngineOptions, Failure> {
    Ok(EngineOptions {
        threads: settings.compute.threads,
        tokens_per_turn: settings.compute.tokens_per_turn,
        device: engine::open_device(settings.compute.device)?,
        queue: settings.queue.clone(),
        // Tokenising and decoding run beside the compute; more than this would only take its cores.
        plan_threads: settings.compute.threads.min(MAX_PLAN_THREADS),
        limits: settings.limits.clone(),
    })
}

/// Opens the socket and says so: a caller that chose port 0 reads the port from this line.
async fn listen(address: SocketAddr) -> Result<TcpListener, Failure> {
    let failed = |error| Failure::Listen { address, error };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let mut out = std::io::stdout().lock();
    let announced = writeln!(out, "listening on http://{bound}").and_then(|()| out.flush());
    announced.map_err(|error| Failure::io("standard output", error))?;
    Ok(listener)
}

/// The first signal begins the drain, a second ends the process at once with the code a shell expects (128 + signal).
fn stop_on_signal(stop: CancellationToken) -> Result<(), Failure> {
    let mut signals = Signals::new().map_err(|error| Failure::io("signal handlers", error))?;
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping: no new requests are taken, running ones finish");
        stop.cancel();
        std::process::exit(signals.next().await);
    });
    Ok(())
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for a signal; the exit code that it stands for.
    async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => 130,
            _ = self.terminate.recv() => 143,
        }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    async fn next(&mut self) -> i32 {
        match tokio::signal::ctrl_c().await {
            Ok(()) => 130,
            // Without a handler there is no signal to wait for; the system ends the process itself.
            Err(_) => std::future::pending().await,
        }
    }
}
