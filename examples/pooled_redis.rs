//! A pool of connections to a real Redis server, which restarts while the pool is in use.
//!
//! Needs the program `redis-server` (on Debian: `apt-get install redis-server`). The example starts
//! the server on a free port, and stops it. The example contains a minimal client; a real client is
//! used in the same way.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use mainstay::backoff::Backoff;
use mainstay::resource_pool::{
    BlockingResourceManager, FromBlocking, RecycleDecision, ResourceCloseReason, ResourcePool,
};

/// Creates and checks connections to the server at an address.
struct Redis(SocketAddr);

impl BlockingResourceManager for Redis {
    type Resource = Connection;
    type Error = io::Error;

    fn create(&self) -> io::Result<Connection> {
        // A blocking call cannot be interrupted, so the time limits are set on the socket.
        let limit = Duration::from_secs(1);
        let stream = TcpStream::connect_timeout(&self.0, limit)?;
        stream.set_read_timeout(Some(limit))?;
        let mut connection = Connection { stream: BufReader::new(stream), is_broken: false };
        connection.command("PING")?;
        Ok(connection)
    }

    fn check(&self, connection: &mut Connection) -> io::Result<()> {
        connection.command("PING").map(drop)
    }

    fn recycle(&self, connection: &mut Connection) -> RecycleDecision {
        if connection.is_broken { RecycleDecision::Close } else { RecycleDecision::Keep }
    }
}

struct Connection {
    stream: BufReader<TcpStream>,
    /// Set while a reply is outstanding. If reading the reply has failed, the next command could
    /// receive the rest of it.
    is_broken: bool,
}

impl Connection {
    /// Sends a command and returns its reply, which must be a number or a short text.
    fn command(&mut self, command: &str) -> io::Result<String> {
        self.is_broken = true;
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes())?;
        let mut reply = String::new();
        if self.stream.read_line(&mut reply)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.is_broken = false;
        match reply.trim_end().split_at(1) {
            ("+" | ":", value) => Ok(value.to_owned()),
            (_, error) => Err(io::Error::other(error.to_owned())),
        }
    }
}

/// A running server, which is stopped when this value is dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a server that writes no files. Returns `None` if it is not installed.
fn start_server(address: SocketAddr) -> io::Result<Option<Server>> {
    let port = address.port().to_string();
    let started = Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port, "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn();
    match started {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        started => started.map(|child| Some(Server(child))),
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
    let Some(server) = start_server(address)? else {
        println!("skipped: redis-server is not installed (apt-get install redis-server)");
        return Ok(());
    };
    let pool = ResourcePool::builder(FromBlocking(Redis(address)))
        .max_size(4)
        .check_after(Duration::ZERO) // before each use
        .creation_backoff(Backoff::constant(Duration::from_millis(20)))
        .build()?;

    // The server may still be starting: callers wait, and the pool tries again for all of them.
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..100 {
                    let mut connection = pool.acquire_blocking().expect("served in time");
                    connection.command("INCR visits").expect("the server is healthy");
                }
            });
        }
    });
    let visits = pool.acquire_blocking()?.command("INCR visits")?;
    let before = pool.snapshot();
    println!("{visits} commands on {} connections", before.created);
    assert_eq!(visits, "801");
    assert!(before.created <= 4);

    // A connection that was created less than 100 ms ago and not used yet counts as checked.
    thread::sleep(Duration::from_millis(200));
    drop(server);
    let _server = start_server(address)?.expect("it is installed");

    // All idle connections are broken. Their checks fail, and the pool creates another.
    let visits = pool.acquire_blocking()?.command("INCR visits")?;
    let after = pool.snapshot();
    println!(
        "after a restart: {visits} command; {} dead connections closed, {} attempts refused",
        after.closed.of(ResourceCloseReason::CheckFailed),
        after.create_failures - before.create_failures,
    );
    assert_eq!(visits, "1");

    let report = pool.drain_blocking_timeout(Duration::from_secs(1));
    assert!(report.is_complete());
    Ok(())
}
