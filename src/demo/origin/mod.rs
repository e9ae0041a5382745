//! A small origin inside the process: RTMP publish and play, HTTP-FLV play. The demo has two of them, and tests use it
//! as an origin that reports what it has seen. It is not a media server: it has no limits per stream, no authentication
//! and no recording, and it is never offered as one.

mod http;
mod hub;
mod rtmp;
mod seen;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::stream::StreamUrl;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::debug;

use self::hub::Hub;
use self::seen::Journal;
pub use self::seen::{End, MAX_PEERS, Peer, Seen};

/// A running embedded origin. Dropping it stops it; [`stop`](Self::stop) also waits until its ports are free.
#[derive(Debug)]
pub struct EmbeddedOrigin {
    rtmp: SocketAddr,
    http: SocketAddr,
    shared: Inner,
    tasks: TaskTracker,
    _guard: DropGuard,
}

impl EmbeddedOrigin {
    /// Listens on both addresses and serves from now on. Port 0 means any free port.
    ///
    /// # Errors
    ///
    /// When an address cannot be bound.
    pub async fn bind(rtmp: SocketAddr, http: SocketAddr) -> io::Result<Self> {
        let rtmp_listener = TcpListener::bind(rtmp).await?;
        let http_listener = TcpListener::bind(http).await?;
        let (rtmp, http) = (rtmp_listener.local_addr()?, http_listener.local_addr()?);
        let stop = CancellationToken::new();
        let shared = Inner {
            connections: Arc::new(Semaphore::new(MAX_CONNECTIONS)),
            hub: Hub::default(),
            journal: Arc::new(Journal::new()),
            stop: stop.clone(),
        };
        let tasks = TaskTracker::new();
        tasks.spawn(accept(
            rtmp_listener,
            Port::Rtmp,
            shared.clone(),
            tasks.clone(),
        ));
        tasks.spawn(accept(
            http_listener,
            Port::Http,
            shared.clone(),
            tasks.clone(),
        ));
        tasks.close();
        Ok(Self {
            rtmp,
            http,
            shared,
            tasks,
            _guard: stop.drop_guard(),
        })
    }

    /// The address of its RTMP port.
    pub const fn rtmp(&self) -> SocketAddr {
        self.rtmp
    }

    /// The address of its HTTP-FLV port.
    pub const fn http(&self) -> SocketAddr {
        self.http
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.shared.journal.watch().borrow().clone()
    }

    /// What it sees, as it changes. For example, `origin.watch().wait_for(|seen| seen.players().count() == 2)` waits
    /// for the second player.
    pub fn watch(&self) -> watch::Receiver<Seen> {
        self.shared.journal.watch()
    }

    /// Closes every connection and frees both ports.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.tasks.wait().await;
    }
}

/// What all connections of one origin share.
#[derive(Debug, Clone)]
struct Inner {
    connections: Arc<Semaphore>,
    hub: Hub,
    journal: Arc<Journal>,
    stop: CancellationToken,
}

/// The key of a stream in the hub. The vhost does not count, so that a publisher by name and a player by address meet.
fn key(stream: &StreamUrl) -> String {
    format!("{}/{}", stream.app(), stream.stream())
}

#[derive(Debug, Clone, Copy)]
enum Port {
    Http,
    Rtmp,
}

/// Accepts connections until the origin stops, each into a task of its own.
async fn accept(listener: TcpListener, port: Port, shared: Inner, tasks: TaskTracker) {
    loop {
        let permit = Arc::clone(&shared.connections).acquire_owned();
        let (permit, accepted) = tokio::select! {
            (permit, accepted) = async { (permit.await, listener.accept().await) } => (permit, accepted),
            () = shared.stop.cancelled() => return,
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(problem) => {
                // One connection failed, or the process is out of descriptors and the next accept would fail as fast.
                debug!(%problem, "embedded origin could not accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let shared = shared.clone();
        tasks.spawn(async move {
            let _permit = permit;
            shared.journal.opened();
            serve(socket, address, port, &shared).await;
            shared.journal.closed();
        });
    }
}

async fn serve(socket: TcpStream, address: SocketAddr, port: Port, shared: &Inner) {
    // Frames are written whole; waiting for more would only delay them.
    let _ = socket.set_nodelay(true);
    match port {
        Port::Http => http::serve(socket, address, shared).await,
        Port::Rtmp => rtmp::serve(socket, address, shared).await,
    }
}

/// Maximum concurrent connections of an origin, so that a mistake in a test or a script leads to waiting and not to
/// using up memory.
const MAX_CONNECTIONS: usize = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
