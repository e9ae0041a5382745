//! The console in a real browser: every page, light and dark, and an operator's work by keyboard alone.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::demo::Demo;
use crate::support::Publisher;
use crate::support::machine::{self, Scratch, installed};
use crate::support::program::{Line, Program};

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
    let mut lines = Vec::new();
    browser.wait_line("every page and story", PATIENCE, |line| {
        if line.error {
            return None;
        }
        let said: Value = serde_json::from_str(&line.text).ok()?;
        let is_done = said["done"] == true;
        lines.push(said);
        is_done.then_some(())
    });
    let (pages, stories): (Vec<&Value>, Vec<&Value>) =
        lines.iter().partition(|line| line["page"].is_string());
    assert_eq!(pages.len(), 15, "{lines:#?}");
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
    for story in stories.iter().filter(|line| line["story"].is_string()) {
        if story["problems"] != serde_json::json!([]) {
            wrong.push(format!("{story:#}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // The proxy goes away while the page is open, and comes back.
    drop(program);
    let shows = |wanted: &'static str, from: usize| {
        browser.wait_lines(wanted, PATIENCE, |lines| {
            let shows = |line: &Line| {
                let said: Value = serde_json::from_str(&line.text).unwrap_or_default();
                said["badge"]
                    .as_str()
                    .is_some_and(|badge| badge.contains(wanted))
            };
            Some(from + lines.get(from..)?.iter().position(shows)?)
        })
    };
    let stale = shows("Stale", 0);
    let _again = Program::start("demo", &mut demo.command());
    shows("Live", stale);
}

/// The browser's program; `SLUICEGATE_PICTURES` names a folder for a picture of each page.
fn look(at: &str, profile: &Scratch) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut node = Command::new(installed(&["node", "nodejs"]));
    node.arg(root.join("tests/peers/console.mjs"))
        .arg(installed(&[
            "chromium",
            "chromium-browser",
            "google-chrome",
        ]))
        .arg(profile.path())
        .arg(format!("http://{at}/console/"))
        .arg(root.join(".peers/node_modules/axe-core/axe.min.js"))
        .arg("demo-a")
        .args(std::env::var_os("SLUICEGATE_PICTURES"));
    node
}

const PATIENCE: Duration = Duration::from_secs(180);
