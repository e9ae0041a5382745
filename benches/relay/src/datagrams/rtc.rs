//! WebRTC clients that prove their address and then send and receive; and the signalling of their origin.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::{Flow, client};
use crate::process::DatagramRelay;

/// The origin's API, which gives each offer the same answer. Its thread ends with this program.
pub(super) struct Api {
    pub(super) port: u16,
}

impl Api {
    /// Starts the API; `media` is the port for media in its answers.
    pub(super) fn start(media: u16) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, media);
            }
        });
        Ok(Self { port })
    }
}

fn answer(stream: TcpStream, media: u16) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    let candidate = format!("a=candidate:1 1 udp 2130706431 127.0.0.1 {media} typ host\r\n");
    let body = description(ORIGIN, &candidate);
    let head = format!(
        "HTTP/1.1 201 Created\r\nContent-Type: application/sdp\r\nLocation: /calls/1\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    reader.into_inner().write_all((head + &body).as_bytes())?;
    Ok(())
}

/// Requests a call, and proves the client's address.
pub(super) fn open(relay: &DatagramRelay, origin: &UdpSocket, index: usize) -> Result<Flow> {
    let fragment = format!("clnt{index}");
    call(relay.api, index, &fragment)?;
    let client = client(relay.rtc, origin)?;
    let username = format!("{ORIGIN}:{fragment}");
    let mut transaction = [0; 12];
    transaction[..8].copy_from_slice(&(index as u64 + 1).to_be_bytes());
    let link = prove(&client, origin, &check(&username, transaction))?;
    Ok(Flow {
        client,
        relay_id: 0,
        link,
    })
}

/// Sends a check until the origin has it, as a client does (RFC 8445 §14): a relay limits how many new ones it accepts per
/// second from an address. Returns the address that the origin sees.
fn prove(client: &UdpSocket, origin: &UdpSocket, check: &[u8]) -> Result<SocketAddr> {
    origin.set_read_timeout(Some(RETRY))?;
    let mut buffer = [0; 2048];
    for _ in 0..RETRIES {
        client.send(check)?;
        while let Ok((length, link)) = origin.recv_from(&mut buffer) {
            // A check of an earlier client may arrive twice.
            if buffer[..length] == *check {
                return Ok(link);
            }
        }
    }
    bail!("a proof did not reach the origin")
}

fn call(api: SocketAddr, index: usize, fragment: &str) -> Result<()> {
    let offer = description(fragment, "");
    let mut stream = TcpStream::connect(api)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(
        stream,
        "POST /rtc/v1/whep/?app=live&stream={index} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{offer}",
        offer.len()
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(
        text.starts_with("HTTP/1.1 201"),
        "a call was answered {text}"
    );
    Ok(())
}

fn description(fragment: &str, candidates: &str) -> String {
    format!(
        "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\n\
         a=mid:0\r\na=ice-ufrag:{fragment}\r\na=ice-pwd:{PASSWORD}\r\na=rtpmap:96 H264/90000\r\n{candidates}"
    )
}

/// A STUN request that nominates, signed with the origin's password (RFC 8489 §14.5, RFC 8445 §7.1).
fn check(username: &str, transaction: [u8; 12]) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend(transaction);
    attribute(&mut message, USERNAME, username.as_bytes());
    attribute(&mut message, USE_CANDIDATE, &[]);
    // The length already includes the signature when the signature is computed.
    let length = (message.len() + 24 - 20) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
    let mut hmac = Hmac::<Sha1>::new_from_slice(PASSWORD.as_bytes()).expect("any length is a key");
    hmac.update(&message);
    let code = hmac.finalize().into_bytes();
    attribute(&mut message, MESSAGE_INTEGRITY, &code);
    message
}

fn attribute(message: &mut Vec<u8>, name: u16, value: &[u8]) {
    message.extend(name.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

/// How long a check waits for the next one, and the maximum number of checks.
const RETRY: Duration = Duration::from_millis(100);
const RETRIES: usize = 50;
/// The origin's fragment, and the password of all clients.
const ORIGIN: &str = "orig";
const PASSWORD: &str = "0123456789012345678901";
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const USE_CANDIDATE: u16 = 0x0025;
