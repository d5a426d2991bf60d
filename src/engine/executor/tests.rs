//! Threads meet at counters and channels, never at times: each test decides who waits before it lets anybody go on.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;
use crate::engine::deadline::{Cancel, Deadline};

/// Spins until `count` jobs wait: the one thing that a thread inside `take` cannot report itself.
fn until_waiting(turns: &Turns, count: usize) {
    while turns.waiting() != count {
        thread::yield_now();
    }
}

/// Queues jobs of the given costs behind a held turn, lets go, and tells in which order they had it.
fn order_of(costs: &[u64]) -> Vec<u64> {
    let turns = Turns::new();
    let (deadline, cancel) = (Deadline::none(), Cancel::new());
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let seat = turns.seat(0);
        let turn = seat.take(watch).unwrap();
        for (index, &cost) in costs.iter().enumerate() {
            let (turns, sender) = (&turns, sender.clone());
            scope.spawn(move || {
                let seat = turns.seat(cost);
                let _turn = seat.take(watch).unwrap();
                sender.send(cost).unwrap();
            });
            until_waiting(turns, index + 1);
        }
        drop(turn);
    });
    drop(sender);
    receiver.iter().collect()
}

#[test]
fn the_cheapest_goes_first() {
    assert_eq!(order_of(&[900, 20, 300]), [20, 300, 900]);
}

#[test]
fn of_equal_ones_the_oldest_goes_first() {
    let waiter = |id, remaining, passed_over| Waiter { id, remaining, passed_over, signal: Arc::default() };
    let state =
        State { held: true, waiters: vec![waiter(0, 8, 0), waiter(1, 5, 0), waiter(2, 5, 0)], next: 3, blocked: 0 };
    assert_eq!(state.first(), Some(1));
}

#[test]
fn ageing_lets_the_dearest_in() {
    let waiter = |id, remaining| Waiter { id, remaining, passed_over: 0, signal: Arc::default() };
    let mut state = State { held: true, waiters: vec![waiter(0, u64::MAX)], next: 1, blocked: 0 };
    let mut turns = 0;
    while state.waits(0) {
        state.waiters.push(waiter(state.next, 1));
        state.next += 1;
        state.hand_over();
        turns += 1;
        assert!(turns <= 65, "starved");
    }
}

#[test]
fn a_lone_job_keeps_its_turn() {
    let turns = Turns::new();
    let (deadline, cancel) = (Deadline::after_checks(1), Cancel::new());
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    let seat = turns.seat(10);
    let _turn = seat.take(watch).unwrap();
    for _ in 0..100 {
        seat.offer(watch).unwrap();
    }
    assert_eq!(deadline.checks(), 1, "an offer that nobody takes looks at nothing");
}

#[test]
fn an_offer_lets_a_cheaper_job_pass_and_comes_back() {
    let turns = Turns::new();
    let (deadline, cancel) = (Deadline::none(), Cancel::new());
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    let (sender, receiver) = mpsc::channel();
    thread::scope(|scope| {
        let seat = turns.seat(1000);
        let _turn = seat.take(watch).unwrap();
        scope.spawn(|| {
            let seat = turns.seat(10);
            let _turn = seat.take(watch).unwrap();
            sender.send("cheap").unwrap();
        });
        until_waiting(&turns, 1);
        seat.offer(watch).unwrap();
        sender.send("dear").unwrap();
    });
    drop(sender);
    assert_eq!(receiver.iter().collect::<Vec<_>>(), ["cheap", "dear"]);
}

#[test]
fn an_offer_keeps_the_turn_from_a_dearer_job_until_it_has_aged() {
    let turns = Turns::new();
    let (deadline, cancel) = (Deadline::none(), Cancel::new());
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    thread::scope(|scope| {
        let seat = turns.seat(10);
        let turn = seat.take(watch).unwrap();
        let dear = scope.spawn(|| drop(turns.seat(80).take(watch).unwrap()));
        until_waiting(&turns, 1);
        // 80, 40, 20, 10: not below 10; the fifth offer meets a claim of 5.
        for _ in 0..4 {
            seat.offer(watch).unwrap();
            assert_eq!(turns.waiting(), 1);
        }
        seat.offer(watch).unwrap();
        dear.join().unwrap();
        drop(turn);
    });
}

#[test]
fn spent_work_makes_a_job_cheaper() {
    let turns = Turns::new();
    let seat = turns.seat(100);
    seat.spend(70);
    seat.spend(70);
    assert_eq!(seat.remaining.load(Ordering::Relaxed), 0);
}

#[test]
fn waiting_ends_when_the_caller_goes() {
    let turns = Turns::new();
    let (deadline, cancel) = (Deadline::none(), Cancel::new());
    let gone = Cancel::new();
    thread::scope(|scope| {
        let seat = turns.seat(1);
        let turn = seat.take(Watch { deadline: &deadline, cancel: &cancel }).unwrap();
        let waiting = scope.spawn(|| turns.seat(1).take(Watch { deadline: &deadline, cancel: &gone }).map(drop));
        until_waiting(&turns, 1);
        gone.cancel();
        turns.nudge();
        assert_eq!(waiting.join().unwrap(), Err(Stopped::Cancelled));
        assert_eq!(turns.waiting(), 0);
        drop(turn);
    });
    let seat = turns.seat(1);
    assert!(seat.take(Watch { deadline: &deadline, cancel: &cancel }).is_ok(), "the turn is free again");
}

#[test]
fn waiting_ends_at_the_deadline() {
    let turns = Turns::new();
    let (none, cancel) = (Deadline::none(), Cancel::new());
    let seat = turns.seat(1);
    let _turn = seat.take(Watch { deadline: &none, cancel: &cancel }).unwrap();
    let soon = Deadline::after(Duration::from_millis(1));
    let other = turns.seat(1);
    assert_eq!(other.take(Watch { deadline: &soon, cancel: &cancel }).map(drop), Err(Stopped::Deadline));
}

#[test]
fn a_panic_passes_the_turn_on() {
    let turns = Turns::new();
    let (deadline, cancel) = (Deadline::none(), Cancel::new());
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    thread::scope(|scope| {
        let job = scope.spawn(|| {
            let seat = turns.seat(1);
            let _turn = seat.take(watch).unwrap();
            panic!("planned");
        });
        assert!(job.join().is_err());
    });
    assert!(turns.seat(1).take(watch).is_ok());
}

#[test]
fn jobs_that_wait_leave_a_thread_of_the_pool_to_the_one_that_computes() {
    let turns = Turns::new();
    // A pool whose threads all wait would end here, in an error.
    let (deadline, cancel) = (Deadline::after(Duration::from_secs(120)), Cancel::new());
    let watch = Watch { deadline: &deadline, cancel: &cancel };
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        thread::scope(|scope| {
            for cost in 1..9 {
                let (turns, pool) = (&turns, &pool);
                scope.spawn(move || {
                    let seat = turns.seat(cost * 10);
                    for _chunk in 0..20 {
                        let _turn = seat.take(watch).unwrap();
                        pool.install(|| (0..20).for_each(|_layer| seat.offer(watch).unwrap()));
                    }
                });
            }
        });
        assert_eq!((turns.waiting(), turns.lock().blocked), (0, 0));
    }
}
