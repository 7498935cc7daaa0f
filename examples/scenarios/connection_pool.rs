//! A pool of TCP connections to a server that drops, refuses, hangs and restarts on schedule.
//!
//! The server speaks a line protocol on a loopback port. Threads send requests through one pool
//! while the server runs through its phases. For each phase, the scenario prints the answers, the
//! connections created and the errors by cause. It fails if the pool exceeds its maximum size, or
//! serves no request after the restart of the server.
//!
//! ```text
//! cargo run --release --example connection_pool -- [--phase-ms N]
//! ```

use mainstay::resource_pool::{
    BlockingResourceManager, FromBlocking, PooledResource, RecycleDecision, ResourcePool,
    ResourcePoolError,
};
use mainstay::{Backoff, LatencySummary};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const THREADS: usize = 32;
const MAX_SIZE: usize = 8;
/// The limit of the client for one answer.
const READ_TIMEOUT: Duration = Duration::from_millis(100);

/// The phases of the scenario, and the mode of the server in each.
const PHASES: [(&str, Mode); 6] = [
    ("healthy", Mode::Serve),
    ("drops connections", Mode::Drop),
    ("hangs", Mode::Hang),
    ("healthy again", Mode::Serve),
    ("refuses", Mode::Refuse),
    ("restarted", Mode::Serve),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Mode {
    Serve,
    /// Closes one connection in ten after a request.
    Drop,
    /// Accepts requests and does not answer.
    Hang,
    /// Closes every connection, old and new, immediately.
    Refuse,
}

struct Server {
    mode: AtomicU8,
    stopped: AtomicBool,
    accepted: AtomicU64,
    open: AtomicUsize,
    max_open: AtomicUsize,
}

impl Server {
    fn mode(&self) -> Mode {
        match self.mode.load(SeqCst) {
            1 => Mode::Drop,
            2 => Mode::Hang,
            3 => Mode::Refuse,
            _ => Mode::Serve,
        }
    }

    fn listen(self: &Arc<Self>, listener: TcpListener) {
        let server = Arc::clone(self);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if server.mode() == Mode::Refuse {
                    continue; // dropped
                }
                server.accepted.fetch_add(1, SeqCst);
                let server = Arc::clone(&server);
                thread::spawn(move || {
                    let open = server.open.fetch_add(1, SeqCst) + 1;
                    server.max_open.fetch_max(open, SeqCst);
                    let _ = server.answer(stream);
                    server.open.fetch_sub(1, SeqCst);
                });
            }
        });
    }

    /// Greets the client, then answers each line with `ok`.
    fn answer(&self, stream: TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(Duration::from_millis(20)))?;
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(b"hello\n")?;
        let mut line = String::new();
        let mut requests = 0_u32;
        loop {
            match stream.read_line(&mut line) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if is_timeout(&error) => {
                    if self.stopped.load(SeqCst) || self.mode() == Mode::Refuse {
                        return Ok(());
                    }
                    continue;
                }
                Err(error) => return Err(error),
            }
            line.clear();
            requests += 1;
            match self.mode() {
                Mode::Serve => stream.get_mut().write_all(b"ok\n")?,
                Mode::Drop if requests.is_multiple_of(10) => return Ok(()),
                Mode::Drop => stream.get_mut().write_all(b"ok\n")?,
                Mode::Hang => {}
                Mode::Refuse => return Ok(()),
            }
        }
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

struct Connection {
    stream: BufReader<TcpStream>,
    broken: bool,
}

impl Connection {
    fn read_line(&mut self) -> io::Result<()> {
        let mut line = String::new();
        match self.stream.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn request(&mut self, line: &[u8]) -> io::Result<()> {
        let result = self.stream.get_mut().write_all(line).and_then(|()| self.read_line());
        self.broken |= result.is_err();
        result
    }
}

struct Connect(SocketAddr);

impl BlockingResourceManager for Connect {
    type Resource = Connection;
    type Error = io::Error;

    fn create(&self) -> io::Result<Connection> {
        let stream = TcpStream::connect_timeout(&self.0, READ_TIMEOUT)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_nodelay(true)?;
        let mut connection = Connection { stream: BufReader::new(stream), broken: false };
        connection.read_line()?; // the greeting
        Ok(connection)
    }

    fn check(&self, connection: &mut Connection) -> io::Result<()> {
        connection.request(b"ping\n")
    }

    fn recycle(&self, connection: &mut Connection) -> RecycleDecision {
        if connection.broken { RecycleDecision::Close } else { RecycleDecision::Keep }
    }
}

#[derive(Default)]
struct Counts {
    answered: AtomicU64,
    reused: AtomicU64,
    failed: AtomicU64,
    timed_out: AtomicU64,
}

impl Counts {
    fn take(&self) -> [u64; 4] {
        [&self.answered, &self.reused, &self.failed, &self.timed_out].map(|n| n.swap(0, SeqCst))
    }
}

fn client(pool: &ResourcePool<FromBlocking<Connect>>, counts: &Counts, stop: &AtomicBool) {
    while !stop.load(SeqCst) {
        match pool.acquire_blocking_timeout(Duration::from_millis(200)) {
            Ok(mut connection) => {
                if PooledResource::uses(&connection) > 1 {
                    counts.reused.fetch_add(1, SeqCst);
                }
                match connection.request(b"get\n") {
                    Ok(()) => counts.answered.fetch_add(1, SeqCst),
                    Err(_) => counts.failed.fetch_add(1, SeqCst),
                };
            }
            Err(ResourcePoolError::TimedOut(_)) => {
                counts.timed_out.fetch_add(1, SeqCst);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let phase = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => Duration::from_millis(1500),
        ["--phase-ms", ms] => Duration::from_millis(ms.parse()?),
        _ => {
            println!("usage: connection_pool [--phase-ms N]   (default 1500, at least 300)");
            return Ok(());
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = Arc::new(Server {
        mode: AtomicU8::new(0),
        stopped: AtomicBool::new(false),
        accepted: AtomicU64::new(0),
        open: AtomicUsize::new(0),
        max_open: AtomicUsize::new(0),
    });
    server.listen(listener);
    let pool = ResourcePool::builder(FromBlocking(Connect(address)))
        .name("server")
        .max_size(MAX_SIZE)
        .creation_backoff(Backoff::exponential(Duration::from_millis(10)).max_delay(phase / 10))
        .build()?;

    let (counts, stop) = (Counts::default(), AtomicBool::new(false));
    let last = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| client(&pool, &counts, &stop));
        }
        println!("{THREADS} threads, at most {MAX_SIZE} connections");
        println!(
            "{:<18} {:>9} {:>8} {:>8} {:>7} {:>9} {:>8} {:>9}",
            "server", "answered", "reused", "failed", "waited", "accepted", "unopened", "in use"
        );
        let mut last = [0; 4];
        let mut before = (0, 0);
        for (name, mode) in PHASES {
            server.mode.store(mode as u8, SeqCst);
            let start = Instant::now();
            thread::sleep(phase);
            last = counts.take();
            let [answered, reused, failed, timed_out] = last;
            let snapshot = pool.snapshot();
            let accepted = server.accepted.load(SeqCst);
            assert!(snapshot.size <= MAX_SIZE, "{snapshot:?}");
            println!(
                "{name:<18} {answered:>9} {reused:>8} {failed:>8} {timed_out:>7} {:>9} {:>8} {:>9}",
                accepted - before.0,
                snapshot.create_failures - before.1,
                snapshot.in_use,
            );
            before = (accepted, snapshot.create_failures);
            // One `#` for each answer per millisecond.
            let rate = answered as f64 / start.elapsed().as_millis() as f64;
            println!("{:<18} {}", "", "#".repeat((rate as usize).min(70)));
        }
        stop.store(true, SeqCst);
        last
    });
    let waits = pool.snapshot().waits;
    if let Some(LatencySummary { count, p50, p99, .. }) = waits {
        println!("{count} callers waited: p50 {p50:?}, p99 {p99:?}");
    }
    let report = pool.drain_blocking_timeout(Duration::from_secs(5));
    server.stopped.store(true, SeqCst);
    println!("drained: {report:?}");
    assert!(report.is_complete());
    assert!(last[0] > 0, "the pool serves again after the restart");
    Ok(())
}
