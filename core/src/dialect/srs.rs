//! SRS: the last segment is the stream, those before it are the app. How its clients' addresses are read stands in
//! [`stream`](crate::stream); here is how an SRS origin is asked for what others name.

use std::borrow::Cow;

use super::address::{
    RtmpAddress, RtmpAsked, escape, escape_marks, escape_value, has_segments, with_query,
};
use super::{CallAsked, File, FileAsked, Server, SrtWanted, TWO_LEVEL_APP};
use crate::stream::{Action, DEFAULT_VHOST, Protocol, SrtStreamId, StreamError, StreamUrl};

pub(super) struct Srs;

impl Server for Srs {
    fn fit<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, &'static str> {
        Ok(if has_segments(path, 1..=1) {
            Cow::Owned([TWO_LEVEL_APP, "/", path].concat())
        } else {
            Cow::Borrowed(path)
        })
    }

    fn serves(&self, _: Protocol, _: Action) -> Result<(), &'static str> {
        Ok(())
    }

    fn read_rtmp(&self, asked: &RtmpAsked<'_>) -> Result<StreamUrl, StreamError> {
        StreamUrl::from_rtmp(asked.tc_url, asked.name)
    }

    fn read_rtsp(&self, url: &str) -> Result<StreamUrl, StreamError> {
        StreamUrl::from_rtsp(url)
    }

    fn read_srt(
        &self,
        id: &str,
        default: &str,
        _: Option<Action>,
    ) -> Result<SrtStreamId, StreamError> {
        SrtStreamId::parse(id, default)
    }

    fn read_call(&self, _: Option<&str>, _: &str) -> Option<CallAsked> {
        None
    }

    fn read_file(&self, _: Option<&str>, _: &str) -> Option<FileAsked> {
        None
    }

    fn write_rtmp(&self, path: &str, asked: &RtmpAsked<'_>) -> RtmpAddress {
        let parts = asked.parts();
        let (app, name) = path.rsplit_once('/').unwrap_or((TWO_LEVEL_APP, path));
        RtmpAddress::new(parts.front, app, parts.app_query, name, parts.name_query)
    }

    fn write_srt(&self, wanted: &SrtWanted<'_>) -> Result<String, &'static str> {
        let separates = |text: &str| text.contains([',', '?', '&', '=', '%', '#', '"', '\'']);
        if [wanted.path, wanted.user, wanted.password]
            .into_iter()
            .any(separates)
        {
            return Err(
                "its SRT ids cannot carry any of , ? & = % # \" ' in a path, a user or a password",
            );
        }
        let vhost = match wanted.vhost {
            DEFAULT_VHOST => String::new(),
            vhost => ["h=", vhost, ","].concat(),
        };
        let mut shown = Vec::new();
        if !wanted.user.is_empty() {
            shown.push(["user=", wanted.user].concat());
        }
        if !wanted.password.is_empty() {
            shown.push(["pass=", wanted.password].concat());
        }
        if !wanted.query.is_empty() {
            let marks = [',', '?', '#', '"', '\''];
            shown.push(escape_marks(wanted.query, &marks).into_owned());
        }
        let mode = match wanted.action {
            Action::Play => "request",
            Action::Publish => "publish",
        };
        let path = with_query(wanted.path, &shown.join("&"));
        Ok(["#!::", &vhost, "r=", &path, ",m=", mode].concat())
    }

    fn write_call(&self, path: &str, action: Action, query: &str) -> String {
        let start = match action {
            Action::Play => "/rtc/v1/whep/?app=",
            Action::Publish => "/rtc/v1/whip/?app=",
        };
        let (app, name) = path.rsplit_once('/').unwrap_or((TWO_LEVEL_APP, path));
        let (app, name) = (escape_value(app), escape_value(name));
        with_query(&[start, &app, "&stream=", &name].concat(), query)
    }

    fn write_file(&self, path: &str, file: File, query: &str) -> Result<String, &'static str> {
        let extension = match file {
            File::Live(Protocol::HttpAac) => ".aac",
            File::Live(Protocol::HttpMp3) => ".mp3",
            File::Live(Protocol::HttpTs) => ".ts",
            File::Live(_) => ".flv",
            File::Manifest => ".mpd",
            File::Playlist => ".m3u8",
        };
        Ok(with_query(&["/", &escape(path), extension].concat(), query))
    }

    /// A Blackmagic encoder has its stream's name where others have a user.
    fn misreads_srt(&self, id: &str) -> bool {
        let Some(pairs) = id.strip_prefix("#!::") else {
            return false;
        };
        let has = |start: &str| pairs.split(',').any(|pair| pair.trim().starts_with(start));
        has("bmd_") && has("u=") && !has("r=") && !has("h=")
    }

    fn naming_parameters(&self) -> &'static [&'static str] {
        &["app", "stream"]
    }
}
