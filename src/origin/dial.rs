//! Reaching an origin over TCP, and telling it who the client is.

use std::io;
use std::net::SocketAddr;

use sluicegate_core::preface;
use sluicegate_core::stream::Service;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::net::accept::prepare;
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
    ) -> Result<TcpStream, DialError> {
        let mut stream = self.connect(attempt).await?;
        let announcement = self.announcement(attempt, client, local);
        announce(&mut stream, &announcement).await?;
        Ok(stream)
    }

    async fn connect(&self, attempt: &Attempt) -> Result<TcpStream, DialError> {
        let target = &attempt.target;
        let connected = self.connector.connect(target, attempt.time_limit).await;
        let stream = connected.map_err(|error| DialError::of_connect(target, &error))?;
        prepare(&stream);
        Ok(stream)
    }

    /// Connects to a candidate in this proxy's own name: an origin that wants to know who comes is told our address.
    ///
    /// # Errors
    /// As [`dial`](Self::dial).
    pub async fn dial_for_ourselves(&self, attempt: &Attempt) -> Result<TcpStream, DialError> {
        let mut stream = self.connect(attempt).await?;
        let failed = |error: io::Error| DialError::Failed(error.to_string());
        let (own, theirs) = (
            stream.local_addr().map_err(failed)?,
            stream.peer_addr().map_err(failed)?,
        );
        let announcement = self.announcement(attempt, own.into(), theirs.into());
        announce(&mut stream, &announcement).await?;
        Ok(stream)
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
        timeout(attempt.time_limit, self.connector.addresses(target))
            .await
            .map_err(|_| failed("its name was not resolved in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))
    }

    /// The bytes an origin wants before the client's own.
    fn announcement(&self, attempt: &Attempt, client: ClientAddr, local: LocalAddr) -> Vec<u8> {
        let wants = |list: &OriginNames| list.includes(attempt.names());
        let mut bytes = if wants(&self.proxy_v2) {
            preface::write_v2(client.socket(), local.socket())
        } else if wants(&self.proxy_v1) {
            preface::write_v1(client.socket(), local.socket())
        } else {
            Vec::new()
        };
        if attempt.service == Service::Rtmp && wants(&self.rtmp_preamble) {
            let preamble = preface::write_rtmp_client_address(client.ip());
            bytes.extend(preamble.into_iter().flatten());
        }
        bytes
    }
}

async fn announce(stream: &mut TcpStream, announcement: &[u8]) -> Result<(), DialError> {
    if announcement.is_empty() {
        return Ok(());
    }
    let written = stream.write_all(announcement).await;
    written.map_err(|error| DialError::Failed(error.to_string()))
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
                target: Target {
                    host: IpAddr::from([10, 0, 0, 9]).into(),
                    port: 1935,
                },
                naming: Naming::default(),
                time_limit: Duration::ZERO,
                step_by_step: false,
            };
            dialer.announcement(&attempt, client, local)
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
