//! WebRTC calls that any proxy may carry: what is known of them stands in the store, and the proxy that
//! hears a call's client takes the call.
//!
//! The proxy that a client proves itself to writes itself down as the *carrier*. The one before keeps its side until
//! its client is silent there, since an attacker who copies a client's packets must not cut it off; only the carrier tells the
//! origin of the end. A call that is over leaves that word behind for a while, so that nobody brings it back.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sluicegate_core::cluster::srs;
use sluicegate_core::fleet::origin::Host;
use sluicegate_core::rtc::allowance::Allowance;
use sluicegate_core::rtc::record::{
    CALL, CHECK, CallRecord, CheckRecord, StandingCall, call_key, check_key, check_record,
    parse_check_record,
};
use sluicegate_core::rtc::sdp::{Check, Credentials};
use sluicegate_core::stream::Service;
use tokio::sync::OnceCell;
use tracing::{debug, warn};

use super::Cluster;
use crate::registry::bindings::{Binding, Call, CallState};
use crate::sessions::{Direction, EndReason};
use crate::store::{Store, StoreError};

/// Look-ups under way, names that nobody has, and what pays for asking.
#[derive(Debug, Default)]
pub(super) struct LookUps {
    // A std mutex: it is held for a few lines, by those who ask for a name that is not known here.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    allowance: Option<Allowance>,
    open: HashMap<String, LookUpResult>,
    absent: HashMap<String, Instant>,
}

/// What comes of one look-up, for all who wait for it.
type LookUpResult = Arc<OnceCell<Option<Arc<Binding>>>>;

impl LookUps {
    /// The look-up of a key, begun or joined; `None` where the key is known to be absent, or asking costs too much.
    fn ask(&self, key: &str, client: IpAddr) -> Option<LookUpResult> {
        let now = Instant::now();
        let mut table = self.lock();
        if let Some(answer) = table.open.get(key) {
            return Some(Arc::clone(answer));
        }
        let known_absent = table.absent.get(key).is_some_and(|until| now < *until);
        if known_absent || table.open.len() >= MOST_ASKED || !table.pays(now, client) {
            return None;
        }
        let answer = LookUpResult::default();
        table.open.insert(key.to_owned(), Arc::clone(&answer));
        Some(answer)
    }

    /// The look-up has ended.
    fn answered(&self, key: &str, absent: bool) {
        let mut table = self.lock();
        let asked = table.open.remove(key).is_some();
        if asked && absent && table.absent.len() < MOST_ABSENT {
            let until = Instant::now() + ABSENT_FOR;
            table.absent.insert(key.to_owned(), until);
        }
    }

    /// Whether somebody may ask for something that is not known here.
    fn pays(&self, client: IpAddr) -> bool {
        self.lock().pays(Instant::now(), client)
    }

    fn arrived(&self, key: &str) {
        self.lock().absent.remove(key);
    }

    fn sweep(&self) {
        let now = Instant::now();
        let mut table = self.lock();
        table.absent.retain(|_, until| now < *until);
        // Nobody waits for it any more, or they would hold it.
        table.open.retain(|_, answer| Arc::strong_count(answer) > 1);
        if let Some(allowance) = &mut table.allowance {
            allowance.sweep(now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn pays(&mut self, now: Instant, client: IpAddr) -> bool {
        self.allowance
            .get_or_insert_with(|| Allowance::new(now))
            .take(now, client)
    }
}

impl Cluster {
    /// Writes an answered call down, which this proxy carries until its client is heard elsewhere. An answer may leave
    /// when this returns, even where the store is out of reach: its media has to come here then.
    pub(crate) async fn tell_of_call(&self, call: &Call) {
        if let Err(error) = self.write_call(call, &call.checks()).await {
            warn!(session = call.session(), %error, "the call is known to this proxy alone until the store is back");
        }
    }

    /// Writes further checks of a call down, after an ICE restart.
    pub(crate) async fn tell_of_checks(&self, call: &Call, checks: &[Check]) {
        for check in checks {
            call.learn(check);
        }
        if let Err(error) = self.write_call(call, checks).await {
            warn!(session = call.session(), %error, "an ICE restart is known to this proxy alone");
        }
    }

    /// This proxy carries a call from now on.
    pub(crate) async fn carry(&self, call: &Call) {
        call.carried_by(&self.id);
        if let Err(error) = self.write_call(call, &[]).await {
            debug!(session = call.session(), %error, "nobody is told that the call is carried here");
        }
    }

    /// A call is over for everybody.
    pub(crate) async fn end_call(&self, call: &Call) {
        let Some(key) = call_key(&call.id) else {
            return;
        };
        let over = CallRecord::Over.text();
        let put = self.store.put(&key, &over, OVER_FOR);
        let _ = self.noted("put", put.await);
    }

    /// Whether this proxy is the one that has to tell the origin of the end of a call.
    pub(crate) async fn carries(&self, call: &Call) -> bool {
        match self.read_call(&call.id).await {
            Ok(Some(CallRecord::Over)) => false,
            Ok(Some(CallRecord::Stands(record))) => record.carrier == self.id,
            Ok(None) | Err(_) => call.carrier() == self.id,
        }
    }

    /// Whose check has this username, if another proxy signalled the call. However many ask, the store is asked once,
    /// and a client that asks too often is not answered.
    pub(crate) async fn find_check(&self, username: &[u8], client: IpAddr) -> Option<Arc<Binding>> {
        let key = check_key(username)?;
        let answer = self.calls.ask(&key, client)?;
        let found = answer.get_or_init(async || {
            let found = self.read_check(&key).await;
            self.calls.answered(&key, found.is_none());
            found
        });
        found.await.clone()
    }

    /// A call that another proxy signalled, by the id of its resource.
    pub(crate) async fn find_call(&self, id: &str, client: IpAddr) -> Option<Arc<Call>> {
        call_key(id)?;
        if !self.calls.pays(client) {
            return None;
        }
        match self.read_call(id).await {
            Ok(Some(CallRecord::Stands(record))) => self.call_of(id, *record).await,
            Ok(Some(CallRecord::Over) | None) | Err(_) => None,
        }
    }

    /// Gives calls that are in use their time. `before` is what each had heard of its client in the round before;
    /// returns what it is now.
    pub(super) async fn keep_calls(
        &self,
        round: u64,
        before: HashMap<String, u64>,
    ) -> HashMap<String, u64> {
        self.calls.sweep();
        let mut keys = Vec::new();
        let mut now = HashMap::new();
        for call in self.registry.bindings().calls() {
            let Some(row) = self.sessions.row(call.session()) else {
                continue;
            };
            if row.is_preview() {
                continue;
            }
            let heard = row.bytes(Direction::ToOrigin);
            let in_use = heard != before.get(&call.id).copied().unwrap_or(0);
            now.insert(call.id.clone(), heard);
            if !in_use {
                continue;
            }
            if call.carrier() != self.id {
                // Its client came back to us, on a way that was never closed.
                self.carry(&call).await;
            }
            keys.extend(call_key(&call.id));
            let checks = call.checks();
            keys.extend(
                checks
                    .iter()
                    .filter_map(|check| check_key(check.username.as_bytes())),
            );
        }
        // One that was not heard in this round is heard in the next, long before its time is over.
        if !keys.is_empty() && round.is_multiple_of(RENEW_ROUNDS) {
            let renewed = self.store.renew(&keys, LIFETIME).await;
            let _ = self.noted("renew", renewed);
        }
        now
    }

    /// Compares the calls here with what stands of them.
    pub(super) async fn look_after_calls(&self) {
        for call in self.registry.bindings().calls() {
            self.look_after(&call).await;
        }
    }

    /// Another proxy wrote `key`.
    pub(super) async fn call_changed(&self, key: &str) {
        if key.starts_with(CHECK) {
            self.calls.arrived(key);
            self.registry.bindings().changed();
        } else if let Some(id) = key.strip_prefix(CALL)
            && let Some(call) = self.registry.bindings().call(id)
        {
            self.look_after(&call).await;
        }
    }

    async fn look_after(&self, call: &Call) {
        let Some(row) = self.sessions.row(call.session()) else {
            return;
        };
        // Nobody else hears of the call of an operator who looks.
        if row.is_preview() {
            return;
        }
        match self.read_call(&call.id).await {
            Ok(Some(CallRecord::Over)) => row.end(EndReason::ClientClosed),
            Ok(Some(CallRecord::Stands(record))) => {
                call.carried_by(&record.carrier);
                let heard =
                    row.bytes(Direction::ToOrigin) > 0 || self.registry.bindings().is_open(call);
                if record.carrier != self.id && !heard {
                    row.end(EndReason::Elsewhere);
                }
            }
            // It ran out while the store was away, or was never there.
            Ok(None) => self.tell_of_call(call).await,
            Err(error) => debug!(session = call.session(), %error, "a call is not looked up"),
        }
    }

    async fn write_call(&self, call: &Call, checks: &[Check]) -> Result<(), StoreError> {
        let (Some(key), Some(member)) = (call_key(&call.id), self.registry.member(&call.origin))
        else {
            return Ok(());
        };
        let fragments = call.offered.iter().map(|credentials| {
            let fragment = credentials.as_ref().map(|both| &both.fragment);
            fragment.cloned()
        });
        let record = CallRecord::Stands(Box::new(StandingCall {
            carrier: call.carrier(),
            client: call.client.socket(),
            action: call.action,
            bare_tags: call.bare_tags,
            authorized: call.authorized,
            fragments: fragments.collect(),
            media: call.media,
            origin: srs::server_key(&member.origin),
            resource: call.resource.clone(),
            stream: call.stream.clone(),
        }));
        // The call first: a proxy that finds a check looks for its call.
        let put = self.store.put(&key, &record.text(), LIFETIME).await;
        self.noted("put", put)?;
        let stream = self.terms.vhosts.key(&call.stream);
        for check in checks {
            let Some(key) = check_key(check.username.as_bytes()) else {
                continue;
            };
            let record = check_record(&stream, check, &call.id);
            let put = self.store.put(&key, &record, LIFETIME).await;
            self.noted("put", put)?;
        }
        Ok(())
    }

    async fn read_call(&self, id: &str) -> Result<Option<CallRecord>, StoreError> {
        let Some(key) = call_key(id) else {
            return Ok(None);
        };
        let read = self.noted("get", self.store.get(&key).await)?;
        Ok(read.and_then(|record| CallRecord::parse(&record)))
    }

    async fn read_check(&self, key: &str) -> Option<Arc<Binding>> {
        let read = self.store.get(key).await;
        let record = self.noted("get", read).ok().flatten()?;
        let CheckRecord { call: id, password } = parse_check_record(&record)?;
        let check = Check {
            username: key.strip_prefix(CHECK)?.to_owned(),
            password,
        };
        let call = match self.registry.bindings().call(&id) {
            // It is here, and another proxy took its ICE restart.
            Some(call) => {
                self.registry.bindings().add(&call, &[check]);
                let username = key.strip_prefix(CHECK)?;
                return self.registry.bindings().binding(username.as_bytes());
            }
            None => match self.read_call(&id).await {
                Ok(Some(CallRecord::Stands(record))) => self.call_of(&id, *record).await?,
                Ok(Some(CallRecord::Over) | None) | Err(_) => return None,
            },
        };
        call.learn(&check);
        Some(Arc::new(Binding::new(call, &check)))
    }

    /// A call as this proxy needs it; `None` where its origin is not known here, or its media would go to an address
    /// that no origin may have: anybody who can write to the store could send it anywhere.
    async fn call_of(&self, id: &str, record: StandingCall) -> Option<Arc<Call>> {
        let origin = self.origin_at(&record.origin).await?;
        let media = Host::Ip(record.media.ip());
        if let Err(error) = self.terms.rules.check(&media) {
            warn!(%origin, %error, "a call in the store has media at an address that is refused");
            return None;
        }
        let api = self.registry.target(&origin, Service::Api)?;
        let credentials = |fragment: String| Credentials {
            fragment,
            // Nobody needs the client's password but the origin, which has it.
            password: String::new(),
        };
        let offered = record.fragments.into_iter();
        Some(Arc::new(Call {
            id: id.to_owned(),
            stream: record.stream,
            action: record.action,
            client: record.client.into(),
            origin,
            api,
            resource: record.resource,
            media: record.media,
            bare_tags: record.bare_tags,
            authorized: record.authorized,
            offered: offered.map(|fragment| fragment.map(credentials)).collect(),
            shared: CallState::new(Vec::new(), &record.carrier),
        }))
    }
}

/// How long a call is known that nobody renews: as long as with the SRS proxy. Its client has half a minute to come.
const LIFETIME: Duration = Duration::from_secs(120);
/// Longer than any proxy goes on without a look.
const OVER_FOR: Duration = Duration::from_secs(60);
/// The lifetime of calls is renewed once in this many looks.
const RENEW_ROUNDS: u64 = 3;
/// Look-ups under way at once.
const MOST_ASKED: usize = 1_024;
/// Names known to be nobody's.
const MOST_ABSENT: usize = 16_384;
/// A binding may be on its way to the store while its client asks.
const ABSENT_FOR: Duration = Duration::from_millis(500);
