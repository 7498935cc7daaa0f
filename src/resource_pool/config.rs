//! The builder, and the settings with their defaults and limits.

use super::engine::{CreationGuard, Shared};
use super::events::Emitter;
use super::{POLICY, ResourceManager, ResourcePool};
use crate::backoff::{Backoff, Jitter};
use crate::error::ConfigError;
use crate::event::Observer;
use crate::policy::{self, OwnedGuard};
use crate::random::Random;
use crate::sync::PlainArc;
use crate::time::{Clock, Instant};
use std::fmt;
use std::time::Duration;

/// The settings that [`ResourcePool::reconfigure`] can replace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Config {
    pub(super) max_size: usize,
    pub(super) min_idle: usize,
    pub(super) reuse_order: ReuseOrder,
    pub(super) acquire_timeout: Duration,
    pub(super) create_timeout: Duration,
    pub(super) check_timeout: Duration,
    pub(super) close_timeout: Duration,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) max_lifetime: Option<Duration>,
    pub(super) check_after: Duration,
    pub(super) max_creating: usize,
    pub(super) maintenance_interval: Duration,
    pub(super) leak_threshold: Option<Duration>,
}

/// The order in which idle resources are reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReuseOrder {
    /// The resource that was returned last is reused first. Few resources are used, and the others
    /// reach their idle timeout.
    #[default]
    Lifo,
    /// The resource that has been idle for the longest time is reused first. All resources are used
    /// in turn.
    Fifo,
}

const CONFIG: Config = Config {
    max_size: 10,
    min_idle: 0,
    reuse_order: ReuseOrder::Lifo,
    acquire_timeout: Duration::from_secs(5),
    create_timeout: Duration::from_secs(3),
    check_timeout: Duration::from_secs(1),
    close_timeout: Duration::from_secs(1),
    idle_timeout: Some(Duration::from_secs(600)),
    max_lifetime: Some(Duration::from_secs(1800)),
    check_after: Duration::from_millis(500),
    max_creating: 2,
    maintenance_interval: Duration::from_secs(30),
    leak_threshold: None,
};
const DAY: Duration = Duration::from_secs(86_400);
/// The largest `max_size`. Bounds the memory of a misconfigured pool.
pub(super) const MAX_SIZE: usize = 1 << 20;
/// The largest fraction of the lifetime that is subtracted at random. Resources that were created
/// at the same time are therefore not replaced at the same time.
const LIFETIME_JITTER: f64 = 0.025;

/// A builder of a [`ResourcePool`].
#[must_use = "a builder does nothing until `build`"]
pub struct ResourcePoolBuilder<M: ResourceManager> {
    manager: M,
    settings: ResourcePoolSettings,
    name: String,
    creation_backoff: Backoff,
    clock: Clock,
    random: Random,
    observer: Option<PlainArc<dyn Observer>>,
    guard: Option<PlainArc<dyn CreationGuard<M>>>,
}

/// The settings of a pool that can be replaced while it is in use, for
/// [`ResourcePool::reconfigure`]. A builder has the same methods.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct ResourcePoolSettings(Config);

impl Default for ResourcePoolSettings {
    fn default() -> Self {
        Self::new()
    }
}

/// Defines each setter for the settings and for the builder.
macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($field:ident: $Type:ty) $(via $convert:ident)?;)+) => {
        impl ResourcePoolSettings {
            $($(#[$doc])* pub fn $name(mut self, $field: $Type) -> Self {
                self.0.$field = $field $(.$convert())?;
                self
            })+
        }

        impl<M: ResourceManager> ResourcePoolBuilder<M> {
            $($(#[$doc])* pub fn $name(mut self, $field: $Type) -> Self {
                self.settings = self.settings.$name($field);
                self
            })+
        }
    };
}

setters! {
    /// Sets the maximum number of resources, from 1 to 1,048,576. Default: 10, because a server is
    /// rarely faster with more connections than it has cores.
    max_size(max_size: usize);

    /// Sets how many idle resources [maintenance](ResourcePool::maintenance) keeps ready, at most
    /// `max_size`. They are exempt from the idle timeout. Default: 0.
    min_idle(min_idle: usize);

    /// Sets the order in which idle resources are reused. Default: LIFO.
    reuse_order(reuse_order: ReuseOrder);

    /// Sets for how long [`acquire`](ResourcePool::acquire) waits at most, up to a day. Default: 5
    /// s, because after a longer wait the client that sent the request has usually given up.
    acquire_timeout(acquire_timeout: Duration);

    /// Sets how long a creation may take, from 1 ms to a day. Default: 3 s, below the acquire
    /// timeout, so that a caller receives the cause.
    create_timeout(create_timeout: Duration);

    /// Sets how long a check may take, from 1 ms to a day. Default: 1 s.
    check_timeout(check_timeout: Duration);

    /// Sets how long closing a resource may take, from 1 ms to a day. After that time the resource
    /// is dropped. Default: 1 s.
    close_timeout(close_timeout: Duration);

    /// Sets for how long a resource may be idle before it is closed, at least 1 ms. Default: 10
    /// minutes, below the limit of most servers and firewalls. `None`: no limit.
    idle_timeout(idle_timeout: impl Into<Option<Duration>>) via into;

    /// Sets how old a resource may become, at least 1 ms. Up to 2.5 % is subtracted at random.
    /// Default: 30 minutes, so that connections follow changes of DNS and of load balancers.
    /// `None`: no limit. A resource in use that is too old is closed when it is returned.
    max_lifetime(max_lifetime: impl Into<Option<Duration>>) via into;

    /// Sets the idle time after which a resource is checked before its next use. Default: 500 ms,
    /// so that a busy pool makes no checks. Zero: a resource is checked before every use, unless it
    /// was created or passed a check in the last 100 ms and has not been used since.
    check_after(check_after: Duration);

    /// Sets how many resources may be created at the same time, at least 1. Default: 2, so that a
    /// server that has restarted does not receive all connections at once.
    max_creating(max_creating: usize);

    /// Sets how often [maintenance](ResourcePool::maintenance) runs and checks idle resources, from
    /// 1 ms to a day. Default: 30 s.
    maintenance_interval(maintenance_interval: Duration);

    /// Sets for how long a caller may hold a resource before the pool reports it as a leak, at
    /// least 1 ms. The pool then records where each resource is acquired. A resource that is held
    /// for longer appears in [`ResourcePoolSnapshot::leaks`](super::ResourcePoolSnapshot::leaks),
    /// and is reported once by an event `leaked`, at the next interval of
    /// [maintenance](ResourcePool::maintenance) or when another caller times out. Default: none.
    leak_threshold(leak_threshold: impl Into<Option<Duration>>) via into;
}

impl ResourcePoolSettings {
    /// The wait after the first failed creation, by default.
    pub(super) const FIRST_DELAY: Duration = Duration::from_millis(100);

    /// Creates the default settings.
    pub const fn new() -> Self {
        Self(CONFIG)
    }

    pub(super) const fn of(config: Config) -> Self {
        Self(config)
    }

    pub(super) fn validate(self) -> Result<Config, ConfigError> {
        let Config { max_size, min_idle, max_creating, .. } = self.0;
        if !(1..=MAX_SIZE).contains(&max_size) {
            return Err(ConfigError::new("max_size", max_size, "1 to 1,048,576 resources"));
        }
        if min_idle > max_size {
            return Err(ConfigError::new("min_idle", min_idle, "0 to max_size resources"));
        }
        if max_creating == 0 {
            return Err(ConfigError::new("max_creating", max_creating, "at least 1"));
        }
        if self.0.acquire_timeout > DAY {
            let timeout = self.0.acquire_timeout;
            return Err(ConfigError::new("acquire_timeout", timeout, "up to one day"));
        }
        for (field, duration) in [
            ("create_timeout", self.0.create_timeout),
            ("check_timeout", self.0.check_timeout),
            ("close_timeout", self.0.close_timeout),
            ("maintenance_interval", self.0.maintenance_interval),
        ] {
            if !(Duration::from_millis(1)..=DAY).contains(&duration) {
                return Err(ConfigError::new(field, duration, "1 ms to one day"));
            }
        }
        for (field, limit) in [
            ("idle_timeout", self.0.idle_timeout),
            ("max_lifetime", self.0.max_lifetime),
            ("leak_threshold", self.0.leak_threshold),
        ] {
            if let Some(limit) = limit.filter(|limit| *limit < Duration::from_millis(1)) {
                return Err(ConfigError::new(field, limit, "at least 1 ms, or none"));
            }
        }
        Ok(self.0)
    }
}

impl Config {
    /// Returns the instant at which a resource that is created at `now` expires. `unit` is a random
    /// number from 0 to 1.
    pub(super) fn expires_at(&self, now: Instant, unit: f64) -> Instant {
        match self.max_lifetime {
            None => Instant::FAR_FUTURE,
            Some(lifetime) => {
                let jitter = lifetime.min(365 * DAY).mul_f64(LIFETIME_JITTER * unit);
                now + lifetime.saturating_sub(jitter)
            }
        }
    }
}

impl<M: ResourceManager> ResourcePoolBuilder<M> {
    pub(super) fn new(manager: M) -> Self {
        Self {
            manager,
            settings: ResourcePoolSettings::new(),
            name: POLICY.into(),
            creation_backoff: Backoff::exponential(ResourcePoolSettings::FIRST_DELAY),
            clock: Clock::system(),
            random: Random::system(),
            observer: None,
            guard: None,
        }
    }

    /// Sets the name that events carry. Default: `resource_pool`.
    ///
    /// ```
    /// # use mainstay::resource_pool::{ResourceManager, ResourcePool};
    /// # #[derive(Debug)]
    /// # struct Numbers;
    /// # impl ResourceManager for Numbers {
    /// #     type Resource = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self) -> Result<u64, Self::Error> {
    /// #         Ok(7)
    /// #     }
    /// # }
    /// let pool = ResourcePool::builder(Numbers).name("orders").build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the wait after a failed creation. All callers share one wait, so that many callers do
    /// not send many attempts to a server that is down. Default: exponential from 100 ms to 30 s,
    /// with equal jitter.
    ///
    /// ```
    /// # use mainstay::resource_pool::{ResourceManager, ResourcePool};
    /// # #[derive(Debug)]
    /// # struct Numbers;
    /// # impl ResourceManager for Numbers {
    /// #     type Resource = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self) -> Result<u64, Self::Error> {
    /// #         Ok(7)
    /// #     }
    /// # }
    /// # use mainstay::Backoff;
    /// # use std::time::Duration;
    /// let backoff = Backoff::exponential(Duration::from_millis(50))
    ///     .max_delay(Duration::from_secs(5));
    /// let pool = ResourcePool::builder(Numbers).creation_backoff(backoff).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn creation_backoff(mut self, backoff: Backoff) -> Self {
        self.creation_backoff = backoff;
        self
    }

    /// Sets the clock. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::resource_pool::{ResourceManager, ResourcePool};
    /// # #[derive(Debug)]
    /// # struct Numbers;
    /// # impl ResourceManager for Numbers {
    /// #     type Resource = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self) -> Result<u64, Self::Error> {
    /// #         Ok(7)
    /// #     }
    /// # }
    /// # use mainstay::ManualClock;
    /// let time = ManualClock::new();
    /// let pool = ResourcePool::builder(Numbers).clock(time.clock()).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the source of randomness. Default: the system's.
    pub fn random(mut self, random: Random) -> Self {
        self.random = random;
        self
    }

    /// Sets the observer of events; see the [module](super#observability). Default: none.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(PlainArc::new(observer));
        self
    }

    /// Sets a guard that admits each creation, such as a circuit breaker or a rate limiter, so that
    /// a server that is down does not receive attempts at all. Default: none.
    ///
    /// The guard records the outcome of each creation that it admits. A creation that it rejects is
    /// not counted as a creation or as a failure. If no other resource exists, all waiting callers
    /// receive [`ResourcePoolError::Rejected`](super::ResourcePoolError::Rejected). Otherwise they
    /// wait for the other resources, and the pool asks the guard again after the `retry_after` of
    /// the rejection, at least 1 ms and at most 1 s later. The time that a creation waits for the
    /// guard does not count towards the [`create_timeout`](Self::create_timeout).
    ///
    /// ```
    /// # use mainstay::resource_pool::{ResourceManager, ResourcePool};
    /// # #[derive(Debug)]
    /// # struct Numbers;
    /// # impl ResourceManager for Numbers {
    /// #     type Resource = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn create(&self) -> Result<u64, Self::Error> {
    /// #         Ok(7)
    /// #     }
    /// # }
    /// use mainstay::rate::{Quota, RateLimiter};
    /// use std::time::Duration;
    ///
    /// // At most 5 new connections per second; callers wait for their turn.
    /// let limiter = RateLimiter::new(Quota::per_second(5))?;
    /// let turn = limiter.max_wait(Duration::from_secs(3));
    /// let pool = ResourcePool::builder(Numbers).creation_guard(turn).build()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn creation_guard<G>(mut self, guard: G) -> Self
    where
        G: OwnedGuard<M::Resource, M::Error> + 'static,
        G::OwnedPermit: Send,
        G::AdmitFuture: Send,
    {
        self.guard = Some(PlainArc::new(guard));
        self
    }

    /// Builds the pool. Creates no resource yet.
    ///
    /// # Errors
    ///
    /// Returns a [`ConfigError`] that names the first setting that is out of range.
    pub fn build(self) -> Result<ResourcePool<M>, ConfigError> {
        let name = policy::name(&self.name)?;
        let config = self.settings.validate()?;
        self.creation_backoff.validate("creation_backoff")?;
        Ok(ResourcePool::from_shared(Shared::new(
            self.manager,
            config,
            Fixed {
                emitter: PlainArc::new(Emitter::new(name, false, self.observer)),
                backoff: self.creation_backoff.default_jitter(Jitter::Equal),
                clock: self.clock,
                random: self.random,
                guard: self.guard,
            },
        )))
    }
}

/// The settings that cannot be replaced.
pub(super) struct Fixed<M: ResourceManager> {
    pub(super) emitter: PlainArc<Emitter>,
    pub(super) backoff: Backoff,
    pub(super) clock: Clock,
    pub(super) random: Random,
    pub(super) guard: Option<PlainArc<dyn CreationGuard<M>>>,
}

impl<M: ResourceManager> Clone for Fixed<M> {
    fn clone(&self) -> Self {
        Self {
            emitter: self.emitter.clone(),
            backoff: self.backoff.clone(),
            clock: self.clock.clone(),
            random: self.random.clone(),
            guard: self.guard.clone(),
        }
    }
}

impl<M: ResourceManager> fmt::Debug for ResourcePoolBuilder<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePoolBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .field("creation_backoff", &self.creation_backoff)
            .finish_non_exhaustive()
    }
}
