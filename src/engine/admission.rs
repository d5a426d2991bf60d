//! Admission: which requests may come in, decided early. A data structure of sums; it has no clock, no threads and
//! does not wait (the async handle does, for those that want to).
//!
//! A request is let in twice: by its number and body before it is planned ([`Admission::enter`]), and by its planned
//! cost once that is known ([`Admission::charge`]). Both shares stay taken until it has been answered
//! ([`Admission::leave`]): what runs counts as well as what waits.

use std::time::Duration;

/// What all admitted requests may take together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    pub requests: usize,
    pub body_bytes: u64,
    /// Planned rows × tokens.
    pub cost: u64,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody waits for this very answer.
    Interactive,
    /// A line of a batch: takes at most half of the room, so that batches leave the other half to interactive
    /// requests.
    Bulk,
}

/// A request's share of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    origin: Origin,
    body_bytes: u64,
    cost: u64,
}

impl Share {
    /// The planned cost it holds; 0 before the second stage.
    pub fn cost(&self) -> u64 {
        self.cost
    }
}

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// There is no room now; there should be after this time.
    Full { retry_after: Duration },
    /// It needs more than the whole room.
    TooCostly { cost: u64, limit: u64 },
}

#[derive(Debug, Clone, Copy, Default)]
struct Taken {
    requests: usize,
    body_bytes: u64,
    cost: u64,
}

/// The room and what is taken of it.
#[derive(Debug)]
pub struct Admission {
    bounds: Bounds,
    all: Taken,
    bulk: Taken,
    /// Planned cost worked off a second, once measured.
    rate: Option<f64>,
}

impl Admission {
    pub fn new(bounds: Bounds) -> Self {
        Self { bounds, all: Taken::default(), bulk: Taken::default(), rate: None }
    }

    /// First stage, before planning.
    ///
    /// # Errors
    /// [`Refusal::Full`]; the first request is always let in, however large its body (`http` bounds bodies).
    pub fn enter(&mut self, origin: Origin, body_bytes: u64) -> Result<Share, Refusal> {
        let bounds = self.bounds;
        let over = |taken: &Taken, parts: u64| {
            taken.requests > 0
                && (taken.requests as u64 + 1 > bounds.requests as u64 / parts
                    || taken.body_bytes.saturating_add(body_bytes) > bounds.body_bytes / parts)
        };
        if over(&self.all, 1) || (origin == Origin::Bulk && over(&self.bulk, 2)) {
            return Err(self.full());
        }
        let share = Share { origin, body_bytes, cost: 0 };
        self.each(origin, |taken| {
            taken.requests += 1;
            taken.body_bytes += body_bytes;
        });
        Ok(share)
    }

    /// Second stage, once the cost is known. `share` stays as it was where this fails.
    ///
    /// # Errors
    /// [`Refusal::TooCostly`] whatever else is queued, else [`Refusal::Full`].
    pub fn charge(&mut self, share: &mut Share, cost: u64) -> Result<(), Refusal> {
        let limit = self.bounds.cost;
        if cost > limit {
            return Err(Refusal::TooCostly { cost, limit });
        }
        let full = self.all.cost.saturating_add(cost) > limit;
        // A line that needs more than half goes in alone among the lines.
        let half = self.bulk.cost > 0 && self.bulk.cost.saturating_add(cost) > limit / 2;
        if full || (share.origin == Origin::Bulk && half) {
            return Err(self.full());
        }
        share.cost += cost;
        self.each(share.origin, |taken| taken.cost += cost);
        Ok(())
    }

    /// The request has been answered, or given up.
    pub fn leave(&mut self, share: Share) {
        self.each(share.origin, |taken| {
            taken.requests = taken.requests.saturating_sub(1);
            taken.body_bytes = taken.body_bytes.saturating_sub(share.body_bytes);
            taken.cost = taken.cost.saturating_sub(share.cost);
        });
    }

    /// The planned cost that is worked off a second, from measurement.
    pub fn set_rate(&mut self, rate: f64) {
        self.rate = (rate.is_finite() && rate > 0.0).then_some(rate);
    }

    pub fn requests(&self) -> usize {
        self.all.requests
    }

    pub fn cost(&self) -> u64 {
        self.all.cost
    }

    fn each(&mut self, origin: Origin, change: impl Fn(&mut Taken)) {
        change(&mut self.all);
        if origin == Origin::Bulk {
            change(&mut self.bulk);
        }
    }

    /// The time in which all that is admitted will be done, in whole seconds from 1 to 60: a guess far ahead helps
    /// nobody, and 0 would invite a retry at once.
    fn full(&self) -> Refusal {
        let seconds = self.rate.map_or(1.0, |rate| self.all.cost as f64 / rate);
        Refusal::Full { retry_after: Duration::from_secs(seconds.ceil().clamp(1.0, 60.0) as u64) }
    }
}

/// How fast planned cost is worked off: a mean that forgets what lies several seconds of work back.
#[derive(Debug, Default)]
pub struct Rate {
    cost: f64,
    seconds: f64,
}

impl Rate {
    /// Seconds of work after which a measurement counts half.
    const HALF_LIFE: f64 = 10.0;

    /// `cost` was worked off in `seconds` during which something ran. Returns the rate a second, once there is one.
    pub fn observe(&mut self, cost: u64, seconds: f64) -> Option<f64> {
        let keep = 0.5f64.powf(seconds / Self::HALF_LIFE);
        self.cost = self.cost * keep + cost as f64;
        self.seconds = self.seconds * keep + seconds;
        (self.seconds > 0.0 && self.cost > 0.0).then(|| self.cost / self.seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::Origin::{Bulk, Interactive};
    use super::*;

    fn room() -> Admission {
        Admission::new(Bounds { requests: 4, body_bytes: 1000, cost: 100 })
    }

    fn full(seconds: u64) -> Refusal {
        Refusal::Full { retry_after: Duration::from_secs(seconds) }
    }

    #[test]
    fn requests_are_bounded_before_they_are_planned() {
        let mut room = room();
        for _ in 0..4 {
            room.enter(Interactive, 1).unwrap();
        }
        assert_eq!(room.enter(Interactive, 1), Err(full(1)));
    }

    #[test]
    fn bodies_are_bounded_before_they_are_planned() {
        let mut room = room();
        let share = room.enter(Interactive, 5000).expect("the first comes in, whatever its size");
        assert_eq!(room.enter(Interactive, 1), Err(full(1)));
        room.leave(share);
        room.enter(Interactive, 600).unwrap();
        assert_eq!(room.enter(Interactive, 401), Err(full(1)));
        assert!(room.enter(Interactive, 400).is_ok());
    }

    #[test]
    fn a_request_over_the_whole_queue_is_too_costly_even_in_an_empty_one() {
        let mut room = room();
        let mut share = room.enter(Interactive, 1).unwrap();
        assert_eq!(room.charge(&mut share, 101), Err(Refusal::TooCostly { cost: 101, limit: 100 }));
        assert_eq!(room.charge(&mut share, u64::MAX), Err(Refusal::TooCostly { cost: u64::MAX, limit: 100 }));
        assert_eq!(room.charge(&mut share, 100), Ok(()));
    }

    #[test]
    fn a_refused_dear_request_does_not_keep_a_cheap_one_out() {
        let mut room = room();
        let mut running = room.enter(Interactive, 1).unwrap();
        room.charge(&mut running, 60).unwrap();
        let mut dear = room.enter(Interactive, 1).unwrap();
        assert_eq!(room.charge(&mut dear, 50), Err(full(1)));
        let mut cheap = room.enter(Interactive, 1).unwrap();
        assert_eq!(room.charge(&mut cheap, 40), Ok(()));
    }

    #[test]
    fn retry_after_is_the_queued_cost_over_the_rate() {
        let mut room = room();
        let mut share = room.enter(Interactive, 1).unwrap();
        room.charge(&mut share, 100).unwrap();
        for (rate, seconds) in [(1000.0, 1), (10.0, 10), (0.1, 60), (f64::NAN, 1), (0.0, 1)] {
            room.set_rate(rate);
            let mut other = share;
            assert_eq!(room.charge(&mut other, 1), Err(full(seconds)), "{rate}");
        }
    }

    #[test]
    fn batch_lines_leave_half_of_the_room() {
        let mut room = room();
        let mut first = room.enter(Bulk, 1).unwrap();
        let mut second = room.enter(Bulk, 1).unwrap();
        assert_eq!(room.enter(Bulk, 1), Err(full(1)));
        room.charge(&mut first, 40).unwrap();
        assert_eq!(room.charge(&mut second, 11), Err(full(1)));
        room.charge(&mut second, 10).unwrap();
        let mut other = room.enter(Interactive, 1).unwrap();
        assert_eq!(room.charge(&mut other, 50), Ok(()));
    }

    #[test]
    fn a_dear_batch_line_goes_in_alone() {
        let mut room = room();
        let mut line = room.enter(Bulk, 1).unwrap();
        assert_eq!(room.charge(&mut line, 90), Ok(()));
    }

    #[test]
    fn one_place_serves_batches_too() {
        let mut room = Admission::new(Bounds { requests: 1, body_bytes: 10, cost: 10 });
        let share = room.enter(Bulk, 1).unwrap();
        assert!(room.enter(Bulk, 1).is_err());
        room.leave(share);
        assert!(room.enter(Bulk, 1).is_ok());
    }

    #[test]
    fn the_rate_forgets_what_lies_back() {
        let mut rate = Rate::default();
        assert_eq!(rate.observe(0, 0.0), None);
        assert_eq!(rate.observe(100, 1.0), Some(100.0));
        let mut last = 0.0;
        for _ in 0..100 {
            last = rate.observe(10, 1.0).unwrap();
        }
        assert!((last - 10.0).abs() < 0.2, "{last}");
    }

    proptest! {
        #[test]
        fn sums_stay_inside_the_bounds_and_return_to_zero(
            steps in prop::collection::vec((any::<bool>(), 0u64..700, 0u64..130, any::<bool>()), 0..60)
        ) {
            let mut room = room();
            let mut inside = Vec::new();
            for (bulk, bytes, cost, leave) in steps {
                if let Ok(mut share) = room.enter(if bulk { Bulk } else { Interactive }, bytes) {
                    let _ = room.charge(&mut share, cost);
                    inside.push(share);
                }
                if leave && !inside.is_empty() {
                    room.leave(inside.remove(0));
                }
                prop_assert!(room.requests() == inside.len() && room.requests() <= 4 && room.cost() <= 100);
            }
            for share in inside {
                room.leave(share);
            }
            prop_assert_eq!((room.requests(), room.cost(), room.all.body_bytes, room.bulk.requests), (0, 0, 0, 0));
        }
    }
}
