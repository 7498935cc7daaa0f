//! Scenario: a gateway in front of an API. Each tenant has a rate limit by its plan, and all
//! tenants together have another. A rejected request receives `429` with `Retry-After` and
//! `RateLimit` header fields. The program generates load over real sockets and prints the results
//! by tenant.
//!
//! ```text
//! cargo run --release --example api_gateway -- [seconds]
//! ```
//!
//! To try it with curl, start it with `--serve`, then `curl -i -H 'x-tenant: free-1'
//! http://localhost:8080/`.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header::RETRY_AFTER};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use mainstay::error::ConfigError;
use mainstay::rate::{Denied, Grant, KeyedRateLimiter, Quota, RateLimitStatus, RateLimiter};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The capacity of the API behind the gateway, in requests per second.
const TOTAL: u32 = 300;

struct Limits {
    total: RateLimiter,
    tenants: KeyedRateLimiter<String>,
}

impl Limits {
    fn new() -> Result<Self, ConfigError> {
        let total = Quota::per_second(TOTAL).burst(30);
        Ok(Self {
            total: RateLimiter::builder(total).name("total").build()?,
            tenants: KeyedRateLimiter::builder(plan(""))
                .name("tenant")
                .max_keys(100_000)
                .quota_by(|tenant: &String| plan(tenant))
                .build()?,
        })
    }

    /// Takes one token from each of the two limiters, or from neither.
    fn admit(&self, tenant: &str) -> Result<Grant, Denied> {
        let grant = self.tenants.try_acquire(tenant)?;
        if let Err(denied) = self.total.try_acquire() {
            self.tenants.refund(tenant, &grant, 1);
            return Err(denied);
        }
        Ok(grant)
    }
}

/// Returns the tenant's quota by its name; a service would look it up.
fn plan(tenant: &str) -> Quota {
    match tenant.split('-').next() {
        Some("gold") => Quota::per_second(100).burst(20),
        Some("pro") => Quota::per_second(50).burst(10),
        _ => Quota::per_second(5),
    }
}

/// The middleware in front of every route.
async fn limit(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let tenant = request.headers().get("x-tenant").and_then(|tenant| tenant.to_str().ok());
    let Some(tenant) = tenant else {
        return (StatusCode::UNAUTHORIZED, "the header x-tenant is missing\n").into_response();
    };
    match limits.admit(tenant) {
        Ok(grant) => {
            let mut response = next.run(request).await;
            write_limits(response.headers_mut(), &grant.status());
            response
        }
        Err(denied) => {
            let mut response =
                (StatusCode::TOO_MANY_REQUESTS, format!("{denied}\n")).into_response();
            write_limits(response.headers_mut(), &denied.status());
            if let Some(after) = denied.retry_after_secs() {
                response.headers_mut().insert(RETRY_AFTER, after.into());
            }
            response
        }
    }
}

fn write_limits(headers: &mut HeaderMap, status: &RateLimitStatus) {
    let figures = [
        ("ratelimit-limit", status.limit().into()),
        ("ratelimit-remaining", status.remaining().into()),
        ("ratelimit-reset", status.reset_after_secs().into()),
    ];
    headers.extend(figures.map(|(name, value)| (HeaderName::from_static(name), value)));
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let argument = std::env::args().nth(1);
    let serve = argument.as_deref() == Some("--serve");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, if serve { 8080 } else { 0 })).await?;
    let address = listener.local_addr()?;
    let limits = Arc::new(Limits::new()?);
    let routes = Router::new()
        .route("/", get(|| async { "a page\n" }))
        .layer(from_fn_with_state(limits.clone(), limit));
    let gateway = tokio::spawn(async { axum::serve(listener, routes).await });
    if serve {
        println!("http://{address}/, with a header x-tenant: gold-1, pro-1, free-1 …");
        return Ok(gateway.await??);
    }
    let run = Duration::from_secs_f64(argument.map_or(Ok(3.0), |argument| argument.parse())?);

    // The tenants and their requests per second.
    let mut tenants =
        vec![("gold-1".to_owned(), 150), ("gold-2".to_owned(), 60), ("pro-1".to_owned(), 200)];
    tenants.extend((1..=20).map(|i| (format!("free-{i}"), 10)));
    println!(
        "all tenants together: at most {TOTAL} per second\n\n\
         tenant    offered/s    plan/s granted/s  denied/s"
    );
    let mut callers = Vec::new();
    for (tenant, rate) in tenants {
        callers.push(tokio::spawn(call(address, tenant, rate, run)));
    }
    let (mut free, mut all) = (Results::default(), Results::default());
    for caller in callers {
        let results = caller.await??;
        all.add(&results);
        match results.tenant.starts_with("free") {
            true => free.add(&results),
            false => results.print(run, plan_rate(&results.tenant)),
        }
    }
    free.tenant = "20 × free".into();
    free.print(run, 20 * plan_rate("free"));
    all.tenant = "total".into();
    all.print(run, TOTAL);
    println!(
        "\nlongest Retry-After: {} s; tenants remembered: {}",
        all.longest,
        limits.tenants.snapshot().keys
    );
    gateway.abort();
    Ok(())
}

fn plan_rate(tenant: &str) -> u32 {
    match tenant.split('-').next() {
        Some("gold") => 100,
        Some("pro") => 50,
        _ => 5,
    }
}

/// The results of one tenant.
#[derive(Default)]
struct Results {
    tenant: String,
    offered: u32,
    granted: u32,
    denied: u32,
    /// The longest `Retry-After`, in seconds.
    longest: u64,
}

impl Results {
    fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.granted += other.granted;
        self.denied += other.denied;
        self.longest = self.longest.max(other.longest);
    }

    fn print(&self, run: Duration, plan: u32) {
        let per_second = |count: u32| f64::from(count) / run.as_secs_f64();
        let Self { tenant, offered, granted, denied, .. } = self;
        let figures = [offered, granted, denied].map(|count| per_second(*count));
        println!(
            "{tenant:<10} {:>7.0} {plan:>9} {:>9.1} {:>11.1}",
            figures[0], figures[1], figures[2]
        );
    }
}

/// Sends `rate` requests per second and ignores `Retry-After`, as misbehaving clients do.
async fn call(
    gateway: SocketAddr,
    tenant: String,
    rate: u32,
    run: Duration,
) -> Result<Results, Failure> {
    let http: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let mut results = Results { tenant, ..Results::default() };
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    while started.elapsed() < run {
        ticks.tick().await;
        let request = Request::builder()
            .uri(format!("http://{gateway}/"))
            .header("x-tenant", &results.tenant)
            .body(Body::empty())?;
        let response = http.request(request).await?;
        results.offered += 1;
        match response.status() {
            StatusCode::OK => results.granted += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                results.denied += 1;
                let after = response.headers().get(RETRY_AFTER).ok_or("429 without Retry-After")?;
                results.longest = results.longest.max(after.to_str()?.parse()?);
            }
            other => return Err(format!("unexpected: {other}").into()),
        }
        to_bytes(Body::new(response.into_body()), usize::MAX).await?;
    }
    Ok(results)
}
