//! An origin's answer as it goes to clients.

use std::net::Ipv4Addr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use sluicegate_core::fleet::origin::{Host, OriginId, Target};
use sluicegate_core::http::continued::Continued;
use sluicegate_core::http::link::ABSENT;
use sluicegate_core::http::page::Other;
use sluicegate_core::http::periods;
use sluicegate_core::http::personal::{Rhythm, marked, start_of};
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::splice::{Listing, Piece as ListingPiece};
use sluicegate_core::http::stamp::Stamping;
use tokio::time::{Instant, Sleep, sleep};

use super::fetched::Fetched;
use super::links::expiry;
use super::named::has_no_end;
use super::others::OtherOrigin;
use super::spliced::{Shown, Unanswered};
use super::wanted::{Wanted, broken as broken_rule};
use super::{PieceRequest, TimeLimit, folder_of};
use crate::listener::http::granted;
use crate::listener::http::ready::{Answer, FinalHead, Ready};
use crate::listener::http::rewrite::{self, Form, Part, Rewriting};
use crate::listener::http::share::Head;
use crate::listener::http::viewer::{Leads, Viewer};
use crate::net::head;
use crate::net::http::{Body, BoxError};
use crate::origin::line::{self, LineBody};
use crate::proxy::Attempt;
use crate::unix_time;

/// An answer as it goes to clients.
pub(super) enum Prepared {
    /// As its origin sent it.
    Passing(Head, LineBody),
    /// What was made of a playlist, which is its asker's alone.
    Ready(Ready),
    /// What was made of a whole answer, of status 200.
    Whole(Head, Bytes),
}

impl Prepared {
    /// Bytes of the body; as many as there can be where its length is not said.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Passing(_, answer) => answer.size_hint().exact().unwrap_or(u64::MAX),
            Self::Ready(ready) => ready.body().len() as u64,
            Self::Whole(_, body) => body.len() as u64,
        }
    }

    pub(super) fn into_answer(self, viewer: Option<&Viewer>) -> Answer {
        match self {
            Self::Passing(head, answer) => Answer::Made(passing(head, answer)),
            Self::Ready(ready) => Answer::Ready(ready),
            Self::Whole(mut head, body) => {
                let body = match (viewer, head.leads.take()) {
                    (Some(viewer), Some(leads)) => {
                        viewer.copy(&leads, &mut head.headers, &body, unix_time::seconds())
                    }
                    _ => body,
                };
                Answer::Ready(FinalHead::new(head).ready(body, 0))
            }
        }
    }
}

impl PieceRequest {
    /// The answer as it goes to clients: what is rewritten is read whole, everything else passes.
    pub(super) async fn prepare(
        &self,
        attempt: &Attempt,
        fetched: Fetched,
    ) -> Result<Prepared, Unanswered> {
        let response = match fetched {
            Fetched::New(response) => response,
            Fetched::Known(known) if self.goes_on_with(attempt, known.body()) => {
                return Ok(Prepared::Ready(known.ready()));
            }
            Fetched::Known(known) => {
                let again = known.came().map(line::read_again).transpose();
                let again = again.ok().flatten();
                again.ok_or_else(|| self.broken(NOT_HTTP))?
            }
        };
        let asked = self.target_at(attempt).unwrap_or_default();
        let mut is_memorable = self.is_memorable(&asked, &response);
        let head_came = response.body().head().cloned();
        let (parts, answer) = response.into_parts();
        self.note_no(&attempt.origin, parts.status);
        let mut head = Head {
            status: parts.status,
            headers: head::for_client(parts.status, parts.headers)
                .map_err(|_| self.broken(NOT_HTTP))?,
            leads: None,
        };
        let folder = folder_of(&asked).filter(|_| self.dialect().is_some());
        let folder = folder.filter(|folder| Some(*folder) != folder_of(&self.ask.head.target));
        self.lead_head(&mut head, attempt, &asked, folder);
        let form = match self.kind {
            Piece::Manifest => Some(Form::Manifest),
            Piece::Playlist => Some(Form::Playlist),
            Piece::Segment => self.document(&head),
        };
        let Some(form) = form else {
            if self.is_endless(head.status, &answer) {
                let refused = (StatusCode::FORBIDDEN, UNLISTED.to_owned());
                return Err(broken_rule(self.wanted.client, refused).into());
            }
            return Ok(Prepared::Passing(head, answer));
        };
        rewrite::weaken(&mut head.headers);
        let whole = head.status == StatusCode::OK;
        let mut unread = Some(answer);
        let mut body = Bytes::new();
        if let Some(answer) = unread.take_if(|_| whole) {
            let read = self.read_whole(attempt, form, &mut head, answer).await;
            let is_as_it_came;
            (body, is_as_it_came) = match read {
                Ok(read) => read,
                Err(words) => return Err(self.instead_of_broken(&attempt.origin, words).await),
            };
            is_memorable &= is_as_it_came;
        }
        let lives = self.viewer.is_some() && granted::is_live_media(&body);
        let leads = Leads {
            lives: lives && self.kind == Piece::Manifest,
            ..Leads::to(attempt)
        };
        let link: Arc<str> = match &self.viewer {
            Some(_) => self.pieces.mark.as_str().into(),
            None if self.gets_no_links() => "".into(),
            None => {
                let stream = &self.place.request().stream;
                let expires = expiry(unix_time::seconds());
                let sealed = &self.pieces.sealed;
                sealed.link(&self.pieces.key, stream, attempt, expires)
            }
        };
        head.leads = self.viewer.is_some().then_some(leads);
        if let Some(answer) = unread {
            return Ok(Prepared::Passing(head, answer));
        }
        let shown = match form {
            // Boxed: what a store is asked for is seldom asked for.
            Form::Playlist | Form::Manifest => Box::pin(self.shown(attempt, &body, folder)).await,
            Form::Cues | Form::Document => Shown::AsItIs,
        };
        if let Some(leads) = head.leads.as_mut().filter(|_| lives) {
            leads.rhythm = self.rhythm(attempt, &asked, &body, &shown);
        }
        if lives && self.first && self.kind == Piece::Playlist {
            if let Some(leads) = &mut head.leads {
                leads.start = match &shown {
                    Shown::AsItIs => std::str::from_utf8(&body).ok().and_then(start_of),
                    Shown::Spliced(_, listing) => start_of(&listing.text()),
                };
            }
            // What was shown at the gate is not for a link, which somebody may pass on.
            let (target, asked) = (
                self.place.without_shown(&self.ask.head.target),
                self.place.without_shown(&asked),
            );
            let body = rewrite::as_variant(
                &mut head,
                &target,
                folder.map(|_| &*asked),
                &self.wanted.base,
                &link,
            );
            return Ok(Prepared::Whole(head, body));
        }
        let rewriting = Rewriting {
            form,
            host: &self.wanted.host,
            target: &attempt.target,
            link: &link,
            report: self.reported().unwrap_or(&link),
            base: &self.wanted.base,
            folder,
            site: &self.wanted.site,
            at: &self.wanted.at,
            stamping: self.stamping(&attempt.origin),
            others: &[],
        };
        let Shown::Spliced(splice, listing) = shown else {
            if let Some(sooner) = self.in_time(&body) {
                body = sooner.into();
            }
            let known = self.known(attempt, &asked).filter(|_| is_memorable);
            let written = match known.filter(|known| *known.body() == body) {
                Some(known) => {
                    let written = known.ready().body().clone();
                    rewrite::speak_of(&mut head, &written);
                    written
                }
                None => {
                    let others = self.others_in(attempt, &body, &mut head);
                    is_memorable &= others.is_empty();
                    let others: Vec<Other<'_>> = others.iter().map(OtherOrigin::named).collect();
                    let rewriting = Rewriting {
                        others: &others,
                        ..rewriting
                    };
                    rewriting.apply(&mut head, body.clone(), self.proxy.metrics())
                }
            };
            if !is_memorable || !self.goes_on_with(attempt, &body) {
                return Ok(Prepared::Whole(head, written));
            }
            let ready = FinalHead::new(head).ready(written, 0);
            self.remember_answer(attempt, head_came, &body, &ready);
            return Ok(Prepared::Ready(ready));
        };
        let here = Part {
            origin: attempt.origin.clone(),
            authority: attempt.target.to_string(),
            link: Arc::clone(&link),
            folder: folder.map(str::to_owned),
        };
        let parts = self.parts(&splice, &listing, Some(&here), &mut head);
        let body = rewriting.join(&mut head, &listing, &parts);
        Ok(Prepared::Whole(head, body))
    }

    /// The whole text of an answer that is to be rewritten, and whether it came so.
    async fn read_whole(
        &self,
        attempt: &Attempt,
        form: Form,
        head: &mut Head,
        answer: LineBody,
    ) -> Result<(Bytes, bool), &'static str> {
        let (body, is_as_it_came) = rewrite::whole_text(&mut head.headers, answer).await?;
        let variant = match form {
            Form::Playlist => Box::pin(self.variant_instead(attempt, &body)).await?,
            Form::Cues | Form::Document | Form::Manifest => None,
        };
        Ok((variant.unwrap_or(body), is_as_it_came))
    }

    /// A manifest that its players ask for again soon enough to hear of a loss, where they ask seldom for this one.
    fn in_time(&self, body: &[u8]) -> Option<String> {
        if self.kind != Piece::Manifest || self.name.is_none() {
            return None;
        }
        periods::in_time(std::str::from_utf8(body).ok()?)
    }

    /// When the pieces of a live playlist come, by the numbers that viewers know.
    fn rhythm(&self, attempt: &Attempt, asked: &str, body: &[u8], shown: &Shown) -> Option<Rhythm> {
        if self.kind != Piece::Playlist {
            return None;
        }
        let (rhythms, now) = (&self.pieces.rhythms, unix_time::seconds());
        match shown {
            Shown::AsItIs => rhythms.rhythm(&attempt.origin, asked, body, now),
            // The numbers go on, and with them the rhythm of the origin before.
            Shown::Spliced(splice, listing) => {
                let before = splice.sources().first();
                let before = before.map_or_else(|| splice.origin(), |source| &source.origin);
                let text = listing.text();
                rhythms.rhythm(&OriginId::from(before), asked, text.as_bytes(), now)
            }
        }
    }

    /// A playlist or manifest whose stream no origin has, as it goes to clients.
    pub(super) fn held_body(&self, splice: &Continued, listing: &Listing) -> Prepared {
        let mut headers = HeaderMap::new();
        let (kind, form) = match splice {
            Continued::Manifest(_) => (DASH, Form::Manifest),
            Continued::Playlist(_) => (HLS, Form::Playlist),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        let origin = OriginId::from(splice.origin());
        // Where nothing can be asked for, every address is as good.
        let target = Target::plain(Host::Ip(Ipv4Addr::LOCALHOST.into()), 80);
        let leads = Leads {
            origin: origin.clone(),
            target: target.clone(),
            others: Vec::new(),
            start: None,
            lives: false,
            rhythm: None,
        };
        let mut head = Head {
            status: StatusCode::OK,
            headers,
            leads: self.viewer.is_some().then_some(leads),
        };
        let parts = self.parts(splice, listing, None, &mut head);
        let rewriting = Rewriting {
            form,
            host: &self.wanted.host,
            target: &target,
            link: ABSENT,
            report: ABSENT,
            base: &self.wanted.base,
            folder: None,
            site: &self.wanted.site,
            at: &self.wanted.at,
            stamping: self.stamping(&origin),
            others: &[],
        };
        let body = rewriting.join(&mut head, listing, &parts);
        Prepared::Whole(head, body)
    }

    /// Whose segments each piece of a playlist lists. A viewer that was let in gets links of its own to them, by `head`.
    fn parts(
        &self,
        splice: &Continued,
        listing: &Listing,
        here: Option<&Part>,
        head: &mut Head,
    ) -> Vec<Part> {
        let sources = splice.sources().iter();
        let origins: Vec<OriginId> = sources
            .map(|source| OriginId::from(source.origin.as_str()))
            .collect();
        let attempts: Vec<Option<Attempt>> = origins
            .iter()
            .map(|origin| self.place.attempt(origin))
            .collect();
        if let Some(leads) = &mut head.leads {
            let there = |attempt: &Attempt| (attempt.origin.clone(), attempt.target.clone());
            leads.others = attempts.iter().map(|at| at.as_ref().map(there)).collect();
        }
        let expires = expiry(unix_time::seconds());
        let link = |number: u8, attempt: &Attempt| -> Arc<str> {
            if self.viewer.is_some() {
                return marked(&self.pieces.mark, number).into();
            }
            if self.gets_no_links() {
                return "".into();
            }
            let (key, sealed) = (&self.pieces.key, &self.pieces.sealed);
            sealed.link(key, &self.place.request().stream, attempt, expires)
        };
        let part = |piece: &ListingPiece| {
            let number = piece.source.map(usize::from);
            let source = number.and_then(|number| splice.sources().get(number));
            let attempt = number.and_then(|number| attempts.get(number)?.as_ref());
            let link = match (piece.source.filter(|_| !piece.gap), attempt, here) {
                (Some(number), Some(attempt), _) => link(number, attempt),
                (None, _, Some(here)) if !piece.gap => Arc::clone(&here.link),
                _ => ABSENT.into(),
            };
            Part {
                origin: match (number.and_then(|number| origins.get(number)), here) {
                    (Some(origin), _) => origin.clone(),
                    (None, Some(here)) => here.origin.clone(),
                    (None, None) => OriginId::from(splice.origin()),
                },
                authority: match (source, here) {
                    (Some(source), _) => source.authority.clone(),
                    (None, Some(here)) => here.authority.clone(),
                    (None, None) => String::new(),
                },
                link,
                folder: match source {
                    Some(source) => source.folder.clone(),
                    None => here.and_then(|here| here.folder.clone()),
                },
            }
        };
        listing.pieces.iter().map(part).collect()
    }

    /// What an answer of `origin` says of the paths that it lists.
    pub(super) fn stamping<'s>(&'s self, origin: &'s OriginId) -> Stamping<'s> {
        Stamping {
            key: &self.pieces.key,
            stream: &self.place.request().stream,
            origin,
            lets_in: self.viewer.is_some(),
        }
    }

    /// The form of an answer that a playlist or manifest of ours listed, if it may list files itself.
    fn document(&self, head: &Head) -> Option<Form> {
        let is_whole = self.ask.head.method == "GET" && head.status == StatusCode::OK;
        let listed = self.wanted.shown.is_some() && is_whole;
        Form::of_document(&head.headers, &self.wanted.target).filter(|_| listed)
    }

    /// Whether an answer is a stream without end that was asked for as a piece, which a link makes of every name: nobody would
    /// count its viewer, judge it again, or end it.
    fn is_endless(&self, status: StatusCode, answer: &LineBody) -> bool {
        if !status.is_success() || answer.size_hint().exact().is_some() {
            return false;
        }
        let Wanted {
            dialect,
            host,
            link,
            target,
            ..
        } = &*self.wanted;
        let host = Some(host.as_str()).filter(|host| !host.is_empty());
        let link = link.as_ref().map(|(link, _)| link);
        let asked = || &self.place.request().stream;
        let stream = link.map_or_else(asked, |link| &link.stream);
        has_no_end(&self.proxy, *dialect, (stream, link), host, target)
    }

    /// The link by which a low-latency playlist names the other renditions: players compare it with what they have, which
    /// need not be of this hour.
    pub(super) fn reported(&self) -> Option<&str> {
        let shown = self.wanted.shown.as_deref()?;
        (self.time_limit == TimeLimit::Reload).then_some(shown)
    }
}

fn passing(head: Head, answer: LineBody) -> Response<Body> {
    response(head, Passing::new(answer).boxed_unsync())
}

/// A body that passes; an origin that sends nothing of it for too long has broken it off.
struct Passing<B> {
    answer: B,
    /// When that is, as soon as it was waited for once.
    silence: Option<Pin<Box<Sleep>>>,
    waits: bool,
    /// When it has to be over, where its length is not known.
    end: Option<Pin<Box<Sleep>>>,
}

impl<B: HttpBody> Passing<B> {
    fn new(answer: B) -> Self {
        let has_length = answer.size_hint().exact().is_some();
        Self {
            answer,
            silence: None,
            waits: false,
            end: (!has_length).then(|| Box::pin(sleep(ENDLESS))),
        }
    }
}

impl<B> HttpBody for Passing<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let Some(end) = &mut this.end
            && end.as_mut().poll(cx).is_ready()
        {
            let words = "the origin's answer had no end";
            return Poll::Ready(Some(Err(words.into())));
        }
        if let Poll::Ready(frame) = Pin::new(&mut this.answer).poll_frame(cx) {
            this.waits = false;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let silence = this.silence.get_or_insert_with(|| Box::pin(sleep(STALL)));
        if !this.waits {
            silence.as_mut().reset(Instant::now() + STALL);
            this.waits = true;
        }
        ready!(silence.as_mut().poll(cx));
        let words = "the origin sent nothing for too long";
        Poll::Ready(Some(Err(words.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.answer.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.answer.size_hint()
    }
}

fn response(head: Head, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers;
    response
}

/// What is said to who asks for a stream without end by the link of a page.
const UNLISTED: &str =
    "the link does not open this: it is a stream without end, which is asked for without a link";
const NOT_HTTP: &str = "its origin's answer is not HTTP";
/// The media type of a playlist (RFC 8216bis §4).
const HLS: &str = "application/vnd.apple.mpegurl";
/// The media type of a manifest (ISO/IEC 23009-1 annex C).
const DASH: &str = "application/dash+xml";
/// How long an answer without a length may take. A piece is over in seconds; a stream without end that was asked for as one
/// would go on past every ban.
const ENDLESS: Duration = Duration::from_secs(600);
/// How long an origin may send nothing of an answer; then the answer counts as broken off.
pub(super) const STALL: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{Full, StreamBody};

    use super::*;

    /// A body that sends a byte every second and never ends.
    fn endless() -> impl HttpBody<Data = Bytes, Error = BoxError> + Unpin {
        let bytes = stream::unfold((), |()| async {
            sleep(Duration::from_secs(1)).await;
            let frame = Frame::data(Bytes::from_static(b"x"));
            Some((Ok(frame), ()))
        });
        StreamBody::new(Box::pin(bytes))
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_without_a_length_has_an_end() {
        let began = Instant::now();
        let mut body = Passing::new(endless());
        let error = loop {
            if let Err(error) = body.frame().await.expect("it goes on") {
                break error;
            }
        };
        assert_eq!(error.to_string(), "the origin's answer had no end");
        assert_eq!(began.elapsed().as_secs(), ENDLESS.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_with_a_length_may_take_its_time() {
        let mut body = Passing::new(Full::new(Bytes::from_static(b"whole")));
        tokio::time::advance(ENDLESS * 2).await;
        let frame = body.frame().await.expect("a frame").expect("its bytes");
        assert_eq!(frame.into_data().expect("data"), "whole");
    }
}
