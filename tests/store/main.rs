//! Every store through one contract: memory, Redis as operators run it, and the mesh.

mod access;
mod by_turns;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/call.rs"]
mod call;
mod calls;
mod contract;
mod emptied;
mod held;
mod held_manifests;
mod held_playlists;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../stories/house.rs"]
mod house;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/http.rs"]
mod http;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../stories/http_origin.rs"]
mod http_origin;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../stories/http_pieces.rs"]
mod http_pieces;
mod late_record;
mod leaving;
mod left_behind;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/live_manifest.rs"]
mod live_manifest;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/live_playlist.rs"]
mod live_playlist;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/machine.rs"]
mod machine;
mod mesh;
mod mesh_proxies;
mod moves;
mod names;
mod one_api;
mod one_process;
mod pair;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/program.rs"]
mod program;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../support/proxy.rs"]
mod proxy;
mod rebalanced;
mod redis_cluster;
#[allow(dead_code, reason = "each test binary uses its own part")]
mod redis_server;
#[allow(dead_code, reason = "each test binary uses its own part")]
#[path = "../stories/rtsp_house.rs"]
mod rtsp_house;
mod takeover;
mod two_builds;
mod two_proxies;
#[path = "../support/wait.rs"]
mod wait;

use std::time::{Duration, Instant};

use sluicegate::store::{Address, Change, Options, Redis, Store, StoreError};
use tokio::time::timeout;

use wait::wait_for;

use redis_server::{Cluster, RedisServer, Sentinels};

#[tokio::test]
async fn a_single_redis_keeps_the_contract() {
    let server = RedisServer::start();
    let store = open(&server.url(), "prefix").await;
    contract::check(&store, "srs-proxy-url:").await;
}

#[tokio::test]
async fn a_redis_behind_tls_and_a_password_keeps_the_contract() {
    let server = RedisServer::start_with_tls("s3cret");
    let store = open(&server.url(), "").await;
    contract::check(&store, "srs-proxy-url:").await;
}

#[tokio::test]
async fn a_cluster_keeps_the_contract() {
    let cluster = Cluster::start();
    let store = open(&cluster.url(), "").await;
    contract::check(&store, "srs-proxy-url:").await;
}

#[tokio::test]
async fn sentinel_keeps_the_contract_and_fails_over() {
    let mut sentinels = Sentinels::start();
    let patient = open(&sentinels.url(), "").await;
    contract::check(&patient, "srs-proxy-url:").await;
    let store = open_with(&sentinels.url(), "", PATIENCE).await;
    store.put("srs-proxy-url:kept", "a", LONG).await.unwrap();
    sentinels.wait_for_replica();
    let mut changes = store.changes();
    sentinels.kill_primary();
    // A call never hangs while there is no primary: it fails within its time limit, until the store works again.
    let began = Instant::now();
    loop {
        let called = Instant::now();
        let claim = store.claim("srs-proxy-url:new", None, "b", LONG).await;
        assert!(called.elapsed() < PATIENCE * 10, "{:?}", called.elapsed());
        if claim.is_ok_and(|claim| claim.won) {
            break;
        }
        assert!(began.elapsed() < LONG, "no primary came");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(
        store.get("srs-proxy-url:kept").await.unwrap().as_deref(),
        Some("a")
    );
    assert_eq!(changes.recv().await.unwrap(), Change::Anything);
}

#[tokio::test]
async fn a_redis_that_takes_no_writes_is_out_of_reach() {
    let server = RedisServer::start();
    let store = open_with(&server.url(), "", PATIENCE).await;
    store.put("srs-proxy-url:kept", "a", LONG).await.unwrap();
    server.cli(&["config", "set", "maxmemory", "1"]);
    let claim = store.claim("srs-proxy-url:new", None, "b", LONG).await;
    let error = claim.unwrap_err();
    assert!(
        matches!(&error, StoreError::Unreachable(why) if why.contains("OOM")),
        "{error}"
    );
    let began = Instant::now();
    while store.is_reachable() {
        assert!(began.elapsed() < LONG, "a call that failed tells it");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // It is tried again and again meanwhile.
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!store.is_reachable(), "it takes no write");
    server.cli(&["config", "set", "maxmemory", "0"]);
    store.reachable().await;
    let claim = store.claim("srs-proxy-url:new", None, "b", LONG).await;
    assert!(claim.unwrap().won);
}

#[tokio::test]
async fn a_redis_whose_user_lacks_a_right_is_out_of_reach() {
    let server = RedisServer::start();
    let url = server.url().replacen("redis://", "redis://gate:pw@", 1);
    let grant = |rights: &[&str]| {
        let user = ["acl", "setuser", "gate", "reset", "on", ">pw"];
        server.cli(&[&user, rights].concat());
    };
    let all = ["~sluicegate*", "~srs-proxy*", "+@all"];
    grant(&all);
    let store = open_with(&url, "", PATIENCE).await;
    let claim = store.claim("srs-proxy-url:a", None, "b", LONG).await;
    assert!(claim.unwrap().won, "these rights are enough");
    for (cause, rights) in [
        (
            "no scripts",
            ["~sluicegate*", "~srs-proxy*", "+@all", "-@scripting"].as_slice(),
        ),
        ("no keys of our own", &["~srs-proxy*", "+@all"]),
        (
            "no writes",
            &["~sluicegate*", "~srs-proxy*", "+@all", "-@write"],
        ),
    ] {
        grant(rights);
        let claim = store.claim("srs-proxy-url:new", None, "b", LONG).await;
        let error = claim.unwrap_err();
        assert!(
            matches!(&error, StoreError::Unreachable(why) if ["NoPerm", "The user"].iter().any(|word| why.contains(word))),
            "{cause}: {error}"
        );
        let began = Instant::now();
        while store.is_reachable() {
            assert!(
                began.elapsed() < LONG,
                "{cause}: a call that failed tells it"
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // It is tried again and again meanwhile.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!store.is_reachable(), "{cause}");
        grant(&all);
        store.reachable().await;
    }
}

#[tokio::test]
async fn what_another_client_writes_is_heard_of() {
    let server = RedisServer::start();
    let (ours, theirs) = (
        open(&server.url(), "p").await,
        open(&server.url(), "p").await,
    );
    let mut changes = ours.changes();
    ours.put("srs-proxy-url:live/a", "one", LONG).await.unwrap();
    theirs
        .put("srs-proxy-rtc:x", "not watched", LONG)
        .await
        .unwrap();
    theirs
        .put("srs-proxy-url:live/b", "two", LONG)
        .await
        .unwrap();
    let change = timeout(LONG, changes.recv()).await.unwrap().unwrap();
    assert_eq!(change, Change::Key("srs-proxy-url:live/b".to_owned()));
}

#[tokio::test]
async fn what_lives_long_enough_is_not_renewed_for_all_to_hear() {
    let server = RedisServer::start();
    let (ours, theirs) = (open(&server.url(), "").await, open(&server.url(), "").await);
    let mut changes = ours.changes();
    let (old, new) = ("srs-proxy-url:live/old", "srs-proxy-url:live/new");
    theirs.claim(old, None, "a", LONG / 2).await.unwrap();
    theirs.claim(new, None, "a", LONG).await.unwrap();
    for key in [old, new] {
        let change = timeout(LONG, changes.recv()).await.unwrap().unwrap();
        assert_eq!(change, Change::Key(key.to_owned()));
    }
    // A claim or a renewal of both extends the one that has less than three quarters left.
    for key in [new, old] {
        assert!(theirs.claim(key, None, "a", LONG).await.unwrap().won);
    }
    let change = timeout(LONG, changes.recv()).await.unwrap().unwrap();
    assert_eq!(change, Change::Key(old.to_owned()));
    let keys = [new, old].map(str::to_owned);
    theirs.renew(&keys, LONG * 2).await.unwrap();
    let both = [
        timeout(LONG, changes.recv()).await.unwrap().unwrap(),
        timeout(LONG, changes.recv()).await.unwrap().unwrap(),
    ];
    assert_eq!(both, keys.map(Change::Key));
    let left = [old, new].map(|key| server.cli(&["ttl", key]).trim().parse().expect("a number"));
    let renewed = LONG.as_secs()..=LONG.as_secs() * 2;
    assert!(left.iter().all(|left| renewed.contains(left)), "{left:?}");
}

#[tokio::test]
async fn a_store_that_goes_and_comes_back_never_blocks_a_call() {
    let mut server = RedisServer::start();
    let store = open_with(&server.url(), "", PATIENCE).await;
    store.put("k:a", "1", LONG).await.unwrap();

    server.freeze();
    let called = Instant::now();
    assert!(store.get("k:a").await.is_err());
    assert!(called.elapsed() < PATIENCE * 10, "{:?}", called.elapsed());
    server.thaw();
    timeout(LONG, store.reachable()).await.unwrap();
    assert_eq!(until_it_answers(&store, "k:a").await.as_deref(), Some("1"));

    server.kill();
    let began = Instant::now();
    while store.is_reachable() {
        assert!(began.elapsed() < LONG, "the loss is not noticed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let called = Instant::now();
    let error = store.get("k:a").await.unwrap_err();
    assert!(called.elapsed() < PATIENCE, "it fails at once");
    assert!(
        error
            .to_string()
            .contains("no connection to redis://127.0.0.1"),
        "{error}"
    );
    server.start_again();
    timeout(LONG, store.reachable()).await.unwrap();
    assert_eq!(
        until_it_answers(&store, "k:a").await,
        None,
        "it came back empty"
    );
}

async fn until_it_answers(store: &Redis, key: &str) -> Option<String> {
    let began = Instant::now();
    loop {
        match store.get(key).await {
            Ok(value) => return value,
            Err(error) => assert!(began.elapsed() < LONG, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A store whose calls may take as long as a machine needs that is busy with other tests.
async fn open(url: &str, prefix: &str) -> Redis {
    open_with(url, prefix, LONG).await
}

async fn open_with(url: &str, prefix: &str, time_limit: Duration) -> Redis {
    let address: Address = url.parse().expect("a URL of ours");
    let options = Options {
        prefix: prefix.to_owned(),
        time_limit,
        watched: vec!["srs-proxy-url:".to_owned()],
    };
    let store = Redis::open(address, options).expect("certificates of ours");
    timeout(LONG, store.reachable())
        .await
        .unwrap_or_else(|_| panic!("{url} cannot be reached"));
    store
}

const LONG: Duration = Duration::from_secs(60);
/// The time limit for calls that are meant to fail.
const PATIENCE: Duration = Duration::from_millis(1_000);
