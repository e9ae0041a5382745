//! One accept loop for every TCP listener. What it accepts goes through the listener's [entrance](super::entrance).

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::entrance::{Entrance, Visitor};
use super::workers::Workers;
use crate::metrics::{ListenerLabel, Metrics};

/// A bound listener and what it needs to serve.
#[derive(Debug)]
pub struct Acceptor {
    /// `rtmp`, `http`, …: for logs and metrics.
    pub name: &'static str,
    /// The sockets: one, or one for each address it listens on.
    pub listeners: Vec<TcpListener>,
    /// What a connection goes through before its protocol.
    pub entrance: Entrance,
    /// For how many connections there is room; further ones wait in the kernel's backlog.
    pub room: Room,
    /// The kernel ends a connection whose client takes nothing of what was sent to it for so long: a relay has its
    /// own clock for that, pages and answers have none.
    pub gone_after: Duration,
    /// Serve the connections.
    pub workers: Arc<Workers>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// For how many connections there is room, counted in places. A connection takes [`OF_A_CONNECTION`] of them when it is
/// accepted.
#[derive(Debug, Clone)]
pub struct Room {
    places: Arc<Semaphore>,
    /// How many there are.
    all: usize,
    /// What it takes for more, as a log line says.
    more: &'static str,
}

impl Room {
    /// Room of this many places.
    pub fn new(places: usize, more: &'static str) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places)),
            all: places,
            more,
        }
    }

    /// Whether less than an eighth of it is left.
    pub fn is_tight(&self) -> bool {
        self.places.available_permits() <= self.all / 8
    }
}

/// The place of a connection's origin side; a cheap clone. It is free when the connection is over, unless it was handed to
/// another before that.
#[derive(Debug, Clone, Default)]
pub struct OriginSide(Arc<Mutex<Option<OwnedSemaphorePermit>>>);

impl OriginSide {
    fn new(place: Option<OwnedSemaphorePermit>) -> Self {
        Self(Arc::new(Mutex::new(place)))
    }

    /// Hands the place to `pull`, which others share with this connection, so that it needs none of its own. A pull that has
    /// one already leaves it to others.
    pub fn hand_to(&self, pull: &Self) {
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let mut of_the_pull = pull.0.lock().unwrap_or_else(PoisonError::into_inner);
        if of_the_pull.is_none() {
            *of_the_pull = place;
        }
    }

    /// Takes another place of the same room for `pull`, where this one is used by its own connection. A pull that has one
    /// needs none, and where none is free it goes without.
    pub fn find_for(&self, pull: &Self) {
        let own = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let places = own.as_ref().map(|own| Arc::clone(own.semaphore()));
        drop(own);
        let mut of_the_pull = pull.0.lock().unwrap_or_else(PoisonError::into_inner);
        if of_the_pull.is_none() {
            *of_the_pull = places.and_then(|places| places.try_acquire_owned().ok());
        }
    }
}

impl Acceptor {
    /// Accepts until `stop`, and gives each connection to a worker; `tasks` keeps count of them.
    pub async fn serve<F>(
        self,
        tasks: TaskTracker,
        stop: CancellationToken,
        handle: impl Fn(Visitor) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = Arc::new(handle);
        let loops = self
            .listeners
            .iter()
            .map(|listener| self.accept(listener, &tasks, &stop, &handle));
        futures_util::future::join_all(loops).await;
    }

    async fn accept<F>(
        &self,
        listener: &TcpListener,
        tasks: &TaskTracker,
        stop: &CancellationToken,
        handle: &Arc<impl Fn(Visitor) -> F + Send + Sync + 'static>,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let label = ListenerLabel {
            listener: self.name,
        };
        let accepted = self.metrics.connections.get_or_create(&label).clone();
        let failed = self.metrics.accept_errors.get_or_create(&label).clone();
        let mut mentioned: Option<Instant> = None;
        loop {
            let places = Arc::clone(&self.room.places);
            if places.available_permits() < OF_A_CONNECTION
                && mentioned.is_none_or(|at| at.elapsed() >= MENTION_EVERY)
            {
                mentioned = Some(Instant::now());
                warn!(
                    listener = self.name,
                    "as many connections as may be are open, and further ones wait: it takes {}",
                    self.room.more
                );
            }
            let mut permit = tokio::select! {
                () = stop.cancelled() => return,
                permit = places.acquire_many_owned(OF_A_CONNECTION as u32) => permit.expect("the semaphore is never closed"),
            };
            let connection = tokio::select! {
                () = stop.cancelled() => return,
                connection = listener.accept() => connection,
            };
            match connection {
                Ok((stream, peer)) => {
                    accepted.inc();
                    prepare(&stream);
                    let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(self.gone_after));
                    let Ok(stream) = stream.into_std() else {
                        continue;
                    };
                    let origin_side = OriginSide::new(permit.split(1));
                    let handle = Arc::clone(handle);
                    let entrance = self.entrance.clone();
                    self.workers.run(tasks, |slot| async move {
                        let spare = origin_side.clone();
                        // Boxed, because a future that is awaited by another is stored twice in it.
                        let entering = Box::pin(async move {
                            let stream = TcpStream::from_std(stream).ok()?;
                            let mut visitor = entrance.enter(stream, peer.into()).await?;
                            visitor.origin_side = spare;
                            Some(Box::pin(handle(visitor)))
                        });
                        if let Some(serving) = entering.await {
                            serving.await;
                        }
                        drop((slot, permit, origin_side));
                    });
                }
                Err(error) => {
                    failed.inc();
                    // Out of descriptors or memory: the connection stays in the backlog, so without a pause the
                    // loop would spin on it. A connection that was reset before it was accepted needs none.
                    if !is_per_connection(&error) {
                        if mentioned.is_none_or(|at| at.elapsed() >= MENTION_EVERY) {
                            mentioned = Some(Instant::now());
                            warn!(listener = self.name, %error, "accepting fails; it is tried again every {PAUSE:?}");
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        }
    }
}

/// What every connection wants: no delay for small writes, probes that find a peer gone without a word, and no
/// more in the kernel than the peer has room for.
pub fn prepare(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    // A socket that refuses an option (already reset, say) fails at its first read anyway.
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&keepalive);
    let _ = socket.set_tcp_notsent_lowat(UNSENT_MAX);
}

/// The error is one connection's, not the listener's.
fn is_per_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
    )
}

/// Places that a connection takes: one for itself, and one for its origin side.
pub const OF_A_CONNECTION: usize = 2;
const PAUSE: Duration = Duration::from_millis(100);
/// What the kernel takes of us beyond what the peer has room for. Without it a stalled viewer pins megabytes of
/// socket buffer.
const UNSENT_MAX: u32 = 256 * 1024;
/// How often a full house is mentioned.
const MENTION_EVERY: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_those_who_share_a_pull_the_first_gives_it_a_place_and_the_others_leave_theirs() {
        let places = Arc::new(Semaphore::new(3));
        let side = || OriginSide::new(Arc::clone(&places).try_acquire_owned().ok());
        let (first, second, alone) = (side(), side(), side());
        let (shared, other) = (OriginSide::default(), OriginSide::default());
        first.hand_to(&shared);
        second.hand_to(&shared);
        alone.hand_to(&other);
        assert_eq!(places.available_permits(), 1);
        drop((first, second, alone));
        assert_eq!(places.available_permits(), 1);
        drop((shared, other));
        assert_eq!(places.available_permits(), 3);
    }

    #[test]
    fn a_pull_whose_viewers_all_use_theirs_takes_one_more_place_if_there_is_one() {
        let places = Arc::new(Semaphore::new(3));
        let side = || OriginSide::new(Arc::clone(&places).try_acquire_owned().ok());
        let (first, second) = (side(), side());
        let (shared, other) = (OriginSide::default(), OriginSide::default());
        first.find_for(&shared);
        second.find_for(&shared);
        assert_eq!(places.available_permits(), 0, "one for all who share it");
        second.find_for(&other);
        drop((first, second));
        assert_eq!(places.available_permits(), 2, "it outlives its viewers");
        drop(shared);
        assert_eq!(places.available_permits(), 3);
        side().find_for(&other);
        assert_eq!(places.available_permits(), 2, "who comes later finds one");
    }
}
