//! Two proxies that answer as one: tables, kicks, drains and reports, whichever is asked.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::stream::Action;

use crate::call;
use crate::house::{House, Manner, Stub, until, until_told, until_within};
use crate::pair;
use crate::redis_server::RedisServer;

/// Two proxies on one Redis that share a key, and require a token of all other callers.
struct Pair {
    a: House,
    b: House,
    settings: String,
    redis: RedisServer,
}

impl Pair {
    async fn open(key: &str) -> Self {
        let redis = RedisServer::start();
        let more = format!(
            "[cluster]\nkey = \"{key}\"\n\
             [system]\nauth_enabled = true\nauth_type = \"bearer\"\nauth_token = \"{TOKEN}\"\n"
        );
        let settings = pair::on_a_redis(&redis, &more);
        let (a, b) = pair::met([&settings, &settings]).await;
        Self {
            a,
            b,
            settings,
            redis,
        }
    }

    async fn register(&self, origins: &[(&str, &Stub)]) {
        for (name, origin) in origins {
            self.a.register(name, origin.at);
        }
        until("the other proxy's origins", || {
            self.b.proxy.registry().origins().len() == origins.len()
        })
        .await;
    }
}

pub(crate) fn id(house: &House) -> String {
    house.proxy.cluster().expect("a store").id().to_owned()
}

pub(crate) fn duty(house: &House, origin: &str) -> Duty {
    let duty = house.proxy.registry().duty(&OriginId::from(origin));
    duty.expect("it is known")
}

/// Asks the system API as an operator.
pub(crate) async fn ask(house: &House, method: &str, target: &str) -> (u16, Value) {
    ask_with(house.at.system, method, target, TOKEN, "").await
}

async fn ask_with(
    at: SocketAddr,
    method: &str,
    target: &str,
    token: &str,
    body: &str,
) -> (u16, Value) {
    let bearer = format!("Authorization: Bearer {token}\r\n");
    let (status, _, body) = call::ask_with(at, method, target, &bearer, body).await;
    (status, serde_json::from_str(&body).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tables_and_kicks_are_of_the_whole_cluster() {
    let pair = Pair::open("shared").await;
    let origin = Stub::start(Manner::Grants).await;
    pair.register(&[("o1", &origin)]).await;
    let mut publisher = pair.a.ask(Action::Publish, "live/a").await;
    let mut player = pair.b.ask(Action::Play, "live/a").await;
    let mut other = pair.b.ask(Action::Publish, "live/b").await;
    let (a, b) = (id(&pair.a), id(&pair.b));

    for house in [&pair.a, &pair.b] {
        let (status, document) = ask(house, "GET", "/api/v1/sessions").await;
        let data = &document["data"];
        assert_eq!(
            (status, data["total"].as_u64()),
            (200, Some(3)),
            "{document}"
        );
        assert_eq!(data["partial"], false, "{document}");
        let rows = data["sessions"].as_array().expect("rows");
        let of = |proxy: &str| rows.iter().filter(|row| row["proxy"] == *proxy).count();
        assert_eq!((of(&a), of(&b)), (1, 2), "{document}");
        let (_, document) = ask(house, "GET", "/api/v1/streams").await;
        let rows = document["data"]["streams"].as_array().expect("rows");
        let row = rows
            .iter()
            .find(|row| row["stream"] == "__defaultVhost__/live/a");
        let row = row.expect("it is placed");
        assert_eq!(
            (&row["publishers"], &row["players"]),
            (&json!(1), &json!(1)),
            "{row}"
        );
        let (_, document) = ask(house, "GET", "/api/v1/origins").await;
        assert_eq!(document["data"]["origins"][0]["sessions"], 3, "{document}");
    }
    let (_, document) = ask(&pair.a, "GET", "/api/v1/sessions?scope=local").await;
    assert_eq!(document["data"]["total"], 1, "{document}");
    let (_, document) = ask(&pair.a, "GET", "/api/v1/proxy").await;
    assert_eq!(document["data"]["peers"][0]["id"], b, "{document}");
    let shown = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["sessions", "--token", TOKEN, "--to"])
        .arg(format!("http://{}", pair.a.at.system))
        .output()
        .expect("it runs");
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains(&format!("{b}:")) && shown.lines().count() == 4,
        "{shown}"
    );

    // A token is for the proxy it was made for, and another key makes other tokens.
    for (key, proxy, expected) in [("shared", &b, 200), ("shared", &a, 401), ("else", &b, 401)] {
        let token = sluicegate_core::cluster::peers::token(key.as_bytes(), proxy);
        let (status, _) = ask_with(pair.b.at.system, "GET", "/api/v1/sessions", &token, "").await;
        assert_eq!(status, expected, "{key} {proxy}");
    }

    // By its full name, from either proxy.
    let row = pair.b.proxy.sessions().list().remove(0);
    let whole = format!("/api/v1/sessions/{b}:{}", row.id);
    let (status, document) = ask(&pair.a, "GET", &whole).await;
    assert_eq!(
        (status, &document["data"]["action"]),
        (200, &json!("play")),
        "{document}"
    );
    assert_eq!(ask(&pair.a, "DELETE", &whole).await.0, 200);
    player.read_to_end().await;
    assert_eq!(row.ended().await.as_str(), "kicked");
    assert_eq!(ask(&pair.a, "DELETE", &whole).await.0, 404);
    // A number means a session of the proxy that is asked, and otherwise of the only proxy that has it.
    let only = pair.b.proxy.sessions().list().remove(0);
    let target = format!("/api/v1/sessions/{}", only.id);
    assert_eq!(ask(&pair.a, "DELETE", &target).await.0, 200);
    other.read_to_end().await;
    assert_eq!(ask(&pair.a, "DELETE", "/api/v1/sessions/999").await.0, 404);

    // A stream is ended wherever it is.
    let mut player = pair.b.ask(Action::Play, "live/a").await;
    let (status, document) = ask(&pair.b, "DELETE", "/api/v1/streams/live/a").await;
    assert_eq!(
        (status, &document["data"]["ended"]),
        (200, &json!(2)),
        "{document}"
    );
    publisher.read_to_end().await;
    player.read_to_end().await;
    let (status, _) = ask(&pair.b, "DELETE", "/api/v1/streams/live/a").await;
    assert_eq!(status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_answer_without_everybody_says_so() {
    let pair = Pair::open("shared").await;
    let gone = r#"{"system":"127.0.0.1:1","started":"2026-01-01T00:00:00Z","version":"0"}"#;
    pair.redis
        .cli(&["set", "sluicegate-proxy:dead0000", gone, "px", "60000"]);
    until("it is heard of", || {
        pair.a.proxy.cluster().expect("a store").peers().len() == 2
    })
    .await;
    let (status, document) = ask(&pair.a, "GET", "/api/v1/streams").await;
    let data = &document["data"];
    assert_eq!(
        (status, &data["partial"]),
        (200, &json!(true)),
        "{document}"
    );
    assert_eq!(data["missing"][0]["proxy"], "dead0000", "{document}");
    assert_eq!(
        data["missing"].as_array().map(Vec::len),
        Some(1),
        "{document}"
    );
    let why = data["missing"][0]["why"].as_str().expect("words");
    assert!(why.contains("refused") && !why.contains(TOKEN), "{why}");

    // A proxy that announced its stop is not waited for.
    pair.b.stop.cancel();
    until("it left", || {
        pair.a.proxy.cluster().expect("a store").peers().len() == 1
    })
    .await;

    let alone = Pair::open("").await;
    let (_, document) = ask(&alone.a, "GET", "/api/v1/sessions").await;
    let why = document["data"]["missing"][0]["why"].as_str();
    assert!(
        why.is_some_and(|why| why.contains("cluster.key")),
        "{document}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_wanted_of_an_origin_is_followed_by_all_and_outlives_a_restart() {
    let pair = Pair::open("shared").await;
    let (one, two) = (
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    );
    pair.register(&[("o1", &one), ("o2", &two)]).await;
    let target = "/api/v1/origins/o1/drain?deadline=1h";
    assert_eq!(ask(&pair.a, "POST", target).await.0, 200);
    until("the other follows", || {
        matches!(duty(&pair.b, "o1"), Duty::Draining(_))
    })
    .await;
    let Duty::Draining(drain) = duty(&pair.b, "o1") else {
        panic!("it drains");
    };
    let left = drain.deadline.expect("a deadline").elapsed();
    assert!(left.is_zero() && !drain.is_overdue(std::time::Instant::now()));
    for stream in 0..10 {
        let publisher = pair.b.ask(Action::Publish, &format!("live/{stream}")).await;
        assert!(publisher.has_started());
    }
    assert_eq!((one.connections(), two.connections()), (0, 10));

    // A proxy that starts now learns about it, although the one that was told is gone.
    pair.a.stop.cancel();
    let third = House::open(&pair.settings).await;
    until("it follows", || {
        let duty = third.proxy.registry().duty(&OriginId::from("o1"));
        matches!(duty, Some(Duty::Draining(_)))
    })
    .await;
    assert_eq!(
        ask(&third, "POST", "/api/v1/origins/o1/undrain").await.0,
        200
    );
    until("it is undone", || duty(&pair.b, "o1") == Duty::Active).await;
    assert_eq!(
        ask(&third, "POST", "/api/v1/origins/o2/disable?scope=local")
            .await
            .0,
        200
    );
    assert_eq!(
        ask(&third, "POST", "/api/v1/origins/o1/disable?force=true")
            .await
            .0,
        200
    );
    until("the other follows", || {
        duty(&pair.b, "o1") == Duty::Disabled
    })
    .await;
    assert_eq!(duty(&pair.b, "o2"), Duty::Active, "that was for one alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn proxies_in_a_mesh_answer_as_one_too() {
    let settings = pair::in_a_mesh("[cluster]\nkey = \"shared\"\n");
    let (a, b) = pair::met(settings.each_ref().map(String::as_str)).await;
    let origin = Stub::start(Manner::Grants).await;
    a.register("o1", origin.at);
    until("the other's origin", || {
        b.proxy.registry().origins().len() == 1
    })
    .await;
    let _publisher = a.ask(Action::Publish, "live/a").await;
    let (_, document) = ask(&b, "GET", "/api/v1/sessions").await;
    assert_eq!(document["data"]["total"], 1, "{document}");
    assert_eq!(
        document["data"]["sessions"][0]["proxy"],
        id(&a),
        "{document}"
    );
    let drain = "/api/v1/origins/o1/drain?force=true";
    assert_eq!(ask(&a, "POST", drain).await.0, 200);
    until("the other follows", || {
        matches!(duty(&b, "o1"), Duty::Draining(_))
    })
    .await;
    assert_eq!(ask(&b, "POST", "/api/v1/origins/o1/undrain").await.0, 200);
    until("it is undone", || duty(&a, "o1") == Duty::Active).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_drain_is_done_when_it_is_everywhere() {
    let pair = Pair::open("shared").await;
    let origin = Stub::start(Manner::Grants).await;
    pair.register(&[("o1", &origin)]).await;
    let publisher = pair.b.ask(Action::Publish, "live/a").await;
    let drain = "/api/v1/origins/o1/drain?force=true";
    let (_, document) = ask(&pair.a, "POST", drain).await;
    assert_eq!(document["data"]["drain"]["done"], false, "{document}");
    until("the other follows", || duty(&pair.b, "o1") != Duty::Active).await;
    let (_, document) = ask(&pair.a, "GET", "/api/v1/origins").await;
    let drain = &document["data"]["origins"][0]["drain"];
    assert_eq!(
        (&drain["publishers"], &drain["done"]),
        (&json!(1), &json!(false))
    );
    drop(publisher);
    pair.b.until_sessions(0).await;
    let (_, document) = ask(&pair.a, "GET", "/api/v1/origins").await;
    assert_eq!(
        document["data"]["origins"][0]["drain"]["done"], true,
        "{document}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stream_that_was_published_directly_is_found_by_all() {
    let pair = Pair::open("shared").await;
    let stubs = [
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
        Stub::start(Manner::Grants).await,
    ];
    let origins = [("o1", &stubs[0]), ("o2", &stubs[1]), ("o3", &stubs[2])];
    pair.register(&origins).await;
    for (name, stub) in origins {
        let stream = format!("on-{name}");
        let report = |action: &str| {
            json!({"action": action, "server_id": name, "service_id": "s", "vhost": "__defaultVhost__",
                   "app": "live", "stream": stream})
            .to_string()
        };
        let hooks = "/api/v1/hooks/srs";
        let (status, _) = ask_with(
            pair.a.at.system,
            "POST",
            hooks,
            TOKEN,
            &report("on_publish"),
        )
        .await;
        assert_eq!(status, 200);
        let key = format!("sluicegate-published:__defaultVhost__/live/{stream}");
        assert!(pair.redis.cli(&["get", &key]).contains(name));
        let before = stub.connections();
        until_told("the other heard of it", async || {
            let stream = format!("__defaultVhost__/live/{stream}")
                .parse()
                .expect("a stream");
            let protocol = sluicegate_core::stream::Protocol::Rtmp;
            let explained = pair.b.proxy.explain(&stream, protocol, None);
            json!(explained.await)
                .to_string()
                .contains(&format!("{name} reports"))
        })
        .await;
        let player = pair.b.ask(Action::Play, &format!("live/{stream}")).await;
        assert!(player.has_started());
        assert_eq!(stub.connections(), before + 1, "{name}");
        ask_with(
            pair.a.at.system,
            "POST",
            hooks,
            TOKEN,
            &report("on_unpublish"),
        )
        .await;
        assert!(!pair.redis.cli(&["get", &key]).contains(name));
    }
}

/// Proxies show themselves every ten seconds, with the same words, and are forgotten after thirty.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_proxy_that_says_the_same_again_is_heard_of_again() {
    let redis = RedisServer::start();
    let on_a_redis = pair::on_a_redis(&redis, "");
    let in_a_mesh = pair::in_a_mesh("");
    let pairs = [
        pair::met([&on_a_redis, &on_a_redis]).await,
        pair::met(in_a_mesh.each_ref().map(String::as_str)).await,
    ];
    let heard = |house: &House| {
        let peers = house.proxy.cluster().expect("a store").peers();
        peers.first().map(|peer| peer.heard)
    };
    for house in pairs.iter().flat_map(|(a, b)| [a, b]) {
        let first = heard(house).expect("the other");
        let again = || heard(house).is_some_and(|heard| heard > first);
        until_within(Duration::from_secs(40), "the other once more", again).await;
    }
}

const TOKEN: &str = "sesame";
