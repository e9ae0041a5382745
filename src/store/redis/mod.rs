//! The store of several proxies: Redis, or Valkey. One server, Sentinel, or Cluster.
//!
//! A call never waits for a connection: while there is none it fails at once, and a keeper in the background brings the
//! connection back. A call that takes longer than its patience fails, and so does the connection it was made on. What
//! others change is heard of by RESP3 client tracking, where the server offers it.

mod address;
mod keeper;
mod link;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::{Cmd, FromRedisValue, Script};
use tokio::sync::{Notify, broadcast};
use tokio::time::timeout;
use tokio_util::sync::DropGuard;

pub use address::{Address, AddressError, Server, Tls, Topology};

use self::link::{Link, Node};
use super::{Change, Claim, Store, StoreError};
use crate::bell;

/// A connection to one Redis, and the task that keeps it.
#[derive(Debug)]
pub struct Redis {
    shared: Arc<Shared>,
    _keeper: DropGuard,
}

/// How a [`Redis`] is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Stands, with a colon, before every key; may be empty.
    pub prefix: String,
    /// How long a call may take.
    pub patience: Duration,
    /// Keys that begin so are watched for changes by others.
    pub watched: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    address: Address,
    options: Options,
    // A std mutex: it is held to clone the link, never across an await.
    link: Mutex<Option<Link>>,
    /// Rung when the link is of no use any more.
    broken: Notify,
    /// Rung when there is a link again.
    mended: Notify,
    changes: broadcast::Sender<Change>,
    claim: Script,
}

impl Redis {
    /// Begins to connect, in a task of the current runtime; the task ends when this is dropped.
    ///
    /// # Errors
    /// When the certificates cannot be read, in words. A server that cannot be reached is no error: it may come.
    pub fn open(address: Address, options: Options) -> Result<Self, String> {
        // Whoever was first has installed the same one.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let connector = link::Connector::new(&address)?;
        let shared = Arc::new(Shared {
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

    /// What other clients change from now on. One that falls behind has to take it as [`Change::Anything`].
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    /// Whether changes by others are told of.
    pub fn tells_of_changes(&self) -> bool {
        self.shared.address.topology != Topology::Cluster
    }

    /// A key without what is written around it in the Redis; the inverse of [`whole_key`](Self::whole_key).
    pub fn bare_key(&self, key: &str) -> String {
        self.shared.without_prefix(key)
    }

    /// A key as it stands in the Redis, with its prefix.
    pub fn whole_key(&self, key: &str) -> String {
        self.key(key)
    }

    /// Adds a key, as it stands in the Redis, to the JSON array under `list`, if it is not in it. The array lives for
    /// ever, and it is the one the SRS proxy rewrites as a whole: whoever was lost by that is added again.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn add_to_list(&self, list: &str, key: &str) -> Result<(), StoreError> {
        self.edit_list(ADD_TO_LIST, list, key).await
    }

    /// Removes a key, and takes it out of the JSON array under `list`.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn take_from_list(&self, list: &str, key: &str) -> Result<(), StoreError> {
        self.call::<()>(Cmd::del(self.key(key))).await?;
        self.edit_list(TAKE_FROM_LIST, list, key).await
    }

    /// The keys in the JSON array under `list` that live, with their values.
    ///
    /// # Errors
    /// [`StoreError`]
    pub async fn in_list(&self, list: &str) -> Result<Vec<(String, String)>, StoreError> {
        let array = self.get(list).await?.unwrap_or_default();
        // Nonsense is no list; whoever adds to it next begins a new one.
        let keys: Vec<String> = serde_json::from_str(&array).unwrap_or_default();
        let mut rows = Vec::new();
        for keys in keys.chunks(PAGE) {
            self.values(keys, &mut rows).await?;
        }
        Ok(rows)
    }

    /// Every living key that begins with one of `prefixes`, and its value: one walk over all keys.
    ///
    /// # Errors
    /// [`StoreError`], also while a part of the keys cannot be asked for.
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
        // A scan may show a key twice.
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

    /// Runs `work` on the link within our patience, and gives the link up if it fails.
    async fn within<T>(
        &self,
        work: impl AsyncFnOnce(&mut Link) -> redis::RedisResult<T>,
    ) -> Result<T, StoreError> {
        let Some(mut link) = self.shared.link() else {
            let address = &self.shared.address;
            return Err(StoreError::Unreachable(format!(
                "no connection to {address}"
            )));
        };
        let patience = self.shared.options.patience;
        match timeout(patience, work(&mut link)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(self.shared.failed(&error)),
            Err(_) => {
                self.shared.broken.notify_one();
                let words = format!("no answer within {} ms", patience.as_millis());
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
        // Most pages of a scan hold no match.
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

impl Shared {
    fn link(&self) -> Option<Link> {
        self.link
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_link(&self, link: Option<Link>) {
        let mended = link.is_some();
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
        if mended {
            self.mended.notify_waiters();
        }
    }

    fn failed(&self, error: &redis::RedisError) -> StoreError {
        let of_link = error.is_io_error()
            || error.is_connection_dropped()
            || error.is_unrecoverable_error()
            || matches!(
                error.code(),
                Some("READONLY" | "LOADING" | "MASTERDOWN" | "CLUSTERDOWN")
            );
        if of_link {
            self.broken.notify_one();
            StoreError::Unreachable(error.to_string())
        } else {
            StoreError::Broken(error.to_string())
        }
    }

    /// In a cluster the part behind the kind of key is its hash tag, so that a key and its fence share a slot.
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

    fn prefixed(&self, key: &str) -> String {
        match self.options.prefix.as_str() {
            "" => key.to_owned(),
            prefix => format!("{prefix}:{key}"),
        }
    }

    /// The key as callers know it.
    fn without_prefix(&self, key: &str) -> String {
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

/// A glob that matches what begins with any of `prefixes`, and little else: what they have in common, and how each goes
/// on.
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
    // One of them may be what all have in common.
    if next.len() < prefixes.len() || next.is_empty() {
        return format!("{pattern}*");
    }
    let next: String = next.into_iter().collect();
    format!("{pattern}[{}]*", escaped(&next))
}

/// A glob that matches `text` itself.
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

/// First writer wins. `KEYS`: the claim and its fence. `ARGV`: the value, what is expected to stand, the lifetime in
/// milliseconds. Returns what stands, its fence, and whether the claim was won. Who claims what stands already never
/// shortens its life: another proxy may have a publisher on it, and the SRS proxy's never end.
/// A life that has three quarters of its time left is let be: a new one would be told to every proxy, and those that hold
/// the stream would read it again, for nothing.
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

/// `KEYS`: a key and its fence. `ARGV`: their lifetimes in milliseconds. No life gets shorter, and as with claims, one
/// that has three quarters left is let be: of all the proxies that hold a stream, one renews it.
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
/// Keys in one step of a listing or a renewal.
const PAGE: usize = 500;
/// Changes that wait for a reader; one that is further behind reads everything again.
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
