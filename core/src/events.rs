//! What happened lately, for people: the newest events of each kind.

use std::collections::{BTreeMap, VecDeque};

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An operator changed something, or looked at what a stream carries.
    Audit,
    /// A certificate is used from here on, or could not be.
    Certificate,
    /// The process started, or read settings again.
    Config,
    /// A drain began, or was undone.
    Drained,
    /// An origin was lost and its clients were not, or they got another.
    Held,
    /// A publisher's session ended.
    Lost,
    /// Sessions of a stream were ended because it is on another origin now.
    Moved,
    /// An origin changed its state.
    Origin,
    /// A publisher was joined with an origin.
    Published,
    /// A client got no session.
    Refused,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct News {
    /// The stream, as `vhost/app/stream`; empty if it is about none.
    pub stream: String,
    /// The origin; empty if it is about none.
    pub origin: String,
    /// The address of the client or the caller, without its port; empty if it is about none.
    pub client: String,
    /// What happened, in words.
    pub what: String,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Grows from event to event.
    pub number: u64,
    /// When it happened first: milliseconds since 1970.
    pub at: u64,
    /// What it is about.
    pub kind: Kind,
    /// What happened.
    pub news: News,
    /// How often it happened: refusals of one address for one stream within one minute are one event.
    pub count: u64,
}

/// The newest events of each kind.
#[derive(Debug, Default)]
pub struct Events {
    last: u64,
    kinds: BTreeMap<Kind, VecDeque<Event>>,
    /// The event of each address that was refused in this minute, and of the stream that it asked for, by its number.
    /// Streams for which there is no room have one together.
    refused: BTreeMap<(String, Option<String>), u64>,
    minute: u64,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 10] = [
        Self::Audit,
        Self::Certificate,
        Self::Config,
        Self::Drained,
        Self::Held,
        Self::Lost,
        Self::Moved,
        Self::Origin,
        Self::Published,
        Self::Refused,
    ];

    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Certificate => "certificate",
            Self::Config => "config",
            Self::Drained => "drained",
            Self::Held => "held",
            Self::Lost => "lost",
            Self::Moved => "moved",
            Self::Origin => "origin",
            Self::Published => "published",
            Self::Refused => "refused",
        }
    }
}

impl Events {
    /// Notes what happened at `at`, in milliseconds since 1970, and returns the event that it is, or has become part of.
    pub fn note(&mut self, at: u64, kind: Kind, mut news: News) -> Event {
        for text in [
            &mut news.stream,
            &mut news.origin,
            &mut news.client,
            &mut news.what,
        ] {
            shorten(text);
        }
        if kind == Kind::Refused
            && let Some(event) = self.refused_again(at, &news)
        {
            return event;
        }
        self.last += 1;
        let event = Event {
            number: self.last,
            at,
            kind,
            news,
            count: 1,
        };
        let kept = self.kinds.entry(kind).or_default();
        if kept.len() >= MOST_EVENTS {
            kept.pop_front();
        }
        kept.push_back(event.clone());
        event
    }

    /// Every event of a kind that is kept, oldest first.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = &Event> {
        self.kinds.get(&kind).into_iter().flatten()
    }

    /// The number of the newest event; 0 if there is none.
    pub const fn newest(&self) -> u64 {
        self.last
    }

    /// Counts a refusal with an earlier one of the same address and stream in the same minute; `None` if it is the first.
    fn refused_again(&mut self, at: u64, news: &News) -> Option<Event> {
        let minute = at / MINUTE;
        if minute != self.minute {
            self.minute = minute;
            self.refused.clear();
        }
        let own = (news.client.clone(), Some(news.stream.clone()));
        let (key, room) = match self.has_room_for(&own) {
            true => (own, MOST_EVENTS),
            false => ((own.0, None), 2 * MOST_EVENTS),
        };
        let kept = self.kinds.entry(Kind::Refused).or_default();
        if let Some(number) = self.refused.get(&key)
            && let Ok(found) = kept.binary_search_by_key(number, |event| event.number)
            && let Some(event) = kept.get_mut(found)
        {
            event.count += 1;
            event.news = news.clone();
            return Some(event.clone());
        }
        // Once this many are known in a minute, each refusal of a further address is an event of its own.
        if self.refused.len() < room {
            self.refused.insert(key, self.last + 1);
        }
        None
    }

    /// Whether the refusals of an address for a stream have an event of their own, or may have one.
    fn has_room_for(&self, own: &(String, Option<String>)) -> bool {
        let known = self.refused.range((own.0.clone(), None)..);
        let streams = known.take_while(|((client, _), _)| *client == own.0);
        self.refused.contains_key(own)
            || (self.refused.len() < MOST_EVENTS && streams.count() < MOST_STREAMS)
    }
}

fn shorten(text: &mut String) {
    if let Some((at, _)) = text.char_indices().nth(LONGEST_TEXT) {
        text.truncate(at);
        text.push('…');
    }
}

/// Events that are kept of each kind: a busy evening, and a few hundred kilobytes.
pub const MOST_EVENTS: usize = 2_000;
/// Maximum characters of a text in an event; names may be longer.
const LONGEST_TEXT: usize = 300;
const MINUTE: u64 = 60_000;
/// Streams for which one address has events of its refusals in a minute: a page of cameras, or a few players behind one
/// address. One that tries names by the thousand would push everything else out.
const MOST_STREAMS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn from(client: &str) -> News {
        News {
            client: client.to_owned(),
            ..News::default()
        }
    }

    #[test]
    fn refusals_of_one_address_within_a_minute_are_one_event() {
        let mut events = Events::default();
        let noted = [
            (0, "a", 1, 1),
            (10, "b", 2, 1),
            (59_999, "a", 1, 2),
            (60_000, "a", 3, 1),
        ];
        for (at, client, number, count) in noted {
            let event = events.note(at, Kind::Refused, from(client));
            assert_eq!(
                (event.number, event.count),
                (number, count),
                "{client} at {at}"
            );
        }
        let published = events.note(60_001, Kind::Published, from("a"));
        let again = events.note(60_002, Kind::Published, from("a"));
        assert_eq!(
            (published.number, again.number),
            (4, 5),
            "only refusals are merged"
        );
    }

    #[test]
    fn refusals_of_one_address_keep_each_stream_that_was_asked_for() {
        let mut events = Events::default();
        let asks = |client: &str, stream: &str, what: &str| News {
            stream: stream.to_owned(),
            what: what.to_owned(),
            ..from(client)
        };
        let rows = [
            ("a", "v/live/one", "the first no", 1, 1),
            ("a", "v/live/two", "another", 2, 1),
            ("b", "v/live/one", "a neighbour's", 3, 1),
            ("a", "v/live/one", "the second no", 1, 2),
            ("a", "", "of none", 4, 1),
        ];
        for (client, stream, what, number, count) in rows {
            let event = events.note(0, Kind::Refused, asks(client, stream, what));
            assert_eq!((event.number, event.count), (number, count), "{what}");
            assert_eq!(event.news, asks(client, stream, what));
        }

        // Who tries names takes the room of a few, and of those it tried last one.
        let tried = 2 * MOST_STREAMS as u64;
        let before = events.newest();
        for number in 0..tried {
            let name = format!("v/live/{number}");
            let event = events.note(0, Kind::Refused, asks("c", &name, ""));
            assert_eq!(event.news.stream, name);
        }
        let kept: Vec<_> = events
            .of(Kind::Refused)
            .filter(|event| event.number > before)
            .map(|event| (event.news.stream.as_str(), event.count))
            .collect();
        assert_eq!(kept.len(), MOST_STREAMS + 1);
        assert_eq!(kept[0], ("v/live/0", 1));
        let newest = format!("v/live/{}", tried - 1);
        assert_eq!(kept[MOST_STREAMS], (newest.as_str(), MOST_STREAMS as u64));
    }

    #[test]
    fn each_kind_keeps_its_newest_and_a_flood_of_one_hides_no_other() {
        let mut events = Events::default();
        events.note(0, Kind::Audit, from("operator"));
        for at in 0..10_000 {
            events.note(at, Kind::Refused, from(&format!("{at}")));
        }
        assert_eq!(events.of(Kind::Audit).count(), 1);
        assert_eq!(events.of(Kind::Refused).count(), MOST_EVENTS);
        assert_eq!(
            events.of(Kind::Refused).last().map(|event| event.at),
            Some(9_999)
        );
        assert!(events.refused.len() <= 2 * MOST_EVENTS);
        assert_eq!(events.newest(), 10_001);
    }

    #[test]
    fn texts_are_bounded_at_whole_letters() {
        let mut events = Events::default();
        let long = News {
            what: "é".repeat(5_000),
            ..News::default()
        };
        let event = events.note(0, Kind::Config, long);
        assert_eq!(event.news.what.chars().count(), LONGEST_TEXT + 1);
        assert!(event.news.what.ends_with('…'));
    }
}
