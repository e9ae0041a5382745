//! The keys of the tickets by which clients come back: a new one every six hours, and each opens what it sealed for six more.
//!
//! The rotation of rustls would do, were it not for listeners that nobody comes to: it replaces its keys when a ticket is
//! made or shown, so that after a quiet week the ticket of last week is good once more. Here a key is over when its time is.

use std::mem;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::Error;
use rustls::crypto::ring::Ticketer;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

/// Seals tickets and opens them.
#[derive(Debug)]
pub(super) struct Tickets {
    clock: Arc<dyn TimeProvider>,
    // Read for a line by each handshake, and written every few hours.
    keys: RwLock<Keys>,
}

#[derive(Debug, Clone)]
struct Keys {
    current: Arc<dyn ProducesTickets>,
    previous: Option<Arc<dyn ProducesTickets>>,
    /// When the time of the current one began, in seconds since 1970.
    since: u64,
}

impl Tickets {
    /// With a first key. Hours are those of `clock`.
    ///
    /// # Errors
    /// Where there is no randomness to make a key of, or no time.
    pub(super) fn new(clock: Arc<dyn TimeProvider>) -> Result<Self, Error> {
        let now = clock.current_time().ok_or(Error::FailedToGetCurrentTime)?;
        let keys = Keys {
            current: Ticketer::new()?,
            previous: None,
            since: now.as_secs(),
        };
        Ok(Self {
            clock,
            keys: RwLock::new(keys),
        })
    }

    /// The keys of now; `None` where no new one can be made, and clients get no tickets.
    fn keys(&self) -> Option<Keys> {
        let now = self.clock.current_time()?.as_secs();
        let known = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        if known.hold(now) {
            return Some(known.clone());
        }
        drop(known);
        let next = Ticketer::new().ok()?;
        let mut known = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster.
        if !known.hold(now) {
            known.give_way(next, now);
        }
        Some(known.clone())
    }
}

impl Keys {
    /// Whether they are still those to use. A clock that was set back changes nothing.
    const fn hold(&self, now: u64) -> bool {
        now.saturating_sub(self.since) < TERM
    }

    fn give_way(&mut self, next: Arc<dyn ProducesTickets>, now: u64) {
        let terms = now.saturating_sub(self.since) / TERM;
        let last = mem::replace(&mut self.current, next);
        self.previous = (terms < 2).then_some(last);
        self.since = self.since.saturating_add(terms.saturating_mul(TERM));
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        u32::try_from(2 * TERM).unwrap_or(u32::MAX)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.keys()?.current.encrypt(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let Keys {
            current, previous, ..
        } = self.keys()?;
        let earlier = || previous?.decrypt(cipher);
        current.decrypt(cipher).or_else(earlier)
    }
}

/// Seconds for which a key seals.
const TERM: u64 = 6 * 60 * 60;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use rustls::client::Resumption;
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
    use rustls::version::{TLS12, TLS13};
    use rustls::{
        ClientConfig, ClientConnection, HandshakeKind, RootCertStore, ServerConfig,
        ServerConnection, SupportedProtocolVersion,
    };

    use super::*;
    use crate::pem::provider;

    /// A clock that stands still until it is set.
    #[derive(Debug)]
    struct Clock(AtomicU64);

    impl TimeProvider for Clock {
        fn current_time(&self) -> Option<UnixTime> {
            let seconds = Duration::from_secs(self.0.load(Ordering::Relaxed));
            Some(UnixTime::since_unix_epoch(seconds))
        }
    }

    /// A server with a clock, which began at [`START`], and what clients have to know of it.
    struct Server {
        clock: Arc<Clock>,
        config: Arc<ServerConfig>,
        roots: Arc<RootCertStore>,
    }

    /// A client that remembers its tickets.
    struct Client(Arc<ClientConfig>);

    impl Server {
        fn new() -> Self {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
            let mut roots = RootCertStore::empty();
            roots.add(made.cert.der().clone()).unwrap();
            let clock = Arc::new(Clock(AtomicU64::new(START)));
            let mut config =
                ServerConfig::builder_with_details(provider(), Arc::clone(&clock) as _)
                    .with_protocol_versions(&[&TLS13, &TLS12])
                    .unwrap()
                    .with_no_client_auth()
                    .with_single_cert(vec![made.cert.der().clone()], PrivateKeyDer::Pkcs8(key))
                    .unwrap();
            config.ticketer = Arc::new(Tickets::new(Arc::clone(&clock) as _).unwrap());
            Self {
                clock,
                config: Arc::new(config),
                roots: Arc::new(roots),
            }
        }

        fn client(&self, version: &'static SupportedProtocolVersion) -> Client {
            let mut config = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[version])
                .unwrap()
                .with_root_certificates(Arc::clone(&self.roots))
                .with_no_client_auth();
            config.resumption = Resumption::in_memory_sessions(8);
            Client(Arc::new(config))
        }

        /// It is this many seconds after the start.
        fn set(&self, seconds: u64) {
            self.clock.0.store(START + seconds, Ordering::Relaxed);
        }

        /// Whether a client that comes now is known.
        fn knows(&self, client: &Client) -> bool {
            let name = ServerName::try_from("localhost").unwrap();
            let mut client = ClientConnection::new(Arc::clone(&client.0), name).unwrap();
            let mut server = ServerConnection::new(Arc::clone(&self.config)).unwrap();
            // To the last byte, because a server of TLS 1.3 sends its tickets after the handshake.
            while client.wants_write() || server.wants_write() {
                let (mut asked, mut said) = (Vec::new(), Vec::new());
                while client.wants_write() {
                    client.write_tls(&mut asked).unwrap();
                }
                while !asked.is_empty() {
                    let read = server.read_tls(&mut &asked[..]).unwrap();
                    asked.drain(..read);
                    server.process_new_packets().unwrap();
                }
                while server.wants_write() {
                    server.write_tls(&mut said).unwrap();
                }
                while !said.is_empty() {
                    let read = client.read_tls(&mut &said[..]).unwrap();
                    said.drain(..read);
                    client.process_new_packets().unwrap();
                }
            }
            assert!(!client.is_handshaking() && !server.is_handshaking());
            server.handshake_kind() == Some(HandshakeKind::Resumed)
        }
    }

    #[test]
    fn tickets_outlive_one_change_of_keys_and_not_two() {
        for version in [&TLS13, &TLS12] {
            let server = Server::new();
            let [regular, early, late] = std::array::from_fn(|_| server.client(version));
            for client in [&regular, &early, &late] {
                assert!(!server.knows(client), "{version:?}: nobody has a ticket");
            }
            server.set(TERM - 1);
            assert!(server.knows(&regular), "{version:?}: under the same key");
            server.set(TERM);
            assert!(server.knows(&early), "{version:?}: under the one before");
            server.set(2 * TERM - 1);
            assert!(server.knows(&regular), "{version:?}: the same");
            server.set(2 * TERM);
            assert!(!server.knows(&late), "{version:?}: its key is gone");
            assert!(server.knows(&regular), "{version:?}: it has a newer one");
            assert!(server.knows(&late), "{version:?}: and so has it now");
        }
    }

    #[test]
    fn tickets_are_over_where_nobody_came_meanwhile() {
        for version in [&TLS13, &TLS12] {
            for after in [2 * TERM, 7 * TERM + 1] {
                let server = Server::new();
                let client = server.client(version);
                assert!(!server.knows(&client));
                server.set(after);
                assert!(!server.knows(&client), "{version:?} after {after} s");
                assert!(server.knows(&client), "{version:?} after {after} s");
            }
        }
        // The first one who comes is late, and has its ticket from the end of a term.
        let server = Server::new();
        let client = server.client(&TLS13);
        server.set(2 * TERM - 1);
        assert!(!server.knows(&client));
        server.set(3 * TERM - 1);
        assert!(server.knows(&client), "within a term of its own");
        let late = server.client(&TLS13);
        assert!(!server.knows(&late));
        server.set(4 * TERM);
        assert!(!server.knows(&late), "both terms of its key are over");
    }

    #[test]
    fn a_clock_that_is_set_back_changes_nothing() {
        let server = Server::new();
        let client = server.client(&TLS13);
        server.set(TERM);
        assert!(!server.knows(&client));
        server.clock.0.store(START - TERM, Ordering::Relaxed);
        assert!(server.knows(&client));
    }

    const START: u64 = 1_800_000_000;
}
