//! go2rtc: a stream is one flat name, which its configuration lists.

use std::borrow::Cow;

use super::address::{
    RtmpAddress, RtmpAsked, escape_value, guideline_id_only, has_segments, refuse, stream_of_url,
    with_query,
};
use super::{CallAsked, Dialect, File, FileAsked, Server, SrtWanted, TWO_LEVEL_APP};
use crate::http::route::{Piece, Route};
use crate::stream::{
    Action, Protocol, SrtStreamId, StreamError, StreamUrl, decode_name, given_or, query_value,
    split_query,
};

pub(super) struct Go2rtc;

impl Server for Go2rtc {
    fn fit<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, &'static str> {
        let name = path.strip_prefix(TWO_LEVEL_APP);
        let name = name.and_then(|rest| rest.strip_prefix('/')).unwrap_or(path);
        if has_segments(name, 1..=1) {
            Ok(Cow::Borrowed(name))
        } else {
            Err(ONE_SEGMENT)
        }
    }

    fn serves(&self, protocol: Protocol, action: Action) -> Result<(), &'static str> {
        match (protocol, action) {
            (Protocol::Srt, _) => Err("it serves no SRT"),
            (Protocol::HttpAac | Protocol::HttpMp3, _) => {
                Err("over HTTP it has FLV, TS and HLS only")
            }
            _ => Ok(()),
        }
    }

    fn read_rtmp(&self, asked: &RtmpAsked<'_>) -> Result<StreamUrl, StreamError> {
        let parts = asked.parts();
        // It ignores the name, unless there is no app.
        let name = match parts.app.trim_matches('/') {
            "" => parts.name,
            app => app,
        };
        of_one(StreamUrl::of_path(parts.host, &decode_name(name))?)
    }

    fn read_rtsp(&self, url: &str) -> Result<StreamUrl, StreamError> {
        of_one(stream_of_url(url)?)
    }

    fn read_srt(
        &self,
        id: &str,
        default: &str,
        port: Option<Action>,
    ) -> Result<SrtStreamId, StreamError> {
        let read = guideline_id_only(Dialect::Go2rtc, given_or(id, default), port, SRT_RULE)?;
        let stream = of_one(read.stream)?;
        Ok(SrtStreamId { stream, ..read })
    }

    fn read_call(&self, host: Option<&str>, target: &str) -> Option<CallAsked> {
        let (path, query) = split_query(target);
        if path != "/api/webrtc" {
            return None;
        }
        let named = |key| query_value([query], key).ok().flatten();
        let (name, action) = match (named("dst"), named("src")) {
            (Some(name), _) => (name, Action::Publish),
            (None, Some(name)) => (name, Action::Play),
            (None, None) => return None,
        };
        let stream = StreamUrl::of_path(host.unwrap_or_default(), &name).and_then(of_one);
        Some(CallAsked { stream, action })
    }

    fn read_file(&self, host: Option<&str>, target: &str) -> Option<FileAsked> {
        let (path, query) = split_query(target);
        let route = match path {
            "/api/stream.flv" => Route::Live(Protocol::HttpFlv),
            "/api/stream.m3u8" => Route::Piece(Piece::Playlist),
            "/api/stream.ts" => Route::Live(Protocol::HttpTs),
            _ => return None,
        };
        let name = query_value([query], "src").ok().flatten()?;
        let stream = StreamUrl::of_path(host.unwrap_or_default(), &name).and_then(of_one);
        Some(FileAsked { route, stream })
    }

    fn write_rtmp(&self, path: &str, asked: &RtmpAsked<'_>) -> RtmpAddress {
        RtmpAddress::new(asked.parts().front, path, "", "", "")
    }

    fn write_srt(&self, _: &SrtWanted<'_>) -> Result<String, &'static str> {
        Err("it serves no SRT")
    }

    fn write_call(&self, path: &str, action: Action, query: &str) -> String {
        let key = match action {
            Action::Play => "?src=",
            Action::Publish => "?dst=",
        };
        with_query(&["/api/webrtc", key, &escape_value(path)].concat(), query)
    }

    fn write_file(&self, path: &str, file: File, query: &str) -> Result<String, &'static str> {
        let file = match file {
            File::Live(Protocol::HttpFlv) => "flv",
            File::Live(Protocol::HttpTs) => "ts",
            File::Playlist => "m3u8",
            File::Live(_) | File::Manifest => return Err("over HTTP it has FLV, TS and HLS only"),
        };
        let target = ["/api/stream.", file, "?src=", &escape_value(path)].concat();
        Ok(with_query(&target, query))
    }

    fn has_viewer_playlists(&self) -> bool {
        true
    }

    /// It looks for Set Chunk Size among the commands only, takes a message's chunks to be together, and knows chunk stream
    /// ids of one byte.
    fn reads_only_plain_chunks(&self) -> bool {
        true
    }

    fn naming_parameters(&self) -> &'static [&'static str] {
        &["dst", "src"]
    }
}

fn of_one(stream: StreamUrl) -> Result<StreamUrl, StreamError> {
    if stream.app().is_empty() {
        return Ok(stream);
    }
    refuse(Dialect::Go2rtc, ONE_SEGMENT)
}

const ONE_SEGMENT: &str = "a stream is one name without a slash";
const SRT_RULE: &str = "the server has no SRT; here an SRT id is #!::r=NAME,m=publish";
