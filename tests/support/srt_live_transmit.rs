//! srt-live-transmit between SRT and UDP.

use std::process::Command;
use std::time::Duration;

use super::machine::{self, installed};
use super::program::Program;
use super::wait_for;

/// Carries what arrives at one address to another; it ends with the value.
pub(crate) struct SrtLiveTransmit(#[expect(dead_code, reason = "it runs")] Program);

impl SrtLiveTransmit {
    pub(crate) fn start(from: &str, to: &str) -> Self {
        let mut transmit = Command::new(installed(&["srt-live-transmit"]));
        transmit.args([from, to]);
        Self(Program::start("srt-live-transmit", &mut transmit).abrupt())
    }
}

/// The address at which a listener waits for callers on `port`.
pub(crate) fn listener_url(port: u16) -> String {
    format!("srt://127.0.0.1:{port}?mode=listener")
}

/// Returns when a program receives datagrams on `port`.
#[track_caller]
pub(crate) fn wait_bound(port: u16) {
    wait_for(&format!("{port} is bound"), STARTS, || {
        machine::takes_datagrams(port).then_some(())
    });
}

const STARTS: Duration = Duration::from_secs(30);
