//! Resource pool: share a few TCP connections between many threads.

use mainstay::{BlockingResourceManager, FromBlocking, ResourcePool};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;

struct Connect(SocketAddr);

impl BlockingResourceManager for Connect {
    type Resource = BufReader<TcpStream>;
    type Error = io::Error;

    fn create(&self) -> io::Result<BufReader<TcpStream>> {
        TcpStream::connect(self.0).map(BufReader::new)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = TcpListener::bind("127.0.0.1:0")?;
    let pool = ResourcePool::builder(FromBlocking(Connect(server.local_addr()?)));
    let pool = pool.max_size(4).build()?;
    thread::spawn(move || {
        for stream in server.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream)); // echoes
        }
    });
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut connection = pool.acquire_blocking().expect("the server is up");
                connection.get_mut().write_all(b"hello\n").expect("connected");
                connection.read_line(&mut String::new()).expect("connected");
            }); // the connection returns to the pool here
        }
    });
    println!("16 requests, {} connections", pool.snapshot().created);
    assert!(pool.snapshot().created <= 4);
    Ok(())
}
