//! The table of times in `docs/failover.md` says what the code does.

use std::time::Duration;

use sluicegate_core::http::splice;
use sluicegate_core::place::hold::{ASK_AGAIN, FIRST_PAUSE, KEPT, LASTS};
use sluicegate_core::srt::flows;

use crate::config::{parse_duration, setting};
use crate::proxy::hold::{ASKED_AFTER, BLOCKED_AT_MOST, BLOCKED_FOR};
use crate::registry::WATCHED;
use crate::{hub, proxy, sessions};

const PAGE: &str = include_str!("../../docs/failover.md");

/// The rows of the table: what is meant, how long it is, and what else is said.
fn rows() -> Vec<[&'static str; 3]> {
    let (_, table) = PAGE.split_once("\n## Times\n").expect("the table");
    let lines = table.trim_start().lines().skip(2);
    lines
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let mut cell = || cells.next().expect("three cells");
            [cell(), cell(), cell()]
        })
        .collect()
}

/// What a row means that no setting decides.
fn fixed(what: &str) -> Duration {
    match what {
        "between two rounds for a publisher" => ASK_AGAIN,
        "between two rounds for a pull" | "between two rounds for an SRT player" => FIRST_PAUSE,
        "SRT players of a stream that moves have an answer at the other origin, before its publisher goes there" => {
            proxy::moves::FOLLOWED_WITHIN
        }
        "an SRT publisher's former origin has passed on all that it has, and its leg is closed" => {
            flows::PASSES_ON_FOR
        }
        "an SRT origin that is silent after its machine said that nothing listens there is lost" => {
            flows::REFUSED_FOR
        }
        "an SRT origin that owes an answer is asked whether it is there" => flows::ASKED_AFTER,
        "the same SRT origin is lost, if it does not answer that either" => flows::SILENT_FOR,
        "the same SRT origin is lost, though it answers that" => flows::FORGOTTEN_FOR,
        "an origin that takes nothing from a publisher, or acknowledges nothing, is asked whether it speaks" => {
            ASKED_AFTER
        }
        "the same origin is lost, if it does not speak" => BLOCKED_FOR,
        "the same origin is lost, though it speaks" => BLOCKED_AT_MOST,
        "an origin that sends nothing to a pull is asked whether it speaks" => hub::QUIET,
        "a publisher's next keyframe at its new origin"
        | "a keyframe for a move that has been granted" => sessions::KEYFRAME_WITHIN,
        "the loss of a playlist is known before its first gap" => {
            Duration::from_millis(splice::SETTLES)
        }
        "a viewer of a playlist that has not asked for it is no longer held" => WATCHED,
        CLOSES_AGAIN | ENDS_AFTER_AN_ERROR => KEPT,
        other => panic!("nothing is known of {other:?}"),
    }
}

const CLOSES_AGAIN: &str = "an origin that closes what it got back sooner than this has said no";
const ENDS_AFTER_AN_ERROR: &str = "an origin that ends its connection over RTMP sooner than this after it reported an error has said no";

#[test]
fn every_time_in_the_table_is_the_one_that_counts() {
    let rows = rows();
    assert_eq!(rows.len(), 24);
    for [what, said, more] in rows {
        let said = said.trim_start_matches("after ").replace(' ', "");
        let path = more
            .strip_prefix('`')
            .and_then(|more| more.split('`').next());
        let path = path.filter(|path| setting(path).is_some());
        let counts = match path {
            Some(path) => {
                let default = setting(path).expect("it was found").default;
                parse_duration(default).expect("a duration")
            }
            None => fixed(what),
        };
        assert_eq!(parse_duration(&said).expect("a duration"), counts, "{what}");
    }
}

#[test]
fn what_else_the_table_says_is_so() {
    let said = |what: &str| {
        let rows = rows();
        let row = rows.iter().find(|row| row[0] == what).expect("a row");
        row[2]
    };
    let publisher = said("a publisher without an origin");
    assert!(
        publisher.ends_with(&format!("within {} s", LASTS.as_secs())),
        "{publisher}"
    );
    let pull = said(CLOSES_AGAIN);
    let longest = (ASK_AGAIN * hub::RARER).as_secs();
    let longest = format!("every {longest} s at most");
    assert!(pull.ends_with(&longest), "{pull}");
    let pull = said("between two rounds for a pull");
    let longest = format!("at most {} ms", ASK_AGAIN.as_millis());
    assert!(pull.ends_with(&longest), "{pull}");
}
