//! Errors of calls, converted into the error types that applications and Tower use.
#![cfg(not(mainstay_loom))]

use mainstay::error::{Error, Reason, Rejection, TimedOut};
use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

type BoxError = Box<dyn StdError + Send + Sync>;

/// An error with a cause.
#[derive(Debug)]
struct Failed(std::io::Error);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the search failed")
    }
}

impl StdError for Failed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

#[test]
fn an_error_names_the_policy_that_caused_it() {
    let timed_out = TimedOut::new("search", Duration::from_secs(2));
    assert_eq!((timed_out.policy(), timed_out.limit()), ("search", Duration::from_secs(2)));
    let rejection = Rejection::new(Reason::Shed, "orders").with_retry_after(Duration::from_secs(3));
    assert_eq!((rejection.policy(), rejection.reason()), ("orders", Reason::Shed));
    assert_eq!(rejection.retry_after(), Some(Duration::from_secs(3)));
}

fn failed() -> Failed {
    Failed(std::io::Error::other("no route"))
}

/// Converts `error` with `?` in a function that returns a boxed error.
fn boxed<E>(error: Error<E>) -> BoxError
where
    Error<E>: StdError + Send + Sync + 'static,
{
    fn call<E>(error: Error<E>) -> Result<(), BoxError>
    where
        Error<E>: StdError + Send + Sync + 'static,
    {
        Err(error)?;
        Ok(())
    }
    call(error).unwrap_err()
}

/// Converts `error` with `?` in a function that returns `anyhow::Result`.
fn any<E>(error: Error<E>) -> anyhow::Error
where
    Error<E>: StdError + Send + Sync + 'static,
{
    fn call<E>(error: Error<E>) -> anyhow::Result<()>
    where
        Error<E>: StdError + Send + Sync + 'static,
    {
        Err(error)?;
        Ok(())
    }
    call(error).unwrap_err()
}

#[test]
fn an_error_of_any_kind_converts_with_a_question_mark() {
    let message = "the search failed";
    assert_eq!(boxed(Error::Operation(failed())).to_string(), message);
    assert_eq!(boxed(Error::Operation(BoxError::from(failed()))).to_string(), message);
    assert_eq!(boxed(Error::Operation(anyhow::Error::from(failed()))).to_string(), message);
    assert_eq!(any(Error::Operation(failed())).to_string(), message);
    assert_eq!(any(Error::Operation(BoxError::from(failed()))).to_string(), message);
    assert_eq!(any(Error::Operation(anyhow::Error::from(failed()))).to_string(), message);
    assert_eq!(any(Error::Operation("a message")).to_string(), "a message");
}

#[test]
fn a_converted_error_can_be_downcast() {
    let rejection = Rejection::new(Reason::QueueFull, "mailer");
    let error = any(Error::<anyhow::Error>::Rejected(rejection));
    let error = error.downcast_ref::<Error<anyhow::Error>>().unwrap();
    assert!(error.is_rejected());
}

#[test]
fn the_chain_of_causes_is_that_of_the_operations_error() {
    let error = Error::Operation(failed());
    let cause = error.operation().and_then(StdError::source).unwrap();
    assert_eq!(cause.to_string(), "no route");
    assert!(error.source().is_none());

    let error: Error<anyhow::Error> = Error::Operation(failed().into());
    assert_eq!(format!("{:#}", error.operation().unwrap()), "the search failed: no route");
    assert_eq!(format!("{error:#}"), "the search failed: no route");
}

#[test]
fn into_boxed_keeps_the_chain_of_causes() {
    fn cause<E: Into<BoxError>>(error: E) -> String {
        Error::Operation(error).into_boxed().source().unwrap().to_string()
    }
    assert_eq!(cause(failed()), "no route");
    assert_eq!(cause(BoxError::from(failed())), "no route");
    assert_eq!(cause(anyhow::Error::from(failed())), "no route");

    let timed_out = TimedOut::new("search", Duration::from_secs(2));
    let error: Error<Failed> = timed_out.into();
    assert_eq!(error.into_boxed().downcast_ref(), Some(&timed_out));
    let rejection = Rejection::new(Reason::QueueFull, "mailer");
    let error: Error<Failed> = rejection.into();
    assert_eq!(error.into_boxed().downcast_ref(), Some(&rejection));
}

/// The middleware of tower that changes the error type to `Box<dyn Error>`, inside and outside of a
/// pipeline.
#[cfg(feature = "tower")]
#[tokio::test]
async fn a_pipeline_works_between_layers_that_box_their_errors() {
    use mainstay::pipeline::Pipeline;
    use tower::{ServiceBuilder, ServiceExt, service_fn};

    let second = Duration::from_secs(1);
    let service = ServiceBuilder::new()
        .buffer(4)
        .load_shed()
        .timeout(second)
        .layer(Pipeline::builder().timeout(second).build())
        .buffer(4)
        .load_shed()
        .timeout(second)
        .service(service_fn(async |fails: bool| if fails { Err(failed()) } else { Ok(()) }));
    assert!(service.clone().oneshot(false).await.is_ok());
    let error: BoxError = service.oneshot(true).await.unwrap_err();
    let error = error.downcast::<Error<BoxError>>().unwrap();
    assert!(error.operation().unwrap().is::<Failed>());
}
