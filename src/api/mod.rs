//! The documents of the system API, each as one type: handlers write it, other proxies of the cluster merge it, the
//! operator's commands read it, and a test compares it with `openapi.yaml`.
//!
//! Readers are tolerant, because the proxies of a cluster are upgraded one after the other: a field that is missing has
//! its default, and one that is not known is skipped. Times are in seconds.

mod console;
mod health;
mod list;
mod rebalance;
mod said;

pub use console::{
    Attention, Finding, History, Links, Listener, Me, OriginCounts, OriginHistory, Overview,
    Setting, Settings, StoreSeen, StreamAddress, Totals,
};
pub use health::{Alive, LongVersion, OriginsKnown, Ready, Version, VersionNumbers};
pub use list::{
    EndedSession, EndedSessions, Event, Events, Listing, STALLED_AFTER, StreamNumbers, by_age,
    millis_of, time_of,
};
pub use rebalance::{Overloaded, PlannedMove, Rebalance};
pub use said::{Said, SaidAudio, SaidClient, SaidOfOrigin, SaidVideo, SilentOrigin};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// What every successful answer is wrapped in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Envelope<T> {
    /// Always 0; errors have the HTTP status.
    pub code: u16,
    /// The document.
    pub data: T,
}

/// What was wrong, as a sentence.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// The HTTP status again.
    pub code: u16,
    /// The sentence.
    pub error: String,
    /// The field of a registration that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Whether the same request with `force=true` does it all the same.
    #[serde(default, skip_serializing_if = "list::is_false")]
    pub force: bool,
}

/// `GET /api/v1/bans`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Bans {
    /// How many there are.
    pub total: usize,
    /// All that hold, the first to end first.
    pub bans: Vec<Ban>,
}

/// A ban.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ban {
    /// Names it: 16 hexadecimal digits.
    pub id: String,
    /// `address`, `key`, `stream`, `token` or `viewer`.
    pub kind: String,
    /// Which of them.
    pub name: String,
    /// Until when it holds, in seconds since 1970.
    pub until: u64,
    /// How much of it is left.
    pub seconds_left: u64,
    /// When it was said, in seconds since 1970.
    pub since: u64,
    /// Why, in words; may be empty.
    pub reason: String,
}

/// `POST /api/v1/bans`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Banned {
    /// The ban.
    #[serde(flatten)]
    pub ban: Ban,
    /// Sessions that it ended at the proxy that was asked; the others end theirs as they hear of it.
    pub ended: u64,
}

/// `POST /api/v1/moves`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Move {
    /// The stream.
    pub stream: String,
    /// The origin that has it, or had it.
    pub from: String,
    /// The origin that is to have it.
    pub to: String,
    /// `asking` the other origin, `awaiting_keyframe` or `made`.
    pub state: String,
    /// From the keyframe until the other origin had it.
    pub gap_ms: Option<u64>,
}

/// `GET /api/v1/moves`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BoundViewers {
    /// The stream.
    pub stream: String,
    /// Its viewers at this proxy that a move would end.
    pub count: u64,
}

/// `POST /api/v1/takeovers`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Takeover {
    /// `gave_way`, `left`, `nobody`, `stays` or `watched`.
    pub former: String,
}

/// An answer that has nothing to tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Always 0.
    pub code: u16,
}

/// `POST /api/v1/srs/register`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// Always 0.
    pub code: u16,
    /// The process id of the proxy, as text.
    pub pid: String,
}

/// Whom a question is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All proxies.
    #[default]
    Cluster,
    /// The one that is asked.
    Local,
}

/// Whom an answer speaks for. An operator must not take a part for the whole.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Coverage {
    /// Who was meant.
    pub scope: Scope,
    /// Whether somebody's part is missing.
    pub partial: bool,
    /// Whose, and why.
    pub missing: Vec<Missing>,
}

/// A proxy that did not answer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Missing {
    /// Its id.
    pub proxy: String,
    /// In words.
    pub why: String,
}

/// `GET /api/v1/origins`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origins {
    /// How many there are.
    pub total: usize,
    /// For the next page; none on the last one, and where no page was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// All of them, or a page.
    pub origins: Vec<Origin>,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// An origin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// What it is called here.
    pub id: String,
    /// The name that the operator uses.
    pub device_id: Option<String>,
    /// Where it is: an address or a host name.
    pub ip: String,
    /// The id of the server, the same after a restart.
    pub server: String,
    /// The id of this start.
    pub service: String,
    /// Its process id, as text.
    pub pid: String,
    /// `up`, `suspect` or `failing`.
    pub state: String,
    /// Whether it is up.
    pub alive: bool,
    /// `active`, `draining` or `disabled`.
    pub duty: String,
    /// While it drains.
    pub drain: Option<Drain>,
    /// Failures since it was last healthy.
    pub failures: u32,
    /// Recent events, newest first.
    pub notes: Vec<Note>,
    /// Heartbeats that did not come.
    pub heartbeats_missed: u32,
    /// Since it was heard.
    pub last_seen_seconds: f64,
    /// When that was, to sort by on the proxy that tells it: milliseconds since 1970.
    #[serde(skip)]
    pub heard_at: u64,
    /// The observed interval of its heartbeats.
    pub heartbeat_seconds: Option<f64>,
    /// Since this start was first heard.
    pub up_seconds: f64,
    /// Whether it never expires because it does not report itself.
    pub permanent: bool,
    /// The list that names it.
    pub source: Option<String>,
    /// Its share of new streams.
    pub weight: u32,
    /// Where it is: a data centre, a rack, a region.
    pub zone: Option<String>,
    /// What rules can ask for.
    pub labels: BTreeSet<String>,
    /// Maximum concurrent streams.
    pub max_streams: Option<u32>,
    /// Maximum concurrent legs: connections and flows to it, which are sessions' where none is shared.
    pub max_sessions: Option<u32>,
    /// Maximum megabits per second.
    pub max_mbps: Option<u32>,
    /// The kind of server that it is asked like; empty where a proxy does not say.
    #[serde(default)]
    pub dialect: String,
    /// The kind of server that its API says that it is, where one was asked.
    #[serde(default)]
    pub software: Option<String>,
    /// What is taken off the start of a path for it.
    #[serde(default)]
    pub strip: Option<String>,
    /// What is put before a path for it.
    #[serde(default)]
    pub prepend: Option<String>,
    /// As it reports, smoothed.
    pub cpu_percent: Option<f64>,
    /// The median of the set-up times of sessions that the proxy that was asked joined to it in the last five minutes; none without
    /// one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub setup_seconds: Option<f64>,
    /// As it reports, smoothed.
    pub memory_percent: Option<f64>,
    /// As it reports.
    pub connections: Option<u32>,
    /// Kilobits per second, both directions together.
    pub kbps: Option<u64>,
    /// Sessions on it.
    pub sessions: u64,
    /// Legs to it, which `max_sessions` and load look at.
    pub legs: u64,
    /// Streams on it, as the proxy that was asked knows them.
    pub streams: u64,
    /// Bits per second that sessions carry from it and to it.
    pub bps: u64,
    /// Its RTMP endpoints.
    pub rtmp: Vec<String>,
    /// Its endpoints for streams over HTTP.
    pub http: Vec<String>,
    /// Its HTTP API.
    pub api: Vec<String>,
    /// Its SRT endpoints.
    pub srt: Vec<String>,
    /// Its WebRTC endpoints.
    pub rtc: Vec<String>,
    /// Its RTSP endpoints.
    pub rtsp: Vec<String>,
}

/// Something that happened to an origin.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Note {
    /// When.
    pub seconds_ago: f64,
    /// In words.
    pub what: String,
}

/// How far a drain has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Drain {
    /// Who asked for it.
    pub cause: String,
    /// Since it was asked for.
    pub since_seconds: f64,
    /// The time that is left to finish; none without a deadline.
    pub deadline_seconds: Option<f64>,
    /// Publishers that are left.
    pub publishers: u64,
    /// Players that are left.
    pub players: u64,
    /// Whether nobody is.
    pub done: bool,
    /// Until it ends at the latest; none without a deadline.
    pub eta_seconds: Option<f64>,
}

impl Drain {
    /// Adds what is left of the same drain elsewhere. It is done when it is done everywhere.
    pub fn add(&mut self, theirs: &Self) {
        self.publishers += theirs.publishers;
        self.players += theirs.players;
        self.done &= theirs.done;
        let both = self.eta_seconds.zip(theirs.eta_seconds);
        self.eta_seconds = both.map(|(ours, theirs)| ours.max(theirs));
    }
}

/// `POST /api/v1/origins/{id}/drain`, `/disable` and `/undrain`: what the origin is to do now.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Duty {
    /// The origin.
    pub id: String,
    /// `active`, `draining` or `disabled`.
    pub duty: String,
    /// While it drains.
    pub drain: Option<Drain>,
    /// Publishers on it through the proxy that was asked.
    pub publishers: u64,
    /// Players on it through the proxy that was asked.
    pub players: u64,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// `POST /api/v1/origins/{id}/probe`: what an origin says, as the proxy that was asked hears it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Probed {
    /// The origin.
    pub id: String,
    /// Its state after that: `up`, `suspect` or `failing`; `gone` if it was removed meanwhile.
    pub state: String,
    /// Each service that it offers.
    pub services: Vec<ServiceProbe>,
}

/// What one service of an origin said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ServiceProbe {
    /// The service.
    pub service: String,
    /// Where it was asked.
    pub at: String,
    /// Whether it answers; none where it cannot be asked.
    pub ok: Option<bool>,
    /// Why it does not answer or cannot be asked, in words; none where it answers.
    pub reason: Option<String>,
    /// How many milliseconds that took; none where it cannot be asked.
    pub ms: Option<f64>,
    /// Whether the origin is judged by it, as by any probe.
    pub judged: bool,
}

/// `GET /api/v1/proxy`, and what a drain of it answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Proxy {
    /// Its name in the cluster, a new one at each start; none where it is alone.
    pub id: Option<String>,
    /// The other proxies of the cluster.
    pub peers: Vec<Peer>,
    /// When it started (RFC 3339); none where a proxy does not say.
    pub started: Option<String>,
    /// Its version.
    pub version: String,
    /// Whether it takes no new clients.
    pub draining: bool,
    /// While it drains.
    pub drain: Option<Drain>,
    /// Publishers through it.
    pub publishers: u64,
    /// Players through it.
    pub players: u64,
    /// The certificates that it shows over TLS.
    pub certificates: Vec<Certificate>,
}

/// A certificate that a proxy shows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Certificate {
    /// The first name that clients get it for.
    pub name: String,
    /// The last second in which it holds (RFC 3339).
    pub not_after: Option<String>,
}

/// Another proxy of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Peer {
    /// Its name in the cluster.
    pub id: String,
    /// Where its system API is.
    pub system: Option<String>,
    /// When it started (RFC 3339).
    pub started: String,
    /// Its version.
    pub version: String,
    /// The kinds of records that its build reads, each up to this version; none for a build without records.
    pub reads: BTreeMap<String, u16>,
}

/// `GET /api/v1/streams`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// How many there are.
    pub total: usize,
    /// Whether there may be more than that.
    #[serde(skip_serializing_if = "list::is_false")]
    pub total_at_least: bool,
    /// For the next page; none on the last one, and where no page was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// All of them, or a page.
    pub streams: Vec<Stream>,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// A placed stream.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stream {
    /// `vhost/app/stream`, as it is placed.
    pub stream: String,
    /// The origin that holds it.
    pub origin: String,
    /// Publishers of it.
    pub publishers: u64,
    /// Those of them that are held: no origin gets what they send.
    #[serde(skip_serializing_if = "list::is_zero")]
    pub held_publishers: u64,
    /// Players of it.
    pub players: u64,
    /// Legs that each bring it for any number of players; others have a leg each.
    pub pulls: u64,
    /// The proxies that have it, where several share a store.
    pub proxies: Vec<String>,
    /// `in_two_places`, `stalled`, `waiting` for a publisher, `late_keyframes`, `live`, or `idle`: the first that it is.
    pub state: String,
    /// Other origins on which it is published at the same time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also_on: Vec<String>,
    /// The protocols of its publishers.
    pub protocols: Vec<String>,
    /// Bits per second from its publishers, averaged over some seconds.
    pub bps_in: u64,
    /// Bits per second to its players, averaged over some seconds.
    pub bps_out: u64,
    /// When its first publisher began (RFC 3339); none without one.
    pub started_at: Option<String>,
    /// Since then.
    pub since_seconds: Option<f64>,
    /// Since a publisher last sent something; none without one.
    pub silent_seconds: Option<f64>,
    /// How far apart its keyframes are; none where no publisher by RTMP shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyframe_seconds: Option<f64>,
}

/// `DELETE /api/v1/streams/{stream}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndedCount {
    /// How many sessions ended.
    pub ended: u64,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// `GET /api/v1/sessions`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sessions {
    /// How many there are.
    pub total: usize,
    /// Whether there may be more than that.
    #[serde(skip_serializing_if = "list::is_false")]
    pub total_at_least: bool,
    /// For the next page; none on the last one, and where no page was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// All of them, oldest first; or a page.
    pub sessions: Vec<Session>,
    /// Whom it speaks for.
    #[serde(flatten)]
    pub coverage: Coverage,
}

/// An open session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Unique on its proxy only.
    pub id: u64,
    /// The proxy that has it; none without a shared store.
    pub proxy: Option<String>,
    /// By which protocol.
    pub protocol: String,
    /// `play` or `publish`.
    pub action: String,
    /// Whether it is an operator who looks at the stream: no viewer, and counted as none.
    #[serde(skip_serializing_if = "list::is_false")]
    pub preview: bool,
    /// What.
    pub stream: String,
    /// The real client.
    pub client: String,
    /// The address that connected.
    pub peer: String,
    /// Where it was placed.
    pub origin: Option<String>,
    /// The pull that it is served from, which others share; none where it has a leg of its own.
    pub pull: Option<u64>,
    /// The decision that placed it, in words.
    pub why: String,
    /// The origins that failed before.
    pub failed: Vec<Failed>,
    /// `connecting`, `waiting`, `relaying` or `held`.
    pub state: String,
    /// When it began (RFC 3339).
    pub started_at: Option<String>,
    /// Since it began.
    pub age_seconds: f64,
    /// From its beginning to its first media.
    pub first_media_seconds: Option<f64>,
    /// Bytes that went to the client.
    pub bytes_to_client: u64,
    /// Bytes that went to the origin.
    pub bytes_to_origin: u64,
    /// Bits per second to the client, averaged over some seconds.
    pub bps_to_client: u64,
    /// Bits per second to the origin, averaged over some seconds.
    pub bps_to_origin: u64,
    /// From its beginning until both ends were connected.
    pub setup_seconds: Option<f64>,
    /// How often a receiver took nothing for a second or longer.
    pub stalls: u64,
    /// Since whoever sends, the client that publishes or the origin of one that plays, last sent something; only where that is
    /// [`STALLED_AFTER`] or longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silent_seconds: Option<f64>,
    /// How far apart a publisher's keyframes are; none where it does not publish by RTMP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyframe_seconds: Option<f64>,
    /// The times it outlived its origin, oldest first; the last 8.
    pub holds: Vec<SessionHold>,
}

/// A time in which a session had no origin that got its media.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SessionHold {
    /// Why its leg was over.
    pub reason: String,
    /// The origin that was lost.
    pub from: Option<String>,
    /// The one that followed, once there is one.
    pub to: Option<String>,
    /// Until media flowed again, once it does.
    pub gap_ms: Option<u64>,
    /// Messages of audio and video that no origin got.
    pub dropped: u64,
    /// How long ago it began.
    pub ago_seconds: f64,
}

/// An origin that failed a session.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failed {
    /// Which.
    pub origin: String,
    /// In words.
    pub why: String,
}

impl<T> Envelope<T> {
    /// The answer with this document.
    pub const fn of(data: T) -> Self {
        Self { code: 0, data }
    }
}

impl Coverage {
    /// Of an answer for `scope` without the parts that are missing.
    pub const fn of(scope: Scope, missing: Vec<Missing>) -> Self {
        Self {
            scope,
            partial: !missing.is_empty(),
            missing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The names of the first properties in `openapi.yaml` that follow these lines, one after the other.
    fn properties(after: &[&str]) -> BTreeSet<String> {
        let mut lines = include_str!("../admin/openapi.yaml").lines();
        for wanted in after {
            assert!(lines.any(|line| line == *wanted), "{wanted:?}");
        }
        let found = lines.find_map(|line| line.find("properties:"));
        let indent = found.expect("properties") + 2;
        let inside = |line: &&str| {
            line.get(..indent)
                .is_some_and(|start| start.trim().is_empty())
        };
        lines
            .take_while(inside)
            .filter_map(|line| line.get(indent..))
            .filter(|rest| !rest.starts_with(' '))
            .filter_map(|rest| Some(rest.split_once(':')?.0.to_owned()))
            .collect()
    }

    fn keys(document: Value) -> BTreeSet<String> {
        let Value::Object(map) = document else {
            panic!("{document} is no object");
        };
        map.into_iter().map(|(key, _)| key).collect()
    }

    #[test]
    fn each_document_has_the_fields_of_its_schema() {
        let data = "              data:";
        let more = Some("cursor".to_owned());
        let rows: [(&[&str], Value); 38] = [
            (&["  /livez:"], json!(Alive { alive: true })),
            (
                &["    Error:"],
                json!(Problem {
                    field: Some("rtmp".to_owned()),
                    force: true,
                    ..Problem::default()
                }),
            ),
            (&["  /readyz:"], json!(Ready::default())),
            (&["  /api/v1/versions:"], json!(Version::default())),
            (
                &["    EndedSession:"],
                json!(EndedSession {
                    preview: true,
                    ..EndedSession::default()
                }),
            ),
            (&["    Event:"], json!(Event::default())),
            (&["    Totals:"], json!(Totals::default())),
            (&["    Overview:"], json!(Overview::default())),
            (
                &["    Overview:", "        origins:"],
                json!(OriginCounts::default()),
            ),
            (
                &["    Overview:", "        store:"],
                json!(StoreSeen::default()),
            ),
            (&["    History:"], json!(History::default())),
            (
                &["    History:", "        origins:"],
                json!(OriginHistory::default()),
            ),
            (&["    Said:"], json!(Said::default())),
            (
                &["    Said:", "        origins:"],
                json!(SaidOfOrigin::default()),
            ),
            (
                &["    Said:", "        silent:"],
                json!(SilentOrigin::default()),
            ),
            (&["    Attention:"], json!(Attention::default())),
            (
                &["    Attention:", "        findings:"],
                json!(Finding::default()),
            ),
            (&["    Me:"], json!(Me::default())),
            (&["    Move:"], json!(Move::default())),
            (&["    Rebalance:"], json!(Rebalance::default())),
            (
                &["    Rebalance:", "        overloaded:"],
                json!(Overloaded::default()),
            ),
            (&["    BoundViewers:"], json!(BoundViewers::default())),
            (&["    Takeover:"], json!(Takeover::default())),
            (
                &["    Rebalance:", "        moves:"],
                json!(PlannedMove::default()),
            ),
            (
                &["    Origin:"],
                json!(Origin {
                    setup_seconds: Some(0.1),
                    ..Origin::default()
                }),
            ),
            (&["    Drain:"], json!(Drain::default())),
            (
                &["    Stream:"],
                json!(Stream {
                    also_on: vec!["two".to_owned()],
                    keyframe_seconds: Some(2.0),
                    held_publishers: 1,
                    ..Stream::default()
                }),
            ),
            (
                &["    Session:"],
                json!(Session {
                    preview: true,
                    silent_seconds: Some(9.0),
                    keyframe_seconds: Some(2.0),
                    ..Session::default()
                }),
            ),
            (&["    Missing:"], json!(Missing::default())),
            (&["    Probed:"], json!(Probed::default())),
            (
                &["    Probed:", "        services:"],
                json!(ServiceProbe::default()),
            ),
            (&["    Duty:", data], json!(Duty::default())),
            (&["    Proxy:", data], json!(Proxy::default())),
            (
                &["    Proxy:", data, "                  peers:"],
                json!(Peer::default()),
            ),
            (
                &["    Proxy:", data, "                  certificates:"],
                json!(Certificate::default()),
            ),
            (
                &["  /api/v1/origins:", "                  data:"],
                json!(Origins {
                    next: more.clone(),
                    ..Origins::default()
                }),
            ),
            (
                &["  /api/v1/streams:", "                  data:"],
                json!(Streams {
                    next: more.clone(),
                    total_at_least: true,
                    ..Streams::default()
                }),
            ),
            (
                &["  /api/v1/sessions:", "                  data:"],
                json!(Sessions {
                    next: more,
                    total_at_least: true,
                    ..Sessions::default()
                }),
            ),
        ];
        for (after, document) in rows {
            assert_eq!(keys(document), properties(after), "{after:?}");
        }
        let ended = [
            "  /api/v1/streams/{stream}:",
            "    delete:",
            "                  data:",
        ];
        assert_eq!(keys(json!(EndedCount::default())), properties(&ended));
    }

    #[test]
    fn what_was_never_said_is_null_and_not_left_out() {
        let origin = json!(Origin::default());
        for key in [
            "device_id",
            "drain",
            "source",
            "zone",
            "max_streams",
            "kbps",
        ] {
            assert_eq!(origin.get(key), Some(&Value::Null), "{key}");
        }
        let session = json!(Session::default());
        for key in [
            "proxy",
            "origin",
            "pull",
            "started_at",
            "first_media_seconds",
        ] {
            assert_eq!(session.get(key), Some(&Value::Null), "{key}");
        }
    }

    #[test]
    fn documents_as_they_always_were_pass_unchanged() {
        let drain = json!({"cause": "operator", "since_seconds": 1.5, "deadline_seconds": 600.0, "publishers": 1,
            "players": 2, "done": false, "eta_seconds": null});
        let mut origin = json!({"id": "one", "device_id": null, "ip": "10.0.0.1", "server": "vid-1", "service": "s", "pid": "7",
            "state": "up", "alive": true, "duty": "draining", "drain": drain, "failures": 0,
            "notes": [{"seconds_ago": 4.5, "what": "refused"}], "heartbeats_missed": 0, "last_seen_seconds": 0.5,
            "heartbeat_seconds": 9.0, "up_seconds": 60.0, "permanent": false, "source": null, "weight": 100,
            "zone": "eu", "labels": ["gpu"], "max_streams": 5, "max_sessions": null, "max_mbps": null, "dialect": "srs", "strip": null, "prepend": null,
            "cpu_percent": 12.5, "memory_percent": null, "connections": 3, "kbps": 900, "sessions": 4, "legs": 3,
            "streams": 2, "bps": 900_000,
            "rtmp": ["tcp://:1935"], "http": [], "api": [], "srt": [], "rtc": [], "rtsp": []});
        origin["software"] = json!("mediamtx");
        let session = json!({"id": 7, "proxy": null, "protocol": "rtmp", "action": "publish", "stream": "v/live/a",
            "client": "127.0.0.1:5", "peer": "127.0.0.1:5", "origin": "one", "pull": 9, "why": "it is placed there",
            "failed": [{"origin": "two", "why": "refused"}], "state": "relaying",
            "started_at": "2026-11-28T12:00:00Z", "age_seconds": 2.5, "first_media_seconds": null,
            "bytes_to_client": 3, "bytes_to_origin": 123_456_789, "bps_to_client": 0, "bps_to_origin": 5_000_000,
            "setup_seconds": 0.1, "stalls": 0, "holds": []});
        let stream = json!({"stream": "v/live/a", "origin": "one", "publishers": 1, "players": 2, "pulls": 1, "proxies": ["p1"],
            "state": "live", "protocols": ["rtmp"], "bps_in": 5_000_000, "bps_out": 0,
            "started_at": "2026-11-28T12:00:00Z", "since_seconds": 2.5,
            "silent_seconds": null});
        let peer = json!({"id": "p2", "system": null, "started": "2026-11-28T12:00:00Z", "version": "0.1.0",
            "reads": {"build": 1}});
        let with_coverage = |mut document: Value| {
            document["scope"] = json!("cluster");
            document["partial"] = json!(true);
            document["missing"] = json!([{"proxy": "p3", "why": "no answer within 2000 ms"}]);
            document
        };
        fn passes<T: Serialize + for<'de> Deserialize<'de>>(data: Value) {
            let document = json!({"code": 0, "data": data});
            let read: Envelope<T> = serde_json::from_value(document.clone()).unwrap();
            assert_eq!(serde_json::to_value(read).unwrap(), document);
        }
        passes::<Origins>(with_coverage(json!({"total": 1, "origins": [origin]})));
        passes::<Sessions>(with_coverage(json!({"total": 1, "sessions": [session]})));
        passes::<Session>(session);
        passes::<Streams>(with_coverage(json!({"total": 1, "streams": [stream]})));
        passes::<EndedCount>(with_coverage(json!({"ended": 2})));
        let duty =
            json!({"id": "one", "duty": "draining", "drain": drain, "publishers": 1, "players": 2});
        passes::<Duty>(with_coverage(duty));
        passes::<Proxy>(
            json!({"id": "p1", "peers": [peer], "version": "0.1.0", "started": null, "draining": true, "drain": null,
            "publishers": 0, "players": 0, "certificates": []}),
        );
        assert_eq!(json!(Done::default()), json!({"code": 0}));
        let problem = Problem {
            code: 404,
            error: "nothing".to_owned(),
            ..Problem::default()
        };
        assert_eq!(json!(problem), json!({"code": 404, "error": "nothing"}));
    }

    #[test]
    fn a_proxy_of_another_version_is_understood() {
        let older = json!({"total": 1, "streams": [{"stream": "v/live/a", "origin": "one", "publishers": 1}]});
        let read: Streams = serde_json::from_value(older).unwrap();
        assert_eq!(
            (read.streams[0].publishers, read.streams[0].players),
            (1, 0)
        );
        assert_eq!(read.coverage, Coverage::default());
        let newer = json!({"total": 0, "streams": [], "scope": "local", "partial": true, "missing": [],
            "weather": {"is": "fine"}});
        let read: Streams = serde_json::from_value(newer).unwrap();
        assert_eq!(
            (read.coverage.scope, read.coverage.partial),
            (Scope::Local, true)
        );
    }

    #[test]
    fn a_drain_is_done_when_it_is_done_everywhere() {
        let drain = |publishers, players, done, eta_seconds| Drain {
            publishers,
            players,
            done,
            eta_seconds,
            ..Drain::default()
        };
        for (ours, theirs, expected) in [
            (
                drain(0, 0, true, Some(1.0)),
                drain(0, 0, true, Some(2.0)),
                drain(0, 0, true, Some(2.0)),
            ),
            (
                drain(0, 0, true, Some(3.0)),
                drain(1, 2, false, Some(2.0)),
                drain(1, 2, false, Some(3.0)),
            ),
            (
                drain(1, 0, false, Some(1.0)),
                drain(1, 2, false, None),
                drain(2, 2, false, None),
            ),
        ] {
            let mut sum = ours;
            sum.add(&theirs);
            assert_eq!(sum, expected);
        }
    }
}
