//! What a client does with a stream, by which protocol, and what an origin has to offer for that.

use std::fmt;

/// Whether the client receives a stream or sends one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// The client watches.
    Play,
    /// The client is the source.
    Publish,
}

impl Action {
    /// `play` or `publish`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Play => "play",
            Self::Publish => "publish",
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The protocol between a client and us, and so between us and the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// AAC in an endless HTTP body.
    HttpAac,
    /// FLV in an endless HTTP body, or in a WebSocket.
    HttpFlv,
    /// MP3 in an endless HTTP body.
    HttpMp3,
    /// Playlists, manifests and the segments they list: many requests over HTTP.
    HttpSegments,
    /// MPEG-TS in an endless HTTP body.
    HttpTs,
    /// RTMP over TCP.
    Rtmp,
    /// RTSP over TCP.
    Rtsp,
    /// SRT over UDP.
    Srt,
    /// WebRTC, with WHIP or WHEP for signalling.
    WebRtc,
}

impl Protocol {
    /// Every protocol, in order.
    pub const ALL: [Self; 9] = [
        Self::HttpAac,
        Self::HttpFlv,
        Self::HttpMp3,
        Self::HttpSegments,
        Self::HttpTs,
        Self::Rtmp,
        Self::Rtsp,
        Self::Srt,
        Self::WebRtc,
    ];

    /// The name in logs, rows and metric labels, such as `http_flv`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HttpAac => "http_aac",
            Self::HttpFlv => "http_flv",
            Self::HttpMp3 => "http_mp3",
            Self::HttpSegments => "http_segments",
            Self::HttpTs => "http_ts",
            Self::Rtmp => "rtmp",
            Self::Rtsp => "rtsp",
            Self::Srt => "srt",
            Self::WebRtc => "webrtc",
        }
    }

    /// The kind of endpoint of an origin that serves this protocol.
    pub const fn service(self) -> Service {
        match self {
            Self::HttpAac | Self::HttpFlv | Self::HttpMp3 | Self::HttpSegments | Self::HttpTs => {
                Service::Http
            }
            Self::Rtmp => Service::Rtmp,
            Self::Rtsp => Service::Rtsp,
            Self::Srt => Service::Srt,
            Self::WebRtc => Service::Rtc,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A kind of endpoint that an origin may offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// The HTTP API, including WHIP and WHEP.
    Api,
    /// HTTP streaming: FLV, TS, AAC, MP3, HLS.
    Http,
    /// WebRTC media.
    Rtc,
    /// RTMP.
    Rtmp,
    /// RTSP.
    Rtsp,
    /// SRT.
    Srt,
}

impl Service {
    /// Every service, in order.
    pub const ALL: [Self; 6] = [
        Self::Api,
        Self::Http,
        Self::Rtc,
        Self::Rtmp,
        Self::Rtsp,
        Self::Srt,
    ];

    /// The name in an origin's registration, such as `http`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Http => "http",
            Self::Rtc => "rtc",
            Self::Rtmp => "rtmp",
            Self::Rtsp => "rtsp",
            Self::Srt => "srt",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
