//! A gateway of axum routes in front of a real upstream, each route with a pipeline of its own as its Tower
//! layer: a breaker, a rate limit, a time limit. One of two upstream services hangs for a while, the other is
//! asked for more than its limit; the gateway drives itself and says what became of the calls.
//!
//! ```sh
//! cargo run --release --features tower --example tower_stack        # three phases of 2 s
//! cargo run --release --features tower --example tower_stack 0.5    # of half a second
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

/// Each route, and how many calls a second its service takes. Callers come 100 times a second.
const ROUTES: [(&str, u32); 2] = [("search", 200), ("prices", 80)];
/// How long the gateway waits for the upstream. It answers within a millisecond when it is well.
const PATIENCE: Duration = Duration::from_millis(100);
/// How long a call waits its turn under the rate limit.
const LINGER: Duration = Duration::from_millis(20);
/// One call on each route so often.
const EVERY: Duration = Duration::from_millis(10);

/// What a route has around it: a breaker of its own, and the limits of its service. There is no retry: the
/// body of a request goes by once, and cannot be sent again.
fn route(
    (name, rate): (&str, u32),
    start: Instant,
    gateway: Gateway,
) -> Result<Router, ConfigError> {
    let limiter = RateLimiter::builder(Quota::per_second(rate).burst(10)).name(name).build()?;
    let pipeline = Pipeline::builder()
        .breaker(breaker(name, start)?.classified_by(verdict))
        .rate_limit(limiter.waiting_at_most(LINGER))
        .timeout(PATIENCE)
        .build();
    for lint in pipeline.check() {
        println!("{name}: {lint}");
    }
    // The pipeline's error is turned into a response by the layer around it.
    let layer = ServiceBuilder::new().layer(HandleErrorLayer::new(explain)).layer(pipeline);
    Ok(Router::new().route(&format!("/{name}"), any(forward).layer(layer)).with_state(gateway))
}

fn breaker(name: &str, start: Instant) -> Result<CircuitBreaker, ConfigError> {
    CircuitBreaker::builder()
        .name(name)
        .time_window(Duration::from_secs(1), 10)
        .min_calls(10)
        .consecutive_failures(5)
        // Short, because the outage is: the default is 5 s and more.
        .open_duration(
            Backoff::exponential(Duration::from_millis(100)).cap(Duration::from_millis(300)),
        )
        .observer(move |event: &Event<'_>| {
            println!("{:>6.2} s  {event}", start.elapsed().as_secs_f64());
        })
        .build()
}

/// An answer of the upstream that says that it is ill counts as a failure, although to HTTP it is an answer.
fn verdict(result: &Result<Response, Error<Infallible>>) -> Outcome {
    match result {
        Ok(response) if response.status().is_server_error() => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(Error::Rejected(_)) => Outcome::Ignore,
        Err(_) => Outcome::Failure,
    }
}

/// What the gateway's caller is told when a policy ended or refused the call.
async fn explain(error: Error<Infallible>) -> Response {
    let wait = error.retry_after_secs().unwrap_or(1);
    match error {
        Error::Timeout(timed_out) => {
            (StatusCode::GATEWAY_TIMEOUT, timed_out.to_string()).into_response()
        }
        error => {
            let limited =
                matches!(&error, Error::Rejected(why) if why.reason() == Reason::RateLimited);
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

/// Two services at one address, which can be made to hang.
#[derive(Default)]
struct Upstream {
    hangs: [AtomicBool; 2],
    reached: [AtomicU32; 2],
}

async fn answer(State(upstream): State<Arc<Upstream>>, Path(name): Path<String>) -> Response {
    let Some(service) = ROUTES.iter().position(|(route, _)| *route == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    upstream.reached[service].fetch_add(1, Ordering::Relaxed);
    if upstream.hangs[service].load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
    format!("{name}: here you are").into_response()
}

async fn serve(routes: Router) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, routes).await });
    Ok(address)
}

/// What became of the calls of one route in one phase.
#[derive(Default)]
struct Tally {
    ok: u32,
    timed_out: u32,
    refused: u32,
    limited: u32,
    other: u32,
    took: Vec<Duration>,
}

/// Calls one route of the gateway at a fixed rate, however long the answers take.
async fn call_for(
    length: Duration,
    http: &Http,
    gateway: SocketAddr,
    route: &str,
) -> Result<Tally, Failure> {
    let page: Uri = format!("http://{gateway}/{route}").parse()?;
    let mut ticks = tokio::time::interval(EVERY);
    let calls = (length.as_secs_f64() / EVERY.as_secs_f64()) as u32;
    let mut answers = Vec::new();
    for _ in 0..calls {
        ticks.tick().await;
        let (http, page) = (http.clone(), page.clone());
        answers.push(tokio::spawn(async move {
            let start = Instant::now();
            let status = http.get(page).await.map(|response| response.status());
            (status, start.elapsed())
        }));
    }
    let mut tally = Tally::default();
    for answer in answers {
        let (status, took) = answer.await?;
        match status? {
            StatusCode::OK => tally.ok += 1,
            StatusCode::GATEWAY_TIMEOUT => tally.timed_out += 1,
            StatusCode::SERVICE_UNAVAILABLE => tally.refused += 1,
            StatusCode::TOO_MANY_REQUESTS => tally.limited += 1,
            _ => tally.other += 1,
        }
        tally.took.push(took);
    }
    tally.took.sort_unstable();
    Ok(tally)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let seconds = std::env::args().nth(1).map_or(Ok(2.0), |argument| argument.parse())?;
    let length = Duration::try_from_secs_f64(seconds)?;
    let start = Instant::now();
    let http = || Client::builder(TokioExecutor::new()).build_http();

    let upstream = Arc::new(Upstream::default());
    let services = Router::new().route("/{name}", any(answer)).with_state(upstream.clone());
    let gateway = Gateway { http: http(), upstream: serve(services).await? };
    let mut routes = Router::new();
    for service in ROUTES {
        routes = routes.merge(route(service, start, gateway.clone())?);
    }
    let (gateway, http) = (serve(routes).await?, http());

    let mut rows = Vec::new();
    for (phase, search_hangs) in [("well", false), ("search hangs", true), ("well again", false)] {
        println!("{:>6.2} s  -- {phase}", start.elapsed().as_secs_f64());
        upstream.hangs[0].store(search_hangs, Ordering::Relaxed);
        let (search, prices) = tokio::join!(
            call_for(length, &http, gateway, ROUTES[0].0),
            call_for(length, &http, gateway, ROUTES[1].0)
        );
        for (service, tally) in [search?, prices?].into_iter().enumerate() {
            let reached = upstream.reached[service].swap(0, Ordering::Relaxed);
            rows.push((phase, ROUTES[service].0, tally, reached));
        }
    }

    println!();
    println!(
        "phase         route    calls    200  504 timeout  503 open  429 limited  other  upstream    median"
    );
    for (phase, route, tally, reached) in rows {
        println!(
            "{phase:<13} {route:<8} {:>5} {:>6} {:>12} {:>9} {:>12} {:>6} {reached:>9} {:>6.1} ms",
            tally.took.len(),
            tally.ok,
            tally.timed_out,
            tally.refused,
            tally.limited,
            tally.other,
            tally.took.get(tally.took.len() / 2).copied().unwrap_or_default().as_secs_f64() * 1e3,
        );
    }
    println!(
        "\nEach route has a breaker and a limit of its own: while search hangs, its callers are told so at"
    );
    println!(
        "once, the upstream is asked only by a probe now and then, and prices are served as ever."
    );
    Ok(())
}
