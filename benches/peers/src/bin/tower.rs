//! Compares the cost of Tower layers: one successful call through the layers of each crate.

use mainstay::breaker::CircuitBreaker;
use mainstay::pipeline::Pipeline;
use mainstay::retry::Retry;
use peers::{Race, ready};
use seatbelt::{RecoveryInfo, ResilienceContext};
use std::hint::black_box;
use std::time::Duration;
use tower::{Layer, Service, ServiceBuilder, service_fn};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;
use tower_resilience_retry::RetryLayer;
use tower_resilience_timelimiter::TimeLimiterLayer;

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

/// Calls a service as Tower's contract requires: first `poll_ready`, then `call`.
fn call<S: Service<u64>>(service: &mut S) {
    let mut task = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Ok(())) = service.poll_ready(&mut task) else { panic!("not ready") };
    drop(black_box(ready(service.call(7))));
}

/// Calls a new clone of a service, as each connection does. An executor drives the futures, because
/// some peers are not immediately ready when they are shared.
fn call_clone<S: Service<u64> + Clone>(service: &S) {
    let mut service = service.clone();
    drop(black_box(futures::executor::block_on(async {
        let Ok(()) = std::future::poll_fn(|task| service.poll_ready(task)).await else {
            panic!("not ready")
        };
        service.call(7).await
    })));
}

#[derive(Clone)]
struct Twice;

impl<T: Clone> tower::retry::Policy<T, u64, tower::BoxError> for Twice {
    type Future = std::future::Ready<()>;
    fn retry(
        &mut self,
        _: &mut T,
        result: &mut Result<u64, tower::BoxError>,
    ) -> Option<Self::Future> {
        result.is_err().then(|| std::future::ready(()))
    }
    fn clone_request(&mut self, request: &T) -> Option<T> {
        Some(request.clone())
    }
}

fn main() {
    let second = Duration::from_secs(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _guard = runtime.enter();
    let plain = service_fn(|_: u64| ok());

    let breaker = CircuitBreaker::builder().build().unwrap();
    let retry = Retry::builder().build().unwrap();
    let one = Pipeline::builder().breaker(&breaker).build().layer(plain);
    let three =
        Pipeline::builder().timeout(second).retry(&retry).breaker(&breaker).build().layer(plain);
    let two = Pipeline::builder().timeout(second).retry(&retry).build().layer(plain);

    let resilience = || {
        CircuitBreakerLayer::builder()
            .failure_rate_threshold(0.5)
            .sliding_window_size(100)
            .build()
            .unwrap()
    };
    let resilience_one = resilience().layer(plain);
    let resilience_three = ServiceBuilder::new()
        .layer(TimeLimiterLayer::builder().timeout_duration(second).build())
        .layer(RetryLayer::builder().max_attempts(3).build())
        .layer(resilience())
        .service(plain);

    let clock = tick::Clock::new_tokio();
    let context = ResilienceContext::new(&clock);
    let recovery = |result: &Answer| match result {
        Ok(_) => RecoveryInfo::never(),
        Err(_) => RecoveryInfo::retry(),
    };
    let seatbelt_breaker = || {
        seatbelt::breaker::Breaker::layer("breaker", &context)
            .recovery_with(move |result: &Answer, _| recovery(result))
            .rejected_input_error(|_: u64, _| Failed)
    };
    let seatbelt_one = seatbelt_breaker().layer(plain);
    let seatbelt_three = ServiceBuilder::new()
        .layer(
            seatbelt::timeout::Timeout::layer("timeout", &context)
                .timeout_error(|_| Failed)
                .timeout(second),
        )
        .layer(
            seatbelt::retry::Retry::layer("retry", &context)
                .clone_input()
                .recovery_with(move |result: &Answer, _| recovery(result)),
        )
        .layer(seatbelt_breaker())
        .service(plain);

    let towers_two = ServiceBuilder::new()
        .layer(tower::retry::RetryLayer::new(Twice))
        .layer(tower::timeout::TimeoutLayer::new(second))
        .service(plain);

    {
        let (mut one, mut seatbelt, mut resilience) =
            (one.clone(), seatbelt_one.clone(), resilience_one.clone());
        let mut plain = plain;
        Race::new("a breaker's layer around a ready service, 1 thread")
            .each("mainstay", || call(&mut one))
            .each("tower-resilience", || call(&mut resilience))
            .each("seatbelt", || call(&mut seatbelt))
            .each("the service alone", || call(&mut plain))
            .run();
    }
    {
        let (mut three, mut seatbelt, mut resilience) =
            (three.clone(), seatbelt_three.clone(), resilience_three.clone());
        let (mut two, mut towers_two) = (two.clone(), towers_two.clone());
        Race::new("timeout, retry, breaker around a ready service, 1 thread")
            .each("mainstay", || call(&mut three))
            .each("tower-resilience", || call(&mut resilience))
            .each("seatbelt", || call(&mut seatbelt))
            .each("mainstay, timeout and retry only", || call(&mut two))
            .each("tower's own timeout and retry", || call(&mut towers_two))
            .each("one reading of the clock", || _ = black_box(std::time::Instant::now()))
            .run();
    }
    for threads in [2, 8] {
        Race::new(format!(
            "a breaker's layer, {threads} clones of one service; per call of one thread"
        ))
        .threads("mainstay", threads, || call_clone(&one))
        .threads("tower-resilience", threads, || call_clone(&resilience_one))
        .threads("seatbelt", threads, || call_clone(&seatbelt_one))
        .threads("the service alone", threads, || call_clone(&plain))
        .run();
    }
}
