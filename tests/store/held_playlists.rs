//! A playlist that goes on at another origin is one playlist at every proxy that shares the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::by_turns;
use crate::house::{House, get, until_told};
use crate::http_pieces::{Packager, Reply};
use crate::live_playlist::{Show, Watcher};
use crate::pair::{in_a_mesh, met, on_a_redis};
use crate::redis_server::RedisServer;

const MORE: &str = "[hold]\nviewers = \"60s\"\n";
const LIST: &str = "/live/a.m3u8";
const OTHER_LIST: &str = "/live/b.m3u8";

async fn start(show: &Show) -> Packager {
    let show = show.clone();
    by_turns::packager(LIST, move || show.playlist()).await
}

async fn watch(
    houses: [&House; 2],
    viewer: &mut Watcher,
    what: &str,
    enough: impl Fn(&Watcher) -> bool,
) {
    by_turns::watch(houses, LIST, what, |text| {
        viewer.see(text);
        enough(viewer)
    })
    .await;
}

async fn is_one_playlist(a: House, b: House) {
    let (one, two) = (Show::new("a", 100), Show::new("b", 0));
    one.makes(9);
    let first = start(&one).await;
    let second = start(&two).await;
    for house in [&a, &b] {
        house.register_with("one", &format!(r#""http":["{}"]"#, first.at.port()));
    }
    let mut viewer = Watcher::default();
    watch([&a, &b], &mut viewer, "the first origin", |_| true).await;
    first.kill();
    for house in [&a, &b] {
        house.register_with("two", &format!(r#""http":["{}"]"#, second.at.port()));
    }
    // The second proxy goes by what the first wrote, and both count the same gaps.
    assert_eq!(get(a.at.http, LIST).await.0, 200);
    let known = async || get(b.at.http, LIST).await.1.contains("#EXT-X-GAP");
    until_told("both know", known).await;
    watch([&a, &b], &mut viewer, "gaps", |viewer| viewer.end >= 111).await;
    two.makes(2);
    watch([&b, &a], &mut viewer, "the second origin", |viewer| {
        viewer.uri("b-1.ts").is_some()
    })
    .await;
    for _ in 0..9 {
        two.makes(1);
        let end = viewer.end;
        watch([&a, &b], &mut viewer, "one more", |viewer| viewer.end > end).await;
    }
    assert_eq!(
        (viewer.breaks, viewer.discontinuities, viewer.gaps()),
        (1, 0, 0)
    );
}

/// An answer with an error is no lost origin, whatever the clocks say by the time of the next one.
async fn one_error_leaves_no_gap(a: House, b: House) {
    let (one, two) = (Show::new("a", 100), Show::new("b", 100));
    one.makes(9);
    two.makes(9);
    let (errors, made) = (Arc::new(AtomicUsize::new(0)), one.clone());
    let left = Arc::clone(&errors);
    let first = Packager::start(move |target, _| {
        let fails = |left: usize| left.checked_sub(1);
        let failed = left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, fails);
        match (failed, made.playlist().filter(|_| target.starts_with(LIST))) {
            (Ok(_), _) => Reply::with("500 Internal Server Error", "", ""),
            (Err(_), Some(text)) => Reply::ok("", text),
            (Err(_), None) => Reply::missing(),
        }
    })
    .await;
    let second = by_turns::packager(OTHER_LIST, move || two.playlist()).await;
    for house in [&a, &b] {
        house.register_with("one", &format!(r#""http":["{}"]"#, first.at.port()));
    }
    let mut viewer = Watcher::default();
    watch([&a, &b], &mut viewer, "the stream", |_| true).await;
    for house in [&a, &b] {
        house.register_with("two", &format!(r#""http":["{}"]"#, second.at.port()));
    }
    let mut other = Watcher::default();
    let sees_other = async |other: &mut Watcher, what: &str, end: u64| {
        by_turns::watch([&a, &a], OTHER_LIST, what, |text| {
            other.see(text);
            other.end >= end
        })
        .await;
    };
    sees_other(&mut other, "another stream", 109).await;

    errors.store(1, Ordering::SeqCst);
    watch([&b, &a], &mut viewer, "an error", |_| true).await;
    assert_eq!((errors.load(Ordering::SeqCst), viewer.end), (0, 109));
    // By the time that one which is lost has its first gap, this one could have had it as well.
    second.kill();
    sees_other(&mut other, "a gap", 110).await;
    one.makes(1);
    watch([&b, &a], &mut viewer, "one more", |viewer| {
        viewer.uri("a-109.ts").is_some()
    })
    .await;
    let shown = (viewer.end, viewer.gaps(), viewer.discontinuities);
    assert_eq!(shown, (110, 0, 0));

    errors.store(usize::MAX, Ordering::SeqCst);
    watch([&a, &b], &mut viewer, "errors that go on", |viewer| {
        viewer.gaps() > 0
    })
    .await;
    errors.store(0, Ordering::SeqCst);
    one.makes(1);
    watch([&b, &a], &mut viewer, "the stream again", |viewer| {
        viewer.uri("a-110.ts").is_some()
    })
    .await;
}

#[tokio::test]
async fn one_error_leaves_no_gap_in_a_mesh() {
    let settings = in_a_mesh(MORE);
    let (a, b) = met([&settings[0], &settings[1]]).await;
    one_error_leaves_no_gap(a, b).await;
}

#[tokio::test]
async fn one_error_leaves_no_gap_on_a_redis() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, MORE);
    let (a, b) = met([&settings, &settings]).await;
    one_error_leaves_no_gap(a, b).await;
}

#[tokio::test]
async fn a_playlist_goes_on_alike_in_a_mesh() {
    let settings = in_a_mesh(MORE);
    let (a, b) = met([&settings[0], &settings[1]]).await;
    is_one_playlist(a, b).await;
}

#[tokio::test]
async fn a_playlist_goes_on_alike_on_a_redis() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, MORE);
    let (a, b) = met([&settings, &settings]).await;
    is_one_playlist(a, b).await;
}
