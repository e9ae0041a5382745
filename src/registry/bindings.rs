//! Calls that were answered: whose checks prove a client, and where its media goes. Signalling writes them before
//! the answer leaves; the media port reads them, and the two meet nowhere else.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use sluicegate_core::origin::{OriginId, Target};
use sluicegate_core::rtc::sdp::{Check, Credentials};

/// The calls this proxy knows.
#[derive(Debug, Default)]
pub struct Bindings {
    // A std lock: it is held for a few lines and never across an await. Packets of a known flow don't come here.
    tables: RwLock<Tables>,
    generation: AtomicU64,
}

#[derive(Debug, Default)]
struct Tables {
    calls: HashMap<String, Arc<Call>>,
    checks: HashMap<Box<[u8]>, Arc<Binding>>,
}

/// One answered call.
#[derive(Debug)]
pub struct Call {
    /// Names its resource; 128 random bits, so that knowing it is the right to end it.
    pub id: String,
    /// Its row in the session table.
    pub session: u64,
    /// The origin that answered.
    pub origin: OriginId,
    /// Where that origin's API is.
    pub api: Target,
    /// Where its resource is there, if it said so.
    pub resource: Option<String>,
    /// Where its media goes.
    pub media: SocketAddr,
    /// The client's credentials, for an ICE restart.
    pub offered: Vec<Option<Credentials>>,
}

/// How the checks of one transport of a call are known.
pub struct Binding {
    /// Whose.
    pub call: Arc<Call>,
    /// The USERNAME of its checks.
    pub username: Box<[u8]>,
    /// The origin's `ice-pwd`.
    pub password: Box<[u8]>,
    shard: AtomicUsize,
}

/// Keeps a call's bindings for as long as it lives.
#[derive(Debug)]
pub struct Bound {
    bindings: Arc<Bindings>,
    call: Arc<Call>,
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("call", &self.call.id)
            .finish_non_exhaustive()
    }
}

impl Bindings {
    /// Takes an answered call and its checks.
    pub fn insert(self: &Arc<Self>, call: Call, checks: &[Check]) -> Bound {
        let call = Arc::new(call);
        self.write()
            .calls
            .insert(call.id.clone(), Arc::clone(&call));
        self.add(&call, checks);
        Bound {
            bindings: Arc::clone(self),
            call,
        }
    }

    /// Adds further checks to a call, after an ICE restart.
    pub fn add(&self, call: &Arc<Call>, checks: &[Check]) {
        {
            let mut tables = self.write();
            if !tables.calls.contains_key(&call.id) {
                return;
            }
            for check in checks {
                let username: Box<[u8]> = check.username.as_bytes().into();
                let binding = Binding {
                    call: Arc::clone(call),
                    username: username.clone(),
                    password: check.password.as_bytes().into(),
                    shard: AtomicUsize::new(NO_SHARD),
                };
                tables.checks.insert(username, Arc::new(binding));
            }
        }
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Takes a call out, with its bindings: nothing finds it from here on.
    pub fn remove(&self, call: &Arc<Call>) {
        let mut tables = self.write();
        tables.calls.remove(&call.id);
        tables
            .checks
            .retain(|_, binding| !Arc::ptr_eq(&binding.call, call));
    }

    /// The call of a resource.
    pub fn call(&self, id: &str) -> Option<Arc<Call>> {
        self.read().calls.get(id).cloned()
    }

    /// The binding of a username.
    pub fn binding(&self, username: &[u8]) -> Option<Arc<Binding>> {
        self.read().checks.get(username).cloned()
    }

    /// Some shard has a socket for a transport of this call.
    pub fn is_open(&self, call: &Arc<Call>) -> bool {
        let tables = self.read();
        let mut bindings = tables.checks.values();
        bindings.any(|binding| Arc::ptr_eq(&binding.call, call) && binding.shard().is_some())
    }

    /// Grows with each new binding.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Calls that stand.
    pub fn len(&self) -> usize {
        self.read().calls.len()
    }

    /// None stands.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn read(&self) -> RwLockReadGuard<'_, Tables> {
        self.tables.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tables> {
        self.tables.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Binding {
    /// The shard that has its socket, if one has.
    pub fn shard(&self) -> Option<usize> {
        Some(self.shard.load(Ordering::Acquire)).filter(|shard| *shard != NO_SHARD)
    }

    /// Makes `shard` the one that has its socket, unless another is; says which one it is now.
    pub fn claim(&self, shard: usize) -> usize {
        let exchange =
            self.shard
                .compare_exchange(NO_SHARD, shard, Ordering::AcqRel, Ordering::Acquire);
        exchange.err().unwrap_or(shard)
    }

    /// Hands it from one shard to another.
    pub fn hand_over(&self, from: usize, to: usize) {
        let _ = self
            .shard
            .compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire);
    }

    /// `shard` has no socket for it any more.
    pub fn release(&self, shard: usize) {
        self.hand_over(shard, NO_SHARD);
    }
}

impl Bound {
    /// The call.
    pub const fn call(&self) -> &Arc<Call> {
        &self.call
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.bindings.remove(&self.call);
    }
}

/// No shard has its socket.
const NO_SHARD: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Call {
        Call {
            id: id.to_owned(),
            session: 1,
            origin: OriginId::from("o"),
            api: Target {
                host: "127.0.0.1".parse().unwrap(),
                port: 1985,
            },
            resource: None,
            media: "127.0.0.1:8000".parse().unwrap(),
            offered: Vec::new(),
        }
    }

    fn check(username: &str) -> Check {
        Check {
            username: username.to_owned(),
            password: "p".to_owned(),
        }
    }

    #[test]
    fn bindings_go_with_their_call() {
        let bindings = Arc::new(Bindings::default());
        let bound = bindings.insert(call("a"), &[check("o:c")]);
        let other = bindings.insert(call("b"), &[check("o:d")]);
        bindings.add(bound.call(), &[check("p:c")]);
        assert_eq!(bindings.generation(), 3);
        assert!(bindings.binding(b"o:c").is_some() && bindings.binding(b"p:c").is_some());
        let gone = Arc::clone(bound.call());
        drop(bound);
        assert!(bindings.binding(b"o:c").is_none() && bindings.binding(b"p:c").is_none());
        bindings.add(&gone, &[check("q:c")]);
        assert!(bindings.binding(b"q:c").is_none(), "it is over");
        assert!(bindings.binding(b"o:d").is_some());
        drop(other);
        assert!(bindings.is_empty());
    }

    #[test]
    fn one_shard_has_the_socket() {
        let bindings = Arc::new(Bindings::default());
        let _bound = bindings.insert(call("a"), &[check("o:c")]);
        let binding = bindings.binding(b"o:c").unwrap();
        assert_eq!(binding.shard(), None);
        assert_eq!((binding.claim(0), binding.claim(1)), (0, 0));
        binding.hand_over(0, 1);
        binding.release(0);
        assert_eq!(binding.shard(), Some(1));
        binding.release(1);
        assert_eq!(binding.shard(), None);
    }

    #[test]
    fn a_call_is_open_while_one_of_its_transports_is() {
        let bindings = Arc::new(Bindings::default());
        let bound = bindings.insert(call("a"), &[check("o:c")]);
        let other = bindings.insert(call("b"), &[check("o:d")]);
        bindings.add(bound.call(), &[check("p:c")]);
        let [before, after] = [b"o:c", b"p:c"].map(|name| bindings.binding(name).unwrap());
        assert!(!bindings.is_open(bound.call()));
        before.claim(0);
        after.claim(1);
        before.release(0);
        assert!(bindings.is_open(bound.call()) && !bindings.is_open(other.call()));
        after.release(1);
        assert!(!bindings.is_open(bound.call()));
    }
}
