//! The documents of lists, and where each row stands in one.

use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sluicegate_core::list::{Cursor, Key, Listed, Page, Sort, mentions};

use super::{Coverage, Failed, Origin, Session, Sessions, Stream, Streams};

/// The document of a list: a page of rows.
pub trait Listing: Serialize + DeserializeOwned + Default + Send + 'static {
    /// A row.
    type Row: Listed + Send + 'static;

    /// The document with a page.
    fn of(page: Page<Self::Row>, sort: Sort, coverage: Coverage) -> Self;

    /// The page that another proxy answered with.
    fn into_page(self) -> Page<Self::Row>;

    /// Notes which proxy a row came from.
    fn note_proxy(row: &mut Self::Row, proxy: &str);

    /// Says that the total is not exact, because rows of several proxies may be the same.
    fn at_least(&mut self);
}

macro_rules! listing {
    ($document:ident, $rows:ident, $row:ident, $note_proxy:expr) => {
        impl Listing for $document {
            type Row = $row;

            fn of(page: Page<$row>, sort: Sort, coverage: Coverage) -> Self {
                Self {
                    total: page.total,
                    next: page.next(sort),
                    total_at_least: false,
                    $rows: page.rows,
                    coverage,
                }
            }

            fn into_page(self) -> Page<$row> {
                Page {
                    total: self.total,
                    more: self.next.is_some(),
                    rows: self.$rows,
                }
            }

            fn note_proxy(row: &mut $row, proxy: &str) {
                let note: fn(&mut $row, &str) = $note_proxy;
                note(row, proxy);
            }

            fn at_least(&mut self) {
                self.total_at_least = true;
            }
        }
    };
}

listing!(Sessions, sessions, Session, |row, proxy| row.proxy =
    Some(proxy.to_owned()));
listing!(Streams, streams, Stream, |row, proxy| row.proxies =
    vec![proxy.to_owned()]);
listing!(Events, events, Event, |row, proxy| row.proxy =
    Some(proxy.to_owned()));
listing!(EndedSessions, sessions, EndedSession, |row, proxy| row
    .proxy =
    Some(proxy.to_owned()));

/// `GET /api/v1/events`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Events {
    /// How many there are.
    pub total: usize,
    /// Whether there may be more than that.
    #[serde(skip_serializing_if = "is_false")]
    pub total_at_least: bool,
    /// For the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// A page of them.
    pub events: Vec<Event>,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// Something that happened.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// Unique on its proxy only; grows.
    pub id: u64,
    /// The proxy that noted it; none without a shared store.
    pub proxy: Option<String>,
    /// When it happened first: milliseconds since 1970.
    pub at: u64,
    /// `audit`, `certificate`, `config`, `drained`, `held`, `lost`, `moved`, `origin`, `published` or `refused`.
    pub kind: String,
    /// The stream; none if it is about none.
    pub stream: Option<String>,
    /// The origin; none if it is about none.
    pub origin: Option<String>,
    /// The address of the client or the caller; none if it is about none.
    pub client: Option<String>,
    /// In words.
    pub what: String,
    /// How often: refusals of one address for one stream within one minute are one event.
    pub count: u64,
}

/// `GET /api/v1/sessions/ended`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndedSessions {
    /// How many are kept.
    pub total: usize,
    /// Whether there may be more than that.
    #[serde(skip_serializing_if = "is_false")]
    pub total_at_least: bool,
    /// For the next page; none on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// A page of them.
    pub sessions: Vec<EndedSession>,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// A session that ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndedSession {
    /// Unique on its proxy only.
    pub id: u64,
    /// The proxy that had it; none without a shared store.
    pub proxy: Option<String>,
    /// By which protocol.
    pub protocol: String,
    /// `play` or `publish`.
    pub action: String,
    /// Whether it is an operator who looks at the stream: no viewer, and counted as none.
    #[serde(skip_serializing_if = "is_false")]
    pub preview: bool,
    /// What.
    pub stream: String,
    /// The name that the stream was placed under, to find its sessions by.
    #[serde(skip)]
    pub key: String,
    /// The real client.
    pub client: String,
    /// Where it was.
    pub origin: Option<String>,
    /// The origins that failed before.
    pub failed: Vec<Failed>,
    /// When it ended: milliseconds since 1970.
    pub ended_at: u64,
    /// How long it lasted.
    pub lasted_seconds: f64,
    /// Why it ended, as one word.
    pub reason: String,
    /// Bytes that went to the client.
    pub bytes_to_client: u64,
    /// Bytes that went to the origin.
    pub bytes_to_origin: u64,
    /// From its beginning to its first media.
    pub first_media_seconds: Option<f64>,
    /// How often its receiver took nothing for a second or longer.
    pub stalls: u64,
}

impl Session {
    /// Bits per second, in both directions together.
    pub const fn bps(&self) -> u64 {
        self.bps_to_client + self.bps_to_origin
    }
}

impl Stream {
    /// Says from its numbers how the stream is.
    pub fn judge(&mut self) {
        let numbers = StreamNumbers {
            publishers: self.publishers,
            held: self.held_publishers,
            players: self.players,
            bps_out: self.bps_out,
            silent_seconds: self.silent_seconds,
            keyframe_seconds: self.keyframe_seconds,
        };
        self.state = match self.also_on.is_empty() {
            true => numbers.state().to_owned(),
            false => "in_two_places".to_owned(),
        };
    }
}

/// By what a stream in one place is judged.
#[derive(Debug, Clone, Copy)]
pub struct StreamNumbers {
    /// Its publishers.
    pub publishers: u64,
    /// Those of them that are held: no origin gets what they send.
    pub held: u64,
    /// Its players.
    pub players: u64,
    /// Bits per second to these.
    pub bps_out: u64,
    /// Since a publisher last sent something.
    pub silent_seconds: Option<f64>,
    /// How far apart its keyframes are.
    pub keyframe_seconds: Option<f64>,
}

impl StreamNumbers {
    /// How it is, as one word.
    pub fn state(&self) -> &'static str {
        let silent = self.silent_seconds.unwrap_or_default();
        let apart = self.keyframe_seconds.unwrap_or_default();
        match (self.publishers, self.players) {
            (1.., _) if self.held >= self.publishers => "held",
            (1.., _) if silent >= STALLED_AFTER => "stalled",
            (1.., _) if apart >= LATE_KEYFRAMES => "late_keyframes",
            (1.., _) => "live",
            // Its publisher may use another way to the origin.
            (0, 1..) if self.bps_out >= self.players * LEAST_MEDIA => "live",
            (0, 1..) => "waiting",
            (0, 0) => "idle",
        }
    }
}

impl Listed for Session {
    fn place(&self, column: &str) -> Cursor<'_> {
        let key = match column {
            "age" => by_age(millis_of(self.started_at.as_deref()).unwrap_or(0)),
            "bytes" => Key::of(self.bytes_to_client + self.bytes_to_origin),
            "client" => Key::from(self.client.as_str()),
            "origin" => Key::from(self.origin.as_deref().unwrap_or_default()),
            "rate" => Key::of(self.bps()),
            "stream" => Key::from(self.stream.as_str()),
            _ => Key::of(self.id),
        };
        on_proxy(key, self.proxy.as_deref(), self.id)
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        match filter {
            "action" => self.action == value,
            "client" => is_from(&self.client, value),
            "origin" => self.origin.as_deref().unwrap_or_default() == value,
            "protocol" => self.protocol == value,
            "proxy" => self.proxy.as_deref() == Some(value),
            "state" => self.state == value,
            "stream" => self.stream == value,
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        let origin = self.origin.as_deref().unwrap_or_default();
        let mut texts = [self.stream.as_str(), origin, &self.client].into_iter();
        texts.any(|one| mentions(one, text))
    }
}

impl Listed for EndedSession {
    fn place(&self, column: &str) -> Cursor<'_> {
        let key = match column {
            "bytes" => Key::of(self.bytes_to_client + self.bytes_to_origin),
            "client" => Key::from(self.client.as_str()),
            "lasted" => Key::of(millis(self.lasted_seconds)),
            "origin" => Key::from(self.origin.as_deref().unwrap_or_default()),
            "reason" => Key::from(self.reason.as_str()),
            "stream" => Key::from(self.stream.as_str()),
            _ => Key::of(self.ended_at),
        };
        on_proxy(key, self.proxy.as_deref(), self.id)
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        match filter {
            "action" => self.action == value,
            "client" => is_from(&self.client, value),
            "origin" => self.origin.as_deref().unwrap_or_default() == value,
            "protocol" => self.protocol == value,
            "proxy" => self.proxy.as_deref() == Some(value),
            "reason" => self.reason == value,
            "stream" => self.key == value,
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        let origin = self.origin.as_deref().unwrap_or_default();
        let mut texts = [self.stream.as_str(), origin, &self.client, &self.reason].into_iter();
        texts.any(|one| mentions(one, text))
    }
}

impl Listed for Event {
    fn place(&self, column: &str) -> Cursor<'_> {
        let key = match column {
            "kind" => Key::from(self.kind.as_str()),
            _ => Key::of(self.at),
        };
        on_proxy(key, self.proxy.as_deref(), self.id)
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        let is = |text: &Option<String>| text.as_deref() == Some(value);
        match filter {
            "client" => is(&self.client),
            "kind" => self.kind == value,
            "origin" => is(&self.origin),
            "proxy" => is(&self.proxy),
            "stream" => is(&self.stream),
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        let named = [&self.stream, &self.origin, &self.client];
        let mut named = named.into_iter().flatten();
        named.any(|one| mentions(one, text)) || mentions(&self.what, text)
    }
}

impl Listed for Stream {
    fn place(&self, column: &str) -> Cursor<'_> {
        Cursor {
            key: match column {
                // One that nobody publishes has no age.
                "age" => by_age(millis_of(self.started_at.as_deref()).unwrap_or(u64::MAX)),
                "origin" => Key::from(self.origin.as_str()),
                "out" => Key::of(self.bps_out),
                "players" => Key::of(self.players),
                "rate" => Key::of(self.bps_in),
                _ => Key::from(self.stream.as_str()),
            },
            // One stream on two origins is two rows. Nothing is written for that: a list looks at all of them.
            proxy: self.origin.as_str().into(),
            id: Key::from(self.stream.as_str()),
        }
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        match filter {
            "origin" => self.origin == value,
            "protocol" => self.protocols.iter().any(|one| one == value),
            "state" => self.state == value,
            "stream" => self.stream == value,
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        mentions(&self.stream, text) || mentions(&self.origin, text)
    }
}

impl Listed for Origin {
    fn place(&self, column: &str) -> Cursor<'_> {
        Cursor {
            key: match column {
                "heard" => by_age(self.heard_at),
                // Tenths of a percent; one that reports none comes before all that do.
                "load" => Key::Number(
                    self.cpu_percent
                        .map_or(-1, |percent| (percent * 10.0) as i64),
                ),
                "rate" => Key::of(self.bps),
                "sessions" => Key::of(self.sessions),
                "state" => Key::from(self.state.as_str()),
                "streams" => Key::of(self.streams),
                "zone" => Key::from(self.zone.as_deref().unwrap_or_default()),
                _ => Key::from(self.id.as_str()),
            },
            proxy: "".into(),
            id: Key::from(self.id.as_str()),
        }
    }

    fn has(&self, filter: &str, value: &str) -> bool {
        match filter {
            "duty" => self.duty == value,
            "state" => self.state == value,
            "zone" => self.zone.as_deref() == Some(value),
            _ => false,
        }
    }

    fn mentions(&self, text: &str) -> bool {
        let named = [Some(&self.id), self.device_id.as_ref(), Some(&self.ip)];
        let named = named.into_iter().chain([self.zone.as_ref()]).flatten();
        let mut texts = named.chain(&self.labels);
        texts.any(|one| mentions(one, text))
    }
}

fn on_proxy<'a>(key: Key<'a>, proxy: Option<&'a str>, id: u64) -> Cursor<'a> {
    Cursor {
        key,
        proxy: proxy.unwrap_or_default().into(),
        id: Key::of(id),
    }
}

/// Whether `client`, an address with or without a port, has the address `value`.
fn is_from(client: &str, value: &str) -> bool {
    let ip = client.parse().map(|client: SocketAddr| client.ip());
    let ip = ip.or_else(|_| client.parse::<IpAddr>());
    match (ip, value.parse::<IpAddr>()) {
        (Ok(ip), Ok(wanted)) => ip == wanted,
        _ => client == value,
    }
}

/// How what happened `at` so many milliseconds after 1970 is sorted by its age. An age itself would not do: it is another one by
/// the next page.
pub fn by_age<'a>(at: u64) -> Key<'a> {
    Key::Number(i64::try_from(at).map_or(i64::MIN, |at| -at))
}

/// Milliseconds since 1970 of a time as documents have it (RFC 3339).
pub fn millis_of(at: Option<&str>) -> Option<u64> {
    let at: Timestamp = at?.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok()
}

/// The time so many milliseconds after 1970, as documents have it (RFC 3339).
pub fn time_of(millis: u64) -> Option<String> {
    let at = Timestamp::from_millisecond(i64::try_from(millis).ok()?);
    at.ok().map(|at| at.to_string())
}

/// A duration as a key, to the millisecond. Durations are never negative.
fn millis(seconds: f64) -> u64 {
    (seconds * 1000.0) as u64
}

/// For serde: what is left out of the answers that were always given.
pub(super) const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The same.
pub(super) const fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Seconds without a byte after which a publisher is said to have stalled.
pub const STALLED_AFTER: f64 = 8.0;
/// Bits per second to each player under which what flows is no media, but what a protocol says while it waits.
const LEAST_MEDIA: u64 = 1_000;
/// Keyframes this many seconds apart are late: a new viewer, and a stream that is moved, waits for the next one.
pub(super) const LATE_KEYFRAMES: f64 = 5.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_what_its_numbers_say() {
        // A description, its publishers, its players, bits per second to these, and the seconds of silence and between keyframes.
        for (cause, numbers, state) in [
            ("nobody", (0, 0, 0, None, None), "idle"),
            ("a publisher", (1, 0, 0, Some(1.0), None), "live"),
            ("one that is silent", (1, 0, 0, Some(8.0), None), "stalled"),
            (
                "keyframes apart",
                (1, 3, 9_000, Some(0.1), Some(5.0)),
                "late_keyframes",
            ),
            ("players", (0, 2, 0, None, None), "waiting"),
            (
                "what RTMP says at its start",
                (0, 1, 552, None, None),
                "waiting",
            ),
            ("the same to many", (0, 100, 9_000, None, None), "waiting"),
            (
                "sound, published another way",
                (0, 2, 12_000, None, None),
                "live",
            ),
        ] {
            let (publishers, players, bps_out, silent_seconds, keyframe_seconds) = numbers;
            let numbers = StreamNumbers {
                publishers,
                held: 0,
                players,
                bps_out,
                silent_seconds,
                keyframe_seconds,
            };
            assert_eq!(numbers.state(), state, "{cause}");
            let held = StreamNumbers {
                held: publishers,
                ..numbers
            };
            let expected = match publishers {
                0 => state,
                _ => "held",
            };
            assert_eq!(held.state(), expected, "{cause}, held");
        }
    }
}
