//! Scenario: an axum gateway in front of a real upstream. Each route has a pipeline as its Tower
//! layer: a breaker, a rate limit and a timeout. One of the two upstream services hangs for a
//! while, the other receives more calls than its limit. The program generates the load and prints
//! the results.
//!
//! ```sh
//! cargo run --release --features tower --example tower_stack        # phases of 2 s
//! cargo run --release --features tower --example tower_stack 0.5    # phases of 0.5 s
//! ```

use axum::Router;
use axum::body::Body;
use axum::error_handling::HandleErrorLayer;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri, header::RETRY_AFTER, uri};
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::backoff::Backoff;
use mainstay::breaker::CircuitBreaker;
use mainstay::error::{ConfigError, Error, Reason};
use mainstay::event::Event;
use mainstay::outcome::Outcome;
use mainstay::pipeline::Pipeline;
use mainstay::rate::{Quota, RateLimiter};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tower::ServiceBuilder;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Http = Client<HttpConnector, Body>;

/// The routes and their rate limits per second. Each route is called 100 times per second.
const ROUTES: [(&str, u32); 2] = [("search", 200), ("prices", 80)];
/// The timeout of a call to the upstream, which responds within a millisecond while it is healthy.
const TIMEOUT: Duration = Duration::from_millis(100);
/// The maximum wait of a call for the rate limiter.
const MAX_WAIT: Duration = Duration::from_millis(20);
/// The interval of the calls on each route.
const INTERVAL: Duration = Duration::from_millis(10);

/// Builds a route with a breaker and the limits of its service. There is no retry: the body of a
/// request is a stream and cannot be sent twice.
fn route(
    (name, rate): (&str, u32),
    start: Instant,
    gateway: Gateway,
) -> Result<Router, ConfigError> {
    let limiter = RateLimiter::builder(Quota::per_second(rate).burst(10)).name(name).build()?;
    let pipeline = Pipeline::builder()
        .breaker(breaker(name, start)?.classified_by(classify))
        .rate_limit(limiter.max_wait(MAX_WAIT))
        .timeout(TIMEOUT)
        .build();
    for lint in pipeline.check() {
        println!("{name}: {lint}");
    }
    // The outer layer converts the pipeline's error into a response.
    let layer = ServiceBuilder::new().layer(HandleErrorLayer::new(into_response)).layer(pipeline);
    Ok(Router::new().route(&format!("/{name}"), any(forward).layer(layer)).with_state(gateway))
}

fn breaker(name: &str, start: Instant) -> Result<CircuitBreaker, ConfigError> {
    CircuitBreaker::builder()
        .name(name)
        .time_window(Duration::from_secs(1), 10)
        .min_calls(10)
        .consecutive_failures(5)
        // Short, because the outage is short; the default is 5 s and more.
        .open_duration(
            Backoff::exponential(Duration::from_millis(100)).max_delay(Duration::from_millis(300)),
        )
        .observer(move |event: &Event<'_>| {
            println!("{:>6.2} s  {event}", start.elapsed().as_secs_f64());
        })
        .build()
}

/// Classifies a response: a 5xx is an `Ok` of the HTTP client, but a failure of the upstream.
fn classify(result: &Result<Response, Error<Infallible>>) -> Outcome {
    match result {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(Error::Rejected(_)) => Outcome::Ignore,
        Err(_) => Outcome::Failure,
    }
}

/// Converts the error of a call that a policy rejected or ended into a response.
async fn into_response(error: Error<Infallible>) -> Response {
    let wait = error.retry_after_secs().unwrap_or(1);
    match error {
        Error::Timeout(timed_out) => {
            (StatusCode::GATEWAY_TIMEOUT, timed_out.to_string()).into_response()
        }
        error => {
            let limited = matches!(
                &error,
                Error::Rejected(rejection) if rejection.reason() == Reason::RateLimited
            );
            let status = if limited {
                StatusCode::TOO_MANY_REQUESTS
            } else {
                StatusCode::SERVICE_UNAVAILABLE
            };
            (status, [(RETRY_AFTER, wait)], error.to_string()).into_response()
        }
    }
}

#[derive(Clone)]
struct Gateway {
    http: Http,
    upstream: SocketAddr,
}

async fn forward(State(gateway): State<Gateway>, mut request: Request) -> Response {
    let mut parts = uri::Parts::from(request.uri().clone());
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = gateway.upstream.to_string().parse().ok();
    let Ok(uri) = Uri::from_parts(parts) else { return StatusCode::BAD_REQUEST.into_response() };
    *request.uri_mut() = uri;
    match gateway.http.request(request).await {
        Ok(response) => response.map(Body::new),
        Err(error) => (StatusCode::BAD_GATEWAY, error.to_string()).into_response(),
    }
}

/// Two services at one address, each of which can be made to hang.
#[derive(Default)]
struct Upstream {
    hangs: [AtomicBool; 2],
    reached: [AtomicU32; 2],
}

async fn respond(State(upstream): State<Arc<Upstream>>, Path(name): Path<String>) -> Response {
    let Some(service) = ROUTES.iter().position(|(route, _)| *route == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    upstream.reached[service].fetch_add(1, Ordering::Relaxed);
    if upstream.hangs[service].load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    format!("{name}: a page").into_response()
}

async fn serve(routes: Router) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, routes).await });
    Ok(address)
}

/// The results of the calls on one route in one phase.
#[derive(Default)]
struct Results {
    ok: u32,
    timed_out: u32,
    rejected: u32,
    limited: u32,
    other: u32,
    took: Vec<Duration>,
}

/// Calls one route of the gateway at a fixed rate, however long the responses take.
async fn call_for(
    length: Duration,
    http: &Http,
    gateway: SocketAddr,
    route: &str,
) -> Result<Results, Failure> {
    let page: Uri = format!("http://{gateway}/{route}").parse()?;
    let mut ticks = tokio::time::interval(INTERVAL);
    let calls = (length.as_secs_f64() / INTERVAL.as_secs_f64()) as u32;
    let mut responses = Vec::new();
    for _ in 0..calls {
        ticks.tick().await;
        let (http, page) = (http.clone(), page.clone());
        responses.push(tokio::spawn(async move {
            let start = Instant::now();
            let status = http.get(page).await.map(|response| response.status());
            (status, start.elapsed())
        }));
    }
    let mut results = Results::default();
    for response in responses {
        let (status, took) = response.await?;
        match status? {
            StatusCode::OK => results.ok += 1,
            StatusCode::GATEWAY_TIMEOUT => results.timed_out += 1,
            StatusCode::SERVICE_UNAVAILABLE => results.rejected += 1,
            StatusCode::TOO_MANY_REQUESTS => results.limited += 1,
            _ => results.other += 1,
        }
        results.took.push(took);
    }
    results.took.sort_unstable();
    Ok(results)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |argument| argument.parse())?;
    let length = Duration::try_from_secs_f64(seconds)?;
    let start = Instant::now();
    let http = || Client::builder(TokioExecutor::new()).build_http();

    let upstream = Arc::new(Upstream::default());
    let services = Router::new().route("/{name}", any(respond)).with_state(upstream.clone());
    let gateway = Gateway { http: http(), upstream: serve(services).await? };
    let mut routes = Router::new();
    for service in ROUTES {
        routes = routes.merge(route(service, start, gateway.clone())?);
    }
    let (gateway, http) = (serve(routes).await?, http());

    let mut rows = Vec::new();
    for (phase, search_hangs) in [("healthy", false), ("search hangs", true), ("recovered", false)]
    {
        println!("{:>6.2} s  -- {phase}", start.elapsed().as_secs_f64());
        upstream.hangs[0].store(search_hangs, Ordering::Relaxed);
        let (search, prices) = tokio::join!(
            call_for(length, &http, gateway, ROUTES[0].0),
            call_for(length, &http, gateway, ROUTES[1].0)
        );
        for (service, results) in [search?, prices?].into_iter().enumerate() {
            let reached = upstream.reached[service].swap(0, Ordering::Relaxed);
            rows.push((phase, ROUTES[service].0, results, reached));
        }
    }

    println!();
    println!(
        "phase         route    calls    200  504 timeout  503 open  429 limited  \
         other  upstream    median"
    );
    for (phase, route, results, reached) in rows {
        println!(
            "{phase:<13} {route:<8} {:>5} {:>6} {:>12} {:>9} {:>12} {:>6} {reached:>9} {:>6.1} ms",
            results.took.len(),
            results.ok,
            results.timed_out,
            results.rejected,
            results.limited,
            results.other,
            results.took.get(results.took.len() / 2).copied().unwrap_or_default().as_secs_f64()
                * 1e3,
        );
    }
    println!(
        "\nWhile search hangs, its breaker rejects most calls and the upstream receives only \
         probes."
    );
    println!("The calls to prices are not affected.");
    Ok(())
}
