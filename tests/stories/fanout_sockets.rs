//! Viewers over HTTP that share a pull hear how it ends: over a WebSocket by a Close frame (RFC 6455 §5.5.1), in a chunked body by
//! its last chunk.

use sluicegate::sessions::EndReason;
use sluicegate_core::stream::Action;

use crate::fanout::{OPEN, house_and_origin, keyframe, published};
use crate::house::{House, post, until, video};
use crate::http_origin::{HttpOrigin, Step, Viewer, WAYS, Way, header, say};

const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
const NO_HOLD: &str = "[hold]\npublishers = \"0s\"\nviewers = \"0s\"\n";

/// What a server sent over a WebSocket.
#[derive(Debug, PartialEq, Eq)]
enum Frame {
    Binary(Vec<u8>),
    /// The status, if there is one.
    Close(Option<u16>),
}

/// A viewer over a WebSocket.
struct Socket {
    viewer: Viewer,
    head: String,
}

impl Socket {
    async fn open(house: &House, headers: &str) -> Self {
        Self::open_by(house, Way::First, headers).await
    }

    async fn open_by(house: &House, way: Way, headers: &str) -> Self {
        let headers = format!("{UPGRADE}{headers}");
        let mut viewer = Viewer::pull_with(house.at.http, way, "/live/a.flv", &headers).await;
        let head = viewer.head().await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        Self { viewer, head }
    }

    async fn frame(&mut self) -> Frame {
        let start = self.viewer.take(2).await;
        let length = match start[1] {
            126 => {
                let more = self.viewer.take(2).await;
                u16::from_be_bytes([more[0], more[1]]).into()
            }
            127 => {
                let more = self.viewer.take(8).await;
                u64::from_be_bytes(more.try_into().expect("eight bytes"))
            }
            short => u64::from(short),
        };
        let length = usize::try_from(length).expect("a frame");
        let payload = self.viewer.take(length).await;
        match start[0] {
            0x82 => Frame::Binary(payload),
            0x88 => {
                let status = payload.first_chunk().map(|two| u16::from_be_bytes(*two));
                Frame::Close(status)
            }
            other => panic!("a frame that begins with {other:#x}"),
        }
    }

    /// Reads to the Close frame; nothing follows it.
    async fn closing(mut self) -> Option<u16> {
        loop {
            if let Frame::Close(status) = self.frame().await {
                assert!(self.viewer.rest().await.is_empty(), "it is the last");
                return status;
            }
        }
    }

    /// Reads until the picture with this mark has come.
    async fn until_mark(&mut self, mark: u8) {
        loop {
            // The body is followed by the size of its tag.
            if let Frame::Binary(tag) = self.frame().await
                && tag.first() == Some(&9)
                && tag.len().checked_sub(5).and_then(|at| tag.get(at)) == Some(&mark)
            {
                return;
            }
        }
    }
}

fn end_players(house: &House, reason: EndReason) {
    for row in house.proxy.sessions().list() {
        if row.request.action == Action::Play {
            row.end(reason);
        }
    }
}

#[tokio::test]
async fn the_first_protocol_that_a_viewer_offers_is_spoken() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let _publisher = published(&house, "live/a").await;
    for (offer, expected) in [
        ("", &[][..]),
        ("Sec-WebSocket-Protocol: flv\r\n", &["flv"]),
        ("Sec-WebSocket-Protocol:  v2.flv , flv\r\n", &["v2.flv"]),
        (
            "Sec-WebSocket-Protocol: one\r\nSec-WebSocket-Protocol: two\r\n",
            &["one"],
        ),
        ("Sec-WebSocket-Protocol: a b\r\n", &[]),
        ("Sec-WebSocket-Protocol: \"flv\"\r\n", &[]),
        ("Sec-WebSocket-Protocol:\r\n", &[]),
    ] {
        let headers = format!("{offer}Sec-WebSocket-Extensions: permessage-deflate\r\n");
        let mut socket = Socket::open(&house, &headers).await;
        let head = &socket.head;
        assert_eq!(header(head, "sec-websocket-protocol"), expected, "{offer}");
        let extensions = header(head, "sec-websocket-extensions");
        assert!(extensions.is_empty(), "none is spoken: {head}");
        socket.until_mark(3).await;
    }
}

#[tokio::test]
async fn a_viewer_over_a_websocket_hears_that_its_stream_is_over() {
    let (house, origin) = house_and_origin(&format!("{OPEN}{NO_HOLD}")).await;
    let _publisher = published(&house, "live/a").await;
    let mut socket = Socket::open(&house, "").await;
    socket.until_mark(3).await;
    origin.stop().await;
    assert_eq!(socket.closing().await, Some(1000));
    house.until_sessions(0).await;
}

#[tokio::test]
async fn a_viewer_over_a_websocket_hears_why_it_was_ended() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let _publisher = published(&house, "live/a").await;
    for (reason, status) in [
        (EndReason::Kicked, 1001),
        (EndReason::Drained, 1001),
        (EndReason::Moved, 1001),
        (EndReason::AccessRevoked, 1008),
        (EndReason::Banned, 1008),
        (EndReason::TooSlow, 1013),
        (EndReason::OriginError, 1014),
    ] {
        let mut socket = Socket::open(&house, "").await;
        socket.until_mark(3).await;
        end_players(&house, reason);
        assert_eq!(socket.closing().await, Some(status), "{reason}");
        house.until_sessions(1).await;
    }
}

#[tokio::test]
async fn a_drain_of_the_origin_is_told_over_a_websocket() {
    let (house, _origin) = house_and_origin(&format!("{OPEN}{NO_HOLD}")).await;
    let _publisher = published(&house, "live/a").await;
    let mut socket = Socket::open(&house, "").await;
    socket.until_mark(3).await;
    let drain = "/api/v1/origins/one/drain?deadline=0s&force=true";
    let (answer, _) = post(house.at.system, drain, "").await;
    assert_eq!(answer, 200);
    assert_eq!(socket.closing().await, Some(1001));
}

#[tokio::test]
async fn a_close_is_answered_with_one() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let _publisher = published(&house, "live/a").await;
    // Masked with nothing.
    for (said, status, reason) in [
        (
            &b"\x88\x82\0\0\0\0\x03\xe8"[..],
            Some(1000),
            "client_closed",
        ),
        (b"\x88\x86\0\0\0\0\x0f\xa0gone", Some(4000), "client_closed"),
        (b"\x88\x80\0\0\0\0", None, "client_closed"),
        // A status that may not be sent, and half of one.
        (b"\x88\x82\0\0\0\0\x03\xed", Some(1002), "client_closed"),
        (b"\x88\x81\0\0\0\0\x03", Some(1002), "client_closed"),
        (b"\x82\x01a", Some(1002), "client_error"),
        (b"\xc2\x80\0\0\0\0", Some(1002), "client_error"),
    ] {
        let mut socket = Socket::open(&house, "").await;
        socket.until_mark(3).await;
        socket.viewer.more(said).await;
        assert_eq!(socket.closing().await, status, "{said:?}");
        house.until_sessions(1).await;
        let ended = house.proxy.sessions().ended();
        let last = ended.last().expect("it ended");
        assert_eq!(last.reason, reason, "{said:?}");
    }
}

#[tokio::test]
async fn a_close_comes_between_two_messages() {
    let (house, _origin) = house_and_origin(OPEN).await;
    let mut publisher = published(&house, "live/a").await;
    let mut socket = Socket::open(&house, "").await;
    socket.until_mark(3).await;
    // More than the kernel takes for one that does not read; another viewer has it all.
    let mut quick = house.ask(Action::Play, "live/a").await;
    let mut large = vec![0x17, 1, 0, 0, 0];
    large.resize(8_000_000, 0x55);
    publisher.send(&video(120, &large)).await;
    publisher.send(&keyframe(160, 4)).await;
    let last = keyframe(0, 4).payload;
    let came = quick.read_until(|viewer| viewer.media.iter().any(|one| one.payload == last));
    assert!(came.await);
    end_players(&house, EndReason::Kicked);
    // It fails where the Close is in the middle of a frame.
    assert_eq!(socket.closing().await, Some(1001));
}

#[tokio::test]
async fn a_chunked_body_is_whole_only_where_its_stream_is_over() {
    for way in WAYS {
        for (reason, is_whole) in [(EndReason::OriginClosed, true), (EndReason::Kicked, false)] {
            let (house, _origin) = house_and_origin(OPEN).await;
            let _publisher = published(&house, "live/a").await;
            let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
            let head = viewer.head().await;
            assert_eq!(header(&head, "transfer-encoding"), ["chunked"], "{way:?}");
            until("media", || {
                let rows = house.proxy.sessions().list();
                let mut players = rows.iter().filter(|row| row.request.action == Action::Play);
                players.any(|row| row.first_media().is_some())
            })
            .await;
            end_players(&house, reason);
            house.until_sessions(1).await;
            if way == Way::Second && is_whole {
                // Its connection stays.
                viewer
                    .more("GET /no HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
                    .await;
            }
            let rest = viewer.rest().await;
            let last = rest.windows(7).any(|part| part == b"\r\n0\r\n\r\n");
            assert_eq!(last, is_whole, "{way:?}, {reason}");
        }
    }
}

#[tokio::test]
async fn a_viewer_with_a_leg_of_its_own_hears_over_a_websocket_why_it_was_ended() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    // The second half of a frame comes when the session has ended.
    let script = vec![
        say(switch),
        say(b"\x82\x03abc\x82\x04de"),
        Step::Wait(std::time::Duration::from_millis(500)),
        say(b"fg\x82\x02no"),
        Step::Hold,
    ];
    for way in WAYS {
        for whole in [false, true] {
            let house = House::open("").await;
            let script = match whole {
                true => vec![say(switch), say(b"\x82\x03abc"), Step::Hold],
                false => script.clone(),
            };
            let _origin = HttpOrigin::join(&house, "one", script).await;
            let mut socket = Socket::open_by(&house, way, "").await;
            assert_eq!(socket.frame().await, Frame::Binary(b"abc".to_vec()));
            if !whole {
                assert_eq!(socket.viewer.take(4).await, b"\x82\x04de");
            }
            end_players(&house, EndReason::Kicked);
            if !whole {
                assert_eq!(socket.viewer.take(2).await, b"fg", "{way:?}");
            }
            assert_eq!(socket.closing().await, Some(1001), "{way:?}, {whole}");
            house.until_sessions(0).await;
        }
    }
}
