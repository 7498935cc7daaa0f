//! An HTTP server that falls ill on a schedule.
//!
//! It works as servers do: a fixed number of workers, and a queue in front of them. It does not notice
//! that a caller has stopped waiting, so it also works through what nobody wants any more. Nothing else
//! makes the difference between the two clients.

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

/// What one request takes a worker while the server is well.
pub(crate) const WORK: Duration = Duration::from_millis(10);
/// And while it is slow: still well within every client's patience.
pub(crate) const SLOW_WORK: Duration = Duration::from_millis(100);
/// A well server has this many times the capacity that is asked of it, a slow one then four fifths of it:
/// so little short of enough that it is the tries of those who lost patience that bury it.
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
    /// When each request came in.
    reached: Mutex<Vec<Duration>>,
}

impl Server {
    /// Serves on a free port of the loopback, fit for `rps` requests a second.
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

    /// How many requests a second it can answer, if one takes `work`.
    pub(crate) fn capacity(&self, work: Duration) -> f64 {
        f64::from(self.workers) / work.as_secs_f64()
    }

    /// Stops it, and says when each request reached it.
    pub(crate) async fn stop(self) -> io::Result<Vec<Duration>> {
        self.site.workers.close(); // turns away what still stands in the queue
        drop(self.stop);
        self.serving.await??;
        Ok(std::mem::take(&mut self.site.reached.lock().expect("nobody panics while noting")))
    }
}

async fn answer(State(site): State<Arc<Site>>) -> StatusCode {
    site.reached.lock().expect("nobody panics while noting").push(site.schedule.elapsed());
    // A task of its own: when the caller hangs up, this handler is dropped, but the work goes on.
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
            // The connection was accepted and the request read, but no answer comes: nastier than a refused
            // connection, for only the caller's own time limit ends the wait.
            self.schedule.sleep_until(self.schedule.end(Phase::Dead)).await;
        }
        match self.phase() {
            Phase::Failing => return StatusCode::SERVICE_UNAVAILABLE,
            Phase::Slow => tokio::time::sleep(SLOW_WORK).await,
            Phase::Well | Phase::Dead | Phase::WellAgain => tokio::time::sleep(WORK).await,
        }
        StatusCode::OK
    }

    fn phase(&self) -> Phase {
        self.schedule.phase_at(self.schedule.elapsed())
    }
}
