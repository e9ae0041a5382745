//! An origin's answer as it goes to clients.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::{Response, StatusCode};
use sluicegate_core::http::personal::{Place as Where, start_of};
use sluicegate_core::http::route::Piece;
use tokio::time::{Instant, Sleep, sleep};

use super::links::expiry;
use super::{PieceRequest, TimeLimit, folder_of};
use crate::listener::http::granted;
use crate::listener::http::rewrite::{self, Form, Rewriting};
use crate::listener::http::share::Head;
use crate::listener::http::viewer::{Leads, Viewer};
use crate::net::head;
use crate::net::http::{Body, BoxError, full};
use crate::origin::line::LineBody;
use crate::proxy::Attempt;
use crate::unix_time;

/// An answer as it goes to clients.
pub(super) enum Prepared {
    Passing(Head, LineBody),
    Whole(Head, Bytes),
}

impl Prepared {
    /// Bytes of the body; as many as there can be where its length is not said.
    pub(super) fn size(&self) -> u64 {
        match self {
            Self::Passing(_, answer) => answer.size_hint().exact().unwrap_or(u64::MAX),
            Self::Whole(_, body) => body.len() as u64,
        }
    }

    pub(super) fn into_response(self, viewer: Option<&Viewer>) -> Response<Body> {
        match self {
            Self::Passing(head, answer) => passing(head, answer),
            Self::Whole(mut head, body) => {
                let body = match (viewer, head.leads.take()) {
                    (Some(viewer), Some(leads)) => {
                        viewer.copy(&leads, &mut head.headers, &body, unix_time::seconds())
                    }
                    _ => body,
                };
                response(head, full(body))
            }
        }
    }
}

impl PieceRequest {
    /// The answer as it goes to clients: what is rewritten is read whole, everything else passes.
    pub(super) async fn prepare(
        &self,
        attempt: &Attempt,
        response: Response<LineBody>,
    ) -> Result<Prepared, (StatusCode, String)> {
        let broken = |words: &str| {
            let stream = &self.place.request().stream;
            (StatusCode::BAD_GATEWAY, format!("{stream}: {words}"))
        };
        let (parts, answer) = response.into_parts();
        let mut head = Head {
            status: parts.status,
            headers: head::for_client(parts.status, parts.headers)
                .map_err(|_| broken("its origin's answer is not HTTP"))?,
            leads: None,
        };
        rewrite::hide(&mut head.headers, &attempt.target);
        rewrite::place_cookies(&mut head.headers, &self.base);
        let asked = self.target_at(attempt).unwrap_or_default();
        let folder = folder_of(&asked).filter(|_| self.dialect.is_some());
        let folder = folder.filter(|folder| Some(*folder) != folder_of(&self.ask.head.target));
        let form = match self.kind {
            Piece::Manifest => Some(Form::Manifest),
            Piece::Playlist => Some(Form::Playlist),
            Piece::Segment => self.document(&head),
        };
        let Some(form) = form else {
            rewrite::place(&mut head.headers, &self.base);
            return Ok(Prepared::Passing(head, answer));
        };
        rewrite::weaken(&mut head.headers);
        let whole = head.status == StatusCode::OK && !rewrite::is_encoded(&head.headers);
        let mut unread = Some(answer);
        let mut body = Bytes::new();
        if let Some(answer) = unread.take_if(|_| whole) {
            body = rewrite::collect(answer).await.map_err(broken)?;
        }
        let lives = self.viewer.is_some() && granted::is_live_media(&body);
        let leads = Leads {
            origin: attempt.origin.clone(),
            target: attempt.target.clone(),
            start: None,
            lives: lives && self.kind == Piece::Manifest,
            rhythm: match self.kind {
                Piece::Playlist if lives => {
                    let rhythms = &self.pieces.rhythms;
                    rhythms.rhythm(&attempt.origin, &asked, &body, unix_time::seconds())
                }
                _ => None,
            },
        };
        let link: Arc<str> = match &self.viewer {
            Some(_) if unread.is_none() => self.pieces.mark.as_str().into(),
            // A redirect or the like, which is never shared.
            Some(viewer) => viewer
                .link(&leads, Where::Listing, unix_time::seconds())
                .into(),
            None => {
                let stream = &self.place.request().stream;
                let expires = expiry(unix_time::seconds());
                let sealed = &self.pieces.sealed;
                sealed.link(&self.pieces.key, stream, attempt, expires)
            }
        };
        head.leads = self.viewer.is_some().then_some(leads);
        if lives && self.first && self.kind == Piece::Playlist {
            if let Some(leads) = &mut head.leads {
                leads.start = std::str::from_utf8(&body).ok().and_then(start_of);
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
                &self.base,
                &link,
            );
            return Ok(Prepared::Whole(head, body));
        }
        let rewriting = Rewriting {
            form,
            host: &self.host,
            target: &attempt.target,
            link: &link,
            report: self.reported().unwrap_or(&link),
            base: &self.base,
            folder,
            site: &self.site,
            at: &self.at,
        };
        if let Some(answer) = unread {
            rewriting.lead_back(&mut head.headers);
            return Ok(Prepared::Passing(head, answer));
        }
        let body = rewriting.apply(&mut head, body, self.proxy.metrics());
        Ok(Prepared::Whole(head, body))
    }

    /// The form of an answer that a playlist or manifest of ours listed, if it may list files itself.
    fn document(&self, head: &Head) -> Option<Form> {
        let is_whole = self.ask.head.method == "GET" && head.status == StatusCode::OK;
        let listed = self.shown.is_some() && is_whole && !rewrite::is_encoded(&head.headers);
        Form::of_document(&head.headers).filter(|_| listed)
    }

    /// The link by which a low-latency playlist names the other renditions: players compare it with what they have, which
    /// need not be of this hour.
    pub(super) fn reported(&self) -> Option<&str> {
        let shown = self.shown.as_deref()?;
        (self.time_limit == TimeLimit::Reload).then_some(shown)
    }
}

fn passing(head: Head, answer: LineBody) -> Response<Body> {
    let body = Passing {
        answer,
        silence: None,
        waits: false,
    };
    response(head, body.boxed_unsync())
}

/// A body that passes; an origin that sends nothing of it for too long has broken it off.
struct Passing {
    answer: LineBody,
    /// When that is, as soon as it was waited for once.
    silence: Option<Pin<Box<Sleep>>>,
    waits: bool,
}

impl HttpBody for Passing {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
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

/// How long an origin may send nothing of an answer; then the answer counts as broken off.
pub(super) const STALL: Duration = Duration::from_secs(20);
