//! Which policy for what.
//!
//! # Around a call
//!
//! | what goes wrong | what helps | what it costs you | in a pipeline |
//! |---|---|---|---|
//! | an answer may never come | [`Timeout`](crate::timeout::Timeout), before anything else: without it nothing else ever learns that a call hangs | one look at the clock | `.timeout(…)` |
//! | it fails now and then, and works the next time | [`Retry`](crate::retry::Retry), if the operation may run twice | more load on a dependency that has too much already: keep a breaker below it | `.retry(…)` |
//! | it is down, or slow, for longer | [`CircuitBreaker`](crate::breaker::CircuitBreaker) | calls that might have succeeded are refused | `.breaker(…)` |
//! | more is asked than it takes, or than you have paid for | [`RateLimiter`](crate::rate::RateLimiter) | calls wait, or are refused | `.rate_limit(…)` |
//! | more calls at once than it can work on, and you do not know how many that is | [`AdaptiveLimiter`](crate::concurrency::AdaptiveLimiter) | two looks at the clock | `.adaptive_limit(…)` |
//! | several such limits hold at once | [`rate::AllOf`](crate::rate::AllOf) | it never waits | `.guard(…)` |
//! | something else limits it | a [`Guard`](crate::policy::Guard) of your own | | `.guard(…)` |
//!
//! Start with a timeout for one attempt and one for the whole call. Add a breaker as soon as callers wait
//! for a dependency that others need too. Add a retry last, and only where failures are short and
//! repeating is safe. [`composing`](super::composing) has the order.
//!
//! # Beneath them
//!
//! | you have | take |
//! |---|---|
//! | waits that shall grow, and not all end at once | [`Backoff`](crate::backoff::Backoff) |
//! | successes and failures of the last while to count | [`Window`](crate::window::Window) |
//! | objects that are expensive to create and used briefly: buffers, parsers, compression contexts | [`ObjectPool`](crate::object_pool::ObjectPool) |
//! | a bounded queue between threads that never waits by itself | [`Ring`](crate::ring::Ring) |
//! | the same, where senders and receivers wait | [`ring::channel`](crate::ring::channel()) |
//! | so many at a time, in the order in which they came | [`Semaphore`](crate::wait::Semaphore) |
//! | a breaker for each host or key | [`breaker::KeyedCircuitBreaker`](crate::breaker::KeyedCircuitBreaker) |
//! | a limit for each user, host or key | [`rate::Keyed`](crate::rate::Keyed) |
//! | one value for one waiter | [`oneshot`](crate::wait::oneshot) |
//! | timing to test | [`ManualClock`](crate::time::ManualClock) |
//!
//! # Towards the outside
//!
//! | you have | take |
//! |---|---|
//! | axum, hyper, tonic, anything made of Tower services | a pipeline as a layer: the module `tower` (feature of that name) |
//! | a metrics recorder, or a `tracing` subscriber | the module `telemetry` (features `metrics`, `tracing`) |
