//! How other servers name their streams: what a client's address means, and how an origin is asked for the same stream.
//!
//! A stream is a vhost and a path of one or more segments. [`Dialect`] is how one kind of server writes that path into
//! RTMP, RTSP, SRT, WHIP, WHEP and HTTP addresses, one file per server. Clients have a dialect ([`ClientDialects`]), and
//! so has each origin ([`Naming`]); any two may meet. The key of a stream depends on the clients' dialect alone.
//!
//! | file | what it has |
//! | --- | --- |
//! | `address` | an address taken apart, and a path written into a URL |
//! | `clients` | which clients speak which dialect |
//! | `naming` | how one origin is asked: its dialect, and what is taken off or put before a path |
//! | `pasted` | a whole address, and what a client that was given it would ask for |
//! | `rename` | a stream's two paths, one on each side, for messages that pass between them |
//! | `srs`, `mediamtx`, `ome`, `nginx_rtmp`, `go2rtc` | one server each |
//!
//! With clients and origin of one dialect, addresses pass as they came.

mod address;
mod clients;
mod go2rtc;
mod mediamtx;
mod naming;
mod nginx_rtmp;
mod ome;
mod pasted;
mod rename;
mod srs;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

pub use self::address::{RtmpAddress, RtmpAsked};
pub use self::clients::{ClientDialects, ClientRule, ClientRuleError};
pub use self::naming::{Naming, Unsayable};
pub use self::pasted::{Pasted, PastedError, Site};
pub use self::rename::Rename;
use crate::access::credentials::Credentials;
use crate::http::route::Route;
use crate::stream::{Action, Protocol, SrtStreamId, StreamError, StreamUrl};

/// A kind of server, as far as its addresses go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Dialect {
    /// go2rtc: one flat name.
    Go2rtc,
    /// MediaMTX: a path of any depth.
    MediaMtx,
    /// nginx-rtmp: the first segment is the app, the rest the name.
    NginxRtmp,
    /// OvenMediaEngine: an app and a stream.
    Ome,
    /// SRS: the last segment is the stream, those before it are the app.
    #[default]
    Srs,
}

impl Dialect {
    /// Every dialect, in order.
    pub const ALL: [Self; 5] = [
        Self::Go2rtc,
        Self::MediaMtx,
        Self::NginxRtmp,
        Self::Ome,
        Self::Srs,
    ];

    /// The name in settings, registrations and refusals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Go2rtc => "go2rtc",
            Self::MediaMtx => "mediamtx",
            Self::NginxRtmp => "nginx-rtmp",
            Self::Ome => "ome",
            Self::Srs => "srs",
        }
    }

    /// The stream that an RTMP client names by its `tcUrl` and by the name in `publish` or `play`.
    ///
    /// # Errors
    /// [`StreamError`], for a name that the clients' server would not take either.
    pub fn rtmp(self, asked: &RtmpAsked<'_>) -> Result<StreamUrl, StreamError> {
        self.server().read_rtmp(asked)
    }

    /// The stream that an RTSP URL names; tracks are to be taken off before.
    ///
    /// # Errors
    /// [`StreamError`], for a name that the clients' server would not take either.
    pub fn rtsp(self, url: &str) -> Result<StreamUrl, StreamError> {
        self.server().read_rtsp(url)
    }

    /// What an SRT caller asks for with `id`; an empty one means `default`. `port` is the direction of the port that it
    /// called, where that has one. Nothing is guessed: an id that says neither stream nor direction is refused, except
    /// that in SRS a plain id plays.
    ///
    /// # Errors
    /// [`StreamError`], with the rule that the id breaks.
    pub fn srt(
        self,
        id: &str,
        default: &str,
        port: Option<Action>,
    ) -> Result<SrtStreamId, StreamError> {
        self.server().read_srt(id, default, port)
    }

    /// Whether the very server would not find the stream in an SRT id that was read here, and has to get another one.
    pub fn misreads_srt(self, id: &str) -> bool {
        self.server().misreads_srt(id)
    }

    /// What a WHIP or WHEP request asks for; `None` if its target is no such request in this dialect.
    pub fn call(self, host: Option<&str>, target: &str) -> Option<CallAsked> {
        self.server().read_call(host, target)
    }

    /// What a request on the HTTP port asks for, if that is media; `None` for everything else. [`Dialect::Srs`] always
    /// answers `None`: its paths are read by [`Route`] and the functions of [`StreamUrl`].
    pub fn file(self, host: Option<&str>, target: &str) -> Option<FileAsked> {
        self.server().read_file(host, target)
    }

    /// Whether every playlist is made for one viewer, so that no other viewer may get a copy.
    pub fn has_viewer_playlists(self) -> bool {
        self.server().has_viewer_playlists()
    }

    /// Whether an RTMP publisher's messages have to be cut into the plainest chunks for this server, because it loses its
    /// place in others.
    pub fn reads_only_plain_chunks(self) -> bool {
        self.server().reads_only_plain_chunks()
    }

    fn server(self) -> &'static dyn Server {
        match self {
            Self::Go2rtc => &go2rtc::Go2rtc,
            Self::MediaMtx => &mediamtx::MediaMtx,
            Self::NginxRtmp => &nginx_rtmp::NginxRtmp,
            Self::Ome => &ome::Ome,
            Self::Srs => &srs::Srs,
        }
    }
}

impl fmt::Display for Dialect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Dialect {
    type Err = UnknownDialect;

    fn from_str(text: &str) -> Result<Self, UnknownDialect> {
        let known = Self::ALL.into_iter().find(|known| known.as_str() == text);
        known.ok_or(UnknownDialect)
    }
}

/// The name of no dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not one of srs, mediamtx, ome, nginx-rtmp and go2rtc")]
pub struct UnknownDialect;

/// A WebRTC call as its target asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallAsked {
    /// The stream, or the reason why its name is refused.
    pub stream: Result<StreamUrl, StreamError>,
    /// Whether the client sends or receives.
    pub action: Action,
}

/// Media on the HTTP port as its target asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileAsked {
    /// An endless stream, or a piece of one.
    pub route: Route,
    /// The stream, or the reason why its name is refused.
    pub stream: Result<StreamUrl, StreamError>,
}

/// What is to be asked for over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum File {
    /// A live stream in an endless body.
    Live(Protocol),
    /// The DASH manifest.
    Manifest,
    /// The HLS playlist that a player begins with.
    Playlist,
}

/// An SRT stream id to be written.
#[derive(Debug, Clone, Copy)]
struct SrtWanted<'a> {
    vhost: &'a str,
    path: &'a str,
    action: Action,
    user: &'a str,
    password: &'a str,
    query: &'a str,
}

impl<'a> SrtWanted<'a> {
    fn new(vhost: &'a str, path: &'a str, action: Action, shown: Option<&'a Credentials>) -> Self {
        let srt = shown.and_then(|shown| shown.srt.as_ref());
        let text = |part: Option<&'a Box<str>>| part.map_or("", |part| &**part);
        Self {
            vhost,
            path,
            action,
            user: text(srt.and_then(|srt| srt.user.as_ref())),
            password: text(srt.and_then(|srt| srt.key.as_ref())),
            query: text(shown.and_then(|shown| shown.query.as_ref())),
        }
    }
}

/// One kind of server: how its clients' addresses are read, and how it is asked.
trait Server: Sync {
    /// The path by which this server knows the stream `path`, or the rule that `path` breaks.
    fn fit<'a>(&self, path: &'a str) -> Result<Cow<'a, str>, &'static str>;

    /// Whether the server has a protocol at all, or why not.
    fn serves(&self, protocol: Protocol, action: Action) -> Result<(), &'static str>;

    fn read_rtmp(&self, asked: &RtmpAsked<'_>) -> Result<StreamUrl, StreamError>;
    fn read_rtsp(&self, url: &str) -> Result<StreamUrl, StreamError>;
    fn read_srt(
        &self,
        id: &str,
        default: &str,
        port: Option<Action>,
    ) -> Result<SrtStreamId, StreamError>;
    fn read_call(&self, host: Option<&str>, target: &str) -> Option<CallAsked>;
    fn read_file(&self, host: Option<&str>, target: &str) -> Option<FileAsked>;

    fn write_rtmp(&self, path: &str, asked: &RtmpAsked<'_>) -> RtmpAddress;
    fn write_srt(&self, wanted: &SrtWanted<'_>) -> Result<String, &'static str>;
    fn write_call(&self, path: &str, action: Action, query: &str) -> String;
    fn write_file(&self, path: &str, file: File, query: &str) -> Result<String, &'static str>;

    /// Whether a client of this dialect may have sent an address that this very server would misread.
    fn misreads(&self, _: &RtmpAsked<'_>) -> bool {
        false
    }

    /// The same of an SRT id.
    fn misreads_srt(&self, _: &str) -> bool {
        false
    }

    fn has_viewer_playlists(&self) -> bool {
        false
    }

    fn reads_only_plain_chunks(&self) -> bool {
        false
    }

    /// Parameters that name a stream in this server's addresses, and mean nothing to others.
    fn naming_parameters(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The app of a name that has none, where a server's names have two parts.
pub const TWO_LEVEL_APP: &str = "live";
