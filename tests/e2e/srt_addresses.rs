//! SRT on addresses of both families, in front of an origin that has only IPv4.

use crate::support::srt::srt_url;
use crate::support::{Player, Proxy, Publisher, SrtOrigin, machine};

#[test]
fn callers_by_ipv6_and_by_ipv4_meet_at_an_origin_by_ipv4() {
    let _turn = machine::share();
    let proxy = Proxy::start("srt.listen = [\"127.0.0.1:0\", \"[::1]:0\"]");
    let _origin = SrtOrigin::start(&proxy, "origin1");
    let [v4, v6] = proxy.addresses("srt")[..] else {
        panic!("two addresses: {}", proxy.output());
    };
    assert!(v4.is_ipv4() && v6.is_ipv6(), "{v4} {v6}");
    for (publisher, player, stream) in [(v6, v4, "live/a"), (v4, v6, "live/b")] {
        let id = |mode: &str| format!("#!::r={stream},m={mode}");
        let publisher = Publisher::srt(&srt_url(publisher, &id("publish"))).start();
        publisher.wait_frames(25);
        Player::frames(&srt_url(player, &id("request")), 50);
    }
}
