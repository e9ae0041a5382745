//! Answers of origins that came a moment ago, and what they became for players. Every viewer of a live playlist gets the
//! same until its next segment: where each one's is asked for by itself, nothing but the asking is left to do.
//!
//! What an answer becomes follows from its bytes and from [what it was asked for by](KnownAnswer::is_for). So an answer
//! that is the known one, byte for byte, becomes the same, and one with the known body gets that body. Any other is read,
//! and takes its place.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hyper::Response;
use sluicegate_core::fleet::origin::{OriginId, Target};
use sluicegate_core::http::base::BasePath;
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::sharing::{Audience, Share};
use sluicegate_core::stream::StreamUrl;

use super::links::expiry;
use super::{PieceRequest, TimeLimit};
use crate::listener::http::ready::Ready;
use crate::origin::line::LineBody;
use crate::proxy::Attempt;
use crate::unix_time;

/// The last answer to each request for a playlist, by who is asked for which path and by which name for us.
#[derive(Debug, Default)]
pub(super) struct KnownAnswers {
    // A std mutex: it is held for a look-up, never across an await.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    by_place: HashMap<u64, Arc<KnownAnswer>>,
    bytes: usize,
}

/// A playlist that was its asker's alone, as its origin sent it and as its asker got it.
#[derive(Debug)]
pub(super) struct KnownAnswer {
    /// Head and body, where nothing else frames the body.
    came: Option<Bytes>,
    body: Bytes,
    became: Ready,
    asked: AskedBy,
}

/// All that decides, besides an answer, what becomes of it.
#[derive(Debug)]
struct AskedBy {
    stream: StreamUrl,
    share: Share,
    origin: OriginId,
    at_origin: Target,
    links_end: u64,
    host: String,
    base: BasePath,
    site: String,
    folder: String,
}

impl KnownAnswer {
    /// Its head and its body, if they are all that came.
    pub(super) const fn came(&self) -> Option<&Bytes> {
        self.came.as_ref()
    }

    /// Its body, as it came.
    pub(super) const fn body(&self) -> &Bytes {
        &self.body
    }

    /// What became of it.
    pub(super) fn ready(&self) -> Ready {
        self.became.clone()
    }

    /// Whether it would become the same for `request`, where that gets it from the origin of `attempt` at `now`.
    fn is_for(&self, request: &PieceRequest, attempt: &Attempt, now: u64) -> bool {
        let (asked, wanted) = (&self.asked, &request.wanted);
        asked.links_end == expiry(now)
            && asked.origin == attempt.origin
            && asked.at_origin == attempt.target
            && asked.stream == request.place.request().stream
            && asked.share == request.share()
            && asked.host == wanted.host
            && asked.base == wanted.base
            && asked.site == wanted.site
            && asked.folder == wanted.at
    }

    fn size(&self) -> usize {
        let came = self.came.as_ref().unwrap_or(&self.body);
        came.len() + self.became.body().len() + BESIDES
    }
}

impl KnownAnswers {
    fn find(&self, place: u64) -> Option<Arc<KnownAnswer>> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.by_place.get(&place).cloned()
    }

    fn note(&self, place: u64, known: KnownAnswer) {
        let size = known.size();
        if size > LONGEST {
            return;
        }
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // Playlists change every few seconds: what is old is of no use.
        if table.bytes + size > ROOM {
            *table = Table::default();
        }
        let before = table.by_place.insert(place, Arc::new(known));
        table.bytes = table.bytes + size - before.map_or(0, |before| before.size());
    }
}

impl PieceRequest {
    /// The answer that came last from the origin of `attempt` to a request like this for `target`, if it would become the
    /// same once more.
    pub(super) fn known(&self, attempt: &Attempt, target: &str) -> Option<Arc<KnownAnswer>> {
        if !self.may_be_known(target) {
            return None;
        }
        let known = self.pieces.known.find(self.place_at(attempt))?;
        let is_for = known.is_for(self, attempt, unix_time::seconds());
        is_for.then_some(known)
    }

    /// Remembers what became of an answer that came from the origin of `attempt` with this body, and after this head if
    /// that was all.
    pub(super) fn remember_answer(
        &self,
        attempt: &Attempt,
        head: Option<Bytes>,
        body: &Bytes,
        became: &Ready,
    ) {
        let wanted = &self.wanted;
        let asked = AskedBy {
            stream: self.place.request().stream.clone(),
            share: self.share(),
            origin: attempt.origin.clone(),
            at_origin: attempt.target.clone(),
            links_end: expiry(unix_time::seconds()),
            host: wanted.host.clone(),
            base: wanted.base.clone(),
            site: wanted.site.clone(),
            folder: wanted.at.clone(),
        };
        // A copy: what came may be a part of a larger buffer.
        let start = head.as_deref().unwrap_or_default();
        let copy = Bytes::from([start, body].concat());
        let known = KnownAnswer {
            body: copy.slice(start.len()..),
            came: head.is_some().then_some(copy),
            became: became.clone(),
            asked,
        };
        self.pieces.known.note(self.place_at(attempt), known);
    }

    /// Whether an answer to a request for `target` may be remembered: others have other answers in common.
    pub(super) fn is_memorable(&self, target: &str, response: &Response<LineBody>) -> bool {
        self.may_be_known(target) && self.audience(response) == Audience::Asker
    }

    /// Whether viewers of the playlist go on with `body` as they have it: nothing has to be decided then.
    pub(super) fn goes_on_with(&self, attempt: &Attempt, body: &Bytes) -> bool {
        let Some(_) = &self.name else {
            return true;
        };
        let is_fresh = |read| self.is_fresh(read);
        let playlist = self.playlist();
        playlist.is_some_and(|playlist| playlist.is_as_before(&attempt.origin, body, is_fresh))
    }

    /// Links of a viewer who was let in are that viewer's, and who signs targets gets none. An origin that names its streams in
    /// another way, or holds its answer back, is asked for something else than the client asked for.
    fn may_be_known(&self, target: &str) -> bool {
        self.kind == Piece::Playlist
            && self.viewer.is_none()
            && !self.gets_no_links()
            && self.time_limit == TimeLimit::Answer
            && target == self.ask.head.target
    }

    fn place_at(&self, attempt: &Attempt) -> u64 {
        let path = self.ask.head.target.split('?').next();
        let mut hash = DefaultHasher::new();
        (attempt.origin.as_str(), path, &self.wanted.host).hash(&mut hash);
        hash.finish()
    }
}

/// The longest answer that is kept, before and after, in bytes: an hour of four-second segments.
const LONGEST: usize = 256 * 1024;
/// Bytes of all of them: a thousand playlists of eighty segments.
const ROOM: usize = 16 * 1024 * 1024;
/// Bytes of an entry besides the texts of its answer.
const BESIDES: usize = 1024;

#[cfg(test)]
mod tests {
    use hyper::{HeaderMap, StatusCode};
    use sluicegate_core::fleet::origin::Host;

    use super::*;
    use crate::listener::http::ready::FinalHead;
    use crate::listener::http::share::Head;

    fn known(length: usize) -> KnownAnswer {
        let head = Head {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            leads: None,
        };
        let body = Bytes::from(vec![b'#'; length]);
        KnownAnswer {
            came: Some(body.clone()),
            body: body.clone(),
            became: FinalHead::new(head).ready(body, 0),
            asked: AskedBy {
                stream: "h.example/live/a".parse().expect("a stream"),
                share: Share::Said,
                origin: "one".into(),
                at_origin: Target::plain(Host::Ip([127, 0, 0, 1].into()), 80),
                links_end: 0,
                host: String::new(),
                base: BasePath::default(),
                site: String::new(),
                folder: String::new(),
            },
        }
    }

    #[test]
    fn what_is_known_is_the_last_answer() {
        let answers = KnownAnswers::default();
        assert!(answers.find(1).is_none());
        answers.note(1, known(3));
        answers.note(1, known(5));
        let kept = answers.find(1).map(|kept| kept.body().len());
        assert_eq!((kept, answers.find(2).is_none()), (Some(5), true));
    }

    #[test]
    fn it_never_grows_past_its_bound() {
        let answers = KnownAnswers::default();
        let length = LONGEST / 4;
        for place in 0..10 * (ROOM / length) as u64 {
            answers.note(place, known(length));
            answers.note(place, known(length));
            let table = answers.table.lock().expect("a lock");
            let sizes = table.by_place.values().map(|known| known.size());
            assert_eq!(table.bytes, sizes.sum::<usize>());
            assert!(table.bytes <= ROOM);
        }
        answers.note(0, known(LONGEST));
        let kept = answers.find(0).is_some_and(|kept| kept.size() > LONGEST);
        assert!(!kept, "it is too long");
    }
}
