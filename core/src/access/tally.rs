//! How much there is of what limits count, here and at the other proxies.
//!
//! A session or a viewing is counted when it begins, by every limit that is about it, and until its ticket is given back.
//! What the other proxies count is added where they say so; they say it a moment later, so that two clients which come at
//! two proxies at the same moment may both be the last.

use std::collections::HashMap;
use std::fmt;

use super::identity::Identity;
use super::limits::{CountKey, Limit, Most};
use super::question::Question;
use crate::stream::Action;

/// All counts. Times are in milliseconds, by any clock that does not go backwards.
#[derive(Debug, Default)]
pub struct Tally {
    limits: Vec<Limit>,
    counts: HashMap<CountKey, Count>,
    held: HashMap<u64, Held>,
    next: u64,
    beginnings: HashMap<CountKey, Window>,
    failures: HashMap<CountKey, Window>,
    elsewhere: HashMap<Box<str>, HashMap<CountKey, Count>>,
    alone: bool,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Those that publish.
    pub publishers: u32,
    /// Those that watch.
    pub viewers: u32,
}

/// What a session was counted as.
#[derive(Debug)]
struct Held {
    action: Action,
    keys: Vec<CountKey>,
    /// When it began, by the limits that count how many do.
    began: Option<(u64, Vec<CountKey>)>,
}

/// How often something happened since a moment.
#[derive(Debug, Clone, Copy)]
struct Window {
    since: u64,
    count: u32,
}

/// A session that is counted until its ticket is given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// What [`Tally::leave`] takes; `None` where no limit counts it.
    pub ticket: Option<u64>,
    /// Kilobits per second that it may send, if it publishes.
    pub kbps: Option<u32>,
}

/// Which limit is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// What there is too much of.
    pub what: What,
    /// What the limit counts by: `stream`, `viewer`, …
    pub per: &'static str,
    /// Milliseconds after which it may be asked again.
    pub after: u64,
}

/// What there may be too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Requests that show something wrong.
    Failures,
    /// Sessions that begin.
    New,
    /// Publishers.
    Publishers,
    /// Publishers and viewers together.
    Sessions,
    /// Viewers.
    Viewers,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Failures => "failed requests",
            What::New => "new sessions at once",
            What::Publishers => "publishers",
            What::Sessions => "sessions",
            What::Viewers => "viewers",
        };
        write!(f, "too many {what} for this {}", self.per)
    }
}

impl Tally {
    /// Whether nothing is limited, so that nothing need be counted.
    pub fn is_idle(&self) -> bool {
        self.limits.is_empty()
    }

    /// Takes other limits. A session that is counted already stays under the old ones until the shell
    /// [adopts](Self::adopt) it again.
    pub fn take(&mut self, limits: Vec<Limit>) {
        self.limits = limits;
    }

    /// Whether a request may be judged at all: not where too many like it failed in the last minute.
    ///
    /// # Errors
    /// [`Exceeded`]
    pub fn may_ask(&self, question: &Question<'_>, now: u64) -> Result<(), Exceeded> {
        let nobody = Identity::default();
        for limit in &self.limits {
            let Some(most) = limit.most.failures_per_minute else {
                continue;
            };
            let window = limit
                .count_of(question, &nobody)
                .and_then(|key| self.failures.get(&key));
            if let Some(window) = window
                && window.count_at(now, MINUTE) >= most
            {
                return Err(Exceeded {
                    what: What::Failures,
                    per: limit.per().name(),
                    after: (window.since + MINUTE).saturating_sub(now),
                });
            }
        }
        Ok(())
    }

    /// A request showed something wrong.
    pub fn failed(&mut self, question: &Question<'_>, now: u64) {
        let nobody = Identity::default();
        let counted = self
            .limits
            .iter()
            .filter(|limit| limit.most.failures_per_minute.is_some());
        let mut keys: Vec<CountKey> = counted
            .filter_map(|limit| limit.count_of(question, &nobody))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        for key in keys {
            happened(&mut self.failures, key, now, MINUTE);
        }
    }

    /// Counts a session that begins, unless a limit is in the way. `names` is the request by each name of its stream. `own` is what the verdict on it said, which counts by
    /// the viewer, or for this session alone where the viewer is not known.
    ///
    /// # Errors
    /// [`Exceeded`]; nothing is counted then.
    pub fn enter(
        &mut self,
        names: &[Question<'_>],
        who: &Identity,
        own: Option<&Most>,
        now: u64,
    ) -> Result<Counted, Exceeded> {
        for (key, most, per) in self.about(names, who, own) {
            self.has_room(key, &most, per, action_of(names))?;
            if let Some(limit) = most.new_per_second
                && let Some(window) = self.beginnings.get(&key)
                && window.count_at(now, SECOND) >= limit
            {
                return Err(Exceeded {
                    what: What::New,
                    per,
                    after: (window.since + SECOND).saturating_sub(now),
                });
            }
        }
        let about = self.about(names, who, own);
        let paced = about
            .iter()
            .filter(|(_, most, _)| most.new_per_second.is_some());
        let mut paced: Vec<CountKey> = paced.map(|(key, ..)| *key).collect();
        paced.sort_unstable();
        paced.dedup();
        for key in &paced {
            happened(&mut self.beginnings, *key, now, SECOND);
        }
        let began = (!paced.is_empty()).then_some((now, paced));
        Ok(self.hold(names, who, own, began))
    }

    /// Counts a session that is there already, whatever the limits say.
    pub fn adopt(&mut self, names: &[Question<'_>], who: &Identity, own: Option<&Most>) -> Counted {
        self.hold(names, who, own, None)
    }

    fn hold(
        &mut self,
        names: &[Question<'_>],
        who: &Identity,
        own: Option<&Most>,
        began: Option<(u64, Vec<CountKey>)>,
    ) -> Counted {
        let action = action_of(names);
        let about = self.about(names, who, own);
        let kbps = about
            .iter()
            .filter_map(|(_, most, _)| most.publish_kbps)
            .min()
            .filter(|_| action == Action::Publish);
        let mut keys: Vec<CountKey> = about
            .iter()
            .filter(|(_, most, _)| most.counts())
            .map(|(key, ..)| *key)
            .collect();
        // Two limits may count the same by one key.
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() && began.is_none() {
            return Counted { ticket: None, kbps };
        }
        for key in &keys {
            let count = self.counts.entry(*key).or_default();
            *count.of(action) = count.of(action).saturating_add(1);
        }
        self.next += 1;
        let held = Held {
            action,
            keys,
            began,
        };
        self.held.insert(self.next, held);
        Counted {
            ticket: Some(self.next),
            kbps,
        }
    }

    /// The session of this ticket is over.
    pub fn leave(&mut self, ticket: u64) {
        let Some(held) = self.held.remove(&ticket) else {
            return;
        };
        for key in held.keys {
            if let Some(count) = self.counts.get_mut(&key) {
                *count.of(held.action) = count.of(held.action).saturating_sub(1);
                if *count == Count::default() {
                    self.counts.remove(&key);
                }
            }
        }
    }

    /// The session of this ticket came to nothing: it has not even begun. A client that waits for a stream asks again and
    /// again, and begins once.
    pub fn take_back(&mut self, ticket: u64) {
        let began = self
            .held
            .get_mut(&ticket)
            .and_then(|held| held.began.take());
        if let Some((at, keys)) = began {
            for key in keys {
                // A window that opened since does not count it.
                if let Some(window) = self.beginnings.get_mut(&key)
                    && window.since <= at
                {
                    window.count = window.count.saturating_sub(1);
                }
            }
        }
        self.leave(ticket);
    }

    /// What is counted here, for the others; the largest counts first, so that those come through that limits are near to.
    pub fn counts(&self) -> Vec<(CountKey, Count)> {
        let mut all: Vec<_> = self
            .counts
            .iter()
            .map(|(key, count)| (*key, *count))
            .collect();
        all.sort_unstable_by_key(|(key, count)| (std::cmp::Reverse(count.total()), *key));
        all
    }

    /// What another source counts: a part of what one proxy said, by the name of its record; `None` where it is gone.
    pub fn heard(&mut self, source: &str, counts: Option<HashMap<CountKey, Count>>) {
        match counts {
            Some(counts)
                if self.elsewhere.len() < MOST_SOURCES || self.elsewhere.contains_key(source) =>
            {
                self.elsewhere.insert(source.into(), counts);
            }
            Some(_) => {}
            None => drop(self.elsewhere.remove(source)),
        }
    }

    /// Keeps what these sources said and forgets all others.
    pub fn heard_only(&mut self, there: impl Fn(&str) -> bool) {
        self.elsewhere.retain(|source, _| there(source));
    }

    /// Whether what the others said last counts: not while they cannot be heard.
    pub fn set_alone(&mut self, alone: bool) {
        self.alone = alone;
    }

    fn about(
        &self,
        names: &[Question<'_>],
        who: &Identity,
        own: Option<&Most>,
    ) -> Vec<(CountKey, Most, &'static str)> {
        let listed = self.limits.iter().flat_map(|limit| {
            let keys = names.iter().filter_map(|name| limit.count_of(name, who));
            keys.map(|key| (key, limit.most, limit.per().name()))
        });
        let own = own.map(|most| {
            let viewer = who
                .viewer
                .as_deref()
                .map(|viewer| CountKey::of(VERDICT, viewer));
            let alone = Most {
                publish_kbps: most.publish_kbps,
                ..Most::default()
            };
            match viewer {
                Some(key) => (key, *most, "viewer"),
                None => (CountKey(0), alone, "session"),
            }
        });
        listed.chain(own).collect()
    }

    fn has_room(
        &self,
        key: CountKey,
        most: &Most,
        per: &'static str,
        action: Action,
    ) -> Result<(), Exceeded> {
        if !most.counts() {
            return Ok(());
        }
        let there = self.total(key);
        let own = match action {
            Action::Play => (What::Viewers, most.viewers, there.viewers),
            Action::Publish => (What::Publishers, most.publishers, there.publishers),
        };
        let both = (What::Sessions, most.sessions, there.total());
        for (what, most, there) in [own, both] {
            if most.is_some_and(|most| there >= most) {
                return Err(Exceeded {
                    what,
                    per,
                    after: COME_AGAIN,
                });
            }
        }
        Ok(())
    }

    fn total(&self, key: CountKey) -> Count {
        let mut total = self.counts.get(&key).copied().unwrap_or_default();
        if !self.alone {
            for counts in self.elsewhere.values() {
                let there = counts.get(&key).copied().unwrap_or_default();
                total.publishers = total.publishers.saturating_add(there.publishers);
                total.viewers = total.viewers.saturating_add(there.viewers);
            }
        }
        total
    }
}

impl Count {
    /// Both together.
    pub const fn total(&self) -> u32 {
        self.publishers.saturating_add(self.viewers)
    }

    const fn of(&mut self, action: Action) -> &mut u32 {
        match action {
            Action::Play => &mut self.viewers,
            Action::Publish => &mut self.publishers,
        }
    }
}

impl Window {
    const fn count_at(&self, now: u64, length: u64) -> u32 {
        if now.saturating_sub(self.since) < length {
            self.count
        } else {
            0
        }
    }
}

/// What a request wants, by any of its names.
fn action_of(names: &[Question<'_>]) -> Action {
    names
        .first()
        .map_or(Action::Play, |question| question.action)
}

/// Notes that something happened. Where the table is full of what happened just now, it is not noted.
fn happened(table: &mut HashMap<CountKey, Window>, key: CountKey, now: u64, length: u64) {
    if table.len() >= MOST_WINDOWS && !table.contains_key(&key) {
        table.retain(|_, window| window.count_at(now, length) > 0);
        if table.len() >= MOST_WINDOWS {
            return;
        }
    }
    let fresh = Window {
        since: now,
        count: 0,
    };
    let window = table.entry(key).or_insert(fresh);
    if window.count_at(now, length) == 0 {
        *window = fresh;
    }
    window.count = window.count.saturating_add(1);
}

/// What names the counts of the limits that verdicts bring.
const VERDICT: &str = "verdict";
const SECOND: u64 = 1_000;
const MINUTE: u64 = 60_000;
/// When a client may come again that found all places taken.
const COME_AGAIN: u64 = 5_000;
/// Addresses, streams and others that are remembered for a second or a minute, of about 40 bytes each.
const MOST_WINDOWS: usize = 65_536;
/// Records that other proxies keep: eight of each of a hundred.
const MOST_SOURCES: usize = 800;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::credentials::Credentials;
    use crate::access::rules::Rules;
    use crate::stream::{Protocol, StreamUrl};

    fn tally(limits: serde_json::Value) -> Tally {
        let rules = Rules::read(&serde_json::json!({ "limit": limits }), &|_| Ok(())).unwrap();
        let mut tally = Tally::default();
        tally.take(rules.limits().to_vec());
        tally
    }

    struct Asks {
        stream: StreamUrl,
        action: Action,
        client: &'static str,
        who: Identity,
    }

    impl Asks {
        fn new(action: Action, stream: &str, client: &'static str, viewer: &str) -> Self {
            Self {
                stream: format!("__defaultVhost__/{stream}").parse().unwrap(),
                action,
                client,
                who: Identity::viewer(viewer),
            }
        }

        fn question<'a>(&'a self, credentials: &'a Credentials) -> Question<'a> {
            Question {
                stream: &self.stream,
                action: self.action,
                protocol: Protocol::Rtmp,
                client: self.client.parse().unwrap(),
                credentials,
            }
        }

        fn enter(&self, tally: &mut Tally, own: Option<&Most>, now: u64) -> Result<Counted, What> {
            let nothing = Credentials::default();
            let entered = tally.enter(&[self.question(&nothing)], &self.who, own, now);
            entered.map_err(|exceeded| exceeded.what)
        }
    }

    fn play(stream: &str, client: &'static str, viewer: &str) -> Asks {
        Asks::new(Action::Play, stream, client, viewer)
    }

    fn publish(stream: &str, client: &'static str) -> Asks {
        Asks::new(Action::Publish, stream, client, "")
    }

    #[test]
    fn what_each_limit_counts_by() {
        use serde_json::json;
        let first = || play("live/a", "192.0.2.1", "seven");
        let rows = [
            ("stream", play("live/a", "198.51.100.1", "eight"), true),
            ("stream", play("live/b", "192.0.2.1", "seven"), false),
            ("app", play("live/b", "198.51.100.1", "eight"), true),
            ("app", play("vod/a", "192.0.2.1", "seven"), false),
            ("vhost", play("vod/b", "198.51.100.1", "eight"), true),
            ("viewer", play("vod/b", "198.51.100.1", "seven"), true),
            ("viewer", play("live/a", "192.0.2.1", "eight"), false),
            ("viewer", play("live/a", "192.0.2.1", ""), false),
            ("key", play("live/a", "192.0.2.1", "seven"), false),
            ("address", play("vod/b", "192.0.2.1", "eight"), true),
            ("address", play("live/a", "192.0.2.2", "seven"), false),
            ("network", play("vod/b", "192.0.2.2", "eight"), true),
            ("network", play("live/a", "192.0.3.1", "seven"), false),
        ];
        for (per, second, is_same) in rows {
            let mut tally = tally(json!([{"per": per, "viewers": 1}]));
            assert!(first().enter(&mut tally, None, 0).is_ok(), "{per}");
            let outcome = second.enter(&mut tally, None, 0);
            assert_eq!(outcome.is_err(), is_same, "{per}: {}", second.stream);
        }
    }

    #[test]
    fn what_each_limit_counts() {
        use serde_json::json;
        let (one, two) = (
            publish("live/a", "192.0.2.1"),
            play("live/a", "192.0.2.2", ""),
        );
        let rows = [
            ("publishers", &one, What::Publishers),
            ("viewers", &two, What::Viewers),
            ("sessions", &one, What::Sessions),
            ("sessions", &two, What::Sessions),
        ];
        for (amount, asks, what) in rows {
            let mut tally = tally(json!([{"per": "stream", amount: 1}]));
            let counted = asks.enter(&mut tally, None, 0).unwrap();
            assert_eq!(asks.enter(&mut tally, None, 0), Err(what), "{amount}");
            tally.leave(counted.ticket.unwrap());
            assert!(
                asks.enter(&mut tally, None, 0).is_ok(),
                "{amount}: a place is free"
            );
        }
        let mut tally = tally(json!([{"per": "stream", "viewers": 0, "stream": "b"}]));
        assert!(
            two.enter(&mut tally, None, 0).is_ok(),
            "it is about another stream"
        );
        assert!(
            one.enter(&mut tally, None, 0).is_ok(),
            "publishers are not viewers"
        );

        let mut tally = self::tally(
            json!([{"per": "stream", "viewers": 2}, {"per": "stream", "publishers": 1}]),
        );
        assert!(two.enter(&mut tally, None, 0).is_ok());
        assert!(
            two.enter(&mut tally, None, 0).is_ok(),
            "two limits count it once"
        );
        assert_eq!(two.enter(&mut tally, None, 0), Err(What::Viewers));
    }

    #[test]
    fn beginnings_and_failures_count_for_a_while() {
        use serde_json::json;
        let asks = play("live/a", "192.0.2.1", "");
        let mut tally = tally(json!([
            {"per": "address", "new_per_second": 2},
            {"per": "network", "failures_per_minute": 2},
        ]));
        for _ in 0..2 {
            assert!(asks.enter(&mut tally, None, 5_000).is_ok());
        }
        assert_eq!(asks.enter(&mut tally, None, 5_999), Err(What::New));
        assert!(
            asks.enter(&mut tally, None, 6_000).is_ok(),
            "a second later"
        );

        let nothing = Credentials::default();
        let question = asks.question(&nothing);
        for now in [10_000, 20_000] {
            assert_eq!(tally.may_ask(&question, now), Ok(()));
            tally.failed(&question, now);
        }
        let exceeded = tally.may_ask(&question, 20_000).unwrap_err();
        assert_eq!((exceeded.what, exceeded.after), (What::Failures, 50_000));
        assert_eq!(tally.may_ask(&question, 70_000), Ok(()), "a minute later");
    }

    #[test]
    fn what_came_to_nothing_has_not_begun() {
        use serde_json::json;
        let asks = play("live/a", "192.0.2.1", "");
        let mut tally = tally(json!([
            {"per": "address", "new_per_second": 2},
            {"per": "stream", "viewers": 3, "new_per_second": 2},
        ]));
        let ticket = |counted: Result<Counted, What>| counted.unwrap().ticket.unwrap();
        for _ in 0..9 {
            let waiting = ticket(asks.enter(&mut tally, None, 5_000));
            tally.take_back(waiting);
        }
        let early = ticket(asks.enter(&mut tally, None, 5_000));
        assert!(asks.enter(&mut tally, None, 5_000).is_ok());
        assert_eq!(asks.enter(&mut tally, None, 5_000), Err(What::New));
        assert!(asks.enter(&mut tally, None, 6_000).is_ok());
        // What began a second ago is no room now.
        tally.take_back(early);
        tally.take_back(early);
        assert!(asks.enter(&mut tally, None, 6_000).is_ok());
        assert_eq!(asks.enter(&mut tally, None, 6_000), Err(What::New));
    }

    #[test]
    fn a_verdict_brings_limits_of_its_viewer() {
        let mut tally = Tally::default();
        let own = Most {
            sessions: Some(1),
            publish_kbps: Some(500),
            ..Most::default()
        };
        let asks = play("live/a", "192.0.2.1", "seven");
        assert!(asks.enter(&mut tally, Some(&own), 0).is_ok());
        assert_eq!(asks.enter(&mut tally, Some(&own), 0), Err(What::Sessions));
        let other = play("live/a", "192.0.2.1", "eight");
        assert!(other.enter(&mut tally, Some(&own), 0).is_ok());
        let unknown = publish("live/a", "192.0.2.1").enter(&mut tally, Some(&own), 0);
        let alone = Counted {
            ticket: None,
            kbps: Some(500),
        };
        assert_eq!(unknown, Ok(alone), "its rate is its own");
    }

    #[test]
    fn what_others_count_is_added_while_they_are_heard() {
        use serde_json::json;
        let asks = play("live/a", "192.0.2.1", "");
        let limits = || tally(json!([{"per": "stream", "viewers": 2}]));
        let (mut here, mut there) = (limits(), limits());
        asks.enter(&mut here, None, 0).unwrap();
        let counts: HashMap<_, _> = here.counts().into_iter().collect();
        there.heard("proxy/0", Some(counts));
        assert!(
            asks.enter(&mut there, None, 0).is_ok(),
            "one here, one there"
        );
        assert_eq!(asks.enter(&mut there, None, 0), Err(What::Viewers));
        there.set_alone(true);
        assert!(
            asks.enter(&mut there, None, 0).is_ok(),
            "counted here alone"
        );
        there.set_alone(false);
        there.heard("proxy/0", None);
        assert_eq!(
            asks.enter(&mut there, None, 0),
            Err(What::Viewers),
            "two here"
        );
    }

    proptest! {
        #[test]
        fn who_left_is_counted_no_more(steps in proptest::collection::vec((0..3_usize, 0..3_usize), 1..60)) {
            use serde_json::json;
            let mut tally = tally(json!([{"per": "stream", "viewers": 3}, {"per": "address", "sessions": 4}]));
            let streams = ["live/a", "live/b", "vod/a"];
            let mut inside: Vec<(usize, u64)> = Vec::new();
            for (stream, step) in steps {
                if step == 0 && !inside.is_empty() {
                    let (_, ticket) = inside.remove(0);
                    tally.leave(ticket);
                    continue;
                }
                let asks = play(streams[stream], "192.0.2.1", "");
                let of_it = inside.iter().filter(|(of, _)| *of == stream).count();
                let fits = of_it < 3 && inside.len() < 4;
                let entered = asks.enter(&mut tally, None, 0);
                prop_assert_eq!(entered.is_ok(), fits);
                if let Ok(counted) = entered {
                    inside.push((stream, counted.ticket.unwrap()));
                }
            }
            for (_, ticket) in inside {
                tally.leave(ticket);
            }
            prop_assert!(tally.counts().is_empty() && tally.held.is_empty());
        }
    }
}
