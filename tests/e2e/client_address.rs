//! An origin that wants to know the real client is told its address.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::Duration;

use crate::support::http::{self, Answer, Server};
use crate::support::machine::{self, Scratch};
use crate::support::program::Program;
use crate::support::{Proxy, Publisher, wait_for};

#[test]
fn an_http_origin_sees_the_viewer_its_host_and_its_query() {
    let _turn = machine::share();
    let origin = flv_origin();
    let proxy = Proxy::start("");
    proxy.register(&registration(origin.address));
    let headers = [
        "Host: video.example.com",
        "Referer: http://page.example.com/",
        "X-Forwarded-For: 198.51.100.7",
    ];
    let response = http::request_from(
        VIEWER,
        proxy.http,
        "GET",
        "/live/a.flv?token=x&b=%2F",
        &headers,
        "",
    );
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("video/x-flv"))
    );
    let asked = &origin.asked()[0];
    assert_eq!(asked.target, "/live/a.flv?token=x&b=%2F");
    assert_eq!(asked.header("host"), Some("video.example.com"));
    assert_eq!(asked.header("referer"), Some("http://page.example.com/"));
    assert_eq!(asked.header("x-forwarded-proto"), Some("http"));
    assert_eq!(asked.header("x-forwarded-host"), Some("video.example.com"));
    let seen = asked.header("x-forwarded-for").unwrap_or_default();
    assert_eq!(
        seen.split(',').next_back().map(str::trim),
        Some("127.0.0.2"),
        "{seen}"
    );
    assert!(
        !seen.contains("198.51.100.7"),
        "a viewer cannot say it is somebody else: {seen}"
    );
    let line = proxy.wait_log("session ended", |_| true);
    assert_eq!(ip(&line["client"]), VIEWER);
    assert!(line.get("peer").is_none(), "it came by itself: {line}");
}

#[test]
fn a_log_line_names_the_client_and_the_proxy_it_came_by() {
    let _turn = machine::share();
    let origin = flv_origin();
    let proxy = Proxy::start("http.trusted_proxies = [\"127.0.0.2\"]");
    proxy.register(&registration(origin.address));
    let headers = ["X-Forwarded-For: 203.0.113.7"];
    let response = http::request_from(VIEWER, proxy.http, "GET", "/live/a.flv", &headers, "");
    assert_eq!(response.status, 200);
    for message in ["session joined", "session ended"] {
        let line = proxy.wait_log(message, |_| true);
        assert_eq!(ip(&line["client"]).to_string(), "203.0.113.7", "{line}");
        assert_eq!(ip(&line["peer"]), VIEWER, "{line}");
    }
    // Each field of the line is explained in the documentation.
    let line = proxy.wait_log("session ended", |_| true);
    for field in line.as_object().expect("a line is an object").keys() {
        let explained = OBSERVABILITY.contains(&format!("`{field}`"))
            || OBSERVABILITY.contains(&format!("\"{field}\":"));
        assert!(explained, "{field}");
    }
}

fn ip(address: &serde_json::Value) -> IpAddr {
    let address = address.as_str().expect("an address");
    address.parse::<SocketAddr>().expect("with a port").ip()
}

#[test]
fn a_balancer_in_front_tells_the_client_by_the_proxy_protocol() {
    let _turn = machine::share();
    let origin = flv_origin();
    let proxy = Proxy::start("proxy_protocol.accept_from = [\"127.0.0.1\"]");
    proxy.register(&registration(origin.address));
    let (balancer, address) = haproxy(proxy.http);
    let response = http::request_from(VIEWER, address, "GET", "/live/a.flv", &[], "");
    assert_eq!(response.status, 200, "{}", response.text());
    assert_eq!(
        origin.asked()[0].header("x-forwarded-for"),
        Some("127.0.0.2")
    );
    let line = proxy.wait_log("session ended", |_| true);
    assert_eq!(ip(&line["client"]), VIEWER, "{line}");
    assert_eq!(ip(&line["peer"]), IpAddr::V4(Ipv4Addr::LOCALHOST), "{line}");
    drop(balancer);
}

#[test]
fn an_rtmp_origin_that_asks_for_it_gets_the_address_before_the_handshake() {
    let _turn = machine::share();
    let (told, silent) = (raw_origin(), raw_origin());
    let proxy =
        Proxy::start("origins.client_address_preamble = [\"srs\"]\nsession.dial_timeout = \"1s\"");
    for (server, listener) in [("srs", &told), ("other", &silent)] {
        let port = listener.local_addr().expect("it is bound").port();
        proxy.register(&serde_json::json!({
            "ip": "127.0.0.1", "server": server, "service": "s", "pid": "1", "rtmp": [port.to_string()],
        }));
    }
    // Neither origin answers, so each stream is tried on both.
    let _publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    let bytes = first_bytes::<8>(&told);
    assert_eq!(
        bytes[..7],
        [0xF3, 0, 4, 127, 0, 0, 1],
        "a mark, the length, the client's address"
    );
    assert_eq!(bytes[7], 3, "then the RTMP version");
    assert_eq!(first_bytes::<1>(&silent), [3], "others get RTMP at once");
}

fn flv_origin() -> Server {
    Server::start(|_| Answer {
        headers: vec![("Content-Type", "video/x-flv")],
        body: b"FLV\x01\x05\0\0\0\x09\0\0\0\0".to_vec(),
        ..Answer::status(200)
    })
}

fn registration(http: SocketAddr) -> serde_json::Value {
    let port = http.port().to_string();
    serde_json::json!({"ip": "127.0.0.1", "server": "web", "service": "s", "pid": "1", "rtmp": ["1"], "http": [port]})
}

fn raw_origin() -> TcpListener {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has ports")
}

fn first_bytes<const COUNT: usize>(listener: &TcpListener) -> [u8; COUNT] {
    listener.set_nonblocking(true).expect("a socket option");
    let mut stream = wait_for("the proxy dials", Duration::from_secs(40), || {
        listener.accept().ok()
    })
    .0;
    stream.set_nonblocking(false).expect("a socket option");
    stream
        .set_read_timeout(Some(Duration::from_secs(30)))
        .expect("a timeout that is not zero");
    let mut bytes = [0; COUNT];
    stream
        .read_exact(&mut bytes)
        .expect("the proxy speaks first");
    bytes
}

/// HAProxy as a TCP load balancer that sends PROXY protocol v2, and its address.
fn haproxy(to: SocketAddr) -> (Program, SocketAddr) {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, machine::free_port()));
    let scratch = Scratch::new("haproxy");
    let config = scratch.write(
        "haproxy.cfg",
        &format!(
            "defaults\n mode tcp\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             listen http\n bind {address}\n server proxy {to} send-proxy-v2\n"
        ),
    );
    let mut haproxy = Command::new(machine::installed(&["haproxy"]));
    let program = Program::start("haproxy", haproxy.arg("-db").arg("-f").arg(config)).abrupt();
    wait_for("haproxy listens", Duration::from_secs(40), || {
        machine::is_listening(address.port()).then_some(())
    });
    (program, address)
}

const OBSERVABILITY: &str = include_str!("../../docs/observability.md");
/// All of 127.0.0.0/8 is this machine, so a client can be told from the proxy.
const VIEWER: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
