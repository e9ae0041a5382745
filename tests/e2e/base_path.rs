//! Served in a folder of a web site by nginx: real players and a real WebRTC client follow what they are told and stay in the
//! folder.

use std::time::Duration;

use crate::support::http;
use crate::support::rtc::{RtcClient, RtcOrigin};
use crate::support::site::Site;
use crate::support::{Origin, Player, Proxy, Tree, machine, wait_for};

/// A proxy behind a web server on the same machine.
fn behind(settings: &str) -> (Proxy, Site) {
    let proxy = Proxy::start(&format!(
        "http.trusted_proxies = [\"127.0.0.0/8\"]\n{settings}"
    ));
    let site = Site::as_documented(&proxy);
    (proxy, site)
}

/// The links of a playlist.
fn links(site: &Site, target: &str) -> Vec<String> {
    let playlist = http::request(site.address, "GET", target, &[], "");
    assert_eq!(playlist.status, 200, "{target}: {}", playlist.text());
    let text = playlist.text();
    let links = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    links.map(str::to_owned).collect()
}

#[test]
fn playlists_whose_links_are_whole_addresses_play_from_the_folder() {
    let _turn = machine::share();
    let origin = Tree::start("tree");
    let told = behind("");
    let set = Proxy::start("http.base_path = \"/tv/live\"");
    let silent = Site::silent("/tv/live", set.http);
    for (proxy, site, folder) in [(&told.0, &told.1, "/media"), (&set, &silent, "/tv/live")] {
        proxy.register(&origin.registration());
        for stream in ["full", "fmp4/master", "aes"] {
            Player::frames(&site.url(&format!("{folder}/live/{stream}.m3u8")), 25);
        }
        // The origin names its segments with itself in front.
        let links = links(site, &format!("{folder}/live/full.m3u8"));
        let within = |link: &String| link.starts_with(&format!("{folder}/live/full-"));
        assert!(
            !links.is_empty() && links.iter().all(within),
            "{folder}: {links:?}"
        );
        Player::frames(&site.url(&format!("{folder}/live/dash/index.mpd")), 25);
    }
}

#[test]
fn a_call_is_published_and_ended_in_the_folder() {
    let _turn = machine::share();
    let (proxy, site) = behind("");
    let origin = RtcOrigin::start("origin");
    origin.register(&proxy);
    let publisher = RtcClient::publish_to(&site.url("/media/rtc/v1/whip/?app=live&stream=a"));
    wait_for("pictures", PATIENCE, || {
        let frames = origin.state()["calls"][0]["frames"].as_u64();
        (frames >= Some(25)).then_some(())
    });
    let answer = publisher.wait("the answer", |event| event["event"] == "answer");
    let resource = answer["headers"]["location"].as_str().expect("a resource");
    assert!(
        resource.starts_with("/media/rtc/v1/session/"),
        "{resource} of {answer}"
    );
    assert_eq!(proxy.sessions().len(), 1);
    publisher.leave();
    let deleted = publisher.wait("the answer to DELETE", |event| event["event"] == "deleted");
    assert_eq!(deleted["status"], 200);
    wait_for("the end of its session", PATIENCE, || {
        proxy.sessions().is_empty().then_some(())
    });
}

const PATIENCE: Duration = Duration::from_secs(40);
