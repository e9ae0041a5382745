//! The console in a real browser: every page, light and dark, and an operator's work by keyboard alone.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use sluicegate_core::access::pass::Pass;

use crate::demo::Demo;
use crate::support::machine::{self, Scratch, installed};
use crate::support::program::{Line, Program};
use crate::support::rtc::{RtcClient, RtcOrigin};
use crate::support::{Origin, Proxy, Publisher, Redis, Tree, http, wait_for};

#[test]
fn every_page_is_sound_and_an_operator_can_work_by_keyboard() {
    let _turn = machine::share();
    let demo = Demo::new();
    let program = Program::start("demo", &mut demo.command());
    program.wait_line("it tells how to stop it", PATIENCE, |line| {
        line.text.contains("Ctrl-C").then_some(())
    });
    let hostile = demo.rtmp_url("live/<img/src=x/onerror=alert(1)>");
    let publisher = Publisher::clip(&hostile).start();
    publisher.wait_frames(5);
    let at = format!("127.0.0.1:{}", demo.system);
    let profile = Scratch::new("chromium");
    let browser = Program::start("browser", &mut look(&at, &profile));
    let (lines, end) = until_done(&browser);
    let (pages, stories): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| line["page"].is_string());
    assert_eq!(pages.len(), 16, "{lines:#?}");
    let mut wrong = Vec::new();
    for page in pages {
        // A page that is drawn from what the one before has fetched asks nobody.
        let hosts = page["hosts"].as_array().expect("a list");
        assert!(hosts.iter().all(|host| *host == at), "{page}");
        for kind in ["problems", "axe", "wide"] {
            if page[kind] != serde_json::json!([]) {
                wrong.push(format!("{} {kind}: {:#}", page["page"], page[kind]));
            }
        }
    }
    wrong.extend(wrong_stories(&stories, |_| true));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The proxy goes away while the page is open, and comes back.
    drop(program);
    let badge = |wanted: &'static str, from: usize| {
        shows(&browser, wanted, from, |said| {
            let badge = said["badge"].as_str();
            badge.is_some_and(|badge| badge.contains(wanted))
        })
    };
    let stale = badge("Stale", end);
    let _again = Program::start("demo", &mut demo.command());
    badge("Live", stale);
}

/// What went wrong in stories, apart from problems that do not `count`.
fn wrong_stories(said: &[&Value], counts: impl Fn(&str) -> bool) -> Vec<String> {
    let stories = said.iter().filter(|line| line["story"].is_string());
    let wrong = stories.filter(|story| {
        let problems = story["problems"].as_array().expect("a list").iter();
        problems.filter_map(Value::as_str).any(&counts)
    });
    wrong.map(|story| format!("{story:#}")).collect()
}

#[test]
fn an_operator_logs_in_and_hears_that_a_proxy_is_gone() {
    let _turn = machine::share();
    let redis = Redis::start();
    let settings = "system.auth_enabled = true\nsystem.auth_type = \"bearer\"\nsystem.auth_token = \"s3cret\"\ncluster.key = \"shared\"";
    let (a, mut b) = (redis.proxy(settings), redis.proxy(settings));
    let name_of = |proxy: &Proxy| {
        let bearer = ["Authorization: Bearer s3cret"];
        let answer = http::request(proxy.system, "GET", "/api/v1/proxy", &bearer, "");
        let document: Value = serde_json::from_slice(&answer.body).expect("JSON");
        let id = document["data"]["id"].as_str();
        id.expect("a name in the cluster").to_owned()
    };
    let gone = name_of(&b);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let yesterday = now.expect("after 1970").as_secs() - 24 * 3_600;
    let old = Pass::begun(yesterday).seal("system.auth_token", b"s3cret", 7);

    let profile = Scratch::new("chromium");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut node = Command::new(installed(&["node", "nodejs"]));
    node.arg(root.join("tests/peers/console_cluster.mjs"))
        .arg(installed(&BROWSERS))
        .arg(profile.path())
        .arg(format!("http://{}/console/", a.system))
        .args(["s3cret", &old]);
    let browser = Program::start("browser", &mut node);
    let (lines, end) = until_done(&browser);
    let stories: Vec<&Value> = lines.iter().collect();
    assert!(stories.len() > 5, "{stories:#?}");
    // The browser notes every answer that is no success.
    let wrong = wrong_stories(&stories, |problem| !problem.contains("status of 401"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    b.kill();
    let partial = shows(&browser, "the proxy that is gone", end, |said| {
        let live = said["badge"]
            .as_str()
            .is_some_and(|text| text.contains("Live"));
        let partial = said["partial"].as_str().unwrap_or_default();
        live && partial.contains(&gone) && said["title"] == "Fleet"
    });
    // Its record ends, and what is shown is whole again.
    shows(&browser, "a whole again", partial, |said| {
        said["partial"] == "" && said["title"] == "Fleet"
    });
}

#[test]
fn streams_of_origins_without_rtmp_have_a_picture() {
    let _turn = machine::share();
    let (calls, files) = (RtcOrigin::start("calls"), Tree::start("files"));
    let proxy = Proxy::start("");
    calls.register(&proxy);
    let _publisher = RtcClient::publish(&proxy, "camera");
    wait_for("the origin decodes", PATIENCE, || {
        let state = calls.state();
        (state["calls"][0]["frames"].as_u64() > Some(10)).then_some(())
    });
    proxy.register(&files.registration());
    // Somebody plays them: they are placed then.
    for playlist in ["full.m3u8", "fmp4/master.m3u8"] {
        let target = format!("/live/{playlist}");
        let answer = http::request(proxy.http, "GET", &target, &[], "");
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
    }
    let profile = Scratch::new("chromium");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut node = Command::new(installed(&["node", "nodejs"]));
    node.arg(root.join("tests/peers/console_picture.mjs"))
        .arg(installed(&BROWSERS))
        .arg(profile.path())
        .arg(format!("http://{}/console/", proxy.system))
        .args(["live/camera", "live/full", "live/fmp4"]);
    let browser = Program::start("browser", &mut node);
    let (lines, _) = until_done(&browser);
    let ways: Vec<&Value> = lines.iter().map(|line| &line["way"]).collect();
    let wrong: Vec<&Value> = lines
        .iter()
        .filter(|line| line["problems"] != serde_json::json!([]))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(ways, ["By WebRTC.", "By HLS.", "By HLS."]);
    let system = proxy.system.to_string();
    let all_ours = lines.iter().all(|line| {
        line["hosts"]
            .as_array()
            .is_some_and(|hosts| hosts.iter().all(|host| *host == system))
    });
    assert!(all_ours, "{lines:#?}");
}

/// What the browser's program says up to the end of its stories, and how many lines that are.
#[track_caller]
fn until_done(browser: &Program) -> (Vec<Value>, usize) {
    browser.wait_lines("every page and story", PATIENCE, |lines| {
        let said = |line: &Line| serde_json::from_str::<Value>(&line.text).unwrap_or_default();
        let end = lines.iter().position(|line| said(line)["done"] == true)?;
        let own = lines[..end].iter().filter(|line| !line.error);
        Some((own.map(said).collect(), end))
    })
}

/// The first line after `from` that `pick` accepts.
#[track_caller]
fn shows(browser: &Program, what: &str, from: usize, pick: impl Fn(&Value) -> bool) -> usize {
    browser.wait_lines(what, PATIENCE, |lines| {
        let fits = |line: &Line| pick(&serde_json::from_str(&line.text).unwrap_or_default());
        Some(from + lines.get(from..)?.iter().position(fits)?)
    })
}

/// The browser's program; `SLUICEGATE_PICTURES` names a folder for a picture of each page.
fn look(at: &str, profile: &Scratch) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut node = Command::new(installed(&["node", "nodejs"]));
    node.arg(root.join("tests/peers/console.mjs"))
        .arg(installed(&BROWSERS))
        .arg(profile.path())
        .arg(format!("http://{at}/console/"))
        .arg(root.join(".peers/node_modules/axe-core/axe.min.js"))
        .arg("demo-a")
        .args(std::env::var_os("SLUICEGATE_PICTURES"));
    node
}

const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];
const PATIENCE: Duration = Duration::from_secs(180);
