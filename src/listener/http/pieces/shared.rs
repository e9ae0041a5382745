//! One answer for many: who may have an answer in common, and how they get it.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Response, StatusCode};
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::sharing::{self, Audience, Share, is_personal};
use sluicegate_core::http::splice::Gaps;
use sluicegate_core::stream::StreamUrl;
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::PieceRequest;
use super::fetched::Fetched;
use super::prepared::{Prepared, STALL};
use super::spliced::Unanswered;
use crate::listener::http::ready::{Answer, FinalHead};
use crate::listener::http::rewrite;
use crate::listener::http::share::{Found, Leader, Outcome, Reader, SHARED_MAX};
use crate::listener::http::viewer::Viewer;
use crate::metrics::{KindLabel, UnsharedLabels};
use crate::net::http::{full, text};
use crate::origin::line::LineBody;
use crate::proxy::Proxy;
use crate::unix_time;

impl PieceRequest {
    pub(super) async fn answer(self: Box<Self>) -> Answer {
        let metrics = Arc::clone(self.proxy.metrics());
        let Some(like) = self.like() else {
            self.count(Why::Request);
            return Box::pin(self.alone(None)).await;
        };
        let viewer = self.viewer.clone();
        let shares = Arc::clone(&self.pieces.shares);
        let kind = KindLabel {
            kind: self.kind.as_str(),
        };
        let likely = !self.pieces.apart.has(&like.names());
        let flight = match shares.find(&like.key, likely) {
            Found::Kept(flight) => {
                metrics.cache_hits.get_or_create(&kind).inc();
                flight
            }
            Found::Flying(flight) => {
                metrics.coalesced.get_or_create(&kind).inc();
                flight
            }
            Found::Nothing(lead, reader) => return self.lead((lead, reader), like).await,
            Found::Unlikely => return Box::pin(self.alone(Some(&like))).await,
        };
        match flight.outcome().await {
            Outcome::Alone => Box::pin(self.alone(Some(&like))).await,
            Outcome::Shared(head) => shared(&flight, &head, viewer.as_deref()).await,
        }
    }

    /// Asks for itself only. The answer to a request that could have shared one shows whether its like may.
    ///
    /// To be boxed: what is answered from here needs no room for what asking an origin takes.
    async fn alone(self: Box<Self>, like: Option<&Like>) -> Answer {
        let (attempt, fetched) = match self.fetch_or_hold().await {
            Ok(answered) => answered,
            Err(unanswered) => {
                self.note(like, Err(Why::Refused));
                return self.without_origin(unanswered);
            }
        };
        let status = fetched.status();
        let audience = match (&fetched, like) {
            (Fetched::New(response), Some(_)) => self.audience(response),
            _ => Audience::Asker,
        };
        let prepared = match self.prepare(&attempt, fetched).await {
            Ok(prepared) => prepared,
            Err(unanswered) => {
                self.note(like, Err(Why::Refused));
                return self.without_origin(unanswered);
            }
        };
        self.note(like, self.sharable(status, audience, &prepared));
        prepared.into_answer(self.viewer.as_deref())
    }

    /// Asks for all who want the same: in a task of its own, because the first who asked may leave first.
    async fn lead(self: Box<Self>, (lead, flight): (Leader, Reader), like: Arc<Like>) -> Answer {
        let viewer = self.viewer.clone();
        let (alone, mine) = oneshot::channel();
        tokio::spawn(self.fly(lead, like, alone));
        match flight.outcome().await {
            Outcome::Alone => mine.await.unwrap_or_else(|_| {
                text(StatusCode::SERVICE_UNAVAILABLE, "the answer was given up").into()
            }),
            Outcome::Shared(head) => shared(&flight, &head, viewer.as_deref()).await,
        }
    }

    async fn fly(
        self: Box<Self>,
        mut lead: Leader,
        like: Arc<Like>,
        mut alone: oneshot::Sender<Answer>,
    ) {
        let likely = self.likely();
        let fetched = tokio::select! {
            biased;
            fetched = self.fetch_or_hold() => fetched,
            // The connection to the origin goes with the request: it may hold its answer back for half a minute.
            () = lead.forsaken() => return,
        };
        let audience = match &fetched {
            Ok((attempt, Fetched::New(response))) if !self.is_for_one(&attempt.origin) => {
                self.audience(response)
            }
            _ => Audience::Asker,
        };
        if audience == Audience::Asker {
            // Nobody waits for the body of an answer that is not theirs.
            let status = fetched.as_ref().map(|(_, fetched)| fetched.status());
            let why = status.map_or(Why::Refused, why_not);
            self.note(Some(&like), Err(why));
            lead.settle(Outcome::Alone);
        }
        let here = matches!(&fetched, Ok((attempt, _)) if likely.as_ref() == Some(&attempt.origin));
        let prepared = match fetched {
            Ok((attempt, fetched)) => {
                let gone = async {
                    match audience {
                        // Only the one who asked is left.
                        Audience::Asker => alone.closed().await,
                        _ => lead.forsaken_while_it_comes().await,
                    }
                };
                tokio::select! {
                    biased;
                    prepared = self.prepare(&attempt, fetched) => prepared,
                    () = gone => return,
                }
            }
            // Everybody was sent to ask alone.
            Err(unanswered) => return drop(alone.send(self.without_origin(unanswered))),
        };
        // Dropping the lead sends everybody else to the origin.
        let prepared = match prepared {
            Ok(prepared) if audience == Audience::Asker => {
                return drop(alone.send(prepared.into_answer(self.viewer.as_deref())));
            }
            Ok(prepared) => prepared,
            Err(unanswered) => return drop(alone.send(self.without_origin(unanswered))),
        };
        let sharable = self.sharable(StatusCode::OK, audience, &prepared);
        let shared = sharable.is_ok() && lead.reserve(prepared.size());
        self.note(Some(&like), sharable);
        if !shared {
            lead.settle(Outcome::Alone);
            return drop(alone.send(prepared.into_answer(self.viewer.as_deref())));
        }
        // What a segment's address leads to and lists others may change as a manifest does.
        let kind = match &prepared {
            Prepared::Whole(..) if self.kind == Piece::Segment => Piece::Manifest,
            _ => self.kind,
        };
        let keep = |body: &[u8]| {
            let fits = here && self.pieces.shares.keeps();
            fits.then(|| rewrite::lifetime(kind, audience, body))
                .flatten()
        };
        match prepared {
            Prepared::Whole(head, body) => {
                let keep = keep(&body);
                lead.push(body);
                lead.settle(Outcome::Shared(FinalHead::new(head)));
                lead.finish(keep);
            }
            // It was sent above: it is its asker's alone.
            Prepared::Ready(ready) => drop(alone.send(Answer::Ready(ready))),
            Prepared::Passing(head, answer) => {
                let keep = keep(&[]);
                lead.settle(Outcome::Shared(FinalHead::new(head)));
                // The claim is held for as long as the answer comes.
                fill(lead, answer, keep).await;
            }
        }
    }

    fn without_origin(&self, unanswered: Unanswered) -> Answer {
        match unanswered {
            Unanswered::Held(held) => held.into_answer(self.viewer.as_deref()),
            Unanswered::Refused(status, words) => text(status, words).into(),
        }
    }

    /// Who an answer is for, by its head.
    pub(super) fn audience(&self, response: &Response<LineBody>) -> Audience {
        let headers = response.headers().iter();
        let headers = headers.map(|(name, value)| (name.as_str(), value.as_bytes()));
        Audience::of(self.share(), response.status().as_u16(), headers)
    }

    /// Whether others may get an answer, or why not.
    fn sharable(
        &self,
        status: StatusCode,
        audience: Audience,
        prepared: &Prepared,
    ) -> Result<(), Why> {
        if audience == Audience::Asker {
            return Err(why_not(status));
        }
        match prepared {
            Prepared::Whole(_, body) if is_personal(body, &self.ask.head.target) => {
                Err(Why::Personal)
            }
            // What cannot be read may name a viewer.
            Prepared::Passing(..) if self.kind != Piece::Segment => Err(Why::Answer),
            _ if prepared.size() > SHARED_MAX as u64 => Err(Why::Answer),
            _ => Ok(()),
        }
    }

    /// Remembers what an answer says about its like: a refusal speaks for equal requests only.
    fn note(&self, like: Option<&Like>, sharable: Result<(), Why>) {
        let Some(like) = like else { return };
        let apart = &self.pieces.apart;
        let [key, shape] = like.names();
        match sharable {
            Ok(()) => apart.forget(&[key, shape]),
            Err(why) => {
                apart.note(if why == Why::Refused { key } else { shape });
                self.count(why);
            }
        }
    }

    fn count(&self, why: Why) {
        let labels = UnsharedLabels {
            kind: self.kind.as_str(),
            reason: match self.share() {
                Share::Off => "off",
                Share::All | Share::Said => why.as_str(),
            },
        };
        let unshared = &self.proxy.metrics().unshared;
        unshared.get_or_create(&labels).inc();
    }

    pub(super) fn share(&self) -> Share {
        self.pieces
            .settings
            .sharing
            .of(&self.place.request().stream)
    }

    fn is_for_one(&self, origin: &OriginId) -> bool {
        is_for_one(&self.proxy, self.kind, origin)
    }

    fn likely(&self) -> Option<OriginId> {
        match &self.linked {
            Some(attempt) => Some(attempt.origin.clone()),
            None => self.place.likely(),
        }
    }

    /// What this request has in common with others, if it may have an answer in common with them.
    fn like(&self) -> Option<Arc<Like>> {
        let by = LikeBy {
            share: self.share(),
            origin: self.likely()?,
            stream: self.place.request().stream.clone(),
            // The first answer to a viewer may be another than the later ones.
            viewer: match (&self.viewer, self.first) {
                (_, true) => "\nfirst",
                // The links of others say nothing of a viewer.
                (Some(_), false) => "\nlet in",
                (None, false) => "",
            },
            reported: self.reported().is_some(),
            gaps: self.gaps(),
        };
        if self.is_for_one(&by.origin) {
            return None;
        }
        // The gate may have changed what an origin gets.
        let is_usual = Arc::ptr_eq(&self.ask.head, &self.wanted.outgoing);
        let known = self
            .wanted
            .like
            .get()
            .filter(|like| is_usual && like.by == by);
        if let Some(known) = known {
            return Some(Arc::clone(known));
        }
        let like = Arc::new(self.like_by(by)?);
        if is_usual {
            let _ = self.wanted.like.set(Arc::clone(&like));
        }
        Some(like)
    }

    fn like_by(&self, by: LikeBy) -> Option<Like> {
        let sharing = &self.pieces.settings.sharing;
        let common = sharing.common(by.share, &self.ask.head)?;
        let shape = sharing::shape(&self.ask.head.target);
        let (origin, stream, base) = (&by.origin, &by.stream, &self.wanted.base);
        let mut viewer = by.viewer.to_owned();
        if by.gaps == Gaps::LeftOut {
            viewer.push_str("\nwithout gaps");
        }
        if let Some(reported) = self.reported() {
            viewer.push('\n');
            viewer.push_str(reported);
        }
        Some(Like {
            key: format!("{origin}\n{stream}\n{base}\n{common}{viewer}"),
            shape: format!("{origin}\n{stream}\n{shape}{viewer}"),
            by,
        })
    }
}

/// Whether the answer of an origin is its asker's alone because of what made it.
pub(super) fn is_for_one(proxy: &Proxy, kind: Piece, origin: &OriginId) -> bool {
    if kind == Piece::Segment {
        return false;
    }
    let registry = proxy.registry();
    let dialect = registry.of_member(origin, |member| member.origin.attributes.naming.dialect);
    dialect.is_some_and(Dialect::has_viewer_playlists)
}

/// What a request has in common with others.
#[derive(Debug)]
pub(super) struct Like {
    /// With those that are equal: who is asked, for what, and every header that may change the answer.
    pub(super) key: String,
    /// With those for other pieces of the same rendition.
    shape: String,
    by: LikeBy,
}

/// What decides that, besides the request itself.
#[derive(Debug, PartialEq, Eq)]
struct LikeBy {
    share: Share,
    origin: OriginId,
    stream: StreamUrl,
    viewer: &'static str,
    reported: bool,
    gaps: Gaps,
}

impl Like {
    /// Whether it is that of anybody's request for `stream`, where `origin` is asked.
    pub(super) fn is_anybodys(&self, stream: &StreamUrl, origin: &OriginId) -> bool {
        let by = &self.by;
        by.stream == *stream
            && by.origin == *origin
            && by.viewer.is_empty()
            && !by.reported
            && by.gaps == Gaps::Listed
    }

    fn names(&self) -> [&str; 2] {
        [&self.key, &self.shape]
    }
}

/// Why a request had the origin to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The answer is not said to be everybody's, or cannot be held for others.
    Answer,
    /// The playlist was made for one viewer.
    Personal,
    /// It was refused, or failed.
    Refused,
    /// It holds something that its sender could be judged by.
    Request,
}

impl Why {
    /// The name in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Answer => "answer",
            Self::Personal => "personal",
            Self::Refused => "refused",
            Self::Request => "request",
        }
    }
}

/// Why an answer that is only its asker's is not shared.
fn why_not(status: StatusCode) -> Why {
    if status.is_success() {
        Why::Answer
    } else {
        Why::Refused
    }
}

/// What was fetched for all, as one of them gets it.
async fn shared(flight: &Reader, head: &FinalHead, viewer: Option<&Viewer>) -> Answer {
    let (Some(viewer), Some(leads)) = (viewer, &head.head().leads) else {
        return flight.answer(head);
    };
    let mut response = flight.answer(head).into_response();
    let answer = match flight.whole().await {
        Some(body) => {
            let body = viewer.copy(leads, response.headers_mut(), &body, unix_time::seconds());
            response.map(|_| full(body))
        }
        None => text(StatusCode::SERVICE_UNAVAILABLE, "the answer broke off"),
    };
    answer.into()
}

/// Reads an answer for all who read along.
async fn fill(lead: Leader, mut answer: LineBody, keep: Option<Duration>) {
    loop {
        // Dropping the lead breaks the answer off for everybody.
        let came = tokio::select! {
            biased;
            came = timeout(STALL, answer.frame()) => came,
            () = lead.forsaken_while_it_comes() => return,
        };
        match came {
            Ok(Some(Ok(frame))) => {
                if let Ok(chunk) = frame.into_data() {
                    lead.push(chunk);
                    // Those who wait for it pass it on while it is still in this core's cache.
                    yield_now().await;
                }
            }
            Ok(None) => return lead.finish(keep),
            Ok(Some(Err(_))) | Err(_) => return,
        }
        // Where the next part is there at once, too.
        if lead.is_forsaken() {
            return;
        }
    }
}
