//! A connection that cannot be held open for nothing: its first bytes must come in time (hyper's auto builder waits
//! for them without a clock), and a caller that stops reading its answer is dropped (hyper has no clock for writes).

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// What HTTP/2 begins with. Until a connection's first bytes differ from it, its protocol is not known.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// `stream` with its two clocks.
pub struct Guarded<S> {
    stream: S,
    /// Runs out while the protocol is not known.
    opening: Option<Pin<Box<Sleep>>>,
    matched: usize,
    /// Runs out while a write makes no progress.
    stalled: Option<Pin<Box<Sleep>>>,
    write_timeout: Duration,
}

impl<S> Guarded<S> {
    pub fn new(stream: S, opening: Duration, write_timeout: Duration) -> Self {
        Self { stream, opening: Some(Box::pin(sleep(opening))), matched: 0, stalled: None, write_timeout }
    }

    fn opened(&mut self, fresh: &[u8]) {
        for &byte in fresh {
            if PREFACE.get(self.matched) != Some(&byte) {
                self.opening = None;
                return;
            }
            self.matched += 1;
        }
        if self.matched == PREFACE.len() {
            self.opening = None;
        }
    }

    /// Passes a write's result on, and the error where it has waited too long.
    fn written<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let timeout = self.write_timeout;
        let clock = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + timeout)));
        match clock.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, into);
        if let Some(clock) = &mut self.opening {
            match &result {
                Poll::Pending if clock.as_mut().poll(context).is_ready() => {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
                Poll::Pending => {}
                Poll::Ready(_) => self.opened(into.filled().get(before..).unwrap_or_default()),
            }
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(result, context)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.written(result, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.written(result, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.written(result, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    const SHORT: Duration = Duration::from_millis(5);
    const LONG: Duration = Duration::from_secs(3600);

    #[tokio::test]
    async fn silence_at_the_beginning_ends_the_connection() {
        for said in ["", "PRI * H"] {
            let (near, mut far) = duplex(64);
            far.write_all(said.as_bytes()).await.unwrap();
            let mut near = Guarded::new(near, SHORT, LONG);
            let error = near.read_to_end(&mut Vec::new()).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        }
    }

    #[tokio::test]
    async fn a_known_protocol_stops_the_clock() {
        let (near, mut far) = duplex(64);
        let mut near = Guarded::new(near, SHORT, LONG);
        far.write_all(b"PO").await.unwrap();
        near.read_exact(&mut [0; 2]).await.unwrap();
        assert!(near.opening.is_none());
    }

    #[tokio::test]
    async fn a_caller_that_does_not_read_is_dropped() {
        let (near, _far) = duplex(8);
        let mut near = Guarded::new(near, LONG, SHORT);
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
