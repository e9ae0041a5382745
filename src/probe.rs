//! Asks an origin whether it answers.

use sluicegate_core::origin::{Host, Target};
use sluicegate_core::stream::Service;
use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::net::last_words;

/// Whether `service` answers at `target` within one second.
///
/// A process that is stopped, or stuck, still accepts TCP connections: the kernel does that for it. RTMP is therefore
/// asked for the first byte of its handshake. Other services over TCP are only connected to.
///
/// # Errors
/// Why it does not answer, or that it cannot be asked.
pub async fn answers(target: &Target, service: Service) -> Result<(), ProbeError> {
    let ask = async {
        match service {
            Service::Api | Service::Http | Service::Rtsp => connect(target).await,
            Service::Rtc | Service::Srt => Err(ProbeError::Datagrams(service)),
            Service::Rtmp => greet(connect(target).await?).await,
        }
    };
    let answered = tokio::time::timeout(PATIENCE, ask).await;
    let mut origin = answered.unwrap_or(Err(ProbeError::Silent))?;
    // It answered, which is all that was asked; now it gets an end to log, and not a reset.
    last_words::say(&mut origin, &[], LEAVE).await;
    Ok(())
}

/// Why an origin does not count as answering.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It closed the connection before a byte of its own.
    #[error("it closed the connection without a word")]
    Closed,
    /// Services over UDP have no question that anything would answer.
    #[error("{0} is served over UDP and cannot be asked")]
    Datagrams(Service),
    /// It speaks, but not RTMP: the handshake begins with another version (RTMP 1.0 §5.2.2).
    #[error("it does not speak RTMP, its first byte is {0:#04x}")]
    NotRtmp(u8),
    /// It did nothing in time.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Silent,
    /// The connection failed.
    #[error("{}", plain(.0))]
    Unreachable(#[from] io::Error),
}

/// What an I/O error says, without the number of the system call's error.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let words = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = words.chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

async fn connect(target: &Target) -> Result<TcpStream, ProbeError> {
    let connected = match &target.host {
        Host::Ip(ip) => TcpStream::connect((*ip, target.port)).await,
        Host::Name(name) => TcpStream::connect((name.as_str(), target.port)).await,
    };
    Ok(connected?)
}

/// Sends C0 and C1 (RTMP 1.0 §5.2.2, §5.2.3) and waits for S0.
async fn greet(mut origin: TcpStream) -> Result<TcpStream, ProbeError> {
    let mut greeting = [FILLER; 1 + 1536];
    // C0, then of C1 the time and the four zero bytes: a simple handshake, without a digest to compute.
    greeting[0] = RTMP_VERSION;
    greeting[1..9].fill(0);
    origin.write_all(&greeting).await?;
    let mut version = [0];
    match origin.read(&mut version).await? {
        0 => Err(ProbeError::Closed),
        _ if version == [RTMP_VERSION] => Ok(origin),
        _ => Err(ProbeError::NotRtmp(version[0])),
    }
}

/// How long an origin may take; as long as a session gives each of its candidates.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an origin that answered may take to close.
const LEAVE: Duration = Duration::from_millis(200);
const RTMP_VERSION: u8 = 3; // RTMP 1.0 §5.2.2
/// The random part of C1 says nothing here.
const FILLER: u8 = 0x53;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    /// An origin that reads the greeting and says `words`, or nothing for ever.
    async fn origin(words: Option<&'static [u8]>) -> Target {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.unwrap();
            let mut greeting = [0; 1537];
            client.read_exact(&mut greeting).await.unwrap();
            assert_eq!(greeting[..9], [3, 0, 0, 0, 0, 0, 0, 0, 0]);
            match words {
                Some(words) => client.write_all(words).await.unwrap(),
                None => std::future::pending().await,
            }
        });
        Target {
            host: address.ip().into(),
            port: address.port(),
        }
    }

    #[tokio::test]
    async fn rtmp_must_say_its_version() {
        assert!(
            answers(&origin(Some(&[3])).await, Service::Rtmp)
                .await
                .is_ok()
        );
        for (cause, words, expected) in [
            (
                "a web server",
                Some(&b"HTTP/1.1 400"[..]),
                "it does not speak RTMP, its first byte is 0x48",
            ),
            (
                "a server that hangs up",
                Some(&b""[..]),
                "it closed the connection without a word",
            ),
            ("a stopped process", None, "no answer within 1 s"),
        ] {
            let error = answers(&origin(words).await, Service::Rtmp)
                .await
                .unwrap_err();
            assert_eq!(error.to_string(), expected, "{cause}");
        }
    }

    #[tokio::test]
    async fn other_services_must_accept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Target {
            host: address.ip().into(),
            port: address.port(),
        };
        for service in [Service::Http, Service::Api, Service::Rtsp] {
            assert!(answers(&target, service).await.is_ok(), "{service}");
        }
        drop(listener);
        let error = answers(&target, Service::Http).await.unwrap_err();
        assert_eq!(error.to_string(), "connection refused");
        let error = answers(&target, Service::Srt).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "srt is served over UDP and cannot be asked"
        );
    }
}
