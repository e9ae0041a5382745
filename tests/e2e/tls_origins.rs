//! Real origins behind a real TLS terminator: HAProxy before nginx-rtmp.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::machine::{self, Scratch};
use crate::support::program::Program;
use crate::support::{NginxRtmp, Origin, Player, Proxy, Publisher, wait_for};
use crate::tls_client::Authority;

/// HAProxy that ends TLS with a certificate for localhost.
struct Terminator {
    rtmp: u16,
    http: u16,
    _program: Program,
    _scratch: Scratch,
}

impl Terminator {
    fn before(origin: &NginxRtmp, authority: &Authority) -> Self {
        let scratch = Scratch::new("terminator");
        let (certificate, key) = authority.sign("origin", "localhost");
        let both = [certificate, key].map(|file| std::fs::read_to_string(file).expect("a file"));
        let pem = scratch.write("origin.pem", &both.concat());
        let [rtmp, http] = [machine::free_port(), machine::free_port()];
        let listen = |name: &str, port: u16, to: SocketAddr| {
            let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            format!(
                "listen {name}\n bind {at} ssl crt {}\n server origin {to}\n",
                pem.display()
            )
        };
        let config = scratch.write(
            "haproxy.cfg",
            &format!(
                "defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n{}{}",
                listen("rtmp", rtmp, origin.rtmp()),
                listen("http", http, origin.http().expect("it packages"))
            ),
        );
        let mut haproxy = Command::new(machine::installed(&["haproxy"]));
        let program = Program::start("haproxy", haproxy.arg("-db").arg("-f").arg(config)).abrupt();
        wait_for("haproxy listens", Duration::from_secs(40), || {
            [rtmp, http]
                .into_iter()
                .all(machine::is_listening)
                .then_some(())
        });
        Self {
            rtmp,
            http,
            _program: program,
            _scratch: scratch,
        }
    }

    fn registration(&self, id: &str) -> serde_json::Value {
        json!({
            "ip": "localhost", "server": id, "service": "by-hand", "pid": "1",
            "rtmp": [format!("rtmps://localhost:{}", self.rtmp)],
            "http": [format!("https://localhost:{}", self.http)],
        })
    }
}

#[test]
fn streams_go_through_tls_to_their_origin_and_back() {
    let _turn = machine::share();
    let authority = Authority::new();
    let origin = NginxRtmp::packaging("secure");
    let terminator = Terminator::before(&origin, &authority);
    let proxy = Proxy::start(&format!("tls.authorities = {:?}", authority.own()));
    proxy.register(&terminator.registration("secure"));
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let player = Player::open(&proxy.rtmp_url("live/a"));
    player.wait_frames(50);
    let playlist = format!("http://{}/live/a.m3u8", proxy.http);
    Player::open(&playlist).wait_frames(50);
    player.wait_more(50);
    assert!(origin.was_published("live/a"));
}

#[test]
fn an_origin_that_nobody_vouches_for_is_left_alone() {
    let _turn = machine::share();
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (good, bad) = (NginxRtmp::packaging("good"), NginxRtmp::packaging("bad"));
    let doors = [
        Terminator::before(&good, &authority),
        Terminator::before(&bad, &stranger),
    ];
    let proxy = Proxy::start(&format!("tls.authorities = {:?}", authority.own()));
    proxy.register(&doors[1].registration("bad"));
    let refused = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    wait_for("the reason is in the log", Duration::from_secs(40), || {
        proxy
            .output()
            .contains("its certificate is signed by nobody who is trusted here")
            .then_some(())
    });
    drop(refused);
    proxy.register(&doors[0].registration("good"));
    Publisher::clip(&proxy.rtmp_url("live/b"))
        .start()
        .wait_frames(5);
    assert!(good.was_published("live/b") && !bad.was_published("live/a"));
}
