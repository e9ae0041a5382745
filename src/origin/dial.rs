//! Reaching an origin over TCP, and telling it who the client is.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::preface;
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
    /// Connects to a candidate within its patience, and announces the client if the origin wants that. `rtmp` says
    /// whether the connection will speak RTMP.
    ///
    /// # Errors
    /// [`DialError::Failed`], with the reason in words for the log.
    pub async fn dial(
        &self,
        attempt: &Attempt,
        client: ClientAddr,
        local: LocalAddr,
        rtmp: bool,
    ) -> Result<TcpStream, DialError> {
        let target = &attempt.target;
        let mut stream = match self.connector.connect(target, attempt.patience).await {
            Ok(stream) => stream,
            Err(error) if is_ours(&error) => return Err(DialError::Exhausted(error.to_string())),
            Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(DialError::Silent(format!("{target}: {error}")));
            }
            Err(error) => return Err(DialError::Failed(format!("{target}: {error}"))),
        };
        prepare(&stream);
        let words = self.words(&attempt.origin, &attempt.label, client, local, rtmp);
        if !words.is_empty() {
            stream
                .write_all(&words)
                .await
                .map_err(|error| DialError::Failed(error.to_string()))?;
        }
        Ok(stream)
    }

    /// What a socket that cannot be had means for a candidate.
    pub fn failed(&self, error: &io::Error) -> DialError {
        if is_ours(error) {
            DialError::Exhausted(error.to_string())
        } else {
            DialError::Failed(error.to_string())
        }
    }

    /// Whether the candidate is told who the client is at the start of a connection, which is that client's alone
    /// then.
    pub fn announces(&self, attempt: &Attempt) -> bool {
        let names = [attempt.origin.as_str(), attempt.label.as_str()];
        self.proxy_v1.includes(names) || self.proxy_v2.includes(names)
    }

    /// The addresses of an origin's datagram port that may be used; at least one.
    ///
    /// # Errors
    /// [`DialError::Failed`], when its name leads to none.
    pub async fn datagrams(&self, attempt: &Attempt) -> Result<Vec<SocketAddr>, DialError> {
        let target = &attempt.target;
        let failed = |why: String| DialError::Failed(format!("{target}: {why}"));
        timeout(attempt.patience, self.connector.addresses(target))
            .await
            .map_err(|_| failed("its name was not resolved in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))
    }

    /// The bytes an origin wants before the client's own.
    fn words(
        &self,
        origin: &OriginId,
        label: &str,
        client: ClientAddr,
        local: LocalAddr,
        rtmp: bool,
    ) -> Vec<u8> {
        let wants = |list: &OriginNames| list.includes([origin.as_str(), label]);
        let mut words = if wants(&self.proxy_v2) {
            preface::write_v2(client.socket(), local.socket())
        } else if wants(&self.proxy_v1) {
            preface::write_v1(client.socket(), local.socket())
        } else {
            Vec::new()
        };
        if rtmp && wants(&self.rtmp_preamble) {
            words.extend(
                preface::write_rtmp_client_address(client.ip())
                    .into_iter()
                    .flatten(),
            );
        }
        words
    }
}

/// The error says that this machine ran out of something, and nothing of the origin.
fn is_ours(error: &io::Error) -> bool {
    let ran_out = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::ADDRNOTAVAIL,
    ];
    error
        .raw_os_error()
        .is_some_and(|code| ran_out.iter().any(|errno| errno.raw_os_error() == code))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let words = |id: &str, label: &str, rtmp| {
            dialer.words(&OriginId::from(id), label, client, local, rtmp)
        };
        assert_eq!(
            words("vid-1", "origin1", true),
            [0xF3, 0, 4, 203, 0, 113, 9],
            "by device id"
        );
        assert!(
            words("vid-1", "origin1", false).is_empty(),
            "HTTP has no such preamble"
        );
        assert_eq!(
            words("vid-2", "x", false),
            b"PROXY TCP4 203.0.113.9 10.0.0.1 1 2\r\n",
            "by origin id"
        );
        assert!(words("vid-3", "x", true).is_empty());
    }
}
