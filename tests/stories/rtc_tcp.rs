//! Calls over TCP: what stands between the frames, several connections of one call, and a change from UDP.

use sluicegate_core::rtc::frames::{Frame, prefix};
use sluicegate_core::rtc::stun::{Kind, Message, binding_request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::call::{CallOrigin, ask, check, proof, receive_media, sdp};
use crate::house::{House, PATIENCE, until};

/// A client's connection.
struct Connection {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Connection {
    async fn open(house: &House) -> Self {
        Self {
            stream: TcpStream::connect(house.at.rtc).await.expect("it listens"),
            bytes: Vec::new(),
        }
    }

    /// One whose client has proven itself.
    async fn proven(house: &House, transaction: &mut u64) -> Self {
        let mut connection = Self::open(house).await;
        connection.prove(transaction).await;
        connection
    }

    async fn prove(&mut self, transaction: &mut u64) {
        self.send(&proof(CHECK, transaction)).await;
        let answer = self.next().await.expect("an answer");
        let answer = Message::parse(&answer).expect("it is STUN");
        assert_eq!(answer.kind, Kind::Success);
    }

    async fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("it is taken");
    }

    async fn send(&mut self, datagram: &[u8]) {
        let length = prefix(datagram).expect("it is short");
        self.send_raw(&[&length, datagram].concat()).await;
    }

    /// The datagram of the next frame; `None` at the end of the connection.
    async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            if let Some(frame) = Frame::parse(&self.bytes).expect("a frame") {
                let (datagram, length) = (frame.datagram.to_vec(), frame.length);
                self.bytes.drain(..length);
                return Some(datagram);
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.bytes)).await;
            if read.expect("something in time").unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    /// Sends media, and expects it back.
    async fn carries(&mut self, number: u8) {
        let media = media(number);
        self.send(&media).await;
        assert_eq!(self.next().await, Some(media));
    }
}

fn media(number: u8) -> Vec<u8> {
    vec![0x80, 96, 0, number, 0, 0, 0, 1, 0, 0, 0, 1, 7]
}

/// A proxy with an origin that sends back what it gets, and a call of its client.
async fn calling() -> (House, CallOrigin) {
    let house = House::open("").await;
    let origin = CallOrigin::start().await;
    house.register_with("o1", &origin.endpoints());
    let (status, head, _) = ask(house.at.api, "POST", "/rtc/v1/whip/?stream=a", &sdp("clnt")).await;
    assert_eq!(status, 201, "{head}");
    (house, origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_frames_are_passed_over() {
    let (house, _origin) = calling().await;
    let mut connection = Connection::open(&house).await;
    connection.send_raw(&[0; 6]).await;
    connection.prove(&mut 0).await;
    for number in 0..3 {
        connection.send_raw(&[0; 4]).await;
        // The first that comes back is media.
        connection.carries(number).await;
    }
}

/// A browser that changed networks proves itself on a new connection, while the earlier one still stands.
#[tokio::test(flavor = "multi_thread")]
async fn a_call_goes_on_by_a_further_connection_that_has_proven_itself() {
    let (house, origin) = calling().await;
    let mut transaction = 0;
    let mut first = Connection::proven(&house, &mut transaction).await;
    first.carries(1).await;

    let mut stranger = Connection::open(&house).await;
    stranger
        .send(&binding_request(CHECK, b"another password", [9; 12], true))
        .await;
    assert_eq!(stranger.next().await, None, "it proved nothing");
    first.carries(2).await;

    let mut second = Connection::proven(&house, &mut transaction).await;
    second.carries(3).await;
    first.carries(4).await;
    drop(first);
    second.carries(5).await;
    assert_eq!(origin.sources().len(), 2, "one for each connection");
    assert_eq!(house.proxy.sessions().len(), 1, "the call is the same");
    assert!(house.proxy.sessions().ended().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_went_from_udp_to_tcp_outlives_the_silence_of_its_first_way() {
    let (house, _origin) = calling().await;
    let mut transaction = 0;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(house.at.rtc).await.expect("loopback");
    let answer = check(&socket, CHECK, &mut transaction).await;
    assert_eq!(answer, Some(Kind::Success));
    socket.send(&media(1)).await.expect("it goes out");
    assert_eq!(receive_media(&socket).await, media(1));

    let mut connection = Connection::proven(&house, &mut transaction).await;
    connection.carries(2).await;
    // What may be the end of its encryption shortens the time for which silence is borne.
    socket.send(&[21, 254, 253, 0]).await.expect("it goes out");
    let is_open = || {
        let binding = house.proxy.registry().bindings().binding(CHECK.as_bytes());
        binding.is_some_and(|binding| binding.shard().is_some())
    };
    assert!(is_open());
    until("the first way ends", || !is_open()).await;
    connection.carries(3).await;
    assert_eq!(house.proxy.sessions().len(), 1, "the call stands");
    assert!(house.proxy.sessions().ended().is_empty());
}

/// The username of its checks.
const CHECK: &str = "orig:clnt";
