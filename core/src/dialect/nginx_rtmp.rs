//! nginx-rtmp: the first segment is the app, which its configuration names, and the rest is the name.

use std::borrow::Cow;

use super::address::{
    RtmpAddress, RtmpAsked, call_by_path, escape, guideline_id_only, has_segments, refuse,
    stream_of_path, stream_of_url, with_query,
};
use super::{CallAsked, Dialect, File, FileAsked, Server, SrtWanted, TWO_LEVEL_APP};
use crate::http::route::{Piece, Route};
use crate::stream::{Action, Protocol, SrtStreamId, StreamError, StreamUrl, given_or, split_query};

pub(super) struct NginxRtmp;

impl Server for NginxRtmp {
    fn fit<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, &'static str> {
        Ok(if has_segments(path, 1..=1) {
            Cow::Owned([TWO_LEVEL_APP, "/", path].concat())
        } else {
            Cow::Borrowed(path)
        })
    }

    fn serves(&self, protocol: Protocol, _: Action) -> Result<(), &'static str> {
        match protocol {
            Protocol::HttpSegments | Protocol::Rtmp => Ok(()),
            _ => Err("it serves RTMP, HLS and DASH"),
        }
    }

    fn read_rtmp(&self, asked: &RtmpAsked<'_>) -> Result<StreamUrl, StreamError> {
        of_two_or_more(asked.parts().stream()?)
    }

    fn read_rtsp(&self, url: &str) -> Result<StreamUrl, StreamError> {
        of_two_or_more(stream_of_url(url)?)
    }

    fn read_srt(
        &self,
        id: &str,
        default: &str,
        port: Option<Action>,
    ) -> Result<SrtStreamId, StreamError> {
        let read = guideline_id_only(Dialect::NginxRtmp, given_or(id, default), port, SRT_RULE)?;
        let stream = of_two_or_more(read.stream)?;
        Ok(SrtStreamId { stream, ..read })
    }

    fn read_call(&self, host: Option<&str>, target: &str) -> Option<CallAsked> {
        let asked = call_by_path(host, target)?;
        let stream = asked.stream.and_then(of_two_or_more);
        Some(CallAsked { stream, ..asked })
    }

    fn read_file(&self, host: Option<&str>, target: &str) -> Option<FileAsked> {
        let (path, _) = split_query(target);
        let (stem, extension) = path.rsplit_once('.')?;
        let (piece, name) = match extension {
            "m3u8" => (Piece::Playlist, stem.strip_suffix("/index").unwrap_or(stem)),
            "mpd" => (Piece::Manifest, stem.strip_suffix("/index").unwrap_or(stem)),
            // `name-12.ts`, or `name/12.ts` where each stream has a folder.
            "ts" | "m4a" | "m4v" | "mp4" => {
                let counted = stem.trim_end_matches(|letter: char| letter.is_ascii_digit());
                let name = counted.strip_suffix(['-', '/']).unwrap_or(stem);
                (Piece::Segment, name)
            }
            _ => return None,
        };
        Some(FileAsked {
            route: Route::Piece(piece),
            stream: stream_of_path(host, name).and_then(of_two_or_more),
        })
    }

    fn write_rtmp(&self, path: &str, asked: &RtmpAsked<'_>) -> RtmpAddress {
        let parts = asked.parts();
        let (app, name) = path.split_once('/').unwrap_or((TWO_LEVEL_APP, path));
        // Both queries reach its hooks, each from where it stood.
        RtmpAddress::new(parts.front, app, parts.app_query, name, parts.name_query)
    }

    fn write_srt(&self, _: &SrtWanted<'_>) -> Result<String, &'static str> {
        Err("it serves no SRT")
    }

    fn write_call(&self, path: &str, _: Action, query: &str) -> String {
        with_query(&["/", &escape(path)].concat(), query)
    }

    fn write_file(&self, path: &str, file: File, query: &str) -> Result<String, &'static str> {
        let extension = match file {
            File::Manifest => ".mpd",
            File::Playlist => ".m3u8",
            File::Live(_) => return Err("it has no endless streams over HTTP"),
        };
        Ok(with_query(&["/", &escape(path), extension].concat(), query))
    }
}

fn of_two_or_more(stream: StreamUrl) -> Result<StreamUrl, StreamError> {
    if stream.app().is_empty() {
        return refuse(
            Dialect::NginxRtmp,
            "a stream is an app and a name, two segments or more",
        );
    }
    Ok(stream)
}

const SRT_RULE: &str = "the server has no SRT; here an SRT id is #!::r=APP/NAME,m=publish";
