//! Does one sick dependency make the others slow? A drill: two real servers on loopback, one of which stops
//! answering on schedule, and workers that call both in turn, each server behind a breaker of its own.
//!
//! ```sh
//! cargo run --release --example chaos_drill
//! cargo run --release --example chaos_drill -- --short
//! ```
//!
//! The drill is passed if the sick server's breaker opens, calls to the healthy one take less than 20 % longer
//! while it is open than they did before, and it closes again when the server is well. Otherwise the program
//! says what failed and exits with 1: put your own settings in, and run it in CI.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract;
use axum::http::StatusCode;
use axum::routing::get;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::backoff::Backoff;
use mainstay::breaker::{CircuitBreaker, CircuitBreakerState, Transition};
use mainstay::pipeline::{BoxPipeline, Pipeline};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::sync::watch;

const HELP: &str = "\
Does one sick dependency make the others slow? Exits with 1 if so.

Usage: cargo run --release --example chaos_drill -- [--short]";

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Client = HttpClient<HttpConnector, Body>;

/// Calls that are under way at once.
const WORKERS: usize = 8;
/// What an answer takes a server that is well.
const WORK: Duration = Duration::from_millis(5);
/// How long a caller waits for one.
const PATIENCE: Duration = Duration::from_millis(400);
/// By how much calls to the healthy server may become slower.
const TOLERANCE: f64 = 0.2;

/// A server that answers while `well` says so, and else keeps its callers waiting.
async fn serve(well: watch::Receiver<bool>) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let routes = Router::new().route("/", get(answer)).with_state(well);
    // Ends with the runtime.
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

async fn answer(extract::State(mut well): extract::State<watch::Receiver<bool>>) -> &'static str {
    let _ = well.wait_for(|well| *well).await;
    tokio::time::sleep(WORK).await;
    "well"
}

/// A dependency as its callers have it.
struct Dependency {
    address: SocketAddr,
    breaker: CircuitBreaker,
    pipeline: BoxPipeline<StatusCode, Failure>,
    /// When each successful call began, and how long it took.
    calls: Mutex<Vec<(Instant, Duration)>>,
}

impl Dependency {
    fn new(name: &str, address: SocketAddr) -> Result<Self, Failure> {
        let breaker = CircuitBreaker::builder()
            .name(name)
            .count_window(20)
            .min_calls(10)
            // Six of eight workers that hang are three tenths of the window. All of them hang before anybody
            // asks again, so it opens when the first one has lost patience, and does not wait for the rest.
            .slow_calls(PATIENCE / 4, 0.3)
            .track_in_flight()
            .open_duration(Backoff::constant(Duration::from_millis(500)))
            .ramp_up_duration(Duration::from_millis(300))
            .build()?;
        let pipeline = Pipeline::builder().breaker(&breaker).timeout(PATIENCE).build().boxed();
        Ok(Self { address, breaker, pipeline, calls: Mutex::default() })
    }

    async fn call(&self, client: &Client) {
        let begun = Instant::now();
        let get = || async {
            let response = client.get(format!("http://{}/", self.address).parse()?).await?;
            let status = response.status();
            to_bytes(Body::new(response.into_body()), usize::MAX).await?;
            Ok::<_, Failure>(status)
        };
        if self.pipeline.call(get).await.is_ok() {
            self.calls.lock().expect("nobody panics while noting").push((begun, begun.elapsed()));
        }
    }

    /// The median of the calls that began in between, and how many they were.
    fn median(&self, from: Instant, to: Instant) -> Option<(Duration, usize)> {
        let calls = self.calls.lock().expect("nobody panics while noting");
        let mut took: Vec<_> =
            calls.iter().filter(|(at, _)| (from..to).contains(at)).map(|(_, took)| *took).collect();
        took.sort_unstable();
        Some((*took.get(took.len() / 2)?, took.len()))
    }
}

/// Calls both in turn, a little apart, until time is up.
async fn work(client: Client, both: [Arc<Dependency>; 2], until: Instant) {
    while Instant::now() < until {
        for dependency in &both {
            dependency.call(&client).await;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// What went wrong.
async fn drill(phase: Duration) -> Result<Vec<String>, Failure> {
    let (_well, always) = watch::channel(true);
    let (sick, sometimes) = watch::channel(true);
    let healthy = Arc::new(Dependency::new("healthy", serve(always).await?)?);
    let ailing = Arc::new(Dependency::new("ailing", serve(sometimes).await?)?);
    let start = Instant::now();
    let said = ailing.breaker.on_transition(move |transition: &Transition| {
        let (at, why) = (start.elapsed().as_secs_f64(), transition.cause);
        println!("{at:6.2} s  ailing: {} -> {}, {why}", transition.from, transition.to);
    });

    let client = HttpClient::builder(TokioExecutor::new()).build_http();
    let both = [healthy.clone(), ailing.clone()];
    let until = start + 4 * phase;
    let workers: Vec<_> =
        (0..WORKERS).map(|_| tokio::spawn(work(client.clone(), both.clone(), until))).collect();

    // Connections are made and code is warm by half of the first phase.
    tokio::time::sleep(phase).await;
    println!("{:6.2} s  the ailing server stops answering", start.elapsed().as_secs_f64());
    sick.send_replace(false);
    let outage = Instant::now();
    let mut opened = None;
    while outage.elapsed() < 2 * phase {
        if ailing.breaker.state() == CircuitBreakerState::Open {
            opened.get_or_insert_with(Instant::now);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("{:6.2} s  it answers again", start.elapsed().as_secs_f64());
    let end = Instant::now();
    sick.send_replace(true);
    for worker in workers {
        worker.await?;
    }
    drop(said);

    let mut faults = Vec::new();
    let Some(opened) = opened else {
        return Ok(vec!["the breaker never opened".into()]);
    };
    println!("\nopened after {:?}, of which a caller's patience is {PATIENCE:?}", opened - outage);
    let before = healthy.median(start + phase / 2, outage);
    // The calls that hung when it opened have come back by then.
    let during = healthy.median(opened + PATIENCE, end);
    match (before, during) {
        (Some((before, n)), Some((during, m))) => {
            let added = during.as_secs_f64() / before.as_secs_f64() - 1.0;
            println!(
                "healthy server, median: {before:?} of {n} calls before, {during:?} of {m} while open: {:+.1} %",
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
    let snapshot = ailing.breaker.snapshot();
    println!("ailing server: {} calls were not made", snapshot.rejected);
    if snapshot.state != CircuitBreakerState::Closed {
        faults.push(format!("the breaker is {} though its server is well", snapshot.state));
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
            eprintln!("not understood; --help lists the options");
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
