//! Handshakes under way. A signature takes a hundred times as long as a packet, so few are made at once, and media in
//! between; and a source that begins more handshakes than it ends gets no further ones.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::challenges::ACME_TLS;
use super::stream::{Established, TlsStream};

/// The handshakes of one proxy.
#[derive(Debug)]
pub struct Handshakes {
    /// Under way, in all; further ones wait.
    room: Semaphore,
    /// Computing, at this moment.
    computing: Semaphore,
    /// Under way, by source.
    sources: Mutex<HashMap<IpAddr, usize>>,
    per_source: usize,
}

/// Why a handshake came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The connection ended.
    #[error("the connection ended in its TLS handshake")]
    Closed(#[source] io::Error),
    /// As many of this source are under way as may be.
    #[error("its source has too many TLS handshakes under way")]
    Crowded,
    /// The client did not finish in time.
    #[error("the TLS handshake took too long")]
    Slow,
    /// It was an ACME server that looked at a certificate, and it is done.
    #[error("an ACME server looked at a certificate")]
    Validated,
    /// The two have nothing in common, or the client's bytes are something else.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
}

impl Handshakes {
    /// Room for `at_once` handshakes, of which `per_source` may be of one address, with `workers` threads to make them.
    pub fn new(at_once: usize, per_source: usize, workers: usize) -> Self {
        Self {
            room: Semaphore::new(at_once),
            computing: Semaphore::new(workers),
            sources: Mutex::default(),
            per_source,
        }
    }

    /// Shakes hands with a client at `source`, which has sent `early` already and has `time_limit` for the rest.
    ///
    /// # Errors
    /// [`HandshakeError`]; a client that is still there was told what TLS has a word for.
    pub(super) async fn shake(
        self: &Arc<Self>,
        socket: TcpStream,
        early: Vec<u8>,
        config: Arc<ServerConfig>,
        source: IpAddr,
        time_limit: Duration,
    ) -> Result<(TlsStream, Established), HandshakeError> {
        let _place = self.enter(source)?;
        let shaking = async {
            let _room = self.room.acquire().await;
            let mut stream = TlsStream::accept(socket, config, early)?;
            while stream.is_handshaking() {
                stream.receive().await.map_err(HandshakeError::Closed)?;
                {
                    let _turn = self.computing.acquire().await;
                    stream.process()?;
                }
                stream.flush().await.map_err(HandshakeError::Closed)?;
            }
            if stream.protocol() == Some(ACME_TLS) {
                return Err(HandshakeError::Validated);
            }
            let ended = stream.finish_handshake();
            Ok((stream, ended))
        };
        timeout(time_limit, shaking)
            .await
            .unwrap_or(Err(HandshakeError::Slow))
    }

    /// A place among the handshakes of `source`, until it is dropped.
    fn enter(self: &Arc<Self>, source: IpAddr) -> Result<HandshakeSlot, HandshakeError> {
        let source = network(source);
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way = sources.entry(source).or_default();
        if *under_way >= self.per_source {
            return Err(HandshakeError::Crowded);
        }
        *under_way += 1;
        Ok(HandshakeSlot {
            handshakes: Arc::clone(self),
            source,
        })
    }
}

/// One handshake of a source.
#[derive(Debug)]
struct HandshakeSlot {
    handshakes: Arc<Handshakes>,
    source: IpAddr,
}

impl Drop for HandshakeSlot {
    fn drop(&mut self) {
        let sources = &self.handshakes.sources;
        let mut sources = sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(under_way) = sources.get_mut(&self.source) {
            *under_way -= 1;
            if *under_way == 0 {
                sources.remove(&self.source);
            }
        }
    }
}

/// Who counts as one source: an IPv4 address, or the network that one IPv6 subscriber has (RFC 6177).
fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V4(address) => address.into(),
        IpAddr::V6(address) => {
            let subscriber = u128::from(address) & !(u128::MAX >> SUBSCRIBER_BITS);
            Ipv6Addr::from(subscriber).into()
        }
    }
}

/// The bits of an IPv6 address that name a subscriber.
const SUBSCRIBER_BITS: u32 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_source_has_few_and_leaves_room_for_others() {
        let handshakes = Arc::new(Handshakes::new(8, 2, 1));
        let source = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = handshakes.enter(source("192.0.2.1")).unwrap();
        let _second = handshakes.enter(source("::ffff:192.0.2.1")).unwrap();
        let third = handshakes.enter(source("192.0.2.1"));
        assert!(matches!(third, Err(HandshakeError::Crowded)));
        assert!(handshakes.enter(source("192.0.2.2")).is_ok());
        drop(first);
        assert!(handshakes.enter(source("192.0.2.1")).is_ok());
        assert_eq!(
            handshakes.sources.lock().unwrap().len(),
            1,
            "the rest is gone"
        );
    }

    #[test]
    fn a_subscriber_is_one_source() {
        let rows = [
            ("192.0.2.1", "192.0.2.1"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ];
        for (source, expected) in rows {
            let expected: IpAddr = expected.parse().unwrap();
            assert_eq!(network(source.parse().unwrap()), expected);
        }
    }
}
