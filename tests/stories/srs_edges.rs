//! SRS edges that pull through the proxy: relayed like any player, or redirected to the stream.

use std::net::SocketAddr;

use sluicegate_core::rtmp::amf0::Value;
use sluicegate_core::rtmp::chunk::{ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::handshake::ClientHandshake;
use sluicegate_core::rtmp::message::{Command, Message};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::house::{House, Manner, PATIENCE, Stub, until};

/// What an edge pulls, as its viewer requested it.
struct Wish {
    vhost: &'static str,
    app: &'static str,
    /// The name with its query.
    stream: &'static str,
}

/// An edge at one server, as far as it got: it waits for each answer before it goes on, like SRS.
struct Edge {
    socket: TcpStream,
    reader: ChunkReader,
    inbox: Vec<u8>,
}

/// What an edge hears after its request to play.
enum Heard {
    /// The server shows the stream.
    Plays,
    /// `redirect2`, which SRS uses before `redirect`, and `redirect`.
    Redirect(String, String),
}

impl Edge {
    /// Pulls from `at`, and from where it is redirected: an edge uses only the address of a redirect, and asks there
    /// for what its viewer requested.
    async fn pull(at: SocketAddr, wish: &Wish) -> (Self, Vec<SocketAddr>) {
        let mut way = vec![at];
        loop {
            let to = *way.last().expect("it begins somewhere");
            let (edge, heard) = Self::ask(to, wish).await;
            match heard {
                Heard::Plays => return (edge, way),
                Heard::Redirect(url, _) => {
                    let rest = url.strip_prefix("rtmp://").expect("an RTMP URL");
                    let place = rest.split('/').next().expect("an authority");
                    way.push(place.parse().expect("host and port"));
                    assert!(way.len() < 5, "it is sent about: {way:?}");
                }
            }
        }
    }

    /// Connects, identifies itself, and asks to play.
    async fn ask(at: SocketAddr, wish: &Wish) -> (Self, Heard) {
        let mut edge = Self {
            socket: TcpStream::connect(at).await.expect("it listens"),
            reader: ChunkReader::new(1 << 20),
            inbox: Vec::new(),
        };
        let mut handshake = ClientHandshake::new([7; 32]);
        while !handshake.is_done() {
            edge.write(&handshake.poll_output().unwrap_or_default())
                .await;
            edge.read().await;
            let taken = handshake.feed(&edge.inbox).expect("a handshake");
            edge.inbox.drain(..taken);
        }
        edge.write(&handshake.poll_output().unwrap_or_default())
            .await;

        let tc_url = format!("rtmp://{}/{}", wish.vhost, wish.app);
        let object = vec![
            ("app".to_owned(), wish.app.into()),
            ("flashVer".to_owned(), "WIN 15,0,0,239".into()),
            ("tcUrl".to_owned(), tc_url.as_str().into()),
            ("fpad".to_owned(), Value::Boolean(false)),
        ];
        let said = Value::Object(vec![
            ("srs_sig".to_owned(), "SRS".into()),
            ("srs_version".to_owned(), "6.0.166".into()),
            ("srs_pid".to_owned(), Value::Number(4711.0)),
            ("srs_id".to_owned(), "80t4f2z0".into()),
            // What the edge's own viewer sent along (`token_traverse`).
            ("token".to_owned(), "sesame".into()),
        ]);
        let mut connect = Command::call("connect", 1.0, vec![said]);
        connect.object = Value::Object(object);
        edge.say(0, &connect).await;
        edge.command("_result").await;
        edge.say(0, &Command::call("createStream", 2.0, Vec::new()))
            .await;
        let created = edge.command("_result").await;
        let Some(Value::Number(id)) = created.arguments.first() else {
            panic!("no stream id: {created:?}");
        };
        assert!((id - 1.0).abs() < f64::EPSILON);
        edge.say(1, &Command::call("play", 0.0, vec![wish.stream.into()]))
            .await;
        let heard = edge.verdict().await;
        (edge, heard)
    }

    /// Reads `onStatus` as SRS does: an error with a place in `ex` is a redirect.
    async fn verdict(&mut self) -> Heard {
        loop {
            let status = self.command("onStatus").await;
            let information = status.arguments.first().expect("information");
            let text = |value: &Value, name: &str| {
                value.field(name).and_then(Value::as_str).map(str::to_owned)
            };
            let code = text(information, "code").unwrap_or_default();
            if let Some(ex) = information.field("ex") {
                assert_eq!(text(information, "level").as_deref(), Some("error"));
                assert_eq!(code, "NetConnection.Connect.Rejected");
                assert_eq!(ex.field("code"), Some(&Value::Number(302.0)));
                let place = |name| text(ex, name).expect("a place");
                return Heard::Redirect(place("redirect2"), place("redirect"));
            }
            match code.as_str() {
                "NetStream.Play.Reset" => {}
                "NetStream.Play.Start" => return Heard::Plays,
                other => panic!("{other}: {information:?}"),
            }
        }
    }

    async fn command(&mut self, name: &str) -> Command {
        loop {
            let message = self.message().await;
            match Command::decode(message.kind, &message.payload) {
                Ok(command) if command.name == name => return command,
                _ => {}
            }
        }
    }

    async fn media(&mut self) -> Message {
        loop {
            let message = self.message().await;
            if message.is_media() {
                return message;
            }
        }
    }

    async fn message(&mut self) -> Message {
        loop {
            let mut input = self.inbox.as_slice();
            let message = self.reader.read(&mut input).expect("chunks");
            let left = input.len();
            self.inbox.drain(..self.inbox.len() - left);
            match message {
                Some(message) => return message,
                None => self.read().await,
            }
        }
    }

    async fn say(&mut self, stream_id: u32, command: &Command) {
        let mut out = Vec::new();
        let message = Message::command(stream_id, command);
        ChunkWriter::new(128).write(3, &message, &mut out);
        self.write(&out).await;
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("it reads");
    }

    async fn read(&mut self) {
        let read = timeout(PATIENCE, self.socket.read_buf(&mut self.inbox)).await;
        let count = read.expect("in time").expect("bytes");
        assert!(count > 0, "it closed before it said what an edge follows");
    }
}

const WISH: Wish = Wish {
    vhost: "video.example.com",
    app: "live",
    stream: "a?token=x",
};

#[tokio::test]
async fn an_edge_pulls_through_us_and_its_words_reach_the_origin() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Streams(500)).await;
    house.register("one", origin.at);
    let (mut edge, way) = Edge::pull(house.at.rtmp, &WISH).await;
    assert_eq!(way, [house.at.rtmp]);
    edge.media().await;

    let request = origin.request();
    assert_eq!(request.action, Action::Play);
    assert_eq!(request.tc_url, "rtmp://video.example.com/live");
    assert_eq!(request.name, "a?token=x");
    let said = &request.connect.arguments[0];
    for (name, value) in [("srs_sig", "SRS"), ("token", "sesame")] {
        let heard = said.field(name).and_then(Value::as_str);
        assert_eq!(heard, Some(value), "{name}");
    }
    assert_eq!(said.field("srs_pid"), Some(&Value::Number(4711.0)));

    // With any number of edges: a placement has one origin, and a stream has one key whatever its vhost.
    let (_second, _) = Edge::pull(house.at.rtmp, &WISH).await;
    assert_eq!(house.proxy.sessions().len(), 2);
    assert_eq!(house.proxy.registry().placements().len(), 1);
}

#[tokio::test]
async fn an_edge_that_is_told_where_the_stream_is_goes_there_and_comes_back_when_it_is_lost() {
    let house =
        House::open("[placement]\nredirects = [\"app=live via=rtmp url=rtmp://{ip}:{rtmp}\"]\n")
            .await;
    let mut first = Stub::start(Manner::Streams(500)).await;
    house.register("one", first.at);
    let (mut edge, way) = Edge::pull(house.at.rtmp, &WISH).await;
    assert_eq!(way, [house.at.rtmp, first.at]);
    edge.media().await;
    // The proxy does not carry its media.
    house.until_sessions(0).await;
    let request = first.request();
    assert_eq!(request.tc_url, "rtmp://video.example.com/live");
    assert_eq!(request.name, "a?token=x");

    // A viewer or an encoder is relayed: it would take a redirect for a refusal.
    let player = house.ask(Action::Play, "live/a").await;
    assert!(player.has_started());
    drop(player);

    // Its origin dies, and the proxy learns about it: the edge asks again, and is redirected to the next one.
    let second = Stub::start(Manner::Streams(500)).await;
    house.register("two", second.at);
    first.kill().await;
    let again = house.ask(Action::Play, "live/a").await;
    assert!(again.has_started());
    drop(again);
    until("the placement moves", || {
        house.origin_of("live/a").as_deref() == Some("two")
    })
    .await;
    let (mut edge, way) = Edge::pull(house.at.rtmp, &WISH).await;
    assert_eq!(way, [house.at.rtmp, second.at]);
    edge.media().await;
}

#[tokio::test]
async fn a_redirect_is_spelt_as_srs_spells_it() {
    let house =
        House::open("[placement]\nredirects = [\"app=live via=rtmp url=rtmp://{ip}:{rtmp}\"]\n")
            .await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let rows = [
        (
            "video.example.com",
            "a?token=x",
            "a?token=x&vhost=video.example.com",
        ),
        ("video.example.com", "a", "a?vhost=video.example.com"),
        ("10.0.0.1", "a?vhost=b.example&t=1", "a?vhost=b.example&t=1"),
        ("10.0.0.1", "a?t=1", "a?t=1"),
        ("10.0.0.1", "a", "a"),
    ];
    for (vhost, stream, expected) in rows {
        let wish = Wish {
            vhost,
            app: "live",
            stream,
        };
        let (_edge, heard) = Edge::ask(house.at.rtmp, &wish).await;
        let Heard::Redirect(url, directory) = heard else {
            panic!("{stream}: it was relayed");
        };
        let base = format!("rtmp://{}/live", origin.at);
        assert_eq!(directory, base, "{stream}");
        assert_eq!(url, format!("{base}/{expected}"), "{vhost} {stream}");
    }
    assert_eq!(origin.connections(), 0);
}
