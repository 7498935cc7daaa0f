//! An HTTP server that becomes slow, failing and dead on a schedule.
//!
//! It has a fixed number of workers and a queue in front of them, as servers do. It does not notice
//! that a caller has stopped waiting, so it also processes requests whose callers have timed out.
//! This wasted work alone makes the difference between the two clients.

use crate::schedule::{Phase, Schedule};
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;

/// The time that a request occupies a worker while the server is healthy.
pub(crate) const WORK: Duration = Duration::from_millis(10);
/// The same while the server is slow: less than the attempt timeout of both clients.
pub(crate) const SLOW_WORK: Duration = Duration::from_millis(100);
/// The capacity of a healthy server, as a multiple of the offered load. The capacity of a
/// slow server is then four fifths of the offered load: a small deficit, which repeated attempts
/// turn into a large overload.
const HEADROOM: u32 = 8;

pub(crate) struct Server {
    address: SocketAddr,
    workers: u32,
    site: Arc<Site>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

struct Site {
    schedule: Schedule,
    workers: Semaphore,
    /// The arrival times of the requests.
    reached: Mutex<Vec<Duration>>,
}

impl Server {
    /// Starts a server on a free loopback port, sized for `rps` requests per second.
    pub(crate) async fn start(schedule: Schedule, rps: u32) -> io::Result<Self> {
        let workers = (f64::from(HEADROOM * rps) * WORK.as_secs_f64()).ceil() as u32;
        let site = Arc::new(Site {
            schedule,
            workers: Semaphore::new(workers as usize),
            reached: Mutex::default(),
        });
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let routes = Router::new().route("/", get(answer)).with_state(site.clone());
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async {
            axum::serve(listener, routes)
                .with_graceful_shutdown(async { drop(stopped.await) })
                .await
        });
        Ok(Self { address, workers, site, stop, serving })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the number of requests per second that the server can process if each takes `work`.
    pub(crate) fn capacity(&self, work: Duration) -> f64 {
        f64::from(self.workers) / work.as_secs_f64()
    }

    /// Stops the server and returns the arrival times of the requests.
    pub(crate) async fn stop(self) -> io::Result<Vec<Duration>> {
        self.site.workers.close(); // rejects the requests that are still queued
        drop(self.stop);
        self.serving.await??;
        Ok(std::mem::take(&mut self.site.reached.lock().expect("no panic under the lock")))
    }
}

async fn answer(State(site): State<Arc<Site>>) -> StatusCode {
    site.reached.lock().expect("no panic under the lock").push(site.schedule.elapsed());
    // A separate task: when the caller disconnects, this handler is dropped, but the work
    // continues.
    tokio::spawn(async move { site.work().await })
        .await
        .unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

impl Site {
    async fn work(&self) -> StatusCode {
        let Ok(_worker) = self.workers.acquire().await else {
            return StatusCode::SERVICE_UNAVAILABLE;
        };
        if self.phase() == Phase::Dead {
            // The connection is accepted and the request read, but no response follows. This is
            // worse than a refused connection, because only the caller's timeout ends the wait.
            self.schedule.sleep_until(self.schedule.end(Phase::Dead)).await;
        }
        match self.phase() {
            Phase::Failing => return StatusCode::SERVICE_UNAVAILABLE,
            Phase::Slow => tokio::time::sleep(SLOW_WORK).await,
            Phase::Healthy | Phase::Dead | Phase::Recovered => tokio::time::sleep(WORK).await,
        }
        StatusCode::OK
    }

    fn phase(&self) -> Phase {
        self.schedule.phase_at(self.schedule.elapsed())
    }
}
