//! An origin that redirects to itself under another name than it is registered by: servers know their own address, and
//! operators register names, or the reverse.

use sluicegate_core::rtsp::message::{Message, Method};
use sluicegate_core::stream::Action;
use tokio::net::{TcpListener, UdpSocket};

use crate::call;
use crate::fanout::OPEN;
use crate::house::{self, House, Manner};
use crate::http_pieces::{Packager, Reply as Answer};
use crate::rtsp_house::{Caller, Reply, Stub, answer, grants};

/// The host of the registration, that of its endpoint if it has one of its own, and that of the redirect.
const SPELLINGS: [(&str, &str, &str); 4] = [
    ("localhost", "", "127.0.0.1"),
    ("127.0.0.1", "", "localhost"),
    ("127.0.0.1", "tcp://localhost:", "127.0.0.1"),
    ("localhost", "tcp://127.0.0.1:", "localhost"),
];

#[tokio::test]
async fn an_rtsp_origin_may_redirect_to_itself_under_any_of_its_names() {
    for (ip, own, named) in SPELLINGS {
        let house = House::open("").await;
        let origin = Stub::start(move |at| {
            let to = format!("Location: rtsp://{named}:{}/live/two\r\n", at.port());
            move |request: &Message| {
                let is_first = !request.uri().contains("/live/two");
                Reply::Say(match request.method() {
                    Some(Method::Describe) if is_first => {
                        answer(request, "302 Moved Temporarily", &to, "")
                    }
                    _ => answer(request, "200 OK", "", ""),
                })
            }
        })
        .await;
        let port = origin.at.port();
        house.register_at("one", ip, &format!(r#""rtsp":["{own}{port}"]"#));
        let mut player = Caller::connect(house.at.rtsp).await;
        let described = player
            .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
            .await;
        assert_eq!(described.status(), Some(200), "{ip} {own} {named}");
        assert_eq!(house.origin_of("live/a").as_deref(), Some("one"));
    }
}

/// Another port of the same machine may be another server.
#[tokio::test]
async fn another_port_of_an_origins_own_name_is_another_place() {
    let house = House::open("").await;
    let stranger = Stub::start(|at| grants(at, Vec::new())).await;
    let port = stranger.at.port();
    let origin = Stub::start(move |_| {
        let to = format!("Location: rtsp://localhost:{port}/live/a\r\n");
        move |request: &Message| {
            Reply::Say(match request.method() {
                Some(Method::Describe) => answer(request, "302 Moved Temporarily", &to, ""),
                _ => answer(request, "200 OK", "", ""),
            })
        }
    })
    .await;
    house.register_with("one", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
    let mut player = Caller::connect(house.at.rtsp).await;
    let refused = player
        .ask("DESCRIBE rtsp://media.example/live/a", 1, "")
        .await;
    assert_eq!(refused.status(), Some(502));
    assert!(stranger.requests().is_empty());
}

#[tokio::test]
async fn an_rtmp_origin_may_redirect_to_itself_under_any_of_its_names() {
    // Players share a pull of it, or have legs of their own.
    for settings in ["", OPEN] {
        for (ip, own, named) in SPELLINGS {
            let house = House::open(settings).await;
            let listener = TcpListener::bind(house::nowhere()).await.expect("a port");
            let port = listener.local_addr().expect("bound").port();
            let manner = Manner::Redirects(format!("{named}:{port}"));
            let origin = house::Stub::on(listener, manner, 0, Vec::new());
            house.register_at("one", ip, &format!(r#""rtmp":["{own}{port}"]"#));
            let player = house.ask(Action::Play, "live/a").await;
            assert_eq!(player.code(), "NetStream.Play.Failed");
            let asked = origin.connections();
            assert_eq!(asked, 3, "two redirects: {ip} {own} {named} {settings}");
        }
    }
}

#[tokio::test]
async fn a_whip_origin_may_redirect_to_itself_under_any_of_its_names() {
    for (ip, own, named) in SPELLINGS {
        let house = House::open("").await;
        let sdp = call::sdp("orig");
        let place = std::sync::Arc::new(std::sync::OnceLock::new());
        let to = std::sync::Arc::clone(&place);
        let origin = Packager::start(move |target: &str, _: &str| {
            if target.starts_with("/rtc/v1/whip/") {
                let port: &u16 = to.get().expect("it is registered");
                let headers = format!("Location: http://{named}:{port}/moved?k=1\r\n");
                return Answer::with("307 Temporary Redirect", &headers, "");
            }
            let headers = "Content-Type: application/sdp\r\nLocation: /call/1\r\n";
            Answer::with("201 Created", headers, &sdp)
        })
        .await;
        let media = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let (api, rtc) = (origin.at.port(), media.local_addr().expect("bound").port());
        place.set(api).expect("once");
        let scheme = own.replace("tcp://", "http://");
        let endpoints = format!(r#""api":["{scheme}{api}"],"rtc":["{rtc}"]"#);
        house.register_at("one", ip, &endpoints);
        let target = "/rtc/v1/whip/?app=live&stream=a";
        let (status, head, _) = call::ask(house.at.api, "POST", target, &call::sdp("clnt")).await;
        assert_eq!(status, 201, "{ip} {own} {named}: {head}");
        assert_eq!(origin.count("/moved?k=1"), 1);
    }
}
