//! Many SRT callers in one program on libsrt.

use std::process::Command;
use std::time::{Duration, Instant};

use super::program::Program;
use super::proxy::Proxy;
use super::srt::built;

/// `tests/peers/srt_crowd.c`: publishers, and a player of each of their streams, `live/srt-0` and up.
pub(crate) struct SrtCrowd {
    count: usize,
    program: Program,
}

/// What a player saw when it had no picture for a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pause {
    /// How long.
    pub(crate) time: Duration,
    /// Packets that never came.
    pub(crate) lost: u64,
    /// Packets that came twice.
    pub(crate) twice: u64,
}

impl SrtCrowd {
    /// Returns when all are connected and all players have a picture.
    #[track_caller]
    pub(crate) fn call(proxy: &Proxy, count: usize) -> Self {
        let mut crowd = Command::new(built("srt_crowd"));
        let (port, count_of_each) = (proxy.srt.port().to_string(), count.to_string());
        crowd.args([&port, &count_of_each, KBPS, LATENCY_MS]);
        let program = Program::start("srt_crowd", &mut crowd).abrupt();
        program.wait_line("all have joined", PATIENCE, |line| {
            (line.text == "joined").then_some(())
        });
        Self { count, program }
    }

    /// The connections that are over.
    pub(crate) fn ended(&self) -> Vec<String> {
        let lines = self.program.lines().into_iter();
        let ended = lines.filter(|line| line.text.starts_with("ended "));
        ended.map(|line| line.text).collect()
    }

    /// Returns when all players have had a picture for a moment, some seconds after `since`.
    #[track_caller]
    pub(crate) fn wait_playing(&self, what: &str, since: Instant) {
        let all = format!(" {}", self.count);
        self.program.wait_line(what, PATIENCE, |line| {
            let counts = line.at >= since + SETTLED && line.text.starts_with("second ");
            (counts && line.text.ends_with(&all)).then_some(())
        });
    }

    /// What players saw since then.
    pub(crate) fn pauses(&self, since: Instant) -> Vec<Pause> {
        let lines = self.program.lines();
        let since = lines.iter().filter(|line| line.at >= since);
        since.filter_map(|line| pause(&line.text)).collect()
    }
}

fn pause(line: &str) -> Option<Pause> {
    let mut numbers = line.strip_prefix("pause ")?.split(' ');
    let mut next = || numbers.next()?.parse().ok();
    let _player: u64 = next()?;
    Some(Pause {
        time: Duration::from_millis(next()?),
        lost: next()?,
        twice: next()?,
    })
}

/// Of each publisher.
const KBPS: &str = "1000";
/// More than the default of 120 ms: the machine also runs everything else of the test.
const LATENCY_MS: &str = "250";
/// Callers are given this long to notice something.
const SETTLED: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);
