//! The entrance of every TCP listener: what a connection goes through before any protocol is spoken on it.
//!
//! ```text
//! accepted socket ──► PROXY header ──► TLS ──► Visitor
//! ```
//!
//! What comes in is a socket and the address of its peer. What comes out says who the client is, and has a [`Wire`]
//! that a listener reads without knowing what is beneath. Encryption comes after the header, because a balancer sends its
//! header before the client's first byte; whether a client encrypts shows in that byte.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use hyper::http::Uri;
use sluicegate_core::http::caller::{Caller, OwnNames};
use sluicegate_core::preface::{MAX_PREFACE, Preface, PrefaceError, parse};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};

use super::accept::OriginSide;
use super::forwarded;
use super::tls::{HandshakeError, TlsEntrance};
use super::wire::Wire;
use crate::value::{ClientAddr, LocalAddr, Network, PeerAddr};

/// What the connections of one listener go through.
#[derive(Debug, Clone)]
pub struct Entrance {
    /// Whether peers in the listed networks start with a PROXY protocol header.
    pub header: ProxyHeader,
    /// The networks whose headers are believed. What any other peer sends is its protocol's.
    pub listed: Arc<[Network]>,
    /// How long a header may take, and a TLS handshake.
    pub time_limit: Duration,
    /// The TLS of this listener, if it has any.
    pub tls: Option<Arc<TlsEntrance>>,
    /// Clients that come without TLS are refused, where there is TLS.
    pub require_tls: bool,
    /// The networks of HTTP proxies that are believed about how their own clients came: those need no TLS as far as here.
    pub trusted: Arc<[Network]>,
}

/// Whether listed peers send a PROXY protocol header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyHeader {
    /// They may: the first bytes of HTTP cannot be taken for a header.
    May,
    /// They have to, and are let go without one.
    Must,
    /// They do not.
    Never,
}

/// A connection that has come in. Listeners are given a [`Wire`].
#[derive(Debug)]
pub struct Visitor<W = Wire> {
    /// The connection.
    pub wire: W,
    /// What of its bytes was read already, before all that the wire has.
    pub early: Vec<u8>,
    /// Who is at its ends.
    pub ends: Ends,
    /// The place of its origin side.
    pub origin_side: OriginSide,
}

/// Who is at the ends of a client's connection, and how it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Who is served: the peer, or the client that a PROXY protocol header names.
    pub client: ClientAddr,
    /// Who connected.
    pub peer: PeerAddr,
    /// Where the peer reached us.
    pub local: LocalAddr,
    /// A PROXY protocol header was read, even one that names nobody. Then the client is not the peer's machine, and
    /// what the peer's address alone would allow is not the client's to do.
    pub proxied: bool,
    /// The connection is encrypted as far as here.
    pub secure: bool,
    /// The client agreed to speak HTTP/2 (RFC 9113 §3.2).
    pub http2: bool,
    /// It came in the clear to where TLS is required, by a trusted proxy: each request has to say that its client came to that
    /// with TLS.
    pub needs_tls: bool,
}

/// Why a connection does not come in.
#[derive(Debug, thiserror::Error)]
enum Turned {
    #[error("the connection ended in its PROXY protocol header")]
    Closed(#[from] io::Error),
    #[error("{0}, and proxy_protocol.accept_from lists its source")]
    Invalid(#[from] PrefaceError),
    #[error("no PROXY protocol header came in time")]
    Slow,
    #[error("the connection ended before its first byte")]
    Left(#[source] io::Error),
    #[error("nothing came in time")]
    Silent,
    #[error("it came without TLS, which this listener requires")]
    Plain {
        /// It was refused. Otherwise it was led to HTTPS, or asked for nothing.
        refused: bool,
    },
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
}

impl Entrance {
    /// The same with TLS, if there is any, and with no other clients if that is `required`.
    #[must_use]
    pub fn with_tls(self, tls: Option<Arc<TlsEntrance>>, required: bool) -> Self {
        Self {
            require_tls: required && tls.is_some(),
            tls,
            ..self
        }
    }

    /// The same, which hears out HTTP proxies in these networks that come without TLS where it is required.
    #[must_use]
    pub fn trusting(self, trusted: Arc<[Network]>) -> Self {
        Self { trusted, ..self }
    }

    /// Lets a connection in; `None` when its peer is let go, which is logged.
    pub async fn enter(&self, mut stream: TcpStream, peer: PeerAddr) -> Option<Visitor> {
        let header = self.header_of(&mut stream, peer).await;
        let listener = self.tls.as_ref().map(|tls| tls.name);
        let (header, early) = header
            .inspect_err(|turned| turned.log(listener, peer.into()))
            .ok()?;
        let local = stream.local_addr().unwrap_or_else(|_| peer.socket());
        let client = match header {
            Some(Preface::Client(client)) => client.into(),
            Some(Preface::Local) | None => peer.into(),
        };
        let encrypted = self.encrypt(stream, early, (client, peer)).await;
        let (wire, early) = encrypted
            .inspect_err(|turned| turned.log(listener, client))
            .ok()?;
        let ends = Ends {
            client,
            peer,
            local: local.into(),
            proxied: header.is_some(),
            secure: matches!(wire, Wire::Tls(_)),
            http2: wire.is_http2(),
            needs_tls: self.require_tls && matches!(wire, Wire::Plain(_)),
        };
        Some(Visitor {
            wire,
            early,
            ends,
            origin_side: OriginSide::default(),
        })
    }

    /// Shakes hands with a client that begins with TLS, of which `early` was read already.
    async fn encrypt(
        &self,
        mut stream: TcpStream,
        early: Vec<u8>,
        (client, peer): (ClientAddr, PeerAddr),
    ) -> Result<(Wire, Vec<u8>), Turned> {
        let Some(tls) = &self.tls else {
            return Ok((Wire::Plain(stream), early));
        };
        let first = match early.first() {
            Some(first) => *first,
            None => timeout(self.time_limit, first_byte(&stream))
                .await
                .map_err(|_| Turned::Silent)?
                .map_err(Turned::Left)?,
        };
        if first == HANDSHAKE {
            // Boxed, as is all that is not done for a plain connection: most need no room for it.
            let shaking = Box::pin(tls.shake(stream, early, client.ip(), self.time_limit));
            let stream = shaking.await?;
            return Ok((Wire::Tls(Box::new(stream)), Vec::new()));
        }
        // No word of a proxy stands for a certificate of its client.
        let hears = !tls.wants_certificates() && forwarded::believes(&self.trusted, client, peer);
        if self.require_tls && !hears {
            let refused = Box::pin(tls.refuse(&mut stream, early, self.time_limit)).await;
            return Err(Turned::Plain { refused });
        }
        Ok((Wire::Plain(stream), early))
    }

    /// The header a listed peer starts with, and the bytes that came after it.
    async fn header_of(
        &self,
        stream: &mut (impl AsyncRead + Unpin),
        peer: PeerAddr,
    ) -> Result<(Option<Preface>, Vec<u8>), Turned> {
        let listed = || {
            self.listed
                .iter()
                .any(|network| network.contains(peer.ip()))
        };
        if self.header == ProxyHeader::Never || !listed() {
            return Ok((None, Vec::new()));
        }
        let reading = async {
            let mut bytes = Vec::with_capacity(MAX_PREFACE);
            loop {
                match parse(&bytes) {
                    Ok(Some((header, length))) => {
                        return Ok((Some(header), bytes.split_off(length)));
                    }
                    Ok(None) => {}
                    Err(PrefaceError::NotAHeader) if self.header == ProxyHeader::May => {
                        return Ok((None, bytes));
                    }
                    Err(error) => return Err(error.into()),
                }
                if stream.read_buf(&mut bytes).await? == 0 {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
        };
        let reading = Box::pin(timeout(self.time_limit, reading));
        reading.await.unwrap_or(Err(Turned::Slow))
    }
}

impl Turned {
    fn log(&self, listener: Option<&'static str>, client: ClientAddr) {
        match (self, self.refusal()) {
            // A port check of the balancer in front of us, every second perhaps.
            (Self::Closed(error) | Self::Left(error), _) => {
                debug!(%client, listener, %error, failure = %self, "connection ended");
            }
            (_, Some(refusal)) => info!(%client, listener, failure = %self, "{refusal}"),
            // Anybody can cause these, as often as they like.
            (_, None) => debug!(%client, listener, failure = %self, "connection refused"),
        }
    }

    /// What an operator is told of a client whose user may not see why it does not come in.
    const fn refusal(&self) -> Option<&'static str> {
        use rustls::{CertificateError as Certificate, Error};
        let Self::Handshake(HandshakeError::Tls(error)) = self else {
            return match self {
                Self::Invalid(_) | Self::Slow => Some("connection refused"),
                // Browsers come so every day, and are led to HTTPS.
                Self::Plain { refused: false } => None,
                Self::Plain { refused: true } => {
                    Some("connection refused: the client came without TLS")
                }
                Self::Closed(_) | Self::Handshake(_) | Self::Left(_) | Self::Silent => None,
            };
        };
        Some(match error {
            // It speaks TLS, and no version or cipher suite of ours.
            Error::PeerIncompatible(_) => {
                "connection refused: the client's TLS is too old, or has no cipher suite of ours"
            }
            Error::NoCertificatesPresented => {
                "connection refused: the client showed no certificate, and client_ca asks for one"
            }
            Error::InvalidCertificate(problem) => match problem {
                Certificate::Expired | Certificate::ExpiredContext { .. } => {
                    "connection refused: the client's certificate is over"
                }
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                    "connection refused: the client's certificate does not hold yet"
                }
                Certificate::Revoked => "connection refused: the client's certificate is revoked",
                Certificate::UnknownIssuer => {
                    "connection refused: no authority in client_ca vouches for the client's certificate"
                }
                _ => "connection refused: the client's certificate is not valid",
            },
            _ => return None,
        })
    }
}

/// The first byte of a connection, which stays unread.
async fn first_byte(stream: &TcpStream) -> io::Result<u8> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0]),
    }
}

impl Ends {
    /// A client that connected by itself, in the clear, at an address that it reached within its own machine.
    pub fn direct(peer: PeerAddr) -> Self {
        Self {
            client: peer.into(),
            peer,
            local: peer.socket().into(),
            proxied: false,
            secure: false,
            http2: false,
            needs_tls: false,
        }
    }

    /// Whether a request lacks the TLS that is required; `told` is what a trusted proxy says of its client.
    pub fn lacks_tls(&self, told: Option<bool>) -> bool {
        self.needs_tls && told != Some(true)
    }

    /// The sender of requests on this connection, for the rules about callers.
    pub fn caller(&self, target: &Uri, headers: &HeaderMap, names: &OwnNames) -> Caller {
        let authority = target.authority().map(|authority| authority.as_str());
        let headers = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let caller = Caller::of(self.peer.ip(), authority, headers, names);
        if self.proxied {
            caller.behind_header(self.client.ip())
        } else {
            caller
        }
    }
}

/// The first byte of a TLS record that begins a connection (RFC 8446 §5.1). No protocol that is served here begins with
/// it.
const HANDSHAKE: u8 = 0x16;

#[cfg(test)]
mod tests {
    use super::*;

    fn entrance(header: ProxyHeader) -> Entrance {
        Entrance {
            header,
            listed: Arc::new(["10.0.0.0/8".parse().unwrap()]),
            time_limit: Duration::from_secs(1),
            tls: None,
            require_tls: false,
            trusted: Arc::default(),
        }
    }

    const PEER: &str = "10.0.0.9:7";
    const HEADER: &[u8] = b"PROXY TCP4 203.0.113.9 10.0.0.1 4242 1935\r\nGET /";

    async fn read(
        header: ProxyHeader,
        peer: &str,
        mut bytes: &[u8],
    ) -> Result<(Option<Preface>, Vec<u8>), Turned> {
        let peer = peer.parse().unwrap();
        entrance(header).header_of(&mut bytes, peer).await
    }

    #[tokio::test]
    async fn the_header_is_taken_off_and_the_rest_is_kept() {
        for header in [ProxyHeader::May, ProxyHeader::Must] {
            let (preface, rest) = read(header, PEER, HEADER).await.unwrap();
            let client = Preface::Client("203.0.113.9:4242".parse().unwrap());
            assert_eq!(preface, Some(client), "{header:?}");
            assert_eq!(rest, b"GET /", "{header:?}");
        }
    }

    #[tokio::test]
    async fn a_peer_that_may_send_a_header_need_not() {
        for request in [&b"GET / HTTP/1.1\r\n"[..], b"PUT", b"\r\nGET /"] {
            let (preface, rest) = read(ProxyHeader::May, PEER, request).await.unwrap();
            assert_eq!((preface, rest.as_slice()), (None, request));
        }
    }

    #[tokio::test]
    async fn nothing_is_read_where_no_header_is_believed() {
        for (header, peer) in [
            (ProxyHeader::Never, PEER),
            (ProxyHeader::May, "192.0.2.1:7"),
            (ProxyHeader::Must, "192.0.2.1:7"),
        ] {
            let (preface, rest) = read(header, peer, HEADER).await.unwrap();
            assert_eq!((preface, rest.as_slice()), (None, &b""[..]), "{header:?}");
        }
    }

    #[test]
    fn an_operator_hears_of_clients_whose_users_do_not_see_why() {
        use rustls::{AlertDescription, CertificateError, Error, PeerIncompatible};
        let of = |error| Turned::Handshake(HandshakeError::Tls(error));
        let bad = |error| of(Error::InvalidCertificate(error));
        let incompatible = PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig;
        for (turned, told) in [
            (of(Error::NoCertificatesPresented), "showed no certificate"),
            (bad(CertificateError::Expired), "is over"),
            (bad(CertificateError::NotValidYet), "does not hold yet"),
            (bad(CertificateError::Revoked), "is revoked"),
            (bad(CertificateError::UnknownIssuer), "no authority"),
            (bad(CertificateError::BadSignature), "is not valid"),
            (of(Error::PeerIncompatible(incompatible)), "too old"),
            (Turned::Plain { refused: true }, "without TLS"),
            (Turned::Slow, "connection refused"),
            (Turned::Plain { refused: false }, ""),
            (
                of(Error::AlertReceived(AlertDescription::BadCertificate)),
                "",
            ),
            (Turned::Handshake(HandshakeError::Crowded), ""),
            (Turned::Silent, ""),
        ] {
            let refusal = turned.refusal().unwrap_or_default();
            assert_eq!(told.is_empty(), refusal.is_empty(), "{turned}");
            assert!(refusal.contains(told), "{turned}: {refusal}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_says_nothing_or_something_else_is_refused() {
        let (mut silent, _keep) = tokio::io::duplex(64);
        let must = entrance(ProxyHeader::Must);
        let turned = must.header_of(&mut silent, PEER.parse().unwrap()).await;
        assert!(matches!(turned, Err(Turned::Slow)));
        let turned = read(ProxyHeader::Must, PEER, b"GET / HTTP/1.1\r\n").await;
        assert!(matches!(
            turned,
            Err(Turned::Invalid(PrefaceError::NotAHeader))
        ));
        let broken = b"PROXY TCP4 203.0.113.9\r\n";
        let turned = read(ProxyHeader::May, PEER, broken).await;
        assert!(matches!(
            turned,
            Err(Turned::Invalid(PrefaceError::Malformed))
        ));
    }
}
