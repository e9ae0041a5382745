//! How far apart the keyframes of a stream are.

/// The distance of a stream's keyframes, by the timestamps of its pictures.
#[derive(Debug, Clone, Copy, Default)]
pub struct Keyframes {
    /// When the newest keyframe is shown; `None` before the first.
    newest: Option<u32>,
    /// How long before it the one before was shown, in milliseconds; 0 where there was none.
    apart: u32,
    /// The time since the newest, in milliseconds.
    since: u32,
}

impl Keyframes {
    /// A picture with this timestamp, in milliseconds, which goes on at 0 after the greatest.
    pub const fn note(&mut self, timestamp: u32) {
        let Some(newest) = self.newest else {
            return;
        };
        self.since = timestamp.wrapping_sub(newest);
        // The clock of the stream has leapt, and says nothing.
        if self.since > LEAP {
            *self = Self {
                newest: None,
                apart: 0,
                since: 0,
            };
        }
    }

    /// The picture that was noted last is a keyframe.
    pub const fn note_keyframe(&mut self, timestamp: u32) {
        if self.newest.is_some() {
            self.apart = self.since;
        }
        self.newest = Some(timestamp);
        self.since = 0;
    }

    /// How far apart they are, in milliseconds: as far as the newest two, or as the newest is behind by now; 0 where that is not
    /// known.
    pub const fn apart(&self) -> u32 {
        match self.since > self.apart {
            true => self.since,
            false => self.apart,
        }
    }
}

/// The longest distance that is believed, in milliseconds.
const LEAP: u32 = 10 * 60 * 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyframes_are_as_far_apart_as_the_newest_two_or_as_the_wait_for_the_next() {
        // A description; pictures, each with its time and whether it is a keyframe; the distance.
        type Case = (&'static str, &'static [(u32, bool)], u32);
        let rows: [Case; 8] = [
            ("nothing", &[], 0),
            ("no keyframe", &[(0, false), (9_000, false)], 0),
            ("one", &[(0, true), (40, false)], 40),
            (
                "two",
                &[(0, true), (40, false), (2_000, true), (2_040, false)],
                2_000,
            ),
            (
                "a third that is late",
                &[(0, true), (2_000, true), (12_000, false)],
                10_000,
            ),
            (
                "which has come",
                &[(0, true), (2_000, true), (12_000, true), (14_000, true)],
                2_000,
            ),
            (
                "over the end of the clock",
                &[(u32::MAX - 999, true), (1_000, true)],
                2_000,
            ),
            (
                "a leap of the clock",
                &[(900_000, true), (902_000, true), (0, false), (40, true)],
                0,
            ),
        ];
        for (cause, pictures, expected) in rows {
            let mut keyframes = Keyframes::default();
            for (timestamp, is_keyframe) in pictures {
                keyframes.note(*timestamp);
                if *is_keyframe {
                    keyframes.note_keyframe(*timestamp);
                }
            }
            assert_eq!(keyframes.apart(), expected, "{cause}");
        }
    }
}
