//! The shared [`Admission`]: permits that give their share back when they are dropped, and waiting for room.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

use super::error::EngineError;
use crate::engine::admission::{Admission, Bounds, Origin, Rate, Refusal, Share};

/// The room of one engine.
pub(super) struct Room {
    state: Mutex<State>,
    /// Somebody has left.
    left: Notify,
}

struct State {
    admission: Admission,
    rate: Rate,
    running: usize,
    /// Since when the time that passes is accounted for.
    seen: Instant,
}

impl State {
    /// Accounts for the time since the last event: it was work if anything ran.
    fn account(&mut self, cost: u64) {
        let seconds = if self.running > 0 { self.seen.elapsed().as_secs_f64() } else { 0.0 };
        self.seen = Instant::now();
        if let Some(rate) = self.rate.observe(cost, seconds) {
            self.admission.set_rate(rate);
        }
    }
}

impl Room {
    pub fn new(bounds: Bounds) -> Self {
        let (admission, seen) = (Admission::new(bounds), Instant::now());
        let state = State { admission, rate: Rate::default(), running: 0, seen };
        Self { state: Mutex::new(state), left: Notify::new() }
    }

    /// Requests, their cost, and how many of them run.
    pub fn status(&self) -> (usize, u64, usize) {
        let state = self.lock();
        (state.admission.requests(), state.admission.cost(), state.running)
    }

    /// Lets a request in by its body, with `wait` when there is room.
    pub async fn enter(self: &Arc<Self>, origin: Origin, body_bytes: u64, wait: bool) -> Result<Permit, EngineError> {
        let share = self.when_room(wait, |admission| admission.enter(origin, body_bytes)).await?;
        Ok(Permit { room: Arc::clone(self), share, running: false })
    }

    pub async fn until_empty(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().admission.requests() == 0 {
                return;
            }
            left.await;
        }
    }

    async fn when_room<T>(
        &self,
        wait: bool,
        mut attempt: impl FnMut(&mut Admission) -> Result<T, Refusal>,
    ) -> Result<T, EngineError> {
        loop {
            // Made before the attempt: a `Notified` hears of everybody who leaves from its creation on.
            let left = self.left.notified();
            let refusal = match attempt(&mut self.lock().admission) {
                Ok(share) => return Ok(share),
                Err(refusal) => refusal,
            };
            match refusal {
                Refusal::Full { .. } if wait => left.await,
                Refusal::Full { retry_after } => return Err(EngineError::QueueFull { retry_after }),
                Refusal::TooCostly { cost, limit } => return Err(EngineError::TooCostly { cost, limit }),
            }
        }
    }

    /// Nothing panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's share of the room; dropping it gives it back.
pub(super) struct Permit {
    room: Arc<Room>,
    share: Share,
    running: bool,
}

impl Permit {
    /// Takes the planned cost as well, with `wait` when there is room.
    pub async fn charge(mut self, cost: u64, wait: bool) -> Result<Self, EngineError> {
        let room = Arc::clone(&self.room);
        let share = &mut self.share;
        room.when_room(wait, |admission| admission.charge(share, cost)).await?;
        Ok(self)
    }

    /// The job has its place and runs.
    pub fn begin(&mut self) {
        let mut state = self.room.lock();
        state.account(0);
        state.running += 1;
        self.running = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.room.lock();
        if self.running {
            state.account(self.share.cost());
            state.running = state.running.saturating_sub(1);
        }
        state.admission.leave(self.share);
        drop(state);
        self.room.left.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(requests: usize, cost: u64) -> Arc<Room> {
        Arc::new(Room::new(Bounds { requests, body_bytes: 1000, cost }))
    }

    #[tokio::test]
    async fn a_dropped_permit_gives_its_share_back() {
        let room = room(2, 10);
        let permit = room.enter(Origin::Interactive, 5, false).await.unwrap();
        let mut permit = permit.charge(7, false).await.unwrap();
        permit.begin();
        assert_eq!(room.status(), (1, 7, 1));
        drop(permit);
        assert_eq!(room.status(), (0, 0, 0));
    }

    #[tokio::test]
    async fn a_refused_charge_gives_everything_back() {
        let room = room(2, 10);
        let permit = room.enter(Origin::Interactive, 5, false).await.unwrap();
        let refused = permit.charge(11, true).await;
        assert!(matches!(refused, Err(EngineError::TooCostly { cost: 11, limit: 10 })));
        assert_eq!(room.status(), (0, 0, 0));
    }

    #[tokio::test]
    async fn a_full_room_refuses_at_once_unless_one_waits() {
        let room = room(1, 10);
        let first = room.enter(Origin::Bulk, 5, true).await.unwrap();
        assert!(matches!(room.enter(Origin::Interactive, 5, false).await, Err(EngineError::QueueFull { .. })));
        let second = room.enter(Origin::Bulk, 5, true);
        tokio::pin!(second);
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        assert!(second.await.is_ok());
    }

    #[tokio::test]
    async fn until_empty_waits_for_the_last() {
        let room = room(2, 10);
        let permit = room.enter(Origin::Interactive, 5, false).await.unwrap();
        let empty = room.until_empty();
        tokio::pin!(empty);
        assert!(futures_util::poll!(&mut empty).is_pending());
        drop(permit);
        empty.await;
    }
}
