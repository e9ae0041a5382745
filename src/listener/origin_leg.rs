//! Reaching an origin over TCP, and telling it who the client is.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use rustix::io::Errno;
use sluicegate_core::fleet::origin::{AddressRules, Host, OriginId};
use sluicegate_core::preface;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{sleep, timeout};

use crate::net::accept::prepare;
use crate::proxy::{Attempt, DialError};
use crate::value::{ClientAddr, LocalAddr, OriginNames};

/// How origins are reached, and which of them are told the client's address.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    /// Addresses that a registered name must not resolve to.
    pub addresses: AddressRules,
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
        let mut stream = match timeout(attempt.patience, self.connect(attempt)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if is_ours(&error) => {
                return Err(DialError::Exhausted(error.to_string()));
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => {
                return Err(DialError::Silent(format!("{}: {error}", attempt.target)));
            }
            Ok(Err(error)) => {
                return Err(DialError::Failed(format!("{}: {error}", attempt.target)));
            }
            Err(_) => {
                return Err(DialError::Silent(format!(
                    "{}: no connection in time",
                    attempt.target
                )));
            }
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

    /// The address of an origin's datagram port.
    ///
    /// # Errors
    /// [`DialError::Failed`], when its name leads to no address that may be used.
    pub async fn datagrams(&self, attempt: &Attempt) -> Result<SocketAddr, DialError> {
        let target = &attempt.target;
        let name = match &target.host {
            Host::Ip(ip) => return Ok((*ip, target.port).into()),
            Host::Name(name) => name.as_str(),
        };
        let failed = |why: String| DialError::Failed(format!("{target}: {why}"));
        let found = timeout(attempt.patience, lookup_host((name, target.port))).await;
        let mut found = found
            .map_err(|_| failed("its name was not resolved in time".to_owned()))?
            .map_err(|error| failed(error.to_string()))?;
        found
            .find(|address| self.addresses.check(&address.ip().into()).is_ok())
            .ok_or_else(|| failed("its name leads to no address that may be used".to_owned()))
    }

    async fn connect(&self, attempt: &Attempt) -> io::Result<TcpStream> {
        let target = &attempt.target;
        let name = match &target.host {
            Host::Ip(ip) => return connect_to((*ip, target.port).into()).await,
            Host::Name(name) => name.as_str(),
        };
        // The rules were kept when the name was registered; where it leads can change at any time.
        let found = lookup_host((name, target.port)).await?;
        let allowed: Vec<SocketAddr> = found
            .filter(|address| self.addresses.check(&address.ip().into()).is_ok())
            .collect();
        // Each gets its share of the time: behind one that leads nowhere may be one that answers.
        let share = attempt.patience / u32::try_from(allowed.len().max(1)).unwrap_or(u32::MAX);
        let mut failure = io::Error::other("its name leads to no address that may be dialled");
        for address in allowed {
            match timeout(share, connect_to(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failure = error,
                Err(_) => failure = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failure)
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

/// Connects, and knocks again while nothing comes back.
///
/// An origin whose accept queue is full drops the first packet of a connection, and the kernel repeats it a second
/// later, when the dial is over. A second and a third connection of our own get in as soon as there is room; whichever
/// is first is taken, and the others were never more than a packet.
async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let mut knocks = FuturesUnordered::new();
    knocks.push(TcpStream::connect(address));
    for _ in 1..KNOCKS {
        tokio::select! {
            Some(connected) = knocks.next() => return connected,
            () = sleep(KNOCK_AGAIN) => knocks.push(TcpStream::connect(address)),
        }
    }
    match knocks.next().await {
        Some(connected) => connected,
        None => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Connections of one dial that may be under way.
const KNOCKS: usize = 3;
/// Longer than a packet takes around the world, and often enough to be heard within a dial of one second.
const KNOCK_AGAIN: Duration = Duration::from_millis(400);

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
            addresses: AddressRules::default(),
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
