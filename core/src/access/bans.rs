//! Bans: who may not have anything until a certain time, whatever the rules say.
//!
//! Each ban is one word on one target. The word with the later time of speaking counts, so that proxies which hear words
//! in any order agree. That a ban was lifted is a word too, kept until the ban would have ended: an older word on it, which
//! comes late, does not bring it back.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use sha2::{Digest, Sha256};

use super::identity::{Identity, LONGEST_NAME, name_of};
use super::networks::Network;

/// Who or what is banned.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Everybody at these addresses.
    Address(Network),
    /// Clients that show the generated key of this name.
    Key(Box<str>),
    /// Everybody who asks for this stream: by the name that it is placed under, or by its full name, which holds for one
    /// vhost also where streams of several vhosts are placed as one.
    Stream(Box<str>),
    /// Clients that show the token of this id.
    Token(Box<str>),
    /// The viewer or user of this name.
    Viewer(Box<str>),
}

/// A word on one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ban {
    /// Who or what it is about.
    pub target: Target,
    /// Until when the ban holds, in seconds since 1970.
    pub until: u64,
    /// When this was said, in milliseconds since 1970. The later word on a target counts.
    pub at: u64,
    /// Whether it says that the ban is lifted.
    pub lifted: bool,
    /// Why, in words for operators; may be empty.
    pub reason: Box<str>,
}

/// A request or a session, as bans look at it.
#[derive(Debug, Clone, Copy)]
pub struct Suspect<'a> {
    /// Where the client is.
    pub client: IpAddr,
    /// The name that its stream is placed under.
    pub stream: &'a str,
    /// The full name of its stream, `vhost/app/stream`.
    pub called: &'a str,
    /// Who it is, as far as that is known.
    pub who: &'a Identity,
}

/// Every word that counts.
#[derive(Debug, Default)]
pub struct Bans {
    words: HashMap<Target, Ban>,
}

/// Not a target of a ban.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotATarget {
    /// It is empty, or longer than a name may be.
    #[error("a name has 1 to {LONGEST_NAME} bytes")]
    Length,
    /// What should be a network is none.
    #[error("not an address or a network, such as 192.0.2.1 or 192.0.2.0/24")]
    Network,
    /// It is of no kind that is known.
    #[error("none of address, key, stream, token and viewer")]
    Kind,
}

impl Target {
    /// The target of this kind and name.
    ///
    /// # Errors
    /// [`NotATarget`]
    pub fn new(kind: &str, name: &str) -> Result<Self, NotATarget> {
        if kind == "address" {
            let network = name.parse().map_err(|_| NotATarget::Network)?;
            return Ok(Self::Address(network));
        }
        let longest = if kind == "stream" {
            LONGEST_STREAM
        } else {
            LONGEST_NAME
        };
        if name.is_empty() || name.len() > longest {
            return Err(NotATarget::Length);
        }
        match kind {
            "key" => Ok(Self::Key(name.into())),
            "stream" => Ok(Self::Stream(name.into())),
            "token" => Ok(Self::Token(name.into())),
            "viewer" => Ok(Self::Viewer(name.into())),
            _ => Err(NotATarget::Kind),
        }
    }

    /// What kind of target it is, and which.
    pub fn parts(&self) -> (&'static str, String) {
        match self {
            Self::Address(network) => ("address", network.to_string()),
            Self::Key(name) => ("key", name.to_string()),
            Self::Stream(name) => ("stream", name.to_string()),
            Self::Token(name) => ("token", name.to_string()),
            Self::Viewer(name) => ("viewer", name.to_string()),
        }
    }

    /// Names the target in 16 hexadecimal digits: the same at every proxy.
    pub fn id(&self) -> String {
        let hash = Sha256::digest(self.to_string());
        hash.iter()
            .take(8)
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }

    fn meets(&self, suspect: &Suspect<'_>) -> bool {
        let is = |known: &Option<Box<str>>, name: &str| known.as_deref() == Some(name);
        match self {
            Self::Address(network) => network.contains(suspect.client),
            Self::Key(name) => is(&suspect.who.key, name),
            Self::Stream(name) => [suspect.stream, suspect.called].contains(&&**name),
            Self::Token(name) => is(&suspect.who.token, name),
            Self::Viewer(name) => is(&suspect.who.viewer, name),
        }
    }
}

impl fmt::Display for Target {
    /// `viewer:seven`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, name) = self.parts();
        write!(f, "{kind}:{name}")
    }
}

impl FromStr for Target {
    type Err = NotATarget;

    fn from_str(text: &str) -> Result<Self, NotATarget> {
        let (kind, name) = text.split_once(':').ok_or(NotATarget::Kind)?;
        Self::new(kind, name)
    }
}

impl Ban {
    /// Whether it bans somebody at `now`, in seconds since 1970.
    pub const fn holds(&self, now: u64) -> bool {
        !self.lifted && self.until > now
    }

    /// Whether it holds at `now` and is about this suspect.
    pub fn meets(&self, suspect: &Suspect<'_>, now: u64) -> bool {
        self.holds(now) && self.target.meets(suspect)
    }
}

impl Bans {
    /// Whether there are no words at all.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// Takes a word, if it is later than the one that is known on its target. Returns whether it counts now; false also
    /// where [`MOST_BANS`] others hold.
    pub fn take(&mut self, ban: Ban, now: u64) -> bool {
        if let Some(known) = self.words.get(&ban.target)
            && known.at >= ban.at
        {
            return false;
        }
        if !self.words.contains_key(&ban.target) && self.words.len() >= MOST_BANS {
            self.words.retain(|_, known| known.until > now);
            if self.words.len() >= MOST_BANS {
                return false;
            }
        }
        self.words.insert(ban.target.clone(), ban);
        true
    }

    /// The word on the target of this [id](Target::id), if its ban holds at `now`.
    pub fn holding(&self, id: &str, now: u64) -> Option<&Ban> {
        let mut held = self.words.values().filter(|ban| ban.holds(now));
        held.find(|ban| ban.target.id() == id)
    }

    /// Every word whose time is not over at `now`, also those that lift a ban.
    pub fn words(&self, now: u64) -> impl Iterator<Item = &Ban> {
        self.words.values().filter(move |ban| ban.until > now)
    }

    /// The ban that meets somebody at `now`, if one does. Names and the stream cost one look each; networks are walked.
    pub fn meeting(&self, suspect: &Suspect<'_>, now: u64) -> Option<&Ban> {
        if self.words.is_empty() {
            return None;
        }
        let who = suspect.who;
        let named = [
            who.viewer.clone().map(Target::Viewer),
            who.key.clone().map(Target::Key),
            who.token.clone().map(Target::Token),
            name_of_stream(suspect.stream).map(Target::Stream),
            name_of_stream(suspect.called)
                .filter(|called| **called != *suspect.stream)
                .map(Target::Stream),
        ];
        let by_name = named
            .into_iter()
            .flatten()
            .find_map(|target| self.words.get(&target).filter(|ban| ban.holds(now)));
        by_name.or_else(|| {
            let networks = self
                .words
                .values()
                .filter(|ban| matches!(ban.target, Target::Address(_)));
            networks
                .filter(|ban| ban.holds(now))
                .find(|ban| ban.target.meets(suspect))
        })
    }
}

fn name_of_stream(stream: &str) -> Option<Box<str>> {
    (!stream.is_empty()).then(|| stream.into())
}

/// A reason in words, without control characters and within its bound.
pub fn reason_of(text: &str) -> Box<str> {
    let plain: String = text.chars().filter(|c| !c.is_control()).collect();
    name_of(&plain).unwrap_or_default()
}

/// Words that are kept, of about 300 bytes each. More bans than this are networks or rules.
pub const MOST_BANS: usize = 10_000;
/// Maximum bytes of a stream's name: vhost, app and stream at their longest.
const LONGEST_STREAM: usize = 1_024;
/// The longest that a ban may hold, in seconds: a year. Something longer is a rule.
pub const LONGEST_BAN: u64 = 366 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn ban(target: &str, at: u64) -> Ban {
        Ban {
            target: target.parse().unwrap(),
            until: 100,
            at,
            lifted: false,
            reason: "".into(),
        }
    }

    fn meets(target: &str, client: &str, who: &Identity) -> bool {
        let mut bans = Bans::default();
        assert!(bans.take(ban(target, 1), 0));
        let suspect = Suspect {
            client: client.parse().unwrap(),
            stream: "__defaultVhost__/live/a",
            called: "h.example/live/a",
            who,
        };
        let word = bans.words(0).next().unwrap();
        assert_eq!(
            word.meets(&suspect, 99),
            bans.meeting(&suspect, 99).is_some(),
            "one and all agree: {target}"
        );
        assert_eq!(bans.meeting(&suspect, 100), None, "it is over");
        bans.meeting(&suspect, 99).is_some()
    }

    #[test]
    fn whom_a_ban_meets() {
        let who = Identity {
            token: name_of("t-1"),
            ..Identity::key("encoder-1")
        };
        let nobody = Identity::default();
        let rows = [
            ("its address", "address:192.0.2.1", &nobody, true),
            ("its network", "address:192.0.2.0/24", &nobody, true),
            ("another network", "address:198.51.100.0/24", &who, false),
            ("its key", "key:encoder-1", &who, true),
            ("its key, not shown", "key:encoder-1", &nobody, false),
            ("another key", "key:encoder-2", &who, false),
            ("its name", "viewer:encoder-1", &who, true),
            ("a viewer called as its token", "viewer:t-1", &who, false),
            ("its token", "token:t-1", &who, true),
            (
                "its stream",
                "stream:__defaultVhost__/live/a",
                &nobody,
                true,
            ),
            (
                "its stream, on its vhost",
                "stream:h.example/live/a",
                &nobody,
                true,
            ),
            (
                "on another vhost",
                "stream:i.example/live/a",
                &nobody,
                false,
            ),
            (
                "another stream",
                "stream:__defaultVhost__/live/b",
                &who,
                false,
            ),
        ];
        for (cause, target, who, expected) in rows {
            assert_eq!(meets(target, "192.0.2.1", who), expected, "{cause}");
        }
        assert!(meets("address:192.0.2.1", "::ffff:192.0.2.1", &nobody));
    }

    #[test]
    fn the_later_word_counts_in_any_order() {
        let target = "viewer:seven";
        let lifted = Ban {
            lifted: true,
            ..ban(target, 2)
        };
        for words in [
            [ban(target, 1), lifted.clone()],
            [lifted.clone(), ban(target, 1)],
        ] {
            let mut bans = Bans::default();
            for word in words {
                bans.take(word, 0);
            }
            assert_eq!(bans.words(0).collect::<Vec<_>>(), [&lifted]);
            assert_eq!(bans.holding(&lifted.target.id(), 0), None, "it is lifted");
            assert!(bans.take(ban(target, 3), 0), "banned again");
            assert!(bans.holding(&lifted.target.id(), 0).is_some());
        }
    }

    #[test]
    fn there_are_only_so_many() {
        let mut bans = Bans::default();
        for number in 0..MOST_BANS {
            assert!(bans.take(ban(&format!("viewer:{number}"), 1), 0));
        }
        assert!(!bans.take(ban("viewer:more", 1), 0), "no room");
        assert!(
            bans.take(ban("viewer:7", 2), 0),
            "a later word on one that is known"
        );
        assert!(
            bans.take(ban("viewer:more", 1), 100),
            "those that are over go"
        );
    }

    #[test]
    fn targets_are_written_as_they_are_read() {
        for text in [
            "address:2001:db8::/32",
            "key:encoder-1",
            "stream:h.example/live/a",
            "token:a:b",
            "viewer:seven",
        ] {
            let target: Target = text.parse().unwrap();
            assert_eq!(target.to_string(), text);
            assert_eq!(target.id().len(), 16);
        }
        let rows = [
            ("no kind", "seven", NotATarget::Kind),
            ("another kind", "user:seven", NotATarget::Kind),
            ("no name", "viewer:", NotATarget::Length),
            ("no network", "address:somewhere", NotATarget::Network),
        ];
        for (cause, text, expected) in rows {
            assert_eq!(text.parse::<Target>(), Err(expected), "{cause}");
        }
        let long = format!("viewer:{}", "x".repeat(LONGEST_NAME + 1));
        assert_eq!(long.parse::<Target>(), Err(NotATarget::Length));
    }
}
