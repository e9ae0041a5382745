//! OPTIONS: what an origin says of a call before it begins. A client looks there for ICE servers and for what it may send
//! (RFC 9725 §4.2, §4.6), and a browser asks whether its page may call at all.

use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::{Request, Response};
use sluicegate_core::dialect::Dialect;
use sluicegate_core::http::whip::{CallRequest, Path};
use sluicegate_core::stream::{Action, Protocol, Service};
use tokio::time::timeout;

use super::{Ask, Whip, preflight};
use crate::net::cors;
use crate::net::entrance::Ends;
use crate::net::http::Body;
use crate::origin::call::{self as origin_call, CallAnswer, Message};
use crate::proxy::{Attempt, Proxy};

impl Whip {
    /// Answers with the origin's own words, where it has any in time. A browser that asks first gets of them what they say
    /// of other sites, and no more.
    pub(super) async fn options(
        &self,
        request: Request<Incoming>,
        ends: Ends,
        proxy: &Proxy,
        dialect: Dialect,
        (path, methods): (Path<'_>, &'static str),
    ) -> Response<Body> {
        let mut own = preflight(methods);
        if self.media.is_empty() {
            return own;
        }
        let is_preflight = cors::is_preflight(request.headers());
        let Ok(ask) = Ask::read(self, proxy, dialect, ends, request).await else {
            return own;
        };
        let asked = timeout(WITHIN, ask.options(path, is_preflight)).await;
        let said = asked.ok().flatten();
        let Some(answer) = said.filter(|answer| answer.status.is_success()) else {
            return own;
        };
        if is_preflight {
            cors::take_word(&answer.headers, own.headers_mut());
            return own;
        }
        *own.status_mut() = answer.status;
        let headers = own.headers_mut();
        for name in answer.headers.keys() {
            headers.remove(name);
        }
        super::call::keep_headers(&answer.headers, headers);
        own
    }
}

impl Ask<'_> {
    async fn options(&self, path: Path<'_>, is_preflight: bool) -> Option<CallAnswer> {
        match path {
            Path::Json(_) => None,
            Path::Offer(asked) => self.options_of_stream(asked, is_preflight).await,
            Path::Resource(id) => {
                let call = self.call(id).await.ok()?;
                let resource = call.resource.clone()?;
                self.tell(&call, &resource, Bytes::new()).await.ok()
            }
        }
    }

    /// Asks the origin that a call of this stream would go to. Nothing is placed for it.
    async fn options_of_stream(
        &self,
        asked: CallRequest,
        is_preflight: bool,
    ) -> Option<CallAnswer> {
        let stream = asked.stream.ok()?;
        let guarded =
            [Action::Play, Action::Publish].map(|action| self.proxy.may_judge(&stream, action));
        // An origin may tell of its ICE servers, with passwords for them, only those who may have the stream.
        if !is_preflight && guarded.contains(&true) {
            return None;
        }
        let origin = self
            .proxy
            .origin_of(&stream, Protocol::WebRtc, asked.action)
            .ok()?;
        let attempt = Attempt::of(self.proxy.registry(), &origin, Service::Api, WITHIN)?;
        let target = if attempt.naming.is_of(self.dialect) {
            asked.target
        } else {
            let (_, query) = asked.target.split_once('?').unwrap_or_default();
            let call = attempt
                .naming
                .call(self.dialect, &stream, asked.action, query);
            call.ok()?
        };
        let dialer = self.whip.calls.dialer();
        let dialled = dialer.dial(&attempt, self.client(), self.ends.local).await;
        let message = Message {
            head: &self.head,
            target: &target,
            body: Bytes::new(),
            forwarded: &self.forwarded(),
        };
        let answered = origin_call::ask(dialled.ok()?, message).await.ok();
        answered.map(|answer| self.led(answer, &attempt.target))
    }
}

/// A client that asks first waits for this before it asks for what it wants.
const WITHIN: Duration = Duration::from_secs(2);
