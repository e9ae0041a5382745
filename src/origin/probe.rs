//! Asks an origin whether it answers.

use crate::config::Credential;
use crate::net::wire::Wire;
use crate::origin::connect::Connector;
use crate::origin::fetch::{self, FetchError};
use crate::value::Url;

use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::origin::{Target, Transport};
use sluicegate_core::srt::packet::{self, Handshake, MAX_HANDSHAKE, Step};
use sluicegate_core::stream::Service;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use crate::net::linger_close;

/// Whether `service` answers at `target` within one second.
///
/// A process that is stopped, or stuck, still accepts TCP connections: the kernel does that for it. RTMP is therefore
/// asked for the first byte of its handshake, and RTSP what it can do. SRT is asked for the answer to the first packet of a call,
/// of which it remembers nothing. Other services over TCP are only connected to.
///
/// # Errors
/// Why it does not answer, or that it cannot be asked.
pub async fn answers(
    connector: &Connector,
    target: &Target,
    service: Service,
) -> Result<(), ProbeError> {
    if service == Service::Srt {
        return begin_call(connector, target).await;
    }
    let ask = async {
        match service {
            Service::Api | Service::Http => connect(connector, target).await,
            Service::Rtc | Service::Srt => Err(ProbeError::Datagrams(service)),
            Service::Rtmp => greet(connect(connector, target).await?).await,
            Service::Rtsp => ask_options(connect(connector, target).await?).await,
        }
    };
    let answered = tokio::time::timeout(TIME_LIMIT, ask).await;
    let mut origin = answered.unwrap_or(Err(ProbeError::Silent))?;
    // It answered, which is all that was asked; now it gets an end to log, and not a reset.
    linger_close::say(&mut origin, &[], LEAVE).await;
    Ok(())
}

/// Whether an HTTP server at `target` answers a request for `path` within one second, with a status under 400.
///
/// # Errors
/// Why it does not answer, or what it answered.
pub async fn answers_http(
    connector: &Connector,
    target: &Target,
    path: &str,
) -> Result<(), ProbeError> {
    shows(connector, target, path, None).await.answer
}

/// What came of a request for a page.
#[derive(Debug)]
pub struct Shown {
    /// The kind of server that it says that it is.
    pub software: Option<Dialect>,
    /// Whether it answers within one second, with a status under 400.
    pub answer: Result<(), ProbeError>,
}

/// Asks an HTTP server at `target` for `path`, with `credential` if there is one.
pub async fn shows(
    connector: &Connector,
    target: &Target,
    path: &str,
    credential: Option<&Credential>,
) -> Shown {
    let url = Url::of(target, path);
    let page = fetch::page(connector, &url, credential, TIME_LIMIT, SMALL_ANSWER).await;
    Shown {
        software: page.software,
        answer: match page.body {
            // Whatever it sends, it lives: only its status is asked for.
            Ok(_) | Err(FetchError::TooLong(_)) => Ok(()),
            Err(FetchError::Silent(_)) => Err(ProbeError::Silent),
            Err(error) => Err(ProbeError::Http(error)),
        },
    }
}

/// Whether something accepts connections, or calls, for `service` at `target` within one second.
///
/// # Errors
/// Why nothing does, or that it cannot be asked.
pub async fn accepts(
    connector: &Connector,
    target: &Target,
    service: Service,
) -> Result<(), ProbeError> {
    if service == Service::Srt {
        return begin_call(connector, target).await;
    }
    if Transport::of(service) == Transport::Udp {
        return Err(ProbeError::Datagrams(service));
    }
    let mut origin = connect(connector, target).await?;
    linger_close::say(&mut origin, &[], LEAVE).await;
    Ok(())
}

/// Why an origin does not count as answering.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// It closed the connection before a byte of its own.
    #[error("it closed the connection without a word")]
    Closed,
    /// WebRTC has no question that anything would answer.
    #[error("{0} is served over UDP and cannot be asked")]
    Datagrams(Service),
    /// The HTTP request failed, or its answer is no good.
    #[error("{0}")]
    Http(FetchError),
    /// It speaks, but not RTMP: the handshake begins with another version (RTMP 1.0 §5.2.2).
    #[error("it does not speak RTMP, its first byte is {0:#04x}")]
    NotRtmp(u8),
    /// It speaks, but not RTSP (RFC 2326 §7.1).
    #[error("it does not speak RTSP")]
    NotRtsp,
    /// It speaks, but not SRT.
    #[error("it does not speak SRT")]
    NotSrt,
    /// It did nothing in time.
    #[error("no answer within {} s", TIME_LIMIT.as_secs())]
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

async fn connect(connector: &Connector, target: &Target) -> Result<Wire, ProbeError> {
    let connected = connector.connect(target, TIME_LIMIT).await;
    connected.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => ProbeError::Silent,
        _ => ProbeError::Unreachable(error),
    })
}

/// Sends C0 and C1 (RTMP 1.0 §5.2.2, §5.2.3) and waits for S0.
async fn greet(mut origin: Wire) -> Result<Wire, ProbeError> {
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

/// Asks for the methods it has (RFC 2326 §10.1), which takes no stream and no credentials.
async fn ask_options(mut origin: Wire) -> Result<Wire, ProbeError> {
    origin.write_all(RTSP_OPTIONS).await?;
    let mut answer = [0; RTSP_ANSWER.len()];
    match origin.read_exact(&mut answer).await {
        Ok(_) if answer == *RTSP_ANSWER => Ok(origin),
        Ok(_) => Err(ProbeError::NotRtsp),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(ProbeError::Closed),
        Err(error) => Err(error.into()),
    }
}

/// Sends the first packet of a call (draft-sharabayko-srt-01 §4.3.1.1) until something comes back.
async fn begin_call(connector: &Connector, target: &Target) -> Result<(), ProbeError> {
    let ask = async {
        let addresses = connector.addresses(target, Transport::Udp).await?;
        let address = *addresses.first().ok_or(ProbeError::Silent)?;
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((any, 0)).await?;
        // Others are not heard, and that nobody listens there is an error.
        socket.connect(address).await?;
        let mut answer = [0; MAX_HANDSHAKE];
        loop {
            socket.send(&packet::question(address)).await?;
            if let Ok(came) = tokio::time::timeout(ASK_AGAIN, socket.recv(&mut answer)).await {
                let answer = answer.get(..came?).unwrap_or_default();
                let step = Handshake::parse(answer).map(|answer| answer.step);
                return match step {
                    Ok(Step::Induction) => Ok(()),
                    _ => Err(ProbeError::NotSrt),
                };
            }
        }
    };
    let answered = tokio::time::timeout(TIME_LIMIT, ask).await;
    answered.unwrap_or(Err(ProbeError::Silent))
}

/// How long an origin may take; as long as a session gives each of its candidates.
const TIME_LIMIT: Duration = Duration::from_secs(1);
/// Bytes of a health page that are read; the rest is not.
const SMALL_ANSWER: usize = 64 * 1024;
/// How long an origin that answered may take to close.
const LEAVE: Duration = Duration::from_millis(200);
/// A packet may be lost.
const ASK_AGAIN: Duration = Duration::from_millis(300);
const RTMP_VERSION: u8 = 3; // RTMP 1.0 §5.2.2
const RTSP_OPTIONS: &[u8] = b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n";
/// The start of any answer, whatever its status.
const RTSP_ANSWER: &[u8; 9] = b"RTSP/1.0 ";
/// The random part of C1 says nothing here.
const FILLER: u8 = 0x53;

#[cfg(test)]
mod tests {
    use super::*;
    use sluicegate_core::srt::packet::Rejection;
    use tokio::net::{TcpListener, TcpSocket};

    async fn answers(target: &Target, service: Service) -> Result<(), ProbeError> {
        super::answers(&Connector::unrestricted(), target, service).await
    }

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
        Target::plain(address.ip().into(), address.port())
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
    async fn rtsp_must_answer() {
        for (cause, words, expected) in [
            (
                "a server that wants credentials",
                &b"RTSP/1.0 401 Unauthorized\r\n"[..],
                Ok(()),
            ),
            (
                "a web server",
                b"HTTP/1.1 400 Bad Request\r\n",
                Err("it does not speak RTSP"),
            ),
            (
                "a server that hangs up",
                b"",
                Err("it closed the connection without a word"),
            ),
        ] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                let (mut client, _) = listener.accept().await.unwrap();
                let mut question = [0; RTSP_OPTIONS.len()];
                client.read_exact(&mut question).await.unwrap();
                client.write_all(words).await.unwrap();
            });
            let target = Target::plain(address.ip().into(), address.port());
            let answer = answers(&target, Service::Rtsp).await;
            let answer = answer.map_err(|error| error.to_string());
            assert_eq!(answer, expected.map_err(str::to_owned), "{cause}");
        }
    }

    #[tokio::test]
    async fn other_services_must_accept() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = Target::plain(address.ip().into(), address.port());
        for service in [Service::Http, Service::Api] {
            assert!(answers(&target, service).await.is_ok(), "{service}");
        }
        // Bound, so that nobody else gets its port, and not listening.
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let target = Target::plain(address.ip().into(), closed.local_addr().unwrap().port());
        let error = answers(&target, Service::Http).await.unwrap_err();
        assert_eq!(error.to_string(), "connection refused");
        let error = answers(&target, Service::Rtc).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "rtc is served over UDP and cannot be asked"
        );
    }

    #[tokio::test]
    async fn srt_must_answer_the_first_packet_of_a_call() {
        let call = packet::question("127.0.0.1:9".parse().unwrap());
        let asked = Handshake::parse(&call).unwrap();
        assert_eq!((asked.step, asked.version), (Step::Induction, 4));
        let listener = Handshake {
            version: 5,
            ..asked
        };
        let no = Handshake {
            step: Step::Rejection(Rejection(1003)),
            ..asked
        };
        for (cause, answer, expected) in [
            ("a listener", Some(listener.write()), Ok(())),
            ("a no", Some(no.write()), Err("it does not speak SRT")),
            (
                "another",
                Some(b"HTTP/1.1".to_vec()),
                Err("it does not speak SRT"),
            ),
            ("nobody", None, Err("connection refused")),
        ] {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let address = socket.local_addr().unwrap();
            let answering = answer.map(|answer| {
                tokio::spawn(async move {
                    let mut asked = [0; MAX_HANDSHAKE];
                    // The first one is lost.
                    socket.recv_from(&mut asked).await.unwrap();
                    let (length, from) = socket.recv_from(&mut asked).await.unwrap();
                    assert_eq!(length, packet::HANDSHAKE);
                    socket.send_to(&answer, from).await.unwrap();
                })
            });
            let target = Target::plain(address.ip().into(), address.port());
            let said = answers(&target, Service::Srt).await;
            let said = said.map_err(|error| error.to_string());
            assert_eq!(said, expected.map_err(str::to_owned), "{cause}");
            if let Some(answering) = answering {
                answering.await.unwrap();
            }
        }
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = silent.local_addr().unwrap();
        let target = Target::plain(address.ip().into(), address.port());
        let error = answers(&target, Service::Srt).await.unwrap_err();
        assert_eq!(error.to_string(), "no answer within 1 s");
    }
}
