//! RTMP publishers whose origin takes nothing more, or acknowledges nothing more. A write that is blocked may mean load;
//! together with silence where the origin is asked, it means that the origin is lost, long before the encoder would
//! notice: OBS gives up 15 s after nothing more is read from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::stream::Protocol;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use super::Proxy;
use crate::sessions::{Direction, Row, State};

/// Takes publishers from origins that take nothing more, for ever; nothing where no publisher may be held.
pub async fn run(proxy: Proxy) {
    if !proxy.shared.timing.holds.hold_publishers() {
        return;
    }
    let mut turns = interval(LOOK_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        // Where there are many sessions, a look at all of them would keep the thread of this task from accepting connections.
        let looked_at = proxy.clone();
        let look = spawn_blocking(move || {
            let publishers = held_publishers(&looked_at);
            set_windows(&publishers);
            blocked(publishers)
        });
        // A panic is in the log, and ends this round alone.
        let blocked = look.await.unwrap_or_default();
        let checks = blocked.into_iter().map(|(origin, rows)| {
            let silence = proxy.silence();
            async move {
                let speaks = silence.speaks(&origin).await;
                // One that took something meanwhile is served.
                for row in rows {
                    if is_blocked(&row, BLOCKED_AT_MOST) {
                        row.lose_leg(LegEnd::Stalled);
                    } else if !speaks && is_silent(&row, BLOCKED_FOR) {
                        row.lose_leg(LegEnd::Silent);
                    }
                }
            }
        });
        join_all(checks).await;
    }
}

fn held_publishers(proxy: &Proxy) -> Vec<Arc<Row>> {
    let may_be_held = |row: &Row| row.request.protocol == Protocol::Rtmp && row.may_be_held();
    proxy.sessions().matching(may_be_held)
}

/// Those from whom their origin takes nothing, by that origin.
fn blocked(publishers: Vec<Arc<Row>>) -> BTreeMap<OriginId, Vec<Arc<Row>>> {
    let mut blocked: BTreeMap<OriginId, Vec<Arc<Row>>> = BTreeMap::new();
    for row in publishers {
        if is_silent(&row, ASKED_AFTER)
            && let Some(origin) = row.origin()
        {
            blocked.entry(origin).or_default().push(row);
        }
    }
    blocked
}

/// Whether its origin has taken or acknowledged nothing for this long.
fn is_silent(row: &Row, time: Duration) -> bool {
    row.acks_owed_for() >= time || is_blocked(row, time)
}

/// Origins are asked to acknowledge what slow publishers send: the kernels between us and an origin take seconds of it
/// before a write is blocked. From fast ones they are full soon enough, and nobody is asked.
fn set_windows(publishers: &[Arc<Row>]) {
    let is_known =
        |row: &&Arc<Row>| row.state() == State::Relaying && row.age() >= RATE_KNOWN_AFTER;
    for row in publishers.iter().filter(is_known) {
        let (bps, window) = (row.bps(Direction::ToOrigin), row.window());
        let wanted = match bps {
            0 => continue,
            bps if bps > FAST && window == 0 => continue,
            bps if bps > FAST => USUAL,
            bps => u32::try_from(bps / 8 / ACKS_A_SECOND)
                .unwrap_or(u32::MAX)
                .max(SMALLEST),
        };
        // A rate that changes little is the same one.
        if wanted / 2 > window || wanted < window / 2 {
            row.set_window(wanted);
        }
    }
}

fn is_blocked(row: &Row, time: Duration) -> bool {
    row.blocked_for(Direction::ToOrigin) >= time
}

/// How often publishers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Bits per second above which origins are not asked to acknowledge: 300 kB in the kernels are one second of it.
const FAST: u64 = 2_500_000;
/// The bytes after which servers usually want an acknowledgement themselves, for a publisher that has become fast.
const USUAL: u32 = 2_500_000;
/// Acknowledgements that are asked for in a second.
const ACKS_A_SECOND: u64 = 2;
/// Bytes in the smallest window that is asked for.
const SMALLEST: u32 = 1024;
/// How long a publisher has been there when its rate is known.
pub(super) const RATE_KNOWN_AFTER: Duration = Duration::from_secs(4);
/// How long an origin may take nothing before it is asked whether it speaks.
pub(crate) const ASKED_AFTER: Duration = Duration::from_secs(1);
/// How long one that says nothing may take nothing: pauses of busy origins are shorter.
pub(crate) const BLOCKED_FOR: Duration = Duration::from_secs(2);
/// How long one that speaks may take nothing. Meanwhile the encoder is not read, and OBS is cut 15 s after that began.
pub(crate) const BLOCKED_AT_MOST: Duration = Duration::from_secs(8);
