//! A manifest that goes on at another origin is one manifest at every proxy that shares the store.

use crate::by_turns;
use crate::house::House;
use crate::http_pieces::Packager;
use crate::live_manifest::{Show, Watcher};
use crate::pair::{in_a_mesh, met, on_a_redis};
use crate::redis_server::RedisServer;

const MORE: &str = "[hold]\nviewers = \"60s\"\n";
const MPD: &str = "/live/a.mpd";

async fn start(show: &Show) -> Packager {
    let show = show.clone();
    by_turns::packager(MPD, move || show.manifest()).await
}

async fn watch(
    houses: [&House; 2],
    viewer: &mut Watcher,
    what: &str,
    enough: impl Fn(&Watcher) -> bool,
) {
    by_turns::watch(houses, MPD, what, |text| {
        viewer.see(text);
        enough(viewer)
    })
    .await;
}

async fn is_one_manifest(a: House, b: House) {
    let one = Show::new("a", "2026-11-29T06:00:00Z", 100);
    let two = Show::new("b", "2026-11-29T12:00:00Z", 1);
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
    // One proxy finds the next origin, and the other goes by what that wrote.
    watch([&a, &b], &mut viewer, "as it was", |_| {
        second.count(MPD) > 1
    })
    .await;
    assert_eq!(viewer.periods, [("0".to_owned(), 0, None)]);
    assert_eq!((viewer.end, viewer.listed.len()), (9_000, 6));
    two.makes(2);
    watch([&b, &a], &mut viewer, "the second origin", |viewer| {
        viewer.address("b-2.m4s").is_some()
    })
    .await;
    for _ in 0..9 {
        two.makes(1);
        let end = viewer.end;
        watch([&a, &b], &mut viewer, "one more", |viewer| viewer.end > end).await;
    }
    // A viewer of each: the same Periods by the same names, and each segment at the same time.
    let mut seen = Vec::new();
    for house in [&a, &b] {
        let mut alone = Watcher::default();
        watch([house, house], &mut alone, "one of both", |alone| {
            alone.end == viewer.end
        })
        .await;
        let names = alone.listed.iter().map(|address| {
            let name = address.split('?').next();
            name.unwrap_or_default().to_owned()
        });
        seen.push((alone.periods.clone(), names.collect::<Vec<_>>()));
    }
    assert_eq!(seen[0], seen[1]);
    let [(first, 0, Some(9_000)), (next, ..)] = &seen[0].0[..] else {
        panic!("{seen:?}");
    };
    assert!(first == "0" && next.starts_with("0-"), "{seen:?}");
}

#[tokio::test]
async fn a_manifest_goes_on_alike_in_a_mesh() {
    let settings = in_a_mesh(MORE);
    let (a, b) = met([&settings[0], &settings[1]]).await;
    is_one_manifest(a, b).await;
}

#[tokio::test]
async fn a_manifest_goes_on_alike_on_a_redis() {
    let redis = RedisServer::start();
    let settings = on_a_redis(&redis, MORE);
    let (a, b) = met([&settings, &settings]).await;
    is_one_manifest(a, b).await;
}
