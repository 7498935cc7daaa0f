//! A server in memory that fails on demand, and tasks that a test polls.

use mainstay::resource_pool::{
    RecycleDecision, ResourceManager, ResourcePool, ResourcePoolBuilder, ResourcePoolSnapshot,
};
use mainstay::time::ManualClock;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

pub(crate) const SECOND: Duration = Duration::from_secs(1);
pub(crate) const MS: Duration = Duration::from_millis(1);

/// What the server does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Serve,
    Refuse,
    /// Refuses with an error that is permanent.
    Forbid,
    Panic,
}

pub(crate) struct Faults {
    pub(crate) mode: Mode,
    /// The number of pending polls of a creation, a check and a closing.
    pub(crate) steps: u32,
    pub(crate) check_steps: u32,
    pub(crate) close_steps: u32,
    /// Whether creations and checks hang until [`Server::resume`].
    pub(crate) hangs: bool,
    pub(crate) unhealthy: bool,
    pub(crate) recycle: RecycleDecision,
    pub(crate) recycle_panics: bool,
    pub(crate) close_panics: bool,
    wakers: Vec<Waker>,
}

/// A server and the manager of the connections to it.
#[derive(Clone)]
pub(crate) struct Server(Arc<Inner>);

struct Inner {
    faults: Mutex<Faults>,
    open: AtomicUsize,
    max_open: AtomicUsize,
    attempts: AtomicUsize,
    checks: AtomicUsize,
    closed: AtomicUsize,
    max_connections: usize,
}

/// A connection, which the server counts until it is dropped.
pub(crate) struct Connection {
    pub(crate) id: usize,
    server: Server,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl Server {
    /// Creates a server that fails the test if it has more than `max_connections`, those being
    /// created included.
    pub(crate) fn new(max_connections: usize) -> Self {
        Self(Arc::new(Inner {
            faults: Mutex::new(Faults {
                mode: Mode::Serve,
                steps: 0,
                check_steps: 0,
                close_steps: 0,
                hangs: false,
                unhealthy: false,
                recycle: RecycleDecision::Keep,
                recycle_panics: false,
                close_panics: false,
                wakers: Vec::new(),
            }),
            open: AtomicUsize::new(0),
            max_open: AtomicUsize::new(0),
            attempts: AtomicUsize::new(0),
            checks: AtomicUsize::new(0),
            closed: AtomicUsize::new(0),
            max_connections,
        }))
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn set_mode(&self, mode: Mode) {
        self.faults().mode = mode;
    }

    /// Makes creations and checks hang.
    pub(crate) fn hang(&self) {
        self.faults().hangs = true;
    }

    /// Lets creations and checks continue.
    pub(crate) fn resume(&self) {
        let mut faults = self.faults();
        faults.hangs = false;
        let wakers = std::mem::take(&mut faults.wakers);
        drop(faults);
        wakers.into_iter().for_each(Waker::wake);
    }

    pub(crate) fn open(&self) -> usize {
        self.0.open.load(SeqCst)
    }

    pub(crate) fn max_open(&self) -> usize {
        self.0.max_open.load(SeqCst)
    }

    pub(crate) fn attempts(&self) -> usize {
        self.0.attempts.load(SeqCst)
    }

    pub(crate) fn checks(&self) -> usize {
        self.0.checks.load(SeqCst)
    }

    pub(crate) fn closed(&self) -> usize {
        self.0.closed.load(SeqCst)
    }

    fn connect(&self) -> Connection {
        let open = self.0.open.fetch_add(1, SeqCst) + 1;
        self.0.max_open.fetch_max(open, SeqCst);
        // Created before the assertion, so that a panic drops it.
        let connection =
            Connection { id: self.0.attempts.fetch_add(1, SeqCst), server: self.clone() };
        assert!(
            open <= self.0.max_connections,
            "{open} connections to a server for {}",
            self.0.max_connections
        );
        connection
    }

    async fn wait(&self, steps: u32) {
        Steps(steps).await;
        poll_fn(|cx| {
            let mut faults = self.faults();
            if faults.hangs {
                faults.wakers.push(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.server.0.open.fetch_sub(1, SeqCst);
    }
}

impl ResourceManager for Server {
    type Resource = Connection;
    type Error = Refused;

    async fn create(&self) -> Result<Connection, Refused> {
        // Counts from the start: a server also counts connections that are being opened.
        let connection = self.connect();
        let steps = self.faults().steps;
        self.wait(steps).await;
        let mode = self.faults().mode;
        match mode {
            Mode::Serve => Ok(connection),
            Mode::Refuse => Err(Refused("refused")),
            Mode::Forbid => Err(Refused("wrong password")),
            Mode::Panic => panic!("create"),
        }
    }

    async fn check(&self, _: &mut Connection) -> Result<(), Refused> {
        self.0.checks.fetch_add(1, SeqCst);
        let steps = self.faults().check_steps;
        self.wait(steps).await;
        let unhealthy = self.faults().unhealthy;
        let mode = self.faults().mode;
        assert!(mode != Mode::Panic, "check");
        if unhealthy { Err(Refused("unhealthy")) } else { Ok(()) }
    }

    fn recycle(&self, _: &mut Connection) -> RecycleDecision {
        let decision = self.faults().recycle;
        let panics = self.faults().recycle_panics;
        assert!(!panics, "recycle");
        decision
    }

    async fn close(&self, connection: Connection) {
        let steps = self.faults().close_steps;
        let panics = self.faults().close_panics;
        Steps(steps).await;
        assert!(!panics, "close");
        self.0.closed.fetch_add(1, SeqCst);
        drop(connection);
    }

    fn is_permanent(&self, error: &Refused) -> bool {
        error.0 == "wrong password"
    }
}

/// A future that is pending the given number of times.
pub(crate) struct Steps(pub(crate) u32);

impl Future for Steps {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Returns a builder with a manual clock and a seeded source of random numbers.
pub(crate) fn builder(server: &Server, time: &ManualClock) -> ResourcePoolBuilder<Server> {
    ResourcePool::builder(server.clone())
        .clock(time.clock())
        .random(mainstay::random::Random::seeded(1))
}

/// A task that the test polls, and that counts its wake-ups.
pub(crate) struct Task<F: Future> {
    future: Pin<Box<F>>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
pub(crate) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl<F: Future> Task<F> {
    pub(crate) fn new(future: F) -> Self {
        let wakes = Arc::new(Wakes(AtomicUsize::new(1)));
        Self { future: Box::pin(future), wakes }
    }

    /// Polls the future once.
    pub(crate) fn poll(&mut self) -> Poll<F::Output> {
        self.wakes.0.store(0, SeqCst);
        self.future.as_mut().poll(&mut Context::from_waker(&Waker::from(self.wakes.clone())))
    }

    pub(crate) fn is_woken(&self) -> bool {
        self.wakes.0.load(SeqCst) > 0
    }

    /// Polls the future while it is woken, as an executor does.
    pub(crate) fn run(&mut self) -> Poll<F::Output> {
        for _ in 0..1000 {
            if !self.is_woken() {
                return Poll::Pending;
            }
            if let Poll::Ready(output) = self.poll() {
                return Poll::Ready(output);
            }
        }
        panic!("the future wakes itself forever");
    }
}

/// Asserts that all resources of the pool are idle, and that the server counts as many.
pub(crate) fn assert_settled(server: &Server, snapshot: &ResourcePoolSnapshot) {
    assert_eq!(snapshot.size, snapshot.idle, "{snapshot:?}");
    assert_eq!(snapshot.waiting, 0, "{snapshot:?}");
    assert_eq!(server.open(), snapshot.size, "{snapshot:?}");
}
