//! Playlists and manifests, rewritten: only URIs change, and whatever could read them before still can.

use m3u8_rs::{MasterPlaylist, MediaPlaylist, Playlist, parse_playlist_res};
use proptest::prelude::*;
use sluicegate_core::fleet::origin::{Security, Target};
use sluicegate_core::http::link::{Link, LinkKey, PARAMETER, take};
use sluicegate_core::http::page::Page;
use sluicegate_core::http::segment::{MAX_READINGS, Readings};
use sluicegate_core::http::{dash, hls};
use sluicegate_core::stream::StreamUrl;

const PAGE: Page<'_> = Page {
    host: "play.example.com",
    origin: &["10.0.0.1:8080"],
    link: "LINK",
    report: "LINK",
    base: "",
    folder: None,
    site: "https://play.example.com",
    at: "/live/",
    stamping: None,
    others: &[],
};

/// A URI of any kind, and whether it points at the origin.
/// Every way to reach a target.
fn security() -> impl Strategy<Value = Security> {
    let name = prop_oneof!["[a-z]{1,9}(\\.[a-z]{1,9})?", Just("2001:db8::1".to_owned())];
    prop_oneof![
        Just(Security::Plain),
        Just(Security::Tls(None)),
        name.prop_map(|name| Security::Tls(Some(name.parse().expect("a host")))),
        Just(Security::Unverified),
    ]
}

fn uri() -> impl Strategy<Value = (String, bool)> {
    let path = "[a-z0-9_%.-]{1,8}(/[a-z0-9_.-]{1,8}){0,2}";
    let query = "(\\?[a-z]=[a-z0-9]{0,4}(&spbhid=[a-zA-Z0-9]{0,4})?(&[a-z]){0,2})?";
    prop_oneof![
        (path, query).prop_map(|(path, query)| (format!("{path}{query}"), true)),
        (path, query).prop_map(|(path, query)| (format!("/{path}{query}"), true)),
        (path, query)
            .prop_map(|(path, query)| (format!("http://10.0.0.1:8080/{path}{query}"), true)),
        (path, query).prop_map(|(path, query)| (format!("https://cdn.net/{path}{query}"), false)),
        "[A-Za-z0-9]{0,8}".prop_map(|text| (format!("data:text/plain;base64,{text}"), false)),
    ]
}

/// Whether a player that requests `after` gets from the origin what it would have got with `before`.
fn same_resource(before: &str, after: &str) -> bool {
    let before = before
        .strip_prefix("http://10.0.0.1:8080")
        .unwrap_or(before);
    let (bare_before, _) = take(before);
    let (bare_after, link) = take(after);
    bare_before == bare_after && link == Some("LINK")
}

fn media() -> impl Strategy<Value = (String, Vec<(String, bool)>)> {
    let segment = (uri(), uri(), 0..4_u8, "[a-z =]{0,12}");
    (prop::collection::vec(segment, 1..12), any::<bool>()).prop_map(|(segments, crlf)| {
        let mut text =
            "#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7\n"
                .to_owned();
        let mut uris = Vec::new();
        for (uri, other, kind, words) in segments {
            match kind {
                0 => text += &format!("#EXT-X-MAP:URI=\"{}\",BYTERANGE=\"9@0\"\n", other.0),
                1 => text += &format!("#EXT-X-KEY:METHOD=AES-128,URI=\"{}\",IV=0x01\n", other.0),
                2 => text += &format!("#EXT-X-PART:DURATION=0.3,URI=\"{}\"\n", other.0),
                _ => text += &format!("#EXT-X-OURS:URI=\"{}\",X={words}\n", other.0),
            }
            text += &format!("#EXTINF:4.000,{words}\n{}\n", uri.0);
            uris.push(uri);
        }
        let text = if crlf {
            text.replace('\n', "\r\n")
        } else {
            text
        };
        (text, uris)
    })
}

fn parsed(text: &[u8]) -> MediaPlaylist {
    match parse_playlist_res(text) {
        Ok(Playlist::MediaPlaylist(playlist)) => playlist,
        other => panic!("{other:?}"),
    }
}

fn parsed_master(text: &[u8]) -> MasterPlaylist {
    match parse_playlist_res(text) {
        Ok(Playlist::MasterPlaylist(playlist)) => playlist,
        other => panic!("{other:?}"),
    }
}

/// A playlist without any of its URIs.
fn without_uris(mut playlist: MediaPlaylist) -> MediaPlaylist {
    for segment in &mut playlist.segments {
        segment.uri.clear();
        if let Some(map) = &mut segment.map {
            map.uri.clear();
        }
        if let Some(key) = &mut segment.key {
            key.uri = None;
        }
        // The parser keeps unknown tags as text, parts among them. Any may name the origin, and us then.
        let names = |rest: &str| rest.contains("://10.0.0.1") || rest.contains("://play.example");
        segment
            .unknown_tags
            .retain(|tag| tag.tag != "X-PART" && !tag.rest.as_deref().is_some_and(names));
    }
    playlist
}

proptest! {
    #[test]
    fn a_media_playlist_changes_in_its_uris_only((text, uris) in media()) {
        let once = hls::rewrite(text.as_bytes(), &PAGE).unwrap();
        prop_assert_eq!(hls::rewrite(&once, &PAGE).unwrap(), &*once, "twice is once");
        let (before, after) = (parsed(text.as_bytes()), parsed(&once));
        for ((uri, is_ours), segment) in uris.iter().zip(&after.segments) {
            if *is_ours {
                prop_assert!(same_resource(uri, &segment.uri), "{} became {}", uri, segment.uri);
            } else {
                prop_assert_eq!(uri, &segment.uri);
            }
        }
        prop_assert_eq!(without_uris(before), without_uris(after));
    }

    #[test]
    fn a_master_playlist_changes_in_its_uris_only(uris in prop::collection::vec((uri(), uri()), 1..6)) {
        let mut text = "#EXTM3U\n".to_owned();
        for (number, (one, two)) in uris.iter().enumerate() {
            text += &format!("#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"g\",NAME=\"{number}\",URI=\"{}\"\n", one.0);
            text += &format!("#EXT-X-STREAM-INF:BANDWIDTH={number},CODECS=\"a,b\",AUDIO=\"g\"\n{}\n", two.0);
        }
        let once = hls::rewrite(text.as_bytes(), &PAGE).unwrap();
        prop_assert_eq!(hls::rewrite(&once, &PAGE).unwrap(), &*once, "twice is once");
        let (before, after) = (parsed_master(text.as_bytes()), parsed_master(&once));
        prop_assert_eq!(before.variants.len(), after.variants.len());
        for (before, after) in before.variants.iter().zip(&after.variants) {
            prop_assert!(before.uri == after.uri || same_resource(&before.uri, &after.uri));
            prop_assert_eq!((before.bandwidth, &before.codecs), (after.bandwidth, &after.codecs));
        }
        for (before, after) in before.alternatives.iter().zip(&after.alternatives) {
            let (one, two) = (before.uri.as_deref().unwrap(), after.uri.as_deref().unwrap());
            prop_assert!(one == two || same_resource(one, two));
            prop_assert_eq!(&before.name, &after.name);
        }
    }

    #[test]
    fn a_manifest_changes_in_its_uris_only(uris in prop::collection::vec((uri(), uri(), uri()), 1..6)) {
        let mut text = "<?xml version=\"1.0\"?>\n<MPD type='dynamic'>\n<Period>".to_owned();
        let mut expected = text.clone();
        let mut add = |piece: &str, uri: Option<&(String, bool)>| {
            let Some((uri, is_ours)) = uri else {
                text += piece;
                expected += piece;
                return;
            };
            let escaped = uri.replace('&', "&amp;");
            text += &escaped;
            if *is_ours {
                let bare = uri.strip_prefix("http://10.0.0.1:8080").unwrap_or(uri);
                let (bare, _) = take(bare);
                let mark = if bare.contains('?') { "&" } else { "?" };
                expected += &format!("{bare}{mark}{PARAMETER}=LINK").replace('&', "&amp;");
            } else {
                expected += &escaped;
            }
        };
        for (media, init, segment) in &uris {
            add("<AdaptationSet a = 'b'>\r\n<SegmentTemplate media=\"", None);
            add("", Some(media));
            add("\" startNumber='1' initialization='", None);
            add("", Some(init));
            add("'/><!-- media=\"x\" --><SegmentList><SegmentURL mediaRange=\"0-1\" media=\"", None);
            add("", Some(segment));
            add("\"/></SegmentList></AdaptationSet>", None);
        }
        add("</Period></MPD>\n", None);
        let once = dash::rewrite(text.as_bytes(), &PAGE).unwrap();
        prop_assert_eq!(std::str::from_utf8(&once).unwrap(), &expected);
        prop_assert_eq!(dash::rewrite(&once, &PAGE).unwrap(), &*once, "twice is once");
    }

    #[test]
    fn garbage_is_refused_or_passed(garbage in prop::collection::vec(any::<u8>(), 0..400), cut in 0..400_usize) {
        let playlist = [b"#EXTM3U\n".as_slice(), &garbage].concat();
        let _ = hls::rewrite(playlist.get(..cut).unwrap_or(&playlist), &PAGE);
        let manifest = [b"<MPD><BaseURL>".as_slice(), &garbage].concat();
        let _ = dash::rewrite(manifest.get(..cut).unwrap_or(&manifest), &PAGE);
    }

    #[test]
    fn a_sealed_link_is_opened(
        app in "[a-z]{1,9}", stream in "[a-z0-9]{1,99}", origin in ".{1,40}", port in 1..=u16::MAX,
        ip in any::<std::net::IpAddr>(), security in security(), expires in 1..u64::MAX, key in prop::collection::vec(any::<u8>(), 0..64),
    ) {
        let link = Link {
            stream: StreamUrl::new("", &app, &stream).unwrap(),
            origin: origin.into(),
            target: Target { host: ip.into(), port, security },
            expires,
            viewing: None,
        };
        let key = LinkKey::new(&key);
        prop_assert_eq!(key.open(&key.seal(&link), expires - 1), Ok(link));
    }

    #[test]
    fn the_readings_of_a_path_hold_the_likely_one(path in "(/[a-z0-9_.-]{0,9}){1,5}") {
        if let Ok(readings) = Readings::of(None, &path) {
            prop_assert!(readings.all.contains(&readings.likely));
            prop_assert!(readings.all.len() <= MAX_READINGS);
        }
    }
}

#[test]
fn a_base_from_the_root_begins_with_the_folder_that_clients_know() {
    let page = Page {
        base: "/media",
        ..PAGE
    };
    let below = "<SegmentTemplate media='a'/>";
    // A description; the element; what clients get.
    let rows = [
        (
            "from the root",
            format!("<BaseURL>/dash/v/</BaseURL>{below}"),
            "<BaseURL>/media/dash/v/</BaseURL><SegmentTemplate media='a?spbhid=LINK'/>",
        ),
        (
            "the root itself",
            format!("<BaseURL>/</BaseURL>{below}"),
            "<BaseURL>/media/</BaseURL><SegmentTemplate media='a?spbhid=LINK'/>",
        ),
        (
            "relative",
            format!("<BaseURL>v/</BaseURL>{below}"),
            "<BaseURL>v/</BaseURL><SegmentTemplate media='a?spbhid=LINK'/>",
        ),
        (
            "in full",
            format!("<BaseURL>http://10.0.0.1:8080/v/</BaseURL>{below}"),
            "<BaseURL>/media/v/</BaseURL><SegmentTemplate media='a?spbhid=LINK'/>",
        ),
        (
            "beside another server's",
            format!("<BaseURL>https://cdn.net/</BaseURL><BaseURL>/v/</BaseURL>{below}"),
            "<BaseURL>https://cdn.net/</BaseURL><BaseURL>/media/v/</BaseURL><SegmentTemplate media='a'/>",
        ),
        (
            "below another server's",
            format!(
                "<BaseURL>https://cdn.net/</BaseURL><Period><BaseURL>/v/</BaseURL>{below}</Period>"
            ),
            "<BaseURL>https://cdn.net/</BaseURL><Period><BaseURL>/v/</BaseURL><SegmentTemplate media='a'/></Period>",
        ),
        (
            "in a patch",
            "<replace sel='/MPD/BaseURL/text()'>/v/</replace>".to_owned(),
            "<replace sel='/MPD/BaseURL/text()'>/media/v/</replace>",
        ),
    ];
    for (cause, inner, expected) in rows {
        let manifest = format!("<MPD>{inner}</MPD>");
        let out = dash::rewrite(manifest.as_bytes(), &page).unwrap();
        let out = String::from_utf8(out.into_owned()).unwrap();
        assert_eq!(out, format!("<MPD>{expected}</MPD>"), "{cause}");
    }
}
