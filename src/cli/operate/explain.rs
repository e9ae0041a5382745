//! Explains why a stream is where it is, in sentences for an operator who was just woken up.

use sluicegate_core::counted::counted;

use super::table::table;
use super::tell::{ago, folded, progress, span};
use crate::api::{Origin, SessionHold};
use crate::lookup::{AccessSaid, Claimed, Explanation, Ranked, RefusedSaid};

/// The text about `said`. `left_out` is the origin that was left out of the question, `otherwise` the answer without
/// the origin that the stream goes to, and `fleet` all origins, for facts about the rejected ones.
pub(super) fn story(
    said: &Explanation,
    left_out: Option<&str>,
    otherwise: Option<&Explanation>,
    fleet: &[Origin],
) -> String {
    let mut out = folded(&goes(said, left_out));
    if let Some(access) = &said.access {
        out.push_str(&may(access));
    }
    if let Some(last) = &said.last_refused {
        out.push_str(&folded(&format!(
            "The last client of it that got no session, {} ago: {}.",
            span(last.seconds_ago as f64),
            last.what
        )));
    }
    if let Some(claim) = &said.claim {
        out.push_str(&folded(&claimed(claim, said.origin.as_deref())));
        for hold in &claim.holds {
            out.push_str(&folded(&held(hold)));
        }
    }
    if said.key != said.stream {
        out.push_str(&folded(&format!(
            "It is placed as {}, together with the streams of other vhosts.",
            short(&said.key)
        )));
    }
    if let Some(rule) = &said.rule {
        out.push_str(&folded(&format!(
            "The rule \"{rule}\" says which origins may have it."
        )));
    }
    if let (Some(origin), Some(otherwise)) = (&said.origin, otherwise) {
        out.push_str(&folded(&match &otherwise.origin {
            Some(next) => format!(
                "If {origin} were gone, it would go to {next}: {}.",
                otherwise.why
            ),
            None => format!(
                "If {origin} were gone, it would go nowhere: {}.",
                why(otherwise)
            ),
        }));
    }
    if !said.candidates.is_empty() {
        let zone = said.zone.as_ref();
        let preferred =
            zone.map_or_else(String::new, |zone| format!(", those in zone {zone} first"));
        let all_full = if said.overflows {
            "; all are full, and take streams nevertheless"
        } else {
            ""
        };
        out.push('\n');
        out.push_str(&folded(&format!(
            "May take it over {} if it is nowhere, the best first by {}{preferred}{all_full}:",
            said.service, said.policy
        )));
        out.push_str(&candidates(&said.candidates));
    }
    let troubled = troubled(said, fleet);
    if !troubled.is_empty() {
        out.push_str("\nNot well:\n");
        for (origin, why) in troubled {
            out.push_str(&folded(&format!("  {}: {why}", origin.id)));
        }
    }
    if !said.rejected.is_empty() {
        out.push_str("\nMay not take it:\n");
    }
    for rejected in &said.rejected {
        let origin = fleet.iter().find(|origin| origin.id == rejected.origin);
        let why = why_not(&rejected.reason, &said.service, origin);
        out.push_str(&folded(&format!("  {}: {why}", rejected.origin)));
    }
    out
}

fn goes(said: &Explanation, left_out: Option<&str>) -> String {
    let (stream, why) = (short(&said.stream), why(said));
    if let (Some(origin), Some(refused)) = (&said.origin, &said.refused) {
        return refusal(said, origin, refused);
    }
    match (left_out, &said.origin) {
        (None, Some(origin)) => format!("{stream} goes to {origin}: {why}."),
        (None, None) => format!("{stream} goes nowhere: {why}."),
        (Some(gone), Some(origin)) => {
            format!("Without {gone}, {stream} would go to {origin}: {why}.")
        }
        (Some(gone), None) => format!("Without {gone}, {stream} would go nowhere: {why}."),
    }
}

/// What a client hears of a stream that is where its protocol does not lead.
fn refusal(said: &Explanation, origin: &str, refused: &RefusedSaid) -> String {
    let stream = short(&said.stream);
    let code = refused.code;
    let code = code.map_or_else(String::new, |code| format!(" ({code})"));
    let words = refused.words.replacen(&said.stream, stream, 1);
    format!(
        "{stream} cannot be had over {}: it goes to {origin} ({}), and a client is refused{code}: \"{words}\".",
        said.service, said.why
    )
}

/// The reason without the stream: a refusal begins with the stream's name, which was already mentioned.
fn why(said: &Explanation) -> &str {
    let rest = said.why.strip_prefix(said.stream.as_str());
    rest.and_then(|rest| rest.strip_prefix(": "))
        .unwrap_or(&said.why)
}

/// Whether the client that was asked about may, and what decides.
fn may(access: &AccessSaid) -> String {
    let verdict = if access.may {
        "This client may have it".to_owned()
    } else {
        format!("This client may not have it ({})", access.reason)
    };
    let decides = match access.rule {
        Some(number) => format!("access rule {number} decides: {}", access.words),
        None => access.words.clone(),
    };
    let mut out = folded(&format!("{verdict}: {decides}."));
    for one in &access.checks {
        out.push_str(&folded(&format!("  {}: {}", one.check, one.says)));
    }
    out
}

fn claimed(claim: &Claimed, goes_to: Option<&str>) -> String {
    let who = if goes_to == Some(claim.origin.as_str()) {
        "It was claimed".to_owned()
    } else {
        format!("It is claimed for {},", claim.origin)
    };
    let why = if claim.why.is_empty() {
        "not by this proxy since it started"
    } else {
        &claim.why
    };
    let joined = match (claim.publishers, claim.players) {
        (0, 0) => "Nobody has it through this proxy now".to_owned(),
        (0, players) => format!(
            "No publisher and {} are joined through this proxy",
            counted(players, "player")
        ),
        (publishers, players) => format!(
            "{} and {} are joined through this proxy",
            counted(publishers, "publisher"),
            counted(players, "player")
        ),
    };
    format!(
        "{who} {} (fence {}): {why}. {joined}.",
        ago(claim.age_seconds),
        claim.fence
    )
}

/// A time in which the publisher had no origin that got its media.
fn held(hold: &SessionHold) -> String {
    let from = hold.from.as_deref().unwrap_or("its origin");
    let lost = format!(
        "{}, its publisher lost {from} ({})",
        ago(hold.ago_seconds),
        hold.reason
    );
    match (&hold.to, hold.gap_ms) {
        (Some(to), Some(gap)) => format!(
            "{lost} and went on at {to} after {gap} ms, without {}.",
            counted(hold.dropped, "message")
        ),
        (Some(to), None) => format!("{lost}. {to} has taken it and waits for a keyframe."),
        (None, _) => format!("{lost} and is held until another origin takes it."),
    }
}

/// Origins that the stream may go to although they are not well, and what is the matter: where all fail, they are better
/// than none.
fn troubled<'a>(said: &Explanation, fleet: &'a [Origin]) -> Vec<(&'a Origin, String)> {
    let may_have_it = |origin: &&Origin| {
        said.origin.as_deref() == Some(&*origin.id)
            || said.candidates.iter().any(|one| one.origin == origin.id)
    };
    let trouble = |origin: &'a Origin| {
        let reason = match &*origin.state {
            "failing" => "failing",
            "suspect" => "silent",
            _ => return None,
        };
        Some((origin, why_not(reason, &said.service, Some(origin))))
    };
    let concerned = fleet.iter().filter(may_have_it);
    concerned.filter_map(trouble).collect()
}

fn candidates(ranked: &[Ranked]) -> String {
    let row = |one: &Ranked| {
        [
            one.origin.clone(),
            format!("{:.2}", one.score),
            one.weight.to_string(),
            one.streams.to_string(),
            one.load_percent
                .map_or_else(|| "-".to_owned(), |load| format!("{load:.0}%")),
            one.services.to_string(),
            match one.local {
                Some(true) => "near",
                Some(false) => "far",
                None => "-",
            }
            .to_owned(),
        ]
    };
    let rows: Vec<[String; 7]> = ranked.iter().map(row).collect();
    let heading = [
        "ORIGIN", "SCORE", "WEIGHT", "STREAMS", "LOAD", "SERVICES", "ZONE",
    ];
    table(heading, &rows)
}

/// Why an origin may not have the stream, with facts about it; one that is gone by now has none.
fn why_not(reason: &str, service: &str, origin: Option<&Origin>) -> String {
    let full = |name: &str, limit: fn(&Origin) -> Option<u32>| match origin.and_then(limit) {
        Some(limit) => format!("full: {name} is {limit}"),
        None => format!("full: {name} is reached"),
    };
    match reason {
        "busy" => "more than four fifths of its processors or of its bandwidth are in use".into(),
        "disabled" => "an operator disabled it; `sluicegate undrain` gives it back".into(),
        "draining" => match origin.and_then(|origin| origin.drain.as_ref()) {
            Some(drain) => {
                let since = span(drain.since_seconds);
                format!(
                    "draining for {since} ({}), {}",
                    drain.cause,
                    progress(drain)
                )
            }
            None => "draining".into(),
        },
        "dialect" => match origin.map(|origin| origin.dialect.as_str()) {
            Some(dialect) if !matches!(dialect, "" | "srs") => {
                format!("a {dialect} origin has no address for this name, or lacks {service}")
            }
            _ => "its prefix is not that of this name".into(),
        },
        "excluded" => "left out, as asked".into(),
        "failing" => match origin.and_then(|origin| origin.notes.first()) {
            Some(note) => format!("failing; {} ago: {}", span(note.seconds_ago), note.what),
            None => "failing".into(),
        },
        "full_of_bandwidth" => full("max_mbps", |origin| origin.max_mbps),
        "full_of_sessions" => full("max_sessions", |origin| origin.max_sessions),
        "full_of_streams" => full("max_streams", |origin| origin.max_streams),
        "no_service" => format!("it has no {service} endpoint"),
        "not_in_pool" => "the rule asks for others".into(),
        "silent" => match origin.map(|origin| span(origin.last_seen_seconds)) {
            Some(since) => format!("it stopped reporting, {since} ago"),
            None => "it stopped reporting".into(),
        },
        "weightless" => "its weight is 0".into(),
        other => other.replace('_', " "),
    }
}

/// A stream's name as people write it: without the default vhost.
fn short(stream: &str) -> &str {
    stream.strip_prefix("__defaultVhost__/").unwrap_or(stream)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::operate::table::WIDTH;
    use crate::lookup::{LastRefused, Rejected};
    use serde_json::{Value, json};

    fn read(origin: Value) -> Origin {
        serde_json::from_value(origin).expect("an origin as the system API shows it")
    }

    #[test]
    fn the_last_client_that_got_nothing_is_told_of() {
        let explained = Explanation {
            last_refused: Some(LastRefused {
                seconds_ago: 70,
                what: "play by rtmp: one: closed the connection without a word".to_owned(),
            }),
            ..said(Some("one"), "first of 1 by rendezvous")
        };
        let told = story(&explained, None, None, &[]).replace("\n    ", " ");
        let expected = "The last client of it that got no session, 1m10s ago: \
                        play by rtmp: one: closed the connection without a word.";
        assert!(told.lines().any(|line| line == expected), "{told}");
    }

    #[test]
    fn holds_are_told_with_what_was_lost_and_what_followed() {
        let hold = |to: Option<&str>, gap_ms| SessionHold {
            reason: "closed".to_owned(),
            from: Some("one".to_owned()),
            to: to.map(str::to_owned),
            gap_ms,
            dropped: 1,
            ago_seconds: 70.0,
        };
        for (hold, expected) in [
            (
                hold(Some("two"), Some(312)),
                "1m10s ago, its publisher lost one (closed) and went on at two after 312 ms, without 1 message.",
            ),
            (
                hold(Some("two"), None),
                "1m10s ago, its publisher lost one (closed). two has taken it and waits for a keyframe.",
            ),
            (
                hold(None, None),
                "1m10s ago, its publisher lost one (closed) and is held until another origin takes it.",
            ),
        ] {
            assert_eq!(held(&hold), expected);
        }
    }

    fn said(origin: Option<&str>, why: &str) -> Explanation {
        Explanation {
            stream: "__defaultVhost__/live/a".to_owned(),
            key: "__defaultVhost__/live/a".to_owned(),
            service: "rtmp".to_owned(),
            policy: "rendezvous".to_owned(),
            rule: None,
            zone: None,
            origin: origin.map(str::to_owned),
            why: why.to_owned(),
            refused: None,
            last_refused: None,
            claim: None,
            candidates: Vec::new(),
            rejected: Vec::new(),
            overflows: false,
            access: None,
        }
    }

    fn claim(origin: &str, why: &str, publishers: usize, players: usize) -> Option<Claimed> {
        Some(Claimed {
            origin: origin.to_owned(),
            age_seconds: 724.0,
            fence: 3,
            why: why.to_owned(),
            publishers,
            players,
            holds: Vec::new(),
        })
    }

    #[test]
    fn where_it_goes_is_the_first_sentence() {
        let rows = [
            (
                said(Some("two"), "it is placed there"),
                None,
                "live/a goes to two: it is placed there.\n",
            ),
            (
                said(
                    None,
                    "__defaultVhost__/live/a: no origin has an rtmp endpoint",
                ),
                None,
                "live/a goes nowhere: no origin has an rtmp endpoint.\n",
            ),
            (
                said(Some("one"), "first of 1 by rendezvous"),
                Some("two"),
                "Without two, live/a would go to one: first of 1 by rendezvous.\n",
            ),
            (
                Explanation {
                    service: "srt".to_owned(),
                    refused: Some(RefusedSaid {
                        code: Some(1404),
                        words: "__defaultVhost__/live/a is on two, which has no srt".to_owned(),
                    }),
                    ..said(Some("two"), "it is placed there")
                },
                None,
                "live/a cannot be had over srt: it goes to two (it is placed there), and a client is refused (1404):\n    \"live/a is on two, which has no srt\".\n",
            ),
            (
                said(None, "0 of 1"),
                Some("two"),
                "Without two, live/a would go nowhere: 0 of 1.\n",
            ),
        ];
        for (said, left_out, expected) in rows {
            assert_eq!(story(&said, left_out, None, &[]), expected);
        }
    }

    #[test]
    fn the_claim_says_since_when_why_and_for_whom() {
        let rows = [
            (
                claim("two", "first of 3 by rendezvous", 1, 4),
                "It was claimed 12m04s ago (fence 3): first of 3 by rendezvous. \
                 1 publisher and 4 players are joined through this proxy.",
            ),
            (
                claim("two", "", 0, 1),
                "It was claimed 12m04s ago (fence 3): not by this proxy since it started. \
                 No publisher and 1 player are joined through this proxy.",
            ),
            (
                claim("three", "first of 3 by rendezvous", 0, 0),
                "It is claimed for three, 12m04s ago (fence 3): first of 3 by rendezvous. \
                 Nobody has it through this proxy now.",
            ),
        ];
        for (claim, expected) in rows {
            let told = claimed(&claim.expect("a claim"), Some("two"));
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn a_rejection_says_what_is_known_of_the_origin() {
        let origin: Origin = read(json!({
            "last_seen_seconds": 40.0, "max_streams": 1, "max_sessions": 9, "max_mbps": 900,
            "drain": {"cause": "operator", "since_seconds": 250.0, "publishers": 3, "players": 2,
                      "done": false, "eta_seconds": null},
            "notes": [{"seconds_ago": 12.0, "what": "10.0.0.4:1935: connection refused"}],
        }));
        let rows = [
            (
                "draining",
                "draining for 4m10s (operator), 3 publishers and 2 players left, no deadline",
            ),
            (
                "failing",
                "failing; 12s ago: 10.0.0.4:1935: connection refused",
            ),
            ("silent", "it stopped reporting, 40s ago"),
            ("full_of_streams", "full: max_streams is 1"),
            ("full_of_sessions", "full: max_sessions is 9"),
            ("full_of_bandwidth", "full: max_mbps is 900"),
            ("no_service", "it has no srt endpoint"),
            ("excluded", "left out, as asked"),
            ("a_new_word", "a new word"),
        ];
        for (reason, expected) in rows {
            assert_eq!(why_not(reason, "srt", Some(&origin)), expected);
            assert!(!why_not(reason, "srt", None).is_empty());
        }
    }

    #[test]
    fn where_the_stream_may_go_to_origins_that_fail_is_said_why_they_do() {
        let note = |what: &str| json!([{"seconds_ago": 12.0, "what": what}]);
        let fleet = [
            read(json!({"id": "one", "state": "failing", "notes": note("connection refused")})),
            read(json!({"id": "two", "state": "failing", "notes": note("no answer in time")})),
            read(json!({"id": "three", "state": "suspect", "last_seen_seconds": 40.0})),
            read(json!({"id": "well", "state": "up"})),
            read(json!({"id": "elsewhere", "state": "failing", "notes": note("refused")})),
        ];
        let ranked = |origin: &str| Ranked {
            origin: origin.to_owned(),
            score: 0.5,
            weight: 100,
            streams: 0,
            load_percent: None,
            services: 1,
            local: None,
        };
        let mut nowhere = said(Some("one"), "first of 3 by rendezvous");
        nowhere.candidates = ["one", "two", "well"].map(ranked).to_vec();
        let told = story(&nowhere, None, None, &fleet);
        let expected = "\n\nNot well:\n  one: failing; 12s ago: connection refused\n  \
                        two: failing; 12s ago: no answer in time\n";
        assert!(told.ends_with(expected), "{told}");

        let standing = said(Some("three"), "it is placed there");
        let told = story(&standing, None, None, &fleet);
        let expected = "\nNot well:\n  three: it stopped reporting, 40s ago\n";
        assert!(told.ends_with(expected), "{told}");
    }

    #[test]
    fn the_whole_story_fits_a_terminal() {
        let ranked = |origin: &str, score, local| Ranked {
            origin: origin.to_owned(),
            score,
            weight: 100,
            streams: 12,
            load_percent: Some(40.04),
            services: 3,
            local: Some(local),
        };
        let whole = Explanation {
            key: "*/live/a".to_owned(),
            rule: Some("app=live label=gpu".to_owned()),
            zone: Some("eu".to_owned()),
            claim: claim("two", "first of 3 by rendezvous, 1 draining", 1, 4),
            candidates: vec![
                ranked("two", 0.914, true),
                ranked(&"x".repeat(120), -1.0, false),
            ],
            rejected: vec![Rejected {
                origin: "three".to_owned(),
                reason: "draining".to_owned(),
            }],
            ..said(Some("two"), "it is placed there")
        };
        let otherwise = said(Some("one"), "first of 1 by rendezvous, 1 excluded");
        let fleet = [read(
            json!({"id": "three", "drain": {"cause": "gone from its source",
            "since_seconds": 5.0, "publishers": 1, "players": 0, "done": false, "eta_seconds": null}}),
        )];
        let told = story(&whole, None, Some(&otherwise), &fleet);
        for line in told.lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
        for sentence in [
            "live/a goes to two: it is placed there.\n",
            "If two were gone, it would go to one: first of 1 by rendezvous, 1 excluded.\n",
            "It is placed as */live/a",
            "The rule \"app=live label=gpu\"",
            "\n\nMay take it over rtmp if it is nowhere, the best first by rendezvous, those in zone eu first:\n",
            "40%   3         near\n",
            "\n\nMay not take it:\n  three: draining for 5s (gone from its source), 1 publisher ",
        ] {
            assert!(told.contains(sentence), "{sentence}\n{told}");
        }
    }
}
