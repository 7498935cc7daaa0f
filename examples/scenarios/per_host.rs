//! Scenario: how does a client of many hosts cope with the bad ones? A crawler fetches pages from
//! loopback servers, some of which fail, hang, refuse connections or ask for a pause, with one
//! breaker per host.
//!
//! ```sh
//! cargo run --release --example per_host
//! cargo run --release --example per_host -- --seconds 10
//! ```
//!
//! Each host that accepts connections has its own listener and speaks HTTP over TCP. All figures
//! are measured. `Crawler` contains the code that a real crawler needs.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState, KeyedCircuitBreaker};
use mainstay::error::{ConfigError, Error};
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::window::LatencyQuantiles;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const HELP: &str = "\
How does a client of many hosts cope with the bad ones?

Usage: cargo run --release --example per_host -- [options]

  --seconds <1 to 60>   length of the run, default 5
  --help                this text";

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The behavior of a host.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Healthy,
    /// Every third page is a 500.
    Flaky,
    /// Every page is a 500.
    Failing,
    /// Accepts the request and never responds.
    Hanging,
    /// Refuses connections: there is no listener.
    Gone,
    /// Responds 503 with `Retry-After: 1`.
    Busy,
}

const HOSTS: [Kind; 16] = {
    use Kind::{Busy, Failing, Flaky, Gone, Hanging, Healthy};
    [
        Healthy, Healthy, Failing, Healthy, Hanging, Healthy, Flaky, Healthy, Gone, Healthy, Busy,
        Healthy, Hanging, Healthy, Healthy, Healthy,
    ]
};
/// The number of concurrent requests.
const WORKERS: usize = 8;
/// The time that a healthy host takes for a page.
const WORK: Duration = Duration::from_millis(2);
/// The timeout of a request.
const TIMEOUT: Duration = Duration::from_millis(250);
/// The pause of a worker after each round of all hosts.
const PAUSE: Duration = Duration::from_millis(20);

struct Host {
    kind: Kind,
    name: String,
    requests: Arc<AtomicU64>,
    counts: Counts,
}

/// The crawler's results for a host.
#[derive(Default)]
struct Counts {
    ok: AtomicU64,
    failed: AtomicU64,
    rejected: AtomicU64,
    micros: AtomicU64,
}

/// Starts a server on a free loopback port, or reserves a port without a listener.
async fn start(kind: Kind) -> std::io::Result<Host> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let requests = Arc::new(AtomicU64::new(0));
    if kind != Kind::Gone {
        let routes = Router::new().route("/", get(respond)).with_state((kind, requests.clone()));
        // Ends with the runtime.
        tokio::spawn(async move { axum::serve(listener, routes).await });
    }
    Ok(Host { kind, name: address.to_string(), requests, counts: Counts::default() })
}

async fn respond(
    extract::State((kind, requests)): extract::State<(Kind, Arc<AtomicU64>)>,
) -> Response {
    let n = requests.fetch_add(1, Ordering::Relaxed);
    match kind {
        Kind::Hanging => std::future::pending().await,
        Kind::Failing => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Kind::Flaky if n % 3 == 2 => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Kind::Busy => {
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")]).into_response();
        }
        _ => tokio::time::sleep(WORK).await,
    }
    "a page".into_response()
}

#[derive(Clone)]
struct Crawler {
    http: HttpClient<HttpConnector, Body>,
    /// One breaker per host.
    breakers: KeyedCircuitBreaker<String>,
}

/// Classifies a response; a pause requested by the server is honored up to ten seconds.
fn classify(result: &Result<Response<Body>, Error<Failure>>) -> Outcome {
    match result {
        Ok(response) if response.status() == StatusCode::SERVICE_UNAVAILABLE => {
            let seconds =
                response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
            let pause = seconds.and_then(|seconds| seconds.parse().ok()).map(Duration::from_secs);
            pause.map_or(Outcome::Failure, |pause| {
                Outcome::Unavailable(pause.min(Duration::from_secs(10)))
            })
        }
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(error) if error.is_rejected() => Outcome::Ignore,
        Err(_) => Outcome::Failure,
    }
}

impl Crawler {
    fn new() -> Result<Self, ConfigError> {
        let each = CircuitBreaker::builder()
            .name("host")
            .count_window(20)
            .min_calls(5)
            .slow_calls(TIMEOUT / 2, 0.5)
            .track_in_flight() // detects a hanging host before the requests time out
            .record_latency()
            .open_duration(Backoff::constant(Duration::from_secs(1)))
            .half_open_concurrency(1)
            .half_open_calls(2);
        let breakers = KeyedCircuitBreaker::builder(each).max_keys(10_000).build()?;
        Ok(Self { http: HttpClient::builder(TokioExecutor::new()).build_http(), breakers })
    }

    /// Fetches one page if the host's breaker admits it. Building a pipeline is cheap.
    async fn fetch(&self, host: &str) -> Result<StatusCode, Error<Failure>> {
        let breaker = self.breakers.breaker(host)?.classified_by(classify);
        let response = Pipeline::builder()
            .breaker(breaker)
            .timeout(TIMEOUT)
            .build()
            .call(|| self.get(host))
            .await?;
        let status = response.status();
        to_bytes(response.into_body(), usize::MAX)
            .await
            .map_err(|error| Error::Operation(error.into()))?;
        Ok(status)
    }

    async fn get(&self, host: &str) -> Result<Response<Body>, Failure> {
        Ok(self.http.get(format!("http://{host}/").parse()?).await?.map(Body::new))
    }
}

/// Fetches a page from each host in turn until the deadline.
async fn crawl(crawler: Crawler, hosts: Arc<[Host]>, first: usize, until: Instant) {
    let mut next = first;
    while Instant::now() < until {
        let host = &hosts[next % hosts.len()];
        next += 1;
        let started = Instant::now();
        let fetched = crawler.fetch(&host.name).await;
        let counts = &host.counts;
        let count = match fetched {
            Ok(status) if status.is_success() => &counts.ok,
            Err(error) if error.is_rejected() => &counts.rejected,
            _ => &counts.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
        counts.micros.fetch_add(started.elapsed().as_micros() as u64, Ordering::Relaxed);
        if next.is_multiple_of(hosts.len()) {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

fn report(crawler: &Crawler, hosts: &[Host]) {
    println!(
        "\n{:<9} {:>7} {:>7} {:>7} {:>8} {:>9} {:>9}   state, and the cause of the last opening",
        "host", "reached", "ok", "failed", "rejected", "waiting", "p50"
    );
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    for Host { kind, name, requests, counts } in hosts {
        let Ok(breaker) = crawler.breakers.breaker(name.as_str()) else { continue };
        let p50 = breaker
            .quantile(0.5)
            .map_or("-".into(), |p50| format!("{:.1} ms", p50.as_secs_f64() * 1e3));
        let opened = breaker.history().into_iter().rfind(|transition| {
            transition.to == CircuitBreakerState::Open
                && transition.from == CircuitBreakerState::Closed
        });
        let cause = opened.map_or(String::new(), |last| format!(", {}", last.cause));
        println!(
            "{:<9} {:>7} {:>7} {:>7} {:>8} {:>7} ms {:>9}   {}{cause}",
            format!("{kind:?}").to_lowercase(),
            read(requests),
            read(&counts.ok),
            read(&counts.failed),
            read(&counts.rejected),
            read(&counts.micros) / 1000,
            p50,
            breaker.state(),
        );
    }
    let (sum, snapshot) = (crawler.breakers.totals(), crawler.breakers.snapshot());
    println!(
        "\n{} hosts, {} breakers open; {} requests were rejected.",
        snapshot.keys, snapshot.open, sum.rejected
    );
}

async fn run(length: Duration) -> Result<(), Failure> {
    let mut hosts = Vec::new();
    for kind in HOSTS {
        hosts.push(start(kind).await?);
    }
    let hosts: Arc<[Host]> = hosts.into();
    let crawler = Crawler::new()?;
    let until = Instant::now() + length;
    println!("Crawling {} hosts for {length:?} with {WORKERS} workers …", hosts.len());
    let workers: Vec<_> = (0..WORKERS)
        .map(|n| {
            tokio::spawn(crawl(crawler.clone(), hosts.clone(), n * hosts.len() / WORKERS, until))
        })
        .collect();
    for worker in workers {
        worker.await?;
    }
    report(&crawler, &hosts);
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let length = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Some(5),
        ["--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ["--seconds", seconds] => seconds.parse().ok().filter(|seconds| (1..=60).contains(seconds)),
        _ => None,
    };
    let Some(length) = length.map(Duration::from_secs) else {
        eprintln!("unknown arguments; --help lists the options");
        return ExitCode::from(2);
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(run(length))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
