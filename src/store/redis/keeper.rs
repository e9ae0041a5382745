//! The task that keeps a connection to Redis. It connects, listens for changes, notices when the connection is no
//! longer usable, and connects again.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::{AsyncPushSender, SendError};
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisResult, Value};

use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

use super::Topology;
use super::client::Inner;
use super::link::{Connection, Connector};
use crate::store::Change;

/// Starts the task; it ends when the guard is dropped.
pub(super) fn keep(shared: Arc<Inner>, connector: Connector) -> DropGuard {
    let stop = CancellationToken::new();
    let guard = stop.clone().drop_guard();
    tokio::spawn(async move {
        tokio::select! {
            () = serve(&shared, connector) => {}
            () = stop.cancelled() => shared.set_link(None),
        }
    });
    guard
}

async fn serve(shared: &Arc<Inner>, mut connector: Connector) {
    let mut failures = 0;
    loop {
        match connect(shared, &mut connector).await {
            Ok(link) => {
                let began = Instant::now();
                info!(store = %shared.address, "connected to the store");
                shared.set_link(Some(link.clone()));
                // Changes before this moment were not heard.
                let _ = shared.changes.send(Change::Anything);
                let why = until_broken(shared, link).await;
                shared.set_link(None);
                let _ = shared.changes.send(Change::Anything);
                warn!(store = %shared.address, why, "lost the store: known streams go on from memory");
                // One that is lost at once is not asked for everything again and again.
                failures = match began.elapsed() < LONGEST_PAUSE {
                    true => failures + 1,
                    false => 0,
                };
            }
            Err(error) => {
                if failures == 0 {
                    warn!(store = %shared.address, %error, "the store cannot be reached; trying again");
                }
                failures += 1;
            }
        }
        sleep(pause(failures)).await;
    }
}

async fn connect(shared: &Arc<Inner>, connector: &mut Connector) -> Result<Connection, String> {
    let pushes = Pushes {
        shared: Arc::clone(shared),
    };
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        // Calls have their own deadline.
        .set_response_timeout(None)
        .set_push_sender(pushes);
    let ready = async {
        let mut link = connector.connect(config).await?;
        watch(shared, &mut link).await?;
        check(shared, &mut link).await?;
        takes_writes(shared, &mut link).await?;
        RedisResult::Ok(link)
    };
    match timeout(CONNECT * 3, ready).await {
        Ok(Ok(link)) => {
            // Discard an old notification, which is not about this connection.
            let _ = timeout(Duration::ZERO, shared.broken.notified()).await;
            Ok(link)
        }
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it took too long".to_owned()),
    }
}

/// Asks the server to announce what other clients change (client tracking in broadcast mode, Redis 6).
async fn watch(shared: &Inner, link: &mut Connection) -> RedisResult<()> {
    if shared.address.topology == Topology::Cluster || shared.options.watched.is_empty() {
        return Ok(());
    }
    let mut tracking = redis::cmd("CLIENT");
    tracking
        .arg("TRACKING")
        .arg("ON")
        .arg("BCAST")
        .arg("NOLOOP");
    for prefix in &shared.options.watched {
        tracking.arg("PREFIX").arg(shared.prefixed(prefix));
    }
    link.call(&tracking).await
}

/// Checks whether the server answers and accepts writes: after a fail-over the old primary is a replica.
async fn check(shared: &Inner, link: &mut Connection) -> RedisResult<()> {
    if shared.address.topology == Topology::Cluster {
        return link.call(&redis::cmd("PING")).await;
    }
    let role: RedisResult<Vec<Value>> = link.call(&redis::cmd("ROLE")).await;
    let role = match role {
        // An access list may forbid this question.
        Err(error) if error.code() == Some("NOPERM") => return Ok(()),
        role => role?,
    };
    let primary = matches!(role.first(), Some(Value::BulkString(role)) if role == b"master");
    if primary {
        return Ok(());
    }
    Err((
        redis::ErrorKind::Client,
        "it is a replica, and the primary is not known yet",
    )
        .into())
}

/// Checks whether the server takes a write of ours: one whose memory or disk is full, or that misses its replicas, refuses all of
/// them, and its access list may refuse scripts, keys or writes to our user. The primaries of a cluster may differ in that, and
/// each call says it for its own.
async fn takes_writes(shared: &Inner, link: &mut Connection) -> RedisResult<()> {
    if shared.address.topology == Topology::Cluster {
        return Ok(());
    }
    // In a script, as claims are.
    let mut write = redis::cmd("EVAL");
    write.arg(WRITE).arg(1).arg(shared.prefixed(WRITTEN));
    write.arg(WRITTEN_LIVES_MS);
    link.call(&write).await
}

async fn until_broken(shared: &Inner, mut link: Connection) -> &'static str {
    loop {
        tokio::select! {
            () = shared.broken.notified() => return "a call failed or took too long, or the server refuses what is asked",
            () = sleep(CHECK) => {}
        }
        match timeout(CONNECT, check(shared, &mut link)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return "it does not answer as a primary",
            Err(_) => return "it does not answer",
        }
    }
}

/// Receives what a server sends without a request.
struct Pushes {
    shared: Arc<Inner>,
}

impl AsyncPushSender for Pushes {
    fn send(&self, push: PushInfo) -> Result<(), SendError> {
        match push.kind {
            PushKind::Disconnection => self.shared.broken.notify_one(),
            PushKind::Invalidate => self.invalidated(&push.data),
            _ => {}
        }
        Ok(())
    }
}

impl Pushes {
    /// Handles a list of changed keys; nil means that the whole database was flushed.
    fn invalidated(&self, data: &[Value]) {
        let Some(Value::Array(keys)) = data.first() else {
            let _ = self.shared.changes.send(Change::Anything);
            return;
        };
        for key in keys {
            if let Value::BulkString(key) = key
                && let Ok(key) = str::from_utf8(key)
            {
                let key = self.shared.without_prefix(key);
                let _ = self.shared.changes.send(Change::Key(key));
            }
        }
    }
}

/// A pause that doubles, with a random part, so that a fleet of proxies does not come back at the same moment.
fn pause(failures: u32) -> Duration {
    let mut byte = [0; 1];
    let _ = getrandom::fill(&mut byte);
    let longest = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(8))).min(LONGEST_PAUSE);
    longest / 2 + longest / 2 * u32::from(byte[0]) / 255
}

const WRITE: &str = "redis.call('SET', KEYS[1], '', 'PX', ARGV[1])";
/// A key that says nothing.
const WRITTEN: &str = "sluicegate:written";
const WRITTEN_LIVES_MS: u64 = 1;
const CONNECT: Duration = Duration::from_secs(1);
const CHECK: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
