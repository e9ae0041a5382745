//! The client for which HTTP proxies in front of us connected.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use sluicegate_core::http::base::{BasePath, FORWARDED_PREFIX};
use sluicegate_core::http::head::{Forwarded, Headers};

use super::entrance::Ends;
use crate::value::{ClientAddr, Network, PeerAddr};

/// The client for which trusted proxies connected, the last of which is `connected`, by the `lines` of
/// `X-Forwarded-For`: each proxy appended the address it saw, so the list is read from its end, and what stands before
/// the first address that is no such proxy is only what a client claims.
pub fn client<'a>(
    trusted: &[Network],
    connected: ClientAddr,
    lines: impl DoubleEndedIterator<Item = &'a str>,
) -> ClientAddr {
    let mut client = connected.ip();
    for member in lines.rev().flat_map(|line| line.rsplit(',')) {
        if !trusted.iter().any(|network| network.contains(client)) {
            break;
        }
        let Some(before) = address(member.trim()) else {
            break;
        };
        client = before;
    }
    connected.at(client)
}

/// What an origin is told of the way a request came; what `trusted` proxies told us goes along. Such a proxy is the peer, also
/// where its PROXY protocol header names its own client, or it is that client, where the peer is a balancer that speaks no
/// HTTP.
pub fn told(trusted: &[Network], ends: Ends) -> Forwarded {
    Forwarded {
        client: ends.client.ip(),
        secure: ends.secure,
        trusted: are_believed(trusted, ends),
    }
}

/// The folder under which the client of a request reaches us: what a `trusted` proxy says of it, else `usual`.
pub fn base(trusted: &[Network], ends: Ends, headers: &Headers, usual: &BasePath) -> BasePath {
    let told = || BasePath::told(headers.all(FORWARDED_PREFIX));
    let told = are_believed(trusted, ends).then(told).flatten();
    told.unwrap_or_else(|| usual.clone())
}

/// The same, for headers as hyper has them.
pub fn base_of(trusted: &[Network], ends: Ends, headers: &HeaderMap, usual: &BasePath) -> BasePath {
    let values = headers.get_all(FORWARDED_PREFIX).into_iter();
    let told = || BasePath::told(values.map(|value| value.as_bytes()));
    let told = are_believed(trusted, ends).then(told).flatten();
    told.unwrap_or_else(|| usual.clone())
}

/// Whether the client of a request came with TLS, to us or to a `trusted` proxy.
pub fn is_secure(trusted: &[Network], ends: Ends, headers: &HeaderMap) -> bool {
    let told = || told_secure(headers);
    let told = are_believed(trusted, ends).then(told).flatten();
    told.unwrap_or(ends.secure)
}

/// What a proxy says of how its client came: whether with TLS.
pub fn told_secure(headers: &HeaderMap) -> Option<bool> {
    let mut told = Headers::default();
    for name in ["x-forwarded-proto", "forwarded"] {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        if let Some(value) = value {
            told.push(name, value);
        }
    }
    told.told_secure()
}

/// Whether a request came by a `trusted` proxy.
fn are_believed(trusted: &[Network], ends: Ends) -> bool {
    believes(trusted, ends.client, ends.peer)
}

/// The same by the addresses of the `client` and of the `peer`.
pub fn believes(trusted: &[Network], client: ClientAddr, peer: PeerAddr) -> bool {
    let believed = |address| trusted.iter().any(|network| network.contains(address));
    believed(peer.ip()) || believed(client.ip())
}

/// An address as proxies write it: plain, or with a port.
fn address(text: &str) -> Option<IpAddr> {
    let plain = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let with_port = || text.parse().ok().map(|socket: SocketAddr| socket.ip());
    plain
        .parse()
        .ok()
        .or_else(with_port)
        .map(|ip: IpAddr| ip.to_canonical())
}
