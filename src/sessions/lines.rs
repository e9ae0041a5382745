//! The open sessions as lists look at them.
//!
//! For a page of fifty rows a list looks at every session. Of 100,000 the rows lie all over the memory, and their names and
//! addresses beside them: to fetch these takes longer than all else. So what lists sort, filter and add up by is copied into
//! lines that lie side by side, 80 bytes each. While somebody looks at lists, and there are many sessions, that is done once a
//! second, after rates are measured, and nobody waits for it; otherwise nothing is copied.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::{Action, PlacementKey, Protocol, StreamUrl};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{Direction, Row, Sessions, State};

/// The open sessions at one moment.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// One for each session, oldest first.
    lines: Vec<Line>,
    /// Those that publish, once more, with what only these have.
    pub(crate) publishers: Vec<Publisher>,
    /// What streams are called, and where each name is placed.
    names: Vec<(StreamUrl, u32)>,
    /// What streams are placed under.
    pub(crate) keys: Vec<PlacementKey>,
    /// Where sessions are; the first has no name, and stands for nowhere.
    pub(crate) origins: Vec<OriginId>,
}

/// A session.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) id: u64,
    /// When it began: milliseconds since 1970.
    pub(crate) started: u64,
    /// Bytes passed on so far, in both directions.
    pub(crate) bytes: u64,
    /// Bits per second to the client.
    pub(crate) bps_to_client: u64,
    /// Bits per second in both directions.
    pub(crate) bps: u64,
    pub(crate) client: ClientText,
    /// Its place among the names.
    pub(crate) name: u32,
    /// Its place among the origins.
    pub(crate) origin: u32,
    pub(crate) action: Action,
    pub(crate) protocol: Protocol,
    pub(crate) state: State,
    /// It is an operator who looks.
    pub(crate) is_preview: bool,
}

/// What is told of a publisher besides.
#[derive(Debug)]
pub(crate) struct Publisher {
    /// The place of what its stream is placed under.
    pub(crate) key: u32,
    pub(crate) protocol: Protocol,
    /// Bits per second that it sends.
    pub(crate) bps: u64,
    /// When it began: milliseconds since 1970.
    pub(crate) started: u64,
    pub(crate) age: Duration,
    /// No origin gets what it sends.
    pub(crate) is_held: bool,
    /// For how long it has sent nothing; `None` while it connects and has nothing to send yet.
    pub(crate) silent: Option<Duration>,
    /// How far apart its keyframes are, where that is known.
    pub(crate) keyframes: Option<Duration>,
}

/// The address of a client with its port, as it is shown.
#[derive(Debug)]
pub(crate) enum ClientText {
    /// One that fits: every one of IPv4, and its length.
    Short([u8; SHORT], u8),
    /// Another.
    Long(Box<str>),
}

impl Lines {
    /// The sessions of `table`. It is locked for a few of them at a time.
    fn of(table: &Sessions) -> Self {
        let mut lines = Self {
            lines: Vec::with_capacity(table.len()),
            origins: vec![OriginId::from("")],
            ..Self::default()
        };
        let mut places = Places::default();
        let now = Instant::now();
        table.look(|row| lines.add(row, now, &mut places));
        lines
    }

    fn add(&mut self, row: &Row, now: Instant, places: &mut Places) {
        let name = self.place_of_name(row, places);
        let origin = row.with_origin(|origin| match origin {
            "" => Some(0),
            origin => places.origins.get(origin).copied(),
        });
        let origin = origin.unwrap_or_else(|| self.new_origin(row, places));
        let (action, protocol) = (row.request.action, row.request.protocol);
        let both = |of: fn(&Row, Direction) -> u64| {
            of(row, Direction::ToClient) + of(row, Direction::ToOrigin)
        };
        let state = row.state();
        let started = row.started_at.duration_since(UNIX_EPOCH);
        let started = started.map_or(0, |since| since.as_millis());
        let started = u64::try_from(started).unwrap_or(u64::MAX);
        if action == Action::Publish {
            self.publishers.push(Publisher {
                key: self.names[name as usize].1,
                protocol,
                bps: row.bps(Direction::ToOrigin),
                started,
                age: row.age_at(now),
                is_held: state == State::Held,
                silent: (state != State::Connecting).then(|| row.client_silent_for()),
                keyframes: row.keyframes(),
            });
        }
        self.lines.push(Line {
            id: row.id,
            started,
            bytes: both(Row::bytes),
            bps_to_client: row.bps(Direction::ToClient),
            bps: both(Row::bps),
            client: ClientText::of(row.request.client.socket()),
            name,
            origin,
            action,
            protocol,
            state,
            is_preview: row.is_preview(),
        });
    }

    fn place_of_name(&mut self, row: &Row, places: &mut Places) -> u32 {
        if let Some(place) = places.names.get(&row.request.stream) {
            return *place;
        }
        let key = match places.keys.entry(row.key.clone()) {
            Entry::Occupied(known) => *known.get(),
            Entry::Vacant(new) => *new.insert(pushed(&mut self.keys, row.key.clone())),
        };
        let stream = row.request.stream.clone();
        let place = pushed(&mut self.names, (stream.clone(), key));
        places.names.insert(stream, place);
        place
    }

    /// The place of an origin that no line before this one names.
    fn new_origin(&mut self, row: &Row, places: &mut Places) -> u32 {
        let Some(origin) = row.origin() else {
            return 0;
        };
        // It may have moved, to one that is known, since it was looked at.
        if let Some(place) = places.origins.get(origin.as_str()) {
            return *place;
        }
        let name = origin.as_str().into();
        let place = pushed(&mut self.origins, origin);
        places.origins.insert(name, place);
        place
    }

    /// How many sessions there are.
    #[cfg(test)]
    pub(crate) const fn len(&self) -> usize {
        self.lines.len()
    }

    /// Every session once, in an order that is none: a list that is sorted as its rows lie, or the other way round, would find
    /// each row better than all before it.
    pub(crate) fn scattered(&self) -> impl Iterator<Item = &Line> {
        let parts = self.lines.len().div_ceil(PART);
        let bits = usize::BITS - parts.leading_zeros();
        let turned = move |number: usize| {
            let turned = number.reverse_bits();
            turned.checked_shr(usize::BITS - bits).unwrap_or_default()
        };
        let order = (0..1 << bits).map(turned).filter(move |part| *part < parts);
        order.flat_map(|part| {
            let rest = &self.lines[part * PART..];
            &rest[..rest.len().min(PART)]
        })
    }

    /// What the stream of a session is called.
    pub(crate) fn stream(&self, line: &Line) -> &str {
        self.names[line.name as usize].0.as_str()
    }

    /// The place of what the stream of a session is placed under.
    pub(crate) fn key(&self, line: &Line) -> u32 {
        self.names[line.name as usize].1
    }

    /// Where a session is, or is tried; empty before that.
    pub(crate) fn origin(&self, line: &Line) -> &str {
        self.origins[line.origin as usize].as_str()
    }

    /// For each name of a stream, whether it `fits`.
    pub(crate) fn names_that(&self, fits: impl Fn(&str) -> bool) -> Vec<bool> {
        let names = self.names.iter();
        names.map(|(stream, _)| fits(stream.as_str())).collect()
    }
}

/// Where things are that more than one line names.
#[derive(Default)]
struct Places {
    names: HashMap<StreamUrl, u32>,
    keys: HashMap<PlacementKey, u32>,
    origins: HashMap<Box<str>, u32>,
}

/// Adds `one` to `all`, and says where it is: there are no more of them than sessions.
fn pushed<T>(all: &mut Vec<T>, one: T) -> u32 {
    let place = u32::try_from(all.len()).expect("fewer than four billion sessions");
    all.push(one);
    place
}

impl ClientText {
    fn of(client: SocketAddr) -> Self {
        let SocketAddr::V4(client) = client else {
            return Self::Long(client.to_string().into());
        };
        // Formatting 100,000 of them takes too long.
        let mut text = [0; SHORT];
        let mut length = 0;
        for (octet, after) in client.ip().octets().into_iter().zip(*b"...:") {
            length = write_number(&mut text, length, octet.into());
            text[length] = after;
            length += 1;
        }
        length = write_number(&mut text, length, client.port());
        Self::Short(text, length as u8)
    }

    /// The text.
    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(self.bytes()).unwrap_or_default()
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Short(text, length) => &text[..usize::from(*length)],
            Self::Long(text) => text.as_bytes(),
        }
    }

    /// Whether `wanted` is in the text. For texts as short as these, what the standard library prepares for a search takes longer
    /// than this.
    pub(crate) fn contains(&self, wanted: &str) -> bool {
        let Some(first) = wanted.as_bytes().first() else {
            return true;
        };
        let mut parts = self.bytes().windows(wanted.len());
        parts.any(|part| part.first() == Some(first) && part == wanted.as_bytes())
    }

    /// Whether the address, without its port, is `ip` as it is shown.
    pub(crate) fn is_at(&self, ip: &str) -> bool {
        let text = self.as_str();
        let host = text.strip_prefix('[').unwrap_or(text);
        host.starts_with(ip) && self.ip() == ip
    }

    /// The address without its port and without brackets.
    fn ip(&self) -> &str {
        let text = self.as_str();
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // A zone is no part of the address.
        host.split_once('%').map_or(host, |(ip, _)| ip)
    }
}

/// Writes a number at a place in a text, and says where it ends.
fn write_number(text: &mut [u8; SHORT], mut at: usize, number: u16) -> usize {
    for (digit, unit) in [
        (number / 10_000, 10_000),
        (number / 1_000 % 10, 1_000),
        (number / 100 % 10, 100),
        (number / 10 % 10, 10),
        (number % 10, 0),
    ] {
        if number >= unit {
            text[at] = b'0' + digit as u8;
            at += 1;
        }
    }
    at
}

/// The lines that were copied last, while somebody looks.
#[derive(Debug, Default)]
pub(super) struct KeptLines {
    kept: Mutex<Kept>,
    renewed: Notify,
}

#[derive(Debug, Default)]
struct Kept {
    asked: Option<Instant>,
    made: Option<(Instant, Arc<Lines>)>,
}

impl KeptLines {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sessions {
    /// The open sessions for a list: as they are now, or if there are more than [`FEW`], as they were at most [`OLDEST`] ago.
    pub(crate) fn lines(&self) -> Arc<Lines> {
        if self.len() <= FEW {
            return Arc::new(Lines::of(self));
        }
        // Whoever asks meanwhile waits for the same.
        let mut kept = self.kept_lines.lock();
        let now = Instant::now();
        kept.asked = Some(now);
        if let Some((at, lines)) = &kept.made
            && now.duration_since(*at) < OLDEST
        {
            return Arc::clone(lines);
        }
        let lines = Arc::new(Lines::of(self));
        kept.made = Some((now, Arc::clone(&lines)));
        lines
    }

    /// Copies the lines again if somebody looked at a list lately, and lets go of them otherwise. Once a second.
    pub(crate) fn renew_lines(&self) {
        let is_looked_at = {
            let kept = self.kept_lines.lock();
            kept.asked.is_some_and(|at| at.elapsed() < LOOKS)
        };
        let made = (is_looked_at && self.len() > FEW).then(|| {
            let now = Instant::now();
            (now, Arc::new(Lines::of(self)))
        });
        // What is let go of is freed after the lock is.
        let before = std::mem::replace(&mut self.kept_lines.lock().made, made);
        drop(before);
        self.kept_lines.renewed.notify_waiters();
    }

    /// Returns when it is time to look at the lines again: they were copied again, or are too old.
    pub(crate) async fn lines_renewed(&self) {
        let renewed = self.kept_lines.renewed.notified();
        let _ = timeout(OLDEST, renewed).await;
    }
}

/// Sessions up to which lines are copied for each list: that takes a millisecond.
pub(crate) const FEW: usize = 5_000;
/// How old lines may be: a second, and the time that the next ones may be late.
pub(crate) const OLDEST: Duration = Duration::from_millis(1_500);
/// How long after somebody looked at a list lines are kept: the console looks every two seconds.
pub(crate) const LOOKS: Duration = Duration::from_secs(6);
/// Lines that lie as their sessions began.
const PART: usize = 64;
/// Bytes of a client's address that lie in its line: `255.255.255.255:65535`.
const SHORT: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_shown() {
        for (shown, ip) in [
            ("0.0.0.0:0", "0.0.0.0"),
            ("10.200.3.45:1935", "10.200.3.45"),
            ("10.20.30.4:10000", "10.20.30.4"),
            ("255.255.255.255:65535", "255.255.255.255"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[fe80::1%3]:80", "fe80::1"),
            ("[::ffff:192.0.2.1]:5000", "::ffff:192.0.2.1"),
        ] {
            let text = ClientText::of(shown.parse().expect("an address"));
            assert_eq!((text.as_str(), text.ip()), (shown, ip));
            for from in 0..shown.len() {
                for to in from..=shown.len() {
                    assert!(text.contains(&shown[from..to]), "{shown} {from} {to}");
                }
            }
            for other in ["x", "0.0.0.1:", &format!("{shown}0")] {
                assert_eq!(
                    text.contains(other),
                    shown.contains(other),
                    "{shown} {other}"
                );
            }
        }
    }

    #[test]
    fn every_line_is_looked_at_once_and_early_ones_are_from_everywhere() {
        for count in [0, 1, PART, PART + 1, 1_000, 4_096, 5_001] {
            let lines = Lines {
                lines: (0..count as u64).map(line).collect(),
                ..Lines::default()
            };
            let mut seen: Vec<u64> = lines.scattered().map(|line| line.id).collect();
            if count > 1_000 {
                let early = &seen[..count / 4];
                let least = early.iter().min().expect("lines");
                let most = early.iter().max().expect("lines");
                assert!(most - least > count as u64 / 2, "{count}");
            }
            seen.sort_unstable();
            assert!(seen.iter().copied().eq(0..count as u64), "{count}");
        }
    }

    fn line(id: u64) -> Line {
        Line {
            id,
            started: 0,
            bytes: 0,
            bps_to_client: 0,
            bps: 0,
            client: ClientText::of(SocketAddr::from(([0; 4], 0))),
            name: 0,
            origin: 0,
            action: Action::Play,
            protocol: Protocol::Rtmp,
            state: State::Waiting,
            is_preview: false,
        }
    }
}
