//! The claims checker: it judges what clients saw of a fleet of proxies, and knows nothing about how proxies work.
//!
//! The rule: at any moment, all sessions of a stream are on one instance of one origin. This is more than "one origin
//! for each life of a publisher": players without a publisher must be together, too. Two sessions that are apart at the
//! same moment are a *split*.
//!
//! An encoder that is held does not hear which origin has its stream, so origins report who published to them. Proxies
//! ask an origin before they know whether the stream is to be there, and players of other proxies follow a publisher once
//! those have heard of it: what an origin reports is apart from the rest once it has been for [`SETTLES`].
//!
//! The proxies promise less in one case, and say so: a proxy that cannot ask the store relies on what it knows, and
//! what it placed then is put right when the store is back. So a split is *excused* if one of the two sessions was
//! placed in a time that an [`Excuse`] covers, and if the split is over [`HEALS`] after that time. An excused split
//! that lasts longer counts as a split again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// One session as its client saw it. Times count from the beginning of the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) stream: String,
    /// `publish` or `play`, as a client saw it, or [`REPORTED`] by an origin.
    pub(crate) action: &'static str,
    /// The proxy that it went through.
    pub(crate) proxy: String,
    /// The instance that granted it, as the instance names itself.
    pub(crate) origin: String,
    /// When it was requested.
    pub(crate) asked: Duration,
    /// When the grant was read.
    pub(crate) from: Duration,
    /// The latest possible end: the client left or saw the end, or the proxy or origin was killed.
    pub(crate) until: Duration,
}

/// A time in which a proxy could not ask the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Excuse {
    pub(crate) proxy: String,
    pub(crate) from: Duration,
    /// When the proxy could ask the store again.
    pub(crate) until: Duration,
}

/// Two sessions of a stream that were on different origins at the same time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Split {
    pub(crate) one: Life,
    pub(crate) other: Life,
    /// If it is excused: when it had to be over.
    pub(crate) excused_until: Option<Duration>,
}

/// The result of judging a history.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) lives: usize,
    pub(crate) streams: usize,
    /// Splits that break the promise.
    pub(crate) splits: Vec<Split>,
    /// Splits that were excused and healed in time.
    pub(crate) excused: Vec<Split>,
}

impl Split {
    /// When the two began to be apart.
    pub(crate) fn from(&self) -> Duration {
        self.one.from.max(self.other.from)
    }

    /// When they were no longer apart.
    pub(crate) fn until(&self) -> Duration {
        self.one.until.min(self.other.until)
    }

    fn is_excused(&self) -> bool {
        self.excused_until
            .is_some_and(|latest| self.until() <= latest)
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: apart from {:?} to {:?}",
            self.one.stream,
            self.from(),
            self.until()
        )?;
        for life in [&self.one, &self.other] {
            write!(
                f,
                "\n    {} through {} on {}: asked {:?}, granted {:?}, over {:?}",
                life.action, life.proxy, life.origin, life.asked, life.from, life.until
            )?;
        }
        Ok(())
    }
}

impl Verdict {
    /// The splits as a text, the first ones in full.
    pub(crate) fn words(&self) -> String {
        let shown: Vec<String> = self
            .splits
            .iter()
            .take(SHOWN)
            .map(Split::to_string)
            .collect();
        format!("{} splits\n{}", self.splits.len(), shown.join("\n"))
    }

    /// How long after the store was back the last excused split was over.
    pub(crate) fn healed_within(&self) -> Duration {
        let after = self.excused.iter().filter_map(|split| {
            let back = split.excused_until?.saturating_sub(HEALS);
            Some(split.until().saturating_sub(back))
        });
        after.max().unwrap_or_default()
    }
}

/// Judges a history.
pub(crate) fn judge(lives: &[Life], excuses: &[Excuse]) -> Verdict {
    let mut streams: BTreeMap<&str, Vec<&Life>> = BTreeMap::new();
    for life in lives {
        streams.entry(&life.stream).or_default().push(life);
    }
    let mut verdict = Verdict {
        lives: lives.len(),
        streams: streams.len(),
        ..Verdict::default()
    };
    for lives in streams.values_mut() {
        lives.sort_by_key(|life| life.from);
        for (at, one) in lives.iter().enumerate() {
            let later = lives.iter().skip(at + 1);
            for other in later.take_while(|other| other.from < one.until) {
                // A session that was over before its grant was read overlaps with none.
                if other.origin == one.origin || other.until <= other.from {
                    continue;
                }
                let apart = one.until.min(other.until).saturating_sub(other.from);
                let is_reported = [*one, *other].iter().any(|life| life.action == REPORTED);
                if apart < if is_reported { SETTLES } else { TELLS_APART } {
                    continue;
                }
                let split = Split {
                    one: (*one).clone(),
                    other: (*other).clone(),
                    excused_until: excused_until(one, other, excuses),
                };
                if split.is_excused() {
                    verdict.excused.push(split);
                } else {
                    verdict.splits.push(split);
                }
            }
        }
    }
    verdict
}

/// The latest time that an excuse of either session allows.
fn excused_until(one: &Life, other: &Life, excuses: &[Excuse]) -> Option<Duration> {
    let covers = |excuse: &&Excuse| {
        [one, other].iter().any(|life| {
            life.proxy == excuse.proxy && life.asked <= excuse.until && excuse.from <= life.from
        })
    };
    let covering = excuses.iter().filter(covers);
    covering.map(|excuse| excuse.until + HEALS).max()
}

/// What an origin reports of a publisher.
pub(crate) const REPORTED: &str = "published";
/// How long what an origin reports of a publisher may be apart from the rest.
pub(crate) const SETTLES: Duration = Duration::from_secs(2);
/// How long sessions may be apart once the store is back.
pub(crate) const HEALS: Duration = Duration::from_secs(5);
/// Two clients read their grants and their ends in tasks of their own: what they saw within this time has no order.
const TELLS_APART: Duration = Duration::from_millis(1);
/// Maximum splits that are described in full.
const SHOWN: usize = 5;

#[cfg(test)]
mod tests {
    use super::*;

    /// `action proxy origin asked granted over`, in milliseconds.
    fn life(line: &str) -> Life {
        let words: Vec<&str> = line.split_whitespace().collect();
        let time = |at: usize| Duration::from_millis(words[at].parse().expect("a number"));
        Life {
            stream: "live/a".to_owned(),
            action: match words[0] {
                "publish" => "publish",
                REPORTED => REPORTED,
                _ => "play",
            },
            proxy: words[1].to_owned(),
            origin: words[2].to_owned(),
            asked: time(3),
            from: time(4),
            until: time(5),
        }
    }

    #[test]
    fn what_two_clients_saw_at_the_same_moment_has_no_order() {
        let one = life("play p0 o0 1 2 5");
        let mut other = life("play p1 o1 1 5 9");
        for (earlier, splits) in [(13, 0), (999, 0), (1_000, 1)] {
            other.from = one.until - Duration::from_micros(earlier);
            let verdict = judge(&[one.clone(), other.clone()], &[]);
            assert_eq!(verdict.splits.len(), splits, "{earlier} µs");
        }
    }

    fn away(proxy: &str, from: u64, until: u64) -> Excuse {
        Excuse {
            proxy: proxy.to_owned(),
            from: Duration::from_millis(from),
            until: Duration::from_millis(until),
        }
    }

    /// Cause, history, excuses, splits, excused splits.
    type Row = (
        &'static str,
        &'static [&'static str],
        Vec<Excuse>,
        usize,
        usize,
    );

    #[test]
    fn splits_are_found_and_nothing_else() {
        let rows: Vec<Row> = vec![
            ("nothing happened", &[], vec![], 0, 0),
            (
                "all are on one origin",
                &[
                    "publish a x/1 0 10 900",
                    "play b x/1 5 12 800",
                    "play c x/1 20 30 700",
                ],
                vec![],
                0,
                0,
            ),
            (
                "the publisher came back, and found another origin when all had left",
                &[
                    "publish a x/1 0 10 400",
                    "play b x/1 20 30 390",
                    "publish c y/1 395 400 800",
                ],
                vec![],
                0,
                0,
            ),
            (
                "one was over before its grant was read",
                &["publish a x/1 0 10 400", "play b y/1 20 300 300"],
                vec![],
                0,
                0,
            ),
            (
                "two first publishers were sent to two origins",
                &["publish a x/1 0 10 400", "publish b y/1 0 11 400"],
                vec![],
                1,
                0,
            ),
            (
                "a player is not where its publisher is",
                &["publish a x/1 0 10 400", "play b y/1 100 110 200"],
                vec![],
                1,
                0,
            ),
            (
                "a player that was first stays where the publisher does not come",
                &["play b y/1 0 5 900", "publish a x/1 100 110 400"],
                vec![],
                1,
                0,
            ),
            (
                "an encoder was held, and its players went elsewhere",
                &["published a x/1 10 10 4000", "play b y/1 100 110 2200"],
                vec![],
                1,
                0,
            ),
            (
                "an encoder has two origins",
                &[
                    "published a x/1 10 10 4000",
                    "published a y/1 1000 1000 3000",
                ],
                vec![],
                1,
                0,
            ),
            (
                "an origin took a publisher that another was to have",
                &[
                    "published a x/1 10 10 4000",
                    "published b y/1 1000 1000 2900",
                ],
                vec![],
                0,
                0,
            ),
            (
                "players without a publisher are apart",
                &["play a x/1 0 5 900", "play b y/1 0 6 900"],
                vec![],
                1,
                0,
            ),
            (
                "another instance of the same origin is another place",
                &["publish a x/1 0 10 400", "play b x/2 100 110 200"],
                vec![],
                1,
                0,
            ),
            (
                "apart for a millisecond",
                &["publish a x/1 0 10 400", "publish b y/1 390 399 800"],
                vec![],
                1,
                0,
            ),
            (
                "a short one between two long ones hides nothing",
                &[
                    "publish a x/1 0 10 900",
                    "play b x/1 20 30 40",
                    "play c y/1 50 60 70",
                ],
                vec![],
                1,
                0,
            ),
            (
                "each pair counts",
                &["play a x/1 0 1 9", "play b y/1 0 1 9", "play c z/1 0 1 9"],
                vec![],
                3,
                0,
            ),
            (
                "a proxy without the store placed it elsewhere, and it was put right",
                &["publish a x/1 0 10 900", "play b y/1 200 210 600"],
                vec![away("b", 100, 500)],
                0,
                1,
            ),
            (
                "asked while the store was away, granted when it was back",
                &["publish a x/1 0 10 900", "play b y/1 490 520 600"],
                vec![away("b", 100, 500)],
                0,
                1,
            ),
            (
                "asked before the store was gone",
                &["publish a x/1 0 10 900", "play b y/1 90 150 600"],
                vec![away("b", 100, 500)],
                0,
                1,
            ),
            (
                "it was never put right",
                &["publish a x/1 0 10 9000", "play b y/1 200 210 5501"],
                vec![away("b", 100, 500)],
                1,
                0,
            ),
            (
                "another proxy was without the store",
                &["publish a x/1 0 10 900", "play b y/1 200 210 600"],
                vec![away("c", 100, 500)],
                1,
                0,
            ),
            (
                "the store was back long since",
                &["publish a x/1 0 10 900", "play b y/1 600 610 700"],
                vec![away("b", 100, 500)],
                1,
                0,
            ),
            (
                "both had the store when they were placed",
                &["publish a x/1 0 10 900", "play b y/1 20 30 900"],
                vec![away("a", 100, 500), away("b", 100, 500)],
                1,
                0,
            ),
        ];
        for (cause, history, excuses, splits, excused) in rows {
            let lives: Vec<Life> = history.iter().map(|line| life(line)).collect();
            let verdict = judge(&lives, &excuses);
            let found = (verdict.splits.len(), verdict.excused.len());
            assert_eq!(found, (splits, excused), "{cause}: {}", verdict.words());
        }
    }

    #[test]
    fn streams_do_not_meet() {
        let one = life("publish a x/1 0 10 400");
        let mut other = life("publish a y/1 0 10 400");
        other.stream = "live/b".to_owned();
        let verdict = judge(&[one, other], &[]);
        assert_eq!((verdict.splits.len(), verdict.streams), (0, 2));
    }

    #[test]
    fn the_verdict_says_how_long_it_took_to_heal() {
        let history = ["publish a x/1 0 10 900", "play b y/1 200 210 600"].map(life);
        let verdict = judge(&history, &[away("b", 100, 500)]);
        assert_eq!(verdict.healed_within(), Duration::from_millis(100));
    }
}
