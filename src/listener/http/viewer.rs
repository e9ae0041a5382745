//! A viewer that was let in, and its links: a playlist is fetched and rewritten once for all viewers, with marks, and each
//! viewer's copy gets its own links in their places.

use std::sync::Arc;

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{CACHE_CONTROL, CONTENT_LENGTH, HeaderValue};
use sluicegate_core::access::networks::Network;
use sluicegate_core::access::rules::Bind;
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::http::link::{Link, Start, Viewing};
use sluicegate_core::http::personal::{self, Place as Where};
use sluicegate_core::http::route::Piece;
use sluicegate_core::stream::StreamUrl;

use super::pieces::Pieces;
use crate::proxy::{PieceGuard, Request};

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
    /// Where the playlist stands that the answer leads to, where a viewing begins with it.
    pub(super) start: Option<Start>,
    /// Whether it is a manifest that is fetched again and again.
    pub(super) lives: bool,
}

impl Viewer {
    /// The link of a place in an answer, sealed.
    pub(super) fn link(&self, leads: &Leads, place: Where, now: u64) -> String {
        let start = leads.start.or(self.viewing.start);
        let is_for_pieces = place != Where::Listing;
        let end = match place {
            Where::Numbered(sequence) => personal::end_of_piece(&self.viewing, sequence, now),
            Where::Piece if leads.lives => {
                let unknown = Viewing::default();
                personal::end_of_piece(&unknown, 0, now)
            }
            Where::Listing | Where::Piece => self.ends,
        };
        let link = Link {
            stream: self.stream.clone(),
            origin: leads.origin.clone(),
            target: leads.target.clone(),
            expires: end.min(self.ends),
            viewing: Some(Box::new(Viewing {
                start: start.filter(|_| !is_for_pieces),
                is_for_pieces,
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
        let filled = personal::fill(text, &self.pieces.mark, |place| {
            self.link(leads, place, now)
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
        Piece::Playlist | Piece::Segment => (random(), now),
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
    }
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

fn random() -> u64 {
    let mut random = [0; 8];
    getrandom::fill(&mut random).expect("the system has randomness");
    u64::from_ne_bytes(random)
}

/// The links of a manifest are equal for this many seconds.
const MANIFEST_VIEWING: u64 = 600;
