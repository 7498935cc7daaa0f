//! What does a pipeline gain over a retry loop? A service calls a server that turns slow, then
//! failing, then dead, then healthy again: once with a plain loop of three attempts, and once
//! through a mainstay pipeline.
//!
//! ```sh
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --help
//! ```
//!
//! HTTP servers and clients run over real sockets on loopback, and all figures are measured. Both
//! clients offer the same calls at the same times, each to a server of its own, so that they do not
//! affect each other. This file contains the pipeline; `server.rs` contains the server's phases.

mod client;
mod figures;
mod load;
mod options;
mod picture;
mod report;
mod schedule;
mod server;

use axum::http::StatusCode;
use client::{Client, Failure};
use figures::Side;
use load::{CallResult, Journal};
use mainstay::backoff::Backoff;
use mainstay::breaker::CircuitBreaker;
use mainstay::error::{ConfigError, Error};
use mainstay::event::Observer;
use mainstay::outcome::Outcome;
use mainstay::pipeline::{BoxPipeline, Pipeline};
use mainstay::retry::Retry;
use options::Options;
use report::BreakerLog;
use schedule::Schedule;
use server::Server;
use std::process::ExitCode;
use std::time::Duration;

/// The maximum number of attempts per call, for both clients.
const ATTEMPTS: u32 = 3;
/// The timeout of one attempt, for both clients.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(250);
/// The timeout of a whole call. The plain loop ends after `ATTEMPTS * ATTEMPT_LIMIT` by itself.
const CALL_LIMIT: Duration = Duration::from_secs(1);

/// Gets a page without mainstay: a loop of attempts until one succeeds.
async fn without_mainstay(client: Client) -> CallResult {
    for _ in 0..ATTEMPTS {
        if let Ok(Ok(status)) = tokio::time::timeout(ATTEMPT_LIMIT, client.get()).await
            && status.is_success()
        {
            return CallResult::Ok;
        }
    }
    CallResult::Failed
}

/// Gets a page through the pipeline: one call, and one more kind of result to handle.
async fn with_mainstay(pipeline: BoxPipeline<StatusCode, Failure>, client: Client) -> CallResult {
    match pipeline.call(|| client.get()).await {
        Ok(status) if status.is_success() => CallResult::Ok,
        // The rejection is immediate, so the service has time to respond with, say, a cached page.
        Err(Error::Rejected(_)) => CallResult::Rejected,
        Ok(_) | Err(_) => CallResult::Failed,
    }
}

/// Builds the pipeline between the service and its server, outermost policy first.
fn pipeline(observer: impl Observer) -> Result<BoxPipeline<StatusCode, Failure>, ConfigError> {
    // The defaults suit production: an open breaker probes after 5 s or more. The outages of this
    // server last seconds, so the breaker has a window of one second and probes early.
    let open_duration =
        Backoff::exponential(Duration::from_millis(200)).max_delay(Duration::from_millis(600));
    let breaker = CircuitBreaker::builder()
        .name("server")
        .time_window(Duration::from_secs(1), 10)
        .min_calls(10)
        .open_duration(open_duration)
        .observer(observer)
        .build()?;
    let retry = Retry::builder()
        .max_attempts(ATTEMPTS)
        .backoff(Backoff::exponential(Duration::from_millis(50)))
        .assume_idempotent() // a GET may run twice
        .build()?;

    Ok(Pipeline::builder()
        .timeout(CALL_LIMIT) // the whole call, including waits
        .retry(retry.classified_by(classify)) // repeats everything below it
        .breaker(breaker.classified_by(classify)) // counts every attempt; rejects while it is open
        .timeout(ATTEMPT_LIMIT) // one attempt; the breaker counts a timeout as a failure
        .build()
        .boxed())
}

/// Classifies a result for the breaker and the retry: a 503 is an `Ok` of the HTTP client, but a
/// failure of the server.
fn classify(result: &Result<StatusCode, Error<Failure>>) -> Outcome {
    match result {
        Ok(status) if status.is_server_error() => Outcome::Failure,
        Ok(_) => Outcome::Success,
        Err(Error::Rejected(_)) => Outcome::Ignore,
        Err(_) => Outcome::Failure,
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let schedule = Schedule::starting_now(options.length);
    let plain_server = Server::start(schedule, options.rps).await?;
    let guarded_server = Server::start(schedule, options.rps).await?;
    let plain_client = Client::new(plain_server.address())?;
    let guarded_client = Client::new(guarded_server.address())?;

    let breaker_log = BreakerLog::new(schedule);
    let pipeline = pipeline(breaker_log.clone())?;

    report::introduce(options, &plain_server);
    let (plain, guarded) = (Journal::default(), Journal::default());
    tokio::join!(
        load::offer(schedule, options.rps, &plain, || without_mainstay(plain_client.clone())),
        load::offer(schedule, options.rps, &guarded, || {
            with_mainstay(pipeline.clone(), guarded_client.clone())
        }),
        report::progress(schedule, &plain, &guarded),
    );

    drop((plain_client, guarded_client)); // closes the connections, so that the servers can stop
    let plain = Side { calls: plain.into_calls(), reached: plain_server.stop().await? };
    let guarded = Side { calls: guarded.into_calls(), reached: guarded_server.stop().await? };
    report::table(schedule, &plain, &guarded);
    report::sentence(schedule, &plain, &guarded);
    picture::write(
        &options.svg,
        schedule,
        options.rps,
        &plain,
        &guarded,
        &breaker_log.transitions(),
    )
    .map_err(|error| format!("cannot write {}: {error}", options.svg.display()))?;
    println!("\nThe picture of both clients: {}", options.svg.display());
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = match Options::from_arguments() {
        Ok(options) => options,
        Err(code) => return code,
    };
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the quickstart failed: {error}");
            ExitCode::FAILURE
        }
    }
}
