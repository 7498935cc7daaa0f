//! A record of the observers that run on the current thread, so that none is called recursively.

use std::cell::Cell;

/// The maximum number of nested observers, of different policies, on one thread. At this depth no
/// further observer is called.
const MAX_NESTED: usize = 8;

/// Whether calls are recorded in [`RUNNING`]. Under loom all threads of a model run on one OS
/// thread and would share the record, so calls are not recorded. No model has an observer that
/// causes events.
const RECORDS: bool = !cfg!(mainstay_loom);

/// The calls of observers that have not returned on this thread, outermost first.
///
/// It has no destructor, so it can be used while the thread-locals are being destroyed.
#[derive(Clone, Copy)]
struct Running {
    calls: [Call; MAX_NESTED],
    len: usize,
}

/// One call of an observer.
#[derive(Clone, Copy)]
struct Call {
    /// The address of the outbox that the event came from.
    outbox: usize,
    depth: u8,
}

impl Running {
    const NONE: Self = Self { calls: [Call { outbox: 0, depth: 0 }; MAX_NESTED], len: 0 };

    fn calls(&self) -> &[Call] {
        &self.calls[..self.len]
    }
}

thread_local! {
    static RUNNING: Cell<Running> = const { Cell::new(Running::NONE) };
}

/// Returns the depth of an event that is caused now: 0 if no observer of `outbox` is running on
/// this thread, otherwise one more than the depth of the event that the observer received.
pub(super) fn depth<T>(outbox: &T) -> u8 {
    let running = RUNNING.get();
    let outbox = address(outbox);
    let call = running.calls().iter().rev().find(|call| call.outbox == outbox);
    call.map_or(0, |call| call.depth.saturating_add(1))
}

/// Runs `call`, which calls the observers of `outbox` with an event of the given depth. Returns
/// false without running it if [`can_enter`] is false.
pub(super) fn enter<T>(outbox: &T, depth: u8, call: impl FnOnce()) -> bool {
    /// Ends the call when it returns or panics.
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            let mut running = RUNNING.get();
            running.len -= 1;
            RUNNING.set(running);
        }
    }

    if !can_enter(outbox) {
        return false;
    }
    if !RECORDS {
        call();
        return true;
    }
    let mut running = RUNNING.get();
    running.calls[running.len] = Call { outbox: address(outbox), depth };
    running.len += 1;
    RUNNING.set(running);
    let _leave = Leave;
    call();
    true
}

/// Returns whether [`enter`] would run its `call`: no observer of `outbox` is running on this
/// thread, and fewer than [`MAX_NESTED`] others are.
pub(super) fn can_enter<T>(outbox: &T) -> bool {
    let running = RUNNING.get();
    let outbox = address(outbox);
    running.len < MAX_NESTED && running.calls().iter().all(|call| call.outbox != outbox)
}

fn address<T>(outbox: &T) -> usize {
    std::ptr::from_ref(outbox).addr()
}

#[cfg(test)]
#[cfg(not(mainstay_loom))]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    #[test]
    fn an_outbox_is_not_entered_recursively_on_one_thread() {
        let (a, b) = (1_u32, 2_u32);
        assert_eq!(depth(&a), 0);
        let entered = enter(&a, 3, || {
            assert_eq!((depth(&a), depth(&b)), (4, 0));
            assert!(!enter(&a, 0, || unreachable!()));
            assert!(enter(&b, 0, || {
                assert_eq!((depth(&a), depth(&b)), (4, 1));
                assert!(!can_enter(&a) && !can_enter(&b));
            }));
            std::thread::scope(|scope| {
                scope.spawn(|| assert!(enter(&a, 0, || ())));
            });
        });
        assert!(entered && can_enter(&a));
    }

    #[test]
    fn an_outbox_can_be_entered_again_after_a_panic() {
        let a = 1_u32;
        assert!(catch_unwind(|| enter(&a, 0, || panic!("observer"))).is_err());
        assert!(can_enter(&a));
    }

    #[test]
    fn at_most_eight_outboxes_are_entered_on_one_thread() {
        let outboxes = [0_u32; MAX_NESTED + 1];
        fn all(outboxes: &[u32]) -> usize {
            let Some((first, rest)) = outboxes.split_first() else { return 0 };
            let mut entered = 0;
            let this = enter(first, 0, || entered = all(rest));
            entered + usize::from(this)
        }
        assert_eq!(all(&outboxes), MAX_NESTED);
    }
}
