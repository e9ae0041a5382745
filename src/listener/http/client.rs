//! Who sent a request, and what it showed.

use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::http::head::{Forwarded, RequestHead};

use super::Http;
use crate::net::forwarded;
use crate::proxy::Proxy;
use crate::value::ClientAddr;

/// The client for which trusted proxies connected, the last of which is `connected`.
pub(super) fn client_of(http: &Http, head: &RequestHead, connected: ClientAddr) -> ClientAddr {
    let lines: Vec<&str> = head
        .headers
        .all("x-forwarded-for")
        .filter_map(|line| str::from_utf8(line).ok())
        .collect();
    forwarded::client(&http.settings.trusted_proxies, connected, lines.into_iter())
}

/// What the client of a request showed, with the `target` it asked for and the name in its certificate.
pub(super) fn credentials_of(
    head: &RequestHead,
    forwarded: &Forwarded,
    target: &str,
    identity: Option<&str>,
    proxy: &Proxy,
) -> Option<Box<Credentials>> {
    let (scheme, host) = head.asked_at(forwarded);
    let shown = Credentials::of_target(target)
        .at(scheme, host)
        .with_authorization(head.headers.text("authorization"))
        .with_cookie(head.headers.text("cookie"))
        .with_certificate(identity);
    let shown = match proxy.asks_backends() {
        true => shown.with_surroundings(
            head.headers.text("referer"),
            head.headers.text("user-agent"),
        ),
        false => shown,
    };
    shown.boxed()
}
