//! A call for an operator who looks at a stream. Its origin is asked as for every player, in a request of our own: nothing that
//! the operator showed the system API goes there.

use std::sync::Mutex;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::header::LOCATION;
use sluicegate_core::dialect::{Dialect, Naming, Unsayable};
use sluicegate_core::http::head::RequestHead;
use sluicegate_core::http::whip::resolve;
use sluicegate_core::rtc::sdp;
use sluicegate_core::stream::{Action, DEFAULT_VHOST, Service, StreamUrl};

use super::call::{Offered, Said, read_answer};
use super::{Ask, Whip};
use crate::origin::fetch::escaped;
use crate::proxy::preview::{PreviewCalls, PreviewError, PreviewOffer};
use crate::proxy::{Proxy, Session};
use crate::sessions::EndReason;

impl PreviewCalls for Whip {
    fn has_media(&self) -> bool {
        !self.media.is_empty()
    }

    fn preview<'a>(
        &'a self,
        proxy: &'a Proxy,
        session: Session,
        wanted: PreviewOffer<'a>,
    ) -> BoxFuture<'a, Result<String, PreviewError>> {
        Box::pin(self.call_for_look(proxy, session, wanted))
    }
}

impl Whip {
    /// A call of its own, which [`PreviewCalls::preview`] is.
    async fn call_for_look(
        &self,
        proxy: &Proxy,
        session: Session,
        wanted: PreviewOffer<'_>,
    ) -> Result<String, PreviewError> {
        let offer = sdp::offer(&wanted.offer).map_err(PreviewError::Offer)?;
        let stream = &session.row().request.stream;
        let target = target_of(stream, wanted.pull_query);
        let target = target.map_err(|_| PreviewError::Unusable)?;
        let api = proxy.registry().target(wanted.holder, Service::Api);
        let host = match api {
            Some(api) => api.host_for(stream),
            None => stream.vhost().to_owned(),
        };
        let head = head_of(&host, &target).ok_or(PreviewError::Unusable)?;
        let ask = Ask {
            whip: self,
            proxy,
            dialect: Dialect::default(),
            ends: wanted.ends,
            head,
            identity: None,
            body: Bytes::from(offer.sdp.clone()),
        };
        let said = Mutex::new(Said::default());
        let dialled = session.dial_preview(wanted.holder, |attempt| {
            ask.ask_origin(&session, attempt, &target, ask.body.clone(), &said)
        });
        let agreed = dialled.await.map_err(PreviewError::Refused)?;
        let announced = self.announced(Some(wanted.host), wanted.ends.local);
        // An origin that makes an offer of its own is not taken up on it.
        let read = match agreed.answer.status.is_success() {
            true => read_answer(&agreed.answer.body, &offer, &announced).ok(),
            false => None,
        };
        let Some((answer, checks)) = read else {
            session.row().end(EndReason::Refused);
            return Err(PreviewError::Unusable);
        };
        let location = agreed.answer.headers.get(LOCATION);
        let location = location.and_then(|value| value.to_str().ok());
        let resource = location.and_then(|location| resolve(&agreed.target, location));
        let offered = offer.credentials;
        let standing = ask.stand(session, agreed, resource, Offered { offered, checks });
        standing.await.map_err(|_| PreviewError::Unusable)?;
        Ok(answer.sdp)
    }
}

/// The target of a player's call, as a client of ours would write it.
fn target_of(stream: &StreamUrl, pull_query: &str) -> Result<String, Unsayable> {
    let vhost = match stream.vhost() {
        DEFAULT_VHOST => String::new(),
        vhost => format!("vhost={}", escaped(vhost)),
    };
    let parts = [stream.parameters(), &vhost, pull_query];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    let ours = Dialect::default();
    Naming::default().call(ours, stream, Action::Play, &parts.join("&"))
}

/// The head of a request with an offer.
fn head_of(host: &str, target: &str) -> Option<RequestHead> {
    let text =
        format!("POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/sdp\r\n\r\n");
    let (head, _) = RequestHead::parse(text.as_bytes()).ok()??;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_asked_for_the_stream_and_nothing_else() {
        let rows = [
            (
                "a plain one",
                ("", "live", "a"),
                "",
                "/rtc/v1/whep/?app=live&stream=a",
            ),
            (
                "of a vhost",
                ("b.example", "live", "a&b"),
                "",
                "/rtc/v1/whep/?app=live&stream=a%26b&vhost=b.example",
            ),
            (
                "for an origin that asks who it is",
                ("", "live", "a"),
                "pull=secret",
                "/rtc/v1/whep/?app=live&stream=a&pull=secret",
            ),
            (
                "of parameters that belong to its name",
                ("", "cam/realmonitor", "?channel=2"),
                "pull=secret",
                "/rtc/v1/whep/?app=cam&stream=realmonitor&channel=2&pull=secret",
            ),
        ];
        for (cause, (vhost, app, name), query, expected) in rows {
            let stream = StreamUrl::new(vhost, app, name).expect(cause);
            let target = target_of(&stream, query).expect(cause);
            assert_eq!(target, expected, "{cause}");
            let head = head_of("proxy.example:12025", &target).expect(cause);
            assert_eq!(
                (head.method.as_str(), head.host()),
                ("POST", Some("proxy.example:12025"))
            );
        }
    }
}
