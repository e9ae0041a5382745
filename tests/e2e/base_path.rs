//! Served in a folder of a web site by nginx: real players, a real WebRTC client and a real browser follow what they are told
//! and stay in the folder.

use std::time::Duration;

use serde_json::Value;

use crate::support::browser::Browser;
use crate::support::http;
use crate::support::rtc::{RtcClient, RtcOrigin};
use crate::support::site::Site;
use crate::support::{NginxRtmp, Origin, Player, Proxy, Publisher, Tree, machine, wait_for};

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

#[test]
fn an_operator_logs_in_to_the_console_in_the_folder() {
    let _turn = machine::share();
    let (proxy, site) = behind(
        "system.auth_enabled = true\nsystem.auth_type = \"bearer\"\nsystem.auth_token = \"s3cret\"\n\
         system.register_from = [\"127.0.0.0/8\"]",
    );
    let origin = NginxRtmp::start("nginx");
    let bearer = "Authorization: Bearer s3cret";
    let body = origin.registration().to_string();
    let registered = http::request(
        proxy.system,
        "POST",
        "/api/v1/srs/register",
        &[bearer],
        &body,
    );
    assert_eq!(registered.status, 200, "{}", registered.text());
    let publisher = Publisher::clip(&proxy.rtmp_url("live/a")).start();
    publisher.wait_frames(5);
    let browser = Browser::run(&site.url("/media/console/"), "", WORK);
    let said = browser.wait_said();
    let shown = said["shown"].as_str().unwrap_or_default();
    assert!(shown.contains("live/a"), "{said:#}");
    let asked = said["asked"].as_array().expect("a list");
    let outside: Vec<&Value> = asked
        .iter()
        .filter(|path| {
            path.as_str()
                .is_none_or(|path| !path.starts_with("/media/"))
        })
        .collect();
    assert!(!asked.is_empty() && outside.is_empty(), "{said:#}");
}

/// Logs in, opens the list of streams, and says what it shows and which paths of the site the page asked for.
const WORK: &str = "
const until = async (ready) => {
  for (let left = 300; left && !ready(); left--) await new Promise((go) => setTimeout(go, 50));
};
const shown = () => document.querySelector('main')?.innerText ?? '';
await until(() => document.querySelector('form.login'));
const form = document.querySelector('form.login');
form.elements.token.value = 's3cret';
form.requestSubmit();
await until(() => document.querySelector('header .badge.ok'));
location.hash = '/streams';
await until(() => shown().includes('live/a'));
const asked = performance.getEntriesByType('resource').map((entry) => new URL(entry.name).pathname);
return { shown: shown(), at: location.hash, asked };
";

const PATIENCE: Duration = Duration::from_secs(40);
