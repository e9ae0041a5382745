//! Access rules, with real clients: who shows the key is let in, who does not is told so, and no line or page shows it.

use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use sluicegate_core::access::keys::line;
use sluicegate_core::access::signed::ours::{Terms, sign};
use sluicegate_core::stream::{Action, StreamUrl};

use crate::support::browser::Browser;
use crate::support::rtc::{RtcOrigin, page_folder};
use crate::support::rtsp::RtspServer;
use crate::support::srt::{call, srt_url};
use crate::support::{
    NginxRtmp, NodeMediaServer, Origin, Page, Player, Proxy, Publisher, Registrar, SrtOrigin, Tree,
    http, machine, wait_for,
};
use crate::webrtc::page;

const KEY: &str = "Zm9yLW5vYm9keXMtZXllcw";

/// Settings where `action` needs the key.
fn guarded(action: &str) -> String {
    let line = line("encoder-1", b"salt", KEY);
    format!(
        "[[check]]\nname = \"keys\"\nkind = \"keys\"\nkeys = [\"{line}\"]\n[[access]]\naction = \"{action}\"\nall = [\"keys\"]\n"
    )
}

/// No output, page, metric or answer of the API shows one of `secrets`.
pub(crate) fn are_secret(proxy: &Proxy, secrets: &[&str]) {
    are_secret_to(proxy, &[], secrets);
}

/// The same, where the API asks for these headers.
pub(crate) fn are_secret_to(proxy: &Proxy, headers: &[&str], secrets: &[&str]) {
    let mut told = proxy.output();
    for path in [
        "/metrics",
        "/api/v1/sessions",
        "/api/v1/sessions/ended",
        "/api/v1/events?limit=200",
        "/api/v1/streams",
        "/api/v1/origins",
        "/api/v1/attention",
        "/api/v1/settings",
        "/api/v1/bans",
        "/api/v1/links?stream=live/a",
        "/api/v1/proxy",
        "/api/v1/explain?stream=live/a",
    ] {
        let answer = http::request(proxy.system, "GET", path, headers, "");
        assert_eq!(answer.status, 200, "{path}");
        told.push_str(&answer.text());
    }
    for secret in secrets {
        let shown = told.lines().find(|line| line.contains(secret));
        assert_eq!(shown, None, "{secret}");
    }
}

#[test]
fn ffmpeg_is_let_in_over_rtmp_and_http_with_the_key_only() {
    let _turn = machine::share();
    let origin = NodeMediaServer::start("guarded");
    let proxy = Proxy::start(&guarded("any"));
    let _registrar = Registrar::start(&proxy, &origin);
    let with_key = |url: String| format!("{url}?key={KEY}");
    let publisher = Publisher::clip(&with_key(proxy.rtmp_url("live/a"))).start();
    publisher.wait_frames(5);
    Player::frames(&with_key(proxy.rtmp_url("live/a")), 25);
    Player::frames(&with_key(proxy.flv_url("live/a")), 25);

    // It shows a password only to who asks for one.
    let with_login = proxy.flv_url("live/a");
    let with_login = with_login.replacen("http://", &format!("http://any:{KEY}@"), 1);
    Player::frames(&with_login, 25);

    let refused = Publisher::clip(&proxy.rtmp_url("live/b"))
        .start()
        .wait_end();
    assert!(!refused.status.success(), "{}", refused.errors);
    let refused = Player::open(&proxy.flv_url("live/a")).wait_end();
    assert!(refused.errors.contains("401"), "{}", refused.errors);
    let curl = Command::new("curl")
        .args([
            "-s",
            "-m",
            "10",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code} %header{www-authenticate}",
        ])
        .arg(proxy.flv_url("live/a"))
        .output()
        .expect("curl");
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "401 Bearer");
    are_secret(&proxy, &[KEY]);
}

#[test]
fn nginx_rtmp_never_hears_of_a_publisher_without_the_key() {
    let _turn = machine::share();
    let origin = NginxRtmp::start("guarded");
    let proxy = Proxy::start(&guarded("publish"));
    let _registrar = Registrar::start(&proxy, &origin);
    let refused = Publisher::clip(&format!("{}?key=wrong", proxy.rtmp_url("live/a")))
        .start()
        .wait_end();
    assert!(!refused.status.success(), "{}", refused.errors);
    assert_eq!(proxy.origin_of("live/a"), None, "it is placed nowhere");
    let publisher = Publisher::clip(&format!("{}?key={KEY}", proxy.rtmp_url("live/a"))).start();
    publisher.wait_frames(5);
    Player::frames(&proxy.rtmp_url("live/a"), 25);
    are_secret(&proxy, &[KEY]);
}

#[test]
fn libsrt_hears_why_and_is_let_in_with_the_key_in_its_stream_id() {
    let _turn = machine::share();
    let proxy = Proxy::start(&guarded("any"));
    let _origin = SrtOrigin::start(&proxy, "guarded");
    assert_eq!(
        call(proxy.srt, "#!::r=live/a,m=publish", None),
        "rejected 1401"
    );
    let stream_id = format!("#!::r=live/a,m=publish,s={KEY}");
    let publisher = Publisher::srt(&srt_url(proxy.srt, &stream_id)).start();
    publisher.wait_frames(25);
    let stream_id = format!("#!::r=live/a,m=request,s={KEY}");
    Player::open(&srt_url(proxy.srt, &stream_id)).wait_frames(50);
    are_secret(&proxy, &[KEY]);
}

#[test]
fn ffmpeg_answers_the_challenge_of_rtsp() {
    let _turn = machine::share();
    let origin = RtspServer::start("recorder", &["--record", "live/a"]);
    let proxy = Proxy::start(&format!(
        "session.setup_timeout = \"20s\"\n{}",
        guarded("any")
    ));
    let _registrar = origin.register(&proxy);
    let refused = Publisher::clip(&proxy.rtsp_url("live/a"))
        .rtsp("tcp")
        .start()
        .wait_end();
    assert!(refused.errors.contains("401"), "{}", refused.errors);
    let url = proxy
        .rtsp_url("live/a")
        .replace("rtsp://", &format!("rtsp://encoder:{KEY}@"));
    let _camera = Publisher::clip(&url).rtsp("tcp").start();
    origin.wait_recorded("live/a", 50);
    are_secret(&proxy, &[KEY]);
}

#[test]
fn hls_js_and_ffmpeg_play_on_by_the_links_of_their_first_playlist() {
    let _turn = machine::share();
    let tree = Tree::start("tree");
    let proxy = Proxy::start(&guarded("play"));
    proxy.register(&tree.registration());
    let bare = "/live/fmp4/master.m3u8";
    assert_eq!(http::request(proxy.http, "GET", bare, &[], "").status, 401);
    assert!(tree.asked().is_empty(), "a refusal dials nobody");
    let url = format!("http://{}{bare}?key={KEY}", proxy.http);
    Player::frames(&url, 25);
    Page::hls(&url).wait_frames(75);
    let asked = tree.asked();
    assert!(
        !asked.iter().any(|asked| asked.contains("spbhid")),
        "{asked:?}"
    );
    are_secret(&proxy, &[KEY]);
}

#[test]
fn a_stolen_link_plays_for_nobody_after_its_end_or_without_its_seal() {
    let _turn = machine::share();
    let tree = Tree::start("tree");
    let proxy = Proxy::start(
        "[[check]]\nname = \"links\"\nkind = \"signed\"\nscheme = \"ome\"\nsecrets = [\"policy-key-1\"]\n\
         [[access]]\nall = [\"links\"]\n",
    );
    proxy.register(&tree.registration());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let end = now.expect("after 1970") + Duration::from_secs(5);
    let part = |bytes: &[u8]| Base64UrlUnpadded::encode_string(bytes);
    let policy = format!(
        "{{\"url_expire\":{0},\"stream_expire\":{0}}}",
        end.as_millis()
    );
    let target = format!("/live/fmp4/master.m3u8?policy={}", part(policy.as_bytes()));
    let mut hash = <Hmac<Sha1> as Mac>::new_from_slice(b"policy-key-1").expect("a key");
    hash.update(format!("http://{}{target}", proxy.http).as_bytes());
    let target = format!("{target}&signature={}", part(&hash.finalize().into_bytes()));
    let host = format!("Host: {}", proxy.http);
    let master = http::request(proxy.http, "GET", &target, &[&host], "");
    assert_eq!(master.status, 200, "{}", master.text());
    let text = master.text();
    let listed = text
        .lines()
        .find(|line| !line.starts_with('#') && line.contains("spbhid"));
    let stolen = format!("/live/fmp4/{}", listed.expect("a link"));
    assert_eq!(
        http::request(proxy.http, "GET", &stolen, &[&host], "").status,
        200
    );
    let (bare, _) = stolen.split_once("spbhid=").expect("a link");
    let bare = bare.trim_end_matches(['?', '&']);
    for (cause, target) in [
        ("stripped", bare.to_owned()),
        ("forged", format!("{stolen}x")),
    ] {
        let status = http::request(proxy.http, "GET", &target, &[&host], "").status;
        assert!([401, 403].contains(&status), "{cause}: {status}");
    }
    wait_for("its end", Duration::from_secs(20), || {
        let status = http::request(proxy.http, "GET", &stolen, &[&host], "").status;
        (status == 401 || status == 403).then_some(())
    });
    let url = format!("http://{}{stolen}", proxy.http);
    let problem = Page::hls(&url).wait_problem();
    assert!(problem.contains("LoadError"), "{problem}");
    let refused = Player::open(&url).wait_end();
    assert!(!refused.status.success(), "{}", refused.errors);
}

#[test]
fn chromium_sends_and_watches_with_its_token_only() {
    let _turn = machine::share();
    let origin = RtcOrigin::start("guarded");
    let folder = page_folder().display().to_string();
    let rules = guarded("any");
    let proxy = Proxy::start(&format!(
        "http.static_files = {folder:?}\n{rules}protocol = \"webrtc\"\ntake_out = true\n"
    ));
    origin.register(&proxy);
    let refused = Browser::open(&page(&proxy, "publish", "camera"));
    let shown = refused.wait_video("a refusal", |shown| shown["problem"].is_string());
    assert!(shown["problem"].to_string().contains("401"), "{shown}");
    assert!(!origin.was_asked_for("camera"), "a refusal dials nobody");
    drop(refused);
    let pages = ["publish", "play"].map(|action| {
        let page = format!("{}&token={KEY}", page(&proxy, action, "camera"));
        let browser = Browser::open(&page);
        browser.wait_video("frames", |shown| {
            shown["call"]["frames"].as_u64() >= Some(20)
        });
        browser
    });
    drop(pages);
    let offer = origin.wait("an offer", |event| event["event"] == "offer");
    assert!(offer["headers"]["Authorization"].is_null(), "{offer}");
    are_secret(&proxy, &[KEY]);
}

/// A proxy that wants signatures, a live stream, and the addresses of its master playlist and of a bare one, whose signatures
/// are over after `life`.
fn signed(life: Duration, rule: &str) -> (Proxy, Tree, [String; 2]) {
    const SECRET: &str = "the-secret-of-this-website";
    let tree = Tree::start("tree");
    let proxy = Proxy::start(&format!(
        "[[check]]\nname = \"links\"\nkind = \"signed\"\nsecrets = [\"{SECRET}\"]\n\
         [[access]]\nall = [\"links\"]\n{rule}\n"
    ));
    proxy.register(&tree.registration());
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let end = (now.expect("after 1970") + life).as_secs();
    let urls = [("fmp4", "fmp4/master.m3u8"), ("full", "full.m3u8")].map(|(stream, path)| {
        let stream = StreamUrl::new("", "live", stream).expect("a name");
        let terms = Terms {
            action: Action::Play,
            stream: &stream,
            end,
            viewer: Some("seven"),
            address: None,
        };
        format!("http://{}/live/{path}?{}", proxy.http, sign(&terms, SECRET))
    });
    (proxy, tree, urls)
}

#[test]
fn hls_js_outlives_its_signature_and_is_judged_again_by_it() {
    let _turn = machine::share();
    let (proxy, _tree, urls) = signed(Duration::from_secs(20), "recheck = 5\ntake_out = true");
    let pages = urls.each_ref().map(|url| Page::hls(url));
    for page in pages {
        let (reloads, changed) = page.wait_time(Duration::from_secs(35));
        assert!(reloads > 5, "{reloads} reloads");
        assert_eq!(changed, 0, "a segment has one URL");
    }
    wait_for("the end of the signature", Duration::from_secs(30), || {
        let status = http::request(proxy.http, "GET", path_of(&urls[1]), &[], "").status;
        (status == 403).then_some(())
    });
}

fn path_of(url: &str) -> &str {
    let (_, rest) = url.split_once("://").expect("a scheme");
    rest.find('/')
        .and_then(|at| rest.get(at..))
        .expect("a path")
}

/// `scripts/long hls`: viewings that began with signatures for five minutes, while the hour changes.
#[test]
#[ignore = "takes as long as people watch"]
fn long_hls_by_signatures_of_five_minutes() {
    let _turn = machine::share();
    let minutes = std::env::var("MINUTES").map_or(90, |text| text.parse().expect("a number"));
    let (_proxy, _tree, urls) = signed(Duration::from_secs(300), "recheck = 60");
    let pages = urls.each_ref().map(|url| Page::hls(url));
    for page in pages {
        let (reloads, changed) = page.wait_time(Duration::from_secs(minutes * 60));
        println!("{minutes} minutes, {reloads} reloads, {changed} segments with another URL");
        assert_eq!(changed, 0, "a segment has one URL");
    }
}
