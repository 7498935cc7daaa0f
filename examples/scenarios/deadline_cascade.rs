//! Scenario: a request passes through three services, over loopback sockets, with one deadline.
//! The last service runs a query that cannot be interrupted.
//!
//! ```text
//! cargo run --release --example deadline_cascade --features tower -- [requests]
//! ```
//!
//! The first two services take 30 ms each, and the query 50 ms. Clients wait for 80, 100, 200 or
//! 300 ms, so half of the requests cannot be served in time. Without deadlines, the last service
//! nevertheless runs their queries. With deadlines, each service sends the remaining time to the
//! next one, which rejects requests that it cannot serve in time. The program fails if deadlines
//! save fewer than three quarters of the wasted queries.

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::policy::Context;
use mainstay::tower::ContextPropagator;
use mainstay::{Clock, Deadline, DeadlineGuard, Error, Pipeline, deadline};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Http = Client<HttpConnector, Body>;

/// The header field with the remaining time.
const FIELD: &str = "x-request-timeout";
/// How long each of the first two services takes.
const WORK: Duration = Duration::from_millis(30);
const QUERY: Duration = Duration::from_millis(50);
/// How long the clients wait, in milliseconds. The first two timeouts are too short.
const TIMEOUTS: [u64; 4] = [80, 100, 200, 300];

/// Reads the remaining time from a header field, and stores the context as an extension.
#[derive(Clone, Copy)]
struct Headers;

impl ContextPropagator<Request<Body>> for Headers {
    fn extract(&self, request: &Request<Body>, cx: Context) -> Context {
        let text = request.headers().get(FIELD).and_then(|value| value.to_str().ok());
        match text.and_then(deadline::from_request_timeout) {
            Some(timeout) => cx.with_deadline(Deadline::after(cx.now(), timeout)),
            None => cx,
        }
    }

    fn inject(&self, cx: Context, request: &mut Request<Body>) {
        request.extensions_mut().insert(cx);
    }
}

#[derive(Clone)]
struct Service {
    http: Http,
    clock: Clock,
    /// The next service, or `None` for the one that runs the query.
    next: Option<SocketAddr>,
    queries: Arc<AtomicU64>,
}

async fn handle(State(service): State<Service>, request: Request<Body>) -> StatusCode {
    let cx = request.extensions().get::<Context>().copied().unwrap_or_default();
    match service.serve(cx).await {
        Ok(status) => status,
        Err(error) => {
            eprintln!("{error}");
            StatusCode::BAD_GATEWAY
        }
    }
}

impl Service {
    async fn serve(&self, cx: Context) -> Result<StatusCode, Failure> {
        let Some(next) = self.next else {
            self.queries.fetch_add(1, Ordering::Relaxed);
            // A query in a database runs to its end, even if the request is dropped.
            tokio::spawn(tokio::time::sleep(QUERY)).await?;
            return Ok(StatusCode::OK);
        };
        tokio::time::sleep(WORK).await;
        send(&self.http, next, cx.after_waiting().on(&self.clock).remaining()).await
    }
}

/// Sends a request that carries the remaining time.
async fn send(
    http: &Http,
    to: SocketAddr,
    remaining: Option<Duration>,
) -> Result<StatusCode, Failure> {
    let mut request = Request::get(format!("http://{to}/"));
    if let Some(remaining) = remaining {
        request = request.header(FIELD, deadline::to_request_timeout(remaining));
    }
    Ok(http.request(request.body(Body::empty())?).await?.status())
}

/// Starts a service that rejects requests with less time left than `min_remaining`.
async fn start(service: Service, min_remaining: Duration) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let guard = DeadlineGuard::builder().min_remaining(min_remaining).build()?;
    let pipeline = Pipeline::builder().guard(guard).build();
    let layers = ServiceBuilder::new()
        .layer(HandleErrorLayer::new(|error: Error<Infallible>| async move {
            match error {
                Error::Rejected(_) => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::GATEWAY_TIMEOUT,
            }
        }))
        .layer(pipeline.propagate_context(Headers, &service.clock));
    let routes = Router::new().route("/", get(handle)).with_state(service).layer(layers);
    // The task ends with the runtime.
    tokio::spawn(async move { axum::serve(listener, routes).await });
    Ok(address)
}

#[derive(Debug, Default)]
struct Results {
    in_time: u64,
    rejected: u64,
    timed_out: u64,
    queries: u64,
    /// The longest time that a client waited beyond its timeout.
    latest: Duration,
}

impl Results {
    /// Returns the number of queries that ran for a client that had timed out.
    fn wasted(&self) -> u64 {
        self.queries.saturating_sub(self.in_time)
    }
}

/// Sends requests to a chain of three services. Clients always have a timeout. If `passes_deadline`
/// is set, they send it to the services.
async fn run(requests: u64, passes_deadline: bool) -> Result<Results, Failure> {
    let (http, clock) = (Client::builder(TokioExecutor::new()).build_http(), Clock::system());
    let queries = Arc::new(AtomicU64::new(0));
    let service = |next| {
        let (http, clock, queries) = (http.clone(), clock.clone(), queries.clone());
        Service { http, clock, next, queries }
    };
    let last = start(service(None), QUERY).await?;
    let middle = start(service(Some(last)), WORK + QUERY).await?;
    let first = start(service(Some(middle)), Duration::ZERO).await?;
    send(&http, first, None).await?; // opens the connections
    queries.store(0, Ordering::Relaxed);

    let mut clients = Vec::new();
    for number in 0..requests {
        let (http, clock) = (http.clone(), clock.clone());
        clients.push(tokio::spawn(async move {
            let timeout = Duration::from_millis(TIMEOUTS[number as usize % TIMEOUTS.len()]);
            let start = Instant::now();
            let limited = Pipeline::builder().build();
            let until = Deadline::after(clock.now(), timeout);
            let call = limited
                .with_deadline(until, &clock)
                .call_with(|cx| {
                    let remaining = cx.remaining().filter(|_| passes_deadline);
                    let http = &http;
                    async move { send(http, first, remaining).await }
                })
                .await;
            (call, start.elapsed().saturating_sub(timeout))
        }));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut results = Results::default();
    for client in clients {
        let (call, late) = client.await?;
        match call {
            Ok(StatusCode::OK) => results.in_time += 1,
            Ok(StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT) => {
                results.rejected += 1;
            }
            Err(Error::Timeout(_)) => results.timed_out += 1,
            Ok(status) => return Err(status.to_string().into()),
            Err(error) => return Err(error.into_boxed()),
        }
        results.latest = results.latest.max(late);
    }
    tokio::time::sleep(2 * (WORK + QUERY)).await; // for queries that are still running
    results.queries = queries.load(Ordering::Relaxed);
    Ok(results)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let requests = std::env::args().nth(1).map_or(Ok(400), |argument| argument.parse())?;
    println!(
        "{:<18} {:>8} {:>8} {:>9} {:>8} {:>8}",
        "", "in time", "rejected", "timed out", "queries", "wasted"
    );
    let mut wasted = Vec::new();
    for (name, passes_deadline) in [("without deadlines", false), ("with deadlines", true)] {
        let results = run(requests, passes_deadline).await?;
        println!(
            "{name:<18} {:>8} {:>8} {:>9} {:>8} {:>8}",
            results.in_time,
            results.rejected,
            results.timed_out,
            results.queries,
            results.wasted(),
        );
        assert_eq!(results.in_time + results.rejected + results.timed_out, requests);
        wasted.push(results.wasted());
    }
    match wasted[1] <= wasted[0] / 4 {
        true => Ok(()),
        false => Err("expected: deadlines save three quarters of the wasted queries".into()),
    }
}
