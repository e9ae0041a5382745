//! Moves of streams whose viewers are at another proxy than their publisher.

use serde_json::Value;
use sluicegate::sessions::State;
use sluicegate_core::stream::Action;
use tokio::net::TcpListener;

use crate::house::{Guest, House, Manner, Stub, post, until, video};
use crate::one_api::id;
use crate::pair::{in_a_mesh, met, on_a_redis};
use crate::redis_server::RedisServer;

const KEY: &str = "[cluster]\nkey = \"shared\"\n";

/// Both proxies, two origins, and a publisher of `live/a` on the first of them through `a`.
struct Published {
    a: House,
    b: House,
    _origins: [Stub; 2],
    _guest: Guest,
}

impl Published {
    async fn at(a: House, b: House) -> Self {
        let origins = [
            Stub::start(Manner::Grants).await,
            Stub::start(Manner::Grants).await,
        ];
        for house in [&a, &b] {
            house.register("one", origins[0].at);
        }
        let mut guest = a.ask(Action::Publish, "live/a").await;
        assert!(guest.has_started(), "{}", guest.code());
        guest.send(&video(0, &[0x17, 1, 0, 0, 0, 9])).await;
        let row = a.proxy.sessions().list().remove(0);
        until("its media", || row.state() == State::Relaying).await;
        for house in [&a, &b] {
            house.register("two", origins[1].at);
        }
        Self {
            a,
            b,
            _origins: origins,
            _guest: guest,
        }
    }

    /// What is said of a move to the other origin.
    async fn is_refused(&self) -> String {
        let (status, body) = post(self.a.at.system, "/api/v1/moves?stream=live/a&to=two", "").await;
        assert_eq!(status, 409, "{body}");
        let document: Value = serde_json::from_str(&body).expect("a document");
        assert_eq!(self.a.origin_of("live/a").as_deref(), Some("one"));
        document["error"].as_str().expect("words").to_owned()
    }
}

async fn viewers_elsewhere_are_not_ended_unasked(a: House, b: House) {
    let it = Published::at(a, b).await;
    let mut player = it.b.ask(Action::Play, "live/a").await;
    assert!(
        player.read_until(Guest::has_started).await,
        "{}",
        player.code()
    );
    let viewer = it.b.proxy.sessions().list().remove(0);
    let why = it.is_refused().await;
    let expected = format!("would be ended (1 now, at {})", id(&it.b));
    assert!(why.contains(&expected), "{why}");
    assert!(!viewer.has_ended());
    drop(player);
    it.b.until_sessions(0).await;
    let (status, body) = post(it.a.at.system, "/api/v1/moves?stream=live/a&to=two", "").await;
    assert!([200, 202].contains(&status), "nobody is in its way: {body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_ends_no_viewer_at_another_proxy_unasked_in_a_mesh() {
    let settings = in_a_mesh(KEY);
    let (a, b) = met([&settings[0], &settings[1]]).await;
    viewers_elsewhere_are_not_ended_unasked(a, b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_ends_no_viewer_at_another_proxy_unasked_on_a_redis() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, KEY);
    let (a, b) = met([&settings, &settings]).await;
    viewers_elsewhere_are_not_ended_unasked(a, b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_does_not_answer_may_have_viewers() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, KEY);
    let (a, b) = met([&settings, &settings]).await;
    let it = Published::at(a, b).await;
    let stuck = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let record = format!(
        r#"{{"system":"{}","started":"2026-11-28T12:00:00Z","version":"0.1.0"}}"#,
        stuck.local_addr().unwrap()
    );
    redis.cli(&["set", "sluicegate-proxy:stuck", &record, "ex", "60"]);
    until("the other proxy", || {
        let peers = it.a.proxy.cluster().expect("a store").peers();
        peers.iter().any(|peer| peer.id == "stuck")
    })
    .await;
    let why = it.is_refused().await;
    assert!(why.contains("proxy stuck does not say"), "{why}");
}
