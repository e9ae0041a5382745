//! The synthetic origin: answers RTMP play as SRS does, HTTP GETs with endless FLV and RTSP play, then paces the same pre-encoded
//! frame to every viewer from one thread, so that it costs far less than the relay under test.

use std::io::{ErrorKind, Write};
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::wire::{self, Amf, Event, Frame, Inbox, Protocol};

/// Serves until killed; prints the three ports that it chose on one line. `frame` is the payload of a video message in
/// bytes.
pub(crate) async fn serve(frame: usize) -> Result<()> {
    let rtmp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let http = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let rtsp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    println!(
        "{} {} {}",
        rtmp.local_addr()?.port(),
        http.local_addr()?.port(),
        rtsp.local_addr()?.port()
    );

    let (viewers, arrivals) = mpsc::channel();
    std::thread::spawn(move || pace(&arrivals, frame));
    loop {
        let (socket, protocol) = tokio::select! {
            accepted = rtmp.accept() => (accepted?.0, Protocol::Rtmp),
            accepted = http.accept() => (accepted?.0, Protocol::Flv),
            accepted = rtsp.accept() => (accepted?.0, Protocol::Rtsp),
        };
        let viewers = viewers.clone();
        tokio::spawn(async move {
            // A player that left during set-up does not matter here; the player counts it.
            if let Ok(socket) = admit(socket, protocol, frame).await {
                let _ = viewers.send(Viewer {
                    socket,
                    protocol,
                    sent: 0,
                    due: 0,
                });
            }
        });
    }
}

/// Answers until the first frame is sent: a player's set-up must not wait for the pacing.
async fn admit(
    mut socket: TcpStream,
    protocol: Protocol,
    frame: usize,
) -> Result<std::net::TcpStream> {
    socket.set_nodelay(true)?;
    let mut answer = match protocol {
        Protocol::Flv => admit_http(&mut socket).await?,
        Protocol::Rtmp => admit_rtmp(&mut socket).await?,
        Protocol::Rtsp => admit_rtsp(&mut socket).await?,
    };
    answer.extend_from_slice(&Frame::new(protocol, frame).bytes);
    socket.write_all(&answer).await?;
    Ok(socket.into_std()?)
}

async fn admit_http(socket: &mut TcpStream) -> Result<Vec<u8>> {
    let mut head = Vec::with_capacity(1024);
    while !head.ends_with(b"\r\n\r\n") {
        if socket.read_buf(&mut head).await? == 0 {
            bail!("closed inside the request head");
        }
    }
    let mut answer = b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Type: video/x-flv\r\nServer: bench\r\n\
        Transfer-Encoding: chunked\r\n\r\nd\r\n"
        .to_vec();
    answer.extend_from_slice(b"FLV\x01\x01\x00\x00\x00\x09\x00\x00\x00\x00\r\n");
    Ok(answer)
}

/// Requests up to PLAY; returns the answer to PLAY, not yet written.
async fn admit_rtsp(socket: &mut TcpStream) -> Result<Vec<u8>> {
    loop {
        let mut request = Vec::with_capacity(1024);
        while !request.ends_with(b"\r\n\r\n") {
            if socket.read_buf(&mut request).await? == 0 {
                bail!("closed before PLAY");
            }
        }
        let request = String::from_utf8(request)?;
        let cseq = request
            .lines()
            .find(|line| line.starts_with("CSeq"))
            .unwrap_or_default();
        let (fields, body) = if request.starts_with("DESCRIBE") {
            let body = "v=0\r\ns=bench\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n";
            let length = body.len();
            let kind = format!("Content-Type: application/sdp\r\nContent-Length: {length}\r\n");
            (kind, body)
        } else if request.starts_with("SETUP") {
            let transport = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n";
            (transport.to_owned(), "")
        } else {
            ("Session: 1\r\n".to_owned(), "")
        };
        let answer = format!("RTSP/1.0 200 OK\r\n{cseq}\r\n{fields}\r\n{body}").into_bytes();
        if request.starts_with("PLAY") {
            return Ok(answer);
        }
        socket.write_all(&answer).await?;
    }
}

/// Handshake and commands up to `play`; returns the answer to `play`, not yet written.
async fn admit_rtmp(socket: &mut TcpStream) -> Result<Vec<u8>> {
    let mut hello = [0; wire::HANDSHAKE];
    socket.read_exact(&mut hello).await?;
    let mut answer = vec![0x11; wire::HANDSHAKE];
    answer[0] = 3;
    answer.extend_from_slice(&hello[1..]);
    socket.write_all(&answer).await?;
    socket.read_exact(&mut hello[1..]).await?;

    let mut inbox = Inbox::new();
    loop {
        while let Some(event) = inbox.next() {
            let Event::Command(command) = event else {
                continue;
            };
            let result = |values: &[Amf<'_>]| {
                let head = wire::amf(&[Amf::Text("_result"), Amf::Number(command.transaction)]);
                wire::message(
                    3,
                    wire::COMMAND,
                    0,
                    &[head, wire::amf(values)].concat(),
                    wire::ORIGIN_CHUNK,
                )
            };
            match command.name.as_str() {
                "connect" => {
                    let properties =
                        Amf::Object(&[("fmsVer", "FMS/3,5,3,888"), ("server", "bench")]);
                    let status = [
                        ("level", "status"),
                        ("code", "NetConnection.Connect.Success"),
                        ("description", "ok"),
                    ];
                    let answer = [
                        control(wire::WINDOW_ACK_SIZE, &2_500_000_u32.to_be_bytes()),
                        control(wire::SET_PEER_BANDWIDTH, &[0, 0x26, 0x25, 0xa0, 2]),
                        control(
                            wire::SET_CHUNK_SIZE,
                            &(wire::ORIGIN_CHUNK as u32).to_be_bytes(),
                        ),
                        result(&[properties, Amf::Object(&status)]),
                    ];
                    socket.write_all(&answer.concat()).await?;
                }
                "createStream" => {
                    socket
                        .write_all(&result(&[Amf::Null, Amf::Number(1.0)]))
                        .await?;
                }
                "play" => {
                    let begin = control(wire::USER_CONTROL, &[0, 0, 0, 0, 0, 1]);
                    return Ok([
                        begin,
                        status("NetStream.Play.Reset"),
                        status("NetStream.Play.Start"),
                    ]
                    .concat());
                }
                _ => {}
            }
        }
        if socket.read_buf(&mut inbox.bytes).await? == 0 {
            bail!("closed before play");
        }
    }
}

struct Viewer {
    socket: std::net::TcpStream,
    protocol: Protocol,
    /// Bytes of the current frame already written.
    sent: usize,
    /// Frames that should have been sent by now; open loop, so a slow relay is not waited for.
    due: usize,
}

impl Viewer {
    /// Writes what is due; returns `false` once the viewer is gone.
    fn write(&mut self, frame: &[u8]) -> bool {
        while self.due > 0 {
            match self.socket.write(&frame[self.sent..]) {
                Ok(0) => return false,
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
            if self.sent == frame.len() {
                self.sent = 0;
                self.due -= 1;
            }
        }
        true
    }
}

/// Sends every viewer a frame at 30 Hz. Viewers are spread over the phases of a frame interval, as the players of many
/// streams are. If all of them got frames at once, a relay could serve hundreds of sockets per wake-up, which would
/// flatter it.
fn pace(arrivals: &mpsc::Receiver<Viewer>, frame: usize) {
    let mut rtmp = Frame::new(Protocol::Rtmp, frame);
    let mut flv = Frame::new(Protocol::Flv, frame);
    let mut rtsp = Frame::new(Protocol::Rtsp, frame);
    let mut phases: [Vec<Viewer>; PHASES] = std::array::from_fn(|_| Vec::new());
    let (start, mut seat) = (Instant::now(), 0);
    for tick in 1_u32.. {
        let now = start + tick * FRAME_INTERVAL / PHASES as u32;
        std::thread::sleep(now.saturating_duration_since(Instant::now()));
        for viewer in arrivals.try_iter() {
            // A stride that is prime to PHASES spreads even a few viewers over the interval.
            seat = (seat + 13) % PHASES;
            phases[seat].push(viewer);
        }
        let milliseconds = (now - start).as_millis() as u32;
        rtmp.stamp(milliseconds);
        flv.stamp(milliseconds);
        rtsp.stamp(milliseconds);
        phases[tick as usize % PHASES].retain_mut(|viewer| {
            viewer.due = (viewer.due + 1).min(MAX_DUE);
            viewer.write(match viewer.protocol {
                Protocol::Flv => &flv.bytes,
                Protocol::Rtmp => &rtmp.bytes,
                Protocol::Rtsp => &rtsp.bytes,
            })
        });
    }
}

fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    wire::message(2, kind, 0, payload, wire::ORIGIN_CHUNK)
}

fn status(code: &str) -> Vec<u8> {
    let body = Amf::Object(&[
        ("level", "status"),
        ("code", code),
        ("description", "Start live"),
        ("clientid", "ASAICiss"),
    ]);
    let body = wire::amf(&[Amf::Text("onStatus"), Amf::Number(0.0), Amf::Null, body]);
    wire::message(5, wire::COMMAND, 1, &body, wire::ORIGIN_CHUNK)
}

/// Frames per second of every stream.
pub(crate) const FRAME_RATE: usize = 30;
const FRAME_INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / FRAME_RATE as u64);
/// About one tick a millisecond.
const PHASES: usize = 32;
/// A viewer that is more than a second behind loses frames, as with a real origin's queue limit.
const MAX_DUE: usize = FRAME_RATE;
