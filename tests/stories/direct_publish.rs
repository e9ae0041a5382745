//! Streams that reach an origin without the proxy, and players that look for them here.

use sluicegate::admin::{Access, System};
use sluicegate_core::fleet::origin::AddressRules;
use sluicegate_core::stream::Action;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::house::{House, Manner, Stub, until};

/// A callback as SRS sends it.
fn callback(action: &str, server: &str, service: &str) -> String {
    format!(
        r#"{{"server_id":"{server}","service_id":"{service}","action":"{action}","client_id":"x","ip":"9.9.9.9",
        "vhost":"__defaultVhost__","app":"live","tcUrl":"rtmp://h/live","stream":"a","param":"?k=v","stream_id":"vid-1"}}"#
    )
}

async fn call(house: &House, body: &str) -> u16 {
    crate::house::post(house.at.system, "/api/v1/hooks/srs", body)
        .await
        .0
}

/// Two origins: the one on which the proxy would place the stream, and the other.
async fn two_origins(house: &House) -> ([Stub; 2], &'static str, &'static str) {
    let stubs = [
        Stub::start(Manner::Streams(2000)).await,
        Stub::start(Manner::Streams(2000)).await,
    ];
    house.register("one", stubs[0].at);
    house.register("two", stubs[1].at);
    drop(house.ask(Action::Play, "live/a").await);
    house.until_sessions(0).await;
    if house.origin_of("live/a").as_deref() == Some("one") {
        (stubs, "one", "two")
    } else {
        (stubs, "two", "one")
    }
}

#[tokio::test]
async fn a_stream_published_at_an_origin_is_played_from_there() {
    let house = House::open("").await;
    let (_stubs, usual, other) = two_origins(&house).await;
    let mut early = house.ask(Action::Play, "live/a").await;
    assert_eq!(house.origin_of("live/a").as_deref(), Some(usual));

    assert_eq!(call(&house, &callback("on_publish", other, "s")).await, 200);
    early.read_to_end().await;
    let player = house.ask(Action::Play, "live/a").await;
    assert!(player.has_started());
    let there = || house.origin_of("live/a");
    assert_eq!(there().as_deref(), Some(other), "he finds it there");
    until("the metric", || {
        let text = house.proxy.metrics().render();
        text.contains("reason=\"moved\"} 1") && text.contains("reason=\"reported\"} 1")
    })
    .await;

    // Only the origin that has the stream is believed about its end.
    house.register(usual, "127.0.0.1:1".parse().expect("an address"));
    assert_eq!(
        call(&house, &callback("on_unpublish", usual, "s")).await,
        200
    );
    house.ask(Action::Play, "live/a").await;
    assert_eq!(there().as_deref(), Some(other));
}

#[tokio::test]
async fn only_a_registered_origin_is_believed_and_everybody_is_answered() {
    let house = House::open("").await;
    let (_stubs, usual, other) = two_origins(&house).await;
    for (server, service) in [("stranger", "s"), (other, "another-start")] {
        let body = callback("on_publish", server, service);
        assert_eq!(call(&house, &body).await, 200);
    }
    assert_eq!(call(&house, "not json").await, 400);

    // From another address than its own, and without the token where one is required.
    let body = callback("on_publish", other, "s");
    for (token, peer, expected) in [
        ("", "127.0.0.1:5", 401),
        ("wrong", "127.0.0.1:5", 401),
        ("sesame", "10.0.0.9:5", 200),
    ] {
        let access = Access {
            token: Some("sesame".into()),
            register_from: Vec::new(),
            ..Access::default()
        };
        let rules = AddressRules::default();
        let system = System::new(
            house.proxy.clone(),
            access,
            rules,
            std::sync::Arc::default(),
        );
        let path = "/api/v1/hooks/srs";
        let status = crate::api_fleet::call_as(&system, peer, token, path, &body).await;
        assert_eq!(status, expected, "{token} {peer}");
    }
    let metrics = house.proxy.metrics().render();
    let refused = "sluicegate_auth_refusals_total{surface=\"hooks\"} 2\n";
    assert!(metrics.contains(refused), "{metrics}");
    house.ask(Action::Play, "live/a").await;
    assert_eq!(
        house.origin_of("live/a").as_deref(),
        Some(usual),
        "nobody was believed"
    );
}

#[tokio::test]
async fn a_callback_that_a_proxy_on_this_machine_passed_on_is_not_believed() {
    let house = House::open("").await;
    let (_stubs, usual, other) = two_origins(&house).await;
    let body = callback("on_publish", other, "s");
    // Where the origin is on this machine too, the address alone would do.
    for header in ["X-Forwarded-For: 127.0.0.1", "Forwarded: for=127.0.0.1"] {
        let (at, length) = (house.at.system, body.len());
        let head = format!(
            "POST /api/v1/hooks/srs HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n{header}\r\nContent-Length: {length}\r\n\r\n"
        );
        let (status, answer) = crate::house::talk(at, &format!("{head}{body}")).await;
        assert_eq!((status, answer.as_str()), (200, "{\"code\":0}"));
        drop(house.ask(Action::Play, "live/a").await);
        assert_eq!(house.origin_of("live/a").as_deref(), Some(usual));
    }
    assert_eq!(call(&house, &body).await, 200);
    drop(house.ask(Action::Play, "live/a").await);
    assert_eq!(house.origin_of("live/a").as_deref(), Some(other));
}

#[tokio::test]
async fn a_player_that_is_refused_is_sent_to_the_origin_that_lists_its_stream() {
    let house = House::open("[origins]\nask_streams = true\n").await;
    let refuses = Stub::start(Manner::Refuses(
        "NetStream.Play.StreamNotFound",
        "no such stream",
    ))
    .await;
    house.register("empty", refuses.at);
    let player = house.ask(Action::Play, "live/b").await;
    assert!(!player.has_started(), "nobody else is there");

    let has_it = Stub::start(Manner::Streams(2000)).await;
    let list = r#"{"code":0,"streams":[{"name":"a","app":"live","tcUrl":"rtmp://h/live","publish":{"active":true}}]}"#;
    let length = list.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{list}");
    let api = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let port = api.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = api.accept().await {
            let mut request = [0; 1024];
            let _ = client.read(&mut request).await;
            let _ = client.write_all(answer.as_bytes()).await;
        }
    });
    // More services come first, so the other one is the usual choice: it offers one more.
    let rtmp = has_it.at.port();
    house.register_with(
        "full",
        &format!("\"rtmp\":[\"{rtmp}\"],\"api\":[\"{port}\"]"),
    );
    let rtmp = refuses.at.port();
    house.register_with(
        "empty",
        &format!("\"rtmp\":[\"{rtmp}\"],\"api\":[\"1\"],\"http\":[\"1\"]"),
    );
    let player = house.ask(Action::Play, "live/a").await;
    assert!(player.has_started(), "{:?}", player.status);
    assert_eq!(house.origin_of("live/a").as_deref(), Some("full"));
    let other = house.ask(Action::Play, "live/c").await;
    assert_eq!(
        other.words(),
        "no such stream",
        "what nobody lists is refused as before"
    );
}
