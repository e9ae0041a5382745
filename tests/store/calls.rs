//! WebRTC calls that either of two proxies may carry: their bindings are in the Redis that the proxies share.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use sluicegate::sessions::Direction;
use sluicegate_core::rtc::stun::Kind;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::call::{
    CallOrigin, Says, answer, ask, ask_with, check, check_once, fragment, location, proof,
    receive_media, sdp,
};
use crate::house::{House, until, until_told};
use crate::pair;
use crate::redis_server::RedisServer;

/// Two proxies that share a store, and an origin that both know.
struct Pair {
    a: House,
    b: House,
    origin: CallOrigin,
}

impl Pair {
    async fn on(redis: &RedisServer) -> Self {
        let settings = format!(
            "[store]\ntype = \"redis\"\nurl = \"{}\"\nredis_key_prefix = \"p\"\ntimeout = \"2s\"\nwait_at_start = true\n",
            redis.url()
        );
        Self::open([&settings, &settings]).await
    }

    async fn open(settings: [&str; 2]) -> Self {
        Self::with(settings, Says::default()).await
    }

    async fn with(settings: [&str; 2], says: Says) -> Self {
        let (a, b) = (
            House::open(settings[0]).await,
            House::open(settings[1]).await,
        );
        for house in [&a, &b] {
            let cluster = house.proxy.cluster().expect("a store");
            until("the store", || cluster.is_reachable()).await;
        }
        let origin = CallOrigin::saying(says).await;
        a.register_with("o1", &origin.endpoints());
        until("the other proxy's origin", || {
            b.proxy.registry().origins().len() == 1
        })
        .await;
        Self { a, b, origin }
    }

    /// Requests a call from the first proxy, and returns its resource.
    async fn signal(&self) -> String {
        let whip = "/rtc/v1/whip/?stream=a";
        let (status, head, _) = ask(self.a.at.api, "POST", whip, &sdp("clnt")).await;
        assert_eq!(status, 201, "{head}");
        location(&head)
    }
}

async fn client_of(house: &House) -> UdpSocket {
    let client = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    client.connect(house.at.rtc).await.expect("a socket");
    client
}

/// How many lookups the store has answered.
fn asked(house: &House) -> u64 {
    let text = house.proxy.metrics().render();
    let line = text.lines().find(|line| {
        line.starts_with("sluicegate_store_operations_total{") && line.contains("\"get\"")
    });
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_call_of_an_operator_who_looks_is_told_to_nobody() {
    let mut redis = RedisServer::start();
    let pair = Pair::on(&redis).await;
    // Calls are written in no order: one that is told by mistake is rarely the last of nine.
    let viewers: Vec<String> = (0..8).map(|number| format!("cln{number}")).collect();
    for viewer in &viewers {
        let whep = "/rtc/v1/whep/?stream=a";
        let (status, head, _) = ask(pair.a.at.api, "POST", whep, &sdp(viewer)).await;
        assert_eq!(status, 201, "{head}");
    }
    let lines = "X-Sluicegate: 1\r\nContent-Type: application/sdp\r\n";
    let look = "/api/v1/preview?stream=live/a";
    let looked = ask_with(pair.a.at.system, "POST", look, lines, &sdp("oper")).await;
    assert_eq!(looked.0, 201, "{looked:?}");
    let is_known = |redis: &RedisServer, client: &str| {
        let key = format!("p:srs-proxy-ufrag:orig:{client}");
        redis.cli(&["exists", &key]).trim() == "1"
    };
    assert!(viewers.iter().all(|viewer| is_known(&redis, viewer)));
    assert!(!is_known(&redis, "oper"));
    redis.kill();
    redis.start_again();
    until("the calls are told again", || {
        viewers.iter().all(|viewer| is_known(&redis, viewer))
    })
    .await;
    assert!(!is_known(&redis, "oper"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_media_of_a_call_goes_by_a_proxy_that_did_not_signal_it() {
    let redis = RedisServer::start();
    let pair = Pair::on(&redis).await;
    let location = pair.signal().await;
    let known = redis.cli(&["get", "p:srs-proxy-ufrag:orig:clnt"]);
    let known: Value = serde_json::from_str(&known).expect("JSON");
    assert_eq!(
        known["stream_url"], "__defaultVhost__/live/a",
        "as the SRS proxy has it"
    );
    assert_eq!(known["ufrag"], "orig:clnt");
    let life = redis.cli(&["pttl", "p:srs-proxy-ufrag:orig:clnt"]);
    let life: i64 = life.trim().parse().expect("a number");
    assert!((1..=120_000).contains(&life), "{life}");

    let client = client_of(&pair.b).await;
    let mut transaction = 0;
    assert_eq!(
        check(&client, CHECK, &mut transaction).await,
        Some(Kind::Success)
    );
    let media = [0x80, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7];
    client.send(&media).await.expect("it goes out");
    assert_eq!(receive_media(&client).await, media);
    pair.b.until_sessions(1).await;
    let row = pair.b.proxy.sessions().list().remove(0);
    assert_eq!(row.request.stream.to_string(), "__defaultVhost__/live/a");
    assert_eq!(row.placed().origin.expect("placed").as_str(), "o1");
    until("its bytes are counted", || {
        row.bytes(Direction::ToOrigin) > 100 && row.bytes(Direction::ToClient) > 20
    })
    .await;
    // The row at the signalling proxy goes, and the origin is not told.
    pair.a.until_sessions(0).await;
    assert_eq!(pair.origin.requests(), ["POST /rtc/v1/whip/?stream=a"]);

    let (status, ..) = ask(pair.a.at.api, "DELETE", &location, "").await;
    assert_eq!(status, 200);
    let reason = row.ended().await;
    assert_eq!(reason.as_str(), "client_closed");
    assert_eq!(
        pair.origin.requests().last().map(String::as_str),
        Some("DELETE /call/1")
    );
    let mut told = None;
    while told != Some(Kind::Error) {
        told = check_once(&client, CHECK, &mut transaction).await;
    }
    pair.b.until_sessions(0).await;
    for house in [&pair.a, &pair.b] {
        let (status, ..) = ask(house.at.api, "DELETE", &location, "").await;
        assert_eq!(status, 404, "once");
    }
    assert_eq!(pair.origin.requests().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_mesh_any_proxy_carries_a_call_too() {
    let settings = pair::in_a_mesh("");
    let pair = Pair::open(settings.each_ref().map(String::as_str)).await;
    let location = pair.signal().await;
    let client = client_of(&pair.b).await;
    let answer = check(&client, CHECK, &mut 0).await;
    assert_eq!(answer, Some(Kind::Success));
    pair.a.until_sessions(0).await;
    let row = pair.b.proxy.sessions().list().remove(0);
    let (status, ..) = ask(pair.a.at.api, "DELETE", &location, "").await;
    assert_eq!(status, 200);
    assert_eq!(row.ended().await.as_str(), "client_closed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_client_moves_from_proxy_to_proxy_and_back() {
    let redis = RedisServer::start();
    let pair = Pair::on(&redis).await;
    let location = pair.signal().await;
    let mut transaction = 0;
    let (at_a, at_b) = (client_of(&pair.a).await, client_of(&pair.b).await);
    for client in [&at_a, &at_b, &at_a, &at_b] {
        assert_eq!(
            check(client, CHECK, &mut transaction).await,
            Some(Kind::Success)
        );
    }
    // Both have the call: the earlier carrier keeps its side while it may be needed.
    let open = (pair.a.proxy.sessions().len(), pair.b.proxy.sessions().len());
    assert_eq!(open, (1, 1));
    let (status, ..) = ask(pair.b.at.api, "DELETE", &location, "").await;
    assert_eq!(status, 200);
    pair.a.until_sessions(0).await;
    pair.b.until_sessions(0).await;
    let told = pair.origin.requests();
    let deletes = told.iter().filter(|line| line.starts_with("DELETE"));
    assert_eq!(deletes.count(), 1, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_kick_at_the_proxy_that_carries_a_call_tells_the_origin_once() {
    let redis = RedisServer::start();
    let pair = Pair::on(&redis).await;
    pair.signal().await;
    let client = client_of(&pair.b).await;
    assert_eq!(check(&client, CHECK, &mut 0).await, Some(Kind::Success));
    pair.a.until_sessions(0).await;
    let row = pair.b.proxy.sessions().list().remove(0);
    row.end(sluicegate::sessions::EndReason::Kicked);
    until("the origin is told", || pair.origin.requests().len() == 2).await;
    let at_a = client_of(&pair.a).await;
    assert_eq!(
        check_once(&at_a, CHECK, &mut 10).await,
        None,
        "it is over for all"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_ice_restart_goes_through_any_proxy() {
    let redis = RedisServer::start();
    let pair = Pair::on(&redis).await;
    let location = pair.signal().await;
    let client = client_of(&pair.a).await;
    assert_eq!(check(&client, CHECK, &mut 0).await, Some(Kind::Success));
    let (status, _, body) = ask(pair.b.at.api, "PATCH", &location, &fragment("cln2")).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("orig2"), "{body}");
    for (house, transaction) in [(&pair.a, 100), (&pair.b, 200)] {
        let client = client_of(house).await;
        let answer = check(&client, "orig2:cln2", &mut { transaction }).await;
        assert_eq!(answer, Some(Kind::Success));
    }
    assert_eq!(pair.a.proxy.sessions().len(), 1, "the call is the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_counter_offer_is_taken_up_through_any_proxy() {
    let counters =
        "406 Not Acceptable\r\nLocation: /call/1\r\nETag: bare\r\nContent-Type: application/sdp";
    let says = Says {
        offer: (counters, sdp("orig")),
        patch: ("204 No Content", String::new()),
    };
    let settings = pair::in_a_mesh("");
    let pair = Pair::with(settings.each_ref().map(String::as_str), says).await;
    let whep = "/rtc/v1/whep/?stream=a";
    let (status, head, _) = ask(pair.a.at.api, "POST", whep, &sdp("unfit")).await;
    assert_eq!(status, 406, "{head}");
    let lines = "Content-Type: application/sdp\r\nIf-Match: \"bare\"\r\n";
    let mut answered = (404, String::new(), String::new());
    until_told("the other proxy knows the call", async || {
        let (to, body) = (location(&head), sdp("clnt"));
        answered = ask_with(pair.b.at.api, "PATCH", &to, lines, &body).await;
        answered.0 != 404
    })
    .await;
    assert_eq!(answered.0, 204, "{}", answered.1);
    let told = pair.origin.whole().pop().unwrap_or_default();
    assert!(
        told.to_ascii_lowercase().contains("if-match: bare\r\n"),
        "{told}"
    );
    for house in [&pair.b, &pair.a] {
        let client = client_of(house).await;
        let proven = check(&client, CHECK, &mut 0).await;
        assert_eq!(proven, Some(Kind::Success));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn names_that_nobody_has_cost_the_store_little() {
    let redis = RedisServer::start();
    let pair = Pair::on(&redis).await;
    let before = asked(&pair.b);
    let began = tokio::time::Instant::now();
    let mut transaction = 0;
    // Over TCP, each on a connection of its own, and over UDP.
    for number in 0..300 {
        let request = proof(&format!("nobody:{number}"), &mut transaction);
        assert_eq!(by_tcp(pair.b.at.rtc, &request).await, None);
    }
    let client = client_of(&pair.b).await;
    for number in 0..2000 {
        let request = proof(&format!("nobody:{}", 1000 + number), &mut transaction);
        client.send(&request).await.expect("it goes out");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let allowed = 200 + 100 * (began.elapsed().as_secs() + 1);
    let spent = asked(&pair.b) - before;
    assert!((100..=allowed).contains(&spent), "{spent} of {allowed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_name_that_was_nobodys_is_known_as_soon_as_its_binding_is_there() {
    let redis = RedisServer::start();
    let pair = Pair::on(&redis).await;
    let client = client_of(&pair.b).await;
    let mut transaction = 0;
    let request = proof(CHECK, &mut transaction);
    assert_eq!(by_tcp(pair.b.at.rtc, &request).await, None);
    assert_eq!(check_once(&client, CHECK, &mut transaction).await, None);
    let asked_before = asked(&pair.b);
    client.send(&request).await.expect("it goes out");
    assert_eq!(by_tcp(pair.b.at.rtc, &request).await, None);
    let generation = pair.b.proxy.registry().bindings().generation();
    pair.signal().await;
    until("the binding is heard of", || {
        pair.b.proxy.registry().bindings().generation() != generation
    })
    .await;
    // The first question is answered, although the previous one was only a moment ago.
    let first = proof(CHECK, &mut transaction);
    client.send(&first).await.expect("it goes out");
    let answer = timeout(LONG, answer(&client, transaction..=transaction)).await;
    assert_eq!(answer.expect("in time"), Kind::Success);
    assert!(asked(&pair.b) > asked_before);
    let request = proof(CHECK, &mut transaction);
    let answer = by_tcp(pair.b.at.rtc, &request).await;
    assert!(
        answer.is_some_and(|answer| answer.starts_with(&[1, 1])),
        "by TCP too"
    );
}

/// The first bytes of the answer to a framed request; `None` if the connection is closed.
async fn by_tcp(at: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let mut stream = TcpStream::connect(at).await.expect("it listens");
    let length = u16::try_from(request.len()).expect("short").to_be_bytes();
    stream
        .write_all(&[&length, request].concat())
        .await
        .expect("it is taken");
    let mut answer = vec![0; 64];
    let count = stream.read(&mut answer).await.unwrap_or(0);
    answer.truncate(count);
    (count > 2).then(|| answer.split_off(2))
}

const CHECK: &str = "orig:clnt";
const LONG: Duration = Duration::from_secs(30);
