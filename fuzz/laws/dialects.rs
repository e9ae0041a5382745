//! Whatever a client of any dialect writes, reading it ends in a clean stream or a refusal, and every origin can be asked for
//! that stream or not: nothing panics, and a stream reads back as it is written.

use sluicegate_core::dialect::{Dialect, File, Naming, RtmpAsked};
use sluicegate_core::stream::{Action, Protocol, StreamUrl, VhostRule};

/// Two texts as any protocol may send them, separated by the first line feed.
pub fn law(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else {
        return;
    };
    let (one, two) = text.split_once('\n').unwrap_or((text, ""));
    for clients in Dialect::ALL {
        let streams = accepted(clients, one, two);
        for stream in &streams {
            let text = stream.to_string();
            assert_eq!(text.parse().as_ref(), Ok(stream), "{clients}");
            let is_dirty = |letter: char| letter.is_control() || letter == ' ';
            assert!(!text.contains(is_dirty), "{clients}: {text:?}");
            let is_name = |part: &str| !matches!(part, "" | "." | ".." | "_definst_");
            assert!(text.split('/').all(is_name), "{clients}: {text:?}");
            for other in &streams {
                let same_key = VhostRule::Separate.key(stream) == VhostRule::Separate.key(other);
                assert_eq!(same_key, stream == other, "{clients}");
            }
            for origin in Dialect::ALL {
                ask(clients, origin, stream, one, two);
            }
        }
    }
}

fn accepted(clients: Dialect, one: &str, two: &str) -> Vec<StreamUrl> {
    let asked = RtmpAsked {
        tc_url: one,
        name: two,
    };
    let mut streams = Vec::new();
    streams.extend(clients.rtmp(&asked));
    streams.extend(clients.rtsp(one));
    for port in [None, Some(Action::Play), Some(Action::Publish)] {
        streams.extend(clients.srt(one, two, port).map(|id| id.stream));
    }
    streams.extend(
        clients
            .call(Some(one), two)
            .and_then(|call| call.stream.ok()),
    );
    streams.extend(
        clients
            .file(Some(one), two)
            .and_then(|file| file.stream.ok()),
    );
    streams
}

/// What an origin is asked for reads back as the path by which it knows the stream.
fn ask(clients: Dialect, origin: Dialect, stream: &StreamUrl, one: &str, two: &str) {
    let naming = Naming {
        dialect: origin,
        ..Naming::default()
    };
    let Ok(path) = naming.path(stream) else {
        return;
    };
    let asked = RtmpAsked {
        tc_url: one,
        name: two,
    };
    let _ = naming.check(stream, Protocol::Rtmp, Action::Play);
    let _ = naming.rtsp(clients, stream, one);
    let _ = naming.file(clients, stream, File::Playlist, two);
    let _ = naming.rtmp(clients, stream, &asked);
    if let Ok(id) = naming.srt(stream, Action::Publish, None)
        && origin == Dialect::MediaMtx
    {
        let read = origin.srt(&id, "", None).map(|id| id.stream);
        assert_eq!(read.as_ref().map(StreamUrl::path), Ok(&*path), "{id:?}");
    }
    if naming
        .check(stream, Protocol::WebRtc, Action::Publish)
        .is_ok()
        && let Ok(target) = naming.call(clients, stream, Action::Publish, "")
        && let Some(call) = origin.call(None, &target)
    {
        let read = call.stream;
        assert_eq!(read.as_ref().map(StreamUrl::path), Ok(&*path), "{target:?}");
    }
}
