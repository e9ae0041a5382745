//! Streams that leave an origin with too much to do, while their publishers and viewers stay connected.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use sluicegate::sessions::{Row, State};
use sluicegate_core::place::rebalance::Stays;
use sluicegate_core::stream::Action;

use crate::fanout::told;
use crate::held::{FRAME, HEADER, KEYFRAME};
use crate::house::{Guest, House, Manner, Stub, post, until, video};

/// Registers an origin that reports how much of its processors it uses.
fn reports(house: &House, id: &str, origin: &Stub, cpu: f64) {
    let summaries = format!(r#""summaries":{{"system":{{"cpu_percent":{cpu}}}}}"#);
    let port = origin.at.port();
    house.register_with(id, &format!(r#""rtmp":["{port}"],{summaries}"#));
}

/// Four streams on `one`, which is at 95 %, beside `two`, which is at 10 %.
struct Hot {
    house: House,
    one: Stub,
    two: Stub,
    publishers: Vec<Guest>,
    time: u32,
}

impl Hot {
    async fn new(settings: &str) -> Self {
        let house = House::open(settings).await;
        let one = Stub::start(Manner::Grants).await;
        reports(&house, "one", &one, 0.95);
        let mut publishers = Vec::new();
        for name in ["live/a", "live/b", "live/c", "live/d"] {
            let mut publisher = house.ask(Action::Publish, name).await;
            assert!(publisher.has_started(), "{:?}", publisher.status);
            publisher.send(&video(0, HEADER)).await;
            publishers.push(publisher);
        }
        let two = Stub::start(Manner::Grants).await;
        reports(&house, "two", &two, 0.1);
        Self {
            house,
            one,
            two,
            publishers,
            time: 0,
        }
    }

    /// Sends a keyframe and a frame of each stream, all of one size, every few milliseconds until something `happened`.
    async fn send_until(&mut self, what: &str, mut happened: impl FnMut(&Self) -> bool) {
        let large = [FRAME, &[7; 2000]].concat();
        let sending = async {
            while !happened(self) {
                self.time += 40;
                for publisher in &mut self.publishers {
                    publisher.send(&video(self.time, KEYFRAME)).await;
                    publisher.send(&video(self.time + 20, &large)).await;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let sent = tokio::time::timeout(Duration::from_secs(60), sending).await;
        assert!(sent.is_ok(), "{what} did not come in time");
    }

    /// Sends until the load of each stream is known.
    async fn send_until_known(&mut self) {
        self.send_until("the loads", |it| {
            !it.house.proxy.rebalance_plan().moves.is_empty()
        })
        .await;
    }

    fn rows(&self) -> Vec<Arc<Row>> {
        self.house.proxy.sessions().list()
    }

    /// How many streams are on an origin.
    fn on(&self, origin: &str) -> usize {
        let rows = self.rows();
        let there = rows.iter().filter(|row| {
            row.request.action == Action::Publish
                && row.origin().is_some_and(|id| id.as_str() == origin)
        });
        there.count()
    }

    fn metrics(&self) -> String {
        self.house.proxy.metrics().render()
    }
}

const MADE: &str = r#"sluicegate_moves_total{cause="rebalanced",outcome="made"} 1"#;

#[tokio::test]
async fn a_stream_leaves_an_overloaded_origin_and_nobody_is_disconnected() {
    let settings = "[placement]\nrebalance = true\nrebalance_after = \"100ms\"\n";
    let mut hot = Hot::new(settings).await;
    let before: Vec<u64> = hot.rows().iter().map(|row| row.id).collect();
    hot.send_until("the move", |it| it.metrics().contains(MADE))
        .await;
    assert_eq!(
        (hot.on("one"), hot.on("two")),
        (3, 1),
        "one of four is enough"
    );
    let plan = hot.house.proxy.rebalance_plan();
    assert!(plan.moves.is_empty(), "it is enough: {plan:?}");
    let media = hot.two.seen.lock().unwrap().media.len();
    hot.send_until("more of it", |it| {
        it.two.seen.lock().unwrap().media.len() > media + 4
    })
    .await;
    until("the old leg", || hot.one.seen.lock().unwrap().closed == 1).await;
    let rows = hot.rows();
    let after: Vec<u64> = rows.iter().map(|row| row.id).collect();
    assert_eq!(before, after, "the same sessions");
    assert!(
        rows.iter()
            .all(|row| row.state() == State::Relaying && !row.has_ended())
    );
    let moved = rows
        .iter()
        .find(|row| row.origin().is_some_and(|id| id.as_str() == "two"));
    let why = moved.expect("one of them").placed().why;
    assert!(why.contains("too much to do"), "{why}");
    assert!(
        !hot.metrics().contains("sluicegate_holds_total{"),
        "nobody was held"
    );
    let events = told(&hot.house, "/api/v1/events?kind=moved")
        .await
        .to_string();
    assert!(events.contains("moved from one (rebalanced)"), "{events}");
}

#[tokio::test]
async fn nothing_leaves_by_itself_unless_that_is_set() {
    let mut hot = Hot::new("").await;
    hot.send_until_known().await;
    let plan = hot.house.proxy.rebalance_plan();
    let it = &plan.moves[0];
    assert_eq!((it.from.as_str(), it.to.as_str()), ("one", "two"));
    assert!(
        it.is_due && it.to_string().contains("one is at 95%"),
        "{it}"
    );
    assert!(!hot.house.proxy.rebalances());
    assert_eq!((hot.on("one"), hot.two.connections()), (4, 0));
}

#[tokio::test]
async fn a_stream_stays_whose_viewers_could_not_follow() {
    let mut hot = Hot::new("").await;
    let mut viewers = Vec::new();
    for name in ["live/a", "live/b", "live/c", "live/d"] {
        viewers.push(hot.house.ask(Action::Play, name).await);
    }
    let stay = |it: &Hot| {
        let plan = it.house.proxy.rebalance_plan();
        assert_eq!(plan.moves, []);
        let overloaded = plan.overloaded.first();
        overloaded.is_some_and(|it| it.staying.get(&Stays::Viewers) == Some(&4))
    };
    hot.send_until("why they stay", stay).await;
    drop(viewers.pop());
    hot.send_until_known().await;
    let plan = hot.house.proxy.rebalance_plan();
    assert!(plan.moves[0].key.as_str().ends_with("live/d"), "{plan:?}");
}

#[tokio::test]
async fn an_operator_sees_the_plan_and_has_it_made() {
    let mut hot = Hot::new("").await;
    hot.send_until_known().await;
    let plan = told(&hot.house, "/api/v1/rebalance").await;
    let (overloaded, it) = (&plan["overloaded"][0], &plan["moves"][0]);
    assert_eq!(plan["enabled"], false, "{plan}");
    assert_eq!(
        (&overloaded["origin"], &overloaded["load_percent"]),
        (&"one".into(), &95.0.into())
    );
    let staying = overloaded["staying"].as_object().expect("reasons");
    let staying: u64 = staying.values().filter_map(Value::as_u64).sum();
    assert_eq!(staying, 3, "{plan}");
    assert!(
        overloaded["excess_kbps"].as_u64() <= overloaded["leaving_kbps"].as_u64(),
        "{plan}"
    );
    assert_eq!(
        (&it["from"], &it["to"], &it["begins"]),
        (&"one".into(), &"two".into(), &true.into())
    );
    assert_eq!(hot.two.connections(), 0, "a look moves nothing");
    let (status, body) = post(hot.house.at.system, "/api/v1/rebalance", "").await;
    assert_eq!(status, 200, "{body}");
    let begun: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(begun["data"]["moves"][0]["begins"], true, "{body}");
    hot.send_until("the move", |it| it.metrics().contains(MADE))
        .await;
    assert_eq!((hot.on("one"), hot.on("two")), (3, 1));
    let plan = told(&hot.house, "/api/v1/rebalance").await;
    assert_eq!(plan["moves"].as_array().map(Vec::len), Some(0), "{plan}");
    let audit = told(&hot.house, "/api/v1/events?kind=audit")
        .await
        .to_string();
    assert!(audit.contains("/api/v1/rebalance"), "{audit}");
}
