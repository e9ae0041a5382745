//! An encoder that comes back through another proxy than the one that has its former session.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sluicegate::sessions::EndReason;
use sluicegate_core::rtsp::message::{Message, Method};
use sluicegate_core::stream::Action;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::house::{Guest, House, Manner, Stub, until, video};
use crate::pair::{in_a_mesh, met, on_a_redis};
use crate::redis_server::RedisServer;
use crate::rtsp_house::{self, Caller, Reply, answer};

const MORE: &str =
    "[cluster]\nkey = \"shared\"\n[proxy_protocol]\naccept_from = [\"127.0.0.1\"]\n[session]\n";

/// A publisher of `live/a` from this address.
async fn publish(house: &House, ip: &str) -> Guest {
    let preface = format!("PROXY TCP4 {ip} 127.0.0.1 4242 1935\r\n");
    let (at, action) = (house.at.rtmp, Action::Publish);
    Guest::ask_after(at, preface.as_bytes(), action, "live/a", Vec::new()).await
}

/// An origin that refuses a publisher while it has another, at both proxies.
async fn strict_origin(a: &House, b: &House) -> Stub {
    let one = Arc::new(Semaphore::new(1));
    let origin = Stub::start(Manner::TakesOne(one)).await;
    for house in [a, b] {
        house.register("origin", origin.at);
    }
    origin
}

/// Sends media until the connection is over.
fn keep_sending(mut guest: Guest) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        for number in 0_u32.. {
            guest
                .send(&video(number * 20, &[0x27, 1, 0, 0, 0, 9]))
                .await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
}

/// The former session says nothing more, and its encoder is back from another address.
async fn a_silent_one_gives_way(a: House, b: House) {
    let _origin = strict_origin(&a, &b).await;
    let mut former = publish(&a, "203.0.113.1").await;
    assert!(former.has_started(), "{}", former.code());
    former.send(&video(0, &[0x17, 1, 0, 0, 0, 9])).await;
    let row = a.proxy.sessions().list().remove(0);
    let back = publish(&b, "203.0.113.2").await;
    assert!(back.has_started(), "{} {}", back.code(), back.words());
    assert_eq!(row.end_reason(), Some(EndReason::Replaced));
    let placed = b.proxy.sessions().list().remove(0).placed();
    assert!(placed.why.contains("another proxy"), "{}", placed.why);
}

/// A publisher that still sends keeps its stream, whoever else wants it.
async fn one_that_sends_stays(a: House, b: House) {
    let origin = strict_origin(&a, &b).await;
    let former = publish(&a, "203.0.113.1").await;
    assert!(former.has_started(), "{}", former.code());
    let row = a.proxy.sessions().list().remove(0);
    let sending = keep_sending(former);
    until("its media", || {
        !origin.seen.lock().unwrap().media.is_empty()
    })
    .await;
    for ip in ["203.0.113.2", "203.0.113.1"] {
        let second = publish(&b, ip).await;
        assert!(!second.has_started(), "{ip}: it has a publisher");
        assert_eq!(second.code(), "NetStream.Publish.BadName");
    }
    assert!(!row.has_ended());
    sending.abort();
}

/// The origin lets the session go a little later than its encoder is back.
async fn an_origin_that_lets_go_late_is_asked_again(a: House, b: House) {
    let busy = Arc::<AtomicUsize>::default();
    let origin = Stub::start(Manner::BusyFor(Arc::clone(&busy))).await;
    for house in [&a, &b] {
        house.register("origin", origin.at);
    }
    let mut former = publish(&a, "203.0.113.1").await;
    former.send(&video(0, &[0x17, 1, 0, 0, 0, 9])).await;
    drop(former);
    a.until_sessions(0).await;
    busy.store(3, Ordering::Relaxed);
    let back = publish(&b, "203.0.113.1").await;
    assert!(back.has_started(), "{} {}", back.code(), back.words());
}

/// A camera announces `live/a`, and is told this.
async fn announce(house: &House) -> (Caller, Message) {
    let mut camera = Caller::connect(house.at.rtsp).await;
    let sdp =
        "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=a\r\nm=video 0 RTP/AVP 96\r\na=control:trackID=0\r\n";
    let announce = format!(
        "PROXY TCP4 203.0.113.1 127.0.0.1 4242 554\r\nANNOUNCE rtsp://media.example/live/a RTSP/1.0\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{sdp}",
        sdp.len()
    );
    camera.send(announce).await;
    let answer = camera.hear().await.expect("an answer");
    (camera, answer)
}

/// An RTSP origin says no in one of several statuses.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_camera_gives_way_through_another_proxy() {
    for (status, accepted) in [("406 Not Acceptable", true), ("403 Forbidden", false)] {
        let (a, b) = in_mesh().await;
        let announced = AtomicUsize::new(0);
        let origin = rtsp_house::Stub::start(|at| {
            let grants = rtsp_house::grants(at, Vec::new());
            move |request: &Message| match request.method() {
                Some(Method::Announce) if announced.fetch_add(1, Ordering::Relaxed) == 1 => {
                    Reply::Say(answer(request, status, "", ""))
                }
                _ => grants(request),
            }
        })
        .await;
        for house in [&a, &b] {
            house.register_with("origin", &format!(r#""rtsp":["{}"]"#, origin.at.port()));
        }
        let (_former, told) = announce(&a).await;
        assert_eq!(told.status(), Some(200), "{told:?}");
        let row = a.proxy.sessions().list().remove(0);
        let (_back, told) = announce(&b).await;
        assert_eq!(told.status() == Some(200), accepted, "{status}: {told:?}");
        assert_eq!(row.has_ended(), accepted, "{status}");
    }
}

async fn on_redis(redis: &RedisServer, more: &str) -> (House, House) {
    let settings = on_a_redis(redis, &format!("{MORE}{more}"));
    met([&settings, &settings]).await
}

async fn in_mesh() -> (House, House) {
    let settings = in_a_mesh(MORE);
    met([&settings[0], &settings[1]]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_publisher_gives_way_through_another_proxy_in_a_mesh() {
    let (a, b) = in_mesh().await;
    a_silent_one_gives_way(a, b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_publisher_gives_way_through_another_proxy_on_a_redis() {
    let redis = RedisServer::start();
    let (a, b) = on_redis(&redis, "").await;
    a_silent_one_gives_way(a, b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_sends_stays_in_a_mesh() {
    let (a, b) = in_mesh().await;
    one_that_sends_stays(a, b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_sends_stays_on_a_redis() {
    let redis = RedisServer::start();
    let (a, b) = on_redis(&redis, "").await;
    one_that_sends_stays(a, b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_is_asked_again_for_who_left_another_proxy_in_a_mesh() {
    let (a, b) = in_mesh().await;
    an_origin_that_lets_go_late_is_asked_again(a, b).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_origin_is_asked_again_for_who_left_another_proxy_on_a_redis() {
    let redis = RedisServer::start();
    let (a, b) = on_redis(&redis, "").await;
    an_origin_that_lets_go_late_is_asked_again(a, b).await;
}

/// By `session.takeover`, what becomes of a publisher that sends, whose stream another address and its own ask for through the
/// other proxy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_setting_of_takeovers_holds_through_another_proxy() {
    for (setting, ip, gives_way) in [
        ("always", "203.0.113.2", true),
        ("address", "203.0.113.1", true),
        ("address", "203.0.113.2", false),
    ] {
        let redis = RedisServer::start();
        let (a, b) = on_redis(&redis, &format!("takeover = \"{setting}\"\n")).await;
        let origin = strict_origin(&a, &b).await;
        let former = publish(&a, "203.0.113.1").await;
        let row = a.proxy.sessions().list().remove(0);
        let sending = keep_sending(former);
        until("its media", || {
            !origin.seen.lock().unwrap().media.is_empty()
        })
        .await;
        let back = publish(&b, ip).await;
        let told = (back.has_started(), row.end_reason().is_some());
        assert_eq!(told, (gives_way, gives_way), "{setting} from {ip}");
        sending.abort();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_takeovers_a_silent_publisher_stays_at_another_proxy_too() {
    let redis = RedisServer::start();
    let (a, b) = on_redis(&redis, "takeover = \"never\"\ntakeover_after = \"1ms\"\n").await;
    let _origin = strict_origin(&a, &b).await;
    let former = publish(&a, "203.0.113.1").await;
    let row = a.proxy.sessions().list().remove(0);
    let second = publish(&b, "203.0.113.1").await;
    assert_eq!(second.code(), "NetStream.Publish.BadName");
    assert!(!row.has_ended());
    drop(former);
}

/// A proxy that shows itself, and takes questions without an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proxy_that_does_not_answer_holds_nobody_up_for_long() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, MORE);
    let house = House::open(&settings).await;
    let stuck = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let record = format!(
        r#"{{"system":"{}","started":"2026-11-28T12:00:00Z","version":"0.1.0"}}"#,
        stuck.local_addr().unwrap()
    );
    redis.cli(&["set", "sluicegate-proxy:stuck", &record, "ex", "60"]);
    until("the other proxy", || {
        let peers = house.proxy.cluster().expect("a store").peers();
        peers.iter().any(|peer| peer.id == "stuck")
    })
    .await;
    let origin = Stub::start(Manner::Refuses("NetStream.Publish.BadName", "busy")).await;
    house.register("origin", origin.at);
    let asked = Instant::now();
    let guest = publish(&house, "203.0.113.1").await;
    assert_eq!(guest.code(), "NetStream.Publish.BadName");
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(4), "{took:?}");
}
