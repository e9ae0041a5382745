//! The rows that one proxy knows: its own and those that it heard.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::{Fact, GRACE, MOST_ROWS, REMEMBERED, Row, SILENCE, STALL, Way, Word};

/// All rows that one proxy knows. `O` identifies a proxy from its start to its end; after a restart it is another.
///
/// `now` is this machine's monotonic clock; it never goes back from call to call.
#[derive(Debug)]
pub struct Table<O> {
    me: O,
    keys: BTreeMap<String, Vec<Told<O>>>,
    /// The number of rows in `keys`.
    rows: usize,
    others: HashMap<O, Life>,
    /// The proxy's own keys that the others still have to hear of.
    unsaid: BTreeSet<String>,
    swept: Option<Instant>,
}

/// The result of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claimed {
    /// The current value.
    pub value: String,
    /// The fence of the current value.
    pub fence: u64,
    /// Whether it is the claimant's value.
    pub won: bool,
}

/// There are [`MOST_ROWS`] rows already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{MOST_ROWS} keys are known already")]
pub struct Full;

#[derive(Debug)]
struct Told<O> {
    owner: O,
    /// The number of the word; unused for own rows.
    number: u64,
    row: Row,
    /// When an own value ends, or when a row without a value is forgotten. Unused for others' values.
    until: Instant,
    /// Whether the row no longer counts, because its proxy has been silent for too long.
    lapsed: bool,
    /// If gossip does not have this word yet: what gossip has instead.
    ahead_of: Option<Option<Box<Word>>>,
}

/// What is known about another proxy's life.
#[derive(Debug)]
struct Life {
    beat: u64,
    /// When its heartbeat last moved. If it was never alive here: when it was first heard of.
    heard: Instant,
    alive: bool,
}

impl<O: Clone + Eq + Hash> Table<O> {
    /// An empty table of the proxy `me`.
    pub fn new(me: O) -> Self {
        Self {
            me,
            keys: BTreeMap::new(),
            rows: 0,
            others: HashMap::new(),
            unsaid: BTreeSet::new(),
            swept: None,
        }
    }

    /// The number of rows of all proxies, including those that ended lately.
    pub const fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    pub const fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// How many other proxies are alive, and how many are silent.
    pub fn others(&self) -> (usize, usize) {
        let alive = self.others.values().filter(|life| life.alive).count();
        (alive, self.others.len() - alive)
    }

    /// The other proxies about which something is known.
    pub fn known(&self) -> impl Iterator<Item = &O> {
        self.others.keys()
    }

    /// Whether `owner` is another proxy that is alive.
    pub fn is_alive(&self, owner: &O) -> bool {
        self.others.get(owner).is_some_and(|life| life.alive)
    }

    /// The current value of a key.
    pub fn get(&self, key: &str, now: Instant) -> Option<&str> {
        self.standing(key, now).and_then(Row::value)
    }

    /// Every key that begins with `prefix` and its current value, in order.
    pub fn list(&self, prefix: &str, now: Instant) -> Vec<(String, String)> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        self.keys
            .range::<str, _>(from)
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter_map(|(key, _)| Some((key.clone(), self.get(key, now)?.to_owned())))
            .collect()
    }

    /// Compare-and-set, as far as this proxy sees. Afterwards `value` is current if there was no value before, or
    /// `expected`, or `value` itself. `clock` is the time of day in milliseconds.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    pub fn claim(
        &mut self,
        key: &str,
        expected: Option<&str>,
        value: &str,
        lifetime: Duration,
        clock: u64,
        now: Instant,
    ) -> Result<Claimed, Full> {
        let fence = match self.standing(key, now).cloned() {
            Some(row) => {
                let stands = row.value().unwrap_or_default();
                if stands == value {
                    self.support(key, &row, lifetime, now)?;
                    return Ok(claimed(value, row.fence, true));
                }
                if expected != Some(stands) {
                    return Ok(claimed(stands, row.fence, false));
                }
                self.greatest_fence(key).saturating_add(1)
            }
            None => self.fence_where_nothing_stands(key, lifetime),
        };
        // The older claim is the senior one.
        let fact = held(lifetime, !clock, value);
        self.say(key, Row { fence, fact }, now + lifetime)?;
        Ok(claimed(value, fence, true))
    }

    /// Sets a key, whatever its value was. `clock` is the time of day in milliseconds.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    pub fn put(
        &mut self,
        key: &str,
        value: &str,
        lifetime: Duration,
        clock: u64,
        now: Instant,
    ) -> Result<(), Full> {
        let lifetime = whole_millis(lifetime);
        let me = self.me.clone();
        let same = |told: &Told<O>| {
            told.owner == me
                && told.until > now
                && matches!(&told.row.fact, Fact::Held { lifetime: written, value: stands, .. }
                    if *written == lifetime && stands == value)
        };
        let rows = self
            .keys
            .get_mut(key)
            .map(Vec::as_mut_slice)
            .unwrap_or_default();
        // If no other proxy has a row here and the same value is put again, the others need not hear of it: its own
        // proxy alone decides how long it lives.
        if let [told] = rows
            && same(told)
        {
            told.until = now + lifetime;
            return Ok(());
        }
        let fence = self.greatest_fence(key).saturating_add(1);
        let fact = held(lifetime, clock, value);
        self.say(key, Row { fence, fact }, now + lifetime)
    }

    /// Gives the current value of a key `lifetime` from now on, unless it already has longer. Without a current value,
    /// nothing happens.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    pub fn renew(&mut self, key: &str, lifetime: Duration, now: Instant) -> Result<(), Full> {
        match self.standing(key, now).cloned() {
            Some(row) => self.support(key, &row, lifetime, now),
            None => Ok(()),
        }
    }

    /// Removes a key for all proxies if its value is `value`, or whatever its value is for `None`.
    ///
    /// # Errors
    /// [`Full`]; nothing has changed then.
    pub fn remove(&mut self, key: &str, value: Option<&str>, now: Instant) -> Result<(), Full> {
        let Some(row) = self.standing(key, now) else {
            return Ok(());
        };
        if value.is_some_and(|value| row.value() != Some(value)) {
            return Ok(());
        }
        let (fence, fact) = (row.fence, Fact::Removed);
        self.say(key, Row { fence, fact }, now + REMEMBERED)
    }

    /// Takes what another proxy says about `key`. Words may be repeated, and news comes in any order. News of a proxy
    /// that is not alive here is left to gossip. Returns whether the current value changed.
    pub fn hear(&mut self, owner: &O, key: &str, word: Word, way: Way, now: Instant) -> bool {
        if *owner == self.me || (way == Way::News && !self.is_alive(owner)) {
            return false;
        }
        self.life(owner, now);
        let before = self.get(key, now).map(str::to_owned);
        let rows = self.keys.entry(key.to_owned()).or_default();
        let mut told = Told {
            owner: owner.clone(),
            number: word.number,
            row: word.row,
            until: now + REMEMBERED,
            lapsed: false,
            ahead_of: (way == Way::News).then_some(None),
        };
        match rows.iter_mut().find(|told| told.owner == *owner) {
            Some(known) if known.number >= told.number => {
                if way == Way::Gossip && known.ahead_of.is_some() {
                    known.ahead_of =
                        (known.number > told.number).then(|| Some(Box::new(told.word())));
                }
                return false;
            }
            Some(known) => {
                if let Some(ahead_of) = &mut told.ahead_of {
                    *ahead_of = match known.ahead_of.take() {
                        Some(gossiped) => gossiped,
                        None => Some(Box::new(known.word())),
                    };
                }
                *known = told;
            }
            None => {
                rows.push(told);
                self.rows += 1;
            }
        }
        self.give_way(key, now);
        self.get(key, now) != before.as_deref()
    }

    /// Takes the count of another proxy's heartbeat. If that proxy was silent, returns the keys whose current value
    /// changed.
    pub fn beat(&mut self, owner: &O, beat: u64, now: Instant) -> Vec<String> {
        if *owner == self.me {
            return Vec::new();
        }
        let life = self.life(owner, now);
        if beat <= life.beat {
            return Vec::new();
        }
        // The first heartbeat may be of a proxy that is long gone.
        let moved = life.beat != 0;
        life.beat = beat;
        if moved {
            self.hear_from(owner, now)
        } else {
            Vec::new()
        }
    }

    /// Notes that another proxy itself was heard just now. If it was silent, returns the keys whose current value
    /// changed.
    pub fn hear_from(&mut self, owner: &O, now: Instant) -> Vec<String> {
        if *owner == self.me {
            return Vec::new();
        }
        let life = self.life(owner, now);
        life.heard = now;
        if std::mem::replace(&mut life.alive, true) {
            return Vec::new();
        }
        let lapsed: Vec<String> = self
            .keys
            .iter()
            .filter(|(_, rows)| rows.iter().any(|told| told.lapsed && told.owner == *owner))
            .map(|(key, _)| key.clone())
            .collect();
        let mut changed = Vec::new();
        for key in lapsed {
            let before = self.get(&key, now).map(str::to_owned);
            for told in self.keys.get_mut(&key).into_iter().flatten() {
                if told.owner == *owner {
                    told.lapsed = false;
                }
            }
            self.give_way(&key, now);
            if self.get(&key, now) != before.as_deref() {
                changed.push(key);
            }
        }
        changed
    }

    /// Forgets another proxy and everything it said. Returns the keys whose current value changed or is gone.
    pub fn forget(&mut self, owner: &O, now: Instant) -> Vec<String> {
        let changed = self.drop_rows(|told, _| told.owner == *owner, now);
        self.others.remove(owner);
        changed
    }

    /// Drops rows that their proxies no longer have: `says` tells whether a proxy still has a word, by key and number.
    /// Returns the keys whose current value changed.
    pub fn check(&mut self, says: impl Fn(&O, &str, u64) -> bool, now: Instant) -> Vec<String> {
        let me = self.me.clone();
        self.drop_rows(
            |told, key| told.owner != me && !says(&told.owner, key, told.number),
            now,
        )
    }

    /// Lets time pass; call this several times per [`SILENCE`]. Own values end, other proxies fall silent, and what
    /// those said lapses. Returns the keys whose current value changed because of that.
    pub fn sweep(&mut self, now: Instant) -> Vec<String> {
        let stalled = self.swept.is_some_and(|swept| now - swept > STALL);
        self.swept = Some(now);
        for life in self.others.values_mut().filter(|life| life.alive) {
            if stalled {
                // Nobody could be heard: the silence was ours.
                life.heard = now;
            }
            life.alive = now - life.heard <= SILENCE;
        }
        let others = &self.others;
        let alive = |owner: &O| others.get(owner).is_some_and(|life: &Life| life.alive);
        let mut changed = Vec::new();
        let mut forgotten = 0;
        for (key, rows) in &mut self.keys {
            let mut ended = false;
            rows.retain_mut(|told| {
                let own = told.owner == self.me;
                if told.ahead_of.is_some() && !alive(&told.owner) {
                    ended = true;
                    let Some(gossiped) = told.ahead_of.take().flatten() else {
                        forgotten += 1;
                        return false;
                    };
                    told.number = gossiped.number;
                    told.row = gossiped.row;
                    told.until = now + REMEMBERED;
                }
                match &told.row.fact {
                    Fact::Held { .. } if own && told.until <= now => {
                        told.row.fact = Fact::Ended;
                        told.until = now + REMEMBERED;
                        self.unsaid.insert(key.clone());
                        ended = true;
                    }
                    Fact::Held { lifetime, .. } if !own && !told.lapsed => {
                        told.lapsed = !others
                            .get(&told.owner)
                            .is_some_and(|life| life.bears(*lifetime, now));
                        ended |= told.lapsed;
                    }
                    Fact::Ended | Fact::Removed if told.until <= now => {
                        if own {
                            self.unsaid.insert(key.clone());
                        }
                        forgotten += 1;
                        return false;
                    }
                    _ => {}
                }
                true
            });
            if ended {
                changed.push(key.clone());
            }
        }
        self.rows -= forgotten;
        self.keys.retain(|_, rows| !rows.is_empty());
        changed
    }

    /// What the others have to hear: the own keys that changed since the last call, and their rows; `None` for a key
    /// that is forgotten.
    pub fn unsaid(&mut self) -> Vec<(String, Option<Row>)> {
        let keys = std::mem::take(&mut self.unsaid);
        keys.into_iter()
            .map(|key| {
                let row = self.own(&key).map(|told| told.row.clone());
                (key, row)
            })
            .collect()
    }

    fn standing(&self, key: &str, now: Instant) -> Option<&Row> {
        self.keys
            .get(key)?
            .iter()
            .filter(|told| self.counts(told, now))
            .map(|told| &told.row)
            .max_by(|one, other| one.rank().cmp(&other.rank()))
            .filter(|row| row.value().is_some())
    }

    fn counts(&self, told: &Told<O>, now: Instant) -> bool {
        match &told.row.fact {
            Fact::Ended | Fact::Removed => told.until > now,
            Fact::Held { .. } if told.owner == self.me => told.until > now,
            Fact::Held { lifetime, .. } => {
                let life = self.others.get(&told.owner);
                !told.lapsed && life.is_some_and(|life| life.bears(*lifetime, now))
            }
        }
    }

    /// Adds this proxy's word to the current row, or extends its lifetime.
    fn support(
        &mut self,
        key: &str,
        row: &Row,
        lifetime: Duration,
        now: Instant,
    ) -> Result<(), Full> {
        let Fact::Held {
            seniority, value, ..
        } = &row.fact
        else {
            return Ok(());
        };
        let lifetime = whole_millis(lifetime);
        let (mut longest, mut until) = (lifetime, now + lifetime);
        if let Some(own) = self.own(key)
            && own.until > now
            && own.row.fence == row.fence
            && own.row.value() == Some(value)
            && let Fact::Held {
                lifetime: written, ..
            } = &own.row.fact
        {
            longest = longest.max(*written);
            until = until.max(own.until);
        }
        let fact = held(longest, *seniority, value);
        self.say(
            key,
            Row {
                fence: row.fence,
                fact,
            },
            until,
        )
    }

    /// A fence above all that are known; but no claim outranks a lapsed claim with a longer lifetime.
    fn fence_where_nothing_stands(&self, key: &str, lifetime: Duration) -> u64 {
        let rows = self.keys.get(key).map(Vec::as_slice).unwrap_or_default();
        let top = rows
            .iter()
            .max_by(|one, other| one.row.rank().cmp(&other.row.rank()));
        match top {
            Some(told) if told.owner != self.me && told.row.outlives(lifetime) => told.row.fence,
            _ => self.greatest_fence(key).saturating_add(1),
        }
    }

    fn greatest_fence(&self, key: &str) -> u64 {
        let rows = self.keys.get(key).into_iter().flatten();
        rows.map(|told| told.row.fence).max().unwrap_or(0)
    }

    fn own(&self, key: &str) -> Option<&Told<O>> {
        self.keys
            .get(key)?
            .iter()
            .find(|told| told.owner == self.me)
    }

    /// Writes an own row.
    fn say(&mut self, key: &str, row: Row, until: Instant) -> Result<(), Full> {
        let known = self
            .keys
            .get_mut(key)
            .and_then(|rows| rows.iter_mut().find(|told| told.owner == self.me));
        if let Some(told) = known {
            told.until = until;
            if told.row != row {
                told.row = row;
                self.unsaid.insert(key.to_owned());
            }
            return Ok(());
        }
        if self.rows >= MOST_ROWS {
            return Err(Full);
        }
        let told = Told {
            owner: self.me.clone(),
            number: 0,
            row,
            until,
            lapsed: false,
            ahead_of: None,
        };
        self.keys.entry(key.to_owned()).or_default().push(told);
        self.rows += 1;
        self.unsaid.insert(key.to_owned());
        Ok(())
    }

    /// Ends the own row if another value beats it.
    fn give_way(&mut self, key: &str, now: Instant) {
        let Some(own) = self.own(key) else { return };
        let Some(value) = own.row.value() else { return };
        let rank = own.row.rank();
        let beaten = self.keys.get(key).into_iter().flatten().any(|told| {
            let same = told.row.fence == own.row.fence && told.row.value() == Some(value);
            !same && told.row.rank() > rank && self.counts(told, now)
        });
        if !beaten {
            return;
        }
        let rows = self.keys.get_mut(key).into_iter().flatten();
        for told in rows.filter(|told| told.owner == self.me) {
            told.row.fact = Fact::Ended;
            told.until = now + REMEMBERED;
        }
        self.unsaid.insert(key.to_owned());
    }

    fn life(&mut self, owner: &O, now: Instant) -> &mut Life {
        self.others.entry(owner.clone()).or_insert(Life {
            beat: 0,
            heard: now,
            alive: false,
        })
    }

    fn drop_rows(&mut self, drops: impl Fn(&Told<O>, &str) -> bool, now: Instant) -> Vec<String> {
        let dropped: Vec<String> = self
            .keys
            .iter()
            .filter(|(key, rows)| rows.iter().any(|told| drops(told, key)))
            .map(|(key, _)| key.clone())
            .collect();
        let mut changed = Vec::new();
        for key in dropped {
            let before = self.get(&key, now).map(str::to_owned);
            if let Some(rows) = self.keys.get_mut(&key) {
                let were = rows.len();
                rows.retain(|told| !drops(told, &key));
                self.rows -= were - rows.len();
            }
            if self.get(&key, now) != before.as_deref() {
                changed.push(key);
            }
        }
        self.keys.retain(|_, rows| !rows.is_empty());
        changed
    }
}

impl<O> Told<O> {
    fn word(&self) -> Word {
        Word {
            number: self.number,
            row: self.row.clone(),
        }
    }
}

impl Life {
    /// Whether a row that this proxy wrote for `lifetime` still counts.
    fn bears(&self, lifetime: Duration, now: Instant) -> bool {
        self.alive || now.saturating_duration_since(self.heard) < lifetime.min(GRACE)
    }
}

fn held(lifetime: Duration, seniority: u64, value: &str) -> Fact {
    Fact::Held {
        lifetime: whole_millis(lifetime),
        seniority,
        value: value.to_owned(),
    }
}

fn claimed(value: &str, fence: u64, won: bool) -> Claimed {
    Claimed {
        value: value.to_owned(),
        fence,
        won,
    }
}

/// Lifetimes travel in whole milliseconds.
fn whole_millis(lifetime: Duration) -> Duration {
    Duration::from_millis(u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const DAY: Duration = Duration::from_secs(86_400);

    fn now() -> Instant {
        #[expect(
            clippy::disallowed_methods,
            reason = "any instant will do to count from"
        )]
        Instant::now()
    }

    fn row(fence: u64, value: &str) -> Row {
        Row {
            fence,
            fact: held(MINUTE, 0, value),
        }
    }

    fn word(number: u64, row: Row) -> Word {
        Word { number, row }
    }

    const GOSSIP: Way = Way::Gossip;

    /// What was said since the last call, as it travels.
    fn said(table: &mut Table<u32>) -> Vec<(String, Option<String>)> {
        let unsaid = table.unsaid().into_iter();
        unsaid
            .map(|(key, row)| (key, row.map(|row| row.encode())))
            .collect()
    }

    #[test]
    fn what_is_said_again_needs_no_telling() {
        let (mut table, now) = (Table::new(0), now());
        table.put("k", "v", MINUTE, 5, now).unwrap();
        assert_eq!(
            said(&mut table),
            [("k".into(), Some("1 held 60000 5 v".into()))]
        );
        table.put("k", "v", MINUTE, 6, now + MINUTE / 2).unwrap();
        table.renew("k", MINUTE, now + MINUTE).unwrap();
        assert_eq!(said(&mut table), []);
        assert_eq!(
            table.get("k", now + MINUTE * 3 / 2),
            Some("v"),
            "it lives on"
        );
        assert_eq!(table.sweep(now + MINUTE * 2), ["k"]);
        assert_eq!(said(&mut table), [("k".into(), Some("1 ended".into()))]);
        assert!(table.sweep(now + MINUTE * 2 + REMEMBERED).is_empty());
        assert_eq!(said(&mut table), [("k".into(), None)]);
        assert!(table.is_empty());
    }

    #[test]
    fn a_claim_lives_while_one_of_its_proxies_holds_it() {
        let (mut table, now) = (Table::new(0), now());
        table.hear(&1, "k", word(1, row(7, "v")), GOSSIP, now);
        let claim = table.claim("k", None, "v", DAY, 0, now).unwrap();
        assert_eq!((claim.fence, claim.won), (7, true));
        let ended = Row {
            fence: 7,
            fact: Fact::Ended,
        };
        let ended = word(2, ended);
        let heard = table.hear(&1, "k", ended, GOSSIP, now);
        assert!(!heard, "it stands all the same");
        assert_eq!(table.get("k", now), Some("v"));
        let removed = Row {
            fence: 7,
            fact: Fact::Removed,
        };
        assert!(
            table.hear(&1, "k", word(3, removed), GOSSIP, now),
            "but a removal is for all"
        );
        assert_eq!(table.get("k", now), None);
        let claim = table.claim("k", None, "w", DAY, 0, now).unwrap();
        assert_eq!((claim.fence, claim.won), (8, true));
    }

    /// A table that hears proxy 1.
    fn hearing(now: Instant) -> Table<u32> {
        let mut table = Table::new(0);
        table.beat(&1, 1, now);
        table.beat(&1, 2, now);
        table
    }

    #[test]
    fn an_earlier_word_does_not_replace_a_later_one() {
        let now = now();
        let mut table = hearing(now);
        let mut hear = |number, fence, value, way| {
            table.hear(&1, "k", word(number, row(fence, value)), way, now);
            table.get("k", now).map(str::to_owned).unwrap()
        };
        assert_eq!(hear(4, 2, "later", Way::News), "later");
        for way in [Way::News, Way::Gossip] {
            assert_eq!(hear(3, 1, "earlier", way), "later");
            assert_eq!(hear(4, 2, "again", way), "later");
        }
        assert_eq!(hear(5, 3, "latest", Way::Gossip), "latest");
        // Each proxy numbers its own words.
        let others = word(1, row(4, "another's"));
        assert!(table.hear(&2, "k", others, Way::Gossip, now));
    }

    #[test]
    fn news_that_gossip_never_had_go_with_their_proxy() {
        let now = now();
        let mut table = hearing(now);
        for (key, way) in [
            ("gossiped", Way::Gossip),
            ("both", Way::News),
            ("both", Way::Gossip),
            ("news", Way::News),
            ("changed", Way::Gossip),
        ] {
            table.hear(&1, key, word(1, row(1, "first")), way, now);
        }
        table.hear(&1, "changed", word(2, row(2, "second")), Way::News, now);
        table.hear(&1, "changed", word(3, row(3, "third")), Way::News, now);
        // Gossip may come in between.
        table.hear(&1, "changed", word(2, row(2, "second")), Way::Gossip, now);
        let stood = |table: &Table<u32>, now| {
            ["gossiped", "both", "news", "changed"]
                .map(|key| table.get(key, now).map(str::to_owned))
        };
        let [first, second, third] =
            ["first", "second", "third"].map(|value| Some(value.to_owned()));
        assert!(table.sweep(now).is_empty());
        assert_eq!(
            stood(&table, now),
            [first.clone(), first.clone(), first.clone(), third]
        );
        let mut later = now;
        let mut changed = Vec::new();
        while later < now + SILENCE * 2 {
            later += STALL / 2;
            changed.extend(table.sweep(later));
        }
        assert_eq!(changed, ["changed", "news"]);
        assert_eq!(stood(&table, later), [first.clone(), first, None, second]);
        assert_eq!(table.len(), 3);
        let unheard = word(4, row(4, "v"));
        assert!(
            !table.hear(&1, "news", unheard, Way::News, later),
            "it is silent"
        );
    }

    #[test]
    fn a_beaten_row_is_ended_by_its_own_proxy() {
        let (mut table, now) = (Table::new(0), now());
        table.claim("k", None, "ours", MINUTE, 9, now).unwrap();
        table.unsaid();
        assert!(table.hear(&1, "k", word(1, row(2, "theirs")), GOSSIP, now));
        assert_eq!(said(&mut table), [("k".into(), Some("1 ended".into()))]);
        assert_eq!(table.get("k", now), Some("theirs"));
        assert_eq!(table.forget(&1, now), ["k"]);
        assert_eq!(
            table.get("k", now),
            None,
            "what gave way does not come back"
        );
    }

    #[test]
    fn a_silent_proxys_rows_lapse_and_count_again_when_it_is_heard() {
        let (mut table, mut now) = (Table::new(0), now());
        table.hear(&1, "k", word(1, row(1, "v")), GOSSIP, now);
        let mut pass = |table: &mut Table<u32>, time: Duration, beats: Option<u64>| {
            let (mut changed, mut beat) = (Vec::new(), beats);
            for _ in 0..time.as_millis() / 500 {
                now += Duration::from_millis(500);
                if let Some(beat) = &mut beat {
                    *beat += 1;
                    changed.extend(table.beat(&1, *beat, now));
                }
                changed.extend(table.sweep(now));
            }
            changed
        };
        assert!(
            pass(&mut table, MINUTE * 3, Some(1)).is_empty(),
            "it lives while its proxy does"
        );
        assert_eq!(table.others(), (1, 0));
        assert!(pass(&mut table, MINUTE - SILENCE, None).is_empty());
        assert_eq!(table.others(), (0, 1));
        assert_eq!(pass(&mut table, SILENCE * 2, None), ["k"]);
        assert_eq!(pass(&mut table, SILENCE, Some(1_000)), ["k"]);
    }

    #[test]
    fn a_full_table_takes_nothing_more() {
        let (mut table, now) = (Table::new(0), now());
        for key in 0..MOST_ROWS {
            table.put(&key.to_string(), "v", MINUTE, 0, now).unwrap();
        }
        assert_eq!(table.claim("more", None, "v", MINUTE, 0, now), Err(Full));
        assert_eq!(table.get("more", now), None);
        table
            .put("7", "w", MINUTE, 0, now)
            .expect("what is known may change");
        table.remove("7", None, now).expect("and end");
    }

    #[test]
    fn what_nobody_says_any_more_is_dropped() {
        let (mut table, now) = (Table::new(0), now());
        table.hear(&1, "a:k", word(1, row(1, "v")), GOSSIP, now);
        table.hear(&1, "a:l", word(2, row(1, "v")), GOSSIP, now);
        table.put("a:own", "v", MINUTE, 0, now).unwrap();
        table.put("b:own", "v", MINUTE, 0, now).unwrap();
        assert_eq!(table.check(|_, key, _| key == "a:l", now), ["a:k"]);
        let listed: Vec<String> = table
            .list("a:", now)
            .into_iter()
            .map(|(key, _)| key)
            .collect();
        assert_eq!(listed, ["a:l", "a:own"]);
        assert_eq!(table.len(), 3);
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let fact = prop_oneof![
            Just(Fact::Ended),
            Just(Fact::Removed),
            (0..3_u64, 0..3_u64, "[ab]").prop_map(|(lifetime, seniority, value)| {
                held(
                    MINUTE * u32::try_from(lifetime).unwrap() + MINUTE,
                    seniority,
                    &value,
                )
            }),
        ];
        (1..4_u64, fact).prop_map(|(fence, fact)| Row { fence, fact })
    }

    proptest! {
        #[test]
        fn what_stands_is_the_same_in_whatever_order_rows_are_heard(
            (rows, shuffled) in proptest::collection::vec(any_row(), 1..6)
                .prop_map(|rows| (1_u32..).zip(rows).collect::<Vec<_>>())
                .prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle()))
        ) {
            let now = now();
            let mut table = Table::new(0);
            for (owner, row) in &rows {
                table.hear(owner, "k", word(1, row.clone()), GOSSIP, now);
            }
            // Another proxy hears them in another order, and some of them twice.
            let mut other = Table::new(99);
            for (owner, row) in shuffled.iter().chain(&rows) {
                other.hear(owner, "k", word(1, row.clone()), GOSSIP, now);
            }
            prop_assert_eq!(table.get("k", now), other.get("k", now));
            // A proxy that owns one of them gives way to the same value.
            let (owner, row) = &shuffled[0];
            if row.value().is_some() {
                let mut owning = Table::new(*owner);
                owning.say("k", row.clone(), now + DAY).unwrap();
                for (owner, row) in &rows {
                    owning.hear(owner, "k", word(1, row.clone()), GOSSIP, now);
                }
                prop_assert_eq!(owning.get("k", now), table.get("k", now));
            }
        }
    }
}
