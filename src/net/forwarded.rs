//! Who is behind the proxies in front of us that speak HTTP.

use std::net::{IpAddr, SocketAddr};

use sluicegate_core::http::head::Forwarded;

use super::entrance::Ends;
use crate::value::{ClientAddr, Network};

/// Who is behind the proxies that are believed, the last of which is `connected`, by the `lines` of
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
    let believed = |address| trusted.iter().any(|network| network.contains(address));
    let client = ends.client.ip();
    Forwarded {
        client,
        secure: ends.secure,
        trusted: believed(ends.peer.ip()) || believed(client),
    }
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
