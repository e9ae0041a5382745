//! Reaching an origin over TCP or TLS, and telling it who the client is.

use std::io;
use std::net::SocketAddr;

use sluicegate_core::fleet::origin::Transport;
use sluicegate_core::preface;
use sluicegate_core::stream::Service;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::wire::Wire;
use crate::origin::attempt::{Attempt, DialError};
use crate::origin::connect::Connector;
use crate::value::{ClientAddr, LocalAddr, OriginNames};

/// How origins are reached, and which of them are told the client's address.
#[derive(Debug, Clone)]
pub struct Dialer {
    /// Opens the connections.
    pub connector: Connector,
    /// By the 0xF3 preamble that SRS reads before an RTMP handshake.
    pub rtmp_preamble: OriginNames,
    /// By a PROXY protocol header, version 1.
    pub proxy_v1: OriginNames,
    /// By a PROXY protocol header, version 2.
    pub proxy_v2: OriginNames,
}

impl Dialer {
    /// Connects to a candidate within its patience, and announces the client if the origin wants that.
    ///
    /// # Errors
    /// [`DialError::Failed`], with the reason in words for the log.
    pub async fn dial(
        &self,
        attempt: &Attempt,
        client: ClientAddr,
        local: LocalAddr,
    ) -> Result<Wire, DialError> {
        self.announcing(attempt, |_| Ok((client, local))).await
    }

    /// Connects, and tells an origin that wants to know what `ends` says of the new connection. A PROXY header goes ahead
    /// of TLS, as balancers send it.
    async fn announcing(
        &self,
        attempt: &Attempt,
        ends: impl Fn(&TcpStream) -> io::Result<(ClientAddr, LocalAddr)>,
    ) -> Result<Wire, DialError> {
        let target = &attempt.target;
        let header = |stream: &TcpStream| {
            let (client, local) = ends(stream)?;
            Ok(self.header(attempt, client, local))
        };
        let connecting = self
            .connector
            .connect_after(target, attempt.time_limit, header);
        let connected = connecting.await;
        let mut wire = connected.map_err(|error| DialError::of_connect(target, &error))?;
        let failed = |error: io::Error| DialError::Failed(error.to_string());
        let (client, _) = ends(wire.tcp()).map_err(failed)?;
        let preamble = self.preamble(attempt, client);
        wire.write_all(&preamble).await.map_err(failed)?;
        Ok(wire)
    }

    /// Connects to a candidate in this proxy's own name: an origin that wants the address of its client is told ours.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub async fn dial_for_ourselves(&self, attempt: &Attempt) -> Result<Wire, DialError> {
        self.announcing(attempt, |stream| {
            Ok((stream.local_addr()?.into(), stream.peer_addr()?.into()))
        })
        .await
    }

    /// Whether the candidate is told who the client is at the start of a connection, which is that client's alone
    /// then.
    pub fn announces(&self, attempt: &Attempt) -> bool {
        self.proxy_v1.includes(attempt.names()) || self.proxy_v2.includes(attempt.names())
    }

    /// The addresses of an origin's datagram port that may be used; at least one.
    ///
    /// # Errors
    /// [`DialError::Failed`], when its name leads to none.
    pub async fn datagrams(&self, attempt: &Attempt) -> Result<Vec<SocketAddr>, DialError> {
        let target = &attempt.target;
        let failed = |why: String| DialError::Failed(format!("{target}: {why}"));
        timeout(
            attempt.time_limit,
            self.connector.addresses(target, Transport::Udp),
        )
        .await
        .map_err(|_| failed("its name was not resolved in time".to_owned()))?
        .map_err(|error| failed(error.to_string()))
    }

    /// The PROXY header that an origin wants at the start of a connection.
    fn header(&self, attempt: &Attempt, client: ClientAddr, local: LocalAddr) -> Vec<u8> {
        let wants = |list: &OriginNames| list.includes(attempt.names());
        if wants(&self.proxy_v2) {
            preface::write_v2(client.socket(), local.socket())
        } else if wants(&self.proxy_v1) {
            preface::write_v1(client.socket(), local.socket())
        } else {
            Vec::new()
        }
    }

    /// The preamble that an origin wants before an RTMP handshake.
    fn preamble(&self, attempt: &Attempt, client: ClientAddr) -> Vec<u8> {
        let wants = self.rtmp_preamble.includes(attempt.names());
        let preamble = (attempt.service == Service::Rtmp && wants)
            .then(|| preface::write_rtmp_client_address(client.ip()));
        preamble.into_iter().flatten().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::time::Duration;

    use sluicegate_core::fleet::origin::{OriginId, Target};

    use super::*;
    use sluicegate_core::dialect::Naming;

    #[test]
    fn only_listed_origins_are_told() {
        let dialer = Dialer {
            connector: Connector::unrestricted(),
            rtmp_preamble: OriginNames::new(["origin1"]),
            proxy_v1: OriginNames::new(["vid-2"]),
            proxy_v2: OriginNames::default(),
        };
        let (client, local) = (
            "203.0.113.9:1".parse().unwrap(),
            "10.0.0.1:2".parse().unwrap(),
        );
        let announced = |id: &str, label: &str, service| {
            let attempt = Attempt {
                origin: OriginId::from(id),
                label: label.to_owned(),
                service,
                target: Target::plain(IpAddr::from([10, 0, 0, 9]).into(), 1935),
                naming: Naming::default(),
                time_limit: Duration::ZERO,
                step_by_step: false,
            };
            let mut bytes = dialer.header(&attempt, client, local);
            bytes.extend(dialer.preamble(&attempt, client));
            bytes
        };
        assert_eq!(
            announced("vid-1", "origin1", Service::Rtmp),
            [0xF3, 0, 4, 203, 0, 113, 9],
            "by device id"
        );
        assert!(
            announced("vid-1", "origin1", Service::Http).is_empty(),
            "HTTP has no such preamble"
        );
        assert_eq!(
            announced("vid-2", "x", Service::Api),
            b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
            "by origin id"
        );
        assert!(announced("vid-3", "x", Service::Rtmp).is_empty());
    }
}
