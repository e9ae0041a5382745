//! What an observer of everything sees, and what must not be.

use std::collections::{BTreeMap, BTreeSet};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::Action;

use super::proxy::{HOLD_PUBLISHERS, HOLD_VIEWERS, LIFETIME, Phase, Session};
use super::world::World;

/// What has been seen so far.
#[derive(Debug, Default)]
pub(crate) struct Check {
    pub(crate) faults: Vec<String>,
    /// How often what happened.
    pub(crate) seen: BTreeMap<&'static str, usize>,
    /// When a proxy could not ask the store last.
    away: Vec<u64>,
    /// Since when two origins have had media at once.
    split_since: Option<u64>,
    /// The proxy and the origin that had the publisher at the end, and when that was.
    used: Option<(usize, usize)>,
    left_at: u64,
    /// The proxy that placed the stream last in the store, and when.
    placed: Option<(usize, u64)>,
}

impl Check {
    fn fault(&mut self, now: u64, words: String) {
        if self.faults.len() < MOST {
            self.faults.push(format!("at {now} ms: {words}"));
        }
    }

    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    /// An encoder came back while its session was held, and was refused.
    pub(crate) fn not_found(&mut self, now: u64, place: &str) {
        self.fault(
            now,
            format!("an encoder that came back did not find its own session {place}"),
        );
    }
}

impl World {
    /// Looks at everything, after each event.
    pub(crate) fn look(&mut self) {
        let now = self.now;
        self.check.away.resize(self.proxies.len(), 0);
        let mut takers = BTreeSet::new();
        let mut excused = 0;
        for proxy in &self.proxies {
            if !proxy.is_connected || self.store.cut_off.contains(&proxy.id) {
                self.check.away[proxy.id] = now;
            }
            for (number, one) in proxy.sessions.iter().enumerate() {
                let limit = match one.action {
                    Action::Play => HOLD_VIEWERS,
                    Action::Publish => HOLD_PUBLISHERS,
                };
                if one.state == Phase::Held
                    && one
                        .without_since
                        .is_some_and(|since| (since + limit).max(one.lost_at) + 500 < now)
                {
                    let words = format!(
                        "session {number} of proxy {} is held for longer than it may be",
                        proxy.id
                    );
                    self.check.fault(now, words);
                    return;
                }
                let Some(origin) = one.origin.filter(|_| one.action == Action::Publish) else {
                    continue;
                };
                let media = &self.origins[origin];
                let takes = one.is_live
                    && one.state == Phase::Relaying
                    && media.is_up
                    && !media.silent_to.contains(&proxy.id)
                    && media.publisher == Some((proxy.id, number));
                if takes {
                    takers.insert(origin);
                    excused = excused.max(self.check.away[proxy.id]);
                }
            }
        }
        if takers.len() < 2 {
            self.check.split_since = None;
            return;
        }
        let since = *self.check.split_since.get_or_insert(now);
        let settled = SETTLES + 6 * self.slowest();
        let excused = if excused == 0 { 0 } else { excused + HEALS };
        if now > since.max(excused) + settled {
            let words = format!("split: {takers:?} take its media, since {since} ms");
            self.check.fault(now, words);
            self.check.split_since = Some(u64::MAX / 2);
        }
    }

    /// A proxy has taken the stream from an origin.
    pub(crate) fn check_taken(&mut self, by: usize, from: &OriginId) {
        self.check.placed = Some((by, self.now));
        if self.proxies[by].fleet.member(from).is_some() {
            return;
        }
        let origin = self.number_of(from).expect("an origin of this world");
        let publisher = self.origins[origin].publisher;
        let publishes = |(proxy, session): (usize, usize)| {
            let (there, one) = (&self.proxies[proxy], &self.proxies[proxy].sessions[session]);
            let is_there = one.state == Phase::Relaying && one.origin == Some(origin);
            let lasts = self
                .now
                .saturating_sub(one.joined_at.max(self.check.away[proxy]));
            is_there && one.is_live && there.is_connected && lasts > TELLS
        };
        let was_told =
            publisher.is_some_and(publishes) && !self.origins[origin].silent_to.contains(&by);
        if was_told {
            let words = format!("proxy {by} has forgotten {from}, and takes a live stream from it");
            self.check.fault(self.now, words);
        }
    }

    /// After all has been well for a while.
    pub(crate) fn check_calm(&mut self) {
        let (now, time) = (self.now, self.time());
        let mut faults = Vec::new();
        let relaying: Vec<(usize, usize)> = self
            .proxies
            .iter()
            .flat_map(|proxy| {
                let sessions = proxy.sessions.iter();
                let publishes = sessions.filter(|one| {
                    one.action == Action::Publish && one.state == Phase::Relaying && one.is_live
                });
                publishes.map(|one| (proxy.id, one.origin.expect("it relays")))
            })
            .collect();
        let wanted = self
            .clients
            .iter()
            .any(|client| client.wants && client.action == Action::Publish);
        match relaying[..] {
            [] if wanted => faults.push("nobody publishes, though all is well".to_owned()),
            [] => {}
            [(_, origin)] => {
                let id = self.origins[origin].id.clone();
                let stands = self.store.keys.get(time, self.key.as_str());
                if stands.as_deref() != Some(id.as_str()) {
                    faults.push(format!("it is on {id}, and the store says {stands:?}"));
                }
                for proxy in &self.proxies {
                    let held = proxy.shares.of(self.key.as_str());
                    let claimed = proxy.shares.claimed(time, self.key.as_str());
                    // Who asks in this moment knows nothing yet.
                    let has_asked = claimed.is_some()
                        || proxy
                            .sessions
                            .iter()
                            .any(|one| one.state == Phase::Relaying);
                    if has_asked
                        && held.is_some_and(|held| held.holders() > 0)
                        && claimed != Some(id.clone())
                    {
                        let there = proxy.id;
                        faults.push(format!("it is on {id}; proxy {there} goes by {claimed:?}"));
                    }
                    for one in &proxy.sessions {
                        let is_there = one.origin == Some(origin);
                        if one.action == Action::Play && one.state == Phase::Relaying && !is_there {
                            faults.push(format!("it is on {id}, and a player is not"));
                        }
                    }
                }
            }
            _ => faults.push(format!(
                "split: it is published {relaying:?}, all being well"
            )),
        }
        for fault in faults {
            self.check.fault(now, fault);
        }
    }

    /// Who publishes now is about to leave.
    pub(crate) fn note_used(&mut self) {
        let publishes = |one: &&Session| {
            one.action == Action::Publish && one.state == Phase::Relaying && one.is_live
        };
        let used = self.proxies.iter().find_map(|proxy| {
            let used = proxy.sessions.iter().filter(publishes);
            Some((proxy.id, used.filter_map(|one| one.origin).next()?))
        });
        self.check.used = used;
        self.check.left_at = self.now;
    }

    /// After all are gone, for longer than a claim lives without a session.
    pub(crate) fn check_end(&mut self) {
        let (now, time) = (self.now, self.time());
        let mut faults = Vec::new();
        for proxy in &self.proxies {
            let left = proxy.shares.left(time, self.key.as_str());
            if let Some(left) = left {
                let id = proxy.id;
                faults.push(format!("a claim is left at proxy {id}, for {left:?}"));
            }
            if proxy.shares.legs() > 0 {
                faults.push("a leg is left".to_owned());
            }
        }
        let stands = self.store.keys.get(time, self.key.as_str());
        let lasts = self.store.keys.left(time, self.key.as_str());
        let used = self
            .check
            .used
            .map(|(_, used)| self.origins[used].id.as_str());
        // Nobody could follow what another proxy had just said when all left.
        let was_taken = self
            .check
            .used
            .zip(self.check.placed)
            .is_some_and(|(used, placed)| {
                let settled = SETTLES + 6 * self.slowest();
                placed.0 != used.0 && placed.1 + settled > self.check.left_at
            });
        if !was_taken
            && used.is_some()
            && lasts.is_some_and(|left| left > LIFETIME)
            && stands.as_deref() != used
        {
            faults.push(format!(
                "a claim is left in the store for {stands:?}, which nobody used since {used:?}"
            ));
        }
        for fault in faults {
            self.check.fault(now, fault);
        }
    }
}

/// Faults of one world that are told.
const MOST: usize = 5;
/// How long a publisher may stay where it is after the store says that its stream is elsewhere, where messages take no time.
const SETTLES: u64 = 500;
/// How long after the store can be asked proxies say that an origin is there which they use, and a while for the message.
const TELLS: u64 = 15_000;
/// How long after the store answers again what was placed without it may stay.
const HEALS: u64 = 5_000;
