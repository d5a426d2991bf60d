//! Reads bodies: bounded in bytes, in time, and all connections' large ones together in memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, EXPECT};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::problem::{Code, Problem};
use super::state::AppState;

/// Bodies up to this size cost no room: a thousand connections of them stay within tens of megabytes.
const FREE_BYTES: usize = 64 * 1024;

/// A whole body, and the room it takes until it is dropped.
pub struct Whole {
    pub bytes: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

/// Reads a whole body.
///
/// # Errors
/// 400 the caller broke off; 408; 413; 503 where large bodies of other callers fill the room, or a shutdown begins.
pub async fn read(state: &AppState, headers: &HeaderMap, mut body: Body) -> Result<Whole, Problem> {
    let limit = state.settings.limits.body_bytes;
    let end = Instant::now() + state.settings.server.body_timeout;
    let declared = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|bytes| usize::try_from(bytes).map_or(true, |bytes| bytes > limit)) {
        // A caller that asks first has sent nothing yet, and reading would tell it to go on.
        if !headers.contains_key(EXPECT) {
            discard(body, limit, end).await;
        }
        return Err(too_large(limit));
    }
    let mut bytes = Vec::new();
    let mut room = None;
    loop {
        let chunk = tokio::select! {
            biased;
            chunk = next_chunk(&mut body, end) => chunk?,
            // Whatever is still to come of it would be refused.
            () = state.until_draining() => return Err(Problem::draining()),
        };
        let Some(chunk) = chunk else { break };
        if bytes.len() + chunk.len() > limit {
            discard(body, limit, end).await;
            return Err(too_large(limit));
        }
        take_room(state, &mut room, bytes.len() + chunk.len())?;
        bytes.extend_from_slice(&chunk);
    }
    Ok(Whole { bytes, _room: room })
}

/// Grows `room` to what `bytes` need. Never waits, so that two half-read bodies cannot wait for each other.
fn take_room(state: &AppState, room: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Problem> {
    let needed = if bytes <= FREE_BYTES { 0 } else { kib(bytes) };
    let held = room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
    let more = u32::try_from(needed.saturating_sub(held)).unwrap_or(u32::MAX);
    if more == 0 {
        return Ok(());
    }
    let permit = state.body_room.clone().try_acquire_many_owned(more).map_err(|_| {
        Problem::new(Code::QueueFull, "too many large bodies are being read; come back after Retry-After seconds")
            .retry_after(Duration::from_secs(1))
    })?;
    match room {
        Some(room) => room.merge(permit),
        None => *room = Some(permit),
    }
    Ok(())
}

/// Waits for the room of one line of at most `bytes`: all at once, so that no two half-read lines wait for each other.
pub async fn wait_for_room(room: &Arc<Semaphore>, bytes: usize) -> Option<OwnedSemaphorePermit> {
    let permits = u32::try_from(kib(bytes)).unwrap_or(u32::MAX);
    room.clone().acquire_many_owned(permits).await.ok()
}

/// Whether a body or line of so many bytes needs room.
pub fn needs_room(bytes: usize) -> bool {
    bytes > FREE_BYTES
}

fn kib(bytes: usize) -> usize {
    bytes.div_ceil(1024)
}

/// The next piece, `None` at the end.
///
/// # Errors
/// 400 the caller broke off; 408 nothing came before `end`.
pub async fn next_chunk(body: &mut Body, end: Instant) -> Result<Option<Bytes>, Problem> {
    loop {
        let frame = timeout_at(end, body.frame())
            .await
            .map_err(|_| Problem::new(Code::BodyTimeout, "the body did not come within server.body_seconds"))?;
        match frame {
            None => return Ok(None),
            Some(Err(_)) => return Err(Problem::new(Code::BadRequest, "the body broke off")),
            Some(Ok(frame)) => {
                // Trailers are not data.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

pub fn too_large(limit: usize) -> Problem {
    Problem::new(Code::TooLarge, format!("the body is larger than {limit} bytes; send less or raise limits.body_bytes"))
}

/// Reads on for a while: a caller that is still writing when the connection closes may never see the answer.
async fn discard(mut body: Body, limit: usize, end: Instant) {
    let mut seen = 0;
    while seen <= limit {
        match next_chunk(&mut body, end).await {
            Ok(Some(chunk)) => seen += chunk.len(),
            _ => return,
        }
    }
}
