//! Behind a web server that serves this proxy in a folder of its site: it takes the folder off every request, and says so.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::call::{CallOrigin, location};
use crate::house::{House, PATIENCE};
use crate::http_origin::{HttpOrigin, Step, header, say};
use crate::silent_origins::OFFER;

const TRUSTED: &str = "[http]\ntrusted_proxies = [\"127.0.0.0/8\"]\n";
const TOKEN: &str =
    "[system]\nauth_enabled = true\nauth_type = \"bearer\"\nauth_token = \"s3cret\"\n";
const PREFIX: &str = "X-Forwarded-Prefix: /media\r\n";

/// A web server whose folder `/media` is the listener `to`. It adds `says` to the head of each request.
struct Front {
    at: SocketAddr,
    serving: JoinHandle<()>,
}

impl Front {
    async fn start(to: SocketAddr, says: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let at = listener.local_addr().expect("bound");
        let serving = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, to, says));
            }
        });
        Self { at, serving }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// Passes a connection with one request on it.
async fn pass(mut client: TcpStream, to: SocketAddr, says: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match client.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).expect("a head");
    let (line, rest) = head.split_once("\r\n").expect("a line");
    let (method, target) = line.split_once(' ').expect("a method");
    let Some(target) = target.strip_prefix("/media") else {
        let nothing = b"HTTP/1.1 404 Not Found\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        let _ = client.write_all(nothing).await;
        return;
    };
    let mut server = TcpStream::connect(to).await.expect("it listens");
    let head = format!("{method} {target}\r\n{says}{rest}");
    let _ = server.write_all(head.as_bytes()).await;
    let _ = copy_bidirectional(&mut client, &mut server).await;
}

/// The whole answer to a request with these lines of its head.
async fn ask(at: SocketAddr, method: &str, target: &str, lines: &str, body: &str) -> String {
    let length = body.len();
    send(
        at,
        &format!(
            "{method} {target} HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n{lines}Content-Length: {length}\r\n\r\n{body}"
        ),
    )
    .await
}

/// The whole answer to a request that ends its connection.
async fn send(at: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(at).await.expect("it listens");
    let sent = socket.write_all(request.as_bytes()).await;
    sent.expect("it reads");
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut answer)).await;
    read.expect("an answer in time").expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn get(at: SocketAddr, target: &str) -> String {
    ask(at, "GET", target, "", "").await
}

/// What an origin answers with.
fn answer(status: &str, lines: &str, body: &str) -> Vec<Step> {
    let length = body.len();
    vec![say(format!(
        "HTTP/1.1 {status}\r\n{lines}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    ))]
}

const PLAYLIST: &str =
    "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\n/live/1.ts\n#EXTINF:4,\n2.ts\n";

/// The links of a playlist.
fn links(answer: &str) -> Vec<&str> {
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    body.lines().filter(|line| !line.starts_with('#')).collect()
}

#[tokio::test]
async fn links_lead_back_through_the_folder_and_only_a_believed_proxy_names_one() {
    let set = "[http]\nbase_path = \"/set\"\n";
    let both = format!("{TRUSTED}base_path = \"/set\"\n");
    let twice = "X-Forwarded-Prefix: /media\r\nX-Forwarded-Prefix: /other\r\n";
    let elsewhere = "X-Forwarded-Prefix: //evil.example\r\n";
    let rows = [
        ("a believed proxy", TRUSTED, PREFIX, "/media/live/1.ts?"),
        ("a stranger", "", PREFIX, "/live/1.ts?"),
        ("a setting", set, "", "/set/live/1.ts?"),
        ("a setting, and a stranger", set, PREFIX, "/set/live/1.ts?"),
        (
            "a setting, and a believed proxy",
            &both,
            PREFIX,
            "/media/live/1.ts?",
        ),
        (
            "no prefix",
            &both,
            "X-Forwarded-Prefix: \r\n",
            "/live/1.ts?",
        ),
        ("two prefixes", TRUSTED, twice, "/live/1.ts?"),
        ("a server for a prefix", TRUSTED, elsewhere, "/live/1.ts?"),
        ("no folder", TRUSTED, "", "/live/1.ts?"),
    ];
    for (cause, settings, says, expected) in rows {
        let house = House::open(settings).await;
        let origin = HttpOrigin::join(&house, "one", answer("200 OK", "", PLAYLIST)).await;
        let front = Front::start(house.at.http, says).await;
        let answered = get(front.at, "/media/live/a.m3u8").await;
        let links = links(&answered);
        assert!(links[0].starts_with(expected), "{cause}: {answered}");
        assert!(links[1].starts_with("2.ts?"), "{cause}: {answered}");
        let visit = origin.visit(0).await;
        assert_eq!(visit.request_line(), "GET /live/a.m3u8 HTTP/1.1", "{cause}");
        assert!(visit.all("x-forwarded-prefix").is_empty(), "{cause}");
        if links[0].starts_with("/media/") {
            let piece = get(front.at, links[0]).await;
            assert!(piece.starts_with("HTTP/1.1 200"), "{cause}: {piece}");
            let visit = origin.visit(1).await;
            assert_eq!(visit.request_line(), "GET /live/1.ts HTTP/1.1", "{cause}");
        }
    }
}

#[tokio::test]
async fn a_kept_playlist_of_one_folder_is_not_given_in_another() {
    let settings = format!("{TRUSTED}share = \"all\"\ncache_megabytes = 10\n");
    let house = House::open(&settings).await;
    let origin = HttpOrigin::join(&house, "one", answer("200 OK", "", PLAYLIST)).await;
    let media = Front::start(house.at.http, PREFIX).await;
    let tv = Front::start(house.at.http, "X-Forwarded-Prefix: /tv\r\n").await;
    for (front, expected) in [(&media, "/media/live/1.ts?"), (&tv, "/tv/live/1.ts?")] {
        for _ in 0..2 {
            let answered = get(front.at, "/media/live/a.m3u8").await;
            assert!(links(&answered)[0].starts_with(expected), "{answered}");
        }
    }
    let straight = get(house.at.http, "/live/a.m3u8").await;
    assert!(links(&straight)[0].starts_with("/live/1.ts?"), "{straight}");
    assert!(origin.visits().len() >= 3, "each folder has its own");
}

#[tokio::test]
async fn redirects_and_cookies_stay_in_the_folder() {
    let lines = "Location: /live/a.m3u8?cookieCheck=1\r\nSet-Cookie: s=1; Path=/live; HttpOnly\r\nSet-Cookie: t=2\r\n";
    for target in ["/media/live/a.m3u8", "/media/live/a-1.ts"] {
        let house = House::open(TRUSTED).await;
        let _origin = HttpOrigin::join(&house, "one", answer("302 Found", lines, "")).await;
        let front = Front::start(house.at.http, PREFIX).await;
        let answered = get(front.at, target).await;
        let (head, _) = answered.split_once("\r\n\r\n").expect("a head");
        let place = header(head, "location")[0];
        let expected = "/media/live/a.m3u8?cookieCheck=1&spbhid=";
        assert!(place.starts_with(expected), "{target}: {place}");
        let expected = ["s=1; Path=/media/live; HttpOnly", "t=2"];
        assert_eq!(header(head, "set-cookie"), expected, "{target}");
    }
}

#[tokio::test]
async fn the_resource_of_a_call_is_in_the_folder() {
    let house = House::open(TRUSTED).await;
    let origin = CallOrigin::start().await;
    house.register_with("one", &origin.endpoints());
    let front = Front::start(house.at.api, PREFIX).await;
    let offer = "/media/rtc/v1/whip/?app=live&stream=a";
    let kind = "Content-Type: application/sdp\r\n";
    let answered = ask(front.at, "POST", offer, kind, OFFER).await;
    assert!(answered.starts_with("HTTP/1.1 201"), "{answered}");
    let resource = location(&answered);
    assert!(resource.starts_with("/media/rtc/v1/session/"), "{resource}");
    let ended = ask(front.at, "DELETE", &resource, "", "").await;
    assert!(ended.starts_with("HTTP/1.1 200"), "{ended}");
    let told = origin.requests();
    assert_eq!(told.last().map(String::as_str), Some("DELETE /call/1"));
}

#[tokio::test]
async fn links_that_are_shown_lead_through_the_folder_to_those_who_came_through_it() {
    let set = "[http]\nbase_path = \"/media\"\n";
    let both = format!("{TRUSTED}base_path = \"/set\"\n");
    let through = "http://HOST/media/live/a.flv";
    let straight = "http://localhost:HTTP/live/a.flv";
    for (cause, settings, host, lines, expected) in [
        ("by the web server", set, "localhost", "", through),
        ("at its port", set, "localhost:8443", "", through),
        ("without it", set, "localhost:SYSTEM", "", straight),
        (
            "by one that we are told of, at a port like ours",
            &both,
            "localhost:SYSTEM",
            PREFIX,
            through,
        ),
        ("in no folder", "", "localhost", "", straight),
    ] {
        // By what a web server says, no caller is on this machine: it shows a token.
        let house = House::open(&format!("{TOKEN}{settings}")).await;
        let host = host.replace("SYSTEM", &house.at.system.port().to_string());
        let http = house.at.http.port().to_string();
        let expected = expected.replace("HOST", &host).replace("HTTP", &http);
        let request = format!(
            "GET /api/v1/links?stream=live/a HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\
             Authorization: Bearer s3cret\r\n{lines}\r\n"
        );
        let answered = send(house.at.system, &request).await;
        let quoted = format!("\"{expected}\"");
        assert!(answered.contains(&quoted), "{cause}: {answered}");
    }
}

#[tokio::test]
async fn a_login_to_the_console_is_kept_for_the_folder_alone() {
    let house = House::open(&format!("{TOKEN}{TRUSTED}")).await;
    let front = Front::start(house.at.system, PREFIX).await;
    let page = get(front.at, "/media/console").await;
    assert!(header(&page, "location") == ["console/"], "{page}");
    let json = "Content-Type: application/json\r\nX-Sluicegate: 1\r\n";
    let typed = r#"{"token":"s3cret"}"#;
    let answered = ask(front.at, "POST", "/media/console/login", json, typed).await;
    assert!(answered.starts_with("HTTP/1.1 200"), "{answered}");
    let cookies = header(&answered, "set-cookie");
    let cookie = cookies.first().copied().unwrap_or_default();
    assert!(cookie.ends_with("; Path=/media/"), "{cookie}");
    let (pass, _) = cookie.split_once(';').expect("a pass");
    let me = ask(
        front.at,
        "GET",
        "/media/console/me",
        &format!("Cookie: {pass}\r\n"),
        "",
    )
    .await;
    assert!(me.contains(r#""is_logged_in":true"#), "{me}");
    let out = format!("{json}Cookie: {pass}\r\n");
    let answered = ask(front.at, "POST", "/media/console/logout", &out, "").await;
    let cookies = header(&answered, "set-cookie");
    assert!(
        cookies[0].contains("; Path=/media/; Max-Age=0"),
        "{answered}"
    );
}
