//! Accepts connections: bounded in number, with a clock on everything a caller could drag out, and a shutdown that
//! lets running requests end.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::{BoxError, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::connection::Guarded;
use super::router::router;
use super::state::AppState;

/// How long accepting pauses where the process is out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long answers of cancelled requests may take to be written.
const LAST_WORDS: Duration = Duration::from_secs(2);
const MAX_HEADERS: usize = 100;
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_STREAMS: u32 = 64;
/// An HTTP/2 caller that has gone without a word is noticed by pings.
const PING_EVERY: Duration = Duration::from_secs(20);

/// Serves until `shutdown` resolves. Then `/readyz` and new requests are answered 503, on new connections too; running
/// requests have `server.drain` to end, are cancelled after it, and every connection is closed.
///
/// # Errors
/// The listener is unusable.
pub async fn serve(listener: TcpListener, state: AppState, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let mut server = Server {
        builder: builder(&state),
        router: router(state.clone()),
        state: state.clone(),
        kill: CancellationToken::new(),
    };
    let room = Arc::new(Semaphore::new(state.settings.server.connections.clamp(1, Semaphore::MAX_PERMITS)));
    let graceful = GracefulShutdown::new();
    let mut shutdown = pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut shutdown => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, peer, place)) => server.spawn(stream, peer, place, Some(graceful.watcher())),
            Err(error) if is_transient(&error) => {
                tracing::warn!(%error, "a connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
    state.begin_draining();
    // One answer each: who comes now only asks how things are.
    server.builder.http1().keep_alive(false);
    let drain = state.settings.server.drain;
    tracing::info!(drain_seconds = drain.as_secs_f64(), "shutting down");
    let mut end = pin!(async {
        let (_whole, closed) =
            tokio::join!(state.engine.drain(drain), timeout(drain + LAST_WORDS, graceful.shutdown()));
        closed.is_ok()
    });
    let closed = loop {
        tokio::select! {
            biased;
            closed = &mut end => break closed,
            accepted = accept(&listener, &room) => match accepted {
                Ok((stream, peer, place)) => server.spawn(stream, peer, place, None),
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    };
    if !closed {
        tracing::warn!("connections were cut: their callers did not read their answers in time");
    }
    server.kill.cancel();
    Ok(())
}

/// Waits for room first, so that callers beyond the bound queue in the kernel, not here.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    Ok((stream, peer, place))
}

/// Whether the next connection may work: this one broke early, or descriptors or memory are short for now.
fn is_transient(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, OutOfMemory, WouldBlock};
    // ENFILE, EMFILE, ENOBUFS.
    let short = matches!(error.raw_os_error(), Some(23 | 24 | 105));
    let kinds = [ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, OutOfMemory, WouldBlock];
    short || kinds.contains(&error.kind())
}

fn builder(state: &AppState) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(state.settings.server.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(u32::try_from(MAX_HEAD_BYTES).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(PING_EVERY);
    builder
}

type Serving = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

struct Server {
    builder: Builder<TokioExecutor>,
    router: Router,
    state: AppState,
    kill: CancellationToken,
}

impl Server {
    /// Serves one connection on a task of its own; `place` is given back when it ends. Without a watcher it came after
    /// the shutdown began: nobody waits for it.
    fn spawn(&self, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit, watcher: Option<Watcher>) {
        let limits = &self.state.settings.server;
        // Answers are written whole; waiting to fill a packet only delays them.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(Guarded::new(stream, limits.header_timeout, limits.body_timeout));
        let service = self.router.clone().map_request(move |request: Request<hyper::body::Incoming>| {
            let mut request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            request
        });
        let connection = self.builder.serve_connection(io, TowerToHyperService::new(service)).into_owned();
        let connection: Serving = match watcher {
            Some(watcher) => Box::pin(watcher.watch(connection)),
            None => Box::pin(connection),
        };
        let kill = self.kill.clone();
        tokio::spawn(async move {
            let _place = place;
            tokio::select! {
                ended = connection => {
                    if let Err(error) = ended {
                        tracing::debug!(error, "a connection broke");
                    }
                }
                () = kill.cancelled() => {}
            }
        });
    }
}
