//! Who sent a request.

use sluicegate_core::http::head::RequestHead;

use super::Http;
use crate::net::forwarded;
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
