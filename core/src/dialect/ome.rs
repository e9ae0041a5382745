//! OvenMediaEngine: a stream is a vhost, an app and a name.

use std::borrow::Cow;

use super::address::{
    NO_DIRECTION, RtmpAddress, RtmpAsked, escape, escape_marks, has_segments, playlist_only,
    refuse, stream_of_path, stream_of_url, with_query,
};
use super::{CallAsked, Dialect, File, FileAsked, Server, SrtWanted, TWO_LEVEL_APP};
use crate::access::credentials::Credentials;
use crate::http::route::{Piece, Route};
use crate::stream::{
    Action, DEFAULT_VHOST, Protocol, SrtStreamId, StreamError, StreamUrl, decode, given_or,
    query_value, split_authority, split_query,
};

pub(super) struct Ome;

impl Server for Ome {
    fn fit<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, &'static str> {
        match path.split('/').count() {
            1 => Ok(Cow::Owned([TWO_LEVEL_APP, "/", path].concat())),
            2 => Ok(Cow::Borrowed(path)),
            _ => Err(TWO_SEGMENTS),
        }
    }

    fn serves(&self, protocol: Protocol, action: Action) -> Result<(), &'static str> {
        match (protocol, action) {
            (Protocol::Rtmp | Protocol::WebRtc, Action::Play) => {
                Err("it takes publishers by RTMP and WHIP, and no players")
            }
            (Protocol::Rtsp, _) => Err("it serves no RTSP"),
            (Protocol::HttpSegments | Protocol::Rtmp | Protocol::Srt | Protocol::WebRtc, _) => {
                Ok(())
            }
            _ => Err("it has no endless streams over HTTP"),
        }
    }

    fn read_rtmp(&self, asked: &RtmpAsked<'_>) -> Result<StreamUrl, StreamError> {
        of_two(asked.parts().stream()?)
    }

    fn read_rtsp(&self, url: &str) -> Result<StreamUrl, StreamError> {
        of_two(stream_of_url(url)?)
    }

    fn read_srt(
        &self,
        id: &str,
        default: &str,
        port: Option<Action>,
    ) -> Result<SrtStreamId, StreamError> {
        let id = given_or(id, default);
        let (id, sends) = match id.strip_prefix("#!::") {
            None => (Cow::Borrowed(id), None),
            Some(pairs) => {
                let mut pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
                let blackmagic = pairs.clone().any(|(key, _)| key.starts_with("bmd_"));
                let Some((_, named)) = pairs.find(|(key, _)| *key == "u") else {
                    return refuse(Dialect::Ome, "of an SRT id in pairs, u= is the path");
                };
                (Cow::Borrowed(named), blackmagic.then_some(Action::Publish))
            }
        };
        let id = decode(&id)?;
        // The older form is a whole URL.
        let (host, target) = split_authority(&id);
        let (path, query) = split_query(target);
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (host, path, playlist) = match (host, segments.as_slice()) {
            (None, [vhost, app, stream]) => (*vhost, [*app, "/", stream], false),
            (None, [vhost, app, stream, _]) => (*vhost, [*app, "/", stream], true),
            (Some(host), [app, stream]) => (host, [*app, "/", stream], false),
            (Some(host), [app, stream, _]) => (host, [*app, "/", stream], true),
            (None, [app, stream]) => ("", [*app, "/", stream], false),
            _ => return refuse(Dialect::Ome, SRT_RULE),
        };
        let Some(action) = port.or(sends).or_else(|| playlist.then_some(Action::Play)) else {
            return refuse(Dialect::Ome, NO_DIRECTION);
        };
        Ok(SrtStreamId {
            stream: StreamUrl::of_path(host, &path.concat())?,
            action,
            credentials: Credentials::of_target(&["?", query].concat()).boxed(),
        })
    }

    fn read_call(&self, host: Option<&str>, target: &str) -> Option<CallAsked> {
        let (path, query) = split_query(target);
        let direction = query_value([query], "direction").ok().flatten()?;
        let action = match direction.as_str() {
            "whip" => Action::Publish,
            "whep" => Action::Play,
            _ => return None,
        };
        let stream = stream_of_path(host, path).and_then(of_two);
        Some(CallAsked { stream, action })
    }

    fn read_file(&self, host: Option<&str>, target: &str) -> Option<FileAsked> {
        let (path, _) = split_query(target);
        let (folder, file) = path.rsplit_once('/')?;
        let piece = match file.rsplit_once('.')?.1 {
            "m3u8" => Piece::Playlist,
            "m4s" | "mp4" | "ts" | "vtt" => Piece::Segment,
            _ => return None,
        };
        Some(FileAsked {
            route: Route::Piece(piece),
            stream: stream_of_path(host, folder).and_then(of_two),
        })
    }

    fn write_rtmp(&self, path: &str, asked: &RtmpAsked<'_>) -> RtmpAddress {
        let parts = asked.parts();
        let (app, name) = path.rsplit_once('/').unwrap_or((TWO_LEVEL_APP, path));
        RtmpAddress::new(parts.front, app, "", name, &parts.query())
    }

    fn write_srt(&self, wanted: &SrtWanted<'_>) -> Result<String, &'static str> {
        let vhost = match wanted.vhost {
            DEFAULT_VHOST => "default",
            vhost => vhost,
        };
        // It undoes escapes before it looks for the query.
        if wanted.path.contains(['?', '#']) {
            return Err("its SRT ids cannot carry ? or # in a path");
        }
        let path = [vhost, "/", &escape(wanted.path)].concat();
        // It undoes the escapes of the whole id, those in the query among them.
        Ok(with_query(&path, &escape_marks(wanted.query, &['%', '#'])))
    }

    fn write_call(&self, path: &str, action: Action, query: &str) -> String {
        let direction = match action {
            Action::Play => "?direction=whep",
            Action::Publish => "?direction=whip",
        };
        with_query(&["/", &escape(path), direction].concat(), query)
    }

    fn write_file(&self, path: &str, file: File, query: &str) -> Result<String, &'static str> {
        playlist_only(path, "/master.m3u8", file, query)
    }

    /// It wants a vhost before the app, which clients may leave out here.
    fn misreads_srt(&self, id: &str) -> bool {
        let Ok(id) = decode(id) else { return false };
        let is_path = !id.starts_with("#!::") && !id.contains("://");
        is_path && has_segments(split_query(&id).0, 2..=2)
    }

    fn has_viewer_playlists(&self) -> bool {
        true
    }

    fn naming_parameters(&self) -> &'static [&'static str] {
        &["direction", "transport"]
    }
}

fn of_two(stream: StreamUrl) -> Result<StreamUrl, StreamError> {
    if has_segments(stream.path(), 2..=2) {
        return Ok(stream);
    }
    refuse(Dialect::Ome, TWO_SEGMENTS)
}

const TWO_SEGMENTS: &str = "a stream is an app and a name, two segments";
const SRT_RULE: &str = "an SRT id is VHOST/APP/STREAM, with a playlist after it or none";
