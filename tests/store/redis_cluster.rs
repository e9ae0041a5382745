//! Two proxies on a Redis Cluster, which does not announce changes: they answer as one all the same.

use std::time::Duration;

use serde_json::json;
use sluicegate_core::fleet::drain::Duty;
use sluicegate_core::stream::Action;

use crate::call;
use crate::house::{House, Manner, Stub, until_told, until_within};
use crate::one_api::{ask, duty, id};
use crate::pair::knows;
use crate::redis_server::Cluster;

struct Pair {
    a: House,
    b: House,
    _cluster: Cluster,
}

impl Pair {
    async fn open() -> Self {
        let cluster = Cluster::start();
        let settings = format!(
            "[store]\ntype = \"redis\"\nurl = \"{}\"\ntimeout = \"2s\"\nwait_at_start = true\n\
             [cluster]\nkey = \"shared\"\n",
            cluster.url()
        );
        let (a, b) = (House::open(&settings).await, House::open(&settings).await);
        for (house, other) in [(&a, &b), (&b, &a)] {
            until("the other proxy", || knows(house, other)).await;
        }
        Self {
            a,
            b,
            _cluster: cluster,
        }
    }

    async fn register(&self, name: &str) -> Stub {
        let origin = Stub::start(Manner::Grants).await;
        self.a.register(name, origin.at);
        until("the other proxy's origin", || {
            self.b.proxy.registry().origins().len() == 1
        })
        .await;
        origin
    }
}

/// The store is read every ten seconds.
async fn until(what: &str, happened: impl FnMut() -> bool) {
    until_within(Duration::from_secs(25), what, happened).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tables_kicks_and_drains_are_of_both() {
    let pair = Pair::open().await;
    let _origin = pair.register("o1").await;
    let mut publisher = pair.a.ask(Action::Publish, "live/a").await;
    let mut player = pair.a.ask(Action::Play, "live/a").await;
    assert!(player.has_started(), "{:?}", player.status);

    // Everything is on A, and B says so.
    let (status, document) = ask(&pair.b, "GET", "/api/v1/sessions").await;
    let data = &document["data"];
    assert_eq!((status, &data["total"]), (200, &json!(2)), "{document}");
    assert_eq!(data["partial"], false, "{document}");
    assert_eq!(data["sessions"][0]["proxy"], id(&pair.a), "{document}");
    let (_, document) = ask(&pair.b, "GET", "/api/v1/streams").await;
    let row = &document["data"]["streams"][0];
    assert_eq!(row["stream"], "__defaultVhost__/live/a", "{document}");
    let counts = (&row["publishers"], &row["players"]);
    assert_eq!(counts, (&json!(1), &json!(1)), "{document}");
    let (_, document) = ask(&pair.b, "GET", "/api/v1/origins").await;
    assert_eq!(document["data"]["origins"][0]["sessions"], 2, "{document}");

    // Kicks work too: of one session, and of a stream.
    let rows = pair.a.proxy.sessions().list();
    let playing = rows.iter().find(|row| row.request.action == Action::Play);
    let playing = playing.expect("the player's");
    let whole = format!("/api/v1/sessions/{}:{}", id(&pair.a), playing.id);
    assert_eq!(ask(&pair.b, "DELETE", &whole).await.0, 200);
    player.read_to_end().await;
    let (status, document) = ask(&pair.b, "DELETE", "/api/v1/streams/live/a").await;
    let ended = &document["data"]["ended"];
    assert_eq!((status, ended), (200, &json!(1)), "{document}");
    publisher.read_to_end().await;

    // The duty of an origin works too.
    let drain = "/api/v1/origins/o1/drain?deadline=1h&force=true";
    assert_eq!(ask(&pair.b, "POST", drain).await.0, 200);
    until("the other follows", || {
        matches!(duty(&pair.a, "o1"), Duty::Draining(_))
    })
    .await;
    let undrain = "/api/v1/origins/o1/undrain";
    assert_eq!(ask(&pair.a, "POST", undrain).await.0, 200);
    until("it is undone", || duty(&pair.b, "o1") == Duty::Active).await;

    // A proxy that announced its stop is not asked any more.
    pair.a.stop.cancel();
    until("it left", || !knows(&pair.b, &pair.a)).await;
    let (_, document) = ask(&pair.b, "GET", "/api/v1/sessions").await;
    assert_eq!(document["data"]["partial"], false, "{document}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_report_reaches_the_other_and_so_does_its_end() {
    let pair = Pair::open().await;
    let _origin = pair.register("o1").await;
    let report = async |action: &str| {
        let body = json!({"action": action, "server_id": "o1", "service_id": "s", "vhost": "__defaultVhost__",
                          "app": "live", "stream": "direct"});
        let hooks = "/api/v1/hooks/srs";
        let at = pair.a.at.system;
        let (status, _, _) = call::ask_with(at, "POST", hooks, "", &body.to_string()).await;
        assert_eq!(status, 200);
    };
    let stream = "__defaultVhost__/live/direct".parse().expect("a stream");
    let heard = async || {
        let protocol = sluicegate_core::stream::Protocol::Rtmp;
        let explained = pair.b.proxy.explain(&stream, protocol, None).await;
        json!(explained).to_string().contains("o1 reports")
    };
    assert!(!heard().await);
    report("on_publish").await;
    until_told("the other heard of it", heard).await;
    report("on_unpublish").await;
    until_told("the other heard of its end", async || !heard().await).await;
}
