use tokio::time::Instant;

use super::super::fixture::{opened, sessions};
use super::super::{FEW, Loss, MoveCause, MoveOrder};
use super::*;

/// A player with a leg to `one`.
fn playing(table: &Arc<Sessions>) -> OpenRow {
    let row = opened(table, Action::Play).unwrap();
    row.note_placed(OriginId::from("one"), "a test".into());
    row.joined();
    row.media_flows();
    row
}

/// Before a publisher is at the origin where it goes, nobody else has to be there.
#[tokio::test]
async fn players_that_can_follow_are_led_and_others_stay_until_their_publisher_goes() {
    let table = sessions(9);
    let (follows, stays) = (playing(&table), playing(&table));
    follows.allow_hold();
    let (one, two) = (OriginId::from("one"), OriginId::from("two"));
    table.lead_players(&follows.key, &one);
    assert_eq!(follows.aside().holds.lost(), None, "it is there");
    table.lead_players(&follows.key, &two);
    assert_eq!(follows.aside().holds.lost(), Some(LegEnd::Moved));
    assert_eq!(stays.end_reason(), None);
    let moved = || {
        let mut words = Vec::new();
        let journal = &table.metrics.journal;
        journal.look(Kind::Moved, |event| words.push(event.news.what.clone()));
        words
    };
    assert_eq!(moved(), [""; 0], "it may come to nothing");
    // As the row of one that is there says.
    follows.note_placed(two.clone(), "a test".into());
    table.end_players_elsewhere(&follows.key, &two);
    assert_eq!(stays.end_reason(), Some(EndReason::Moved));
    let words = "moved here from elsewhere, or ended to come back here: 1 session";
    assert_eq!(moved(), [words]);
}

/// Those who are elsewhere than their stream, but for those of a stream on its way.
#[tokio::test]
async fn strays_are_those_whose_stream_is_elsewhere_and_is_not_moved() {
    let table = sessions(9);
    let (one, two) = (OriginId::from("one"), OriginId::from("two"));
    let strays = |there: &OriginId| table.strays(|_| Some(there.clone()));
    let player = playing(&table);
    assert!(strays(&one).is_empty());
    assert_eq!(table.strays(|_| None).len(), 0, "nobody knows where it is");
    assert_eq!(
        strays(&two),
        HashMap::from([(player.key.clone(), two.clone())])
    );
    let publisher = opened(&table, Action::Publish).unwrap();
    let (order, _) = MoveOrder::new(one, two.clone(), MoveCause::Operator);
    assert!(publisher.order_move(order));
    assert!(strays(&two).is_empty(), "its publisher goes there first");
    publisher.move_over();
    player.lose_leg(LegEnd::Moved);
    assert!(strays(&two).is_empty(), "it leaves");
    let pull = table.open_pull(player.key.clone(), OriginId::from("one"));
    assert_eq!(strays(&two).len(), 1);
    drop(pull);
}

#[tokio::test]
async fn a_move_is_called_back_when_its_stream_is_placed_elsewhere_since_it_was_claimed() {
    let table = sessions(9);
    let publisher = opened(&table, Action::Publish).unwrap();
    let (one, two) = (OriginId::from("one"), OriginId::from("two"));
    publisher.note_placed(one.clone(), "a test".into());
    publisher.joined();
    publisher.allow_hold();
    let (order, _) = MoveOrder::new(one.clone(), two.clone(), MoveCause::Operator);
    assert!(publisher.order_move(order));
    table.end_elsewhere(&publisher.key, &one, |_| ());
    publisher.goes_to(&two);
    table.end_players_elsewhere(&publisher.key, &two);
    assert!(!publisher.is_called_back(), "it goes where its stream is");
    table.end_elsewhere(&publisher.key, &one, |_| ());
    assert!(publisher.is_called_back());
    assert_eq!(publisher.aside().holds.lost(), None, "it is there");
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_a_player_to_follow_hears_that_it_is_held() {
    let table = sessions(9);
    let row = playing(&table);
    row.allow_hold();
    row.lose_leg(LegEnd::Moved);
    let heard = tokio::time::timeout(Duration::from_secs(1), row.has_heard_there());
    let held = async { row.hold(Loss::Leg(LegEnd::Reset), row.origin()) };
    let (heard, ()) = tokio::join!(heard, held);
    assert_eq!(heard, Ok(()));
}

const SWEEP: Duration = Duration::from_millis(250);

/// The reason a session is ended for after this many seconds of sweeps, if any.
async fn reason_after(table: &Arc<Sessions>, row: &Arc<Row>, seconds: u64) -> Option<EndReason> {
    for _ in 0..seconds * 4 {
        sweep(table).await;
    }
    row.end_reason()
}

async fn sweep(table: &Arc<Sessions>) {
    tokio::time::advance(SWEEP).await;
    table.end_overdue();
}

/// What the metrics say was relayed, to the client and to the origin.
fn relayed(table: &Sessions) -> (u64, u64) {
    let of = |direction| {
        let labels = DirectionLabels {
            protocol: "rtmp",
            direction,
        };
        table.metrics.relayed_bytes.get_or_create(&labels).get()
    };
    (of("to_client"), of("to_origin"))
}

#[tokio::test(start_paused = true)]
async fn bytes_are_settled_once_at_a_scrape_and_at_the_end() {
    let table = sessions(9);
    let one = opened(&table, Action::Play).unwrap();
    let two = opened(&table, Action::Play).unwrap();
    one.count(Direction::ToClient, 10);
    two.count(Direction::ToOrigin, 3);
    assert_eq!(relayed(&table), (0, 0), "a packet tells nobody");
    table.settle();
    table.settle();
    assert_eq!(relayed(&table), (10, 3), "each byte once");
    one.count(Direction::ToClient, 7);
    drop(one);
    assert_eq!(relayed(&table), (17, 3), "an end settles what is left");
    two.count(Direction::ToOrigin, 1);
    table.settle();
    drop(two);
    table.settle();
    assert_eq!(relayed(&table), (17, 4));
}

#[tokio::test]
async fn bytes_are_exact_though_many_settle_while_they_are_counted() {
    let table = sessions(9);
    let row = opened(&table, Action::Play).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| (0..50_000).for_each(|_| row.count(Direction::ToClient, 3)));
            scope.spawn(|| {
                let mut before = 0;
                for _ in 0..2_000 {
                    table.settle();
                    let (now, _) = relayed(&table);
                    assert!(now >= before, "a counter never falls");
                    before = now;
                }
            });
        }
    });
    drop(row);
    assert_eq!(relayed(&table), (300_000, 0));
}

#[tokio::test(start_paused = true)]
async fn a_clients_silence_is_known_within_one_sweep() {
    let table = sessions(9);
    let row = opened(&table, Action::Publish).unwrap();
    row.joined();
    row.count(Direction::ToOrigin, 10);
    tokio::time::advance(Duration::from_millis(100)).await;
    assert_eq!(
        row.client_silent_for(),
        Duration::ZERO,
        "bytes that no sweep has seen yet are no silence"
    );
    tokio::time::advance(Duration::from_millis(150)).await;
    row.count(Direction::ToOrigin, 10);
    let sent = Instant::now();
    for _ in 0..8 {
        sweep(&table).await;
        let short = sent.elapsed() - row.client_silent_for();
        assert!(short <= SWEEP, "short of the truth by {short:?}");
    }
}

#[test]
fn every_session_is_looked_at_once_oldest_first() {
    let table = sessions(usize::MAX);
    let open = (0..LOOKED_AT_ONCE * 3).map(|_| opened(&table, Action::Play).unwrap());
    let open: Vec<OpenRow> = open.filter(|row| row.id % 3 != 0).collect();
    let ids: Vec<u64> = open.iter().map(|row| row.id).collect();
    let mut seen = Vec::new();
    table.look(|row| seen.push(row.id));
    assert_eq!(seen, ids);
}

#[tokio::test(start_paused = true)]
async fn lists_of_many_sessions_are_made_once_a_second_while_somebody_looks() {
    let table = sessions(usize::MAX);
    let mut open: Vec<OpenRow> = (0..FEW)
        .map(|_| opened(&table, Action::Play).unwrap())
        .collect();
    assert_eq!(table.lines().len(), FEW);
    open.pop();
    assert_eq!(table.lines().len(), FEW - 1, "few are as they are now");
    let second = async || {
        tokio::time::advance(Duration::from_secs(1)).await;
        table.measure(|_, _| {});
        table.renew_lines();
    };
    open.extend((0..9).map(|_| opened(&table, Action::Play).unwrap()));
    let first = table.lines();
    open.pop();
    assert!(Arc::ptr_eq(&first, &table.lines()), "all look at the same");
    second().await;
    assert_eq!(table.lines().len(), FEW + 7, "and at another in a second");
    for _ in 0..7 {
        second().await;
    }
    open.pop();
    let again = table.lines();
    assert_eq!(again.len(), FEW + 6, "nothing was kept for nobody");
    tokio::time::advance(Duration::from_millis(1_600)).await;
    open.pop();
    assert_eq!(
        table.lines().len(),
        FEW + 5,
        "a clock that is late is not waited for"
    );
}

#[test]
fn a_session_is_where_it_was_placed_last_for_the_reason_given_last() {
    let table = sessions(9);
    let row = opened(&table, Action::Play).unwrap();
    let is_at = |origin: &str, why: &str| {
        let placed = row.placed();
        let known = placed.origin.as_ref().map(OriginId::as_str);
        assert_eq!((known.unwrap_or_default(), &*placed.why), (origin, why));
        assert_eq!(row.origin(), placed.origin);
        row.with_origin(|name| assert_eq!(name, origin));
    };
    is_at("", "");
    row.note_placed("one".into(), "first".into());
    is_at("one", "first");
    row.note_moved("two".into());
    is_at("two", "first");
    row.note_placed("three".into(), "second".into());
    is_at("three", "second");
    row.note_moved("one".into());
    is_at("one", "second");
}

#[tokio::test(start_paused = true)]
async fn a_publisher_that_sends_too_much_is_ended_after_a_while() {
    let table = sessions(9);
    let row = opened(&table, Action::Publish).unwrap();
    row.note_counted(None, Some(8));
    let second = async |bytes: usize| {
        tokio::time::advance(Duration::from_secs(1)).await;
        row.count(Direction::ToOrigin, bytes);
        table.measure(|_, _| {});
        row.end_reason()
    };
    for _ in 0..30 {
        assert_eq!(
            second(1_000).await,
            None,
            "8 kbit/s are 1,000 bytes a second"
        );
    }
    for _ in 0..5 {
        assert_eq!(second(2_000).await, None, "a scene with much motion");
    }
    for _ in 0..9 {
        assert_eq!(second(0).await, None, "then it keeps to its rate");
    }
    let mut lasted = 0;
    while second(2_000).await.is_none() {
        lasted += 1;
    }
    assert_eq!(row.end_reason(), Some(EndReason::TooFast));
    assert!((10..15).contains(&lasted), "{lasted} s");
}

#[tokio::test(start_paused = true)]
async fn a_ban_ends_whom_it_meets() {
    let table = sessions(9);
    let one = opened(&table, Action::Play).unwrap();
    one.note_who(Identity::viewer("seven"));
    let two = opened(&table, Action::Play).unwrap();
    let ban = |target: &str, at: u64, lifted: bool| Ban {
        target: target.parse().unwrap(),
        until: u64::MAX,
        at,
        lifted,
        reason: "".into(),
    };
    assert_eq!(table.take_ban(ban("viewer:seven", 1, false)), Some(1));
    assert_eq!(
        (one.end_reason(), two.end_reason()),
        (Some(EndReason::Banned), None)
    );
    assert_eq!(
        table.take_ban(ban("viewer:seven", 1, false)),
        None,
        "heard again"
    );
    assert_eq!(
        table.take_ban(ban("address:192.0.2.1", 2, true)),
        Some(0),
        "lifted"
    );
    assert_eq!(table.take_ban(ban("address:192.0.2.1", 3, false)), Some(1));
    assert_eq!(two.end_reason(), Some(EndReason::Banned));
}

#[tokio::test(start_paused = true)]
async fn stalls_are_counted_from_a_second_on() {
    let table = sessions(9);
    let row = opened(&table, Action::Play).unwrap();
    for (cause, millis, expected) in [("a moment", 999, 0), ("a second", 1000, 1)] {
        row.blocked(Direction::ToClient, true);
        tokio::time::advance(Duration::from_millis(millis)).await;
        row.blocked(Direction::ToClient, false);
        assert_eq!(row.stalls(), expected, "{cause}");
    }
    row.blocked(Direction::ToOrigin, true);
    tokio::time::advance(Duration::from_secs(2)).await;
    assert_eq!(row.stalls(), 2, "one that goes on counts");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_session_leaves_no_row_and_no_gauge() {
    let table = sessions(1);
    let open = opened(&table, Action::Play).unwrap();
    assert!(
        opened(&table, Action::Play).is_none(),
        "the table holds one"
    );
    assert!(
        table
            .metrics
            .render()
            .contains("sluicegate_sessions{protocol=\"rtmp\",action=\"play\"} 1")
    );
    open.end(EndReason::Kicked);
    open.end(EndReason::Drained);
    drop(open);
    assert!(table.is_empty());
    let text = table.metrics.render();
    assert!(
        text.contains("sluicegate_sessions{protocol=\"rtmp\",action=\"play\"} 0"),
        "{text}"
    );
    assert!(
        text.contains("action=\"play\",reason=\"kicked\"} 1"),
        "the first reason stands: {text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_publisher_is_ended() {
    let table = sessions(9);
    let row = opened(&table, Action::Publish).unwrap();
    assert_eq!(
        reason_after(&table, &row, 60).await,
        None,
        "set-up has its own deadline"
    );
    row.joined();
    row.count(Direction::ToOrigin, 10);
    assert_eq!(
        reason_after(&table, &row, 30).await,
        None,
        "it counts from the sweep that saw the bytes"
    );
    sweep(&table).await;
    assert_eq!(row.end_reason(), Some(EndReason::PublisherIdle));
}

/// For a minute, one sign of life every 20 s: who gives it, and whether it keeps the session.
#[tokio::test(start_paused = true)]
async fn what_shows_that_a_session_is_in_use() {
    let (publish, play) = (Action::Publish, Action::Play);
    let (client, origin) = (Direction::ToOrigin, Direction::ToClient);
    let rows = [
        ("a publisher sends", publish, client, false, true),
        ("its origin reports on it", publish, origin, false, true),
        ("a player gets", play, origin, false, true),
        ("a player sends reports", play, client, false, false),
        ("a player talks back", play, client, true, true),
    ];
    for (cause, action, direction, talks, kept) in rows {
        let table = sessions(9);
        let row = opened(&table, action).unwrap();
        row.joined();
        row.count(Direction::ToClient, 10);
        row.media_flows();
        if talks {
            row.talks_back();
        }
        for _ in 0..3 {
            row.count(direction, 10);
            reason_after(&table, &row, 20).await;
        }
        assert_eq!(row.end_reason().is_none(), kept, "{cause}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_player_that_its_origin_keeps_waiting_has_the_same_time() {
    let table = sessions(9);
    let row = opened(&table, Action::Play).unwrap();
    assert_eq!(reason_after(&table, &row, 599).await, None);
    row.waits();
    assert_eq!(
        reason_after(&table, &row, 1).await,
        Some(EndReason::WaitedTooLong)
    );
}

#[tokio::test(start_paused = true)]
async fn a_player_waits_long_for_its_publisher_and_briefly_afterwards() {
    let table = sessions(9);
    let row = opened(&table, Action::Play).unwrap();
    row.joined();
    assert_eq!(reason_after(&table, &row, 599).await, None);
    row.count(Direction::ToClient, 10);
    row.media_flows();
    assert_eq!(reason_after(&table, &row, 30).await, None);
    sweep(&table).await;
    assert_eq!(row.end_reason(), Some(EndReason::PlayerIdle));

    let waiting = opened(&table, Action::Play).unwrap();
    waiting.joined();
    assert_eq!(
        reason_after(&table, &waiting, 600).await,
        Some(EndReason::WaitedTooLong)
    );
}

#[tokio::test(start_paused = true)]
async fn a_receiver_that_takes_nothing_is_ended() {
    let table = sessions(9);
    let row = opened(&table, Action::Play).unwrap();
    row.joined();
    row.media_flows();
    row.count(Direction::ToClient, 10);
    tokio::time::advance(Duration::from_secs(1)).await;
    row.blocked(Direction::ToClient, true);
    assert_eq!(reason_after(&table, &row, 15).await, None);
    row.blocked(Direction::ToClient, true);
    assert_eq!(
        reason_after(&table, &row, 5).await,
        Some(EndReason::Stalled),
        "the first moment counts"
    );
}
