//! Loom models of the queues of keys: one caller at a time has the turn, and the last one removes
//! the queue.

use super::turns::Turns;
use crate::sync::block_on;
use crate::time::ManualClock;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering::Relaxed};
use loom::thread;

/// Takes the turn of the key 7 and returns whether another caller had it at the same time.
fn take_turn(turns: &Turns<u32>, running: &AtomicU32) -> bool {
    let clock = ManualClock::new().clock();
    let caller = turns.enter(&7, &clock);
    assert!(turns.may_be_taken() && turns.is_taken(&7));
    let attempt = |_| {
        let others = running.fetch_add(1, Relaxed);
        running.fetch_sub(1, Relaxed);
        Ok::<_, crate::rate::Denied>(others > 0)
    };
    let waited = block_on(caller.turn().wait(&clock, None, attempt, || unreachable!()));
    waited.unwrap()
}

#[test]
fn callers_of_one_key_take_turns_and_the_last_one_removes_the_queue() {
    loom::model(|| {
        let turns = Arc::new(Turns::new());
        let running = Arc::new(AtomicU32::new(0));
        let other = thread::spawn({
            let (turns, running) = (turns.clone(), running.clone());
            move || take_turn(&turns, &running)
        });
        let overlaps = take_turn(&turns, &running);
        assert!(!overlaps && !other.join().unwrap());
        assert!(!turns.may_be_taken() && !turns.is_taken(&7));
    });
}
