//! A connection to a Redis, and the store on it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Script};
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

use super::link::{Connection, Connector, Node};
use super::{Address, Options, Topology, keeper};
use crate::bell;
use crate::store::{Change, Claim, Store, StoreError};

/// A connection to one Redis, and the task that keeps it.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Inner>,
    _keeper: DropGuard,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) address: Address,
    pub(super) options: Options,
    // A std mutex: it is held to clone the link, never across an await.
    link: Mutex<Option<Connection>>,
    /// Notified when the link is no longer usable.
    pub(super) broken: Notify,
    /// Notified when there is a link again.
    mended: Notify,
    pub(super) changes: broadcast::Sender<Change>,
    claim: Script,
}

impl Redis {
    /// Starts connecting, in a task of the current runtime. The task ends when this is dropped.
    ///
    /// # Errors
    /// A description, when the certificates cannot be read. A server that cannot be reached is not an error: it may
    /// come up later.
    pub fn open(address: Address, options: Options) -> Result<Self, String> {
        // Ignore the error: an earlier caller has already installed the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connector = Connector::new(&address)?;
        let shared = Arc::new(Inner {
            address,
            options,
            link: Mutex::default(),
            broken: Notify::new(),
            mended: Notify::new(),
            changes: broadcast::channel(CHANGES).0,
            claim: Script::new(CLAIM),
        });
        let keeper = keeper::keep(Arc::clone(&shared), connector);
        Ok(Self {
            shared,
            _keeper: keeper,
        })
    }

    /// Whether there is a connection now.
    pub fn is_reachable(&self) -> bool {
        self.shared.link().is_some()
    }

    /// Resolves when there is a connection.
    pub async fn reachable(&self) {
        bell::once(&self.shared.mended, || self.is_reachable().then_some(())).await;
    }

    /// Subscribes to changes by other clients. A reader that falls behind has to treat that as [`Change::Anything`].
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    /// Whether the server announces changes by others.
    pub fn tells_of_changes(&self) -> bool {
        self.shared.address.topology != Topology::Cluster
    }

    /// A key without the prefix of this Redis; the inverse of [`whole_key`](Self::whole_key).
    pub fn bare_key(&self, key: &str) -> String {
        self.shared.without_prefix(key)
    }

    /// A key as it is in the Redis, with its prefix.
    pub fn whole_key(&self, key: &str) -> String {
        self.key(key)
    }

    /// Adds a key, as it is in the Redis, to the JSON array under `list`, if it is not in it. The array never expires.
    /// The SRS proxy rewrites the same array as a whole, so a key that was lost by that is added again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn add_to_list(&self, list: &str, key: &str) -> Result<(), StoreError> {
        self.edit_list(ADD_TO_LIST, list, key).await
    }

    /// Removes a key, also from the JSON array under `list`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn take_from_list(&self, list: &str, key: &str) -> Result<(), StoreError> {
        self.call::<()>(Cmd::del(self.key(key))).await?;
        self.edit_list(TAKE_FROM_LIST, list, key).await
    }

    /// The live keys in the JSON array under `list`, with their values.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn in_list(&self, list: &str) -> Result<Vec<(String, String)>, StoreError> {
        let array = self.get(list).await?.unwrap_or_default();
        // A value that is not a list counts as an empty one; the next key that is added replaces it.
        let keys: Vec<String> = serde_json::from_str(&array).unwrap_or_default();
        let mut rows = Vec::new();
        for keys in keys.chunks(PAGE) {
            self.values(keys, &mut rows).await?;
        }
        Ok(rows)
    }

    /// Every live key that begins with one of `prefixes`, and its value: one scan over all keys.
    ///
    /// # Errors
    /// [`StoreError`], also while a part of the keys cannot be read.
    pub async fn list_all(&self, prefixes: &[&str]) -> Result<Vec<(String, String)>, StoreError> {
        let prefixes: Vec<String> = prefixes
            .iter()
            .map(|prefix| self.shared.listed(prefix))
            .collect();
        let pattern = pattern_of(&prefixes);
        let nodes = self.within(async |link| link.primaries().await).await?;
        let Some(nodes) = nodes else {
            let words = "a primary of the cluster cannot be asked now".to_owned();
            return Err(StoreError::Unreachable(words));
        };
        let mut rows = Vec::new();
        for node in nodes {
            let mut cursor = 0;
            loop {
                let (next, mut keys) = self.page(&pattern, node.as_ref(), cursor).await?;
                keys.retain(|key| prefixes.iter().any(|prefix| key.starts_with(prefix)));
                self.values(&keys, &mut rows).await?;
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        // A scan may return a key twice.
        rows.sort();
        rows.dedup_by(|one, other| one.0 == other.0);
        Ok(rows)
    }

    async fn edit_list(&self, script: &str, list: &str, key: &str) -> Result<(), StoreError> {
        let script = Script::new(script);
        let mut edit = script.key(self.key(list));
        edit.arg(self.key(key));
        self.within(async |link| link.invoke(&edit).await).await
    }

    async fn call<T: FromRedisValue>(&self, command: Cmd) -> Result<T, StoreError> {
        self.within(async |link| link.call(&command).await).await
    }

    /// Runs `work` on the link within the time limit, and gives up the link if it fails.
    async fn within<T>(
        &self,
        work: impl AsyncFnOnce(&mut Connection) -> redis::RedisResult<T>,
    ) -> Result<T, StoreError> {
        let Some(mut link) = self.shared.link() else {
            let address = &self.shared.address;
            return Err(StoreError::Unreachable(format!(
                "no connection to {address}"
            )));
        };
        let time_limit = self.shared.options.time_limit;
        match timeout(time_limit, work(&mut link)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.shared.failed(&error)),
            Err(_) => {
                self.shared.broken.notify_one();
                let words = format!("no answer within {} ms", time_limit.as_millis());
                Err(StoreError::Unreachable(words))
            }
        }
    }

    fn key(&self, key: &str) -> String {
        self.shared.key(key)
    }

    async fn page(
        &self,
        pattern: &str,
        node: Option<&Node>,
        cursor: u64,
    ) -> Result<(u64, Vec<String>), StoreError> {
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(pattern)
            .arg("COUNT")
            .arg(PAGE);
        self.within(async |link| link.call_at(node, &scan).await)
            .await
    }

    async fn values(
        &self,
        keys: &[String],
        rows: &mut Vec<(String, String)>,
    ) -> Result<(), StoreError> {
        // Most pages of a scan have no match.
        if keys.is_empty() {
            return Ok(());
        }
        let values: Vec<Option<String>> = self
            .within(async |link| link.each(keys.iter().map(Cmd::get)).await)
            .await?;
        for (key, value) in keys.iter().zip(values) {
            if let Some(value) = value {
                rows.push((self.shared.without_prefix(key), value));
            }
        }
        Ok(())
    }
}

impl Store for Redis {
    async fn claim(
        &self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        ttl: Duration,
    ) -> Result<Claim, StoreError> {
        let shared = &self.shared;
        let mut claim = shared.claim.key(shared.key(key));
        claim
            .key(shared.fence_of(key))
            .arg(value)
            .arg(expected.unwrap_or_default())
            .arg(millis(ttl));
        let (value, fence, won) = self.within(async |link| link.invoke(&claim).await).await?;
        Ok(Claim { value, fence, won })
    }

    async fn get(&self, key: &str) -> Result<Option<String>, StoreError> {
        self.call(Cmd::get(self.key(key))).await
    }

    async fn put(&self, key: &str, value: &str, ttl: Duration) -> Result<(), StoreError> {
        self.call(Cmd::pset_ex(self.key(key), value, millis(ttl)))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Vec<(String, String)>, StoreError> {
        self.list_all(&[prefix]).await
    }

    async fn renew(&self, keys: &[String], ttl: Duration) -> Result<(), StoreError> {
        for keys in keys.chunks(PAGE) {
            let renewals = keys.iter().map(|key| {
                let mut renewal = redis::cmd("EVAL");
                renewal.arg(RENEW).arg(2).arg(self.key(key));
                // The fence outlives its key, so that a claim after a gap still gets a greater one.
                let fence = self.shared.fence_of(key);
                renewal.arg(fence).arg(millis(ttl)).arg(FENCE);
                renewal
            });
            let _: Vec<u8> = self.within(async |link| link.each(renewals).await).await?;
        }
        Ok(())
    }

    async fn remove(&self, key: &str, value: &str) -> Result<(), StoreError> {
        let script = Script::new(REMOVE);
        let mut remove = script.key(self.key(key));
        remove.arg(value);
        self.within(async |link| link.invoke(&remove).await).await
    }
}

impl Inner {
    fn link(&self) -> Option<Connection> {
        self.link
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_link(&self, link: Option<Connection>) {
        let mended = link.is_some();
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        if mended {
            self.mended.notify_waiters();
        }
    }

    fn failed(&self, error: &redis::RedisError) -> StoreError {
        let takes_no_write = matches!(
            error.code(),
            Some("MISCONF" | "NOREPLICAS" | "OOM" | "NOPERM")
        ) || error.to_string().contains(NOT_IN_SCRIPTS);
        let of_link = error.is_io_error()
            || error.is_connection_dropped()
            || error.is_unrecoverable_error()
            || matches!(
                error.code(),
                Some("READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN")
            );
        match (takes_no_write, &self.address.topology) {
            // The other primaries may take writes.
            (true, Topology::Cluster) => StoreError::Full(error.to_string()),
            (false, _) if !of_link => StoreError::Broken(error.to_string()),
            _ => {
                self.broken.notify_one();
                StoreError::Unreachable(error.to_string())
            }
        }
    }

    /// In a cluster, what follows the prefix of the key is its hash tag, so that a key and its fence are in one slot.
    fn key(&self, key: &str) -> String {
        let key = match (
            self.address.topology == Topology::Cluster,
            key.split_once(':'),
        ) {
            (true, Some((kind, name))) => format!("{kind}:{{{name}}}"),
            _ => key.to_owned(),
        };
        self.prefixed(&key)
    }

    fn fence_of(&self, key: &str) -> String {
        let name = key.split_once(':').map_or(key, |(_, name)| name);
        match self.address.topology {
            Topology::Cluster => self.prefixed(&format!("sluicegate-fence:{{{name}}}")),
            Topology::Sentinel(_) | Topology::Single => {
                self.prefixed(&format!("sluicegate-fence:{name}"))
            }
        }
    }

    fn listed(&self, prefix: &str) -> String {
        let prefix = match (
            self.address.topology == Topology::Cluster,
            prefix.split_once(':'),
        ) {
            (true, Some((kind, name))) => format!("{kind}:{{{name}"),
            _ => prefix.to_owned(),
        };
        self.prefixed(&prefix)
    }

    pub(super) fn prefixed(&self, key: &str) -> String {
        match self.options.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}:{key}"),
        }
    }

    /// The key as callers know it.
    pub(super) fn without_prefix(&self, key: &str) -> String {
        let prefix = self.options.prefix.as_str();
        let bare = key
            .strip_prefix(prefix)
            .and_then(|rest| {
                rest.strip_prefix(':')
                    .or_else(|| prefix.is_empty().then_some(rest))
            })
            .unwrap_or(key);
        match (
            self.address.topology == Topology::Cluster,
            bare.split_once(":{"),
        ) {
            (true, Some((kind, name))) => {
                format!("{kind}:{}", name.strip_suffix('}').unwrap_or(name))
            }
            _ => bare.to_owned(),
        }
    }
}

/// A glob that matches everything that begins with one of `prefixes`, and little else: their common start, and the next
/// character of each.
fn pattern_of(prefixes: &[String]) -> String {
    let first = prefixes.first().map_or("", String::as_str);
    let common = first
        .char_indices()
        .map(|(at, character)| &first[..at + character.len_utf8()])
        .take_while(|start| prefixes.iter().all(|prefix| prefix.starts_with(start)))
        .last()
        .unwrap_or_default();
    let next: Vec<char> = prefixes
        .iter()
        .filter_map(|prefix| prefix[common.len()..].chars().next())
        .collect();
    let pattern = escaped(common);
    // One of the prefixes may be the common start itself.
    if next.len() < prefixes.len() || next.is_empty() {
        return format!("{pattern}*");
    }
    let next: String = next.into_iter().collect();
    format!("{pattern}[{}]*", escaped(&next))
}

/// A glob that matches exactly `text`.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^' | '-') {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1)
}

/// What a server says, without a code, of a call in a script for which our user lacks the right.
const NOT_IN_SCRIPTS: &str = "The user executing the script can't";
/// The first writer wins. `KEYS`: the claim and its fence. `ARGV`: the value, the expected value, the lifetime in
/// milliseconds. Returns the current value, its fence, and whether the claim was won. A claim of the current value
/// never shortens its lifetime: another proxy may have a publisher on it, and the SRS proxy's claims have no expiry. A
/// lifetime with more than three quarters remaining is left alone: a new one would be announced to every proxy, and
/// those that hold the stream would read it again for nothing.
const CLAIM: &str = r"
local stands = redis.call('GET', KEYS[1])
if stands and stands ~= ARGV[1] and stands ~= ARGV[2] then
  return {stands, tonumber(redis.call('GET', KEYS[2]) or 0), 0}
end
local fence = tonumber(redis.call('GET', KEYS[2]) or 0)
if stands ~= ARGV[1] or fence == 0 then
  fence = redis.call('INCR', KEYS[2])
end
redis.call('PEXPIRE', KEYS[2], 172800000)
if stands ~= ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[3])
else
  local left = redis.call('PTTL', KEYS[1])
  if left >= 0 and left < tonumber(ARGV[3]) * 3 / 4 then
    redis.call('PEXPIRE', KEYS[1], ARGV[3])
  end
end
return {ARGV[1], fence, 1}
";

/// `KEYS`: a key and its fence. `ARGV`: their lifetimes in milliseconds. No lifetime is shortened. As with claims, a
/// lifetime with more than three quarters remaining is left alone: of all the proxies that hold a stream, one renews
/// it.
const RENEW: &str = r"
local left = redis.call('PTTL', KEYS[1])
if left >= 0 and left < tonumber(ARGV[1]) * 3 / 4 then
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
redis.call('PEXPIRE', KEYS[2], ARGV[2])
return 1
";

const REMOVE: &str = r"
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('DEL', KEYS[1])
end
";

const ADD_TO_LIST: &str = r"
local known, list = pcall(cjson.decode, redis.call('GET', KEYS[1]) or '[]')
if not known or type(list) ~= 'table' then list = {} end
for _, key in ipairs(list) do
  if key == ARGV[1] then return end
end
table.insert(list, ARGV[1])
redis.call('SET', KEYS[1], cjson.encode(list))
";

const TAKE_FROM_LIST: &str = r"
local known, list = pcall(cjson.decode, redis.call('GET', KEYS[1]) or '[]')
if not known or type(list) ~= 'table' then return end
local kept = {}
for _, key in ipairs(list) do
  if key ~= ARGV[1] then table.insert(kept, key) end
end
redis.call('SET', KEYS[1], #kept > 0 and cjson.encode(kept) or '[]')
";

/// Two days, as in [`CLAIM`]; twice as long as a claim that is not renewed.
const FENCE: i64 = 172_800_000;
/// Keys per step of a listing or a renewal.
const PAGE: usize = 500;
/// Maximum changes that wait for a reader; a reader that is further behind reads everything again.
const CHANGES: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_pattern_finds_all_kinds() {
        let rows: [(&str, &[&str], &str); 5] = [
            ("one kind", &["sluicegate-duty:"], r"sluicegate\-duty:*"),
            (
                "three kinds",
                &[
                    "p:sluicegate-proxy:",
                    "p:sluicegate-duty:",
                    "p:sluicegate-published:",
                ],
                r"p:sluicegate\-[pdp]*",
            ),
            ("nothing in common", &["a:", "-:"], r"[a\-]*"),
            ("one within the other", &["kind", "kindred"], "kind*"),
            ("everything", &[""], "*"),
        ];
        for (cause, prefixes, expected) in rows {
            let prefixes: Vec<String> = prefixes.iter().map(|&prefix| prefix.into()).collect();
            assert_eq!(pattern_of(&prefixes), expected, "{cause}");
        }
    }
}
