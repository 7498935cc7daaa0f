//! Scenario: an axum server under twice the load that it can serve, over real sockets. It runs
//! without a limit, with an adaptive limit, and with an adaptive limit below a prioritizer.
//!
//! ```text
//! cargo run --release --example overload_server -- [seconds]
//! ```
//!
//! The server has four connections to a database, and each query takes 40 ms: it can serve 100
//! requests per second. It receives 200. Clients give up after 500 ms, but the server does not
//! detect this and completes the work. One request in four is important.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use mainstay::concurrency::{AdaptiveLimiter, Prioritizer};
use mainstay::error::{ConfigError, Error};
use mainstay::policy::PriorityClass;
use mainstay::wait::Semaphore;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Http = Client<HttpConnector, Body>;

const CONNECTIONS: u32 = 4;
const QUERY: Duration = Duration::from_millis(40);
/// In requests per second.
const CAPACITY: u32 = 100;
const TIMEOUT: Duration = Duration::from_millis(500);

#[derive(Clone)]
struct Server {
    database: Arc<Semaphore>,
    limiter: Option<AdaptiveLimiter>,
    prioritizer: Option<Prioritizer>,
}

impl Server {
    /// Runs a query to the end, even if its request is dropped.
    async fn query(&self) -> Result<(), Failure> {
        let database = self.database.clone();
        let query = async move {
            let connection = database.acquire_owned().await?;
            tokio::time::sleep(QUERY).await;
            drop(connection);
            Ok(())
        };
        tokio::spawn(query).await?
    }

    /// Handles a request of this class: the prioritizer and then the limiter can reject it.
    async fn handle(&self, class: PriorityClass) -> Result<(), Error<Failure>> {
        let permit = match &self.prioritizer {
            Some(prioritizer) => Some(prioritizer.try_acquire(class)?),
            None => None,
        };
        let result = match &self.limiter {
            Some(limiter) => limiter.call(|| self.query()).await,
            None => self.query().await.map_err(Error::Operation),
        };
        match (permit, &result) {
            (Some(permit), Err(error)) if error.is_rejected() => permit.rejected(),
            (permit, _) => drop(permit),
        }
        result
    }
}

async fn respond(State(server): State<Server>, request: Request) -> Response {
    let class = match request.headers().contains_key("x-important") {
        true => PriorityClass::High,
        false => PriorityClass::Low,
    };
    match server.handle(class).await {
        Ok(()) => "a page\n".into_response(),
        Err(Error::Rejected(rejection)) => {
            (StatusCode::SERVICE_UNAVAILABLE, rejection.to_string()).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// The results of the requests of one phase.
#[derive(Default)]
struct Results {
    offered: u32,
    /// Requests that received a page before their timeout.
    useful: u32,
    important: u32,
    important_useful: u32,
    /// The latencies of the requests that were not rejected. A request that timed out counts as
    /// [`TIMEOUT`].
    latencies: Vec<Duration>,
}

impl Results {
    fn quantile(&self, quantile: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        self.latencies.get((last as f64 * quantile) as usize).copied().unwrap_or_default()
    }

    fn important_share(&self) -> f64 {
        f64::from(self.important_useful) / f64::from(self.important.max(1))
    }
}

/// Sends `rate` requests per second for `length`, however long the responses take.
async fn offer(
    server: SocketAddr,
    http: &Http,
    rate: u32,
    length: Duration,
) -> Result<Results, Failure> {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    let mut requests = Vec::new();
    for number in 0..(length.as_secs_f64() * f64::from(rate)) as u32 {
        ticks.tick().await;
        let important = number % 4 == 0;
        let mut request = Request::get(format!("http://{server}/")).body(Body::empty())?;
        if important {
            request.headers_mut().insert("x-important", "yes".try_into()?);
        }
        let http = http.clone();
        requests.push(tokio::spawn(async move {
            let start = Instant::now();
            let response = tokio::time::timeout(TIMEOUT, http.request(request)).await;
            (important, response.map(|response| response.map(|ok| ok.status())), start.elapsed())
        }));
    }
    let mut results = Results { offered: requests.len() as u32, ..Results::default() };
    for request in requests {
        let (important, status, took) = request.await?;
        results.important += u32::from(important);
        match status {
            Ok(status) => match status? {
                StatusCode::OK => {
                    results.useful += 1;
                    results.important_useful += u32::from(important);
                    results.latencies.push(took);
                }
                StatusCode::SERVICE_UNAVAILABLE => {}
                other => return Err(format!("unexpected: {other}").into()),
            },
            Err(_timed_out) => results.latencies.push(TIMEOUT),
        }
    }
    results.latencies.sort_unstable();
    Ok(results)
}

/// Runs a server under a normal load, then under twice its capacity. Returns the results of the
/// overload, except for its first second, in which the limiter and the prioritizer adapt.
async fn run(
    limiter: Option<AdaptiveLimiter>,
    prioritizer: Option<Prioritizer>,
    length: Duration,
) -> Result<Results, Failure> {
    let second = Duration::from_secs(1);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let database = Arc::new(Semaphore::new(CONNECTIONS));
    let server = Server { database, limiter, prioritizer };
    let routes = Router::new().route("/", get(respond)).with_state(server);
    let serving = tokio::spawn(async { axum::serve(listener, routes).await });
    let http = Client::builder(TokioExecutor::new()).build_http();
    offer(address, &http, CAPACITY / 2, 2 * second).await?;
    let (first, rest) = tokio::join!(offer(address, &http, 2 * CAPACITY, second), async {
        tokio::time::sleep(second).await;
        offer(address, &http, 2 * CAPACITY, length).await
    });
    first?;
    serving.abort();
    rest
}

fn limiter() -> Result<AdaptiveLimiter, ConfigError> {
    AdaptiveLimiter::builder().name("server").build()
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let seconds = std::env::args().nth(1).map_or(Ok(5.0), |argument| argument.parse())?;
    let length = Duration::try_from_secs_f64(seconds)?;
    let limited = limiter()?;
    let prioritized = limiter()?;
    let prioritizer = Prioritizer::builder()
        .limiter(prioritized.clone())
        .update_interval(Duration::from_millis(250))
        .build()?;
    println!(
        "The server can serve {CAPACITY} requests per second and receives {}.\n\n\
         {:<30} {:>8} {:>8} {:>8} {:>8} {:>17}",
        2 * CAPACITY,
        "",
        "useful/s",
        "goodput",
        "p50",
        "p99",
        "important served"
    );
    let mut all = Vec::new();
    for (name, limiter, prioritizer) in [
        ("no limit", None, None),
        ("adaptive limit", Some(limited), None),
        ("adaptive limit, prioritizer", Some(prioritized), Some(prioritizer)),
    ] {
        let results = run(limiter, prioritizer, length).await?;
        let useful = f64::from(results.useful) / length.as_secs_f64();
        println!(
            "{name:<30} {useful:>8.0} {:>7.0}% {:>5} ms {:>5} ms {:>16.0}%",
            100.0 * useful / f64::from(CAPACITY),
            results.quantile(0.5).as_millis(),
            results.quantile(0.99).as_millis(),
            100.0 * results.important_share(),
        );
        all.push(results);
    }
    let [unlimited, limited, prioritized] = &all[..] else { unreachable!() };
    assert_eq!(unlimited.offered, prioritized.offered);
    for protected in [limited, prioritized] {
        assert!(protected.useful > 2 * unlimited.useful, "a limit doubles the useful requests");
        let capacity = f64::from(CAPACITY) * length.as_secs_f64();
        assert!(f64::from(protected.useful) > 0.5 * capacity, "a limit uses the capacity");
        assert!(protected.quantile(0.5) < TIMEOUT, "requests are served in time");
    }
    assert!(prioritized.important_share() > limited.important_share());
    Ok(())
}
