//! Bans: who is met is refused everywhere and loses what it has, until the ban ends or is lifted.

use serde_json::Value;
use sluicegate_core::access::keys::line;
use sluicegate_core::events::Kind;
use sluicegate_core::stream::Action;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::house::{Guest, House, Manner, Stub, get, talk, until};
use crate::http_pieces::{Packager, Reply};
use crate::sources::open;

/// A proxy that lets in two key holders, `one` and `two`.
async fn keyed(more: &str) -> (House, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = ["one", "two"].map(|name| line(name, b"salt", &format!("key-of-{name}")));
    let lists = format!(
        "[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = {keys:?}\n[[access]]\nall = [\"keys\"]\n{more}"
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    (house, folder)
}

/// Asks the system API, and returns the status and the data.
async fn api(house: &House, method: &str, path: &str) -> (u16, Value) {
    let at = house.at.system;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    let (status, body) = talk(at, &request).await;
    let document: Value = serde_json::from_str(&body).unwrap_or_default();
    (status, document["data"].clone())
}

#[tokio::test]
async fn a_ban_ends_what_it_meets_and_refuses_it_until_it_is_lifted() {
    let (house, _folder) = keyed("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("origin", origin.at);
    let targets = [
        "address:127.0.0.0/8",
        "key:one",
        "viewer:one",
        "stream:live/a",
    ];
    for target in targets {
        let ask = async || house.ask(Action::Publish, "live/a?key=key-of-one").await;
        let mut publisher = ask().await;
        assert!(publisher.has_started(), "{target}: {}", publisher.code());
        let path = format!("/api/v1/bans?target={target}&for=1h&reason=a+test");
        let (status, banned) = api(&house, "POST", &path).await;
        assert_eq!((status, &banned["ended"]), (200, &1.into()), "{banned}");
        publisher.wait_for_end().await;
        house.until_sessions(0).await;

        let dialled = origin.connections();
        let refused = ask().await;
        assert_eq!(refused.code(), "NetStream.Publish.Denied", "{target}");
        assert_eq!(origin.connections(), dialled, "a refusal dials nobody");
        let (_, listed) = api(&house, "GET", "/api/v1/bans").await;
        assert_eq!(listed["bans"][0]["id"], banned["id"], "{listed}");
        assert_eq!(listed["bans"][0]["reason"], "a test", "{listed}");

        // By its target, and the last time by its id.
        let named = match target {
            "stream:live/a" => banned["id"].as_str().expect("an id"),
            target => target,
        };
        let path = format!("/api/v1/bans/{}", named.replace('/', "%2F"));
        assert_eq!(api(&house, "DELETE", &path).await.0, 200, "{target}");
        assert_eq!(api(&house, "DELETE", &path).await.0, 404, "lifted once");
        assert!(ask().await.has_started(), "{target} is lifted");
        house.until_sessions(0).await;
    }
    let (_, listed) = api(&house, "GET", "/api/v1/bans").await;
    assert_eq!(listed["total"], 0, "{listed}");
    let text = house.proxy.metrics().render();
    let ended =
        "sluicegate_sessions_ended_total{protocol=\"rtmp\",action=\"publish\",reason=\"banned\"} 4";
    assert!(text.contains(ended), "{text}");
}

#[tokio::test]
async fn a_ban_meets_only_whom_it_names() {
    let (house, _folder) = keyed("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("origin", origin.at);
    let publisher = house.ask(Action::Publish, "live/a?key=key-of-one").await;
    assert!(publisher.has_started(), "{}", publisher.code());
    for target in [
        "address:192.0.2.1",
        "key:two",
        "viewer:two",
        "token:one",
        "stream:live/b",
    ] {
        let path = format!("/api/v1/bans?target={target}&for=1h");
        let (status, banned) = api(&house, "POST", &path).await;
        assert_eq!((status, &banned["ended"]), (200, &0.into()), "{banned}");
    }
    assert_eq!(house.proxy.sessions().len(), 1);
    let player = house.ask(Action::Play, "live/a?key=key-of-one").await;
    assert!(player.has_started(), "{}", player.code());
}

#[tokio::test]
async fn a_ban_needs_a_target_and_an_end() {
    let house = House::open("").await;
    for (cause, query) in [
        ("no target", "for=1h"),
        ("a target of no kind", "target=one&for=1h"),
        ("no network", "target=address:here&for=1h"),
        ("no stream", "target=stream:&for=1h"),
        ("no end", "target=viewer:one"),
        ("no duration", "target=viewer:one&for=ever"),
        ("an end that is now", "target=viewer:one&for=0s"),
        ("an end that nobody sees", "target=viewer:one&for=400d"),
    ] {
        let (status, _) = api(&house, "POST", &format!("/api/v1/bans?{query}")).await;
        assert_eq!(status, 400, "{cause}");
    }
    assert!(house.proxy.sessions().bans().is_empty());
}

#[tokio::test]
async fn a_ban_ends_when_its_time_is_over() {
    let (house, _folder) = keyed("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("origin", origin.at);
    let path = "/api/v1/bans?target=viewer:one&for=1s";
    assert_eq!(api(&house, "POST", path).await.0, 200);
    let started = async || {
        let guest = house.ask(Action::Publish, "live/a?key=key-of-one").await;
        guest.has_started()
    };
    crate::house::until_told("the ban is over", started).await;
}

/// A live playlist, which is everybody's, and its piece.
fn live(target: &str, _: &str) -> Reply {
    match target.split('?').next().unwrap_or_default() {
        "/live/a.m3u8" => Reply::ok(
            "Content-Type: application/vnd.apple.mpegurl\r\nCache-Control: public, max-age=60\r\n",
            "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4,\na-7.ts\n",
        ),
        "/live/a-7.ts" => Reply::ok("Cache-Control: max-age=60\r\n", "piece"),
        _ => Reply::missing(),
    }
}

/// The only URI of a playlist, as its player asks for it.
fn listed(playlist: &str) -> String {
    let line = playlist.lines().find(|line| !line.starts_with('#'));
    format!("/live/{}", line.expect("a URI"))
}

#[tokio::test]
async fn a_ban_stops_the_links_of_a_viewing_and_of_no_other() {
    let (house, _folder) = keyed("").await;
    let _origin = Packager::join(&house, "origin", live).await;
    let begin = async |key: &str| {
        let (status, master) = get(house.at.http, &format!("/live/a.m3u8?key={key}")).await;
        assert_eq!(status, 200, "{master}");
        let variant = listed(&master);
        let (status, media) = get(house.at.http, &variant).await;
        assert_eq!(status, 200, "{media}");
        (variant, listed(&media))
    };
    let one = begin("key-of-one").await;
    let two = begin("key-of-two").await;
    assert_ne!(one.1, two.1, "each viewer has links of its own");
    let status = async |uri: &str| get(house.at.http, uri).await.0;
    assert_eq!(
        api(&house, "POST", "/api/v1/bans?target=viewer:one&for=1h")
            .await
            .0,
        200
    );
    assert_eq!((status(&one.0).await, status(&one.1).await), (403, 403));
    assert_eq!((status(&two.0).await, status(&two.1).await), (200, 200));
    assert_eq!(
        api(&house, "DELETE", "/api/v1/bans/viewer:one").await.0,
        200
    );
    assert_eq!((status(&one.0).await, status(&one.1).await), (200, 200));
    let path = "/api/v1/bans?target=stream:live/a&for=1h";
    assert_eq!(api(&house, "POST", path).await.0, 200);
    assert_eq!((status(&two.0).await, status(&two.1).await), (403, 403));
}

#[tokio::test]
async fn a_ban_that_names_a_vhost_holds_there_only() {
    let house = House::open("[placement]\nvhosts = \"ignored\"\n").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("origin", origin.at);
    let url = |vhost: &str| format!("rtmp://{vhost}/live");
    let ask = async |vhost: &str| {
        let mut guest = Guest::call_url(house.at.rtmp, Action::Play, &url(vhost), "x").await;
        while !guest.has_heard() && guest.step().await {}
        guest
    };
    let mut one = ask("a.example").await;
    let two = ask("b.example").await;
    assert!(one.has_started() && two.has_started());
    let path = "/api/v1/bans?target=stream:a.example/live/x&for=1h";
    let (status, banned) = api(&house, "POST", path).await;
    assert_eq!((status, &banned["ended"]), (200, &1.into()), "{banned}");
    one.wait_for_end().await;
    assert!(!ask("a.example").await.has_started());
    assert!(ask("b.example").await.has_started());
    assert!(ask("localhost").await.has_started(), "nobody else's");

    let path = "/api/v1/bans?target=stream:live/x&for=1h";
    assert_eq!(api(&house, "POST", path).await.0, 200);
    for vhost in ["a.example", "b.example", "localhost"] {
        assert!(!ask(vhost).await.has_started(), "one stream: {vhost}");
    }
    let path = "/api/v1/bans/stream:live%2Fx";
    assert_eq!(api(&house, "DELETE", path).await.0, 200);
    assert!(ask("b.example").await.has_started());
    assert!(
        !ask("a.example").await.has_started(),
        "each is a ban of its own"
    );
}

#[tokio::test]
async fn viewers_of_one_playlist_share_it_and_each_keeps_its_links() {
    let (house, _folder) = keyed("").await;
    let origin = Packager::join(&house, "origin", live).await;
    let mut variants = Vec::new();
    for key in ["key-of-one", "key-of-two"] {
        let (_, master) = get(house.at.http, &format!("/live/a.m3u8?key={key}")).await;
        variants.push(listed(&master));
    }
    let mut pieces = Vec::new();
    for variant in variants.iter().cycle().take(6) {
        let request = format!(
            "GET {variant} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            house.at.http
        );
        let (status, whole) = talk(house.at.http, &request).await;
        assert_eq!(status, 200, "{whole}");
        pieces.push(listed(&whole));
    }
    let (one, two) = (&pieces[0], &pieces[1]);
    assert!(
        pieces
            .chunks(2)
            .all(|pair| pair == [one.clone(), two.clone()]),
        "a link is the same at each reload: {pieces:?}"
    );
    assert_ne!(one, two);
    let link = one.split_once("spbhid=").expect("a link").1;
    let playlist = format!("/live/a.m3u8?spbhid={link}");
    assert_eq!(
        get(house.at.http, &playlist).await.0,
        401,
        "the link of a piece is good for pieces"
    );
    until("the origin was asked", || !origin.targets().is_empty()).await;
    assert!(
        origin
            .targets()
            .iter()
            .all(|target| !target.contains("spbhid"))
    );
}

#[tokio::test]
async fn a_link_opens_nothing_but_what_is_its_streams() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = [line("one", b"salt", "key-of-one")];
    let lists = format!(
        "[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = {keys:?}\n\
         [[access]]\nstream = \"free*\"\ndecide = \"allow\"\n\
         [[access]]\nstream = \"odd*\"\nall = [\"keys\"]\n\
         [[access]]\ndecide = \"deny\"\n"
    );
    let house = open(&folder.path().join("sluicegate.toml"), &lists).await;
    let origin = Packager::join(&house, "origin", |target, _| {
        match target.split('?').next().unwrap_or_default() {
            path if path.ends_with(".m3u8") => Reply::ok(
                "Content-Type: application/vnd.apple.mpegurl\r\n",
                "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfree-0.ts\n",
            ),
            _ => Reply::ok("", "piece"),
        }
    })
    .await;
    let status = async |uri: &str| get(house.at.http, uri).await.0;
    let mut links = Vec::new();
    for begin in ["/live/free.m3u8", "/live/odd.m3u8?key=key-of-one"] {
        let (status, playlist) = get(house.at.http, begin).await;
        assert_eq!(status, 200, "{playlist}");
        let (_, link) = playlist.split_once("?spbhid=").expect("a link");
        links.push(link.lines().next().expect("a line").to_owned());
    }
    assert_eq!(
        status(&format!("/live/free-0.ts?spbhid={}", links[0])).await,
        200
    );
    let asked = origin.targets().len();
    let paths = [
        ("another playlist", "/live/secret.m3u8", 403),
        ("another's piece", "/live/secret-1.ts", 403),
        ("of another app", "/pay/secret-1.ts", 403),
        ("a manifest", "/live/secret.mpd", 403),
        ("a folder up", "/live/free/../secret-1.ts", 400),
        ("escaped", "/live/free/%2e%2e/secret-1.ts", 400),
        ("an escaped slash", "/live/free/..%2fsecret-1.ts", 400),
    ];
    for (cause, path, expected) in paths {
        for (of, link) in ["free", "odd"].iter().zip(&links) {
            for key in ["", "&key=key-of-one"] {
                let uri = format!("{path}?spbhid={link}{key}");
                assert_eq!(
                    status(&uri).await,
                    expected,
                    "{cause}, by the link of {of}{key}"
                );
            }
        }
    }
    let odd = format!("/live/odd-1.ts?spbhid={}", links[0]);
    assert_eq!(status(&odd).await, 401, "it wants a key of its own");
    assert_eq!(status(&format!("{odd}&key=key-of-one")).await, 200);
    assert_eq!(
        origin.targets().len(),
        asked + 1,
        "a refusal asks no origin"
    );

    let path = "/api/v1/bans?target=stream:live/free2&for=1h";
    assert_eq!(api(&house, "POST", path).await.0, 200);
    let banned = format!("/live/free2-1.ts?spbhid={}", links[0]);
    assert_eq!(status(&banned).await, 403, "a ban counts for its pieces");
}

#[tokio::test]
async fn a_change_is_told_also_where_its_caller_leaves() {
    let house = House::open("").await;
    // It takes connections, and says nothing.
    let origin = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    house.register("one", origin.local_addr().expect("an address"));
    let mut caller = TcpStream::connect(house.at.system)
        .await
        .expect("it listens");
    let probe =
        "POST /api/v1/origins/one/probe HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n";
    caller.write_all(probe.as_bytes()).await.expect("it reads");
    let _asked = origin.accept().await.expect("it is probed");
    drop(caller);
    let journal = &house.proxy.metrics().journal;
    until("it is told", || {
        let mut told = Vec::new();
        journal.look(Kind::Audit, |event| told.push(event.news.what.clone()));
        told.iter()
            .any(|what| what.starts_with("POST /api/v1/origins/one/probe: "))
    })
    .await;
}

#[tokio::test]
async fn an_audit_says_whom_a_change_concerned() {
    let house = House::open("").await;
    let origin = Stub::start(Manner::Grants).await;
    house.register("one", origin.at);
    let publisher = house.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    let session = house.proxy.sessions().list()[0].id;
    let banned = "/api/v1/bans?for=1h&target=";
    let (_, ban) = api(&house, "POST", &format!("{banned}viewer:seven")).await;
    let id = ban["id"].as_str().expect("an id").to_owned();
    let stream = "__defaultVhost__/live/a";
    // A method and a path; the stream, the origin, and what is said of the request.
    let disable = "/api/v1/origins/one/disable";
    let rows = [
        (
            ("DELETE", format!("/api/v1/bans/{id}")),
            ("", "", "/api/v1/bans/{ban} (viewer:seven): 200".to_owned()),
        ),
        (
            ("DELETE", "/api/v1/bans/0123456789abcdef".to_owned()),
            (
                "",
                "",
                "/api/v1/bans/{ban} (0123456789abcdef): 404".to_owned(),
            ),
        ),
        (
            ("DELETE", "/api/v1/bans/a%20secret".to_owned()),
            ("", "", "/api/v1/bans/{ban}: 404".to_owned()),
        ),
        (
            ("POST", format!("{banned}stream:live/b")),
            (
                "__defaultVhost__/live/b",
                "",
                "/api/v1/bans (stream:__defaultVhost__/live/b): 200".to_owned(),
            ),
        ),
        (
            ("POST", format!("{banned}a-secret")),
            ("", "", "/api/v1/bans: 400".to_owned()),
        ),
        (
            ("POST", disable.to_owned()),
            ("", "one", format!("{disable}: 409")),
        ),
        (
            ("POST", format!("{disable}?force=true")),
            ("", "one", format!("{disable}: 200")),
        ),
        (
            ("POST", "/api/v1/origins/one/probe".to_owned()),
            ("", "one", "/api/v1/origins/one/probe: 200".to_owned()),
        ),
        (
            ("POST", "/api/v1/moves?stream=live/a&to=two".to_owned()),
            (stream, "two", "/api/v1/moves: 409".to_owned()),
        ),
        // Who asks this proxy alone is told of as well.
        (
            (
                "POST",
                "/api/v1/preview?stream=live/a&scope=local".to_owned(),
            ),
            (stream, "", "/api/v1/preview: ".to_owned()),
        ),
        (
            ("POST", format!("{disable}?scope=local&force=true")),
            ("", "one", format!("{disable}: 200")),
        ),
        (
            ("DELETE", format!("/api/v1/sessions/{session}")),
            (stream, "", format!("/api/v1/sessions/{session}: 200")),
        ),
        (
            ("DELETE", "/api/v1/streams/live/a?origin=two".to_owned()),
            (stream, "two", "/api/v1/streams/{*stream}: ".to_owned()),
        ),
        (
            ("DELETE", "/api/v1/streams/live/a".to_owned()),
            (stream, "", "/api/v1/streams/{*stream}: ".to_owned()),
        ),
    ];
    for ((method, path), (stream, origin, what)) in rows {
        api(&house, method, &path).await;
        let mut told = Vec::new();
        let journal = &house.proxy.metrics().journal;
        journal.look(Kind::Audit, |event| told.push(event.clone()));
        let last = told.iter().max_by_key(|event| event.number);
        let news = &last.expect("an event").news;
        assert_eq!((&*news.stream, &*news.origin), (stream, origin), "{path}");
        assert_eq!(news.client, "127.0.0.1", "{path}");
        let expected = format!("{method} {what}");
        assert!(news.what.starts_with(&expected), "{path}: {}", news.what);
    }
}
