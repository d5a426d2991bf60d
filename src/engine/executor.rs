//! Whose turn it is to compute.
//!
//! [`Turns`] is a fair lock over the compute. A job takes the turn for a chunk of rows and offers it back after every
//! layer; whoever has the least planned work left goes first. A waiting job's claim halves its cost each time
//! it is passed over, so the dearest job gets a layer in after at most a few dozen of others and nothing starves.
//! Turns decide when something is computed and never what: no result depends on their order.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::deadline::Watch;
use crate::nn::Stopped;

/// A fair lock over the compute, shared by all jobs.
#[derive(Debug, Default)]
pub struct Turns {
    /// How many wait: all that an offer reads where nobody does.
    waiting: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: bool,
    /// In order of arrival.
    waiters: Vec<Waiter>,
    next: u64,
    /// Threads of the pool that computes, on which jobs wait between two layers.
    blocked: usize,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    remaining: u64,
    passed_over: u32,
    signal: Arc<Condvar>,
}

impl Waiter {
    /// Its remaining cost, halved each time it was passed over.
    fn claim(&self) -> u64 {
        self.remaining.checked_shr(self.passed_over).unwrap_or(0)
    }
}

impl State {
    /// Index of the waiter with the smallest claim; the oldest of equal ones.
    fn first(&self) -> Option<usize> {
        (0..self.waiters.len()).min_by_key(|&index| self.waiters[index].claim())
    }

    /// Gives the free turn to the first waiter, and ages the others.
    fn hand_over(&mut self) {
        let Some(index) = self.first() else {
            self.held = false;
            return;
        };
        // The turn stays held: it goes from hand to hand, and nobody can come between.
        self.held = true;
        let chosen = self.waiters.remove(index);
        self.age();
        chosen.signal.notify_one();
    }

    fn age(&mut self) {
        for waiter in &mut self.waiters {
            waiter.passed_over = waiter.passed_over.saturating_add(1);
        }
    }

    fn waits(&self, id: u64) -> bool {
        self.waiters.iter().any(|waiter| waiter.id == id)
    }
}

impl Turns {
    pub fn new() -> Self {
        Self::default()
    }

    /// A place for a job that plans to compute `cost` tokens.
    pub fn seat(&self, cost: u64) -> Seat<'_> {
        Seat { turns: self, remaining: AtomicU64::new(cost), holds: AtomicBool::new(false), signal: Arc::default() }
    }

    /// Lets every waiting job look at its deadline and its stop flag again: called after a flag was set.
    pub fn nudge(&self) {
        for waiter in &self.lock().waiters {
            waiter.signal.notify_one();
        }
    }

    /// Jobs that wait for the turn.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// No code panics while it holds the lock, so a poisoned one still guards a sound state.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, state: &State) {
        self.waiting.store(state.waiters.len(), Ordering::Relaxed);
    }

    /// Queues and waits until the turn is this seat's.
    fn wait(&self, mut state: MutexGuard<'_, State>, seat: &Seat<'_>, watch: Watch<'_>) -> Result<(), Stopped> {
        let id = state.next;
        state.next += 1;
        let signal = Arc::clone(&seat.signal);
        state.waiters.push(Waiter { id, remaining: seat.remaining.load(Ordering::Relaxed), passed_over: 0, signal });
        if !state.held {
            state.hand_over();
        }
        self.count(&state);
        while state.waits(id) {
            if let Err(stopped) = watch.check() {
                state.waiters.retain(|waiter| waiter.id != id);
                self.count(&state);
                return Err(stopped);
            }
            state = match watch.deadline.remaining() {
                // A counted deadline and none at all end with the turn or a nudge.
                None => seat.signal.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) => seat.signal.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
            };
        }
        seat.holds.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn release(&self) {
        let mut state = self.lock();
        state.hand_over();
        self.count(&state);
    }
}

/// One job's place at the compute.
#[derive(Debug)]
pub struct Seat<'t> {
    turns: &'t Turns,
    /// Planned tokens not yet computed.
    remaining: AtomicU64,
    holds: AtomicBool,
    signal: Arc<Condvar>,
}

impl<'t> Seat<'t> {
    /// Waits for the turn, which ends when the guard is dropped.
    ///
    /// # Errors
    /// The deadline has passed, or nobody waits for the job any more.
    pub fn take(&self, watch: Watch<'_>) -> Result<Turn<'_, 't>, Stopped> {
        if !self.holds.load(Ordering::Relaxed) {
            watch.check()?;
            self.turns.wait(self.turns.lock(), self, watch)?;
        }
        Ok(Turn { seat: self })
    }

    /// Between two layers: lets a job go first that has less left to do, then comes back with the turn. On a pool of
    /// threads one stays free for the job that has the turn; on a pool of one, jobs change between chunks alone.
    ///
    /// # Errors
    /// The job has to stop while another one has the turn.
    pub fn offer(&self, watch: Watch<'_>) -> Result<(), Stopped> {
        // A job that has just begun to wait may be missed here and is seen one layer later.
        if self.turns.waiting() == 0 || !self.holds.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mut state = self.turns.lock();
        let Some(first) = state.first() else { return Ok(()) };
        let on_pool = rayon::current_thread_index().is_some();
        // The job that gets the turn computes on the pool as well: were all of its threads waiting here, nobody would.
        let last = on_pool && state.blocked + 1 >= rayon::current_num_threads();
        if last || state.waiters[first].claim() >= self.remaining.load(Ordering::Relaxed) {
            state.age();
            return Ok(());
        }
        self.holds.store(false, Ordering::Relaxed);
        state.blocked += usize::from(on_pool);
        // Handed over before this job queues, so that the turn cannot come straight back to it.
        state.hand_over();
        let waited = self.turns.wait(state, self, watch);
        self.turns.lock().blocked -= usize::from(on_pool);
        waited
    }

    /// `tokens` of the plan are done.
    pub fn spend(&self, tokens: u64) {
        let left = self.remaining.load(Ordering::Relaxed).saturating_sub(tokens);
        self.remaining.store(left, Ordering::Relaxed);
    }
}

/// The turn at the compute; dropping it, also in a panic, passes it on.
#[must_use]
#[derive(Debug)]
pub struct Turn<'s, 't> {
    seat: &'s Seat<'t>,
}

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        if self.seat.holds.swap(false, Ordering::Relaxed) {
            self.seat.turns.release();
        }
    }
}

#[cfg(test)]
mod tests;
