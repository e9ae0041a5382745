//! Low-Latency HLS: reloads are held for as long as the origin holds them, and hls.js takes part by part.

use crate::support::browser::Browser;
use crate::support::machine::{self, Scratch};
use crate::support::{LowLatency, Origin, Page, Proxy};
use crate::tls_client::Authority;

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

#[test]
fn hls_js_plays_parts_over_http_2() {
    let _turn = machine::share();
    let origin = LowLatency::start("low-latency");
    let authority = Authority::new();
    let folder = Scratch::new("page");
    let settings = format!(
        "http.static_files = {:?}\n{}",
        folder.path(),
        authority.dotted()
    );
    let proxy = Proxy::start(&settings);
    proxy.register(&origin.registration());
    Page::write_hls(folder.path(), "/live/ll/master.m3u8");
    // A page of the same origin hears by which protocol each of its files came.
    let script = "for (;;) {
        if (document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames >= 150) break;
        if (!problem.hidden) return { problem: problem.textContent };
        await new Promise((resolve) => setTimeout(resolve, 100));
    }
    // One that hls.js has given up has no protocol.
    const all = performance.getEntriesByType('resource').filter((one) => /m3u8|m4s/.test(one.name) && one.nextHopProtocol);
    return { protocols: [...new Set(all.map((one) => one.nextHopProtocol))], count: all.length };";
    let url = format!("https://localhost:{}/player.html", proxy.http.port());
    let said = Browser::run_trusting(&url, script).wait_said();
    assert_eq!(said["protocols"], serde_json::json!(["h2"]), "{said}");
    assert!(said["count"].as_u64() > Some(20), "{said}");
    let asked = origin.asked();
    let count = |pick: fn(&str) -> bool| asked.iter().filter(|asked| pick(&asked.target)).count();
    let reloads = count(|target| target.contains("_HLS_msn=") && target.contains("_HLS_part="));
    let parts = count(|target| target.matches('.').count() == 2 && target.ends_with(".m4s"));
    assert!(
        reloads > 5 && parts > 5,
        "{reloads} blocking reloads, {parts} parts"
    );
    assert!(origin.held() > 3, "{} held", origin.held());
}
