//! What clients noticed of many events, in figures.

use std::fmt;
use std::time::{Duration, Instant};

use super::guest::Guest;
use crate::support::srt_crowd::SrtCrowd;

/// What clients noticed.
#[derive(Debug, Default)]
pub(super) struct Figures {
    /// For each event and viewer that saw one, its longest time without a picture.
    pauses: Vec<Duration>,
    /// The same for players by SRT.
    srt_pauses: Vec<Duration>,
    /// Packets that players by SRT never got, and those that they got twice.
    srt_lost: u64,
    srt_twice: u64,
    /// For each event and publisher, how long it took until the other origin had it.
    dials: Vec<Duration>,
    /// How far sound and pictures of viewers are out of step after an event, in milliseconds, at most.
    out_of_step: u64,
    /// Pictures that a viewer did not get, or got twice, at most.
    pictures: u64,
    /// The memory of the proxy after each ten events, in kB.
    pub(super) resident: Vec<u64>,
}

impl Figures {
    /// Takes note of what an event was to viewers.
    pub(super) fn take(&mut self, since: Instant, viewers: &[Guest], srt: &SrtCrowd) {
        for (number, viewer) in viewers.iter().enumerate() {
            self.pauses.extend(viewer.longest_pause(since));
            let seen = viewer.seen();
            assert_eq!(
                seen.holes, [""; 0],
                "viewer {number} has holes or steps back in its time"
            );
            self.out_of_step = self.out_of_step.max(seen.out_of_step());
        }
        for pause in srt.pauses(since) {
            self.srt_pauses.push(pause.time);
            self.srt_lost += pause.lost;
            self.srt_twice += pause.twice;
        }
    }

    /// Takes note of when the other origin had publishers.
    pub(super) fn dialled(&mut self, since: Instant, published: &[Instant]) {
        let after = published.iter().filter(|at| **at >= since);
        self.dials.extend(after.map(|at| *at - since));
    }

    /// Takes note of the pictures that viewers missed.
    pub(super) fn pictures(&mut self, viewers: &[Guest]) {
        let missed = viewers.iter().map(|viewer| {
            let seen = viewer.seen();
            seen.missing + seen.twice
        });
        self.pictures = self.pictures.max(missed.max().unwrap_or(0));
    }

    /// Half of the pauses are no longer than `half`, and of a hundred all but one no longer than `most`. Sound and
    /// pictures are in step.
    pub(super) fn are_within(&self, half: Duration, most: Duration) {
        for pauses in [&self.pauses, &self.srt_pauses] {
            assert!(!pauses.is_empty(), "somebody was held");
            assert!(part(pauses, 50) <= half, "{self}");
            assert!(part(pauses, 99) <= most, "{self}");
        }
        assert!(self.out_of_step <= IN_STEP_MS, "{self}");
    }

    pub(super) fn are_dialled_within(&self, most: Duration) {
        assert!(part(&self.dials, 50) <= most, "{self}");
    }

    /// At most one picture is missing or repeated, and no packet is.
    pub(super) fn are_not_noticed(&self) {
        assert!(self.pictures <= 1 && self.srt_lost == 0, "{self}");
        assert!(self.out_of_step <= IN_STEP_MS, "{self}");
    }

    /// Memory does not grow.
    pub(super) fn is_flat(&self) {
        let (Some(first), Some(last)) = (self.resident.first(), self.resident.last()) else {
            return;
        };
        assert!(
            *last <= first + first / 5 + 8_192,
            "memory grew: {:?} kB",
            self.resident
        );
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pauses = |what: &str, all: &[Duration]| {
            let millis = |percent| part(all, percent).as_millis();
            let [half, most, longest] = [50, 99, 100].map(millis);
            let count = all.len();
            write!(
                f,
                "{what} {count} (p50 {half} ms, p99 {most} ms, longest {longest} ms); "
            )
        };
        pauses("pauses of viewers by RTMP and HTTP-FLV:", &self.pauses)?;
        pauses("by SRT:", &self.srt_pauses)?;
        pauses("another origin has the publisher after:", &self.dials)?;
        write!(
            f,
            "SRT packets lost {}, twice {}; sound and pictures out of step by {} ms at most; pictures missing or repeated for \
             a viewer {}; resident memory after each ten {:?} kB",
            self.srt_lost, self.srt_twice, self.out_of_step, self.pictures, self.resident
        )
    }
}

/// The time that this many percent do not exceed.
fn part(times: &[Duration], percent: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort_unstable();
    let at = times.len() * percent / 100;
    let last = times.len().saturating_sub(1);
    times.get(at.min(last)).copied().unwrap_or_default()
}

const IN_STEP_MS: u64 = 40;
