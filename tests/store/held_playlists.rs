//! A playlist that goes on at another origin is one playlist at every proxy that shares the store.

use crate::by_turns;
use crate::house::{House, get, until_told};
use crate::http_pieces::Packager;
use crate::live_playlist::{Show, Watcher};
use crate::pair::{in_a_mesh, met, on_a_redis};
use crate::redis_server::RedisServer;

const MORE: &str = "[hold]\nviewers = \"60s\"\n";
const LIST: &str = "/live/a.m3u8";

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
