//! Compares retries, hedges, budgets, shared executions and caches around a ready future.

use backon::{ExponentialBuilder, Retryable};
use layered::{Execute, Service, Stack};
use mainstay::cache::Cached;
use mainstay::{Budget, Coalesce, Hedge, Pipeline, Retry};
use peers::{Race, ready};
use seatbelt::{RecoveryInfo, ResilienceContext};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tower::retry::budget::{Budget as _, TpsBudget};
use tower::service_fn;

type Answer = Result<u64, Failed>;

#[derive(Clone, Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

async fn ok() -> Answer {
    black_box(Ok(1))
}

fn recovery(result: &Answer) -> RecoveryInfo {
    match result {
        Ok(_) => RecoveryInfo::never(),
        Err(_) => RecoveryInfo::retry(),
    }
}

/// Polls a Tower service and calls it.
fn call<S: tower::Service<u64>>(service: &mut S) {
    let mut task = Context::from_waker(Waker::noop());
    let Poll::Ready(Ok(())) = service.poll_ready(&mut task) else { panic!("not ready") };
    drop(black_box(ready(service.call(7))));
}

#[derive(Clone)]
struct Twice;

impl tower::retry::Policy<u64, u64, Failed> for Twice {
    type Future = std::future::Ready<()>;

    fn retry(&mut self, _: &mut u64, result: &mut Answer) -> Option<Self::Future> {
        result.is_err().then(|| std::future::ready(()))
    }

    fn clone_request(&mut self, request: &u64) -> Option<u64> {
        Some(*request)
    }
}

impl tower::hedge::Policy<u64> for Twice {
    fn clone_request(&self, request: &u64) -> Option<u64> {
        Some(*request)
    }

    fn can_retry(&self, _: &u64) -> bool {
        true
    }
}

fn retries(context: &ResilienceContext<u64, Answer>) {
    let retry = Pipeline::builder().retry(Retry::builder().build().unwrap()).build();
    let budget = Budget::default();
    let with_budget = Retry::builder().budget(&budget).build().unwrap();
    let with_budget = Pipeline::builder().retry(with_budget).build();
    let mut tower = tower::retry::Retry::new(Twice, service_fn(|_: u64| ok()));
    let seatbelt = (
        seatbelt::retry::Retry::layer("retry", context)
            .clone_input()
            .recovery_with(|result: &Answer, _| recovery(result)),
        Execute::new(|_: u64| ok()),
    )
        .into_service();
    Race::new("retry around a ready future, 1 thread")
        .each("mainstay", || drop(black_box(ready(retry.call(ok)))))
        .each("mainstay, with a budget", || drop(black_box(ready(with_budget.call(ok)))))
        .each("tower", || call(&mut tower))
        .each("backon", || drop(black_box(ready(ok.retry(ExponentialBuilder::default())))))
        .each("seatbelt", || drop(black_box(ready(seatbelt.execute(7)))))
        .each("the future alone", || drop(black_box(ready(ok()))))
        .run();
}

fn hedges(context: &ResilienceContext<u64, Answer>) {
    let second = Duration::from_secs(1);
    let fixed = Hedge::builder().delay(second).build().unwrap();
    let fixed = Pipeline::builder().hedge(fixed).build();
    let measured = Pipeline::builder().hedge(Hedge::builder().build().unwrap()).build();
    let service = service_fn(|_: u64| async { ok().await.map_err(tower::BoxError::from) });
    let mut tower = tower::hedge::Hedge::new(service, Twice, 20, 0.95, 30 * second);
    let seatbelt = (
        seatbelt::hedging::Hedging::layer("hedging", context)
            .clone_input()
            .recovery_with(|result: &Answer, _| recovery(result))
            .hedging_delay(second),
        Execute::new(|_: u64| ok()),
    )
        .into_service();
    Race::new("hedge around a ready future, 1 thread")
        .each("mainstay, fixed delay", || drop(black_box(ready(fixed.call(ok)))))
        .each("mainstay, measured delay", || drop(black_box(ready(measured.call(ok)))))
        .each("tower, measured delay", || call(&mut tower))
        .each("seatbelt, fixed delay", || drop(black_box(ready(seatbelt.execute(7)))))
        .run();
}

fn budgets() {
    let window = Duration::from_secs(10);
    let in_flight = Budget::builder().build().unwrap();
    let recent = Budget::builder().of_recent_calls(window, 10).build().unwrap();
    let all = Budget::builder().of_all_calls(100).build().unwrap();
    let tower = TpsBudget::new(window, 10, 0.2);
    for threads in [1, 8] {
        Race::new(format!("budget: a call and a repeat, threads: {threads}"))
            .threads("mainstay, recent calls", threads, || spend(&recent))
            .threads("mainstay, calls in flight", threads, || spend(&in_flight))
            .threads("mainstay, all calls", threads, || spend(&all))
            .threads("tower TpsBudget", threads, || {
                tower.deposit();
                black_box(tower.withdraw());
            })
            .run();
    }
}

fn spend(budget: &Budget) {
    let call = budget.start_call();
    drop(black_box(budget.try_acquire()));
    drop(call);
}

fn caches(runtime: &tokio::runtime::Runtime) {
    let quick = quick_cache::sync::Cache::new(1000);
    let quick = Cached::<u64, u64, ()>::builder(quick).build().unwrap();
    let moka_sync = moka::sync::Cache::<u64, u64>::new(1000);
    let moka_async = moka::future::Cache::<u64, u64>::new(1000);
    quick.call_blocking(&7, || Ok::<_, ()>(1)).unwrap();
    moka_sync.get_with(7, || 1);
    runtime.block_on(moka_async.get_with(7, async { 1 }));
    let op = || async { Ok::<u64, ()>(1) };
    Race::new("cache hit, 1 thread")
        .each("mainstay on quick_cache, async", || {
            _ = black_box(ready(quick.call(&7, op)));
        })
        .each("mainstay on quick_cache, blocking", || {
            _ = black_box(quick.call_blocking(&7, || Ok::<_, ()>(1)));
        })
        .each("moka future get_with", || {
            black_box(ready(moka_async.get_with(7, async { 1 })));
        })
        .each("moka sync get_with", || {
            black_box(moka_sync.get_with(7, || 1));
        })
        .run();
}

fn coalesced() {
    let op = || async { Ok::<u64, ()>(1) };
    let reusing = Coalesce::<u64, u64, ()>::builder().reuse_duration(Duration::from_secs(3600));
    let reusing = reusing.build().unwrap();
    reusing.call_blocking(&7, || Ok(1)).unwrap();
    let running = Coalesce::<u64, u64, ()>::builder().build().unwrap();
    let mut task = Context::from_waker(Waker::noop());
    let mut leader = Box::pin(running.call(&7, std::future::pending::<Result<u64, ()>>));
    assert!(leader.as_mut().poll(&mut task).is_pending());
    let alone = Coalesce::<u64, u64, ()>::builder().build().unwrap();
    let group = async_singleflight::Group::<u64, ()>::new();
    let key = String::from("7");
    Race::new("shared executions, 1 thread")
        .each("mainstay: a kept result", || {
            _ = black_box(ready(reusing.call(&7, op)));
        })
        .each("mainstay: joins, waits and leaves", || {
            let mut task = Context::from_waker(Waker::noop());
            let mut follower = std::pin::pin!(running.call(&7, op));
            assert!(follower.as_mut().poll(&mut task).is_pending());
        })
        .each("mainstay: an execution of its own", || {
            _ = black_box(ready(alone.call(&7, op)));
        })
        .each("async_singleflight: an execution of its own", || {
            _ = black_box(ready(group.work(&key, op())));
        })
        .run();
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let clock = tick::Clock::new_tokio();
    let context = ResilienceContext::new(&clock);
    retries(&context);
    hedges(&context);
    budgets();
    caches(&runtime);
    coalesced();
}
