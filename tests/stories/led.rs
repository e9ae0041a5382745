//! What origins say of places in the heads of their answers: who follows it is led back to the origin that said so, by us, and
//! nobody hears where that is.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use sluicegate::sessions::Row;

use crate::call::{self, ask};
use crate::fanout::OPEN;
use crate::house::{House, get};
use crate::http_origin::{HttpOrigin, STREAM, Step, Viewer, WAYS, header, say};
use crate::http_pieces::{Packager, Reply};

/// An origin that knows its own address.
pub(crate) async fn join(
    house: &House,
    id: &str,
    answers: impl Fn(&str, &str) -> Reply + Send + Sync + 'static,
) -> Packager {
    let at: Arc<OnceLock<String>> = Arc::default();
    let told = Arc::clone(&at);
    let answer = move |target: &str, _: &str| answers(target, told.get().map_or("", |at| at));
    let origin = Packager::join(house, id, answer).await;
    at.set(origin.at.to_string()).expect("once");
    origin
}

/// Where an answer sends its client.
pub(crate) async fn sent_to(house: &House, target: &str) -> String {
    let (status, head, _) = ask(house.at.http, "GET", target, "").await;
    assert_eq!(status, 302, "{target}: {head}");
    header(&head, "location")[0].to_owned()
}

/// Sends every path in `/live/` on to the same name in `/moved/`, in full or from the root, and has what is there.
fn moves(target: &str, own: &str) -> Reply {
    match target.strip_prefix("/live/") {
        Some(name) => {
            let place = match name.starts_with('a') {
                true => format!("http://{own}"),
                false => String::new(),
            };
            let location = format!("Location: {place}/moved/{name}?x=1\r\n");
            Reply::with("302 Found", &location, "")
        }
        None => Reply::ok("", "there"),
    }
}

#[tokio::test]
async fn a_redirect_leads_back_to_its_origin_in_a_fleet() {
    let house = House::open("").await;
    let one = join(&house, "one", moves).await;
    let mut places = Vec::new();
    for name in ["a", "b", "c", "ad", "be", "cf"] {
        for file in ["m3u8", "mpd", "m4s"] {
            let place = sent_to(&house, &format!("/live/{name}.{file}")).await;
            let expected = format!("/moved/{name}.{file}?x=1&spbhid=");
            assert!(place.starts_with(&expected), "{place}");
            places.push(place);
        }
    }
    let other = Packager::join(&house, "other", |_: &str, _: &str| Reply::missing()).await;
    for place in places {
        let (status, body) = get(house.at.http, &place).await;
        assert_eq!((status, body.as_str()), (200, "there"), "{place}");
        let (target, _) = place.split_once("&spbhid").expect("a link");
        assert_eq!(one.count(target), 1, "{target}");
    }
    assert_eq!(other.targets(), Vec::<String>::new());
}

/// A piece that its origin has given to another.
#[tokio::test]
async fn a_redirect_to_another_origin_of_the_fleet_leads_there() {
    let house = House::open("").await;
    let store = Packager::start(|target: &str, _: &str| match target {
        "/store/a-1.ts" => Reply::ok("", "media"),
        _ => Reply::missing(),
    })
    .await;
    let place = store.at;
    let _one = Packager::join(&house, "one", move |target: &str, _: &str| match target {
        "/live/a.m3u8" => Reply::ok("", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\na-1.ts\n"),
        "/live/a-1.ts" => {
            let location = format!("Location: http://{place}/store/a-1.ts\r\n");
            Reply::with("302 Found", &location, "")
        }
        _ => Reply::missing(),
    })
    .await;
    let (_, playlist) = get(house.at.http, "/live/a.m3u8").await;
    crate::http_origin::register(&house, "store", store.at);
    let piece = playlist.lines().last().expect("a piece");
    let place = sent_to(&house, &format!("/live/{piece}")).await;
    assert!(place.starts_with("/store/a-1.ts?spbhid="), "{place}");
    let (status, body) = get(house.at.http, &place).await;
    assert_eq!((status, body.as_str()), (200, "media"));
}

/// A player that waits for what is next would be sent on each time.
#[tokio::test]
async fn a_reload_that_another_origin_of_the_fleet_is_to_answer_is_answered() {
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXTINF:4,\na-1.ts\n";
    for linked in [false, true] {
        let house = House::open("").await;
        let holder = Packager::start(move |target: &str, _: &str| {
            match target.starts_with("/live/a.m3u8") || target.starts_with("/live/v.m3u8") {
                true => Reply::ok("", format!("{list}#EXTINF:4,\na-2.ts\n")),
                false => Reply::missing(),
            }
        })
        .await;
        let place = holder.at;
        let _one = Packager::join(&house, "one", move |target: &str, _: &str| {
            let path = target.split('?').next().unwrap_or_default();
            match target {
                "/live/m.m3u8" => Reply::ok("", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nv.m3u8\n"),
                "/live/a.m3u8" | "/live/v.m3u8" => Reply::ok("", list),
                _ => {
                    let location = format!("Location: http://{place}{path}?_HLS_msn=2\r\n");
                    Reply::with("302 Found", &location, "")
                }
            }
        })
        .await;
        let reload = match linked {
            false => {
                get(house.at.http, "/live/a.m3u8").await;
                "/live/a.m3u8?_HLS_msn=2".to_owned()
            }
            true => {
                let (_, playlist) = get(house.at.http, "/live/m.m3u8").await;
                let variant = playlist.lines().last().expect("a variant");
                let (path, link) = variant.split_once('?').expect("a link");
                format!("/live/{path}?_HLS_msn=2&{link}")
            }
        };
        crate::http_origin::register(&house, "holder", holder.at);
        let (status, playlist) = get(house.at.http, &reload).await;
        assert_eq!(status, 200, "linked {linked}: {playlist}");
        assert!(playlist.starts_with("#EXTM3U\n"), "{playlist}");
        assert!(!holder.targets().is_empty(), "linked {linked}: it is asked");
    }
}

#[tokio::test]
async fn links_and_cookies_in_heads_are_for_clients() {
    let house = House::open("").await;
    let _origin = join(&house, "one", |_: &str, own: &str| {
        let (ip, _) = own.split_once(':').unwrap_or_default();
        let fields = format!(
            "Link: <http://{own}/live/a-2.m4s>; rel=preload; as=fetch, <https://cdn.example/b>; rel=preload\r\n\
             Content-Location: http://{own}/live/a.m3u8\r\nAlt-Svc: h3=\":443\"\r\n\
             Strict-Transport-Security: max-age=31536000\r\nNEL: {{}}\r\n\
             Set-Cookie: a=1; Domain=origin.internal; Path=/live\r\nSet-Cookie: b=2; Domain={ip}\r\n"
        );
        Reply::ok(&fields, "#EXTM3U\n")
    })
    .await;
    for target in ["/live/a.m3u8", "/live/a-1.m4s"] {
        let (status, head, _) = ask(house.at.http, "GET", target, "").await;
        assert_eq!(status, 200, "{head}");
        let links = header(&head, "link");
        let (own, others) = links[0].split_once(", ").expect("two");
        assert!(own.starts_with("</live/a-2.m4s?spbhid="), "{own}");
        assert!(own.ends_with(">; rel=preload; as=fetch"), "{own}");
        assert_eq!(others, "<https://cdn.example/b>; rel=preload");
        assert_eq!(header(&head, "content-location"), ["/live/a.m3u8"]);
        // A client that named us by the address that both have keeps the cookie of that address.
        let cookies = ["a=1; Path=/live", "b=2; Domain=127.0.0.1"];
        assert_eq!(header(&head, "set-cookie"), cookies, "{target}");
        for of_the_host in ["alt-svc", "strict-transport-security", "nel"] {
            assert!(header(&head, of_the_host).is_empty(), "{head}");
        }
    }
}

#[tokio::test]
async fn the_head_of_a_live_stream_names_no_origin() {
    for way in WAYS {
        let house = House::open("").await;
        let _origin = join(&house, "one", |_: &str, own: &str| {
            let fields = format!(
                "Location: http://{own}/live/b.flv?s=1\r\nAlt-Svc: h3=\":443\"\r\n\
                 Strict-Transport-Security: max-age=31536000\r\n\
                 Set-Cookie: a=1; Domain=origin.internal\r\n"
            );
            Reply::with("302 Found", &fields, "")
        })
        .await;
        let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv").await;
        let head = viewer.head().await;
        assert_eq!(header(&head, "location"), ["/live/b.flv?s=1"], "{way:?}");
        assert_eq!(header(&head, "set-cookie"), ["a=1"], "{way:?}");
        for of_the_host in ["alt-svc", "strict-transport-security"] {
            assert!(header(&head, of_the_host).is_empty(), "{way:?}: {head}");
        }
    }
}

/// An origin that sends every request on to `place` of the `node`.
async fn dispatcher(house: &House, node: std::net::SocketAddr, place: &'static str) -> Packager {
    let location = format!("Location: http://{node}{place}\r\n");
    let answers = move |_: &str, _: &str| Reply::with("302 Found", &location, "");
    Packager::join(house, "one", answers).await
}

const SOCKET: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                      Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n";

/// Who knows which node has a stream sends each viewer there with a token.
#[tokio::test]
async fn a_pull_asks_another_origin_for_what_the_redirect_says() {
    for (settings, said, asked, headers) in [
        ("", "/edge/x.ts?auth=1", "/edge/x.ts?auth=1", ""),
        ("", "/edge/x.ts?auth=1", "/edge/x.ts?auth=1", SOCKET),
        ("", "/edge/x.ts", "/edge/x.ts?tok=9", ""),
        (OPEN, "/edge/x.ts?auth=1", "/edge/x.ts?auth=1", ""),
    ] {
        for way in WAYS {
            let house = House::open(settings).await;
            let node = HttpOrigin::start(vec![say(STREAM), Step::Hold]).await;
            let sends = dispatcher(&house, node.at, said).await;
            crate::http_origin::register(&house, "node", node.at);
            let mut followed = 0;
            // Some are placed at the node at once.
            for number in 0..8 {
                let target = format!("/live/s{number}.ts?tok=9");
                let mut viewer = Viewer::pull_with(house.at.http, way, &target, headers).await;
                let head = viewer.head().await;
                assert!(head.starts_with("HTTP/1.1 200 "), "{way:?}, {said}: {head}");
                if sends
                    .targets()
                    .iter()
                    .any(|one| one.starts_with(&format!("/live/s{number}.")))
                {
                    let last = node.visits().last().cloned().expect("it was asked");
                    assert_eq!(
                        last.request_line(),
                        format!("GET {asked} HTTP/1.1"),
                        "{way:?}"
                    );
                    followed += 1;
                }
            }
            assert!(followed > 0, "one of the streams is placed at the other");
        }
    }
}

/// The token is for one viewer: whoever comes later is to be given one, too.
#[tokio::test]
async fn later_viewers_of_a_stream_are_sent_on_as_the_first_was() {
    for (cause, place, again) in [
        ("a token", "/live/a.flv?tok=9&auth=", true),
        ("another path", "/edge/", true),
        ("nothing of its own", "/live/a.flv", false),
    ] {
        for way in WAYS {
            let house = House::open("").await;
            let node = HttpOrigin::start(vec![say(STREAM), Step::Hold]).await;
            let at = node.at;
            let asked = Arc::new(AtomicUsize::new(0));
            let sends = Packager::join(&house, "one", move |_: &str, _: &str| {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                let number = if again {
                    number.to_string()
                } else {
                    String::new()
                };
                let location = format!("Location: http://{at}{place}{number}\r\n");
                Reply {
                    close: true,
                    ..Reply::with("302 Found", &location, "")
                }
            })
            .await;
            // The stream is placed where it is not before there is another.
            get(house.at.http, "/live/a.flv?tok=9").await;
            assert_eq!(house.origin_of("live/a").as_deref(), Some("one"), "{cause}");
            crate::http_origin::register(&house, "node", node.at);
            let mut viewers = Vec::new();
            for _ in 0..3 {
                let mut viewer = Viewer::pull(house.at.http, way, "/live/a.flv?tok=9").await;
                let head = viewer.head().await;
                assert!(
                    head.starts_with("HTTP/1.1 200 "),
                    "{cause}, {way:?}: {head}"
                );
                viewers.push(viewer);
            }
            let lines: Vec<String> = node
                .visits()
                .iter()
                .map(|visit| visit.request_line().to_owned())
                .collect();
            let own = |number: usize| match again && place.contains('?') {
                true => format!("GET {place}{number} HTTP/1.1"),
                false if again => format!("GET {place}{number}?tok=9 HTTP/1.1"),
                false => format!("GET {place}?tok=9 HTTP/1.1"),
            };
            let expected: Vec<String> = (1..=3).map(own).collect();
            assert_eq!(lines, expected, "{cause}, {way:?}");
            let (times, holder) = if again { (4, "one") } else { (2, "node") };
            assert_eq!(sends.count("/live/a.flv?tok=9"), times, "{cause}, {way:?}");
            assert_eq!(
                house.origin_of("live/a").as_deref(),
                Some(holder),
                "{cause}"
            );
            let rows = house.proxy.sessions().list();
            let on_node = |row: &&Arc<Row>| row.placed().origin == Some("node".into());
            assert_eq!(rows.iter().filter(on_node).count(), 3, "{cause}, {way:?}");
        }
    }
}

/// What a playlist lists is relative to where it is, and a token may be in its address.
#[tokio::test]
async fn a_playlist_that_another_origin_has_elsewhere_is_asked_for_by_its_player() {
    let house = House::open("").await;
    let node = Packager::start(|target: &str, _: &str| match target {
        "/edge/x.m3u8?auth=1" => {
            Reply::ok("", "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nx-1.ts\n")
        }
        _ => Reply::missing(),
    })
    .await;
    let _sends = dispatcher(&house, node.at, "/edge/x.m3u8?auth=1").await;
    get(house.at.http, "/live/a.m3u8").await;
    crate::http_origin::register(&house, "node", node.at);
    let place = sent_to(&house, "/live/a.m3u8").await;
    assert!(place.starts_with("/edge/x.m3u8?auth=1&spbhid="), "{place}");
    let (status, playlist) = get(house.at.http, &place).await;
    assert_eq!(status, 200, "{playlist}");
    assert!(playlist.contains("\nx-1.ts?spbhid="), "{playlist}");
}

/// What an extension of WHEP offers at the origin is at no path of ours.
#[tokio::test]
async fn a_caller_hears_of_no_place_at_its_origin() {
    let house = House::open("").await;
    let sdp = call::sdp("orig");
    let origin = Packager::start(move |_: &str, head: &str| {
        let fields = "Location: /call/1\r\nContent-Type: application/sdp\r\nContent-Location: /call/1/sdp\r\n\
            Link: </call/1/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"a,b\", <stun:stun.example>; rel=\"ice-server\"\r\n\
            Link: <ws://127.0.0.1:9/call/1/layers>; rel=\"urn:ietf:params:whep:ext:core:layer\"\r\n\
            Strict-Transport-Security: max-age=31536000\r\n\
            Set-Cookie: a=1; Domain=origin.internal; Path=/\r\n";
        match head.starts_with("OPTIONS ") {
            true => Reply::with("204 No Content", fields, ""),
            false => Reply::with("201 Created", fields, &sdp),
        }
    })
    .await;
    let media = tokio::net::UdpSocket::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let (api, rtc) = (origin.at.port(), media.local_addr().expect("bound").port());
    house.register_with("one", &format!(r#""api":["{api}"],"rtc":["{rtc}"]"#));
    let target = "/rtc/v1/whep/?app=live&stream=a";
    for (method, expected) in [("OPTIONS", 204), ("POST", 201)] {
        let (status, head, _) = ask(house.at.api, method, target, &call::sdp("clnt")).await;
        assert_eq!(status, expected, "{head}");
        let links = ["<stun:stun.example>; rel=\"ice-server\""];
        assert_eq!(header(&head, "link"), links, "{method}");
        assert_eq!(header(&head, "set-cookie"), ["a=1; Path=/"], "{method}");
        for name in ["content-location", "strict-transport-security"] {
            assert!(header(&head, name).is_empty(), "{method}: {head}");
        }
    }
}
