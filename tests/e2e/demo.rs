//! `sluicegate demo`: the first command that a new user runs.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::browser::Browser;
use crate::support::http;
use crate::support::machine::{self, Scratch};
use crate::support::program::Program;
use crate::support::proxy;
use crate::support::rtc::RtcOrigin;
use crate::support::{Player, Publisher};
use crate::tls::fingerprint;

#[test]
fn the_demo_tells_where_everything_is_and_a_browser_shows_the_picture() {
    let _turn = machine::share();
    let demo = Demo::new();
    let program = Program::start("demo", &mut demo.command());
    program.wait_line("it tells how to stop it", PATIENCE, |line| {
        line.text.contains("Ctrl-C").then_some(())
    });
    let banner = program.output();
    for url in [
        demo.rtmp_url("live/demo"),
        demo.flv_url("live/demo"),
        format!("http://127.0.0.1:{}/metrics", demo.system),
    ] {
        assert!(banner.contains(&url), "{url} in:\n{banner}");
    }

    Player::frames(&demo.rtmp_url("live/demo"), 25);

    let browser = Browser::open(&format!("http://127.0.0.1:{}/", demo.http));
    let shown = browser.wait_video("frames in the browser", |shown| {
        shown["frames"].as_u64() >= Some(25) && shown["colours"].as_u64() >= Some(4)
    });
    assert!(
        shown["width"].as_u64() > Some(0) && shown["problem"].is_null(),
        "{shown}"
    );

    // A stream of one's own, as the banner suggests.
    let publisher = Publisher::clip(&demo.rtmp_url("live/mine")).start();
    publisher.wait_frames(5);
    let mine = Browser::open(&format!("http://127.0.0.1:{}/?stream=live/mine", demo.http));
    mine.wait_video("one's own stream in the browser", |shown| {
        shown["width"] == 320 && shown["frames"].as_u64() >= Some(25)
    });
    let ready = http::request(
        ([127, 0, 0, 1], demo.system).into(),
        "GET",
        "/readyz",
        &[],
        "",
    );
    assert_eq!(ready.status, 200);
}

#[test]
fn the_demo_is_played_over_tls_under_the_fingerprint_that_it_tells() {
    let _turn = machine::share();
    let demo = Demo::new();
    let program = Program::start("demo", demo.command().arg("--tls"));
    program.wait_line("it tells how to stop it", PATIENCE, |line| {
        line.text.contains("Ctrl-C").then_some(())
    });
    let banner = program.output();
    let mut lines = banner.lines().map(str::trim);
    let told = lines.find_map(|line| line.strip_prefix("certificate "));
    for port in [demo.http, demo.api, demo.system] {
        let served = fingerprint(port);
        assert_eq!(told, Some(&*served), "{port}:\n{banner}");
    }
    let page = format!("https://127.0.0.1:{}/", demo.http);
    let rtmps = format!("rtmps://127.0.0.1:{}/live/demo", demo.rtmp);
    assert!(
        banner.contains(&page) && banner.contains(&rtmps),
        "{banner}"
    );
    Player::frames(&rtmps, 25);
    let browser = Browser::trusting(&page);
    let shown = browser.wait_video("frames in the browser", |shown| {
        shown["frames"].as_u64() >= Some(25) && shown["colours"].as_u64() >= Some(4)
    });
    assert!(shown["problem"].is_null(), "{shown}");
}

#[test]
fn the_picture_goes_on_while_its_origin_is_killed_from_the_page() {
    let _turn = machine::share();
    let demo = Demo::new();
    let program = Program::start("demo", &mut demo.command());
    program.wait_line("it tells how to stop it", PATIENCE, |line| {
        line.text.contains("Ctrl-C").then_some(())
    });
    let page = format!("http://127.0.0.1:{}/", demo.http);
    let said = Browser::run(&page, "", KILL_TWICE).wait_said();
    assert_eq!(said["problems"], serde_json::json!([]), "{said}");
    let (first, second) = (&said["killed"][0], &said["killed"][1]);
    assert_ne!(first, second, "{said}");
    assert_eq!(
        said["last"], *first,
        "the one that was started again: {said}"
    );

    let console = format!("http://127.0.0.1:{}/console/", demo.system);
    assert_eq!(said["console"], console, "{said}");

    // What the page may do, another site's page may not.
    let turn = |headers: &[&str]| {
        let address = ([127, 0, 0, 1], demo.http).into();
        http::request(address, "POST", "/demo/origins/demo-a/off", headers, "").status
    };
    assert_eq!(turn(&[]), 403);
    assert_eq!(
        turn(&["X-Sluicegate: 1", "Origin: http://other.example"]),
        403
    );
}

/// Kills the origin that has the stream, and the next one after the first was started again. Returns which were killed, where
/// the stream was then, and every problem that the page told of meanwhile.
const KILL_TWICE: &str = "
    const until = async (pick) => {
        for (;;) {
            const found = pick();
            if (found) return found;
            await new Promise((resolve) => setTimeout(resolve, 50));
        }
    };
    const problems = [];
    const problem = document.getElementById('problem');
    const frames = () => document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames;
    const more = async (count) => {
        const before = frames();
        await until(() => frames() >= before + count);
    };
    await until(() => frames() >= 50);
    new MutationObserver(() => problem.hidden || problems.push(problem.textContent))
        .observe(problem, { attributes: true, childList: true });
    const row = (state) => document.querySelector(`#fleet li[data-is=${state}]`);
    const killed = [];
    for (let round = 0; round < 2; round += 1) {
        const victim = await until(() => row('serving'));
        killed.push(victim.dataset.name);
        victim.querySelector('button').click();
        const other = await until(() => { const next = row('serving'); return next && next !== victim && next; });
        await more(75);
        victim.querySelector('button').click();
        await until(() => victim.dataset.is === 'waiting');
        if (round === 1) return { console: document.getElementById('console').href, killed, last: other.dataset.name, problems };
    }";

#[test]
fn the_demo_shows_its_picture_within_seconds() {
    let _turn = machine::alone();
    let demo = Demo::new();
    let started = Instant::now();
    let program = Program::start("demo", &mut demo.command());
    let told = program.wait_line("it tells how to stop it", PATIENCE, |line| {
        line.text.contains("Ctrl-C").then_some(line.at - started)
    });
    let first = Player::open(&demo.flv_url("live/demo")).wait_frames(1)[0].at - started;
    println!("told after {told:?}, the picture was there after {first:?}");
    // The limit is two seconds, or five with a player's own start; twice that on a busy machine.
    assert!(told <= Duration::from_secs(4), "it told after {told:?}");
    assert!(
        first <= Duration::from_secs(10),
        "the picture was there after {first:?}"
    );
}

#[test]
fn the_page_for_webrtc_publishes_and_plays_once_an_origin_registers() {
    let _turn = machine::share();
    let demo = Demo::new();
    let program = Program::start("demo", &mut demo.command());
    let page = program.wait_line("the page", PATIENCE, |line| {
        let rest = line.text.trim().strip_prefix("WebRTC ")?;
        rest.split_whitespace().next().map(str::to_owned)
    });
    let origin = RtcOrigin::start("origin");
    let registered = http::request(
        ([127, 0, 0, 1], demo.system).into(),
        "POST",
        "/api/v1/srs/register",
        &[],
        &origin.registration().to_string(),
    );
    assert_eq!(registered.status, 200, "{}", registered.text());
    let open = |action: &str| {
        let browser = Browser::open(&format!("{page}&stream=camera&action={action}"));
        let shown = browser.wait_video(action, |shown| {
            shown["call"]["frames"].as_u64() >= Some(30) && shown["colours"].as_u64() > Some(4)
        });
        assert!(shown["problem"].is_null(), "{shown}");
        browser
    };
    let _publisher = open("publish&source=test");
    open("play");
}

#[test]
fn a_taken_port_is_one_sentence() {
    let _turn = machine::share();
    let demo = Demo::new();
    let _taken = std::net::TcpListener::bind(("127.0.0.1", demo.rtmp)).expect("it was free");
    let mut program = Program::start("demo", &mut demo.command());
    let status = program.wait_end(PATIENCE);
    let said = program.errors();
    assert!(!status.success(), "{said}");
    assert!(
        said.contains(&demo.rtmp.to_string()) && said.trim().lines().count() == 1,
        "{said}"
    );
}

const PATIENCE: Duration = Duration::from_secs(30);

/// The demo on ports of its own: its default ports may be in use on the machine that runs the tests.
pub(crate) struct Demo {
    rtmp: u16,
    http: u16,
    api: u16,
    pub(crate) system: u16,
    scratch: Scratch,
}

impl Demo {
    pub(crate) fn new() -> Self {
        let [rtmp, http, api, system] = std::array::from_fn(|_| machine::free_port());
        Self {
            rtmp,
            http,
            api,
            system,
            scratch: Scratch::new("demo"),
        }
    }

    /// A folder that is gone afterwards.
    pub(crate) fn folder(&self) -> &Path {
        self.scratch.path()
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = proxy::binary();
        let listeners = [
            ("PROXY_RTMP_SERVER", self.rtmp),
            ("PROXY_HTTP_SERVER", self.http),
            ("PROXY_HTTP_API", self.api),
            ("PROXY_SYSTEM_API", self.system),
            ("PROXY_RTSP_SERVER", 0),
        ];
        command.envs(listeners.map(|(name, port)| (name, format!("127.0.0.1:{port}"))));
        command.env("PROXY_SRT_SERVER", "127.0.0.1:0");
        command.env("PROXY_WEBRTC_SERVER", "127.0.0.1:0");
        command.arg("demo").current_dir(self.scratch.path());
        command
    }

    pub(crate) fn rtmp_url(&self, stream: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{stream}", self.rtmp)
    }

    fn flv_url(&self, stream: &str) -> String {
        format!("http://127.0.0.1:{}/{stream}.flv", self.http)
    }
}
