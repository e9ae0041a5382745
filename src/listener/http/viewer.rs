//! A viewer that was let in, and its links: a playlist is fetched and rewritten once for all viewers, with marks, and each
//! viewer's copy gets its own links in their places.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue};
use sluicegate_core::access::networks::Network;
use sluicegate_core::access::rules::Bind;
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::http::link::{Link, ShownUrl, Start, Viewing};
use sluicegate_core::http::personal::{self, Place as Where, Rhythm};
use sluicegate_core::http::route::Piece;
use sluicegate_core::stream::StreamUrl;

use super::pieces::Pieces;
use crate::proxy::{Attempt, PieceGuard, Request};
use crate::random;

/// A viewer of a stream that a rule is about.
#[derive(Debug)]
pub(super) struct Viewer {
    pub(super) pieces: Arc<Pieces>,
    pub(super) stream: StreamUrl,
    pub(super) viewing: Viewing,
    /// When its links are over at the latest, in seconds since 1970.
    pub(super) ends: u64,
}

/// Where the links of an answer lead, which is the same for all viewers.
#[derive(Debug, Clone)]
pub(super) struct Leads {
    pub(super) origin: OriginId,
    pub(super) target: Target,
    /// Where the segments of earlier origins are that a playlist lists, by the numbers of their sources.
    pub(super) others: Vec<Option<(OriginId, Target)>>,
    /// Where the playlist stands that the answer leads to, where a viewing begins with it.
    pub(super) start: Option<Start>,
    /// Whether it is a manifest that is fetched again and again.
    pub(super) lives: bool,
    /// When the pieces come that it lists, where they have numbers.
    pub(super) rhythm: Option<Rhythm>,
}

impl Leads {
    /// All to one origin.
    pub(super) fn to(attempt: &Attempt) -> Self {
        Self {
            origin: attempt.origin.clone(),
            target: attempt.target.clone(),
            others: Vec::new(),
            start: None,
            lives: false,
            rhythm: None,
        }
    }
}

impl Viewer {
    /// The link of a place in an answer, sealed.
    pub(super) fn link(&self, leads: &Leads, place: Where, source: Option<u8>, now: u64) -> String {
        let start = leads.start.or(self.viewing.start);
        let is_for_pieces = place != Where::Listing;
        let end = match place {
            Where::Numbered(sequence) => {
                let rhythm = leads.rhythm.as_ref();
                personal::end_of_piece(&self.viewing, rhythm, sequence, now)
            }
            Where::Piece if leads.lives => {
                let unknown = Viewing::default();
                personal::end_of_piece(&unknown, None, 0, now)
            }
            Where::Listing | Where::Piece => self.ends,
        };
        let other = source.and_then(|source| leads.others.get(usize::from(source))?.as_ref());
        let (origin, target) = match other {
            Some((origin, target)) => (origin, target),
            None => (&leads.origin, &leads.target),
        };
        let link = Link {
            stream: self.stream.clone(),
            origin: origin.clone(),
            target: target.clone(),
            expires: end.min(self.ends),
            viewing: Some(Box::new(Viewing {
                start: start.filter(|_| !is_for_pieces),
                is_for_pieces,
                // Nobody is judged again at a piece.
                shown: self.viewing.shown.clone().filter(|_| !is_for_pieces),
                ..self.viewing.clone()
            })),
        };
        self.pieces.granting.seal(&link)
    }

    /// The viewer's copy of an answer, whose head says then how long it is and that it is nobody else's.
    pub(super) fn copy(
        &self,
        leads: &Leads,
        headers: &mut HeaderMap,
        body: &Bytes,
        now: u64,
    ) -> Bytes {
        let Ok(text) = std::str::from_utf8(body) else {
            return body.clone();
        };
        let filled = personal::fill(text, &self.pieces.mark, |place, source| {
            self.link(leads, place, source, now)
        });
        headers.insert(CONTENT_LENGTH, HeaderValue::from(filled.len()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        filled.into()
    }
}

/// A viewing that begins now. A player fetches a live manifest again by the address that it began with, so that it shows no
/// link: what it is known by is the same each time then.
pub(super) fn begin(kind: Piece, place: &PieceGuard, now: u64) -> Viewing {
    let request = place.request();
    let (id, since) = match kind {
        Piece::Manifest => (known_by(request), now - now % MANIFEST_VIEWING),
        Piece::Playlist | Piece::Segment => (u64::from_ne_bytes(random::bytes()), now),
    };
    let client = request.client.ip();
    Viewing {
        id,
        since,
        who: place.grant().who.clone(),
        network: match place.grant().bind {
            Bind::Address => Some(Network::of(client)),
            Bind::Network => Some(Network::around(client)),
            Bind::Nowhere => None,
        },
        start: None,
        is_for_pieces: false,
        asked: place.asked().cloned(),
        shown: place.grant().recheck.and_then(|_| shown_by(request)),
    }
}

/// What a viewer showed that its player does not show with every request, as headers are.
fn shown_by(request: &Request) -> Option<ShownUrl> {
    ShownUrl::of(request.credentials.as_ref()?.url.as_deref()?)
}

fn known_by(request: &Request) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hash = DefaultHasher::new();
    request.stream.as_str().hash(&mut hash);
    request.client.ip().hash(&mut hash);
    if let Some(credentials) = &request.credentials {
        let shown = [&credentials.query, &credentials.bearer, &credentials.cookie];
        shown.hash(&mut hash);
    }
    hash.finish()
}

/// The links of a manifest are equal for this many seconds.
const MANIFEST_VIEWING: u64 = 600;

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use sluicegate_core::fleet::origin::{Host, Security};
    use sluicegate_core::http::link::LinkKey;

    use super::*;
    use crate::config::{Environment, Settings};

    /// Seconds that a piece lasts, and how many of them a playlist lists.
    const PIECE: u64 = 4;
    const LISTED: u64 = 6;

    fn pieces() -> Arc<Pieces> {
        let loaded = Settings::load(None, &Environment::new([], "")).expect("the defaults");
        let http = Arc::new(loaded.settings.http);
        let keys = (LinkKey::new(b"k"), LinkKey::granting(b"k"));
        Arc::new(Pieces::new(keys.0, keys.1, http))
    }

    fn leads(start: Option<Start>) -> Leads {
        Leads {
            origin: "one".into(),
            target: Target {
                host: Host::Ip([127, 0, 0, 1].into()),
                port: 80,
                security: Security::Plain,
            },
            others: Vec::new(),
            start,
            lives: true,
            rhythm: None,
        }
    }

    /// The links of a copy, by what they lead to.
    fn links(copy: &Bytes) -> HashMap<String, String> {
        let text = std::str::from_utf8(copy).expect("text");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.split_once("?spbhid="));
        pairs
            .map(|(name, link)| (name.to_owned(), link.to_owned()))
            .collect()
    }

    #[test]
    fn ninety_minutes_of_watching_across_two_hours() {
        watch_for_ninety_minutes(Some(Start {
            sequence: 100,
            pace: u32::try_from(PIECE).expect("a few"),
        }));
    }

    #[test]
    fn ninety_minutes_of_watching_after_a_master_playlist_of_the_origin() {
        watch_for_ninety_minutes(None);
    }

    /// A player that asks for its playlist every four seconds for ninety minutes, as hls.js does, where the hour changes
    /// after ten of them and once more. `start` is where that stood when the viewing began, if that is known.
    fn watch_for_ninety_minutes(start: Option<Start>) {
        let pieces = pieces();
        let began: u64 = 1_800_000_000 - 600;
        let viewing = Viewing {
            id: 7,
            since: began,
            ..Viewing::default()
        };
        let mut viewer = Viewer {
            pieces: Arc::clone(&pieces),
            stream: "h.example/live/a".parse().expect("a name"),
            viewing,
            ends: began + 24 * 3600,
        };
        let master = format!(
            "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8?spbhid={}\n",
            pieces.mark
        );
        let copy = viewer.copy(&leads(start), &mut HeaderMap::new(), &master.into(), began);
        let variant = links(&copy).remove("a.m3u8").expect("a link");
        let mut seen: BTreeMap<String, String> = BTreeMap::new();
        let (mut given, mut longest) = (0, 0);
        let mut rhythm = None;
        for now in (began..began + 90 * 60).step_by(4) {
            // The one link that the player has of its playlist, for as long as it watches.
            let link = pieces.granting.open(&variant, now).expect("it holds");
            viewer.viewing = *link.viewing.clone().expect("it lets in");
            assert!(!viewer.viewing.is_for_pieces);
            viewer.ends = link.expires;
            let first = 100 + (now - began) / PIECE;
            let listed: String = (first..first + LISTED)
                .map(|number| format!("#EXTINF:4,\na-{number}.ts?spbhid={}\n", pieces.mark))
                .collect();
            let body = format!(
                "#EXTM3U\n#EXT-X-TARGETDURATION:{PIECE}\n#EXT-X-MEDIA-SEQUENCE:{first}\n{listed}"
            );
            let mut leads = leads(None);
            if start.is_none() {
                rhythm = rhythm.or_else(|| Rhythm::of(&body, now));
                leads.rhythm = rhythm;
            }
            let copy = viewer.copy(&leads, &mut HeaderMap::new(), &body.into(), now);
            for (name, link) in links(&copy) {
                let opened = pieces
                    .granting
                    .open(&link, now + 60)
                    .expect("soon after, too");
                assert!(opened.viewing.expect("it lets in").is_for_pieces);
                longest = longest.max(opened.expires - now);
                given += 1;
                let before = seen.entry(name.clone()).or_insert_with(|| link.clone());
                assert_eq!(*before, link, "{name} has one link at {} s", now - began);
            }
        }
        assert_eq!(given, 90 * 60 / 4 * LISTED, "every piece of every playlist");
        assert!(longest <= 1_200 + LISTED * PIECE, "{longest} s");
        // A stolen link of a piece is over soon, and the playlist's on the day after.
        let stolen = &seen["a-100.ts"];
        assert!(pieces.granting.open(stolen, began + 1_200).is_err());
        assert!(
            pieces
                .granting
                .open(&variant, began + 24 * 3600 + 1)
                .is_err()
        );
        assert!(
            pieces.key.open(&variant, began).is_err(),
            "an older build knows it not"
        );
    }
}
