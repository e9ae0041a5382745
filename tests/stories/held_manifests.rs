//! Viewers of MPEG-DASH whose origin is lost: their manifest stays as it was, and then goes on with a Period of another origin.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sluicegate_core::events::Kind;
use sluicegate_core::http::periods::NOTHING;
use sluicegate_core::stream::StreamUrl;

use crate::held_playlists::broken;
use crate::house::{House, get, until_told};
use crate::http_pieces::{Packager, Reply};
use crate::live_manifest::{Show, Watcher};

const HOLDING: &str = "[cluster]\nkey = \"k\"\n[hold]\nviewers = \"30s\"\n";
const MPD: &str = "/live/a.mpd";
const MORNING: &str = "2026-11-29T06:00:00Z";
const NOON: &str = "2026-11-29T12:00:00Z";

async fn join(house: &House, id: &str, show: &Show) -> Packager {
    let show = show.clone();
    Packager::join(house, id, move |target, _| answer(&show, target)).await
}

fn answer(show: &Show, target: &str) -> Reply {
    let path = target.split('?').next().unwrap_or_default();
    match path {
        MPD => match show.manifest() {
            Some(text) => Reply::ok(
                "Content-Type: application/dash+xml\r\nETag: \"x\"\r\n",
                text,
            ),
            None => Reply::missing(),
        },
        _ if show.has(path) => Reply::ok("", path),
        _ => Reply::missing(),
    }
}

/// Reads the manifest until `enough` of it has been seen.
async fn watch(
    house: &House,
    watcher: &mut Watcher,
    what: &str,
    enough: impl Fn(&Watcher) -> bool,
) {
    until_told(what, async || {
        let (status, text) = get(house.at.http, MPD).await;
        assert_eq!(status, 200, "{what}: {text}");
        watcher.see(&text);
        enough(watcher)
    })
    .await;
}

fn nothing() -> (u16, String) {
    (200, String::from_utf8_lossy(NOTHING).into_owned())
}

#[tokio::test]
async fn a_manifest_that_breaks_off_stays_as_it_was() {
    let show = Show::new("a", MORNING, 100);
    show.makes(9);
    for (how, reply) in broken(&show.manifest().expect("made")) {
        let house = House::open(HOLDING).await;
        let breaks = Arc::new(AtomicBool::new(false));
        let (is_broken, made) = (Arc::clone(&breaks), show.clone());
        let _origin = Packager::join(&house, "one", move |target, _| {
            match is_broken.load(Ordering::Relaxed) {
                true => reply.clone(),
                false => answer(&made, target),
            }
        })
        .await;
        let mut viewer = Watcher::default();
        watch(&house, &mut viewer, how, |_| true).await;
        breaks.store(true, Ordering::Relaxed);
        watch(&house, &mut viewer, how, |_| true).await;
        assert_eq!((viewer.end, viewer.listed.len()), (9_000, 6), "{how}");
        assert_eq!(get(house.at.http, "/live/b.mpd").await.0, 502, "{how}");
    }
}

#[tokio::test]
async fn a_manifest_stays_and_then_goes_on_with_a_period_of_another_origin() {
    let house = House::open(HOLDING).await;
    let (one, two) = (Show::new("a", MORNING, 100), Show::new("b", NOON, 1));
    one.makes(9);
    let first = join(&house, "one", &one).await;
    let mut viewer = Watcher::default();
    watch(&house, &mut viewer, "the first origin", |_| true).await;
    assert_eq!((viewer.end, viewer.listed.len()), (9_000, 6));
    let lost = format!("/live/{}", viewer.address("a-108.m4s").expect("listed"));
    assert_eq!(
        get(house.at.http, &lost).await,
        (200, "/live/a-108.m4s".to_owned())
    );

    // The other one is asked, and does not have the stream before its publisher comes.
    first.kill();
    let second = join(&house, "two", &two).await;
    watch(&house, &mut viewer, "as it was", |_| second.count(MPD) > 1).await;
    assert_eq!(viewer.periods, [("0".to_owned(), 0, None)]);
    assert_eq!((viewer.end, viewer.listed.len()), (9_000, 6));
    assert_eq!(
        get(house.at.http, &lost).await,
        nothing(),
        "a segment that was lost shows nothing"
    );
    let again = format!("/live/{}", viewer.address("a-108.m4s").expect("listed"));
    assert_eq!(get(house.at.http, &again).await, nothing());

    two.makes(1);
    watch(&house, &mut viewer, "the second origin", |viewer| {
        viewer.address("b-1.m4s").is_some()
    })
    .await;
    let [(_, 0, Some(9_000)), (id, start, None)] = &viewer.periods[..] else {
        panic!("{:?}", viewer.periods);
    };
    assert_eq!(id, "0-2");
    assert!(*start >= 9_000, "{start}");
    let segment = format!("/live/{}", viewer.address("b-1.m4s").expect("listed"));
    assert_eq!(
        get(house.at.http, &segment).await,
        (200, "/live/b-1.m4s".to_owned())
    );
    let back = viewer.end;
    for _ in 0..9 {
        two.makes(1);
        watch(&house, &mut viewer, "one more", |_| true).await;
    }
    assert_eq!(viewer.end, back + 9_000, "each segment once");

    // And once more, to an origin whose names are those of the first.
    let three = Show::new("a", MORNING, 500);
    second.kill();
    three.makes(1);
    let _third = join(&house, "three", &three).await;
    watch(&house, &mut viewer, "the third origin", |viewer| {
        viewer.address("a-500.m4s").is_some()
    })
    .await;
    assert_eq!(viewer.periods.len(), 3);
}

#[tokio::test]
async fn a_stream_that_moves_keeps_its_old_segments() {
    let house = House::open(HOLDING).await;
    let (one, two) = (Show::new("a", MORNING, 100), Show::new("b", NOON, 1));
    one.makes(9);
    let _first = join(&house, "one", &one).await;
    let mut viewer = Watcher::default();
    watch(&house, &mut viewer, "the first origin", |_| true).await;
    two.makes(1);
    let _second = join(&house, "two", &two).await;
    let stream = StreamUrl::new("", "live", "a").expect("a stream");
    house.proxy.note_published(&stream, &"two".into());
    watch(&house, &mut viewer, "the second origin", |viewer| {
        viewer.address("b-1.m4s").is_some()
    })
    .await;
    assert_eq!(viewer.periods.len(), 2);
    for (name, path) in [
        ("a-108.m4s", "/live/a-108.m4s"),
        ("b-1.m4s", "/live/b-1.m4s"),
    ] {
        let segment = format!("/live/{}", viewer.address(name).expect("listed"));
        assert_eq!(get(house.at.http, &segment).await, (200, path.to_owned()));
    }
}

#[tokio::test]
async fn a_manifest_that_cannot_go_on_elsewhere_ends_with_its_origin() {
    let house = House::open(HOLDING).await;
    let show = Show::new("a", MORNING, 1);
    show.makes(3);
    let origin = Packager::join(&house, "one", move |target, _| match show.manifest() {
        Some(text) if target.starts_with(MPD) => Reply::ok(
            "",
            text.replace("<Period id", "<BaseURL>/x/</BaseURL><Period id"),
        ),
        _ => Reply::missing(),
    })
    .await;
    assert_eq!(get(house.at.http, MPD).await.0, 200);
    origin.kill();
    assert_eq!(get(house.at.http, MPD).await.0, 503);
    let mut told = String::new();
    let journal = &house.proxy.metrics().journal;
    journal.look(Kind::Held, |event| told += &event.news.what);
    assert!(
        told.contains("it has a BaseURL for all its Periods"),
        "{told}"
    );
}

#[tokio::test]
async fn players_ask_soon_enough_for_a_manifest_that_never_changes() {
    let house = House::open(HOLDING).await;
    let show = Show::new("a", MORNING, 1);
    show.makes(3);
    let _origin = Packager::join(&house, "one", move |_, _| {
        let text = show.manifest().expect("it lists something");
        Reply::ok(
            "",
            text.replace(
                "minimumUpdatePeriod=\"PT1S\"",
                "minimumUpdatePeriod=\"PT500S\"",
            ),
        )
    })
    .await;
    let (_, text) = get(house.at.http, MPD).await;
    assert!(text.contains("minimumUpdatePeriod=\"PT2S\""), "{text}");
}
