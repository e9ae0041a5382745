//! One RTMP connection to an embedded origin: publishers in, players out.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sluicegate_core::media::gop::MediaMessage;
use sluicegate_core::rtmp::message::Message;
use sluicegate_core::rtmp::server::{Server, ServerError, ServerEvent, StreamRequest};
use sluicegate_core::stream::{Action, StreamUrl};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::hub::{Publication, Subscription};
use super::seen::{End, Peer};
use super::{Inner, key};

/// Serves one connection until it ends, its player is too slow, or the origin stops.
pub(super) async fn serve(socket: TcpStream, address: SocketAddr, shared: &Inner) {
    let mut seed = [0; 32];
    if getrandom::fill(&mut seed).is_err() {
        return; // without randomness there is no S1, and nothing to tell the client
    }
    let mut connection = Connection {
        address,
        preamble: None,
        server: Server::serving(seed, None),
        publications: BTreeMap::new(),
        playing: None,
        refused: false,
        slow: CancellationToken::new(),
        shared: shared.clone(),
    };
    let slow = connection.slow.clone();
    let end = tokio::select! {
        outcome = connection.run(socket) => match outcome {
            Ok(()) => End::Left,
            Err(problem) => problem.into_end(),
        },
        () = slow.cancelled() => End::Slow,
        () = shared.stop.cancelled() => End::Stopped,
    };
    connection.leave(&end);
}

struct Connection {
    address: SocketAddr,
    preamble: Option<Ipv4Addr>,
    server: Server,
    /// The streams that are published here, by message stream.
    publications: BTreeMap<u32, Publishing>,
    /// The stream that is played here. Players ask for no more than one stream at a time on a connection.
    playing: Option<Playing>,
    /// Whether a request was denied: the answer is still sent, then the connection is closed.
    refused: bool,
    slow: CancellationToken,
    shared: Inner,
}

struct Publishing {
    peer: u64,
    publication: Publication,
}

struct Playing {
    peer: u64,
    stream_id: u32,
    subscription: Subscription,
}

impl Connection {
    /// Runs the connection. Ok means that the client closed it, or was refused and has been told why.
    async fn run(&mut self, mut socket: TcpStream) -> Result<(), Problem> {
        self.read_preamble(&mut socket).await?;
        let (mut reader, mut writer) = socket.split();
        let mut buffer = vec![0; READ_BYTES];
        while !self.refused {
            let outcome = tokio::select! {
                read = reader.read(&mut buffer) => match read? {
                    0 => return Ok(()),
                    read => self.read(buffer.get(..read).unwrap_or_default()),
                },
                message = next(&mut self.playing) => {
                    self.play(message);
                    Ok(())
                }
            };
            // What was to be sent before the failure is still sent.
            while let Some(output) = self.server.poll_output() {
                writer.write_all(&output).await?;
            }
            outcome?;
        }
        // Closing with unread input resets the connection, and the client would lose the status with it.
        writer.shutdown().await?;
        let drained = async {
            while reader.read(&mut buffer).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = tokio::time::timeout(LINGER, drained).await;
        Ok(())
    }

    /// Reads the preamble with which a relay may name the client before the handshake: 0xF3, a length in two bytes, and
    /// that many bytes, the first four of which are an IPv4 address. No handshake starts with that byte.
    async fn read_preamble(&mut self, socket: &mut TcpStream) -> Result<(), Problem> {
        let first = socket.read_u8().await?;
        if first != PREAMBLE {
            return Ok(self.server.feed(&[first])?);
        }
        let length = usize::from(socket.read_u16().await?);
        let mut bytes = vec![0; length];
        socket.read_exact(&mut bytes).await?;
        let address = bytes
            .first_chunk::<4>()
            .filter(|_| length <= MAX_PREAMBLE)
            .ok_or(Problem::Preamble)?;
        self.preamble = Some(Ipv4Addr::from(*address));
        Ok(())
    }

    fn read(&mut self, input: &[u8]) -> Result<(), ServerError> {
        // Events before the failure still count.
        let outcome = self.server.feed(input);
        self.handle_events()?;
        outcome
    }

    fn handle_events(&mut self) -> Result<(), ServerError> {
        while let Some(event) = self.server.poll_event() {
            match event {
                ServerEvent::Closed { stream_id } => self.close(stream_id),
                ServerEvent::Media(message) => {
                    if let Some(Publishing { peer, publication }) =
                        self.publications.get(&message.stream_id)
                    {
                        publication.send(message);
                        self.shared.journal.count(*peer, 1);
                    }
                }
                // Its players may pause, and get what they get.
                ServerEvent::Connect(_) | ServerEvent::Paused { .. } => {}
                ServerEvent::Request(request) => self.request(&request)?,
            }
        }
        Ok(())
    }

    fn request(&mut self, request: &StreamRequest) -> Result<(), ServerError> {
        let stream_id = request.stream_id;
        // A second request on a message stream replaces the first.
        self.close(stream_id);
        let url = StreamUrl::from_rtmp(&request.tc_url, &request.name);
        let stream = url.as_ref().map(key).unwrap_or_default();
        let peer = self.shared.journal.enter(Peer {
            id: 0,
            action: request.action,
            address: self.address,
            preamble: self.preamble,
            stream: stream.clone(),
            name: request.name.clone(),
            arguments: request.command.arguments.iter().skip(1).cloned().collect(),
            connect: request.connect.object.clone(),
            headers: Vec::new(),
            messages: 0,
            end: None,
        });
        if let Err(problem) = url {
            let code = match request.action {
                Action::Play => "NetStream.Play.Failed",
                Action::Publish => "NetStream.Publish.BadName",
            };
            return self.refuse(stream_id, peer, code, &problem.to_string());
        }
        match request.action {
            Action::Play if self.playing.is_some() => {
                let reason = "this connection plays a stream already";
                self.refuse(stream_id, peer, "NetStream.Play.Failed", reason)
            }
            Action::Play => {
                let subscription = self.shared.hub.play(&stream, self.slow.clone());
                let outcome = self.accept(stream_id);
                self.playing = Some(Playing {
                    peer,
                    stream_id,
                    subscription,
                });
                self.play_backlog();
                outcome
            }
            Action::Publish => match self.shared.hub.publish(&stream) {
                Ok(publication) => {
                    self.publications
                        .insert(stream_id, Publishing { peer, publication });
                    self.accept(stream_id)
                }
                Err(busy) => self.refuse(
                    stream_id,
                    peer,
                    "NetStream.Publish.BadName",
                    &busy.to_string(),
                ),
            },
        }
    }

    fn accept(&mut self, stream_id: u32) -> Result<(), ServerError> {
        self.server.set_chunk_size(CHUNK_SIZE);
        self.server.accept(stream_id)
    }

    fn refuse(
        &mut self,
        stream_id: u32,
        peer: u64,
        code: &str,
        why: &str,
    ) -> Result<(), ServerError> {
        self.shared.journal.leave(peer, End::Refused);
        self.refused = true;
        self.server.refuse(stream_id, code, why)
    }

    /// Sends what the player missed.
    fn play_backlog(&mut self) {
        let Some(playing) = &mut self.playing else {
            return;
        };
        let backlog = std::mem::take(&mut playing.subscription.backlog);
        for message in &backlog {
            send(&mut self.server, playing.stream_id, message);
        }
        self.shared
            .journal
            .count(playing.peer, backlog.len().try_into().unwrap_or(u64::MAX));
    }

    /// Sends `message` and the messages that already wait after it, up to a limit, as one write.
    fn play(&mut self, message: MediaMessage) {
        let Some(playing) = &mut self.playing else {
            return;
        };
        let (mut count, mut bytes) = (0, 0);
        let mut next = Some(message);
        while let Some(message) = next {
            send(&mut self.server, playing.stream_id, &message);
            count += 1;
            bytes += message.body.len();
            next = if bytes < WRITE_BYTES {
                playing.subscription.queue.try_recv().ok()
            } else {
                None
            };
        }
        self.shared.journal.count(playing.peer, count);
    }

    /// Ends what happens on one message stream, at the client's request.
    fn close(&mut self, stream_id: u32) {
        let publishing = self
            .publications
            .remove(&stream_id)
            .map(|publishing| publishing.peer);
        let playing = self
            .playing
            .take_if(|playing| playing.stream_id == stream_id)
            .map(|playing| playing.peer);
        for peer in publishing.into_iter().chain(playing) {
            self.shared.journal.leave(peer, End::Left);
        }
    }

    /// Ends everything, with the reason for which the connection ended.
    fn leave(&mut self, end: &End) {
        let publishing = std::mem::take(&mut self.publications)
            .into_values()
            .map(|publishing| publishing.peer);
        let playing = self.playing.take().map(|playing| playing.peer);
        for peer in publishing.chain(playing) {
            self.shared.journal.leave(peer, end.clone());
        }
    }
}

/// Why a connection ended before its client closed it.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("the connection failed: {0}")]
    Connection(#[from] io::Error),
    #[error("the client address before the handshake is not 4 to {MAX_PREAMBLE} bytes long")]
    Preamble,
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl Problem {
    fn into_end(self) -> End {
        match self {
            // Players are closed with data on the way to them, which looks like this here.
            Self::Connection(problem)
                if matches!(
                    problem.kind(),
                    io::ErrorKind::BrokenPipe
                        | io::ErrorKind::ConnectionReset
                        | io::ErrorKind::UnexpectedEof
                ) =>
            {
                End::Left
            }
            problem => End::Wrong(problem.to_string()),
        }
    }
}

/// The next message for the player on this connection; never, if there is no player.
async fn next(playing: &mut Option<Playing>) -> MediaMessage {
    let received = match playing {
        Some(playing) => playing.subscription.queue.recv().await,
        None => None,
    };
    match received {
        Some(message) => message,
        // There is no player, or it was told to go: other events of the connection decide what happens.
        None => std::future::pending().await,
    }
}

fn send(server: &mut Server, stream_id: u32, message: &MediaMessage) {
    server.send_media(&Message {
        timestamp: message.timestamp(),
        kind: message.kind,
        stream_id,
        payload: message.body.to_vec(),
    });
}

const PREAMBLE: u8 = 0xf3;
/// Maximum length of a preamble, on which relays agree.
const MAX_PREAMBLE: usize = 1024;
const READ_BYTES: usize = 16 << 10;
/// About how many bytes are passed to the socket at a time.
const WRITE_BYTES: usize = 64 << 10;
/// The chunk size that SRS announces.
const CHUNK_SIZE: u32 = 60_000;
/// How long a refused client may take to close the connection.
const LINGER: Duration = Duration::from_secs(1);
