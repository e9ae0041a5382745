//! PROXY protocol headers on sockets: read from peers in front of us, written to origins that want to know.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use sluicegate_core::preface::{MAX_PREFACE, Preface, PrefaceError, parse};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;
use tracing::{debug, info};

use crate::value::Network;

/// Why no client address could be had.
#[derive(Debug, thiserror::Error)]
pub enum PrefaceFailure {
    /// The peer closed or the socket failed.
    #[error("the connection ended in its PROXY protocol header")]
    Closed(#[from] io::Error),
    /// The bytes are something else.
    #[error("{0}, and proxy_protocol.accept_from lists its source")]
    Invalid(#[from] PrefaceError),
    /// It did not come in time.
    #[error("no PROXY protocol header came in time")]
    Slow,
}

/// Who a new connection is from, with bytes it has sent already: `peer`, unless it is in a `listed` network. Those
/// have to send a header, which says who; without one they are let go, and there is nobody.
pub async fn caller(
    stream: &mut (impl AsyncRead + Unpin),
    peer: SocketAddr,
    listed: &[Network],
    patience: Duration,
) -> Option<(SocketAddr, Vec<u8>)> {
    if !listed.iter().any(|network| network.contains(peer.ip())) {
        return Some((peer, Vec::new()));
    }
    let told = read(stream, peer, patience).await;
    told.inspect_err(|failure| match failure {
        // A port check of the balancer in front of us, every second perhaps.
        PrefaceFailure::Closed(error) => debug!(%peer, %error, "no PROXY protocol header"),
        failure => info!(%peer, %failure, "connection refused"),
    })
    .ok()
}

/// Reads the header a listed peer has to send, and says who the client is. Bytes that came after it are returned.
///
/// # Errors
/// [`PrefaceFailure`] when there is no valid header within `patience`.
async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    peer: SocketAddr,
    patience: Duration,
) -> Result<(SocketAddr, Vec<u8>), PrefaceFailure> {
    let reading = async {
        let mut bytes = Vec::with_capacity(MAX_PREFACE);
        loop {
            if let Some((preface, length)) = parse(&bytes)? {
                let client = match preface {
                    Preface::Client(client) => {
                        SocketAddr::new(client.ip().to_canonical(), client.port())
                    }
                    Preface::Local => peer,
                };
                return Ok((client, bytes.split_off(length)));
            }
            if stream.read_buf(&mut bytes).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    };
    timeout(patience, reading)
        .await
        .unwrap_or(Err(PrefaceFailure::Slow))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_header_is_taken_off_and_the_rest_is_kept() {
        let peer = "10.0.0.9:7".parse().unwrap();
        let mut stream: &[u8] = b"PROXY TCP4 203.0.113.9 10.0.0.1 4242 1935\r\nGET /";
        let (client, rest) = read(&mut stream, peer, Duration::from_secs(1))
            .await
            .unwrap();
        assert_eq!(
            (client.to_string().as_str(), rest.as_slice()),
            ("203.0.113.9:4242", b"GET /".as_slice())
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_or_something_else_is_refused() {
        let peer = "10.0.0.9:7".parse().unwrap();
        let (mut silent, _keep) = tokio::io::duplex(64);
        let failure = read(&mut silent, peer, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(matches!(failure, PrefaceFailure::Slow));
        let mut stream: &[u8] = b"GET / HTTP/1.1\r\n";
        let failure = read(&mut stream, peer, Duration::from_secs(1))
            .await
            .unwrap_err();
        assert!(matches!(
            failure,
            PrefaceFailure::Invalid(PrefaceError::NotAHeader)
        ));
    }
}
