//! Scenario: a client with a cache, a fallback and a pipeline of policies, and a server that fails
//! for a while, over a loopback socket.
//!
//! ```text
//! cargo run --release --example resilient_client -- [seconds per phase]
//! ```
//!
//! The server is healthy, then it hangs, then it responds with errors, then it is healthy again.
//! The program fails if a call does not return a price in time, if the server receives more
//! requests during the outage than before it, or if the client does not recover.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::cache::{Cached, SingleValueStore};
use mainstay::{
    Backoff, BoxPipeline, Budget, Bulkhead, CircuitBreaker, CircuitBreakerState, Error, Fallback,
    Pipeline, Quota, RateLimiter, Retry, Timeout,
};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

type Failure = Arc<dyn std::error::Error + Send + Sync>;

const MS: Duration = Duration::from_millis(1);
/// The longest time that a call may take.
const LIMIT: Duration = Duration::from_millis(400);
/// In calls per second.
const RATE: u32 = 100;

// The modes of the server.
const HEALTHY: u8 = 0;
const HANGING: u8 = 1;
const FAILING: u8 = 2;

#[derive(Clone, Default)]
struct Server {
    mode: Arc<AtomicU8>,
    requests: Arc<AtomicU64>,
}

async fn respond(State(server): State<Server>) -> Result<String, StatusCode> {
    let number = server.requests.fetch_add(1, Ordering::Relaxed);
    match server.mode.load(Ordering::Relaxed) {
        HANGING => std::future::pending().await,
        FAILING => Err(StatusCode::INTERNAL_SERVER_ERROR),
        _ => {
            tokio::time::sleep(2 * MS).await;
            Ok(number.to_string())
        }
    }
}

/// A client that returns the current price, from the cache if possible.
#[derive(Clone)]
struct Client {
    http: HttpClient<HttpConnector, Body>,
    server: SocketAddr,
    breaker: CircuitBreaker,
    fallback: Fallback,
    pipeline: BoxPipeline<u64, Failure>,
    prices: Cached<(), u64, Failure>,
}

impl Client {
    fn new(server: SocketAddr) -> Result<Self, mainstay::ConfigError> {
        let breaker = CircuitBreaker::builder()
            .name("prices")
            .time_window(Duration::from_secs(1), 10)
            .min_calls(10)
            .open_duration(Backoff::constant(200 * MS))
            .build()?;
        let fallback = Fallback::builder().name("prices").build()?;
        let budget = Budget::builder().name("prices").build()?;
        let pipeline = Pipeline::builder()
            .timeout(Timeout::new(300 * MS).name("call")?)
            .retry(Retry::builder().max_attempts(2).budget(&budget).assume_idempotent().build()?)
            .breaker(&breaker)
            .bulkhead(Bulkhead::builder().name("prices").max_concurrent(20).build()?)
            .rate_limit(RateLimiter::new(Quota::per_second(1000).burst(100))?)
            .timeout(Timeout::new(80 * MS).name("attempt")?)
            .build();
        for lint in pipeline.check() {
            println!("{lint}");
        }
        let prices = Cached::builder(SingleValueStore::new())
            .name("prices")
            .ttl(20 * MS)
            .stale_while_revalidate(20 * MS)
            .stale_on_error(Duration::from_secs(2))
            .negative_ttl(50 * MS)
            .build()?;
        let http = HttpClient::builder(TokioExecutor::new()).build_http();
        Ok(Self { http, server, breaker, fallback, pipeline: pipeline.boxed(), prices })
    }

    async fn fetch(&self) -> Result<u64, Failure> {
        let uri = format!("http://{}/", self.server);
        let fetched = async {
            let request = Request::get(uri).body(Body::empty())?;
            let response = self.http.request(request).await?;
            if !response.status().is_success() {
                return Err(response.status().to_string().into());
            }
            let body = to_bytes(Body::new(response.into_body()), 100).await?;
            Ok(std::str::from_utf8(&body)?.parse()?)
        };
        fetched.await.map_err(|error: Box<dyn std::error::Error + Send + Sync>| error.into())
    }

    /// Returns a price: from the cache, or from the server. If the server fails, returns an expired
    /// price from the cache, or zero if there is none.
    async fn price(&self) -> Result<u64, Error<Failure>> {
        let fallback = self.fallback.handle(|_: Error<Error<Failure>>| Ok(0));
        let price = fallback.call(|| async {
            let client = self.clone();
            let fetch = || async move { client.pipeline.call(|| client.fetch()).await };
            self.prices.call(&(), fetch).await
        });
        price.await.map_err(Error::flatten)
    }
}

#[derive(Default)]
struct Phase {
    calls: u64,
    failed: u64,
    degraded: u64,
    requests: u64,
    slowest: Duration,
}

/// Makes calls at a constant rate, however long they take.
async fn run(
    client: &Client,
    server: &Server,
    mode: u8,
    length: Duration,
) -> Result<Phase, tokio::task::JoinError> {
    server.mode.store(mode, Ordering::Relaxed);
    let requests = server.requests.load(Ordering::Relaxed);
    let count_degraded = |client: &Client| {
        client.fallback.snapshot().degraded + client.prices.snapshot().errors_replaced
    };
    let degraded = count_degraded(client);
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut calls = Vec::new();
    for _ in 0..(length.as_secs_f64() * f64::from(RATE)) as u32 {
        ticks.tick().await;
        let client = client.clone();
        calls.push(tokio::spawn(async move {
            let start = Instant::now();
            (client.price().await.is_ok(), start.elapsed())
        }));
    }
    let mut phase = Phase { calls: calls.len() as u64, ..Phase::default() };
    for call in calls {
        let (is_ok, took) = call.await?;
        phase.failed += u64::from(!is_ok);
        phase.slowest = phase.slowest.max(took);
    }
    phase.degraded = count_degraded(client) - degraded;
    phase.requests = server.requests.load(Ordering::Relaxed) - requests;
    Ok(phase)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |argument| argument.parse())?;
    let length = Duration::try_from_secs_f64(seconds)?.max(Duration::from_secs(1));
    let server = Server::default();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let client = Client::new(listener.local_addr()?)?;
    let routes = Router::new().route("/", get(respond)).with_state(server.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });

    println!(
        "{:<16} {:>6} {:>7} {:>9} {:>9} {:>11}  breaker",
        "server", "calls", "failed", "degraded", "requests", "slowest"
    );
    let mut phases = Vec::new();
    for (name, mode) in [
        ("healthy", HEALTHY),
        ("hanging", HANGING),
        ("failing", FAILING),
        ("healthy again", HEALTHY),
        ("still healthy", HEALTHY),
    ] {
        let phase = run(&client, &server, mode, length).await?;
        println!(
            "{name:<16} {:>6} {:>7} {:>9} {:>9} {:>8.1} ms  {:?}",
            phase.calls,
            phase.failed,
            phase.degraded,
            phase.requests,
            phase.slowest.as_secs_f64() * 1e3,
            client.breaker.state(),
        );
        phases.push(phase);
    }
    println!("\n{:?}", client.prices.snapshot());
    let is_answered = phases.iter().all(|phase| phase.failed == 0 && phase.slowest < LIMIT);
    let is_load_limited = phases[1..3].iter().all(|phase| phase.requests <= phases[0].requests);
    let has_recovered =
        phases[4].degraded == 0 && client.breaker.state() == CircuitBreakerState::Closed;
    match is_answered && is_load_limited && has_recovered {
        true => Ok(()),
        false => Err(format!(
            "every call returned a price in time: {is_answered}; no additional requests during the \
             outage: {is_load_limited}; the client recovered: {has_recovered}"
        )
        .into()),
    }
}
