//! One request's way through a fleet: whatever each attempt comes to, the machine ends, and what it may not do it does
//! not do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use sluicegate_core::fleet::attributes::Attributes;
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::fleet::load::Load;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::attempts::{
    Attempts, Choice, Claimant, GiveUp, Outcome, Publisher, Step, Terms, Try, View, Why,
};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::placement::{
    CandidateFacts, PlacementQuestion, Reject, Rules, Usage, place,
};
use sluicegate_core::place::policy::{Draw, by_name};
use sluicegate_core::place::takeover::Former;
use sluicegate_core::stream::{PlacementKey, StreamUrl, VhostRule};

/// A fleet, and one stream.
#[derive(Debug, Clone)]
struct World {
    origins: Vec<CandidateFacts>,
    claimed: Option<OriginId>,
    settled: Option<OriginId>,
    linked: Option<OriginId>,
    publisher: Publisher,
    left_lately: bool,
    other_proxies: bool,
    searches: bool,
}

impl World {
    fn of(rejects: &[Option<Reject>]) -> Self {
        Self {
            origins: (0..).zip(rejects).map(standing).collect(),
            claimed: None,
            settled: None,
            linked: None,
            publisher: Publisher::NotHere,
            left_lately: false,
            other_proxies: false,
            searches: false,
        }
    }

    fn reject(&self, origin: &OriginId) -> Option<Reject> {
        let one = self.origins.iter().find(|one| one.origin == *origin);
        one.expect("an origin of the fleet").reject
    }
}

impl View for World {
    fn settled(&self, without: &[OriginId]) -> Result<Option<Choice>, GiveUp> {
        let settled = self.settled.clone();
        Ok(settled
            .filter(|origin| !without.contains(origin))
            .map(|origin| choice(origin, Why::Sticky)))
    }

    fn linked(&self) -> Option<Choice> {
        let linked = self.linked.clone()?;
        Some(choice(linked, Why::Linked))
    }

    fn best(&self, without: &[OriginId]) -> Result<Choice, GiveUp> {
        let question = PlacementQuestion {
            key: &key(),
            pool: None,
            zone: None,
            only: None,
            without,
            draw: Draw::default(),
        };
        let policy = by_name("rendezvous").unwrap();
        let decision = place(&*policy, &Rules::default(), &self.origins, &question);
        let Some(best) = decision.ranked.first() else {
            return Err(GiveUp::Nobody {
                full: decision.is_full(),
                words: String::new(),
            });
        };
        let why = match self.claimed {
            Some(_) => Why::Moved,
            None => Why::New,
        };
        let choice = choice(best.origin.clone(), why);
        Ok(Choice {
            expected: self.claimed.clone(),
            ..choice
        })
    }

    fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    fn origin_at(&self, place: &str) -> Option<OriginId> {
        let id = OriginId::from(place);
        let known = self.origins.iter().find(|one| one.origin == id)?;
        (known.reject != Some(Reject::Silent)).then_some(id)
    }

    fn publisher_left_lately(&self) -> bool {
        self.left_lately
    }

    fn may_ask_proxies(&self) -> bool {
        self.other_proxies
    }

    fn may_search(&self) -> bool {
        self.searches
    }
}

fn standing((number, reject): (usize, &Option<Reject>)) -> CandidateFacts {
    CandidateFacts {
        origin: id(number),
        attributes: Arc::new(Attributes::default()),
        services: 1,
        reject: *reject,
        up: Duration::from_secs(60),
        load: Load::default(),
        usage: Usage::default(),
    }
}

fn id(number: usize) -> OriginId {
    OriginId::from(format!("o{number}"))
}

fn key() -> PlacementKey {
    let stream = StreamUrl::new("", "live", "a").unwrap();
    VhostRule::Ignored.key(&stream)
}

fn choice(origin: OriginId, why: Why) -> Choice {
    Choice {
        expected: Some(origin.clone()),
        origin,
        why,
        words: why.as_str().into(),
    }
}

/// One thing that was tried, and what came of it.
#[derive(Debug, Clone)]
struct Tried {
    at: Duration,
    what: Try,
    outcome: Outcome,
}

/// What became of a request.
#[derive(Debug, Default)]
struct Told {
    tried: Vec<Tried>,
    searches: usize,
    asks: usize,
    gave_up: Option<GiveUp>,
}

const TERMS: Terms = Terms {
    publishes: false,
    dial: Duration::from_secs(1),
    setup: Duration::from_secs(10),
};

/// Plays `script` to a machine: what comes of each step, and how many milliseconds it takes. A script that is over goes on
/// as `last`, until the machine gives up.
fn play(
    world: &World,
    terms: Terms,
    lost: Option<(&OriginId, LegEnd)>,
    script: &[(Outcome, u64)],
    last: &Outcome,
) -> Told {
    #[expect(clippy::disallowed_methods, reason = "any moment will do for a start")]
    let start = Instant::now();
    let mut now = start;
    let mut machine = match lost {
        Some((origin, end)) => Attempts::after(terms, now, origin, end),
        None => Attempts::new(terms, now),
    };
    let mut told = Told::default();
    let mut script = script.iter();
    let mut step = machine.begin(now, world);
    for _ in 0..MOST_STEPS {
        let (outcome, millis) = script.next().cloned().unwrap_or_else(|| (last.clone(), 1));
        let outcome = match step {
            Step::Give(give_up) => {
                told.gave_up = Some(give_up);
                return told;
            }
            Step::AskProxies => {
                told.asks += 1;
                match outcome {
                    Outcome::Former(former) => Outcome::Former(former),
                    _ => Outcome::Former(Former::Nobody),
                }
            }
            Step::Search(_) => {
                told.searches += 1;
                match outcome {
                    Outcome::Found(there) => Outcome::Found(there),
                    _ => Outcome::Found(None),
                }
            }
            Step::Try(what) => {
                assert!(now < machine.deadline(), "{what:?} is too late");
                let left = machine.deadline() - now;
                let outcome = match outcome {
                    // Nobody searched, or asked other proxies.
                    Outcome::Found(_) | Outcome::Former(_) => Outcome::Refused("no".to_owned()),
                    other => other,
                };
                assert!(what.time_limit <= left.max(terms.dial), "{what:?}");
                told.tried.push(Tried {
                    at: now - start,
                    what: what.clone(),
                    outcome: outcome.clone(),
                });
                now += what.pause;
                outcome
            }
        };
        now += Duration::from_millis(millis);
        step = machine.next(now, outcome, world);
    }
    panic!("{MOST_STEPS} steps and no end: {told:?}");
}

/// More than any script is long: past it the script is over, and each outcome that may stand for its rest ends a round.
const MOST_STEPS: usize = 400;

const ORIGINS: usize = 6;

fn redirected(place: &OriginId, for_one: bool) -> Outcome {
    let place = place.to_string();
    Outcome::Redirected { place, for_one }
}

fn some_origin() -> impl Strategy<Value = OriginId> {
    (0..ORIGINS).prop_map(id)
}

fn an_outcome() -> impl Strategy<Value = Outcome> {
    let no = || "no".to_owned();
    let by = prop_oneof![Just(Claimant::Proxy), Just(Claimant::Request)];
    prop_oneof![
        4 => Just(Outcome::Failed(Fault::Refused, no())),
        4 => Just(Outcome::Failed(Fault::Silent, no())),
        2 => Just(Outcome::HungUp(no())),
        2 => Just(Outcome::Busy(no())),
        1 => Just(Outcome::Taken(no())),
        3 => Just(Outcome::Refused(no())),
        2 => Just(Outcome::Full),
        2 => (some_origin(), by).prop_map(|(origin, by)| Outcome::ClaimedFor(origin, by)),
        2 => some_origin().prop_map(Outcome::MovedMeanwhile),
        2 => (some_origin(), any::<bool>()).prop_map(|(origin, for_one)| redirected(&origin, for_one)),
        2 => prop::option::of(some_origin()).prop_map(Outcome::Found),
        2 => prop::sample::select(Former::ALL.to_vec()).prop_map(Outcome::Former),
        1 => Just(redirected(&"nowhere.example:1935".into(), false)),
    ]
}

/// What a script may go on as for ever: each of these ends a round.
fn a_last_outcome() -> impl Strategy<Value = Outcome> {
    let no = || "no".to_owned();
    prop_oneof![
        Just(Outcome::OutOfTime),
        Just(Outcome::Failed(Fault::Refused, no())),
        Just(Outcome::Failed(Fault::Silent, no())),
        Just(Outcome::HungUp(no())),
        Just(Outcome::Busy(no())),
        Just(Outcome::Taken(no())),
        Just(Outcome::Refused(no())),
        Just(Outcome::Full),
        Just(Outcome::NoService),
        Just(Outcome::Exhausted(no())),
        Just(Outcome::MovedMeanwhile(id(0))),
        Just(Outcome::ClaimedFor(id(1), Claimant::Proxy)),
        Just(redirected(&id(2), false)),
        Just(redirected(&id(2), true)),
    ]
}

fn a_world() -> impl Strategy<Value = World> {
    let reject = prop_oneof![
        6 => Just(None),
        1 => Just(Some(Reject::Draining)),
        1 => Just(Some(Reject::Disabled)),
        1 => Just(Some(Reject::Failing)),
        1 => Just(Some(Reject::Silent)),
    ];
    let origin = || prop::option::of(some_origin());
    let publisher = prop_oneof![
        3 => Just(Publisher::NotHere),
        1 => origin().prop_map(Publisher::Here),
    ];
    (
        prop::collection::vec(reject, ORIGINS),
        origin(),
        origin(),
        origin(),
        publisher,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(
                rejects,
                claimed,
                settled,
                linked,
                publisher,
                left_lately,
                other_proxies,
                searches,
            )| World {
                claimed,
                settled,
                linked,
                publisher,
                left_lately,
                other_proxies,
                searches,
                ..World::of(&rejects)
            },
        )
}

fn a_leg_end() -> impl Strategy<Value = LegEnd> {
    prop::sample::select(LegEnd::ALL.to_vec())
}

fn fails(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(..) | Outcome::HungUp(_))
}

fn count(tried: &[Tried], matches: impl Fn(&Tried) -> bool) -> usize {
    tried.iter().filter(|one| matches(one)).count()
}

/// What holds of every round, whatever came of its steps.
fn check(world: &World, terms: Terms, lost: Option<(&OriginId, LegEnd)>, told: &Told) {
    let out = lost
        .filter(|(_, end)| end.rules_out_origin())
        .map(|(origin, _)| origin);
    let tried = &told.tried;
    let failed_before = |index: usize, origin: &OriginId| {
        let before = &tried[..index];
        out == Some(origin)
            || before
                .iter()
                .any(|one| one.what.choice.origin == *origin && fails(&one.outcome))
    };
    for (index, one) in tried.iter().enumerate() {
        let Choice { origin, why, .. } = &one.what.choice;
        let before = index.checked_sub(1).map(|before| &tried[before]);
        let after = |outcome: fn(&Outcome) -> bool| before.is_some_and(|one| outcome(&one.outcome));
        if failed_before(index, origin) {
            // Those who say that the stream is there know better; and one that was silent is given the rest of the time.
            let has_it = after(|outcome| {
                matches!(
                    outcome,
                    Outcome::MovedMeanwhile(_) | Outcome::Redirected { .. }
                )
            });
            let is_last_hope = *why == Why::Again;
            assert!(
                has_it || is_last_hope,
                "{origin} again for {why:?}: {tried:?}"
            );
        }
        if matches!(why, Why::New | Why::Moved | Why::Failover) {
            let reject = world.reject(origin);
            let usable = matches!(reject, None | Some(Reject::Failing));
            assert!(usable, "{origin} is {reject:?}, {why:?}: {tried:?}");
        }
        if *why == Why::Failover {
            assert_eq!(
                world.publisher,
                Publisher::NotHere,
                "a published stream stays"
            );
            let failed = before.expect("one that failed");
            let expected = one.what.choice.expected.as_ref();
            let at_first = matches!(failed.outcome, Outcome::Full)
                || expected == Some(&failed.what.choice.origin);
            assert!(at_first, "its claim is what is replaced: {tried:?}");
        }
        if *why == Why::Again {
            let again = before.expect("it was asked before");
            assert_eq!(*origin, again.what.choice.origin, "{tried:?}");
        }
        if *why == Why::Found {
            assert!(
                after(|outcome| {
                    matches!(
                        outcome,
                        Outcome::Busy(_) | Outcome::Refused(_) | Outcome::Taken(_)
                    )
                }),
                "{tried:?}"
            );
        }
        assert!(one.at < terms.setup, "{tried:?}");
    }
    assert!(told.searches <= 1, "one search is enough");
    assert!(told.searches == 0 || (!terms.publishes && world.searches));
    assert!(told.asks <= 1, "proxies are asked once");
    let may_ask = terms.publishes && world.other_proxies && lost.is_none();
    assert!(told.asks == 0 || may_ask);
    let hang_ups = count(tried, |one| matches!(one.outcome, Outcome::HungUp(_)));
    let most = if lost.is_some() { 8 } else { 2 };
    assert!(hang_ups <= most, "{tried:?}");
    let again_for_silence = count(tried, |one| {
        one.what.choice.why == Why::Again && one.what.pause.is_zero()
    });
    assert!(again_for_silence <= 1, "{tried:?}");
    let followed = count(tried, |one| {
        matches!(one.what.choice.why, Why::Redirected | Why::SentOn)
    });
    assert!(followed <= 2, "{tried:?}");
    for one in tried
        .iter()
        .filter(|one| one.what.choice.why == Why::SentOn)
    {
        assert!(!terms.publishes, "a publisher takes its claim along");
        let holder = one.what.choice.claimed_for();
        assert_ne!(*holder, one.what.choice.origin, "{tried:?}");
    }
    // Each origin once, and as often as the bounds of what may bring one back: so does one that was redirected to and fails.
    let paused = count(tried, |one| !one.what.pause.is_zero());
    let lost = count(tried, |one| one.what.choice.why == Why::Lost);
    let most = 10 + 11 * told.asks;
    assert!(
        paused <= most,
        "one asks again for two seconds, and for two more once another proxy has made room: {tried:?}"
    );
    assert!(
        tried.len() <= ORIGINS + paused + lost + 2 * followed + 1 + 1 + ORIGINS,
        "{tried:?}"
    );
    assert!(lost <= 17, "{tried:?}");
}

proptest! {
    #[test]
    fn whatever_comes_of_it_the_round_ends_and_keeps_its_rules(
        world in a_world(),
        publishes in any::<bool>(),
        script in prop::collection::vec((an_outcome(), 0_u64..1500), 0..60),
        last in a_last_outcome(),
    ) {
        let terms = Terms { publishes, ..TERMS };
        let told = play(&world, terms, None, &script, &last);
        check(&world, terms, None, &told);
        let first = told.tried.first().map(|one| one.what.choice.clone());
        if let Some(settled) = &world.settled {
            let first = first.expect("the stream is somewhere");
            prop_assert_eq!((&first.origin, first.why), (settled, Why::Sticky));
        } else if let Some(linked) = &world.linked {
            let first = first.expect("its link names one");
            prop_assert_eq!((&first.origin, first.why), (linked, Why::Linked));
        }
    }

    #[test]
    fn a_round_after_a_lost_leg_leaves_out_what_the_loss_rules_out(
        world in a_world(),
        publishes in any::<bool>(),
        lost in some_origin(),
        end in a_leg_end(),
        script in prop::collection::vec((an_outcome(), 0_u64..1500), 0..60),
        last in a_last_outcome(),
    ) {
        let terms = Terms { publishes, ..TERMS };
        let told = play(&world, terms, Some((&lost, end)), &script, &last);
        let out = end.rules_out_origin().then_some(&lost);
        check(&world, terms, Some((&lost, end)), &told);
        let first = told.tried.first().map(|one| one.what.choice.origin.clone());
        match &world.settled {
            Some(settled) if out != Some(settled) => {
                prop_assert_eq!(first.as_ref(), Some(settled), "it is there still, or by now");
            }
            _ => prop_assert!(first.is_none() || first.as_ref() != out),
        }
    }

    #[test]
    fn a_fleet_that_fails_is_tried_to_the_last_origin(
        rejects in prop::collection::vec(prop::option::weighted(0.3, Just(Reject::Draining)), 1..8),
    ) {
        let world = World::of(&rejects);
        let refused = Outcome::Failed(Fault::Refused, "no".to_owned());
        let told = play(&world, TERMS, None, &[], &refused);
        let usable = rejects.iter().filter(|reject| reject.is_none()).count();
        prop_assert_eq!(told.tried.len(), usable);
        match told.gave_up {
            Some(GiveUp::AllFailed(tried)) => prop_assert_eq!(tried.len(), usable),
            Some(GiveUp::Nobody { full: false, .. }) => prop_assert_eq!(usable, 0),
            other => prop_assert!(false, "{other:?}"),
        }
    }
}

fn refused() -> Outcome {
    Outcome::Refused("no".to_owned())
}

fn silent() -> Outcome {
    Outcome::Failed(Fault::Silent, "nothing came".to_owned())
}

fn path(told: &Told) -> Vec<(String, Why)> {
    let tried = told.tried.iter().map(|one| &one.what.choice);
    tried
        .map(|choice| (choice.origin.to_string(), choice.why))
        .collect()
}

#[test]
fn the_last_origin_that_is_silent_is_given_the_rest_of_the_time() {
    let world = World::of(&[None]);
    let told = play(&world, TERMS, None, &[(silent(), 1000)], &silent());
    let time_limit: Vec<u64> = told
        .tried
        .iter()
        .map(|one| one.what.time_limit.as_secs())
        .collect();
    assert_eq!(time_limit, [1, 9]);
    assert!(matches!(told.gave_up, Some(GiveUp::AllFailed(tried)) if tried.len() == 2));
}

#[test]
fn a_publisher_that_came_back_at_once_is_asked_for_again_until_its_origin_has_noticed() {
    let world = World {
        settled: Some(id(0)),
        left_lately: true,
        ..World::of(&[None, None])
    };
    let terms = Terms {
        publishes: true,
        ..TERMS
    };
    let busy = Outcome::Busy("already publishing".to_owned());
    let told = play(&world, terms, None, &[], &busy);
    assert!(told.tried.len() > 5, "{told:?}");
    assert!(told.tried.iter().all(|one| one.what.choice.origin == id(0)));
    let last = told.tried.last().unwrap();
    assert!(last.at < Duration::from_millis(2300), "{:?}", last.at);
    assert!(matches!(told.gave_up, Some(GiveUp::Refused { .. })));
    let player = play(&world, TERMS, None, &[], &busy);
    assert_eq!(player.tried.len(), 1, "a player is told at once");
    let final_no = play(&world, terms, None, &[], &refused());
    assert_eq!(
        final_no.tried.len(),
        1,
        "a no that is not about the publisher is the last word"
    );
    let stranger = World {
        left_lately: false,
        ..world
    };
    let stranger = play(&stranger, terms, None, &[], &busy);
    assert_eq!(stranger.tried.len(), 1, "nobody left");
}

/// The origin has a publisher that came through another proxy, or came and left.
#[test]
fn an_origin_that_is_busy_is_asked_again_once_another_proxy_makes_room() {
    let world = World {
        settled: Some(id(0)),
        other_proxies: true,
        ..World::of(&[None, None])
    };
    let terms = Terms {
        publishes: true,
        ..TERMS
    };
    let busy = || (Outcome::Busy("already publishing".to_owned()), 1);
    let lost = (&id(0), LegEnd::Closed);
    for (what, terms, lost, former, asked, tried) in [
        ("it gave way", terms, None, Former::GaveWay, 1, 11),
        ("it left", terms, None, Former::Left, 1, 11),
        ("nobody has it", terms, None, Former::Nobody, 1, 1),
        ("it stays", terms, None, Former::Stays, 1, 1),
        ("it is watched", terms, None, Former::Watched, 1, 1),
        ("a player asks", TERMS, None, Former::GaveWay, 0, 1),
        ("it was held", terms, Some(lost), Former::GaveWay, 0, 1),
    ] {
        // The other proxy takes longer than an origin may need to notice that its publisher left.
        let script = [busy(), (Outcome::Former(former), 2100)];
        let told = play(&world, terms, lost, &script, &busy().0);
        assert_eq!((told.asks, told.tried.len()), (asked, tried), "{what}");
        let one_origin = |one: &Tried| one.what.choice.origin == id(0);
        assert!(told.tried.iter().all(one_origin), "{what}");
        let words = match told.gave_up {
            Some(GiveUp::Refused { words, .. }) => words,
            other => panic!("{what}: {other:?}"),
        };
        assert_eq!(words, "already publishing", "{what}");
    }
    let taken = (Outcome::Taken("already publishing".to_owned()), 1);
    let script = [taken, (Outcome::Former(Former::GaveWay), 1)];
    let told = play(&world, terms, None, &script, &busy().0);
    let both = (told.asks, told.tried.len());
    assert_eq!(both, (1, 1), "its client has heard the no, and comes again");
    let late = [busy(), (Outcome::Former(Former::GaveWay), 9900)];
    let told = play(&world, terms, None, &late, &busy().0);
    assert_eq!(told.tried.len(), 1, "no time is left to ask again");
    assert!(matches!(told.gave_up, Some(GiveUp::Refused { .. })));
    let alone = World {
        other_proxies: false,
        ..world
    };
    let told = play(&alone, terms, None, &[], &busy().0);
    assert_eq!((told.asks, told.tried.len()), (0, 1), "there is no other");
}

#[test]
fn what_one_origin_refuses_is_looked_for_on_the_others_once() {
    let world = World {
        settled: Some(id(0)),
        searches: true,
        ..World::of(&[None, None])
    };
    let found = Outcome::Found(Some(id(1)));
    let told = play(
        &world,
        TERMS,
        None,
        &[(refused(), 1), (found, 1)],
        &refused(),
    );
    let expected = [
        ("o0".to_owned(), Why::Sticky),
        ("o1".to_owned(), Why::Found),
    ];
    assert_eq!(path(&told), expected);
    assert_eq!(told.searches, 1);

    let nowhere = play(&world, TERMS, None, &[], &refused());
    let words = match nowhere.gave_up {
        Some(GiveUp::Refused { origin, words }) => (origin, words),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        words,
        (id(0), "no".to_owned()),
        "the no of the first stands"
    );
}

#[test]
fn a_lost_place_goes_to_the_next_best_and_a_placed_stream_does_not() {
    let world = World::of(&[None, None, None]);
    let told = play(&world, TERMS, None, &[], &Outcome::Full);
    assert_eq!(told.tried.len(), 3);
    assert!(told.tried.iter().all(|one| one.what.choice.why == Why::New));
    assert!(matches!(told.gave_up, Some(GiveUp::Nobody { .. })));
    let world = World {
        settled: Some(id(2)),
        ..world
    };
    let told = play(&world, TERMS, None, &[], &Outcome::Full);
    assert_eq!(told.tried.len(), 1);
    assert_eq!(told.gave_up, Some(GiveUp::Full(id(2))));
}

#[test]
fn redirects_are_followed_within_the_fleet_and_not_for_ever() {
    let world = World::of(&[None, None, Some(Reject::Silent)]);
    let to = |number: usize| (redirected(&id(number), false), 1);
    let rows = [
        ("there and back", vec![to(1), to(0), to(1)], 3),
        ("to itself, for ever", vec![to(0), to(0), to(0)], 3),
        ("to itself, then elsewhere", vec![to(0), to(1), to(0)], 3),
        ("to one that is silent", vec![to(2)], 1),
        ("out of the fleet", vec![to(9)], 1),
    ];
    for (cause, script, tried) in rows {
        let world = World {
            settled: Some(id(0)),
            ..world.clone()
        };
        let Some((Outcome::Redirected { place: last, .. }, _)) = script.last().cloned() else {
            panic!("{cause}: {script:?}");
        };
        let told = play(&world, TERMS, None, &script, &refused());
        assert_eq!(told.tried.len(), tried, "{cause}");
        let Some(GiveUp::Redirected { to, .. }) = &told.gave_up else {
            panic!("{cause}: {told:?}");
        };
        assert_eq!(*to, last, "{cause}");
    }
}

/// A stream whose viewers are each sent to a node with words of their own.
#[test]
fn a_redirect_for_one_player_leaves_the_claim_where_the_next_is_to_ask() {
    let world = World {
        settled: Some(id(0)),
        ..World::of(&[None; 4])
    };
    let sent = |number: usize| (redirected(&id(number), true), 1);
    let failed = |fault| (Outcome::Failed(fault, "closed".to_owned()), 1);
    let told = play(&world, TERMS, None, &[sent(1)], &refused());
    let choice = &told.tried[1].what.choice;
    assert_eq!((&choice.origin, choice.why), (&id(1), Why::SentOn));
    assert_eq!(*choice.claimed_for(), id(0));
    assert!(matches!(told.gave_up, Some(GiveUp::Refused { origin, .. }) if origin == id(1)));

    let publishes = Terms {
        publishes: true,
        ..TERMS
    };
    let told = play(&world, publishes, None, &[sent(1)], &refused());
    let choice = &told.tried[1].what.choice;
    assert_eq!(choice.why, Why::Redirected, "its players are to find it");

    // Only the origin that named a node knows another, and what to ask for there.
    let script = [sent(1), failed(Fault::Refused), sent(2)];
    let told = play(&world, TERMS, None, &script, &refused());
    let origins: Vec<String> = path(&told).into_iter().map(|(origin, _)| origin).collect();
    assert_eq!(origins, ["o0", "o1", "o0", "o2"]);
    let script = [sent(1), failed(Fault::Closed), sent(1)];
    let told = play(&world, TERMS, None, &script, &refused());
    assert_eq!(told.tried.len(), 3, "and not the same one again");
    assert!(matches!(told.gave_up, Some(GiveUp::AllClosed(tried)) if tried.len() == 1));
}

#[test]
fn a_claim_that_somebody_else_made_first_is_followed() {
    let world = World::of(&[None, None]);
    let lost = Outcome::ClaimedFor(id(1), Claimant::Proxy);
    let told = play(&world, TERMS, None, &[(lost.clone(), 1)], &refused());
    let choice = &told.tried[1].what.choice;
    assert_eq!((&choice.origin, choice.why), (&id(1), Why::Lost));
    assert_eq!(choice.expected, Some(id(1)));

    // Where that one failed a moment ago, nobody can help.
    let world = World {
        settled: Some(id(1)),
        ..world
    };
    let told = play(&world, TERMS, None, &[(silent(), 1), (lost, 1)], &refused());
    assert!(
        matches!(told.gave_up, Some(GiveUp::AllFailed(_))),
        "{told:?}"
    );
}

#[test]
fn origins_that_hang_up_on_a_client_in_the_middle_of_its_stream_have_not_said_no() {
    let world = World::of(&[None; 4]);
    let terms = Terms {
        publishes: true,
        ..TERMS
    };
    let hung_up = Outcome::HungUp("closed".to_owned());
    let told = play(&world, terms, Some((&id(0), LegEnd::Closed)), &[], &hung_up);
    assert_eq!(told.tried.len(), 4, "each is asked");
    assert!(
        matches!(told.gave_up, Some(GiveUp::AllFailed(_))),
        "{:?}",
        told.gave_up
    );
    let told = play(&world, terms, None, &[], &hung_up);
    assert!(
        matches!(told.gave_up, Some(GiveUp::HungUp(_))),
        "a client that nobody has taken is let go: {told:?}"
    );
}

#[test]
fn what_the_only_origin_did_is_told_as_what_it_was() {
    let world = World::of(&[None]);
    let how = || "it did".to_owned();
    let give_up = |lost: Option<(&OriginId, LegEnd)>, outcome: Outcome| {
        let told = play(&world, TERMS, lost, &[], &outcome);
        match told.gave_up.expect("it gives up") {
            GiveUp::AllClosed(tried) => ("closed", tried.len()),
            GiveUp::AllFailed(tried) => ("failed", tried.len()),
            GiveUp::HungUp(tried) => ("hung up", tried.len()),
            other => panic!("{other:?}"),
        }
    };
    let closed = || Outcome::Failed(Fault::Closed, how());
    assert_eq!(give_up(None, closed()), ("closed", 1));
    let refused = Outcome::Failed(Fault::Refused, how());
    assert_eq!(give_up(None, refused), ("failed", 1));
    assert_eq!(give_up(None, Outcome::HungUp(how())), ("hung up", 1));
    // The client of a leg that is lost was taken before.
    let lost = (&id(0), LegEnd::Closed);
    let hung_up = Outcome::HungUp(how());
    assert_eq!(give_up(Some(lost), hung_up), ("failed", 1));
    assert_eq!(give_up(Some(lost), closed()), ("closed", 1));
}

#[test]
fn of_several_that_failed_the_word_fits_all() {
    let world = World::of(&[None; 2]);
    let how = || "it did".to_owned();
    let closed = Outcome::Failed(Fault::Closed, how());
    let refused = Outcome::Failed(Fault::Refused, how());
    let told = play(&world, TERMS, None, &[(closed.clone(), 1)], &refused);
    assert!(
        matches!(told.gave_up, Some(GiveUp::AllFailed(_))),
        "{told:?}"
    );
    let told = play(&world, TERMS, None, &[(closed.clone(), 1)], &closed);
    assert!(
        matches!(told.gave_up, Some(GiveUp::AllClosed(_))),
        "{told:?}"
    );
    // One of them lives, and so something answered.
    let hung_up = (Outcome::HungUp(how()), 1);
    let told = play(&world, TERMS, None, &[hung_up], &closed);
    assert!(matches!(told.gave_up, Some(GiveUp::HungUp(_))), "{told:?}");
}

#[test]
fn what_each_origin_did_that_hung_up_is_told() {
    let world = World::of(&[None; 4]);
    let did = |what: &str| (Outcome::HungUp(what.to_owned()), 1);
    let script = [
        did("it answered 503"),
        did("the head is longer than 16384 bytes"),
    ];
    let told = play(&world, TERMS, None, &script, &refused());
    let Some(GiveUp::HungUp(tried)) = &told.gave_up else {
        panic!("{told:?}");
    };
    let words: Vec<&str> = tried.iter().map(|(_, how)| &**how).collect();
    assert_eq!(
        words,
        ["it answered 503", "the head is longer than 16384 bytes"]
    );
}
