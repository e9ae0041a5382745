//! Media over UDP: both sides see our ports, and no other sender gets through.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use sluicegate::sessions::EndReason;
use sluicegate_core::rtsp::message::{Message, Method};
use sluicegate_core::rtsp::transport::Transport;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use crate::house::{House, PATIENCE, until};
use crate::rtsp_house::{Caller, Reply, Stub, answer, grants};

const PORTS: &str = "[rtsp]\nudp_ports = \"20100-20999\"\n";

/// Two sockets, for media and for reports.
async fn pair() -> [UdpSocket; 2] {
    [
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
        UdpSocket::bind("127.0.0.1:0").await.unwrap(),
    ]
}

fn ports(sockets: &[UdpSocket; 2]) -> String {
    let [media, reports] = sockets
        .each_ref()
        .map(|socket| socket.local_addr().unwrap().port());
    format!("{media}-{reports}")
}

async fn receive(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = [0; 2048];
    let (count, from) = timeout(PATIENCE, socket.recv_from(&mut buffer))
        .await
        .expect("a datagram")
        .unwrap();
    (buffer[..count].to_vec(), from)
}

/// An origin that receives datagrams at `sockets`; it records the Transport that it was offered.
async fn origin(sockets: &[UdpSocket; 2], offered: &Arc<Mutex<String>>) -> Stub {
    let (own, offered) = (ports(sockets), Arc::clone(offered));
    Stub::start(move |at| {
        let others = grants(at, Vec::new());
        move |request: &Message| {
            if request.method() != Some(Method::Setup) {
                return others(request);
            }
            let transport = request.field("transport").unwrap_or_default().to_owned();
            let fields = format!(
                "Session: 7\r\nTransport: {transport};source=127.0.0.1;server_port={own}\r\n"
            );
            *offered.lock().unwrap() = transport;
            Reply::Say(answer(request, "200 OK", &fields, ""))
        }
    })
    .await
}

#[tokio::test]
async fn datagrams_pass_between_the_two_and_from_nobody_else() {
    let house = House::open(PORTS).await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mine = pair().await;
    let mut player = Caller::connect(house.at.rtsp).await;
    player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    let transport = format!(
        "Transport: RTP/AVP;unicast;client_port={}\r\n",
        ports(&mine)
    );
    let answer = player
        .ask("SETUP rtsp://media.example/live/a/trackID=0", 2, &transport)
        .await;
    let told = answer.field("transport").unwrap().to_owned();
    let told = &Transport::parse(&told).unwrap()[0];
    assert_eq!(told.value("client_port"), Some(ports(&mine).as_str()));
    assert_eq!(told.value("source"), None);
    let (media, reports) = told.ports("server_port").unwrap();
    assert!(
        (20_100..=20_999).contains(&media) && media % 2 == 0 && reports == media + 1,
        "{media}"
    );
    let sent = offered.lock().unwrap().clone();
    let (to_media, to_reports) = Transport::parse(&sent).unwrap()[0]
        .ports("client_port")
        .unwrap();
    assert!((20_100..=20_999).contains(&to_media) && to_media != media);
    player
        .ask("PLAY rtsp://media.example/live/a", 3, "Session: 7\r\n")
        .await;

    // A stranger knows the port, and is another machine.
    let stranger = UdpSocket::bind("127.0.0.2:0").await.unwrap();
    stranger
        .send_to(b"ha", ("127.0.0.1", to_media))
        .await
        .unwrap();
    theirs[0]
        .send_to(b"media", ("127.0.0.1", to_media))
        .await
        .unwrap();
    theirs[1]
        .send_to(b"report", ("127.0.0.1", to_reports))
        .await
        .unwrap();
    assert_eq!(
        receive(&mine[0]).await,
        (b"media".to_vec(), ([127, 0, 0, 1], media).into())
    );
    assert_eq!(
        receive(&mine[1]).await,
        (b"report".to_vec(), ([127, 0, 0, 1], reports).into())
    );
    mine[1]
        .send_to(b"heard", ("127.0.0.1", reports))
        .await
        .unwrap();
    assert_eq!(
        receive(&theirs[1]).await,
        (b"heard".to_vec(), ([127, 0, 0, 1], to_reports).into())
    );
    let row = house.proxy.sessions().list()[0].clone();
    until("that was media", || row.first_media().is_some()).await;

    // Behind an address translator another port shows up, and is used from then on.
    let translated = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    translated
        .send_to(b"punch", ("127.0.0.1", media))
        .await
        .unwrap();
    assert_eq!(receive(&theirs[0]).await.0, b"punch");
    theirs[0]
        .send_to(b"more", ("127.0.0.1", to_media))
        .await
        .unwrap();
    assert_eq!(receive(&translated).await.0, b"more");

    player
        .ask("TEARDOWN rtsp://media.example/live/a", 4, "Session: 7\r\n")
        .await;
    until("the ports are free again", || {
        std::net::UdpSocket::bind(("127.0.0.1", media)).is_ok()
    })
    .await;
}

#[tokio::test]
async fn nobody_has_media_sent_to_somebody_else() {
    let house = House::open(PORTS).await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    let at = player.local().ip();
    for (cause, destination, status) in [
        ("somebody else", "198.51.100.7".to_owned(), 461),
        ("a name", "victim.example".to_owned(), 461),
        ("itself", at.to_string(), 200),
    ] {
        let transport = format!(
            "Transport: RTP/AVP;unicast;destination={destination};client_port=5000-5001\r\n"
        );
        let answer = player
            .ask("SETUP rtsp://media.example/live/a/trackID=0", 2, &transport)
            .await;
        assert_eq!(answer.status(), Some(status), "{cause}");
    }
    assert!(
        !origin
            .requests()
            .iter()
            .any(|request| request.contains("destination"))
    );
}

#[tokio::test]
async fn where_udp_is_refused_a_client_goes_on_with_tcp() {
    let house = House::open("[rtsp]\nudp_ports = \"\"\n").await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    let track = "SETUP rtsp://media.example/live/a/trackID=0";
    let udp = "Transport: RTP/AVP/UDP;unicast;client_port=5000-5001";
    let refused = player.ask(track, 2, &format!("{udp}\r\n")).await;
    assert_eq!(refused.status(), Some(461), "{}", refused.reason());
    // A client that offers both is given TCP at once.
    let both = format!("{udp},RTP/AVP/TCP;unicast;interleaved=0-1\r\n");
    let granted = player.ask(track, 3, &both).await;
    assert_eq!(
        granted.field("transport"),
        Some("RTP/AVP/TCP;unicast;interleaved=0-1")
    );
}

/// A list is in order of preference (RFC 2326 §12.39), and a group is nothing that a proxy can relay.
#[tokio::test]
async fn a_player_that_would_rather_have_a_group_is_given_what_can_be_relayed() {
    let house = House::open(PORTS).await;
    let origin = Stub::start(|at| grants(at, Vec::new())).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let tcp = "RTP/AVP/TCP;unicast;interleaved=0-1";
    for first in ["DESCRIBE", "SETUP"] {
        let mut player = Caller::connect(house.at.rtsp).await;
        let url = "rtsp://media.example/live/a";
        if first == "DESCRIBE" {
            player.ask(&format!("DESCRIBE {url}"), 1, "").await;
        }
        let list = format!("Transport: RTP/AVP;multicast, {tcp}\r\n");
        let answer = player
            .ask(&format!("SETUP {url}/trackID=0"), 2, &list)
            .await;
        assert_eq!(answer.status(), Some(200), "{first} first");
        assert_eq!(answer.field("transport"), Some(tcp), "{first} first");
        let asked = origin.requests().pop().expect("a request");
        assert!(asked.contains(&format!("Transport: {tcp}\r\n")), "{asked}");
        let alone = "Transport: RTP/AVP;multicast\r\n";
        let refused = player
            .ask(&format!("SETUP {url}/trackID=0"), 3, alone)
            .await;
        assert_eq!(refused.status(), Some(461), "{first} first");
        assert!(
            refused.reason().contains("no multicast"),
            "{}",
            refused.reason()
        );
    }
}

/// An origin that answers each SETUP with this transport, whatever it was asked for.
async fn stubborn(transport: &'static str) -> Stub {
    Stub::start(move |at| {
        let others = grants(at, Vec::new());
        move |request: &Message| {
            if request.method() != Some(Method::Setup) {
                return others(request);
            }
            let fields = format!("Session: 7\r\nTransport: {transport}\r\n");
            Reply::Say(answer(request, "200 OK", &fields, ""))
        }
    })
    .await
}

/// Its media would reach nobody. Players go on with another transport after a 461.
#[tokio::test]
async fn an_origin_that_answers_another_transport_than_it_was_asked_for_is_taken_at_its_word_or_refused()
 {
    let udp = "RTP/AVP;unicast;client_port=5000-5001";
    let tcp = "RTP/AVP/TCP;unicast;interleaved=0-1";
    let (by_tcp, by_udp) = (
        tcp,
        "RTP/AVP;unicast;client_port=5000-5001;server_port=9000-9001",
    );
    for (answers, refused, taken) in [(by_tcp, udp, Some(tcp)), (by_udp, tcp, None)] {
        let house = House::open(PORTS).await;
        let origin = stubborn(answers).await;
        house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
        let url = "rtsp://media.example/live/a";
        let mut player = Caller::connect(house.at.rtsp).await;
        player.ask(&format!("DESCRIBE {url}"), 1, "").await;
        let track = format!("SETUP {url}/trackID=0");
        let told = player
            .ask(&track, 2, &format!("Transport: {refused}\r\n"))
            .await;
        assert_eq!(told.status(), Some(461), "{answers}");
        assert_eq!(told.field("transport"), None, "{answers}");
        if let Some(transport) = taken {
            let list = format!("Transport: {udp},{transport}\r\n");
            let told = player.ask(&track, 3, &list).await;
            assert_eq!(told.field("transport"), taken, "the client offered it");
        }
        drop(player);
        house.until_sessions(0).await;
        let reason = if taken.is_some() {
            "client_closed"
        } else {
            "refused"
        };
        assert_eq!(
            house.proxy.sessions().ended()[0].reason,
            reason,
            "{answers}"
        );
    }
}

#[tokio::test]
async fn a_client_that_sets_up_at_once_is_served() {
    let house = House::open(PORTS).await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mine = pair().await;
    let mut player = Caller::connect(house.at.rtsp).await;
    let transport = format!(
        "Transport: RTP/AVP;unicast;client_port={}\r\n",
        ports(&mine)
    );
    let answer = player
        .ask("SETUP rtsp://media.example/live/a/trackID=0", 1, &transport)
        .await;
    assert_eq!(answer.status(), Some(200));
    assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
    player
        .ask("PLAY rtsp://media.example/live/a", 2, "Session: 7\r\n")
        .await;
    let sent = offered.lock().unwrap().clone();
    let (to_media, _) = Transport::parse(&sent).unwrap()[0]
        .ports("client_port")
        .unwrap();
    theirs[0]
        .send_to(b"media", ("127.0.0.1", to_media))
        .await
        .unwrap();
    assert_eq!(receive(&mine[0]).await.0, b"media");
}

/// A player of one track over UDP, and where media for it goes in at us and comes out.
struct Playing {
    player: Caller,
    mine: [UdpSocket; 2],
    /// Our ports, for the client and for the origin.
    facing_client: u16,
    facing_origin: u16,
}

async fn playing(house: &House, offered: &Arc<Mutex<String>>) -> Playing {
    let mine = pair().await;
    let mut player = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example/live/a";
    player.ask(&format!("DESCRIBE {url}"), 1, "").await;
    let (facing_client, facing_origin) =
        set_up(&mut player, &format!("{url}/trackID=0"), 2, &mine, offered).await;
    player
        .ask(&format!("PLAY {url}"), 3, "Session: 7\r\n")
        .await;
    Playing {
        player,
        mine,
        facing_client,
        facing_origin,
    }
}

/// Sets a track up; returns our ports for its media, towards the client and towards the origin.
async fn set_up(
    player: &mut Caller,
    track: &str,
    cseq: u32,
    mine: &[UdpSocket; 2],
    offered: &Arc<Mutex<String>>,
) -> (u16, u16) {
    let transport = format!("Transport: RTP/AVP;unicast;client_port={}\r\n", ports(mine));
    let answer = player
        .ask(&format!("SETUP {track}"), cseq, &transport)
        .await;
    let first = |transport: &str, name| {
        Transport::parse(transport).unwrap()[0]
            .ports(name)
            .unwrap()
            .0
    };
    let told = answer.field("transport").unwrap();
    let sent = offered.lock().unwrap().clone();
    (first(told, "server_port"), first(&sent, "client_port"))
}

const RTP: &[u8] = &[0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7];

/// Every player sends something from its ports before it plays, so that its address translator lets media in.
#[tokio::test]
async fn what_opens_an_address_translator_is_no_media() {
    let limits = "[session]\nplayer_idle = \"300ms\"\nplay_wait = \"2s\"\n";
    let house = House::open(&format!("{PORTS}{limits}")).await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut playing = playing(&house, &offered).await;
    let openings: [&[u8]; 4] = [b"", &[0xce, 0xfa, 0xed, 0xfe], &[0; 8], &RTP[..12]];
    for opening in openings {
        playing.mine[0]
            .send_to(opening, ("127.0.0.1", playing.facing_client))
            .await
            .unwrap();
        assert_eq!(receive(&theirs[0]).await.0, opening, "it passes");
    }
    let row = house.proxy.sessions().list()[0].clone();
    assert_eq!(row.first_media(), None);
    playing.player.hear_end().await;
    house.until_sessions(0).await;
    let ended = house.proxy.sessions().ended();
    assert_eq!(ended[0].reason, "waited_too_long");
}

#[tokio::test]
async fn a_player_that_got_media_is_idle_without_it_whatever_it_reports() {
    let house = House::open(&format!("{PORTS}[session]\nplayer_idle = \"500ms\"\n")).await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut playing = playing(&house, &offered).await;
    playing.mine[0]
        .send_to(&RTP[..12], ("127.0.0.1", playing.facing_client))
        .await
        .unwrap();
    theirs[0]
        .send_to(RTP, ("127.0.0.1", playing.facing_origin))
        .await
        .unwrap();
    assert_eq!(receive(&playing.mine[0]).await.0, RTP);
    let reports = async {
        loop {
            playing.mine[1]
                .send_to(
                    &[0x80, 201, 0, 1, 0, 0, 0, 1],
                    ("127.0.0.1", playing.facing_client + 1),
                )
                .await
                .unwrap();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = playing.player.hear_end() => {}
        () = reports => {}
    }
    house.until_sessions(0).await;
    assert_eq!(house.proxy.sessions().ended()[0].reason, "player_idle");
}

/// Cameras and set-top boxes name one port and send from another.
#[tokio::test]
async fn an_origin_may_send_from_another_port_than_it_named() {
    let house = House::open(PORTS).await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let playing = playing(&house, &offered).await;
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    other
        .send_to(RTP, ("127.0.0.1", playing.facing_origin))
        .await
        .unwrap();
    assert_eq!(receive(&playing.mine[0]).await.0, RTP);
    // What is for the origin goes to the port that it named.
    playing.mine[0]
        .send_to(b"punch", ("127.0.0.1", playing.facing_client))
        .await
        .unwrap();
    assert_eq!(receive(&theirs[0]).await.0, b"punch");
}

/// Nothing but messages is on the connection, and a camera sends a byte between them.
#[tokio::test]
async fn what_an_origin_sends_between_its_answers_by_mistake_is_left_out_of_a_session_over_udp() {
    let house = House::open(PORTS).await;
    let theirs = pair().await;
    let own = ports(&theirs);
    let origin = Stub::start(move |at| {
        let others = grants(at, Vec::new());
        move |request: &Message| match (request.method(), others(request)) {
            (Some(Method::Setup), _) => {
                let offered = request.field("transport").unwrap_or_default();
                let fields = format!("Session: 7\r\nTransport: {offered};server_port={own}\r\n");
                Reply::Say(answer(request, "200 OK", &fields, ""))
            }
            (Some(Method::Play), Reply::Say(said)) => Reply::Say([&said[..], b"\xff\x00"].concat()),
            (_, reply) => reply,
        }
    })
    .await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example/live/a";
    player.ask(&format!("DESCRIBE {url}"), 1, "").await;
    let mine = pair().await;
    let transport = format!(
        "Transport: RTP/AVP;unicast;client_port={}\r\n",
        ports(&mine)
    );
    player
        .ask(&format!("SETUP {url}/trackID=0"), 2, &transport)
        .await;
    for (method, cseq) in [("PLAY", 3), ("GET_PARAMETER", 4)] {
        let told = player
            .ask(&format!("{method} {url}"), cseq, "Session: 7\r\n")
            .await;
        assert_eq!(told.status(), Some(200), "{method}");
    }
    assert_eq!(house.proxy.sessions().len(), 1);
}

#[tokio::test]
async fn a_track_that_is_left_leaves_the_others() {
    let house = House::open(PORTS).await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut playing = playing(&house, &offered).await;
    let sound = pair().await;
    let track = "rtsp://media.example/live/a/trackID=1";
    let (facing_client, _) = set_up(&mut playing.player, track, 4, &sound, &offered).await;
    let leaves = format!("TEARDOWN {track}");
    let left = playing.player.ask(&leaves, 5, "Session: 7\r\n").await;
    assert_eq!(left.status(), Some(200));
    until("its ports are free", || {
        std::net::UdpSocket::bind(("127.0.0.1", facing_client)).is_ok()
    })
    .await;
    theirs[0]
        .send_to(RTP, ("127.0.0.1", playing.facing_origin))
        .await
        .unwrap();
    assert_eq!(receive(&playing.mine[0]).await.0, RTP);
}

/// A recorder that shows all its cameras in one stream.
#[tokio::test]
async fn a_stream_of_many_tracks_is_set_up_over_udp() {
    let house = House::open(PORTS).await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut playing = playing(&house, &offered).await;
    let mine = pair().await;
    for (number, cseq) in (1..16).zip(4..) {
        let track = format!("rtsp://media.example/live/a/trackID={number}");
        set_up(&mut playing.player, &track, cseq, &mine, &offered).await;
    }
    theirs[0]
        .send_to(RTP, ("127.0.0.1", playing.facing_origin))
        .await
        .unwrap();
    assert_eq!(receive(&playing.mine[0]).await.0, RTP);
}

/// An operator has to see that the range is used up, while every further player is turned away.
#[tokio::test]
async fn a_player_that_finds_no_port_is_counted_and_was_refused() {
    let house = House::open("[rtsp]\nudp_ports = \"21000-21003\"\n").await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let _first = playing(&house, &offered).await;
    let mut player = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example/live/a";
    player.ask(&format!("DESCRIBE {url}"), 1, "").await;
    for cseq in [2, 3] {
        let transport = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
        let told = player
            .ask(&format!("SETUP {url}/trackID=0"), cseq, transport)
            .await;
        assert_eq!(told.status(), Some(453), "{}", told.reason());
    }
    drop(player);
    house.until_sessions(1).await;
    assert_eq!(house.proxy.sessions().ended()[0].reason, "refused");
    let counted = "sluicegate_refused_total{protocol=\"rtsp\",reason=\"exhausted\"} 1";
    let metrics = house.proxy.metrics().render();
    assert!(metrics.contains(counted), "once a session");
}

/// Datagrams that were passed over.
fn strangers(house: &House) -> u64 {
    let metrics = house.proxy.metrics().render();
    let name = "sluicegate_datagrams_dropped_total{listener=\"rtsp\",reason=\"stranger\"} ";
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |number| number.parse().expect("a count"))
}

/// Ports may still be sent to that were another session's, which may have been of another stream of the same machine.
#[tokio::test]
async fn media_is_heard_from_when_a_client_plays_and_from_one_port_once_it_is_the_one_that_was_named()
 {
    let house = House::open(PORTS).await;
    let (theirs, offered) = (pair().await, Arc::new(Mutex::new(String::new())));
    let origin = origin(&theirs, &offered).await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    let url = "rtsp://media.example/live/a";
    player.ask(&format!("DESCRIBE {url}"), 1, "").await;
    let mine = pair().await;
    let track = format!("{url}/trackID=0");
    let (_, to_media) = set_up(&mut player, &track, 2, &mine, &offered).await;
    let to_media = ("127.0.0.1", to_media);
    theirs[0].send_to(b"too early", to_media).await.unwrap();
    until("that is for nobody", || strangers(&house) == 1).await;
    player
        .ask(&format!("PLAY {url}"), 3, "Session: 7\r\n")
        .await;
    // An origin may send from another port than it named, as long as it does not send from that one.
    let other = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    other.send_to(b"from elsewhere", to_media).await.unwrap();
    assert_eq!(receive(&mine[0]).await.0, b"from elsewhere");
    theirs[0].send_to(b"media", to_media).await.unwrap();
    assert_eq!(receive(&mine[0]).await.0, b"media");
    other.send_to(b"from elsewhere", to_media).await.unwrap();
    until("that is for nobody", || strangers(&house) == 2).await;
    theirs[0].send_to(b"more", to_media).await.unwrap();
    assert_eq!(receive(&mine[0]).await.0, b"more");
}

/// A camera that takes Digest alone does not hear us, and sends on until its session has run out.
#[tokio::test]
async fn ports_that_an_origin_may_still_send_to_are_given_to_nobody_who_plays_from_it() {
    let rows = [
        ("200 OK", 200),
        ("454 Session Not Found", 200),
        ("401 Unauthorized", 453),
    ];
    for (number, (confirms, status)) in rows.into_iter().enumerate() {
        // Two pairs, which is one track.
        let first = 21_100 + 4 * number;
        let range = format!("[rtsp]\nudp_ports = \"{first}-{}\"\n", first + 3);
        let house = House::open(&range).await;
        let origin = Stub::start(move |at| {
            let others = grants(at, Vec::new());
            move |request: &Message| match request.method() {
                Some(Method::Teardown) => Reply::Say(answer(request, confirms, "", "")),
                _ => others(request),
            }
        })
        .await;
        house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
        let url = "rtsp://media.example/live/a";
        for expected in [200, status] {
            let mut player = Caller::connect(house.at.rtsp).await;
            player.ask(&format!("DESCRIBE {url}"), 1, "").await;
            let transport = "Transport: RTP/AVP;unicast;client_port=5000-5001\r\n";
            let told = player
                .ask(&format!("SETUP {url}/trackID=0"), 2, transport)
                .await;
            assert_eq!(told.status(), Some(expected), "{confirms}");
            house.proxy.sessions().list()[0].end(EndReason::Kicked);
            player.hear_end().await;
            until("the connection is over", || origin.open() == 0).await;
            house.until_sessions(0).await;
        }
    }
}
