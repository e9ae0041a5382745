//! How a fleet reacts to registrations, silence, dials and lists.

use super::*;
use crate::fleet::drain::{Cause, Drain};
use crate::fleet::origin::{AddressRules, Origin, parse_registration};
use crate::place::placement::{PlacementQuestion, place};

fn origin(server: &str, pid: &str, ip: &str, rtmp: u16) -> Origin {
    let body = format!(
        r#"{{"ip":"{ip}","server":"{server}","service":"s{pid}","pid":"{pid}","rtmp":["{rtmp}"]}}"#
    );
    parse_registration(body.as_bytes(), &AddressRules::default()).expect("a valid registration")
}

fn fleet() -> (Fleet, Instant) {
    (
        Fleet::new(Duration::from_secs(300), 100, Rules::default()),
        Instant::now_for_tests(),
    )
}

/// The origins that may take a stream, as placement sees them.
fn candidates(fleet: &Fleet, now: Instant, service: Service) -> Vec<String> {
    let url = crate::stream::StreamUrl::new("", "live", "a").unwrap();
    let question = PlacementQuestion {
        key: &crate::stream::VhostRule::Ignored.key(&url),
        pool: None,
        zone: None,
        only: None,
        without: &[],
        draw: crate::place::policy::Draw::default(),
    };
    let standing = fleet.survey(now, Some(service));
    let rules = crate::place::placement::Rules::default();
    let decision = place(
        &crate::place::policy::Rendezvous,
        &rules,
        &standing,
        &question,
    );
    let mut names: Vec<String> = decision
        .ranked
        .iter()
        .map(|candidate| candidate.origin.to_string())
        .collect();
    names.sort();
    names
}

trait NowForTests {
    fn now_for_tests() -> Instant;
}

impl NowForTests for Instant {
    #[allow(
        clippy::disallowed_methods,
        reason = "a test needs some instant to count from"
    )]
    fn now_for_tests() -> Instant {
        Self::now()
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_restart_in_the_same_place_replaces_the_old_entry_at_once() {
    let (mut fleet, now) = fleet();
    let first = fleet
        .register(now, origin("vid-1", "1", "10.0.0.1", 1935))
        .unwrap();
    assert_eq!(
        first,
        Registered {
            id: "vid-1".into(),
            change: Change::New
        }
    );
    let again = fleet
        .register(now + SECOND, origin("vid-1", "2", "10.0.0.1", 1935))
        .unwrap();
    assert_eq!(again.id, "vid-1".into());
    assert_eq!(
        again.change,
        Change::Restarted {
            previous: "vid-1".into()
        }
    );
    assert_eq!(fleet.members().count(), 1);
}

#[test]
fn a_server_with_two_ids_is_told_by_its_address() {
    let (mut fleet, now) = fleet();
    for (server, ip, port) in [
        ("one", "10.0.0.1", 1935),
        ("again", "10.0.0.1", 1935),
        ("beside", "10.0.0.1", 1936),
        ("elsewhere", "10.0.0.2", 1935),
    ] {
        fleet.register(now, origin(server, "1", ip, port)).unwrap();
    }
    for (id, others) in [
        ("one", vec!["again".into()]),
        ("again", vec!["one".into()]),
        ("beside", vec![]),
        ("nobody", vec![]),
    ] {
        assert_eq!(fleet.at_the_address_of(&id.into()), others, "{id}");
    }
}

#[test]
fn a_restart_elsewhere_replaces_the_old_entry_after_two_missed_heartbeats() {
    let (mut fleet, now) = fleet();
    fleet
        .register(now, origin("vid-1", "1", "10.0.0.1", 1935))
        .unwrap();
    fleet
        .register(now + 9 * SECOND, origin("vid-1", "1", "10.0.0.1", 1935))
        .unwrap();
    let moved = fleet
        .register(now + 27 * SECOND, origin("vid-1", "2", "10.0.0.2", 1935))
        .unwrap();
    assert_eq!(
        moved.change,
        Change::Restarted {
            previous: "vid-1".into()
        }
    );
    assert_eq!(fleet.members().count(), 1);
}

#[test]
fn cloned_disks_stand_side_by_side_and_alternating_heartbeats_change_nothing() {
    let (mut fleet, now) = fleet();
    let one = || origin("vid-1", "1", "10.0.0.1", 1935);
    let two = || origin("vid-1", "2", "10.0.0.2", 1935);
    fleet.register(now, one()).unwrap();
    let second = fleet.register(now + SECOND, two()).unwrap();
    let renamed = Some(("vid-1".into(), "vid-1-s1-1".into()));
    assert_eq!(second.id, "vid-1-s2-2".into());
    assert_eq!(
        second.change,
        Change::Collision {
            renamed,
            other: "10.0.0.1:1935".to_owned()
        }
    );
    for beat in 1..20 {
        let at = now + beat * 9 * SECOND;
        assert_eq!(fleet.register(at, one()).unwrap().change, Change::Heartbeat);
        assert_eq!(
            fleet.register(at + SECOND, two()).unwrap().change,
            Change::Heartbeat
        );
    }
    assert_eq!(fleet.members().count(), 2);
    // A restart of one of them takes its place and leaves the other alone.
    let restarted = fleet
        .register(now + 181 * SECOND, origin("vid-1", "3", "10.0.0.2", 1935))
        .unwrap();
    assert_eq!(restarted.id, "vid-1-s3-3".into());
    assert_eq!(
        restarted.change,
        Change::Restarted {
            previous: "vid-1-s2-2".into()
        }
    );
    assert!(fleet.member(&"vid-1-s1-1".into()).is_some());
}

#[test]
fn silence_makes_suspect_and_then_forgotten() {
    let (mut fleet, now) = fleet();
    fleet
        .register(now, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    fleet
        .register(now + 10 * SECOND, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    let id = OriginId::from("a");
    assert_eq!(fleet.state(now + 39 * SECOND, &id), Some(State::Up));
    assert_eq!(fleet.state(now + 40 * SECOND, &id), Some(State::Suspect));
    assert!(candidates(&fleet, now + 40 * SECOND, Service::Rtmp).is_empty());
    assert!(fleet.expire(now + 309 * SECOND, |_| false).is_empty());
    assert!(
        fleet.expire(now + 310 * SECOND, |_| true).is_empty(),
        "it is kept for the streams on it"
    );
    assert!(candidates(&fleet, now + 310 * SECOND, Service::Rtmp).is_empty());
    assert_eq!(fleet.expire(now + 310 * SECOND, |_| false), vec![id]);
}

#[test]
fn a_failed_dial_is_passed_over_for_a_moment_unless_nobody_else_is_left() {
    let (mut fleet, now) = fleet();
    fleet
        .register(now, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    fleet
        .register(now, origin("b", "1", "10.0.0.2", 1935))
        .unwrap();
    fleet.dial_failed(now, &"a".into(), Fault::Refused, "refused");
    let names = |fleet: &Fleet, at| candidates(fleet, at, Service::Rtmp);
    assert_eq!(names(&fleet, now), ["b"]);
    assert_eq!(names(&fleet, now + SECOND), ["a", "b"]);
    fleet.dial_failed(now, &"b".into(), Fault::Refused, "refused");
    assert_eq!(names(&fleet, now), ["a", "b"]);
    fleet.answered(now, &"a".into());
    assert_eq!(names(&fleet, now), ["a"]);
    assert!(
        candidates(&fleet, now, Service::Srt).is_empty(),
        "no endpoint, no candidate"
    );
}

#[test]
fn many_dials_that_fail_at_once_are_one_failure() {
    let (mut fleet, now) = fleet();
    fleet
        .register(now, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    (0..50).for_each(|_| fleet.dial_failed(now, &"a".into(), Fault::Refused, "refused"));
    assert_eq!(fleet.state(now + SECOND, &"a".into()), Some(State::Up));
    fleet.dial_failed(now + SECOND, &"a".into(), Fault::Refused, "refused");
    assert_eq!(
        fleet.state(now + 2 * SECOND, &"a".into()),
        Some(State::Failing),
        "the next one doubles it"
    );
    assert_eq!(fleet.state(now + 3 * SECOND, &"a".into()), Some(State::Up));
}

#[test]
fn nobody_takes_the_place_of_an_origin_with_a_like_name() {
    let (mut fleet, now) = fleet();
    let default = origin("default", "0", "10.0.0.9", 1935);
    fleet.insert_permanent(now, "default".into(), default.clone());
    let named_so = fleet
        .register(now, origin("default", "1", "10.0.0.1", 1935))
        .unwrap();
    assert_eq!(
        named_so,
        Registered {
            id: "default-s1-1".into(),
            change: Change::New
        }
    );
    let reads_so = fleet
        .register(now, origin("default-s1-1", "1", "10.0.0.2", 1935))
        .unwrap();
    assert_eq!(
        reads_so,
        Registered {
            id: "default-s1-1-s1-1".into(),
            change: Change::New
        }
    );
    assert_eq!(fleet.member(&"default".into()).unwrap().origin, default);
    let again = fleet
        .register(now + SECOND, origin("default", "1", "10.0.0.1", 1935))
        .unwrap();
    assert_eq!(
        again,
        Registered {
            id: "default-s1-1".into(),
            change: Change::Heartbeat
        }
    );
    assert_eq!(fleet.members().count(), 3);
}

#[test]
fn an_origin_that_is_silent_and_fails_is_no_candidate_though_nobody_else_is_left() {
    let (mut fleet, now) = fleet();
    fleet
        .register(now, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    fleet
        .register(now + 10 * SECOND, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    fleet.dial_failed(now + 40 * SECOND, &"a".into(), Fault::Refused, "refused");
    assert!(candidates(&fleet, now + 40 * SECOND, Service::Rtmp).is_empty());
}

#[test]
fn a_full_table_refuses_newcomers_and_keeps_heartbeats() {
    let mut fleet = Fleet::new(Duration::from_secs(300), 1, Rules::default());
    let now = Instant::now_for_tests();
    fleet
        .register(now, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    assert_eq!(
        fleet.register(now, origin("b", "1", "10.0.0.2", 1935)),
        Err(FleetFull(1))
    );
    assert_eq!(
        fleet
            .register(now, origin("a", "1", "10.0.0.1", 1935))
            .unwrap()
            .change,
        Change::Heartbeat
    );
}

#[test]
fn what_an_operator_wants_of_an_origin_outlives_its_restarts() {
    let (mut fleet, now) = fleet();
    let id = OriginId::from("a");
    fleet
        .register(now, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    for cause in [Cause::Operator, Cause::Deregistered] {
        let drain = Drain::begin(Duty::Active, now, None, cause);
        assert!(fleet.set_duty(&id, Duty::Draining(drain)));
        fleet
            .register(now + SECOND, fleet.member(&id).unwrap().origin.clone())
            .unwrap();
        assert_eq!(fleet.member(&id).unwrap().duty, Duty::Draining(drain));
        assert!(candidates(&fleet, now, Service::Rtmp).is_empty());
        let pid = format!("{cause:?}");
        fleet
            .register(now + SECOND, origin("a", &pid, "10.0.0.1", 1935))
            .unwrap();
        let stays = cause == Cause::Operator;
        let drains = fleet.member(&id).unwrap().duty == Duty::Draining(drain);
        assert_eq!(drains, stays, "{cause:?}");
    }
    fleet.set_duty(&id, Duty::Disabled);
    assert!(candidates(&fleet, now, Service::Rtmp).is_empty());
    assert!(
        fleet.expire(now + 900 * SECOND, |_| false).is_empty(),
        "it is not to come back as a stranger"
    );
    assert!(!fleet.set_duty(&"nobody".into(), Duty::Active));
}

#[test]
fn only_a_drain_that_no_operator_asked_for_ends_in_removal() {
    let (mut fleet, now) = fleet();
    for (name, cause) in [("a", Cause::Operator), ("b", Cause::Deregistered)] {
        fleet
            .register(now, origin(name, "1", "10.0.0.1", 1935))
            .unwrap();
        let drain = Drain::begin(Duty::Active, now, None, cause);
        fleet.set_duty(&name.into(), Duty::Draining(drain));
    }
    assert!(fleet.remove_drained(|_| true).is_empty(), "all in use");
    assert_eq!(fleet.remove_drained(|_| false), ["b".into()]);
    assert_eq!(fleet.members().count(), 1);
}

#[test]
fn a_source_adds_updates_and_drains_what_it_names() {
    let (mut fleet, now) = fleet();
    let source: Arc<str> = "settings".into();
    let listed = |names: &[(&str, &str)]| -> Vec<(OriginId, Origin)> {
        names
            .iter()
            .map(|(name, ip)| (OriginId::from(*name), origin(name, "1", ip, 1935)))
            .collect()
    };
    let both = [("a", "10.0.0.1"), ("b", "10.0.0.2")];
    let done = fleet.reconcile(now, &source, listed(&both));
    assert_eq!(done.added, ["a".into(), "b".into()]);
    assert_eq!(
        fleet.reconcile(now, &source, listed(&both)),
        Reconciled::default(),
        "the same again"
    );
    let done = fleet.reconcile(now, &source, listed(&both[..1]));
    assert_eq!(done.gone, ["b".into()]);
    assert_eq!(candidates(&fleet, now, Service::Rtmp).len(), 1);
    let done = fleet.reconcile(now, &source, listed(&both));
    assert_eq!(done.returned, ["b".into()]);

    fleet.set_duty(&"b".into(), Duty::Disabled);
    fleet.reconcile(now, &source, Vec::new());
    fleet.reconcile(now, &source, listed(&both));
    assert_eq!(
        fleet.member(&"b".into()).unwrap().duty,
        Duty::Disabled,
        "a list does not undo what an operator did"
    );

    // The origin now registers itself, under the id in its own file.
    fleet
        .register(now, origin("vid-1", "7", "10.0.0.1", 1935))
        .unwrap();
    let done = fleet.reconcile(now, &source, listed(&both));
    assert_eq!(done.superseded, [("a".into(), "vid-1".into())]);
    assert!(fleet.member(&"a".into()).is_none());
    assert_eq!(
        fleet.reconcile(now, &source, listed(&both)),
        Reconciled::default()
    );
    let done = fleet.reconcile(now, &"dns".into(), listed(&[("b", "10.0.0.9")]));
    assert_eq!(done.refused, ["b".into()], "another source's name");
}

#[test]
fn silence_that_could_not_be_heard_does_not_count() {
    let (mut fleet, start) = fleet();
    let second = Duration::from_secs(1);
    let here = || origin("here", "1", "10.0.0.1", 1935);
    let (a, b) = (here(), origin("there", "1", "10.0.0.2", 1935));
    for (name, beats) in [("here", a), ("there", b)] {
        for beat in 0..2 {
            let heard = fleet.register(start + second * beat, beats.clone());
            assert_eq!(heard.unwrap().id.as_str(), name);
        }
    }
    let mut now = start + second;
    let states = |fleet: &Fleet, now| {
        ["here", "there"].map(|name| fleet.state(now, &OriginId::from(name)).unwrap())
    };
    for _ in 0..400 {
        now += second;
        fleet.hears_only_itself(second);
        fleet.register(now, here()).unwrap();
        assert_eq!(states(&fleet, now), [State::Up; 2]);
        assert!(fleet.expire(now, |_| false).is_empty());
    }
    // The other proxies can report again, and nothing comes: now it is silence.
    now += second * 3;
    fleet.register(now, here()).unwrap();
    assert_eq!(states(&fleet, now), [State::Up, State::Suspect]);
}

#[test]
fn an_origin_is_missed_long_before_it_is_forgotten() {
    let (mut fleet, start) = fleet();
    fleet
        .register(start, origin("a", "1", "10.0.0.1", 1935))
        .unwrap();
    let missed = |fleet: &Fleet, seconds| {
        let now = start + Duration::from_secs(seconds);
        fleet.missed(now).map(|(id, _)| id.to_string()).collect()
    };
    let nobody: [String; 0] = [];
    let found: Vec<String> = missed(&fleet, 99);
    assert_eq!(found, nobody);
    let found: Vec<String> = missed(&fleet, 100);
    assert_eq!(found, ["a"], "after a third of its time to live");
    fleet.hears_only_itself(Duration::from_secs(10));
    let found: Vec<String> = missed(&fleet, 109);
    assert_eq!(found, nobody, "nobody could have told of it");
}

#[test]
fn when_most_fall_silent_at_once_the_last_good_set_is_kept() {
    let rules = Rules {
        panic_percent: 50,
        ..Rules::default()
    };
    let mut fleet = Fleet::new(Duration::from_secs(300), 100, rules);
    let now = Instant::now_for_tests();
    let names = ["a", "b", "c", "d"];
    let beat = |fleet: &mut Fleet, at: Instant, names: &[&str]| {
        for (index, name) in names.iter().enumerate() {
            let ip = format!("10.0.0.{}", index + 1);
            fleet.register(at, origin(name, "1", &ip, 1935)).unwrap();
        }
    };
    beat(&mut fleet, now, &names);
    beat(&mut fleet, now + 10 * SECOND, &names);
    fleet.expire(now + 10 * SECOND, |_| false);
    let candidates = |fleet: &Fleet, at| candidates(fleet, at, Service::Rtmp).len();

    // One origin is certainly dead, because a refusal is an answer. It is not among the silent.
    let lost = now + 60 * SECOND;
    assert_eq!(candidates(&fleet, lost), 4, "all silent at once");
    assert!(fleet.suspects_itself(lost));
    fleet.dial_failed(lost, &"d".into(), Fault::Refused, "refused");
    assert_eq!(candidates(&fleet, lost), 3);
    assert!(
        fleet.expire(now + 400 * SECOND, |_| false).is_empty(),
        "they have longer"
    );
    assert_eq!(candidates(&fleet, now + 400 * SECOND), 4);
    assert_eq!(fleet.expire(now + 1300 * SECOND, |_| false).len(), 4);
}

#[test]
fn one_silent_origin_of_four_is_believed_to_be_dead() {
    let rules = Rules {
        panic_percent: 50,
        ..Rules::default()
    };
    let mut fleet = Fleet::new(Duration::from_secs(300), 100, rules);
    let now = Instant::now_for_tests();
    for at in [now, now + 10 * SECOND, now + 40 * SECOND] {
        for (index, name) in ["a", "b", "c", "d"].iter().enumerate() {
            if *name != "a" || at < now + 40 * SECOND {
                let ip = format!("10.0.0.{}", index + 1);
                fleet.register(at, origin(name, "1", &ip, 1935)).unwrap();
            }
        }
        fleet.expire(at, |_| false);
    }
    let later = now + 41 * SECOND;
    assert!(!fleet.suspects_itself(later));
    assert_eq!(candidates(&fleet, later, Service::Rtmp).len(), 3);
}

#[test]
fn an_origin_is_the_last_for_what_no_other_one_takes() {
    let offering = |name: &str, endpoints: &str| {
        let body =
            format!(r#"{{"ip":"10.0.0.1","server":"{name}","service":"s","pid":"1",{endpoints}}}"#);
        parse_registration(body.as_bytes(), &AddressRules::default()).expect("a registration")
    };
    let both = r#""rtmp":["1935"],"http":["8080"],"api":["1985"]"#;
    let rtmp = |port: u16| format!(r#""rtmp":["{port}"]"#);
    let asks = |change: &dyn Fn(&mut Fleet, Instant)| {
        let (mut fleet, now) = fleet();
        for (name, endpoints) in [("one", both), ("two", &rtmp(1936)), ("three", &rtmp(1937))] {
            fleet.register(now, offering(name, endpoints)).unwrap();
        }
        change(&mut fleet, now);
        let members: Vec<(OriginId, Member)> = fleet
            .members()
            .map(|(id, member)| (id.clone(), member.clone()))
            .collect();
        last_for(&members, now, &"one".into())
    };
    let duty = |names: &'static [&str], duty: Duty| {
        move |fleet: &mut Fleet, _: Instant| {
            for name in names {
                assert!(fleet.set_duty(&(*name).into(), duty), "{name}");
            }
        }
    };
    let draining = Duty::Draining(Drain::begin(
        Duty::Active,
        Instant::now_for_tests(),
        None,
        Cause::Operator,
    ));
    let fails = |name: &'static str| {
        move |fleet: &mut Fleet, now: Instant| {
            fleet.dial_failed(now, &name.into(), Fault::Refused, "refused");
        }
    };
    let both_fail = |fleet: &mut Fleet, now: Instant| {
        fails("two")(fleet, now);
        fails("three")(fleet, now);
    };
    let weightless = |names: &'static [&'static str]| {
        move |fleet: &mut Fleet, now: Instant| {
            for name in names {
                let member = fleet.member(&(*name).into()).expect("it is known");
                let mut origin = member.origin.clone();
                Arc::make_mut(&mut origin.attributes).weight = 0;
                fleet.register(now, origin).unwrap();
            }
        }
    };
    let (others_weightless, itself_weightless) =
        (weightless(&["two", "three"]), weightless(&["one"]));
    // What is different, and what "one" is the last for. Its HTTP API is nobody's stream.
    type Row<'a> = (&'a str, &'a dyn Fn(&mut Fleet, Instant), &'a [Service]);
    let rows: [Row<'_>; 10] = [
        (
            "the others are given nothing",
            &others_weightless,
            &[Service::Http, Service::Rtmp],
        ),
        ("it is given nothing itself", &itself_weightless, &[]),
        ("others take RTMP", &|_, _| {}, &[Service::Http]),
        (
            "one of them does",
            &duty(&["two"], draining),
            &[Service::Http],
        ),
        (
            "none of them does",
            &duty(&["two", "three"], Duty::Disabled),
            &[Service::Http, Service::Rtmp],
        ),
        ("one of them fails", &fails("two"), &[Service::Http]),
        (
            "all of them fail",
            &both_fail,
            &[Service::Http, Service::Rtmp],
        ),
        ("it fails itself", &fails("one"), &[Service::Http]),
        ("it drains by now", &duty(&["one"], draining), &[]),
        (
            "nobody takes anything",
            &duty(&["one", "two", "three"], Duty::Disabled),
            &[],
        ),
    ];
    for (cause, change, expected) in rows {
        assert_eq!(asks(change), expected, "{cause}");
    }
    assert_eq!(last_for(&[], Instant::now_for_tests(), &"one".into()), []);
}
