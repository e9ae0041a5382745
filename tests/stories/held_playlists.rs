//! Viewers of HLS whose origin is lost: their playlist goes on, with gaps and then at another origin, and its numbers never go
//! back.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use sluicegate_core::access::keys::line;
use sluicegate_core::stream::StreamUrl;

use crate::house::{House, get, talk, until_told};
use crate::http_origin::header;
use crate::http_pieces::{Packager, Reply};
use crate::live_playlist::{Show, Watcher};

/// The settings of a proxy whose viewers are held for this long, or as more lines say.
fn holding(viewers: &str) -> String {
    format!("[cluster]\nkey = \"k\"\n[hold]\nviewers = {viewers}\n")
}

async fn join(house: &House, id: &str, show: &Show) -> Packager {
    let show = show.clone();
    Packager::join(house, id, move |target, _| answer(&show, target)).await
}

fn answer(show: &Show, target: &str) -> Reply {
    let path = target.split('?').next().unwrap_or_default();
    match path {
        "/live/a.m3u8" => match show.playlist() {
            Some(text) => Reply::ok("Cache-Control: max-age=1\r\nETag: \"x\"\r\n", text),
            None => Reply::missing(),
        },
        _ if show.has(path) => Reply::ok("Cache-Control: max-age=60\r\n", path),
        _ => Reply::missing(),
    }
}

/// Reads the playlist until `enough` of it has been seen.
async fn watch(
    house: &House,
    target: &str,
    watcher: &mut Watcher,
    what: &str,
    enough: impl Fn(&Watcher) -> bool,
) {
    until_told(what, async || {
        let (status, text) = get(house.at.http, target).await;
        assert_eq!(status, 200, "{what}: {text}");
        watcher.see(&text);
        enough(watcher)
    })
    .await;
}

/// The playlist as VLC gets it: where it begins, and what it lists.
async fn as_vlc_sees_it(house: &House) -> (u64, Vec<String>) {
    let request = format!(
        "GET {LIST} HTTP/1.1\r\nHost: p\r\nUser-Agent: VLC/3.0.24 LibVLC/3.0.24\r\nConnection: close\r\n\r\n"
    );
    let (status, text) = talk(house.at.http, &request).await;
    assert!(status == 200 && !text.contains("EXT-X-GAP"), "{text}");
    let mut lines = text.lines();
    let first = lines.find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
    let first = first.and_then(|first| first.parse().ok());
    let name = |line: &str| line.split('?').next().map(str::to_owned);
    let listed = lines
        .filter(|line| !line.starts_with('#'))
        .filter_map(name)
        .collect();
    (first.expect("a number"), listed)
}

const LIST: &str = "/live/a.m3u8";

#[tokio::test]
async fn a_playlist_goes_on_with_gaps_and_then_at_another_origin() {
    let house = House::open(&holding("\"30s\"")).await;
    let (one, two) = (Show::new("a", 100), Show::new("b", 0));
    one.makes(9);
    let first = join(&house, "one", &one).await;
    let mut viewer = Watcher::default();
    watch(&house, LIST, &mut viewer, "the first origin", |_| true).await;
    assert_eq!((viewer.end, viewer.listed.len()), (109, 6));
    let lost = format!("/live/{}", viewer.uri("a-108.ts").expect("listed"));
    assert_eq!(
        get(house.at.http, &lost).await,
        (200, "/live/a-108.ts".to_owned())
    );

    // The other one is asked, and does not have the stream before its publisher comes.
    first.kill();
    let second = join(&house, "two", &two).await;
    watch(&house, LIST, &mut viewer, "two gaps", |viewer| {
        viewer.end >= 111
    })
    .await;
    assert_eq!(
        viewer.gaps(),
        viewer.listed.len(),
        "nothing of it can be had"
    );
    assert!(second.count(LIST) > 0, "it was asked meanwhile");
    let (first_of_vlc, listed) = as_vlc_sees_it(&house).await;
    assert!(first_of_vlc >= 111 && listed.is_empty(), "{listed:?}");
    let gap = format!("/live/{}", viewer.listed.last().expect("a gap").0);
    let asked = second.targets().len();
    assert_eq!(get(house.at.http, &gap).await.0, 404);
    assert_eq!(
        get(house.at.http, &lost).await.0,
        503,
        "a player asks for its playlist again"
    );
    assert_eq!(
        second.targets().len(),
        asked,
        "neither is asked of another origin"
    );

    two.makes(1);
    watch(&house, LIST, &mut viewer, "the second origin", |viewer| {
        viewer.uri("b-0.ts").is_some()
    })
    .await;
    assert_eq!(viewer.discontinuities, 1);
    let back = viewer.end;
    let expected = (back - 1, vec!["b-0.ts".to_owned()]);
    assert_eq!(as_vlc_sees_it(&house).await, expected);
    let segment = format!("/live/{}", viewer.uri("b-0.ts").expect("listed"));
    assert_eq!(
        get(house.at.http, &segment).await,
        (200, "/live/b-0.ts".to_owned())
    );
    for _ in 0..9 {
        two.makes(1);
        watch(&house, LIST, &mut viewer, "one more", |_| true).await;
    }
    assert_eq!(viewer.end, back + 9, "each segment once");
    assert_eq!(
        (viewer.breaks, viewer.discontinuities, viewer.gaps()),
        (1, 0, 0)
    );
    // Who comes now sees the same, and so do those who wait for a segment.
    let mut other = Watcher::default();
    watch(&house, LIST, &mut other, "another viewer", |_| true).await;
    assert_eq!(other.listed, viewer.listed);
    let waits = format!("{LIST}?_HLS_msn={}&_HLS_part=0", viewer.end - 1);
    watch(&house, &waits, &mut viewer, "a reload that waits", |_| true).await;
    assert_eq!(
        second.count("/live/a.m3u8?_HLS_msn=9&_HLS_part=0"),
        1,
        "{:?}",
        second.targets()
    );

    // And once more, to an origin whose names are those of the first.
    let three = Show::new("a", 100);
    second.kill();
    let _third = join(&house, "three", &three).await;
    watch(&house, LIST, &mut viewer, "gaps again", |viewer| {
        viewer.gaps() == viewer.listed.len()
    })
    .await;
    three.makes(2);
    watch(&house, LIST, &mut viewer, "the third origin", |viewer| {
        viewer.uri("a-101.ts").is_some()
    })
    .await;
    assert_eq!(viewer.breaks + viewer.discontinuities as u64, 2);
}

/// How an origin's answer may end before its end, or be none that can be read.
pub(crate) fn broken(text: &str) -> Vec<(&'static str, Reply)> {
    let half = &text.as_bytes()[..text.len() / 2];
    let ends = |head: &str, body: &[u8]| Reply {
        bytes: [b"HTTP/1.1 200 OK\r\n", head.as_bytes(), b"\r\n", body].concat(),
        close: true,
        ..Reply::default()
    };
    let coded = |coding: &str, whole: Vec<u8>| {
        let coding = format!("Content-Encoding: {coding}\r\n");
        Reply::ok(&coding, &whole[..whole.len() - 4])
    };
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    let mut deflate = ZlibEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(text.as_bytes()).expect("memory");
    deflate.write_all(text.as_bytes()).expect("memory");
    let length = format!("Content-Length: {}\r\n", text.len());
    let chunk = [format!("{:x}\r\n", half.len()).as_bytes(), half, b"\r\n"].concat();
    let too_long = format!("{text}{}\n", "#".repeat(5 << 20));
    vec![
        ("shorter than it says", ends(&length, half)),
        (
            "chunks without an end",
            ends("Transfer-Encoding: chunked\r\n", &chunk),
        ),
        ("half a gzip", coded("gzip", gzip.finish().expect("memory"))),
        (
            "half a deflate",
            coded("deflate", deflate.finish().expect("memory")),
        ),
        ("too long", Reply::ok("", too_long)),
    ]
}

#[tokio::test]
async fn a_playlist_that_breaks_off_is_held_and_never_taken_for_a_whole_one() {
    let show = Show::new("a", 100);
    show.makes(9);
    for (how, reply) in broken(&show.playlist().expect("made")) {
        let house = House::open(&holding("\"30s\"")).await;
        let show = Show::new("a", 100);
        show.makes(9);
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
        watch(&house, LIST, &mut viewer, how, |_| true).await;
        let before = viewer.listed.len();
        breaks.store(true, Ordering::Relaxed);
        watch(&house, LIST, &mut viewer, how, |_| true).await;
        assert_eq!((viewer.end, viewer.listed.len()), (109, before), "{how}");
        let (status, text) = get(house.at.http, "/live/b.m3u8").await;
        assert_eq!(status, 502, "{how}: nobody had it: {text}");
        breaks.store(false, Ordering::Relaxed);
        show.makes(1);
        watch(&house, LIST, &mut viewer, how, |viewer| {
            viewer.uri("a-109.ts").is_some()
        })
        .await;
    }
}

#[tokio::test]
async fn a_packager_that_restarts_goes_on_behind_a_discontinuity() {
    let house = House::open(&holding("\"30s\"")).await;
    let show = Show::new("a", 0);
    show.makes(20);
    let _origin = join(&house, "one", &show).await;
    let mut viewer = Watcher::default();
    watch(&house, LIST, &mut viewer, "the stream", |_| true).await;
    // Its publisher is away, and what it published before can still be had.
    show.restarts();
    watch(&house, LIST, &mut viewer, "a gap", |viewer| viewer.end > 20).await;
    assert!(viewer.gaps() < viewer.listed.len());
    show.makes(1);
    watch(&house, LIST, &mut viewer, "it is back", |viewer| {
        viewer.discontinuities == 1
    })
    .await;
    assert!(viewer.uri("a-0.ts").is_some());
    assert!(viewer.end > 21);
}

#[tokio::test]
async fn a_stream_that_moves_leaves_no_gap() {
    let house = House::open(&holding("\"30s\"")).await;
    let (one, two) = (Show::new("a", 100), Show::new("b", 0));
    one.makes(9);
    let _first = join(&house, "one", &one).await;
    let mut viewer = Watcher::default();
    watch(&house, LIST, &mut viewer, "the first origin", |_| true).await;
    two.makes(1);
    let _second = join(&house, "two", &two).await;
    let stream = StreamUrl::new("", "live", "a").expect("a stream");
    house.proxy.note_published(&stream, &"two".into());
    watch(&house, LIST, &mut viewer, "the second origin", |viewer| {
        viewer.uri("b-0.ts").is_some()
    })
    .await;
    assert_eq!(
        (viewer.end, viewer.gaps(), viewer.discontinuities),
        (110, 0, 1)
    );
    let old = format!("/live/{}", viewer.uri("a-108.ts").expect("listed"));
    assert_eq!(
        get(house.at.http, &old).await,
        (200, "/live/a-108.ts".to_owned())
    );
}

#[tokio::test]
async fn a_hold_has_an_end_and_may_be_none() {
    let by_rule = "\"30s\"\nrules = [\"app=live stream=a viewers=0s\"]";
    for (viewers, held) in [("\"0s\"", false), ("\"2s\"", true), (by_rule, false)] {
        let house = House::open(&holding(viewers)).await;
        let show = Show::new("a", 0);
        show.makes(3);
        let origin = join(&house, "one", &show).await;
        let mut viewer = Watcher::default();
        watch(&house, LIST, &mut viewer, "the stream", |_| true).await;
        origin.kill();
        let (status, _) = get(house.at.http, LIST).await;
        assert_eq!(status == 200, held, "{viewers}: {status}");
        let over = async || get(house.at.http, LIST).await.0 == 503;
        until_told("the end of the hold", over).await;
        assert_eq!(
            get(house.at.http, "/live/b.m3u8").await.0,
            503,
            "nobody had it"
        );
    }
}

/// As SRS does: who shows no session that it knows gets a master playlist that leads to one.
fn answer_by_session(show: &Show, session: &str, target: &str) -> Reply {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let knows = query == format!("hls_ctx={session}");
    if path == LIST && show.playlist().is_some() && !knows {
        let master = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{LIST}?hls_ctx={session}\n");
        return Reply::ok("", master);
    }
    answer(show, target)
}

#[tokio::test]
async fn a_session_that_its_new_origin_does_not_know_is_followed_to_another() {
    let house = House::open(&holding("\"30s\"")).await;
    let (one, two) = (Show::new("a", 100), Show::new("b", 0));
    one.makes(9);
    let first = Packager::join(&house, "one", move |target, _| {
        answer_by_session(&one, "old", target)
    })
    .await;
    let (status, master) = get(house.at.http, LIST).await;
    assert_eq!(
        (status, master.contains("hls_ctx=old")),
        (200, true),
        "{master}"
    );
    let list = master
        .lines()
        .find(|line| !line.starts_with('#'))
        .expect("a variant")
        .to_owned();
    let mut viewer = Watcher::default();
    watch(&house, &list, &mut viewer, "the first origin", |_| true).await;
    two.makes(1);
    first.kill();
    let there = two.clone();
    let second = Packager::join(&house, "two", move |target, _| {
        answer_by_session(&there, "new", target)
    })
    .await;
    watch(&house, &list, &mut viewer, "the second origin", |viewer| {
        viewer.uri("b-0.ts").is_some()
    })
    .await;
    for _ in 0..3 {
        two.makes(1);
        watch(&house, &list, &mut viewer, "one more", |_| true).await;
    }
    assert_eq!(
        second.count(&format!("{LIST}?hls_ctx=old")),
        1,
        "{:?}",
        second.targets()
    );
    assert!(second.count(&format!("{LIST}?hls_ctx=new")) >= 4);
}

/// To who has a media playlist, a master playlist is as good as none.
#[tokio::test]
async fn a_viewer_is_held_while_its_new_session_has_no_playlist() {
    let house = House::open(&holding("\"30s\"")).await;
    let (one, two) = (Show::new("a", 100), Show::new("b", 0));
    one.makes(9);
    two.makes(3);
    let first = Packager::join(&house, "one", move |target, _| {
        answer_by_session(&one, "old", target)
    })
    .await;
    let (_, master) = get(house.at.http, LIST).await;
    let list = master.lines().find(|line| !line.starts_with('#'));
    let list = list.expect("a variant").to_owned();
    let mut viewer = Watcher::default();
    watch(&house, &list, &mut viewer, "the first origin", |_| true).await;
    first.kill();
    let is_packaged = Arc::new(AtomicBool::new(false));
    let (there, made) = (two.clone(), Arc::clone(&is_packaged));
    let second = Packager::join(&house, "two", move |target, _| {
        let is_there = made.load(Ordering::Relaxed) || !target.ends_with("hls_ctx=new");
        match is_there {
            true => answer_by_session(&there, "new", target),
            false => Reply::missing(),
        }
    })
    .await;
    let asked = format!("{LIST}?hls_ctx=new");
    watch(&house, &list, &mut viewer, "no playlist yet", |_| {
        second.count(&asked) > 0
    })
    .await;
    is_packaged.store(true, Ordering::Relaxed);
    watch(&house, &list, &mut viewer, "the second origin", |viewer| {
        viewer.uri("b-2.ts").is_some()
    })
    .await;
}

/// A packager that puts a token of its own into the paths of each answer.
#[tokio::test]
async fn a_playlist_whose_paths_change_at_each_reload_is_one_playlist() {
    let house = House::open(&holding("\"30s\"")).await;
    let show = Show::new("a", 100);
    show.makes(9);
    let (answers, made) = (AtomicUsize::new(0), show.clone());
    let signs = move |target: &str, _: &str| {
        let token = format!("exp={}/a-", answers.fetch_add(1, Ordering::Relaxed));
        let text = made.playlist().filter(|_| target == LIST);
        text.map_or_else(Reply::missing, |text| {
            Reply::ok("", text.replace("a-", &token))
        })
    };
    let origin = Packager::join(&house, "one", signs).await;
    for reload in 0..4 {
        let (status, text) = get(house.at.http, LIST).await;
        assert_eq!(status, 200, "{text}");
        let number = format!("#EXT-X-MEDIA-SEQUENCE:{}\n", 103 + reload);
        let own = format!("exp={reload}/a-{}.ts", 108 + reload);
        assert!(text.contains(&number) && text.contains(&own), "{text}");
        assert_eq!(text.matches("#EXTINF").count(), 6, "{text}");
        assert!(!text.contains("#EXT-X-DISCONTINUITY\n"), "{text}");
        show.makes(1);
    }
    assert_eq!(origin.count(LIST), 4);
}

/// An origin that lets in who says the word, and makes a session for each.
#[tokio::test]
async fn nobody_gets_the_session_of_a_viewer_who_was_let_in() {
    let house = House::open(&holding("\"30s\"")).await;
    let show = Show::new("a", 100);
    show.makes(9);
    let sessions = AtomicUsize::new(0);
    let guards = move |target: &str, head: &str| {
        if target != LIST {
            return answer(&show, target.split('?').next().unwrap_or_default());
        }
        if header(head, "authorization") != ["Bearer good"] {
            return Reply::with("403 Forbidden", "", "");
        }
        let session = sessions.fetch_add(1, Ordering::Relaxed);
        let master = format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{LIST}?hls_ctx=v{session}\n");
        Reply::ok("", master)
    };
    let _origin = Packager::join(&house, "one", guards).await;
    let asks = async |target: &str, word: &str| {
        let request =
            format!("GET {target} HTTP/1.1\r\nHost: example\r\n{word}Connection: close\r\n\r\n");
        talk(house.at.http, &request).await
    };
    for viewer in 0..3 {
        let (status, master) = asks(LIST, "Authorization: Bearer good\r\n").await;
        assert_eq!(status, 200, "{master}");
        let own = format!("hls_ctx=v{viewer}");
        assert!(master.contains(&own), "a session of its own: {master}");
        let list = master.lines().find(|line| !line.starts_with('#'));
        let (status, media) = asks(list.expect("a variant"), "").await;
        assert!(status == 200 && media.contains("#EXTINF:"), "{media}");
        assert_eq!(asks(LIST, "").await.0, 403, "a stranger");
    }
}

#[tokio::test]
async fn links_that_let_in_go_on_with_the_playlist() {
    let keys = line("viewer-1", b"salt", "correct-horse-battery");
    let rules = format!(
        "{}[[check]]\nname = \"viewers\"\nkind = \"keys\"\nkeys = [\"{keys}\"]\n[[access]]\naction = \"play\"\nall = [\"viewers\"]\n",
        holding("\"30s\"")
    );
    let house = House::open(&rules).await;
    let (one, two) = (Show::new("a", 100), Show::new("a", 500));
    one.makes(9);
    let first = join(&house, "one", &one).await;
    let (status, master) = get(house.at.http, "/live/a.m3u8?key=correct-horse-battery").await;
    assert_eq!(status, 200, "{master}");
    let variant = master
        .lines()
        .find(|line| !line.starts_with('#'))
        .expect("a variant");
    let list = format!("/live/{variant}");
    let mut viewer = Watcher::default();
    watch(&house, &list, &mut viewer, "the first origin", |_| true).await;
    first.kill();
    let _second = join(&house, "two", &two).await;
    watch(&house, &list, &mut viewer, "a gap", |viewer| {
        viewer.end > 109
    })
    .await;
    assert_eq!(get(house.at.http, LIST).await.0, 401, "a stranger");
    two.makes(1);
    watch(&house, &list, &mut viewer, "the second origin", |viewer| {
        viewer.uri("a-500.ts").is_some()
    })
    .await;
    let segment = viewer.uri("a-500.ts").expect("listed").to_owned();
    let at = format!("/live/{segment}");
    assert_eq!(
        get(house.at.http, &at).await,
        (200, "/live/a-500.ts".to_owned())
    );
    assert_eq!(get(house.at.http, "/live/a-500.ts").await.0, 401);
    two.makes(1);
    watch(&house, &list, &mut viewer, "one more", |viewer| {
        viewer.uri("a-501.ts").is_some()
    })
    .await;
    assert_eq!(
        viewer.uri("a-500.ts"),
        Some(segment.as_str()),
        "a segment has one link"
    );
}

/// A player backs off when it hears that it is too far ahead (RFC 8216bis §6.2.5.2); an old playlist it asks for again at once.
#[tokio::test]
async fn who_is_too_far_ahead_of_a_stream_that_never_moved_hears_it_of_the_origin() {
    let house = House::open("").await;
    let list = "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES\n#EXTINF:4,\na-1.ts\n";
    let origin = Packager::join(&house, "one", move |target: &str, _: &str| match target {
        "/live/a.m3u8" => Reply::ok("", list),
        _ => Reply::with("400 Bad Request", "", "too far"),
    })
    .await;
    assert_eq!(get(house.at.http, "/live/a.m3u8").await.0, 200);
    let far = "/live/a.m3u8?_HLS_msn=99";
    let told = get(house.at.http, far).await;
    assert_eq!(told, (400, "too far".to_owned()));
    assert_eq!((origin.count(far), origin.count("/live/a.m3u8")), (1, 1));
}
