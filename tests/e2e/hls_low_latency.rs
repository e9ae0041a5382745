//! Low-Latency HLS: reloads are held for as long as the origin holds them, and hls.js takes part by part.

use crate::support::{LowLatency, Origin, Page, Proxy, machine};

#[test]
fn hls_js_plays_parts_and_its_reloads_are_held() {
    let _turn = machine::share();
    let origin = LowLatency::start("low-latency");
    let proxy = Proxy::start("");
    proxy.register(&origin.registration());
    let page = Page::hls(&format!("http://{}/live/ll/master.m3u8", proxy.http));
    page.wait_frames(150);
    let asked = origin.asked();
    let count = |pick: fn(&str) -> bool| asked.iter().filter(|asked| pick(&asked.target)).count();
    let reloads = count(|target| target.contains("_HLS_msn=") && target.contains("_HLS_part="));
    let parts = count(|target| target.matches('.').count() == 2 && target.ends_with(".m4s"));
    assert!(reloads > 5, "{reloads} blocking reloads");
    assert!(parts > 5, "{parts} parts");
    assert!(origin.held() > 3, "{} held", origin.held());
    assert_eq!(
        count(|target| target.contains("spbhid")),
        0,
        "links stay with us"
    );
}
