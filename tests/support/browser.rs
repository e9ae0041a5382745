//! Headless Chromium on one page, driven by `tests/peers/browser.mjs`.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::machine::{Scratch, installed};
use super::program::Program;

/// A browser with one page open. It ends with the value.
pub(crate) struct Browser {
    program: Program,
    _profile: Scratch,
}

impl Browser {
    /// Opens `url`.
    pub(crate) fn open(url: &str) -> Self {
        Self::start(&[url])
    }

    /// Opens `url` and asks nobody to vouch for the servers that it leads to.
    pub(crate) fn trusting(url: &str) -> Self {
        Self::start(&[url, "", "", "--ignore-certificate-errors"])
    }

    /// Opens `url`, asks nobody to vouch for the servers that it leads to, and runs the body of a script in the page.
    pub(crate) fn run_trusting(url: &str, script: &str) -> Self {
        Self::start(&[url, "", script, "--ignore-certificate-errors"])
    }

    /// Opens `url` where names stand for what `hosts` says, as in `MAP evil.test 127.0.0.1`, and runs the body of a
    /// script in the page.
    pub(crate) fn run(url: &str, hosts: &str, script: &str) -> Self {
        Self::start(&[url, hosts, script])
    }

    fn start(arguments: &[&str]) -> Self {
        let profile = Scratch::new("chromium");
        let mut node = Command::new(installed(&["node", "nodejs"]));
        node.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/browser.mjs"));
        node.arg(installed(&[
            "chromium",
            "chromium-browser",
            "google-chrome",
        ]))
        .arg(profile.path())
        .args(arguments);
        Self {
            program: Program::start("browser", &mut node),
            _profile: profile,
        }
    }

    /// What the page's video shows now; see [`wait_video`](Self::wait_video).
    pub(crate) fn shown(&self) -> Value {
        let lines = self.program.lines();
        let mut said = lines.iter().rev().filter(|line| !line.error);
        let shown = said.find_map(|line| serde_json::from_str(&line.text).ok());
        shown.expect("it has shown something")
    }

    /// All that it has shown, and when.
    pub(crate) fn all_shown(&self) -> Vec<(Instant, Value)> {
        let lines = self.program.lines();
        let said = lines.iter().filter(|line| !line.error);
        said.filter_map(|line| Some((line.at, serde_json::from_str(&line.text).ok()?)))
            .collect()
    }

    /// What the script of [`run`](Self::run) returned.
    #[track_caller]
    pub(crate) fn wait_said(&self) -> Value {
        let shown = self.wait_video("the end of the script", |shown| !shown["said"].is_null());
        shown["said"].clone()
    }

    /// Returns what the page's video shows once `pick` accepts it: decoded `frames`, `width`, `height`, the number of
    /// `colours` in the picture, that of buffered `ranges`, and `problem` if the page reports one.
    #[track_caller]
    pub(crate) fn wait_video(&self, what: &str, pick: impl Fn(&Value) -> bool) -> Value {
        self.wait_video_within(PATIENCE, what, pick)
    }

    /// The same, with a deadline of its own.
    #[track_caller]
    pub(crate) fn wait_video_within(
        &self,
        patience: Duration,
        what: &str,
        pick: impl Fn(&Value) -> bool,
    ) -> Value {
        self.program.wait_line(what, patience, |line| {
            if line.error {
                return None;
            }
            let shown: Value = serde_json::from_str(&line.text).ok()?;
            pick(&shown).then_some(shown)
        })
    }
}

const PATIENCE: Duration = Duration::from_secs(60);
