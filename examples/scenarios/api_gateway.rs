//! A gateway in front of an API: each tenant has a limit by its plan, all tenants together have another,
//! and whoever is refused is told when to come back, in the header fields that HTTP clients know. It drives
//! itself with load over real sockets, and prints who got what.
//!
//! ```text
//! cargo run --release --example api_gateway -- [seconds]
//! ```
//!
//! Try it by hand: `--serve` keeps it up, then `curl -i -H 'x-tenant: free-1' http://localhost:8080/`.

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
use mainstay::rate::{Answer, Keyed, Quota, RateLimiter, Refused};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What the API behind the gateway can bear.
const EVERYBODY: u32 = 300;

struct Limits {
    everybody: RateLimiter,
    tenants: Keyed<String>,
}

impl Limits {
    fn new() -> Result<Self, ConfigError> {
        let everybody = Quota::per_second(EVERYBODY).burst(30);
        Ok(Self {
            everybody: RateLimiter::builder(everybody).name("everybody").build()?,
            tenants: Keyed::builder(plan(""))
                .name("tenant")
                .max_keys(100_000)
                .quota_by(|tenant: &String| plan(tenant))
                .build()?,
        })
    }

    /// One request of `tenant`: both limits agree, or nothing is taken.
    fn admit(&self, tenant: &str) -> Result<Answer, Refused> {
        let answer = self.tenants.try_acquire(tenant)?;
        if let Err(refused) = self.everybody.try_acquire() {
            self.tenants.refund(tenant, &answer, 1);
            return Err(refused);
        }
        Ok(answer)
    }
}

/// The tenant's quota, by its name; elsewhere this would ask a table.
fn plan(tenant: &str) -> Quota {
    match tenant.split('-').next() {
        Some("gold") => Quota::per_second(100).burst(20),
        Some("pro") => Quota::per_second(50).burst(10),
        _ => Quota::per_second(5),
    }
}

/// The gateway itself: what stands before every route.
async fn limit(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response {
    let tenant = request.headers().get("x-tenant").and_then(|tenant| tenant.to_str().ok());
    let Some(tenant) = tenant else {
        return (StatusCode::UNAUTHORIZED, "whose request is this?\n").into_response();
    };
    match limits.admit(tenant) {
        Ok(answer) => {
            let mut response = next.run(request).await;
            write_figures(response.headers_mut(), &answer);
            response
        }
        Err(refused) => {
            let mut response =
                (StatusCode::TOO_MANY_REQUESTS, format!("{refused}\n")).into_response();
            write_figures(response.headers_mut(), &refused.answer());
            if let Some(after) = refused.retry_after_secs() {
                response.headers_mut().insert(RETRY_AFTER, after.into());
            }
            response
        }
    }
}

fn write_figures(headers: &mut HeaderMap, answer: &Answer) {
    let figures = [
        ("ratelimit-limit", answer.limit().into()),
        ("ratelimit-remaining", answer.remaining().into()),
        ("ratelimit-reset", answer.reset_after_secs().into()),
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
        .route("/", get(|| async { "here you are\n" }))
        .layer(from_fn_with_state(limits.clone(), limit));
    let gateway = tokio::spawn(async { axum::serve(listener, routes).await });
    if serve {
        println!("http://{address}/, with a header x-tenant: gold-1, pro-1, free-1 …");
        return Ok(gateway.await??);
    }
    let run = Duration::from_secs_f64(argument.map_or(Ok(3.0), |argument| argument.parse())?);

    // Who comes, and how often a second.
    let mut tenants =
        vec![("gold-1".to_owned(), 150), ("gold-2".to_owned(), 60), ("pro-1".to_owned(), 200)];
    tenants.extend((1..=20).map(|i| (format!("free-{i}"), 10)));
    println!(
        "everybody together: {EVERYBODY} a second\n\ntenant      asks/s    plan/s     got/s   refused/s"
    );
    let mut callers = Vec::new();
    for (tenant, rate) in tenants {
        callers.push(tokio::spawn(call(address, tenant, rate, run)));
    }
    let (mut free, mut all) = (Tally::default(), Tally::default());
    for caller in callers {
        let tally = caller.await??;
        all.add(&tally);
        match tally.tenant.starts_with("free") {
            true => free.add(&tally),
            false => tally.print(run, plan_rate(&tally.tenant)),
        }
    }
    free.tenant = "20 × free".into();
    free.print(run, 20 * plan_rate("free"));
    all.tenant = "together".into();
    all.print(run, EVERYBODY);
    println!(
        "\nlongest Retry-After: {} s; tenants known: {}",
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

/// What one tenant met with.
#[derive(Default)]
struct Tally {
    tenant: String,
    asked: u32,
    got: u32,
    refused: u32,
    /// The longest it was told to wait, in seconds.
    longest: u64,
}

impl Tally {
    fn add(&mut self, other: &Self) {
        self.asked += other.asked;
        self.got += other.got;
        self.refused += other.refused;
        self.longest = self.longest.max(other.longest);
    }

    fn print(&self, run: Duration, plan: u32) {
        let a_second = |count: u32| f64::from(count) / run.as_secs_f64();
        let Self { tenant, asked, got, refused, .. } = self;
        let figures = [asked, got, refused].map(|count| a_second(*count));
        println!(
            "{tenant:<10} {:>7.0} {plan:>9} {:>9.1} {:>11.1}",
            figures[0], figures[1], figures[2]
        );
    }
}

/// Asks `rate` times a second, heedless of refusals: a gateway must bear such clients too.
async fn call(
    gateway: SocketAddr,
    tenant: String,
    rate: u32,
    run: Duration,
) -> Result<Tally, Failure> {
    let http: Client<_, Body> = Client::builder(TokioExecutor::new()).build_http();
    let mut tally = Tally { tenant, ..Tally::default() };
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / rate);
    while started.elapsed() < run {
        ticks.tick().await;
        let request = Request::builder()
            .uri(format!("http://{gateway}/"))
            .header("x-tenant", &tally.tenant)
            .body(Body::empty())?;
        let response = http.request(request).await?;
        tally.asked += 1;
        match response.status() {
            StatusCode::OK => tally.got += 1,
            StatusCode::TOO_MANY_REQUESTS => {
                tally.refused += 1;
                let after = response.headers().get(RETRY_AFTER).ok_or("429 without Retry-After")?;
                tally.longest = tally.longest.max(after.to_str()?.parse()?);
            }
            other => return Err(format!("unexpected: {other}").into()),
        }
        to_bytes(Body::new(response.into_body()), usize::MAX).await?;
    }
    Ok(tally)
}
