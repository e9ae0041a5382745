//! The synthetic origin: answers RTMP play as SRS does, HTTP GETs with endless FLV and RTSP play, then paces the same pre-encoded
//! frame to every viewer from one thread, so that it costs far less than the relay under test. What is published is read and
//! forgotten.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Ipv4Addr;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::players::discard;
use crate::wire::{self, Amf, Event, Frame, Inbox, Kind, Protocol};

/// What an origin serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct What {
    /// The payload of a video message in bytes.
    pub(crate) frame: usize,
    /// With groups of pictures and sound.
    pub(crate) live: bool,
    /// A player that pauses is sent nothing more.
    pub(crate) pauses: bool,
    /// Nothing comes after the first picture.
    pub(crate) silent: bool,
}

/// Serves until killed; prints the three ports that it chose on one line.
pub(crate) async fn serve(what: What) -> Result<()> {
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
    std::thread::spawn(move || pace(&arrivals, what));
    loop {
        let (socket, protocol) = tokio::select! {
            accepted = rtmp.accept() => (accepted?.0, Protocol::Rtmp),
            accepted = http.accept() => (accepted?.0, Protocol::Flv),
            accepted = rtsp.accept() => (accepted?.0, Protocol::Rtsp),
        };
        let viewers = viewers.clone();
        tokio::spawn(async move {
            // A player that left during set-up does not matter here; the player counts it.
            if let Ok(Some(socket)) = admit(socket, protocol, what.frame).await {
                let _ = viewers.send(Viewer {
                    socket,
                    protocol,
                    sent: 0,
                    due: VecDeque::new(),
                    paused: false,
                });
            }
        });
    }
}

/// Answers until the first frame is sent: a player's set-up must not wait for the pacing. `None` after a publisher has left.
async fn admit(
    mut socket: TcpStream,
    protocol: Protocol,
    frame: usize,
) -> Result<Option<std::net::TcpStream>> {
    socket.set_nodelay(true)?;
    let mut answer = match protocol {
        Protocol::Flv => admit_http(&mut socket).await?,
        Protocol::Rtmp | Protocol::Publish => match admit_rtmp(&mut socket).await? {
            Asked::Plays(answer) => answer,
            Asked::Publishes => {
                discard(socket, |_| ()).await;
                return Ok(None);
            }
        },
        Protocol::Rtsp => admit_rtsp(&mut socket).await?,
    };
    // Viewers that come in the middle start with a keyframe, as they do at an origin that keeps the group.
    answer.extend_from_slice(&Frame::of(Kind::Key, protocol, frame).bytes);
    socket.write_all(&answer).await?;
    Ok(Some(socket.into_std()?))
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

/// What an RTMP client asked for.
enum Asked {
    /// The answer to `play` is not yet written.
    Plays(Vec<u8>),
    /// It has been answered.
    Publishes,
}

/// Handshake and commands up to `play` or `publish`.
async fn admit_rtmp(socket: &mut TcpStream) -> Result<Asked> {
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
                    let answer = [
                        begin,
                        status("NetStream.Play.Reset"),
                        status("NetStream.Play.Start"),
                    ];
                    return Ok(Asked::Plays(answer.concat()));
                }
                "publish" => {
                    let answer = status("NetStream.Publish.Start");
                    socket.write_all(&answer).await?;
                    return Ok(Asked::Publishes);
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
    /// Bytes of the current message already written.
    sent: usize,
    /// Messages that should have been sent by now; open loop, so a slow relay is not waited for.
    due: VecDeque<Kind>,
    paused: bool,
}

impl Viewer {
    /// Hears whether it pauses.
    fn hear(&mut self) {
        let mut said = [0; 1024];
        while let Ok(count @ 1..) = self.socket.read(&mut said) {
            let mut words = said[..count].windows(b"pause".len());
            self.paused |= words.any(|word| word == b"pause");
        }
    }

    /// Writes what is due; returns `false` once the viewer is gone.
    fn write(&mut self, messages: &Messages) -> bool {
        while let Some(kind) = self.due.front() {
            let message = messages.of(*kind);
            match self.socket.write(&message[self.sent..]) {
                Ok(0) => return false,
                Ok(written) => self.sent += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            }
            if self.sent == message.len() {
                self.sent = 0;
                self.due.pop_front();
            }
        }
        true
    }
}

/// What is sent to the viewers of one protocol.
struct Messages {
    inter: Frame,
    key: Frame,
    sound: Frame,
}

impl Messages {
    fn new(protocol: Protocol, frame: usize) -> Self {
        Self {
            inter: Frame::new(protocol, frame),
            key: Frame::of(Kind::Key, protocol, frame),
            sound: Frame::of(Kind::Sound, protocol, SOUND),
        }
    }

    fn of(&self, kind: Kind) -> &[u8] {
        match kind {
            Kind::Inter => &self.inter.bytes,
            Kind::Key => &self.key.bytes,
            Kind::Sound => &self.sound.bytes,
        }
    }

    fn stamp(&mut self, milliseconds: u32) {
        for frame in [&mut self.inter, &mut self.key, &mut self.sound] {
            frame.stamp(milliseconds);
        }
    }
}

/// Sends every viewer a frame at 30 Hz, and sound between them if it is `live`. Viewers are spread over the phases of a
/// frame interval, as the players of many streams are. If all of them got frames at once, a relay could serve hundreds of
/// sockets per wake-up, which would flatter it.
fn pace(arrivals: &mpsc::Receiver<Viewer>, what: What) {
    let What {
        frame,
        live,
        pauses,
        silent,
    } = what;
    let mut rtmp = Messages::new(Protocol::Rtmp, frame);
    let mut flv = Messages::new(Protocol::Flv, frame);
    let mut rtsp = Messages::new(Protocol::Rtsp, frame);
    let mut phases: [Vec<Viewer>; PHASES] = std::array::from_fn(|_| Vec::new());
    let (start, mut seat) = (Instant::now(), 0);
    for tick in 1_usize.. {
        let now = start + tick as u32 * FRAME_INTERVAL / PHASES as u32;
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
        let number = tick / PHASES;
        let picture = if live && number.is_multiple_of(GROUP) {
            Kind::Key
        } else {
            Kind::Inter
        };
        let mut turns = vec![(0, picture)];
        if silent {
            turns.clear();
        } else if live {
            // Thirty sounds a second, and fifteen more.
            turns.push((PHASES / 4, Kind::Sound));
            turns.extend((number % 2 == 1).then_some((PHASES * 3 / 4, Kind::Sound)));
        }
        for (after, kind) in turns {
            phases[(tick + PHASES - after) % PHASES].retain_mut(|viewer| {
                if pauses && !viewer.paused && viewer.protocol == Protocol::Rtmp {
                    viewer.hear();
                }
                // What is sent by half is sent to its end.
                if viewer.paused && viewer.sent == 0 {
                    viewer.due.clear();
                } else if viewer.due.len() < MAX_DUE {
                    viewer.due.push_back(kind);
                }
                viewer.write(match viewer.protocol {
                    Protocol::Flv => &flv,
                    Protocol::Rtmp | Protocol::Publish => &rtmp,
                    Protocol::Rtsp => &rtsp,
                })
            });
        }
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
/// Pictures from one keyframe to the next: two seconds.
pub(crate) const GROUP: usize = 2 * FRAME_RATE;
/// Sounds per second of a live stream, and the bytes of each: AAC at 44.1 kHz and 110 kbit/s.
pub(crate) const SOUND_RATE: usize = 45;
pub(crate) const SOUND: usize = 300;
pub(crate) const FRAME_INTERVAL: Duration = Duration::from_nanos(1_000_000_000 / FRAME_RATE as u64);
/// About one tick a millisecond.
const PHASES: usize = 32;
/// A viewer that is more than a second behind loses frames, as with a real origin's queue limit.
const MAX_DUE: usize = FRAME_RATE;
