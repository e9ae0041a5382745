//! MPEG-DASH as nginx-rtmp and as ffmpeg write it, played by ffmpeg and by dash.js.

use crate::support::{
    NginxRtmp, Origin, Page, Player, Proxy, Publisher, Tree, http, machine, wait_for,
};

#[test]
fn nginx_rtmp_packages_what_is_published_through_us() {
    let _turn = machine::share();
    let origin = NginxRtmp::packaging("packages");
    let proxy = Proxy::start("");
    proxy.register(&origin.registration());
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(50);
    for file in ["a.m3u8", "a.mpd"] {
        let target = format!("/live/{file}");
        wait_for(file, std::time::Duration::from_secs(20), || {
            let response = http::request(proxy.http, "GET", &target, &[], "");
            let listed = response.text().contains("spbhid=");
            (response.status == 200 && listed).then_some(())
        });
        Player::frames(&format!("http://{}{target}", proxy.http), 25);
    }
    assert!(
        publisher_holds(&proxy),
        "players of pieces are at the publisher's origin"
    );
}

#[test]
fn what_ffmpeg_packages_is_played_in_a_browser() {
    let _turn = machine::share();
    let tree = Tree::start("tree");
    let proxy = Proxy::start("");
    proxy.register(&tree.registration());
    let url = format!("http://{}/live/dash/index.mpd", proxy.http);
    Player::frames(&url, 25);
    let page = Page::dash(&url);
    page.wait_frames(100);
    let asked = tree.asked();
    assert!(
        !asked.iter().any(|asked| asked.contains("spbhid")),
        "{asked:?}"
    );
}

fn publisher_holds(proxy: &Proxy) -> bool {
    proxy.origin_of("live/a").as_deref() == Some("packages")
}
