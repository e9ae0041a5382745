//! What clients of each dialect name, and what origins of each are asked for: the table of cases, and what is true for
//! every name.

use proptest::prelude::*;
use sluicegate_core::access::credentials::Credentials;
use sluicegate_core::dialect::{Dialect, File, Naming, RtmpAddress, RtmpAsked};
use sluicegate_core::http::route::{Piece, Route};
use sluicegate_core::http::whip::Path;
use sluicegate_core::stream::{Action, Protocol, SrtStreamId, StreamError, StreamUrl, VhostRule};

use Action::{Play, Publish};
use Dialect::{Go2rtc, MediaMtx, NginxRtmp, Ome, Srs};

/// What stands in a table for an address that passes as it came.
const AS_SENT: &str = "=";
/// What stands in a table for a stream that an origin cannot be asked for.
const REFUSED: &str = "refused";

/// cause, tcUrl, name, clients' dialect, origin's dialect, stream, tcUrl and name for the origin
type RtmpRow = (
    &'static str,
    &'static str,
    &'static str,
    Dialect,
    Dialect,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const RTMP: &[RtmpRow] = &[
    ("a lone app, as OBS and new FFmpeg send it", "rtmp://h/cam1", "", MediaMtx, MediaMtx, "cam1", AS_SENT, ""),
    ("a lone name, as old FFmpeg sends it", "rtmp://h/", "cam1", MediaMtx, MediaMtx, "cam1", AS_SENT, ""),
    ("a lone app, for SRS", "rtmp://h/cam1", "", MediaMtx, Srs, "cam1", "rtmp://h/live", "cam1"),
    ("a lone name, for SRS", "rtmp://h/", "cam1", MediaMtx, Srs, "cam1", "rtmp://h/live", "cam1"),
    ("three segments", "rtmp://h/a/b", "c", MediaMtx, MediaMtx, "a/b/c", AS_SENT, ""),
    ("three segments, cut elsewhere", "rtmp://h/a", "b/c", MediaMtx, Srs, "a/b/c", "rtmp://h/a/b", "c"),
    ("a login in the tcUrl", "rtmp://h/cam1?user=u&pass=p", "", MediaMtx, MediaMtx, "cam1", AS_SENT, ""),
    ("a login in the name, which the server would lose", "rtmp://h/cam1", "?user=u&pass=p", MediaMtx, MediaMtx, "cam1", "rtmp://h/cam1?user=u&pass=p", ""),
    ("a query in the tcUrl", "rtmp://h/live?x=1", "a", Srs, MediaMtx, "live/a", "rtmp://h/live", "a?x=1"),
    ("a query in the tcUrl, which would swallow the name", "rtmp://h/live?x=1", "a", MediaMtx, MediaMtx, "live/a", "rtmp://h/live", "a?x=1"),
    ("both queries", "rtmp://h/live?x=1", "a?y=2", Srs, MediaMtx, "live/a", "rtmp://h/live", "a?x=1&y=2"),
    ("quotes around the tcUrl", "\"rtmp://h/cam1\"", "", MediaMtx, Go2rtc, "cam1", "rtmp://h/cam1", ""),
    ("SRS", "rtmp://h/live", "a", Srs, Srs, "live/a", AS_SENT, ""),
    ("SRS with a vhost", "rtmp://1.2.3.4/live?vhost=v.com", "a?t=1", Srs, Srs, "live/a", AS_SENT, ""),
    ("SRS without an app", "rtmp://h.com", "a", Srs, Srs, "__defaultApp__/a", AS_SENT, ""),
    ("OME keeps the host", "rtmp://h.com/app", "s", Ome, Ome, "app/s", AS_SENT, ""),
    ("OME, asked by others", "rtmp://h.com/app", "s", Srs, Ome, "app/s", "rtmp://h.com/app", "s"),
    ("OME, a signed policy", "rtmp://h:1935/app", "s?policy=P&signature=S", Ome, Ome, "app/s", AS_SENT, ""),
    ("OME, too deep", "rtmp://h/app/x", "s", Srs, Ome, "app/x/s", REFUSED, ""),
    ("nginx-rtmp, a slash in the name", "rtmp://h/live", "a/b", NginxRtmp, NginxRtmp, "live/a/b", AS_SENT, ""),
    ("nginx-rtmp has one segment as its app", "rtmp://h/live/a", "b", Srs, NginxRtmp, "live/a/b", "rtmp://h/live", "a/b"),
    ("nginx-rtmp, its hook sees both queries", "rtmp://h/live?t=1", "a?u=2", Srs, NginxRtmp, "live/a", "rtmp://h/live?t=1", "a?u=2"),
    ("nginx-rtmp undoes no escape", "rtmp://h/live", "100%&k=1?t=2", Srs, NginxRtmp, "live/100%&k=1", "rtmp://h/live", "100%&k=1?t=2"),
    ("nginx-rtmp, an escape that is a part of the name", "rtmp://h/live", "a%2541", Srs, NginxRtmp, "live/a%41", REFUSED, ""),
    ("nginx-rtmp, a lone name", "rtmp://h/cam1", "", MediaMtx, NginxRtmp, "cam1", "rtmp://h/live", "cam1"),
    ("go2rtc ignores the name", "rtmp://h/cam1", "x", Go2rtc, Go2rtc, "cam1", AS_SENT, ""),
    ("go2rtc, no app", "rtmp://h", "cam1", Go2rtc, Srs, "cam1", "rtmp://h/live", "cam1"),
    ("go2rtc, the usual app is taken off", "rtmp://h/live", "cam1", Srs, Go2rtc, "live/cam1", "rtmp://h/cam1", ""),
    ("go2rtc, another app", "rtmp://h/tv", "cam1", Srs, Go2rtc, "tv/cam1", REFUSED, ""),
    ("what no RTMP name carries", "rtmp://h/live", "a%3Fb", Srs, MediaMtx, "live/a?b", REFUSED, ""),
];

#[test]
fn rtmp() {
    for (cause, tc_url, name, clients, dialect, path, origin_tc_url, origin_name) in RTMP {
        let asked = RtmpAsked { tc_url, name };
        let stream = clients.rtmp(&asked).unwrap();
        assert_eq!(stream.path(), *path, "{cause}");
        let written = naming(*dialect).rtmp(*clients, &stream, &asked);
        match *origin_tc_url {
            AS_SENT => assert_eq!(written, Ok(None), "{cause}"),
            REFUSED => {
                let error = written.unwrap_err().to_string();
                assert!(error.starts_with(dialect.as_str()), "{cause}: {error}");
                let checked = naming(*dialect).check(&stream, Protocol::Rtmp, Publish);
                assert_eq!(checked.unwrap_err().to_string(), error, "{cause}");
            }
            expected => {
                let written = written.unwrap().unwrap();
                assert_eq!(
                    (&*written.tc_url, &*written.name),
                    (expected, *origin_name),
                    "{cause}"
                );
                let app = expected
                    .strip_prefix("rtmp://h/")
                    .or_else(|| expected.strip_prefix("rtmp://h.com/"));
                assert_eq!(Some(&*written.app), app, "{cause}");
            }
        }
    }
}

#[test]
fn rtmp_names_that_their_own_server_refuses() {
    let rows = [
        ("SRS: a key that was forgotten", Srs, "rtmp://h/live", ""),
        ("OME: three segments", Ome, "rtmp://h/app/x", "s"),
        ("OME: one segment", Ome, "rtmp://h/app", ""),
        ("nginx-rtmp: an app alone", NginxRtmp, "rtmp://h/live", ""),
        ("go2rtc: two segments", Go2rtc, "rtmp://h/live/cam1", ""),
        ("MediaMTX: nothing", MediaMtx, "rtmp://h/", ""),
        ("MediaMTX: dots", MediaMtx, "rtmp://h/a/..", "b"),
        (
            "MediaMTX: a segment that no key has",
            MediaMtx,
            "rtmp://h/a/_definst_",
            "b",
        ),
        ("MediaMTX: white space", MediaMtx, "rtmp://h/a", "b%20c"),
    ];
    for (cause, dialect, tc_url, name) in rows {
        assert!(
            dialect.rtmp(&RtmpAsked { tc_url, name }).is_err(),
            "{cause}"
        );
    }
}

/// cause, URL, clients' dialect, origin's dialect, stream, URL for the origin
#[rustfmt::skip]
const RTSP: &[(&str, &str, Dialect, Dialect, &str, &str)] = &[
    ("one segment", "rtsp://h/cam1", MediaMtx, MediaMtx, "cam1", AS_SENT),
    ("three segments", "rtsp://h/a/b/c", MediaMtx, MediaMtx, "a/b/c", AS_SENT),
    ("a token", "rtsp://h/cam1?jwt=T", MediaMtx, MediaMtx, "cam1", AS_SENT),
    ("parameters of the session", "rtsp://h/cam1?video=h264&audio=all", Go2rtc, Go2rtc, "cam1", AS_SENT),
    ("the usual app is taken off", "rtsp://h/live/cam1?video=h264", Srs, Go2rtc, "live/cam1", "rtsp://h/cam1?video=h264"),
    ("the usual app is added", "rtsp://h/cam1", MediaMtx, Srs, "cam1", "rtsp://h/live/cam1"),
    ("the same path", "rtsp://h/live/cam1", Srs, MediaMtx, "live/cam1", AS_SENT),
    ("an escape", "rtsp://h/live/caf%C3%A9", Srs, Go2rtc, "live/café", "rtsp://h/caf%C3%A9"),
];

#[test]
fn rtsp() {
    for (cause, url, clients, dialect, path, expected) in RTSP {
        let stream = clients.rtsp(url).unwrap();
        assert_eq!(stream.path(), *path, "{cause}");
        let named = sluicegate_core::rtsp::rewrite::path(url);
        let rename = naming(*dialect).rtsp(*clients, &stream, named).unwrap();
        match rename {
            None => assert_eq!(*expected, AS_SENT, "{cause}"),
            Some(rename) => {
                assert_eq!(rename.url_to_origin(url), *expected, "{cause}");
                let target = expected.trim_start_matches("rtsp://h");
                assert_eq!(
                    rename.to_client(target),
                    url.trim_start_matches("rtsp://h"),
                    "{cause}"
                );
            }
        }
    }
    let other = Srs.rtsp("rtsp://h/tv/cam1").unwrap();
    assert!(naming(Go2rtc).rtsp(Srs, &other, "tv/cam1").is_err());
}

/// cause, id, direction of the port, clients' dialect, stream, action, origin's dialect, id for it
type SrtRow = (
    &'static str,
    &'static str,
    Option<Action>,
    Dialect,
    &'static str,
    Action,
    Dialect,
    &'static str,
);

#[rustfmt::skip]
const SRT: &[SrtRow] = &[
    ("MediaMTX publishes", "publish:cam1", None, MediaMtx, "cam1", Publish, MediaMtx, "publish:cam1"),
    ("MediaMTX reads", "read:a/b", None, MediaMtx, "a/b", Play, MediaMtx, "read:a/b"),
    ("MediaMTX, a login", "publish:cam1:u:p", None, MediaMtx, "cam1", Publish, MediaMtx, "publish:cam1:u:p"),
    ("MediaMTX, a query", "read:cam1:x=1", None, MediaMtx, "cam1", Play, MediaMtx, "read:cam1:x=1"),
    ("MediaMTX, a login and a query", "publish:cam1:u:p:x=1", None, MediaMtx, "cam1", Publish, MediaMtx, "publish:cam1:u:p:x=1"),
    ("MediaMTX by the guideline", "#!::m=publish,r=cam1,u=u,s=p", None, MediaMtx, "cam1", Publish, MediaMtx, "publish:cam1:u:p"),
    ("MediaMTX by the guideline, reading", "#!::r=cam1", None, MediaMtx, "cam1", Play, MediaMtx, "read:cam1"),
    ("MediaMTX, what FFmpeg appends", "read:cam1#feedbackplay", None, MediaMtx, "cam1", Play, MediaMtx, "read:cam1"),
    ("SRS for MediaMTX", "#!::r=live/a,m=publish", None, Srs, "live/a", Publish, MediaMtx, "publish:live/a"),
    ("MediaMTX for SRS", "publish:live/a:u:p", None, MediaMtx, "live/a", Publish, Srs, "#!::r=live/a?user=u&pass=p,m=publish"),
    ("MediaMTX for SRS, one segment", "read:cam1", None, MediaMtx, "cam1", Play, Srs, "#!::r=live/cam1,m=request"),
    ("OME at its port for publishers", "h.com/app/s", Some(Publish), Ome, "app/s", Publish, Ome, "h.com/app/s"),
    ("OME with a playlist", "default/app/s/master", Some(Play), Ome, "app/s", Play, Ome, "default/app/s"),
    ("OME with a playlist plays by itself", "default/app/s/master", None, Ome, "app/s", Play, Ome, "default/app/s"),
    ("OME as a whole URL", "srt%3A%2F%2Fh.com%2Fapp%2Fs%3Fpolicy%3DP", Some(Publish), Ome, "app/s", Publish, Ome, "h.com/app/s?policy=P"),
    ("OME, a Blackmagic encoder", "#!::u=default/app/s,bmd_uuid=1", None, Ome, "app/s", Publish, Ome, "default/app/s"),
    ("OME without a vhost", "app/s", Some(Play), Ome, "app/s", Play, Ome, "default/app/s"),
    ("SRS, a Blackmagic encoder", "#!::u=KEY,bmd_uuid=1,bmd_name=A", None, Srs, "live/KEY", Publish, Srs, "#!::r=live/KEY,m=publish"),
    ("SRS, a plain id plays", "cam1", None, Srs, "live/cam1", Play, Srs, "#!::r=live/cam1,m=request"),
    ("SRS with a vhost", "#!::h=d.com,r=App/S,m=publish", None, Srs, "App/S", Publish, Srs, "#!::h=d.com,r=App/S,m=publish"),
    ("SRS, a slash before the path and a signature after it", "#!::h=d.com,r=/App/S?auth_key=K,m=publish", None, Srs, "App/S", Publish, MediaMtx, "publish:App/S:auth_key=K"),
    ("a colon in a query, where MediaMTX would see a user", "#!::r=live/a?t=1:2,m=publish", None, Srs, "live/a", Publish, MediaMtx, "publish:live/a:t=1%3A2"),
    ("an escape in a query, which OME undoes", "#!::r=app/s?p=a%26b,m=publish", None, Srs, "app/s", Publish, Ome, "default/app/s?p=a%2526b"),
    ("nginx-rtmp by the guideline", "#!::r=live/a,m=publish", None, NginxRtmp, "live/a", Publish, MediaMtx, "publish:live/a"),
    ("go2rtc by the guideline", "#!::r=cam1", Some(Play), Go2rtc, "cam1", Play, MediaMtx, "read:cam1"),
];

#[test]
fn srt() {
    for (cause, id, port, clients, path, action, dialect, expected) in SRT {
        let SrtStreamId {
            stream,
            action: read,
            credentials,
        } = clients.srt(id, "", *port).unwrap();
        assert_eq!((stream.path(), read), (*path, *action), "{cause}");
        let written = naming(*dialect).srt(&stream, read, credentials.as_deref());
        assert_eq!(written.as_deref(), Ok(*expected), "{cause}");
        let by_default = clients.srt("", id, *port).unwrap();
        assert_eq!(by_default.stream, stream, "{cause}, by default");
    }
}

#[test]
fn srt_ids_are_not_guessed() {
    let rows = [
        (
            "MediaMTX: a plain id",
            MediaMtx,
            "cam1",
            "an SRT id begins with publish: or read:",
        ),
        (
            "MediaMTX: a word alone",
            MediaMtx,
            "publish",
            "an SRT id begins with publish: or read:",
        ),
        (
            "MediaMTX: six fields",
            MediaMtx,
            "read:a:b:c:d:e",
            "up to five fields",
        ),
        (
            "MediaMTX: another mode",
            MediaMtx,
            "#!::m=bidirectional,r=cam1",
            "mode",
        ),
        (
            "OME: no direction",
            Ome,
            "default/app/s",
            "says publish or request",
        ),
        ("OME: one segment", Ome, "cam1", "VHOST/APP/STREAM"),
        (
            "OME: pairs without a user",
            Ome,
            "#!::r=app/s,m=publish",
            "u= is the path",
        ),
        ("nginx-rtmp: a plain id", NginxRtmp, "live/a", "has no SRT"),
        (
            "nginx-rtmp: no mode",
            NginxRtmp,
            "#!::r=live/a",
            "says publish or request",
        ),
        ("go2rtc: a plain id", Go2rtc, "cam1", "has no SRT"),
        (
            "go2rtc: two segments",
            Go2rtc,
            "#!::r=live/a,m=publish",
            "without a slash",
        ),
    ];
    for (cause, dialect, id, expected) in rows {
        let error = dialect.srt(id, "", None).unwrap_err().to_string();
        assert!(error.contains(expected), "{cause}: {error}");
    }
    let stream = StreamUrl::of_path("", "a:b").unwrap();
    assert!(
        naming(MediaMtx).srt(&stream, Play, None).is_err(),
        "a colon"
    );
    let long = StreamUrl::of_path("", &["a".repeat(250), "b".repeat(250)].join("/")).unwrap();
    let credentials = Credentials::of_srt([("u", "0123456789"), ("s", "p")]);
    let written = naming(MediaMtx).srt(&long, Publish, Some(&credentials));
    assert!(written.is_err(), "more than 512 bytes");
}

/// cause, target, clients' dialect, stream, action, origin's dialect, target for it
#[rustfmt::skip]
const CALLS: &[(&str, &str, Dialect, &str, Action, Dialect, &str)] = &[
    ("MediaMTX, a login", "/cam1/whip?user=u&pass=p", MediaMtx, "cam1", Publish, MediaMtx, "/cam1/whip?user=u&pass=p"),
    ("MediaMTX at depth", "/a/b/c/whep", MediaMtx, "a/b/c", Play, MediaMtx, "/a/b/c/whep"),
    ("MediaMTX for SRS", "/live/a/whip", MediaMtx, "live/a", Publish, Srs, "/rtc/v1/whip/?app=live&stream=a"),
    ("MediaMTX for SRS, one segment", "/cam1/whep?t=1", MediaMtx, "cam1", Play, Srs, "/rtc/v1/whep/?app=live&stream=cam1&t=1"),
    ("OME", "/app/s?direction=whip&transport=tcp", Ome, "app/s", Publish, MediaMtx, "/app/s/whip"),
    ("OME for itself", "/app/s?direction=whip", Ome, "app/s", Publish, Ome, "/app/s?direction=whip"),
    ("go2rtc publishes", "/api/webrtc?dst=cam1", Go2rtc, "cam1", Publish, Go2rtc, "/api/webrtc?dst=cam1"),
    ("go2rtc plays", "/api/webrtc?src=cam1&x=1", Go2rtc, "cam1", Play, MediaMtx, "/cam1/whep?x=1"),
    ("MediaMTX for go2rtc", "/cam1/whep", MediaMtx, "cam1", Play, Go2rtc, "/api/webrtc?src=cam1"),
];

#[test]
fn calls() {
    for (cause, target, clients, path, action, dialect, expected) in CALLS {
        let asked = clients.call(Some("h"), target).unwrap();
        let stream = asked.stream.unwrap();
        assert_eq!((stream.path(), asked.action), (*path, *action), "{cause}");
        let (_, query) = target.split_once('?').unwrap_or_default();
        let written = naming(*dialect).call(*clients, &stream, *action, query);
        assert_eq!(written.as_deref(), Ok(*expected), "{cause}");
    }
    let srs = StreamUrl::from_whip(None, "/rtc/v1/whip/?app=live&stream=a").unwrap();
    let written = naming(MediaMtx).call(Srs, &srs, Publish, "app=live&stream=a&token=1");
    assert_eq!(written.as_deref(), Ok("/live/a/whip?token=1"));
    for (dialect, target) in [
        (MediaMtx, "/cam1/index.m3u8"),
        (MediaMtx, "/api/v1/versions"),
        (Ome, "/app/s"),
        (Go2rtc, "/api/webrtc"),
        (Go2rtc, "/api/streams?src=cam1"),
    ] {
        assert_eq!(dialect.call(None, target), None, "{dialect} {target}");
    }
}

/// cause, target, clients' dialect, stream, what it is
#[rustfmt::skip]
const FILES: &[(&str, &str, Dialect, &str, Route)] = &[
    ("MediaMTX, the first playlist", "/cam1/index.m3u8", MediaMtx, "cam1", Route::Piece(Piece::Playlist)),
    ("MediaMTX, a child", "/a/b/main_stream.m3u8?session=U", MediaMtx, "a/b", Route::Piece(Piece::Playlist)),
    ("MediaMTX, a segment", "/a/b/seg12.mp4", MediaMtx, "a/b", Route::Piece(Piece::Segment)),
    ("OME, HLS", "/app/s/ts:master.m3u8", Ome, "app/s", Route::Piece(Piece::Playlist)),
    ("OME, LL-HLS", "/app/s/llhls.m3u8", Ome, "app/s", Route::Piece(Piece::Playlist)),
    ("OME, a chunk list", "/app/s/chunklist_0_video_k_llhls.m3u8?session=1_k", Ome, "app/s", Route::Piece(Piece::Playlist)),
    ("nginx-rtmp", "/live/a.m3u8", NginxRtmp, "live/a", Route::Piece(Piece::Playlist)),
    ("nginx-rtmp, a folder for each stream", "/live/a/index.m3u8", NginxRtmp, "live/a", Route::Piece(Piece::Playlist)),
    ("nginx-rtmp, a segment", "/live/a-12.ts", NginxRtmp, "live/a", Route::Piece(Piece::Segment)),
    ("nginx-rtmp, a segment in a folder", "/live/a/12.ts", NginxRtmp, "live/a", Route::Piece(Piece::Segment)),
    ("nginx-rtmp, DASH", "/live/a.mpd", NginxRtmp, "live/a", Route::Piece(Piece::Manifest)),
    ("go2rtc, HLS", "/api/stream.m3u8?src=cam1&mp4", Go2rtc, "cam1", Route::Piece(Piece::Playlist)),
    ("go2rtc, FLV", "/api/stream.flv?src=cam1", Go2rtc, "cam1", Route::Live(Protocol::HttpFlv)),
    ("go2rtc, TS", "/api/stream.ts?src=cam1", Go2rtc, "cam1", Route::Live(Protocol::HttpTs)),
];

#[test]
fn files() {
    for (cause, target, clients, path, route) in FILES {
        let asked = clients.file(None, target).unwrap();
        assert_eq!(
            (asked.stream.unwrap().path(), asked.route),
            (*path, *route),
            "{cause}"
        );
    }
    let stream = StreamUrl::of_path("", "live/a").unwrap();
    let rows = [
        (MediaMtx, File::Playlist, Some("/live/a/index.m3u8?t=1")),
        (MediaMtx, File::Live(Protocol::HttpFlv), None),
        (MediaMtx, File::Manifest, None),
        (Ome, File::Playlist, Some("/live/a/master.m3u8?t=1")),
        (NginxRtmp, File::Playlist, Some("/live/a.m3u8?t=1")),
        (NginxRtmp, File::Manifest, Some("/live/a.mpd?t=1")),
        (NginxRtmp, File::Live(Protocol::HttpFlv), None),
        (Go2rtc, File::Playlist, Some("/api/stream.m3u8?src=a&t=1")),
        (
            Go2rtc,
            File::Live(Protocol::HttpFlv),
            Some("/api/stream.flv?src=a&t=1"),
        ),
        (Srs, File::Playlist, Some("/live/a.m3u8?t=1")),
        (Srs, File::Live(Protocol::HttpTs), Some("/live/a.ts?t=1")),
    ];
    for (dialect, file, expected) in rows {
        let written = naming(dialect).file(Ome, &stream, file, "t=1&direction=whip");
        assert_eq!(written.ok().as_deref(), expected, "{dialect} {file:?}");
        if let File::Live(protocol) = file {
            let checked = naming(dialect).check(&stream, protocol, Play);
            assert_eq!(checked.is_ok(), expected.is_some(), "{dialect} {file:?}");
        }
    }
}

#[test]
fn prefixes_belong_to_one_origin() {
    let site = Naming {
        strip: Some("site-a".into()),
        ..Naming::default()
    };
    let camera = Srs
        .rtsp("rtsp://h/site-a/cam/realmonitor?channel=1")
        .unwrap();
    assert_eq!(site.path(&camera).as_deref(), Ok("cam/realmonitor"));
    let rename = site
        .rtsp(Srs, &camera, "site-a/cam/realmonitor")
        .unwrap()
        .unwrap();
    assert_eq!(
        rename.url_to_origin("rtsp://h/site-a/cam/realmonitor?channel=1"),
        "rtsp://h/cam/realmonitor?channel=1"
    );
    let other = Srs.rtsp("rtsp://h/site-b/cam/realmonitor").unwrap();
    let error = site.check(&other, Protocol::Rtsp, Play).unwrap_err();
    assert!(error.to_string().contains("prefix"), "{error}");
    let longer = Srs.rtsp("rtsp://h/site-ab/cam").unwrap();
    assert!(site.path(&longer).is_err(), "whole segments count");

    let folder = Naming {
        dialect: MediaMtx,
        prepend: Some("tenant/7".into()),
        ..Naming::default()
    };
    let asked = RtmpAsked {
        tc_url: "rtmp://h/cam1",
        name: "",
    };
    let stream = MediaMtx.rtmp(&asked).unwrap();
    let written = folder.rtmp(MediaMtx, &stream, &asked).unwrap().unwrap();
    assert_eq!(
        (&*written.tc_url, &*written.name),
        ("rtmp://h/tenant/7", "cam1")
    );
}

fn naming(dialect: Dialect) -> Naming {
    Naming {
        dialect,
        ..Naming::default()
    }
}

fn vhosts() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "a.example",
        "b.example",
        "b.example:1935",
        "10.0.0.1",
    ])
}

fn dialects() -> impl Strategy<Value = Dialect> {
    prop::sample::select(Dialect::ALL.to_vec())
}

/// A path of one to four segments that every protocol can carry.
fn paths() -> impl Strategy<Value = String> {
    prop::collection::vec("[a-zA-Z0-9~-][a-zA-Z0-9_.~-]{0,8}", 1..=4)
        .prop_map(|segments| segments.join("/"))
        .prop_filter("a number or a role names no stream", |path| {
            !path.ends_with(|letter: char| letter.is_ascii_digit()) && !path.contains("index")
        })
}

/// The same with letters that mean something in some address, or need an escape in it.
fn odd_paths() -> impl Strategy<Value = String> {
    let segment = prop_oneof![
        6 => "[a-c%?#&=:,;+@!~'\"|é日._-]{1,5}",
        2 => "[a-c\\\\<>{}^`*()$\\[\\]İß\u{301}\u{2028}\u{feff}-]{1,5}",
        1 => Just("live".to_owned()),
    ];
    prop::collection::vec(segment, 1..=4).prop_map(|segments| segments.join("/"))
}

/// Every address of `stream` at a server of `dialect`, as that server itself reads it: what was asked of which protocol, the
/// address, and what it names. What cannot be said in it is left out.
fn addresses(dialect: Dialect, stream: &StreamUrl) -> Vec<(String, String, StreamUrl)> {
    let naming = naming(dialect);
    // Any other dialect than the clients' own has the address written.
    let clients = if dialect == Srs { MediaMtx } else { Srs };
    let mut found = Vec::new();
    let mut note = |how: String, address: String, read: Result<StreamUrl, StreamError>| {
        let read = read.unwrap_or_else(|error| panic!("{dialect} {how}: {address}: {error}"));
        found.push((how, address, read));
    };
    let asked = RtmpAsked {
        tc_url: "rtmp://10.0.0.1/x",
        name: "y",
    };
    if let Ok(address) = naming.rtmp(clients, stream, &asked) {
        let RtmpAddress { tc_url, name, .. } = address.expect("another dialect");
        let read = dialect.rtmp(&RtmpAsked {
            tc_url: &tc_url,
            name: &name,
        });
        note("rtmp".to_owned(), format!("{tc_url} {name}"), read);
    }
    // A path that the client wrote in another way than any server, so that it is always renamed.
    if let Ok(rename) = naming.rtsp(clients, stream, "theirs") {
        let url = "rtsp://10.0.0.1/theirs";
        let url = rename.map_or_else(
            || url.to_owned(),
            |rename| rename.url_to_origin(url).into_owned(),
        );
        note("rtsp".to_owned(), url.clone(), dialect.rtsp(&url));
    }
    for action in [Play, Publish] {
        if let Ok(id) = naming.srt(stream, action, None) {
            let read = dialect.srt(&id, "", Some(action));
            let read = read.inspect(|read| assert_eq!(read.action, action, "{id}"));
            note(format!("srt {action}"), id, read.map(|read| read.stream));
        }
        if let Ok(target) = naming.call(clients, stream, action, "")
            && naming.check(stream, Protocol::WebRtc, action).is_ok()
        {
            let Some(Path::Offer(read)) = Path::of_client(dialect, None, &target, &[]) else {
                panic!("{dialect} call: {target}");
            };
            assert_eq!(read.action, action, "{target}");
            note(format!("call {action}"), target.clone(), read.stream);
        }
    }
    for file in [
        File::Playlist,
        File::Manifest,
        File::Live(Protocol::HttpFlv),
        File::Live(Protocol::HttpTs),
    ] {
        if let Ok(target) = naming.file(clients, stream, file, "") {
            let read = match dialect.file(None, &target) {
                Some(file) => file.stream,
                None => StreamUrl::from_http(None, &target),
            };
            note(format!("{file:?}"), target, read);
        }
    }
    found
}

/// Every stream that a text names, in any dialect and protocol.
fn accepted(dialect: Dialect, one: &str, two: &str) -> Vec<StreamUrl> {
    let ids = [None, Some(Play), Some(Publish)].map(|port| dialect.srt(one, two, port));
    let mut streams: Vec<StreamUrl> = ids.into_iter().flatten().map(|id| id.stream).collect();
    streams.extend(dialect.rtmp(&RtmpAsked {
        tc_url: one,
        name: two,
    }));
    streams.extend(dialect.rtsp(one));
    streams.extend(
        dialect
            .call(Some(one), two)
            .and_then(|call| call.stream.ok()),
    );
    streams.extend(
        dialect
            .file(Some(one), two)
            .and_then(|file| file.stream.ok()),
    );
    streams
}

/// Text with what means something in some dialect.
fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-c]{0,3}",
        prop::sample::select(vec![
            "rtmp://",
            "h.com",
            "/",
            "//",
            ":",
            "?",
            "&",
            "=",
            "#!::",
            "r=",
            "m=publish",
            ",",
            "publish:",
            "read:",
            "live",
            "%2F",
            "%",
            "..",
            "_definst_",
            " ",
            "\"",
            "/whip",
            "/whep",
            "/index.m3u8",
            "?src=",
            "/api/webrtc",
            "srt://",
            "u=",
            "bmd_x=",
            "é",
            "\u{0}",
            "direction=whip",
            "#feedbackplay",
        ])
        .prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// A query whose parameters have these hostile values.
fn queries() -> impl Strategy<Value = String> {
    let pair = ("[a-c]{1,2}", "[a-c:%,;#/?@!'\"é=-]{0,5}");
    let pairs = prop::collection::vec(pair, 0..3);
    pairs.prop_map(|pairs| {
        let pairs: Vec<String> = pairs
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        pairs.join("&")
    })
}

/// What a caller showed, as one text: wherever it stood, and without the escapes of a query.
fn shown(credentials: Option<&Credentials>) -> Vec<String> {
    let Some(shown) = credentials else {
        return Vec::new();
    };
    let srt = shown.srt.clone().unwrap_or_default();
    let user = srt.user.map(|user| format!("user={user}"));
    let password = srt.key.map(|key| format!("pass={key}"));
    let query = shown.query.as_deref().unwrap_or_default();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let unescaped = |pair: &str| {
        let marks = [":", ",", "?", "#", "\"", "'"];
        let escapes = ["%3A", "%2C", "%3F", "%23", "%22", "%27"];
        let known = escapes.iter().zip(marks);
        known.fold(pair.to_owned(), |pair, (escape, mark)| {
            pair.replace(escape, mark)
        })
    };
    let pairs = pairs.map(unescaped);
    user.into_iter().chain(password).chain(pairs).collect()
}

proptest! {
    #[test]
    fn what_a_caller_shows_reaches_an_srt_origin_as_it_is_or_the_rule_is_named(
        dialect in prop::sample::select(vec![MediaMtx, Ome, Srs]),
        path in paths(),
        user in "[a-c:%#?&=,'\"é-]{0,4}",
        password in "[a-c:%#?&=,'\"é-]{0,4}",
        query in queries(),
    ) {
        let Ok(stream) = StreamUrl::of_path("", &path) else { return Ok(()) };
        let mut credentials = Credentials::of_target(&format!("?{query}"));
        if dialect != Ome {
            // OvenMediaEngine has neither.
            let pairs = [("u", &*user), ("s", &*password)];
            credentials.srt = Credentials::of_srt(pairs).srt;
        }
        let Ok(id) = naming(dialect).srt(&stream, Publish, Some(&credentials)) else { return Ok(()) };
        let read = dialect.srt(&id, "", Some(Publish)).unwrap();
        let known = naming(dialect).path(&stream).unwrap();
        prop_assert_eq!((read.stream.path(), read.action), (&*known, Publish), "{}", id);
        prop_assert_eq!(shown(read.credentials.as_deref()), shown(Some(&credentials)), "{}", id);
    }

    #[test]
    fn every_address_that_is_written_names_the_stream_and_no_other(
        dialect in dialects(), one in odd_paths(), two in odd_paths(), of_one in vhosts(), of_two in vhosts(),
    ) {
        let read = |vhost: &str, path: &str| StreamUrl::of_path(vhost, path).ok();
        if let (Some(one), Some(two)) = (read(of_one, &one), read(of_two, &two)) {
            prop_assert_eq!(VhostRule::Separate.key(&one) == VhostRule::Separate.key(&two), one == two);
            prop_assert_eq!(one.to_string() == two.to_string(), one == two);
        }
        let (Some(one), Some(two)) = (read("", &one), read("", &two)) else { return Ok(()) };
        let naming = naming(dialect);
        let [first, second] = [&one, &two].map(|stream| addresses(dialect, stream));
        for (stream, addresses) in [(&one, &first), (&two, &second)] {
            let Ok(known) = naming.path(stream) else {
                prop_assert!(addresses.is_empty(), "{}: {:?}", stream, addresses);
                continue;
            };
            for (how, address, read) in addresses {
                prop_assert_eq!(read.path(), &*known, "{} {}: {}", dialect, how, address);
            }
        }
        // Only a lone name and the same in the app that stands for none are one thing to a server, where the two differ.
        let same = naming.path(&one).ok() == naming.path(&two).ok();
        for (how, address, _) in &first {
            let other = second.iter().find(|(known, ..)| known == how);
            let equal = other.is_some_and(|(_, other, _)| other == address);
            prop_assert_eq!(equal, same && other.is_some(), "{} {}: {}", dialect, how, address);
        }
        if same && one != two && naming.path(&one).is_ok() {
            let bare = |stream: &StreamUrl| stream.path().trim_start_matches("live/").to_owned();
            prop_assert_eq!(bare(&one), bare(&two));
        }
        for rule in [VhostRule::Separate, VhostRule::Ignored] {
            prop_assert_eq!(rule.key(&one) == rule.key(&two), one == two);
        }
    }

    #[test]
    fn parameters_of_a_name_keep_streams_apart(
        path in paths(), one in "[a-c0-9._~-]{0,3}", two in "[a-c0-9._~-]{0,3}",
        other in "[a-c0-9&=?/%._~-]{0,6}",
    ) {
        let Ok(stream) = StreamUrl::of_path("", &path) else { return Ok(()) };
        let named = |x: &str, y: &str| stream.with_parameters(&format!("x={x}&y={y}")).unwrap();
        let (first, second) = (named(&one, &two), named(&two, &one));
        prop_assert_eq!(first == second, one == two);
        prop_assert_eq!(first.to_string().parse(), Ok(first.clone()));
        prop_assert_eq!(first.bare_path(), &path);
        prop_assert_ne!(&first, &stream);
        // Nothing that a client writes as a path is such a name.
        for text in [format!("{path}/{other}"), format!("{path}/%3F{other}"), format!("{path}%2F%3Fx={one}&y={two}")] {
            let url = format!("rtsp://h/{text}");
            for dialect in Dialect::ALL {
                for read in accepted(dialect, &url, &text) {
                    prop_assert_ne!(&read, &first, "{}", url);
                }
            }
        }
        // Any origin is asked for the path alone: the query has the rest.
        for dialect in Dialect::ALL {
            prop_assert_eq!(naming(dialect).path(&first), naming(dialect).path(&stream));
        }
    }

    #[test]
    fn what_is_written_is_read_back(dialect in dialects(), path in paths()) {
        let Ok(stream) = StreamUrl::of_path("", &path) else { return Ok(()) };
        let naming = naming(dialect);
        let Ok(fitting) = naming.path(&stream).map(String::from) else { return Ok(()) };
        let asked = RtmpAsked { tc_url: "rtmp://10.0.0.1/x", name: "y" };
        // Any other dialect than the clients' own has the address written.
        let clients = if dialect == Srs { Go2rtc } else { Srs };
        let address = naming.rtmp(clients, &stream, &asked).unwrap().unwrap();
        let read = dialect.rtmp(&RtmpAsked { tc_url: &address.tc_url, name: &address.name }).unwrap();
        prop_assert_eq!(read.path(), &*fitting);
        if let Some(rename) = naming.rtsp(clients, &stream, &path).unwrap() {
            let url = format!("rtsp://10.0.0.1/{path}");
            let read = dialect.rtsp(&rename.url_to_origin(&url)).unwrap();
            prop_assert_eq!(read.path(), &*fitting);
        }
        for action in [Play, Publish] {
            if let Ok(id) = naming.srt(&stream, action, None) {
                let read = dialect.srt(&id, "", Some(action)).unwrap();
                prop_assert_eq!((read.stream.path(), read.action), (&*fitting, action));
            }
            let target = naming.call(clients, &stream, action, "").unwrap();
            if dialect != NginxRtmp && dialect != Srs {
                let read = dialect.call(None, &target).unwrap();
                let stream = read.stream.unwrap();
                prop_assert_eq!((stream.path(), read.action), (&*fitting, action));
            }
        }
        for file in [File::Playlist, File::Manifest, File::Live(Protocol::HttpFlv)] {
            let Ok(target) = naming.file(clients, &stream, file, "") else { continue };
            if dialect != Srs {
                let read = dialect.file(None, &target).unwrap();
                let stream = read.stream.unwrap();
                prop_assert_eq!(stream.path(), &*fitting, "{}", target);
            }
        }
    }

    #[test]
    fn whatever_is_accepted_is_clean_and_has_its_own_key(
        dialect in dialects(), one in hostile_text(), two in hostile_text(),
    ) {
        let streams = accepted(dialect, &one, &two);
        for stream in &streams {
            let text = stream.to_string();
            let parsed = text.parse::<StreamUrl>();
            prop_assert_eq!(parsed.as_ref(), Ok(stream));
            let dirty = |letter: char| letter.is_control() || letter == ' ';
            prop_assert!(!text.contains(dirty), "{}", text);
            prop_assert!(text.split('/').all(|part| !matches!(part, "" | "." | ".." | "_definst_")), "{}", text);
            for other in &streams {
                let rule = VhostRule::Separate;
                prop_assert_eq!(rule.key(stream) == rule.key(other), stream == other);
            }
            // Total: whatever was read can be tried on every origin.
            for origin in Dialect::ALL {
                let naming = naming(origin);
                let _ = naming.check(stream, Protocol::Srt, Play);
                let _ = naming.rtmp(dialect, stream, &RtmpAsked { tc_url: &one, name: &two });
                let _ = naming.rtsp(dialect, stream, &one);
            }
        }
    }
}
