//! Hosts in memory that count their connections, one by one and together.

pub(crate) use crate::server::{MS, SECOND, Steps, Task};
use mainstay::random::Random;
use mainstay::resource_pool::{KeyedResourcePool, KeyedResourcePoolBuilder, ResourceManager};
use mainstay::time::ManualClock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

/// A number of hosts.
#[derive(Clone)]
pub(crate) struct Hosts(Arc<Inner>);

struct Inner {
    open: AtomicUsize,
    max_open: usize,
    hosts: Mutex<HashMap<u8, Host>>,
}

/// One host, and the manager of the connections to it.
#[derive(Clone)]
pub(crate) struct Host {
    pub(crate) key: u8,
    hosts: Hosts,
    counts: Arc<Counts>,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) open: AtomicUsize,
    pub(crate) max_open: AtomicUsize,
    pub(crate) attempts: AtomicUsize,
    pub(crate) closed: AtomicUsize,
    /// The number of pending polls of a creation and of a closing.
    pub(crate) steps: AtomicUsize,
    pub(crate) close_steps: AtomicUsize,
    /// 1: refuses connections. 2: does not complete them.
    pub(crate) fault: AtomicUsize,
}

pub(crate) struct Connection(pub(crate) Host);

impl Hosts {
    /// Creates hosts that fail the test if they have more than `max_open` connections together,
    /// those being opened and closed included.
    pub(crate) fn new(max_open: usize) -> Self {
        let hosts = Mutex::default();
        Self(Arc::new(Inner { open: AtomicUsize::new(0), max_open, hosts }))
    }

    pub(crate) fn open(&self) -> usize {
        self.0.open.load(SeqCst)
    }

    pub(crate) fn host(&self, key: u8) -> Host {
        let new = || Host { key, hosts: self.clone(), counts: Arc::default() };
        self.0.hosts.lock().unwrap().entry(key).or_insert_with(new).clone()
    }

    pub(crate) fn counts(&self, key: u8) -> Arc<Counts> {
        self.host(key).counts
    }

    /// Returns a builder with a manual clock and a seeded source of random numbers.
    pub(crate) fn builder(&self, time: &ManualClock) -> KeyedResourcePoolBuilder<u8, Host> {
        let hosts = self.clone();
        KeyedResourcePool::builder(move |key: &u8| hosts.host(*key))
            .max_total_size(self.0.max_open)
            .clock(time.clock())
            .random(Random::seeded(1))
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.counts.open.fetch_sub(1, SeqCst);
        self.0.hosts.0.open.fetch_sub(1, SeqCst);
    }
}

impl ResourceManager for Host {
    type Resource = Connection;
    type Error = &'static str;

    async fn create(&self) -> Result<Connection, &'static str> {
        let counts = &self.counts;
        counts.attempts.fetch_add(1, SeqCst);
        let open = counts.open.fetch_add(1, SeqCst) + 1;
        counts.max_open.fetch_max(open, SeqCst);
        let total = self.hosts.0.open.fetch_add(1, SeqCst) + 1;
        let connection = Connection(self.clone());
        assert!(total <= self.hosts.0.max_open, "{total} connections over all hosts");
        Steps(counts.steps.load(SeqCst) as u32).await;
        match counts.fault.load(SeqCst) {
            0 => Ok(connection),
            1 => Err("refused"),
            _ => std::future::pending().await,
        }
    }

    async fn close(&self, connection: Connection) {
        Steps(self.counts.close_steps.load(SeqCst) as u32).await;
        self.counts.closed.fetch_add(1, SeqCst);
        drop(connection);
    }
}
