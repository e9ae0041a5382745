//! Players of MPEG-DASH whose origin is killed, with its packager and its files: they play on when the held encoder has another
//! one.

use std::time::Duration;

use crate::support::{
    NginxRtmp, Origin, Page, Proxy, Publisher, Registrar, Tree, http, machine, wait_for,
};

#[test]
fn players_outlive_the_death_of_their_packager() {
    let _turn = machine::share();
    let mut origins = ["origin1", "origin2"].map(NginxRtmp::packaging);
    let proxy = Proxy::start("cluster.key = \"one\"");
    let _registrars = origins
        .each_ref()
        .map(|origin| Registrar::start(&proxy, origin));
    let clip = Publisher::clip(&proxy.rtmp_url("live/a"));
    let mut publisher = clip.gop(25).start();
    let manifest = || http::request(proxy.http, "GET", "/live/a.mpd", &[], "").text();
    wait_for("three segments", Duration::from_secs(30), || {
        (manifest().matches("<S ").count() >= 6).then_some(())
    });
    let url = format!("http://{}/live/a.mpd", proxy.http);
    let page = Page::dash(&url);
    let frames = page.wait_frames(75);

    let lost = proxy.origin_of("live/a").expect("it is placed");
    for origin in origins.iter_mut().filter(|origin| origin.name() == lost) {
        origin.kill();
    }
    let record = proxy.wait_log("the manifest goes on", |record| {
        record["from"] == lost.as_str()
    });
    assert_ne!(record["to"], lost.as_str(), "{record}");
    let frames = page.wait_frames(frames + 150);
    let manifest = manifest();
    assert!(manifest.matches("<Period").count() >= 1, "{manifest}");
    assert!(manifest.contains("id=\"dash-2\""), "{manifest}");
    page.wait_frames(frames + 150);
    assert!(publisher.is_running());
}

#[test]
fn numbered_segments_go_on_in_a_browser() {
    let _turn = machine::share();
    let mut trees = ["tree1", "tree2"].map(Tree::start);
    let proxy = Proxy::start("cluster.key = \"one\"");
    for tree in &trees {
        proxy.register(&tree.registration());
    }
    let url = format!("http://{}/live/dash/index.mpd", proxy.http);
    let page = Page::dash(&url);
    let frames = page.wait_frames(75);
    let asked = |tree: &Tree| {
        tree.asked()
            .iter()
            .any(|asked| asked.contains("chunk-stream"))
    };
    let (lost, other) = if asked(&trees[0]) { (0, 1) } else { (1, 0) };
    assert!(!asked(&trees[other]), "one origin has all of it");
    trees[lost].kill();
    let record = proxy.wait_log("the manifest goes on", |_| true);
    assert_eq!(record["to"], trees[other].name(), "{record}");
    page.wait_frames(frames + 250);
    assert!(asked(&trees[other]));
    let manifest = http::request(proxy.http, "GET", "/live/dash/index.mpd", &[], "").text();
    assert!(manifest.contains("id=\"0-2\""), "{manifest}");
}
