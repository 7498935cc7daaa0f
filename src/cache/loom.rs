//! Loom models: a refresh and a removal, each concurrent with other calls.

use super::{Cached, SingleValueStore};
use crate::sync::block_on;
use crate::time::ManualClock;
use crate::wait::oneshot;
use loom::thread::spawn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

const S: Duration = Duration::from_secs(1);

type Cache = Cached<(), u8, ()>;

fn cache(time: &ManualClock) -> Cache {
    Cached::builder(SingleValueStore::new())
        .ttl(10 * S)
        .jitter(0.0)
        .stale_while_revalidate(5 * S)
        .clock(time.clock())
        .build()
        .unwrap()
}

#[test]
fn a_value_that_expires_during_a_refresh_is_renewed_by_one_operation() {
    loom::model(|| {
        let time = ManualClock::new();
        let cache = cache(&time);
        assert_eq!(cache.call_blocking(&(), || Ok::<_, ()>(1)), Ok(1));
        time.advance(12 * S);
        let operations = Arc::new(AtomicU32::new(0));
        let operation = |value| {
            let operations = operations.clone();
            move || {
                operations.fetch_add(1, SeqCst);
                loom::thread::yield_now();
                Ok::<_, ()>(value)
            }
        };
        let refresh = {
            let (cache, operation) = (cache.clone(), operation(2));
            spawn(move || cache.call_blocking(&(), operation))
        };
        time.advance(5 * S);
        // The value has expired, so this call waits for the refresh, or starts the operation itself
        // if the refresh has not started it.
        let own = cache.call_blocking(&(), operation(3));
        assert!(own == Ok(2) || own == Ok(3), "{own:?}");
        assert!(refresh.join().unwrap().is_ok());
        assert_eq!(operations.load(SeqCst), 1);
        assert_eq!(cache.call_blocking(&(), || Ok::<_, ()>(9)), own, "the result is stored");
    });
}

#[test]
fn a_call_after_a_removal_does_not_receive_the_result_of_an_earlier_operation() {
    loom::model(|| {
        let cache = cache(&ManualClock::new());
        let (sender, receiver) = oneshot();
        let earlier = {
            let cache = cache.clone();
            let mut call = Box::pin(async move {
                cache.call(&(), || async { receiver.await.map_err(|_| ()) }).await
            });
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(call.as_mut().poll(&mut cx).is_pending());
            spawn(move || block_on(call))
        };
        sender.send(1).unwrap();
        cache.remove(&());
        assert_eq!(cache.call_blocking(&(), || Ok::<_, ()>(2)), Ok(2));
        assert_eq!(earlier.join().unwrap(), Ok(1));
        let later = cache.call_blocking(&(), || Ok::<_, ()>(3));
        assert!(later == Ok(2) || later == Ok(3), "{later:?}");
    });
}
