//! The metrics of resource pools under OpenTelemetry's names.

use crate::event::{Event, EventValue, Observer};
use crate::resource_pool::{
    KeyedResourcePoolSnapshot, PooledResource, ResourceManager, ResourcePoolSnapshot,
};
use crate::sync::PlainArc;
use crate::time::Clock;
use ::metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Unit, with_recorder};
use std::fmt;
use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::panic::{RefUnwindSafe, UnwindSafe};

const COUNT: &str = "db.client.connection.count";
const IDLE_MAX: &str = "db.client.connection.idle.max";
const IDLE_MIN: &str = "db.client.connection.idle.min";
const MAX: &str = "db.client.connection.max";
const PENDING: &str = "db.client.connection.pending_requests";
const TIMEOUTS: &str = "db.client.connection.timeouts";
const CREATE_TIME: &str = "db.client.connection.create_time";
const WAIT_TIME: &str = "db.client.connection.wait_time";
const USE_TIME: &str = "db.client.connection.use_time";

const POOL_NAME: &str = "db.client.connection.pool.name";
const STATE: &str = "db.client.connection.state";

/// The metrics of a resource pool under OpenTelemetry's names, for the recorder of the `metrics`
/// crate.
///
/// The [module documentation](super#resource-pools) lists the metrics. They come from three
/// sources, each of which is optional:
///
/// - [`report`](Self::report) sets the gauges and the number of timeouts from a snapshot. Call it
///   at an interval.
/// - As an [observer](crate::resource_pool::ResourcePoolBuilder::observer) of the pool, it records
///   the time of each creation.
/// - [`measure`](Self::measure) records the wait and the use of one acquisition.
///
/// Install the recorder first: a handle that is registered without a recorder records nothing, even
/// after one is installed. Clones share their handles.
///
/// # Examples
///
/// ```
/// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking};
/// # struct Connect;
/// # impl BlockingResourceManager for Connect {
/// #     type Resource = u32;
/// #     type Error = std::io::Error;
/// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
/// # }
/// # let manager = FromBlocking(Connect);
/// # futures::executor::block_on(async {
/// use mainstay::resource_pool::ResourcePool;
/// use mainstay::telemetry::ResourcePoolMetrics;
///
/// let metrics = ResourcePoolMetrics::new("orders");
/// let pool = ResourcePool::builder(manager).observer(metrics.clone()).build()?;
///
/// let connection = metrics.measure(pool.acquire()).await?;
/// drop(connection); // records how long it was used
///
/// metrics.report(&pool.snapshot()); // at an interval
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct ResourcePoolMetrics {
    handles: PlainArc<Handles>,
    clock: Clock,
}

struct Handles {
    idle: Gauge,
    used: Gauge,
    idle_max: Gauge,
    idle_min: Gauge,
    max: Gauge,
    pending: Gauge,
    timeouts: Counter,
    create_time: Histogram,
    wait_time: Histogram,
    use_time: Histogram,
}

// The handles belong to the recorder. A panic of the pool leaves no handle half updated.
impl UnwindSafe for ResourcePoolMetrics {}
impl RefUnwindSafe for ResourcePoolMetrics {}

impl ResourcePoolMetrics {
    /// Describes and registers the metrics of a pool, with `pool_name` as the label
    /// `db.client.connection.pool.name`.
    ///
    /// ```
    /// use mainstay::telemetry::ResourcePoolMetrics;
    ///
    /// let metrics = ResourcePoolMetrics::new("orders");
    /// ```
    #[must_use]
    pub fn new(pool_name: impl Into<String>) -> Self {
        let pool_name = pool_name.into();
        let metadata = Metadata::new("mainstay", Level::INFO, Some(module_path!()));
        let key = |name: &'static str, state: Option<&'static str>| {
            let mut labels = vec![Label::new(POOL_NAME, pool_name.clone())];
            labels.extend(state.map(|state| Label::from_static_parts(STATE, state)));
            Key::from_parts(name, labels)
        };
        let handles = with_recorder(|recorder| {
            let gauge = |name, state| recorder.register_gauge(&key(name, state), &metadata);
            let histogram = |name, meaning: &'static str| {
                recorder.describe_histogram(
                    <&str>::into(name),
                    Some(Unit::Seconds),
                    meaning.into(),
                );
                recorder.register_histogram(&key(name, None), &metadata)
            };
            for (name, meaning) in [
                (COUNT, "Connections in the state"),
                (IDLE_MAX, "The largest number of idle connections"),
                (IDLE_MIN, "The smallest number of idle connections"),
                (MAX, "The largest number of connections"),
                (PENDING, "Callers that wait for a connection"),
            ] {
                recorder.describe_gauge(name.into(), Some(Unit::Count), meaning.into());
            }
            let meaning = "Callers that received no connection in time";
            recorder.describe_counter(TIMEOUTS.into(), Some(Unit::Count), meaning.into());
            Handles {
                idle: gauge(COUNT, Some("idle")),
                used: gauge(COUNT, Some("used")),
                idle_max: gauge(IDLE_MAX, None),
                idle_min: gauge(IDLE_MIN, None),
                max: gauge(MAX, None),
                pending: gauge(PENDING, None),
                timeouts: recorder.register_counter(&key(TIMEOUTS, None), &metadata),
                create_time: histogram(CREATE_TIME, "The time to create a connection"),
                wait_time: histogram(WAIT_TIME, "The time to obtain a connection"),
                use_time: histogram(USE_TIME, "The time between obtaining and returning one"),
            }
        });
        Self { handles: PlainArc::new(handles), clock: Clock::system() }
    }

    /// Sets the clock with which waits are measured. Default: the system clock.
    ///
    /// ```
    /// # use mainstay::telemetry::ResourcePoolMetrics;
    /// # use mainstay::ManualClock;
    /// let time = ManualClock::new();
    /// let metrics = ResourcePoolMetrics::new("orders").clock(time.clock());
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the gauges and the number of timeouts from the snapshot of a pool.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, ResourcePool};
    /// # use mainstay::telemetry::ResourcePoolMetrics;
    /// # struct Connect;
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// let pool = ResourcePool::new(FromBlocking(Connect));
    /// ResourcePoolMetrics::new("orders").report(&pool.snapshot());
    /// ```
    pub fn report(&self, snapshot: &ResourcePoolSnapshot) {
        let handles = &*self.handles;
        handles.idle_min.set(snapshot.min_idle as f64);
        self.set(snapshot.max_size, snapshot.idle, snapshot.in_use, snapshot.waiting);
        handles.timeouts.absolute(snapshot.timed_out);
    }

    /// Sets the gauges, except `idle.min`, and the number of timeouts from the snapshot of a keyed
    /// pool, over all keys.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, KeyedResourcePool};
    /// # use mainstay::telemetry::ResourcePoolMetrics;
    /// # struct Connect;
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// let hosts =
    ///     KeyedResourcePool::builder(|_: &String| FromBlocking(Connect)).build()?;
    /// ResourcePoolMetrics::new("hosts").report_keyed(&hosts.snapshot());
    /// # Ok::<(), mainstay::ConfigError>(())
    /// ```
    pub fn report_keyed(&self, snapshot: &KeyedResourcePoolSnapshot) {
        self.set(snapshot.max_total_size, snapshot.idle, snapshot.in_use, snapshot.waiting);
        self.handles.timeouts.absolute(snapshot.timed_out);
    }

    fn set(&self, max_size: usize, idle: usize, in_use: usize, waiting: usize) {
        let handles = &*self.handles;
        handles.idle.set(idle as f64);
        handles.used.set(in_use as f64);
        handles.idle_max.set(max_size as f64);
        handles.max.set(max_size as f64);
        handles.pending.set(waiting as f64);
    }

    /// Awaits the future `acquire` of a pool or a keyed pool. If it succeeds, records how long it
    /// took, and records how long the resource was used when the resource is returned.
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, ResourcePool};
    /// # use mainstay::telemetry::ResourcePoolMetrics;
    /// # struct Connect;
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # futures::executor::block_on(async {
    /// let pool = ResourcePool::new(FromBlocking(Connect));
    /// let metrics = ResourcePoolMetrics::new("orders");
    /// let connection = metrics.measure(pool.acquire()).await?;
    /// assert_eq!(*connection, 7);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `acquire`.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops `acquire` and records nothing.
    pub async fn measure<M: ResourceManager, E>(
        &self,
        acquire: impl Future<Output = Result<PooledResource<M>, E>>,
    ) -> Result<MeasuredResource<M>, E> {
        let began_at = self.clock.now();
        let resource = acquire.await?;
        self.handles.wait_time.record((self.clock.now() - began_at).as_secs_f64());
        Ok(MeasuredResource { resource: Some(resource), handles: self.handles.clone() })
    }

    /// Acquires a resource with `acquire`, which blocks the thread; see
    /// [`measure`](Self::measure).
    ///
    /// ```
    /// # use mainstay::resource_pool::{BlockingResourceManager, FromBlocking, ResourcePool};
    /// # use mainstay::telemetry::ResourcePoolMetrics;
    /// # struct Connect;
    /// # impl BlockingResourceManager for Connect {
    /// #     type Resource = u32;
    /// #     type Error = std::io::Error;
    /// #     fn create(&self) -> std::io::Result<u32> { Ok(7) }
    /// # }
    /// # let pool = ResourcePool::new(FromBlocking(Connect));
    /// let metrics = ResourcePoolMetrics::new("orders");
    /// let connection = metrics.measure_blocking(|| pool.acquire_blocking())?;
    /// # drop(connection);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns the error of `acquire`.
    pub fn measure_blocking<M: ResourceManager, E>(
        &self,
        acquire: impl FnOnce() -> Result<PooledResource<M>, E>,
    ) -> Result<MeasuredResource<M>, E> {
        let began_at = self.clock.now();
        let resource = acquire()?;
        self.handles.wait_time.record((self.clock.now() - began_at).as_secs_f64());
        Ok(MeasuredResource { resource: Some(resource), handles: self.handles.clone() })
    }
}

impl Observer for ResourcePoolMetrics {
    fn observe(&self, event: &Event<'_>) {
        if event.kind == "created"
            && let Some(EventValue::Duration(took)) = event.field("took")
        {
            self.handles.create_time.record(took.as_secs_f64());
        }
    }
}

/// A guard of a resource that records how long the resource was used; see
/// [`ResourcePoolMetrics::measure`].
pub struct MeasuredResource<M: ResourceManager> {
    /// `None` after [`into_inner`](Self::into_inner).
    resource: Option<PooledResource<M>>,
    handles: PlainArc<Handles>,
}

const HELD: &str = "a resource is present until its guard is dropped";

impl<M: ResourceManager> MeasuredResource<M> {
    /// Records how long the resource has been used, and returns the guard of the pool, for example
    /// to discard the resource.
    #[must_use]
    pub fn into_inner(mut guard: Self) -> PooledResource<M> {
        guard.record();
        guard.resource.take().expect(HELD)
    }

    fn record(&self) {
        if let Some(resource) = &self.resource {
            self.handles.use_time.record(PooledResource::held_for(resource).as_secs_f64());
        }
    }
}

impl<M: ResourceManager> Deref for MeasuredResource<M> {
    type Target = M::Resource;

    fn deref(&self) -> &M::Resource {
        self.resource.as_ref().expect(HELD)
    }
}

impl<M: ResourceManager> DerefMut for MeasuredResource<M> {
    fn deref_mut(&mut self) -> &mut M::Resource {
        self.resource.as_mut().expect(HELD)
    }
}

impl<M: ResourceManager> Drop for MeasuredResource<M> {
    fn drop(&mut self) {
        self.record();
    }
}

impl<M: ResourceManager> fmt::Debug for MeasuredResource<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MeasuredResource").finish_non_exhaustive()
    }
}

impl fmt::Debug for ResourcePoolMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResourcePoolMetrics").finish_non_exhaustive()
    }
}
