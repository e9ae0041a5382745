//! This proxy's part of a mesh.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chitchat::ChitchatId;
use sluicegate_core::cluster::mesh::{Full, LONGEST, Table, Way, Word};
use tokio::sync::{Notify, broadcast};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::herald::RecentNews;
use super::{MeshFigures, MeshOptions, gossip};
use crate::bell;
use crate::store::{Change, Claim, Store, StoreError};
use crate::unix_time;

/// This proxy's part of a mesh, and the task that gossips.
#[derive(Debug)]
pub struct Mesh {
    shared: Arc<Inner>,
    address: SocketAddr,
    _gossip: DropGuard,
}

#[derive(Debug)]
pub(super) struct Inner {
    // A std mutex: it is held for a look-up, never across an await.
    pub(super) table: Mutex<Table<ChitchatId>>,
    pub(super) watched: Vec<String>,
    pub(super) changes: broadcast::Sender<Change>,
    /// Notified when the other proxies have to hear of something.
    pub(super) unsaid: Notify,
    /// What was sent as news and gossip still has to carry: everything that is claimed while gossip is busy with a
    /// message.
    pub(super) told: Mutex<RecentNews>,
    /// Notified when `told` is not empty.
    pub(super) telling: Notify,
    /// Whether another proxy is heard, or none is known to be missing.
    pub(super) in_company: AtomicBool,
    /// Notified when `in_company` becomes true.
    pub(super) joined: Notify,
    pub(super) refused: Arc<AtomicU64>,
}

impl Mesh {
    /// Joins the mesh, in a task of the current runtime. The task ends when this is dropped, and the others then see
    /// this proxy fall silent.
    ///
    /// # Errors
    /// When the address cannot be listened on. Proxies that cannot be reached are not an error: they may come up later.
    pub fn open(mut options: MeshOptions) -> std::io::Result<Self> {
        let MeshOptions {
            mut listen,
            advertise,
            ..
        } = options;
        // In the form in which datagrams name their sender.
        options.advertise = SocketAddr::new(advertise.ip().to_canonical(), advertise.port());
        if listen.ip().is_unspecified() && options.advertise.is_ipv4() {
            // An IPv6 socket cannot send to IPv4 addresses.
            listen.set_ip(Ipv4Addr::UNSPECIFIED.into());
        }
        let socket = UdpSocket::bind(listen)?;
        socket.set_nonblocking(true)?;
        // A message may arrive as sixty datagrams at once. If the system grants less, that has to do.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
        let id = id(options.advertise, unix_time::millis());
        let shared = Arc::new(Inner {
            table: Mutex::new(Table::new(id.clone())),
            watched: options.watched.clone(),
            changes: broadcast::channel(CHANGES).0,
            unsaid: Notify::new(),
            told: Mutex::default(),
            telling: Notify::new(),
            in_company: AtomicBool::new(false),
            joined: Notify::new(),
            refused: Arc::default(),
        });
        let end = CancellationToken::new();
        let address = options.advertise;
        let gossip = gossip::run(Arc::clone(&shared), id, options, socket, end.clone());
        tokio::spawn(gossip);
        Ok(Self {
            shared,
            address,
            _gossip: end.drop_guard(),
        })
    }

    /// Whether another proxy is heard, or no other is known.
    pub fn is_reachable(&self) -> bool {
        self.shared.in_company.load(Ordering::Relaxed)
    }

    /// Resolves when another proxy is heard, or when no other is known.
    pub async fn reachable(&self) {
        bell::once(&self.shared.joined, || self.is_reachable().then_some(())).await;
    }

    /// Subscribes to changes by others. A reader that falls behind has to treat that as [`Change::Anything`].
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    /// The address at which the other proxies reach this one.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The current figures.
    pub fn figures(&self) -> MeshFigures {
        let table = self.shared.table();
        let (alive, silent) = table.others();
        MeshFigures {
            alive,
            silent,
            rows: table.len(),
            refused: self.shared.refused.load(Ordering::Relaxed),
        }
    }

    /// Ends a key, whatever its value.
    ///
    /// # Errors
    /// [`StoreError::Full`]
    pub fn end(&self, key: &str) -> Result<(), StoreError> {
        self.write(|table, now| table.remove(key, None, now))
    }

    /// Changes the table, and notifies the herald.
    fn write<T>(
        &self,
        write: impl FnOnce(&mut Table<ChitchatId>, Instant) -> Result<T, Full>,
    ) -> Result<T, StoreError> {
        let written = write(&mut self.shared.table(), Instant::now());
        self.shared.unsaid.notify_one();
        written.map_err(|full| StoreError::Full(full.to_string()))
    }
}

impl Store for Mesh {
    async fn claim(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        ttl: Duration,
    ) -> Result<Claim, StoreError> {
        fits(key, value)?;
        let claim = self
            .write(|table, now| table.claim(key, expected, value, ttl, unix_time::millis(), now))?;
        Ok(Claim {
            value: claim.value,
            fence: claim.fence,
            won: claim.won,
        })
    }

    async fn get(&self, key: &str) -> Result<Option<String>, StoreError> {
        let table = self.shared.table();
        Ok(table.get(key, Instant::now()).map(str::to_owned))
    }

    async fn put(&self, key: &str, value: &str, ttl: Duration) -> Result<(), StoreError> {
        fits(key, value)?;
        self.write(|table, now| table.put(key, value, ttl, unix_time::millis(), now))
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        Ok(self.shared.table().list(prefix, Instant::now()))
    }

    async fn renew(&self, keys: &[String], ttl: Duration) -> Result<(), StoreError> {
        self.write(|table, now| keys.iter().try_for_each(|key| table.renew(key, ttl, now)))
    }

    async fn remove(&self, key: &str, value: &str) -> Result<(), StoreError> {
        self.write(|table, now| table.remove(key, Some(value), now))
    }
}

impl Inner {
    pub(super) fn table(&self) -> MutexGuard<'_, Table<ChitchatId>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that another proxy itself was heard.
    pub(super) fn hear_from(&self, owner: &ChitchatId) {
        let changed = self.table().hear_from(owner, Instant::now());
        for key in changed {
            self.changed(key);
        }
    }

    /// Takes what another proxy said about `key`.
    pub(super) fn hear(&self, owner: &ChitchatId, key: &str, word: Word, way: Way) {
        let now = Instant::now();
        if self.table().hear(owner, key, word, way, now) {
            self.changed(key.to_owned());
        }
        // An own row may have given way.
        self.unsaid.notify_one();
    }

    /// Announces that the value of `key` changed.
    pub(super) fn changed(&self, key: String) {
        if self.watched.iter().any(|kind| key.starts_with(kind)) {
            // There may be no subscriber.
            let _ = self.changes.send(Change::Key(key));
        }
    }

    pub(super) fn told(&self) -> MutexGuard<'_, RecentNews> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_in_company(&self, company: bool) {
        if self.in_company.swap(company, Ordering::Relaxed) == company {
            return;
        }
        let _ = self.changes.send(Change::Anything);
        if company {
            self.joined.notify_waiters();
        }
    }
}

/// Identifies one life of the proxy at `address`, which began at `start`.
pub(super) fn id(address: SocketAddr, start: u64) -> ChitchatId {
    ChitchatId {
        node_id: address.to_string().into(),
        generation_id: start,
        gossip_advertise_addr: address,
    }
}

fn fits(key: &str, value: &str) -> Result<(), StoreError> {
    if key.len() + value.len() <= LONGEST {
        return Ok(());
    }
    let words = format!("a key and its value of more than {LONGEST} bytes do not fit a message");
    Err(StoreError::Full(words))
}

/// Maximum changes that wait for a reader; a reader that is further behind reads everything again.
const CHANGES: usize = 4_096;
/// Enough for several of the longest messages.
const RECEIVE_BUFFER: usize = 2 << 20;
