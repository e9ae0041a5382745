//! How much there may be at once: limits, as the settings list them and as a backend may answer them.

use std::fmt;

use sha2::{Digest, Sha256};

use super::identity::Identity;
use super::networks::Network;
use super::question::Question;
use super::rules::Whom;

/// What a limit counts by: each of these has its own count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Per {
    /// The client's address.
    Address,
    /// The app of the stream, with its vhost.
    App,
    /// The name of the key that was shown. Clients that showed none are not counted.
    Key,
    /// The client's [network](Network::around).
    Network,
    /// The stream.
    Stream,
    /// The vhost of the stream.
    Vhost,
    /// The viewer or user. Clients that are not known by a name are not counted.
    Viewer,
}

/// How much there may be of each; `None`: as much as comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Most {
    /// Publishers at once.
    pub publishers: Option<u32>,
    /// Viewers at once: sessions that play, and viewings of HLS and DASH.
    pub viewers: Option<u32>,
    /// Both together.
    pub sessions: Option<u32>,
    /// Kilobits per second that one publisher may send.
    pub publish_kbps: Option<u32>,
    /// Sessions that may begin within a second.
    pub new_per_second: Option<u32>,
    /// Requests that may show something wrong within a minute.
    pub failures_per_minute: Option<u32>,
}

/// One limit: whom it is about, what it counts by, and how much there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    whom: Whom,
    per: Per,
    /// How much there may be.
    pub most: Most,
    /// What of the limit names its counts.
    name: String,
}

/// Names one count among those of all limits: the same at every proxy that has the same limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CountKey(pub u64);

impl Per {
    /// The word that the settings have for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::App => "app",
            Self::Key => "key",
            Self::Network => "network",
            Self::Stream => "stream",
            Self::Vhost => "vhost",
            Self::Viewer => "viewer",
        }
    }

    /// What the settings mean by a word.
    pub fn named(word: &str) -> Option<Self> {
        let all = [
            Self::Address,
            Self::App,
            Self::Key,
            Self::Network,
            Self::Stream,
            Self::Vhost,
            Self::Viewer,
        ];
        all.into_iter().find(|per| per.name() == word)
    }

    fn subject(self, question: &Question<'_>, who: &Identity) -> Option<String> {
        let stream = question.stream;
        Some(match self {
            Self::Address => question.client.to_canonical().to_string(),
            Self::App => format!("{}/{}", stream.vhost(), stream.app()),
            Self::Key => who.key.as_deref()?.to_owned(),
            Self::Network => Network::around(question.client).to_string(),
            Self::Stream => stream.as_str().to_owned(),
            Self::Vhost => stream.vhost().to_owned(),
            Self::Viewer => who.viewer.as_deref()?.to_owned(),
        })
    }
}

impl Most {
    /// Both at once: the smaller of each.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let less = |one: Option<u32>, other: Option<u32>| match (one, other) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        Self {
            publishers: less(self.publishers, other.publishers),
            viewers: less(self.viewers, other.viewers),
            sessions: less(self.sessions, other.sessions),
            publish_kbps: less(self.publish_kbps, other.publish_kbps),
            new_per_second: less(self.new_per_second, other.new_per_second),
            failures_per_minute: less(self.failures_per_minute, other.failures_per_minute),
        }
    }

    /// Whether how many there are now has to be known.
    pub const fn counts(&self) -> bool {
        self.publishers.is_some() || self.viewers.is_some() || self.sessions.is_some()
    }

    fn amounts(&self) -> [(&'static str, Option<u32>); 6] {
        [
            ("publishers", self.publishers),
            ("viewers", self.viewers),
            ("sessions", self.sessions),
            ("kbit/s of a publisher", self.publish_kbps),
            ("new sessions per second", self.new_per_second),
            ("failures per minute", self.failures_per_minute),
        ]
    }
}

impl Limit {
    /// A limit.
    pub fn new(whom: Whom, per: Per, most: Most) -> Self {
        let name = format!("{} {whom}", per.name());
        Self {
            whom,
            per,
            most,
            name,
        }
    }

    /// What it counts by.
    pub const fn per(&self) -> Per {
        self.per
    }

    /// The count that a request belongs to; `None` where the limit is not about it.
    pub fn count_of(&self, question: &Question<'_>, who: &Identity) -> Option<CountKey> {
        if !self.whom.fits(question) {
            return None;
        }
        let subject = self.per.subject(question, who)?;
        Some(CountKey::of(&self.name, &subject))
    }
}

impl CountKey {
    /// The count of `subject` by the limit of this name.
    pub fn of(limit: &str, subject: &str) -> Self {
        let hash = Sha256::new_with_prefix(limit)
            .chain_update(b"\n")
            .chain_update(subject)
            .finalize();
        let bytes = hash.first_chunk().expect("a hash of 32 bytes");
        Self(u64::from_be_bytes(*bytes))
    }
}

impl fmt::Display for Limit {
    /// `at most 2 sessions for each viewer that wants to play any stream`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let amounts: Vec<String> = self
            .most
            .amounts()
            .into_iter()
            .filter_map(|(what, most)| Some(format!("{} {what}", most?)))
            .collect();
        let (amounts, per) = (amounts.join(", "), self.per.name());
        write!(
            f,
            "at most {amounts} for each {per}, of those who want to {}",
            self.whom
        )
    }
}
