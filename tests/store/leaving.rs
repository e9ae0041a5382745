//! An origin or a proxy that leaves a cluster: whichever proxy is told, all of them act on it.

use std::process::Command;
use std::time::Duration;

use serde_json::json;
use sluicegate_core::fleet::drain::{Cause, Duty};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::Action;

use crate::house::{House, Manner, Stub, until, until_within};
use crate::one_api::{ask, duty, id};
use crate::pair;
use crate::redis_server::RedisServer;

/// Two proxies on one store.
struct Pair {
    a: House,
    b: House,
    redis: Option<RedisServer>,
}

impl Pair {
    async fn on_a_redis() -> Self {
        let redis = RedisServer::start();
        let settings = pair::on_a_redis(&redis, KEY);
        let (a, b) = pair::met([&settings, &settings]).await;
        let redis = Some(redis);
        Self { a, b, redis }
    }

    async fn in_a_mesh() -> Self {
        let settings = pair::in_a_mesh(KEY);
        let (a, b) = pair::met(settings.each_ref().map(String::as_str)).await;
        let redis = None;
        Self { a, b, redis }
    }

    /// Lets an origin report to A.
    async fn reports(&self, name: &str, origin: &Stub) {
        self.a.register(name, origin.at);
        until("the other proxy's origin", || {
            wanted(&self.b, name).is_some()
        })
        .await;
    }

    fn both(&self) -> [&House; 2] {
        [&self.a, &self.b]
    }
}

/// The duty of an origin, if it is known.
fn wanted(house: &House, origin: &str) -> Option<Duty> {
    house.proxy.registry().duty(&OriginId::from(origin))
}

fn leaves(house: &House, origin: &str) -> bool {
    let duty = wanted(house, origin);
    matches!(duty, Some(Duty::Draining(drain)) if drain.cause == Cause::Deregistered)
}

async fn an_idle_origin_is_gone_at_once(pair: Pair) {
    let origin = Stub::start(Manner::Grants).await;
    pair.reports("o1", &origin).await;
    let target = "/api/v1/origins/o1";
    let (status, document) = ask(&pair.b, "DELETE", target).await;
    assert_eq!(status, 409, "{document}");
    let forced = "/api/v1/origins/o1?force=true";
    assert_eq!(ask(&pair.b, "DELETE", forced).await.0, 200);
    for house in pair.both() {
        until("it is gone", || wanted(house, "o1").is_none()).await;
    }
    if let Some(redis) = &pair.redis {
        let keys = redis.cli(&["keys", "srs-proxy-server:*"]);
        assert_eq!(keys.trim(), "", "its record is gone");
        let list = redis.cli(&["get", "srs-proxy-all-servers"]);
        assert_eq!(list.trim(), "[]");
    }
    assert_eq!(ask(&pair.b, "DELETE", target).await.0, 404);
    // The origin is still there, and reports.
    pair.reports("o1", &origin).await;
    for house in pair.both() {
        assert_eq!(duty(house, "o1"), Duty::Active);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_idle_origin_that_is_deregistered_is_gone_everywhere() {
    an_idle_origin_is_gone_at_once(Pair::on_a_redis().await).await;
    an_idle_origin_is_gone_at_once(Pair::in_a_mesh().await).await;
}

async fn an_origin_in_use_drains_everywhere(pair: Pair) {
    let (one, two) = (
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    );
    pair.reports("o1", &one).await;
    let publisher = pair.a.ask(Action::Publish, "live/a").await;
    assert!(publisher.has_started(), "{:?}", publisher.status);
    pair.reports("o2", &two).await;

    let target = "/api/v1/origins/o1";
    assert_eq!(ask(&pair.b, "DELETE", target).await.0, 200);
    for house in pair.both() {
        until("it drains", || leaves(house, "o1")).await;
    }
    // A heartbeat does not change that, new streams go elsewhere, and players find the existing one.
    pair.reports("o1", &one).await;
    for (house, stream) in [(&pair.a, "live/b"), (&pair.b, "live/c")] {
        let publisher = house.ask(Action::Publish, stream).await;
        assert!(publisher.has_started(), "{:?}", publisher.status);
        assert_eq!(house.origin_of(stream).as_deref(), Some("o2"));
    }
    let player = pair.b.ask(Action::Play, "live/a").await;
    assert!(player.has_started(), "{:?}", player.status);
    assert_eq!(pair.b.origin_of("live/a").as_deref(), Some("o1"));
    drop(player);
    pair.b.until_sessions(0).await;

    // A's session is the last one, and B knows that long after its own ended.
    let last = pair.a.proxy.sessions().list();
    let said_again = async {
        for _ in 0..2 {
            let key = "sluicegate-duty:o1";
            let said = |pair: &Pair| pair.redis.as_ref().map(|redis| redis.cli(&["get", key]));
            let before = said(&pair);
            if before.is_some() {
                until_within(LOOKS, "A says again that it is used", || {
                    said(&pair) != before
                })
                .await;
            }
        }
    };
    said_again.await;
    assert!(leaves(&pair.b, "o1"));
    assert!(last.iter().any(|row| !row.has_ended()));
    drop(publisher);
    for house in pair.both() {
        until_within(LOOKS, "it is gone", || wanted(house, "o1").is_none()).await;
    }
    pair.reports("o1", &one).await;
    for house in pair.both() {
        assert_eq!(duty(house, "o1"), Duty::Active, "it came back");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_origin_in_use_that_is_deregistered_drains_everywhere() {
    let (redis, mesh) = (Pair::on_a_redis().await, Pair::in_a_mesh().await);
    tokio::join!(
        an_origin_in_use_drains_everywhere(redis),
        an_origin_in_use_drains_everywhere(mesh)
    );
}

async fn the_last_two_are_not_both_taken_away(pair: Pair) {
    let origins = [
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    ];
    for (name, origin) in ["o1", "o2"].into_iter().zip(&origins) {
        pair.reports(name, origin).await;
    }
    // What B alone was told, A has not heard of.
    let alone = "/api/v1/origins/o2/drain?scope=local";
    assert_eq!(ask(&pair.b, "POST", alone).await.0, 200);
    let ways = [("POST", "/drain"), ("POST", "/disable"), ("DELETE", "")];
    for (method, way) in ways {
        let target = format!("/api/v1/origins/o1{way}");
        let (status, document) = ask(&pair.a, method, &target).await;
        assert_eq!(
            (status, &document["force"]),
            (409, &json!(true)),
            "{method} {way}: {document}"
        );
        let words = document["error"].as_str().expect("words");
        let expected = "o1 is the last one for rtmp: another proxy was told meanwhile";
        assert!(words.starts_with(expected), "{words}");
        for house in pair.both() {
            assert_eq!(duty(house, "o1"), Duty::Active, "{method} {way}");
        }
    }
    let forced = "/api/v1/origins/o1/drain?force=true";
    assert_eq!(ask(&pair.a, "POST", forced).await.0, 200);
    let back = async |house: &House, name: &str| {
        let target = format!("/api/v1/origins/{name}/undrain");
        assert_eq!(ask(house, "POST", &target).await.0, 200, "{name}");
    };
    let all_back = async || {
        until("all take streams", || {
            let mut all = ["o1", "o2"].into_iter();
            all.all(|name| {
                pair.both()
                    .iter()
                    .all(|house| duty(house, name) == Duty::Active)
            })
        })
        .await;
    };
    back(&pair.a, "o1").await;
    back(&pair.b, "o2").await;
    all_back().await;

    // Both at the same moment.
    for _ in 0..10 {
        let (a, b) = tokio::join!(
            ask(&pair.a, "POST", "/api/v1/origins/o1/drain"),
            ask(&pair.b, "POST", "/api/v1/origins/o2/disable")
        );
        let statuses = [a.0, b.0];
        let is_known = |status: &u16| [200, 409].contains(status);
        assert!(statuses.iter().all(is_known), "{a:?} {b:?}");
        assert!(statuses.contains(&409), "{a:?} {b:?}");
        if a.0 == 200 {
            back(&pair.a, "o1").await;
        }
        if b.0 == 200 {
            back(&pair.b, "o2").await;
        }
        all_back().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_last_two_origins_are_not_taken_away_at_two_proxies() {
    let (redis, mesh) = (Pair::on_a_redis().await, Pair::in_a_mesh().await);
    tokio::join!(
        the_last_two_are_not_both_taken_away(redis),
        the_last_two_are_not_both_taken_away(mesh)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_proxy_is_drained_through_another() {
    let pair = Pair::on_a_redis().await;
    let origin = Stub::start(Manner::Grants).await;
    pair.reports("o1", &origin).await;
    let _publisher = pair.a.ask(Action::Publish, "live/a").await;
    let (a, b) = (id(&pair.a), id(&pair.b));
    let told = |arguments: &[&str]| {
        let told = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
            .args(arguments)
            .args(["--to", &format!("http://{}", pair.b.at.system)])
            .output()
            .expect("it runs");
        let text = String::from_utf8_lossy(&told.stdout).into_owned();
        (told.status.code(), text)
    };
    let (code, text) = told(&["drain", "--proxy", &a, "--deadline", "1h"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.starts_with(&format!("{a} drains: 1 publisher ")),
        "{text}"
    );
    assert!(pair.a.proxy.is_draining() && !pair.b.proxy.is_draining());
    let drain = pair.a.proxy.drain_in_progress().expect("it drains");
    assert!(drain.deadline.is_some());

    // The progress of the drain, by either name of the proxy; and that of the proxy that is asked.
    let address = pair.a.at.system.to_string();
    for name in [&a, &address] {
        let (status, document) = ask(&pair.b, "GET", &format!("/api/v1/proxy?proxy={name}")).await;
        let data = &document["data"];
        assert_eq!((status, &data["id"]), (200, &json!(a)), "{document}");
        assert_eq!(data["drain"]["publishers"], 1, "{document}");
    }
    let (_, document) = ask(&pair.b, "GET", &format!("/api/v1/proxy?proxy={b}")).await;
    assert_eq!(document["data"]["draining"], false, "{document}");
    let (code, text) = told(&["ps"]);
    assert!(
        code == Some(0) && text.contains(&a) && text.contains(&address),
        "{text}"
    );

    let (code, _) = told(&["undrain", "--proxy", &a]);
    assert_eq!(code, Some(0));
    assert!(!pair.a.proxy.is_draining());
    assert_eq!(told(&["drain", "--proxy", "nobody"]).0, Some(5));
    // Without a name it means the proxy that is asked.
    let (code, text) = told(&["drain", "--proxy"]);
    assert_eq!((code, text.starts_with(&b)), (Some(0), true), "{text}");
    assert!(pair.b.proxy.is_draining() && !pair.a.proxy.is_draining());
}

const KEY: &str = "[cluster]\nkey = \"shared\"\n";
/// Three rounds of checks, and a little more.
const LOOKS: Duration = Duration::from_secs(45);
