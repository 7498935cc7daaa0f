//! Scenario: does one failing dependency slow down calls to the others? Two servers on loopback;
//! workers call both in turn, each behind its own breaker. A chaos policy makes the calls to one
//! of them slow, then fail, then hang, by a script.
//!
//! ```sh
//! cargo run --release --example chaos_drill
//! cargo run --release --example chaos_drill -- --short
//! ```
//!
//! The drill passes if the failing server's breaker opens, calls to the healthy server take less
//! than 20 % longer while it is open than before, and the breaker closes after the script has
//! ended. Otherwise the program reports what failed and exits with 1. To test your own settings,
//! change the builder in `Dependency::new` or the script, and run the drill in CI.
//!
//! The servers are healthy throughout. The chaos policy is at the bottom of each pipeline, in the
//! place of the server, and its switch turns it on for the time of the drill only. The same code
//! can therefore run a drill against real dependencies.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::StatusCode;
use axum::routing::get;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState, CircuitBreakerTransition};
use mainstay::chaos::{Chaos, ChaosBuilder, Fault};
use mainstay::pipeline::{BoxPipeline, Pipeline};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const HELP: &str = "\
Does one failing dependency slow down calls to the others? Exits with 1 if the drill fails.

Usage: cargo run --release --example chaos_drill -- [--short]";

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Client = HttpClient<HttpConnector, Body>;

/// The number of concurrent callers.
const WORKERS: usize = 8;
/// The time that a healthy server takes for a response.
const RESPONSE_TIME: Duration = Duration::from_millis(5);
/// The timeout of a call.
const TIMEOUT: Duration = Duration::from_millis(400);
/// The accepted increase of the time of calls to the healthy server.
const TOLERANCE: f64 = 0.2;

/// Starts a server.
async fn serve() -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let routes = Router::new().route("/", get(respond));
    // The task ends with the runtime.
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

async fn respond() -> &'static str {
    tokio::time::sleep(RESPONSE_TIME).await;
    "a page"
}

/// A server, the policies of calls to it, and the results of those calls.
struct Dependency {
    address: SocketAddr,
    chaos: Chaos,
    breaker: CircuitBreaker,
    pipeline: BoxPipeline<StatusCode, Failure>,
    /// The start and the duration of each successful call.
    calls: Mutex<Vec<(Instant, Duration)>>,
}

impl Dependency {
    fn new(name: &str, address: SocketAddr, chaos: ChaosBuilder) -> Result<Self, Failure> {
        let chaos = chaos.name(name).build()?;
        let breaker = CircuitBreaker::builder()
            .name(name)
            .count_window(20)
            .min_calls(10)
            // Six hanging callers are 30 % of the window. The breaker counts overdue calls in
            // flight as slow, and therefore opens when the first of eight callers times out.
            .slow_calls(TIMEOUT / 4, 0.3)
            .track_in_flight()
            .open_duration(Backoff::constant(Duration::from_millis(500)))
            .ramp_up_duration(Duration::from_millis(300))
            .build()?;
        let pipeline = Pipeline::builder()
            .breaker(&breaker)
            .timeout(TIMEOUT)
            .chaos_with(chaos.errors(|_| Failure::from("injected")))
            .build();
        assert!(pipeline.check().is_empty());
        let pipeline = pipeline.boxed();
        Ok(Self { address, chaos, breaker, pipeline, calls: Mutex::default() })
    }

    async fn call(&self, client: &Client) {
        let started = Instant::now();
        let get = || async {
            let response = client.get(format!("http://{}/", self.address).parse()?).await?;
            let status = response.status();
            to_bytes(Body::new(response.into_body()), usize::MAX).await?;
            Ok::<_, Failure>(status)
        };
        if self.pipeline.call(get).await.is_ok() {
            self.calls.lock().expect("no panic under the lock").push((started, started.elapsed()));
        }
    }

    /// Returns the median duration and the number of the calls that started in the span.
    fn median(&self, from: Instant, to: Instant) -> Option<(Duration, usize)> {
        let calls = self.calls.lock().expect("no panic under the lock");
        let mut took: Vec<_> =
            calls.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| *took).collect();
        took.sort_unstable();
        Some((*took.get(took.len() / 2)?, took.len()))
    }
}

/// Calls both servers in turn until the deadline.
async fn work(client: Client, both: [Arc<Dependency>; 2], until: Instant) {
    while Instant::now() < until {
        for dependency in &both {
            dependency.call(&client).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Runs the drill and returns what failed.
async fn drill(phase: Duration) -> Result<Vec<String>, Failure> {
    // Two phases of faults. Slow calls alone do not open the breaker.
    let script = Chaos::builder()
        .seed(1)
        .step(phase / 4, [Fault::latency_exponential(RESPONSE_TIME).probability(0.5)])
        .step(phase / 4, [Fault::error().probability(0.2)])
        .step(3 * phase / 2, [Fault::hang()]);
    let unused = Chaos::builder().fault(Fault::error());
    let healthy = Arc::new(Dependency::new("healthy", serve().await?, unused)?);
    let failing = Arc::new(Dependency::new("failing", serve().await?, script)?);
    let start = Instant::now();
    let subscription =
        failing.breaker.on_transition(move |transition: &CircuitBreakerTransition| {
            let (at, cause) = (start.elapsed().as_secs_f64(), transition.cause);
            println!("{at:6.2} s  failing: {} -> {}, {cause}", transition.from, transition.to);
        });

    let client = HttpClient::builder(TokioExecutor::new()).build_http();
    let both = [healthy.clone(), failing.clone()];
    let until = start + 4 * phase;
    let workers: Vec<_> =
        (0..WORKERS).map(|_| tokio::spawn(work(client.clone(), both.clone(), until))).collect();

    // The first half of the first phase warms up; the second half is measured.
    tokio::time::sleep(phase).await;
    println!("{:6.2} s  the script starts", start.elapsed().as_secs_f64());
    failing.chaos.switch().turn_on_for(2 * phase)?;
    let outage = Instant::now();
    let mut opened = None;
    while outage.elapsed() < 2 * phase {
        if failing.breaker.state() == CircuitBreakerState::Open {
            opened.get_or_insert_with(Instant::now);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("{:6.2} s  the script has ended", start.elapsed().as_secs_f64());
    let end = Instant::now();
    for worker in workers {
        worker.await?;
    }
    drop(subscription);

    let mut faults = Vec::new();
    let Some(opened) = opened else {
        return Ok(vec!["the breaker never opened".into()]);
    };
    println!("\n{:?}", failing.chaos.snapshot());
    println!("opened {:?} after the start of the script", opened - outage);
    let before = healthy.median(start + phase / 2, outage);
    // The calls that hung when the breaker opened have timed out by then.
    let during = healthy.median(opened + TIMEOUT, end);
    match (before, during) {
        (Some((before, n)), Some((during, m))) => {
            let added = during.as_secs_f64() / before.as_secs_f64() - 1.0;
            println!(
                "healthy server, median: {before:?} of {n} calls before, \
                 {during:?} of {m} while open: {:+.1} %",
                added * 100.0
            );
            if added >= TOLERANCE {
                faults.push(format!(
                    "calls to the healthy server took {:.0} % longer",
                    added * 100.0
                ));
            }
        }
        _ => faults.push("no calls to the healthy server to compare".into()),
    }
    let snapshot = failing.breaker.snapshot();
    println!("failing server: {} calls were rejected", snapshot.rejected);
    if snapshot.state != CircuitBreakerState::Closed {
        faults.push(format!("the breaker is {} although the script has ended", snapshot.state));
    }
    if healthy.breaker.snapshot().rejected > 0 {
        faults.push("the healthy server's breaker rejected calls".into());
    }
    Ok(faults)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let phase = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Duration::from_millis(2500),
        ["--short"] => Duration::from_millis(1200),
        ["--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("unknown arguments; --help lists the options");
            return ExitCode::from(2);
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    match runtime.map_err(Failure::from).and_then(|runtime| runtime.block_on(drill(phase))) {
        Ok(faults) if faults.is_empty() => {
            println!("passed");
            ExitCode::SUCCESS
        }
        Ok(faults) => {
            faults.iter().for_each(|fault| eprintln!("FAILED: {fault}"));
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
