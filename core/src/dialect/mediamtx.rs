//! MediaMTX: a stream is a path of any depth, the same in every protocol.

use std::borrow::Cow;

use super::address::{
    RtmpAddress, RtmpAsked, call_by_path, escape, escape_marks, guideline_id, playlist_only,
    refuse, stream_of_path, stream_of_url, with_query,
};
use super::{CallAsked, Dialect, File, FileAsked, Server, SrtWanted};
use crate::access::credentials::{Credentials, SrtUser};
use crate::http::route::{Piece, Route};
use crate::stream::{
    Action, Protocol, SrtStreamId, StreamError, StreamUrl, decode_name, given_or, split_query,
};

pub(super) struct MediaMtx;

impl Server for MediaMtx {
    fn fit<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, &'static str> {
        Ok(Cow::Borrowed(path))
    }

    fn serves(&self, protocol: Protocol, _: Action) -> Result<(), &'static str> {
        match protocol {
            Protocol::HttpSegments
            | Protocol::Rtmp
            | Protocol::Rtsp
            | Protocol::Srt
            | Protocol::WebRtc => Ok(()),
            Protocol::HttpAac | Protocol::HttpFlv | Protocol::HttpMp3 | Protocol::HttpTs => {
                Err("it has no endless streams over HTTP")
            }
        }
    }

    fn read_rtmp(&self, asked: &RtmpAsked<'_>) -> Result<StreamUrl, StreamError> {
        asked.parts().stream()
    }

    fn read_rtsp(&self, url: &str) -> Result<StreamUrl, StreamError> {
        stream_of_url(url)
    }

    fn read_srt(
        &self,
        id: &str,
        default: &str,
        port: Option<Action>,
    ) -> Result<SrtStreamId, StreamError> {
        let id = given_or(id, default);
        let id = id.strip_suffix("#feedbackplay").unwrap_or(id);
        if let Some(pairs) = id.strip_prefix("#!::") {
            return guideline_id(Dialect::MediaMtx, pairs, port, Some(Action::Play));
        }
        let parts: Vec<&str> = id.splitn(6, ':').collect();
        let (word, path, user, password, query) = match *parts.as_slice() {
            [word, path] => (word, path, "", "", ""),
            [word, path, query] => (word, path, "", "", query),
            [word, path, user, password] => (word, path, user, password, ""),
            [word, path, user, password, query] => (word, path, user, password, query),
            _ => return refuse(Dialect::MediaMtx, SRT_RULE),
        };
        let action = match word {
            "publish" => Action::Publish,
            "read" => Action::Play,
            _ => return refuse(Dialect::MediaMtx, SRT_RULE),
        };
        Ok(SrtStreamId {
            stream: StreamUrl::of_path("", &decode_name(path))?,
            action,
            credentials: login(user, password, query).boxed(),
        })
    }

    fn read_call(&self, host: Option<&str>, target: &str) -> Option<CallAsked> {
        call_by_path(host, target)
    }

    fn read_file(&self, host: Option<&str>, target: &str) -> Option<FileAsked> {
        let (path, _) = split_query(target);
        // Every file of a stream lies in the folder that has the stream's name.
        let (folder, file) = path.rsplit_once('/')?;
        let piece = match file.rsplit_once('.')?.1 {
            "m3u8" => Piece::Playlist,
            "mp4" | "m4s" | "ts" => Piece::Segment,
            _ => return None,
        };
        Some(FileAsked {
            route: Route::Piece(piece),
            stream: stream_of_path(host, folder),
        })
    }

    fn write_rtmp(&self, path: &str, asked: &RtmpAsked<'_>) -> RtmpAddress {
        let parts = asked.parts();
        let query = parts.query();
        // A query in the tcUrl would swallow the name after it.
        match path.rsplit_once('/') {
            Some((app, name)) => RtmpAddress::new(parts.front, app, "", name, &query),
            None => RtmpAddress::new(parts.front, path, &query, "", ""),
        }
    }

    fn write_srt(&self, wanted: &SrtWanted<'_>) -> Result<String, &'static str> {
        let word = match wanted.action {
            Action::Play => "read",
            Action::Publish => "publish",
        };
        let parts = [wanted.path, wanted.user, wanted.password];
        if parts.iter().any(|part| part.contains([':', '%', '#'])) {
            return Err("its SRT ids cannot carry any of : % # in a path, a user or a password");
        }
        let mut id = [word, ":", wanted.path].concat();
        if !wanted.user.is_empty() || !wanted.password.is_empty() {
            id.extend([":", wanted.user, ":", wanted.password]);
        }
        if !wanted.query.is_empty() {
            id.extend([":", &escape_marks(wanted.query, &[':', '#'])]);
        }
        Ok(id)
    }

    fn write_call(&self, path: &str, action: Action, query: &str) -> String {
        let end = match action {
            Action::Play => "/whep",
            Action::Publish => "/whip",
        };
        with_query(&["/", &escape(path), end].concat(), query)
    }

    fn write_file(&self, path: &str, file: File, query: &str) -> Result<String, &'static str> {
        playlist_only(path, "/index.m3u8", file, query)
    }

    /// It drops a name that is only a query, and the user and password with it. A query in the tcUrl swallows the name.
    fn misreads(&self, asked: &RtmpAsked<'_>) -> bool {
        let parts = asked.parts();
        asked.name.starts_with('?') || !parts.app_query.is_empty() && !parts.name.is_empty()
    }

    fn has_viewer_playlists(&self) -> bool {
        true
    }
}

/// What a caller showed: a user and a password, and a query.
fn login(user: &str, password: &str, query: &str) -> Credentials {
    let mut credentials = Credentials::of_target(&["?", query].concat());
    let kept = |text: &str| (!text.is_empty()).then(|| text.into());
    let srt = SrtUser {
        user: kept(user),
        key: kept(password),
    };
    credentials.srt = (srt != SrtUser::default()).then_some(srt);
    credentials
}

const SRT_RULE: &str =
    "an SRT id begins with publish: or read: and has up to five fields, or is #!::m=publish,r=PATH";
