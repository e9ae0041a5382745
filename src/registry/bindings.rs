//! Calls that were answered: whose checks prove a client, and where its media goes. Signalling writes them before
//! the answer leaves; the media port reads them, and the two meet nowhere else.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Instant;

use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::rtc::flows::TELL_FOR;
use sluicegate_core::rtc::record::Authorized;
use sluicegate_core::rtc::sdp::{Check, Credentials};
use sluicegate_core::stream::{Action, StreamUrl};

use crate::value::ClientAddr;

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
    ended: Ended,
}

/// Bindings of calls that have ended, for [`TELL_FOR`]: a client that hears on one path that its call has ended asks on
/// another, and the shard that serves it may never have known the call.
#[derive(Debug, Default)]
struct Ended {
    by_username: HashMap<Box<[u8]>, Arc<Binding>>,
    /// All of them with the time at which they are forgotten, the oldest first.
    order: VecDeque<(Instant, Arc<Binding>)>,
}

/// One answered call.
#[derive(Debug)]
pub struct Call {
    /// Names its resource; 128 random bits, so that knowing it is the right to end it.
    pub id: String,
    /// The stream.
    pub stream: StreamUrl,
    /// Whether its client sends or receives.
    pub action: Action,
    /// Who asked for it.
    pub client: ClientAddr,
    /// The origin that answered.
    pub origin: OriginId,
    /// Where that origin's API is.
    pub api: Target,
    /// Where its resource is there, if it said so.
    pub resource: Option<String>,
    /// Where its media goes.
    pub media: SocketAddr,
    /// Whether the origin writes entity tags without quotes, and reads them so.
    pub bare_tags: bool,
    /// How its client was let in.
    pub authorized: Authorized,
    /// The credentials in the offer: the client's, for an ICE restart, or the origin's if the offer is its counter-offer.
    pub offered: Vec<Option<Credentials>>,
    /// How its client proves itself, and which proxy carries it.
    pub shared: CallState,
}

/// What of a call changes while it stands.
#[derive(Debug, Default)]
pub struct CallState {
    /// Its row in the session table; 0 while another proxy has it.
    session: AtomicU64,
    /// Connections that carry it over TCP.
    bridges: AtomicUsize,
    // std mutexes: each is held for a line.
    checks: Mutex<Vec<Check>>,
    carrier: Mutex<String>,
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

/// Shows that a connection carries a call over TCP, for as long as it lives.
#[derive(Debug)]
pub struct Bridged(Arc<Call>);

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

impl CallState {
    /// Of a call that `carrier` carries.
    pub fn new(checks: Vec<Check>, carrier: &str) -> Self {
        Self {
            session: AtomicU64::new(0),
            bridges: AtomicUsize::new(0),
            checks: Mutex::new(checks),
            carrier: Mutex::new(carrier.to_owned()),
        }
    }
}

impl Call {
    /// Its row in the session table here, once it has one.
    pub fn session(&self) -> u64 {
        self.shared.session.load(Ordering::Acquire)
    }

    /// Another connection carries it over TCP.
    pub fn bridged(self: &Arc<Self>) -> Bridged {
        self.shared.bridges.fetch_add(1, Ordering::AcqRel);
        Bridged(Arc::clone(self))
    }

    /// How its client proves itself.
    pub fn checks(&self) -> Vec<Check> {
        let checks = &self.shared.checks;
        checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The proxy that carries it, as far as is known.
    pub fn carrier(&self) -> String {
        let carrier = &self.shared.carrier;
        carrier
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Another proxy carries it from now on.
    pub fn carried_by(&self, proxy: &str) {
        let carrier = &self.shared.carrier;
        *carrier.lock().unwrap_or_else(PoisonError::into_inner) = proxy.to_owned();
    }

    /// Takes a further check; false if it was known.
    pub fn learn(&self, check: &Check) -> bool {
        let checks = &self.shared.checks;
        let mut checks = checks.lock().unwrap_or_else(PoisonError::into_inner);
        let new = !checks.contains(check);
        if new {
            checks.push(check.clone());
        }
        new
    }
}

impl Ended {
    fn insert(&mut self, now: Instant, binding: Arc<Binding>) {
        while self.order.len() >= MAX_ENDED
            || self.order.front().is_some_and(|(until, _)| *until <= now)
        {
            let Some((_, oldest)) = self.order.pop_front() else {
                break;
            };
            let known = self.by_username.get(&oldest.username);
            if known.is_some_and(|known| Arc::ptr_eq(known, &oldest)) {
                self.by_username.remove(&oldest.username);
            }
        }
        let username = binding.username.clone();
        self.by_username.insert(username, Arc::clone(&binding));
        self.order.push_back((now + TELL_FOR, binding));
    }
}

impl Bindings {
    /// Takes a call that has its row in `session`, with its checks.
    pub fn insert(self: &Arc<Self>, call: Arc<Call>, session: u64) -> Bound {
        call.shared.session.store(session, Ordering::Release);
        let checks = call.checks();
        self.write()
            .calls
            .insert(call.id.clone(), Arc::clone(&call));
        self.add(&call, &checks);
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
                call.learn(check);
                let binding = Binding::new(Arc::clone(call), check);
                tables
                    .checks
                    .insert(binding.username.clone(), Arc::new(binding));
            }
        }
        self.changed();
    }

    /// Takes a call out, with its bindings: nothing finds it from here on.
    pub fn remove(&self, call: &Arc<Call>) {
        let mut tables = self.write();
        tables.calls.remove(&call.id);
        for check in call.checks() {
            let username = check.username.as_bytes();
            let own = |binding: &Arc<Binding>| Arc::ptr_eq(&binding.call, call);
            if tables.checks.get(username).is_some_and(own) {
                tables.checks.remove(username);
            }
        }
    }

    /// A username that was nobody's may be somebody's now.
    pub fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Every call that stands here.
    pub fn calls(&self) -> Vec<Arc<Call>> {
        self.read().calls.values().cloned().collect()
    }

    /// The call of a resource.
    pub fn call(&self, id: &str) -> Option<Arc<Call>> {
        self.read().calls.get(id).cloned()
    }

    /// The binding of a username.
    pub fn binding(&self, username: &[u8]) -> Option<Arc<Binding>> {
        self.read().checks.get(username).cloned()
    }

    /// Remembers for [`TELL_FOR`] that a call has ended for its client too, with how that client proves itself.
    pub fn has_ended(&self, now: Instant, binding: Arc<Binding>) {
        self.write().ended.insert(now, binding);
    }

    /// The binding that a username had, if its call has ended lately.
    pub fn ended(&self, username: &[u8]) -> Option<Arc<Binding>> {
        self.read().ended.by_username.get(username).cloned()
    }

    /// Some shard or connection has a socket for a transport of this call: its client has proven itself here.
    pub fn is_open(&self, call: &Call) -> bool {
        if call.shared.bridges.load(Ordering::Acquire) > 0 {
            return true;
        }
        let tables = self.read();
        call.checks().iter().any(|check| {
            let binding = tables.checks.get(check.username.as_bytes());
            binding.is_some_and(|binding| binding.shard().is_some())
        })
    }

    /// Grows with each new binding, here or elsewhere.
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
    /// A binding that no shard has a socket for.
    pub fn new(call: Arc<Call>, check: &Check) -> Self {
        Self {
            call,
            username: check.username.as_bytes().into(),
            password: check.password.as_bytes().into(),
            shard: AtomicUsize::new(NO_SHARD),
        }
    }

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

impl Drop for Bridged {
    fn drop(&mut self) {
        self.0.shared.bridges.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        self.bindings.remove(&self.call);
    }
}

/// Maximum bindings that are remembered of calls that have ended; beyond it the oldest is forgotten sooner.
const MAX_ENDED: usize = 16_384;
/// No shard has its socket.
const NO_SHARD: usize = usize::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str, checks: Vec<Check>) -> Arc<Call> {
        Arc::new(Call {
            id: id.to_owned(),
            stream: "v.example/live/a".parse().unwrap(),
            action: Action::Play,
            client: "127.0.0.1:9".parse().unwrap(),
            origin: OriginId::from("o"),
            api: Target::plain("127.0.0.1".parse().unwrap(), 1985),
            resource: None,
            media: "127.0.0.1:8000".parse().unwrap(),
            bare_tags: false,
            authorized: Authorized::No,
            offered: Vec::new(),
            shared: CallState::new(checks, "here"),
        })
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
        let bound = bindings.insert(call("a", vec![check("o:c")]), 1);
        let other = bindings.insert(call("b", vec![check("o:d")]), 2);
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
    fn an_ended_call_is_remembered_for_a_while_with_bounds() {
        let bindings = Arc::new(Bindings::default());
        let bound = bindings.insert(call("a", vec![check("o:c")]), 1);
        let binding = bindings.binding(b"o:c").unwrap();
        drop(bound);
        assert!(bindings.ended(b"o:c").is_none(), "it may go on elsewhere");
        let began = Instant::now();
        bindings.has_ended(began, binding);
        let is_known = |username: &str| bindings.ended(username.as_bytes()).is_some();
        assert!(is_known("o:c"));
        let other = call("b", Vec::new());
        for number in 1..MAX_ENDED {
            let check = check(&format!("o:{number}"));
            bindings.has_ended(began, Arc::new(Binding::new(Arc::clone(&other), &check)));
        }
        assert!(is_known("o:c") && is_known("o:1"));
        let one_more = Arc::new(Binding::new(Arc::clone(&other), &check("o:x")));
        bindings.has_ended(began, one_more);
        assert!(!is_known("o:c") && is_known("o:1") && is_known("o:x"));
        let later = Arc::new(Binding::new(other, &check("o:y")));
        bindings.has_ended(began + TELL_FOR, later);
        assert!(!is_known("o:1") && !is_known("o:x") && is_known("o:y"));
    }

    #[test]
    fn one_shard_has_the_socket() {
        let bindings = Arc::new(Bindings::default());
        let _bound = bindings.insert(call("a", vec![check("o:c")]), 1);
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
        let bound = bindings.insert(call("a", vec![check("o:c")]), 1);
        let other = bindings.insert(call("b", vec![check("o:d")]), 2);
        bindings.add(bound.call(), &[check("p:c")]);
        let [before, after] = [b"o:c", b"p:c"].map(|name| bindings.binding(name).unwrap());
        assert!(!bindings.is_open(bound.call()));
        before.claim(0);
        after.claim(1);
        before.release(0);
        assert!(bindings.is_open(bound.call()) && !bindings.is_open(other.call()));
        after.release(1);
        assert!(!bindings.is_open(bound.call()));
        let by_tcp = [bound.call().bridged(), bound.call().bridged()];
        for bridged in by_tcp {
            assert!(bindings.is_open(bound.call()) && !bindings.is_open(other.call()));
            drop(bridged);
        }
        assert!(!bindings.is_open(bound.call()));
    }
}
