//! When a job has to stop: its deadline and its caller's wish. Values that are handed down; nothing here waits.
//!
//! [`Deadline`] is the only clock of a job. Code that computes sees it through [`Watch`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::nn::Stopped;

/// A point in time after which nobody wants the answer, and the time since the request arrived.
#[derive(Debug)]
pub struct Deadline(Kind);

#[derive(Debug)]
enum Kind {
    Clock { arrived: Instant, limit: Option<Duration> },
    Checks { allowed: u64, made: AtomicU64 },
}

impl Deadline {
    /// `limit` from now.
    pub fn after(limit: Duration) -> Self {
        Self(Kind::Clock { arrived: Instant::now(), limit: Some(limit) })
    }

    /// Counts time and never passes.
    pub fn none() -> Self {
        Self(Kind::Clock { arrived: Instant::now(), limit: None })
    }

    /// Passes at the check after `allowed` ones, whatever the time: tests stop a job at a chosen place with it.
    pub fn after_checks(allowed: u64) -> Self {
        Self(Kind::Checks { allowed, made: AtomicU64::new(0) })
    }

    /// The same arrival with another limit, counted from the arrival.
    pub fn with_limit(&self, limit: Duration) -> Self {
        let arrived = match &self.0 {
            Kind::Clock { arrived, .. } => *arrived,
            Kind::Checks { .. } => Instant::now(),
        };
        Self(Kind::Clock { arrived, limit: Some(limit) })
    }

    pub fn passed(&self) -> bool {
        match &self.0 {
            Kind::Clock { arrived, limit } => limit.is_some_and(|limit| arrived.elapsed() >= limit),
            Kind::Checks { allowed, made } => made.fetch_add(1, Ordering::Relaxed) >= *allowed,
        }
    }

    /// How long one may wait; `None`: for ever.
    pub fn remaining(&self) -> Option<Duration> {
        match &self.0 {
            Kind::Clock { arrived, limit } => limit.map(|limit| limit.saturating_sub(arrived.elapsed())),
            Kind::Checks { .. } => None,
        }
    }

    /// Since the arrival; zero where only checks are counted.
    pub fn elapsed(&self) -> Duration {
        match &self.0 {
            Kind::Clock { arrived, .. } => arrived.elapsed(),
            Kind::Checks { .. } => Duration::ZERO,
        }
    }

    /// Checks made so far, where they are counted.
    pub fn checks(&self) -> u64 {
        match &self.0 {
            Kind::Clock { .. } => 0,
            Kind::Checks { made, .. } => made.load(Ordering::Relaxed),
        }
    }
}

/// A job's stop flag, together with the one that stops all jobs. Clones share both.
#[derive(Debug, Clone, Default)]
pub struct Cancel {
    own: Arc<AtomicBool>,
    all: Arc<AtomicBool>,
}

impl Cancel {
    pub fn new() -> Self {
        Self::default()
    }

    /// A flag of its own beside this one's flag for all.
    pub fn sibling(&self) -> Self {
        Self { own: Arc::default(), all: Arc::clone(&self.all) }
    }

    pub fn cancel(&self) {
        self.own.store(true, Ordering::Relaxed);
    }

    /// Stops this job and every sibling, those to come included.
    pub fn cancel_all(&self) {
        self.all.store(true, Ordering::Relaxed);
    }

    pub fn is_cancelled(&self) -> bool {
        self.own.load(Ordering::Relaxed) || self.all.load(Ordering::Relaxed)
    }
}

/// What a running job looks at between two steps.
#[derive(Debug, Clone, Copy)]
pub struct Watch<'a> {
    pub deadline: &'a Deadline,
    pub cancel: &'a Cancel,
}

impl Watch<'_> {
    /// An error once nobody waits any more or the deadline has passed; a caller who has gone is named first.
    pub fn check(&self) -> Result<(), Stopped> {
        if self.cancel.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        if self.deadline.passed() { Err(Stopped::Deadline) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counted_deadline_passes_after_its_checks() {
        let deadline = Deadline::after_checks(2);
        assert_eq!([deadline.passed(), deadline.passed(), deadline.passed()], [false, false, true]);
        assert_eq!(deadline.checks(), 3);
    }

    #[test]
    fn zero_limit_has_passed_at_once() {
        let deadline = Deadline::after(Duration::ZERO);
        assert!(deadline.passed());
        assert_eq!(deadline.remaining(), Some(Duration::ZERO));
        assert!(!Deadline::none().passed());
    }

    #[test]
    fn cancel_is_named_before_the_deadline() {
        let (deadline, cancel) = (Deadline::after(Duration::ZERO), Cancel::new());
        let watch = Watch { deadline: &deadline, cancel: &cancel };
        assert_eq!(watch.check(), Err(Stopped::Deadline));
        cancel.cancel();
        assert_eq!(watch.check(), Err(Stopped::Cancelled));
    }

    #[test]
    fn cancel_all_reaches_siblings_and_cancel_does_not() {
        let first = Cancel::new();
        let second = first.sibling();
        first.cancel();
        assert!(!second.is_cancelled());
        first.cancel_all();
        assert!(second.is_cancelled() && second.sibling().is_cancelled());
    }
}
