//! Publishers whose origin takes nothing more. A write that is blocked may mean load; together with silence where the
//! origin is asked, it means that the origin is lost, long before the encoder would notice: OBS gives up 15 s after
//! nothing more is read from it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use tokio::time::{MissedTickBehavior, interval};

use super::Proxy;
use crate::sessions::{Direction, Row};

/// Takes publishers from origins that take nothing more, for ever; nothing where no publisher may be held.
pub async fn run(proxy: Proxy) {
    if proxy.shared.timing.hold_publishers.is_zero() {
        return;
    }
    let mut turns = interval(LOOK_EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        turns.tick().await;
        let blocked = blocked(&proxy);
        let checks = blocked.into_iter().map(|(origin, rows)| {
            let silence = proxy.silence();
            async move {
                let speaks = silence.speaks(&origin).await;
                // One that took something meanwhile is served.
                for row in rows {
                    if is_blocked(&row, BLOCKED_AT_MOST) {
                        row.lose_leg(LegEnd::Stalled);
                    } else if !speaks && is_blocked(&row, BLOCKED_FOR) {
                        row.lose_leg(LegEnd::Silent);
                    }
                }
            }
        });
        join_all(checks).await;
    }
}

/// The publishers that may be held, by the origin that takes nothing from them.
fn blocked(proxy: &Proxy) -> BTreeMap<OriginId, Vec<Arc<Row>>> {
    let mut blocked: BTreeMap<OriginId, Vec<Arc<Row>>> = BTreeMap::new();
    let takes_nothing = |row: &Row| row.may_be_held() && is_blocked(row, ASKED_AFTER);
    for row in proxy.sessions().matching(takes_nothing) {
        if let Some(origin) = row.origin() {
            blocked.entry(origin).or_default().push(row);
        }
    }
    blocked
}

fn is_blocked(row: &Row, time: Duration) -> bool {
    row.blocked_for(Direction::ToOrigin) >= time
}

/// How often publishers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long an origin may take nothing before it is asked whether it speaks.
pub(crate) const ASKED_AFTER: Duration = Duration::from_secs(1);
/// How long one that says nothing may take nothing: pauses of busy origins are shorter.
pub(crate) const BLOCKED_FOR: Duration = Duration::from_secs(2);
/// How long one that speaks may take nothing. Meanwhile the encoder is not read, and OBS is cut 15 s after that began.
pub(crate) const BLOCKED_AT_MOST: Duration = Duration::from_secs(8);
