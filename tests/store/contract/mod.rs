//! The promises of every [`Store`], as a suite that each of them runs through.

mod records;

use std::time::{Duration, Instant};

use futures_util::future::join_all;

use sluicegate::store::{Claim, Store};

/// Runs the suite against an empty `store`. Keys begin with `prefix`. It takes some seconds, because it waits for
/// lifetimes to end.
///
/// # Panics
/// When the store breaks a promise; the message says which.
pub(crate) async fn check(store: &impl Store, prefix: &str) {
    let key = |name: &str| format!("{prefix}{name}");
    a_claim_is_won_once(store, &key("claimed")).await;
    claims_race(store, &key("raced")).await;
    values_live_for_their_time(store, &key("short")).await;
    values_are_put_listed_and_removed(store, &key("table:")).await;
    records::check(store).await;
}

async fn a_claim_is_won_once(store: &impl Store, key: &str) {
    let claim = |expected: Option<&'static str>, value: &'static str| async move {
        store
            .claim(key, expected, value, LONG)
            .await
            .expect("the store answers")
    };
    let first = claim(None, "a").await;
    assert!(
        first.won && first.value == "a" && first.fence > 0,
        "{first:?}"
    );
    let second = claim(None, "b").await;
    let stands = Claim {
        won: false,
        ..first.clone()
    };
    assert_eq!(second, stands, "the first stands");
    assert_eq!(claim(None, "a").await, first, "who has it, wins it again");
    assert_eq!(
        claim(Some("x"), "b").await,
        stands,
        "that is not what stands"
    );
    let moved = claim(Some("a"), "b").await;
    assert!(moved.won && moved.value == "b", "{moved:?}");
    assert!(moved.fence > first.fence, "a change is told by its fence");
}

async fn claims_race(store: &impl Store, key: &str) {
    let values: Vec<String> = (0..32).map(|racer| format!("racer-{racer}")).collect();
    let claims = values
        .iter()
        .map(|value| store.claim(key, None, value, LONG));
    let claims: Vec<Claim> = join_all(claims)
        .await
        .into_iter()
        .map(|claim| claim.expect("the store answers"))
        .collect();
    let won: Vec<&Claim> = claims.iter().filter(|claim| claim.won).collect();
    assert_eq!(won.len(), 1, "one wins: {won:?}");
    for claim in &claims {
        assert_eq!(
            (&claim.value, claim.fence),
            (&won[0].value, won[0].fence),
            "and everybody hears who"
        );
    }
}

async fn values_live_for_their_time(store: &impl Store, key: &str) {
    let began = Instant::now();
    let first = store
        .claim(key, None, "a", SHORT)
        .await
        .expect("it answers");
    until_gone(store, key).await;
    assert!(began.elapsed() >= SHORT * 9 / 10, "{key} expired early");
    let claimed = Instant::now();
    let again = store
        .claim(key, None, "b", SHORT * 2)
        .await
        .expect("it answers");
    assert!(again.won, "what has expired stands no more");
    assert!(again.fence > first.fence, "and its fence is not used again");
    let renewed = Instant::now();
    store
        .renew(&[key.to_owned()], SHORT * 4)
        .await
        .expect("it answers");
    // A machine that was stalled this long cannot tell.
    if claimed.elapsed() < SHORT * 2 {
        tokio::time::sleep(SHORT * 5 / 2).await;
        let value = store.get(key).await.expect("it answers");
        if renewed.elapsed() < SHORT * 4 {
            assert_eq!(value.as_deref(), Some("b"), "renewed");
        }
        until_gone(store, key).await;
        assert!(renewed.elapsed() >= SHORT * 18 / 5, "{key} expired early");
    }
}

async fn until_gone(store: &impl Store, key: &str) {
    let began = Instant::now();
    while store.get(key).await.expect("it answers").is_some() {
        assert!(began.elapsed() < LONG / 2, "{key} does not expire");
        tokio::time::sleep(SHORT / 10).await;
    }
}

async fn values_are_put_listed_and_removed(store: &impl Store, prefix: &str) {
    for row in 0..MANY {
        store
            .put(&format!("{prefix}{row}"), "x", LONG)
            .await
            .expect("it answers");
    }
    let first = format!("{prefix}0");
    store.put(&first, "y", LONG).await.expect("it answers");
    let mut rows = store.list(prefix).await.expect("it answers");
    rows.sort();
    assert_eq!(rows.len(), MANY, "a large table");
    assert_eq!(
        rows[0],
        (first.clone(), "y".to_owned()),
        "the last value put"
    );
    store.remove(&first, "x").await.expect("it answers");
    assert!(
        store.get(&first).await.expect("it answers").is_some(),
        "another value stands, so it stays"
    );
    store.remove(&first, "y").await.expect("it answers");
    assert_eq!(store.get(&first).await.expect("it answers"), None);
}

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(400);
/// More than one page of any listing.
pub(crate) const MANY: usize = 3_000;
