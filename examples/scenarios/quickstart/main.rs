//! What do I gain? A service calls a server that turns slow, then failing, then dead, then well again:
//! once with a loop of three tries, as most services have it, and once through a mainstay pipeline.
//!
//! ```sh
//! cargo run --release --example quickstart
//! cargo run --release --example quickstart -- --help
//! ```
//!
//! Everything is real: HTTP servers and clients on loopback, and figures that are measured where they
//! arise. Both clients get the same calls at the same moments, each against a server of its own, so that
//! they do not disturb each other. Read on here for the pipeline; `server.rs` says how the server falls ill.

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
use load::{Ended, Journal};
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

/// Tries of one call, on both sides.
const ATTEMPTS: u32 = 3;
/// The time limit of one try, on both sides.
const ATTEMPT_LIMIT: Duration = Duration::from_millis(250);
/// The time limit of a whole call. The plain loop ends after `ATTEMPTS * ATTEMPT_LIMIT` by itself.
const CALL_LIMIT: Duration = Duration::from_secs(1);

/// How a service gets a page without mainstay: again and again, until it works or the tries are used up.
async fn without_mainstay(client: Client) -> Ended {
    for _ in 0..ATTEMPTS {
        if let Ok(Ok(status)) = tokio::time::timeout(ATTEMPT_LIMIT, client.get()).await
            && status.is_success()
        {
            return Ended::Ok;
        }
    }
    Ended::Failed
}

/// And with it: one line, and one more answer to think of.
async fn with_mainstay(pipeline: BoxPipeline<StatusCode, Failure>, client: Client) -> Ended {
    match pipeline.call(|| client.get()).await {
        Ok(status) if status.is_success() => Ended::Ok,
        Err(Error::Rejected(_)) => Ended::Rejected, // known at once: time for a page from the cache, say
        Ok(_) | Err(_) => Ended::Failed,
    }
}

/// What stands between the service and its server, outermost first.
fn pipeline(observer: impl Observer) -> Result<BoxPipeline<StatusCode, Failure>, ConfigError> {
    // The defaults are for production: they wait 5 s and longer before they probe. This server is ill for
    // seconds only, so the breaker looks at the last second, and comes back soon.
    let wait = Backoff::exponential(Duration::from_millis(200)).cap(Duration::from_millis(600));
    let breaker = CircuitBreaker::builder()
        .name("server")
        .time_window(Duration::from_secs(1), 10)
        .min_calls(10)
        .open_duration(wait)
        .observer(observer)
        .build()?;
    let retry = Retry::builder()
        .max_attempts(ATTEMPTS)
        .backoff(Backoff::exponential(Duration::from_millis(50)))
        .build()?;

    Ok(Pipeline::builder()
        .timeout(CALL_LIMIT) //                      the whole call, waits included
        .retry(retry.classified_by(verdict)) //      each attempt passes what stands below
        .breaker(breaker.classified_by(verdict)) //  counts every attempt; rejects at once while it is open
        .timeout(ATTEMPT_LIMIT) //                   one attempt; the breaker sees it as a failure
        .build()
        .boxed())
}

/// What an answer says about the server, and whether to try again: to HTTP a 503 is an `Ok`, to us it is not.
fn verdict(result: &Result<StatusCode, Error<Failure>>) -> Outcome {
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

    drop((plain_client, guarded_client)); // hang up, so that the servers can close
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
    println!("\nThe picture of both: {}", options.svg.display());
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
