//! Scenario: reads from three replicas over loopback sockets, one of which pauses periodically. The
//! same reads run without and with a hedge.
//!
//! ```text
//! cargo run --release --example hedged_reads -- [seconds]
//! ```
//!
//! A replica responds after 2 ms. One of the replicas pauses for 100 ms in every 1.2 s, as a
//! garbage collection does. The program fails if the hedge does not reduce the 99th percentile of
//! the latency to a third, or if it adds more than 5 % to the requests.

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::Request;
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::{Budget, Hedge};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Http = Client<HttpConnector, Body>;

/// How long a replica takes to respond.
const READ: Duration = Duration::from_millis(2);
const PAUSE: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_millis(1200);
/// In reads per second.
const RATE: u32 = 300;

#[derive(Clone)]
struct Replica {
    started: Instant,
    pauses: bool,
    requests: Arc<AtomicU64>,
}

impl Replica {
    /// Returns how long the current pause of the replica still lasts.
    fn pause(&self) -> Duration {
        let position = self.started.elapsed().as_millis() % PERIOD.as_millis();
        match self.pauses && position < PAUSE.as_millis() {
            true => PAUSE - Duration::from_millis(position as u64),
            false => Duration::ZERO,
        }
    }
}

async fn respond(State(replica): State<Replica>) -> &'static str {
    replica.requests.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(replica.pause() + READ).await;
    "a row"
}

/// Starts three replicas, the first of which pauses. Returns their addresses.
async fn start(requests: &Arc<AtomicU64>) -> Result<Vec<SocketAddr>, Failure> {
    let mut addresses = Vec::new();
    for number in 0..3 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        addresses.push(listener.local_addr()?);
        let (started, requests) = (Instant::now(), requests.clone());
        let replica = Replica { started, pauses: number == 0, requests };
        let routes = Router::new().route("/", get(respond)).with_state(replica);
        // The task ends with the runtime.
        tokio::spawn(async move { axum::serve(listener, routes).await });
    }
    Ok(addresses)
}

async fn read(http: Http, replica: SocketAddr) -> Result<(), Failure> {
    let request = Request::get(format!("http://{replica}/")).body(Body::empty())?;
    let response = http.request(request).await?;
    match response.status().is_success() {
        true => Ok(()),
        false => Err(response.status().to_string().into()),
    }
}

/// The latencies of the reads of one run, in ascending order, and the number of requests that the
/// replicas received.
struct Results {
    latencies: Vec<Duration>,
    requests: u64,
}

impl Results {
    fn quantile(&self, quantile: f64) -> Duration {
        self.latencies[((self.latencies.len() - 1) as f64 * quantile) as usize]
    }

    /// Returns the number of additional requests, as a share of the reads.
    fn extra(&self) -> f64 {
        self.requests as f64 / self.latencies.len() as f64 - 1.0
    }
}

/// Starts reads at a constant rate, however long they take. The first attempt of each read goes to
/// the next replica.
async fn run(hedge: Option<&Hedge>, length: Duration) -> Result<Results, Failure> {
    let requests = Arc::new(AtomicU64::new(0));
    let replicas = Arc::new(start(&requests).await?);
    let http = Client::builder(TokioExecutor::new()).build_http();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE);
    let mut reads = Vec::new();
    for number in 0..(length.as_secs_f64() * f64::from(RATE)) as usize {
        ticks.tick().await;
        let (http, replicas, hedge) = (http.clone(), replicas.clone(), hedge.cloned());
        reads.push(tokio::spawn(async move {
            let start = Instant::now();
            // Each further attempt goes to another replica.
            let attempt = |attempt: u32| {
                let replica = replicas[(number + attempt as usize) % 3];
                read(http.clone(), replica)
            };
            match hedge {
                Some(hedge) => {
                    let call = hedge.call_with(|cx| attempt(cx.attempt()));
                    call.await.map_err(mainstay::Error::into_boxed)?;
                }
                None => attempt(1).await?,
            }
            Ok::<_, Failure>(start.elapsed())
        }));
    }
    let mut latencies = Vec::new();
    for read in reads {
        latencies.push(read.await??);
    }
    latencies.sort_unstable();
    Ok(Results { latencies, requests: requests.load(Ordering::Relaxed) })
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let seconds = std::env::args().nth(1).map_or(Ok(8.0), |argument| argument.parse())?;
    // With fewer reads, the burst of the budget alone could exceed the limit.
    let length = Duration::try_from_secs_f64(seconds)?.max(Duration::from_secs(4));
    let hedge = Hedge::builder()
        .name("replicas")
        .delay_quantile(0.96, Duration::from_millis(8))
        .budget(Budget::builder().percent(4).of_all_calls(10).build()?)
        .assume_idempotent()
        .build()?;
    println!("{:<14} {:>8} {:>9} {:>9} {:>9} {:>15}", "", "reads", "p50", "p95", "p99", "requests");
    let mut results = Vec::new();
    for (name, hedge) in [("without hedge", None), ("with hedge", Some(&hedge))] {
        let result = run(hedge, length).await?;
        let ms = |quantile| result.quantile(quantile).as_secs_f64() * 1e3;
        println!(
            "{name:<14} {:>8} {:>6.1} ms {:>6.1} ms {:>6.1} ms {:>+14.1}%",
            result.latencies.len(),
            ms(0.5),
            ms(0.95),
            ms(0.99),
            result.extra() * 100.0,
        );
        results.push(result);
    }
    println!("\n{:?}", hedge.snapshot());
    let ratio = results[0].quantile(0.99).as_secs_f64() / results[1].quantile(0.99).as_secs_f64();
    println!("the 99th percentile fell to 1/{ratio:.1}");
    if ratio < 3.0 || results[1].extra() > 0.05 {
        return Err("expected: at most a third of the latency, and 5 % more requests".into());
    }
    Ok(())
}
