//! Passphrases are between callers and origins: the proxy knows none, and passes on both the keys and the refusals.

use crate::support::srt::call;
use crate::support::{Player, Proxy, Publisher, SrtOrigin, machine};

#[test]
fn encrypted_streams_pass_and_a_wrong_passphrase_is_refused_by_the_origin() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    let origin = SrtOrigin::encrypted(&proxy, "origin1", PASSPHRASE);
    for bytes in [16, 32] {
        let stream = format!("live/aes{}", bytes * 8);
        let keys = format!("&passphrase={PASSPHRASE}&pbkeylen={bytes}");
        let publisher = Publisher::srt(&format!("{}{keys}", proxy.srt_publish(&stream))).start();
        publisher.wait_frames(25);
        origin.wait_said(&format!("publish {stream}"));
        Player::frames(&format!("{}{keys}", proxy.srt_play(&stream)), 50);
    }
    let id = "#!::r=live/wrong,m=publish";
    assert_eq!(
        call(proxy.srt, id, Some("another-passphrase")),
        "rejected 10"
    );
    assert_eq!(call(proxy.srt, id, None), "rejected 11");
    assert_eq!(call(proxy.srt, id, Some(PASSPHRASE)), "joined");
    let refused = proxy.wait_log("refused", |_| true);
    assert_eq!(
        refused["detail"],
        "origin1: its origin rejected it with SRT code 10"
    );
}

#[test]
fn an_origins_reasons_reach_the_caller() {
    let _turn = machine::share();
    let proxy = Proxy::start("");
    let _origin = SrtOrigin::start(&proxy, "origin1");
    for (cause, stream_id, said) in [
        ("it is taken", "#!::r=live/a,m=publish", "joined"),
        (
            "nobody publishes it",
            "#!::r=live/b,m=request",
            "rejected 1404",
        ),
        (
            "it is forbidden",
            "#!::r=secret/a,m=publish",
            "rejected 1403",
        ),
        ("it names no stream", "#!::m=publish", "rejected 1400"),
        ("it names nothing", "", "rejected 1400"),
    ] {
        assert_eq!(call(proxy.srt, stream_id, None), said, "{cause}");
    }
    let empty = Proxy::start("");
    assert_eq!(
        call(empty.srt, "live/a", None),
        "rejected 1503",
        "no origin"
    );
}

const PASSPHRASE: &str = "long-enough-passphrase";
