//! A client's whole address, as people paste it: what a client of its protocol that was given it would ask for.

use super::{ClientDialects, Dialect, RtmpAsked};
use crate::http::base::BasePath;
use crate::http::route::Route;
use crate::http::segment::{Owners, Readings};
use crate::http::whip::{Path, Pattern};
use crate::stream::{
    Action, Protocol, StreamError, StreamUrl, decode, split_authority, split_query,
};

/// What the meaning of an address depends on besides the dialect of clients.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Site {
    /// The SRT stream id of callers that give none.
    pub default_streamid: String,
    /// More paths of WHIP and WHEP.
    pub call_paths: Vec<Pattern>,
    /// The folder of a web server in front, which takes it off.
    pub base_path: BasePath,
}

/// What a client would ask for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pasted {
    /// The stream.
    pub stream: StreamUrl,
    /// Streams that the address may name as well; the first that is placed counts.
    pub others: Vec<StreamUrl>,
    /// Whose file it may be, over HTTP: that decides who may have it.
    pub owners: Owners,
    /// What the client speaks.
    pub protocol: Protocol,
    /// What it does; `None` where the address alone does not say.
    pub action: Option<Action>,
}

/// Why an address names no stream. No variant repeats the address, which may hold a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PastedError {
    /// The address of one call.
    #[error("it is the address of one call, which does not name its stream")]
    Call,
    /// An older way of SRS to make a call.
    #[error("the body of a request to it names the stream")]
    Json,
    /// A page, a file, or something of the API.
    #[error(
        "nothing in it says that it is a stream's: over HTTP that is an ending such as .m3u8, .mpd, .flv or .ts, or a path of \
         WHIP or WHEP"
    )]
    NoStream,
    /// An address of something else.
    #[error(
        "it begins with none of rtmp://, rtmps://, rtsp://, rtsps://, srt://, webrtc://, http://, https://, ws:// and wss://"
    )]
    Scheme,
    /// The name that it holds is refused.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

impl ClientDialects {
    /// What a client that was given `url` would ask for.
    ///
    /// # Errors
    /// [`PastedError`], for an address that names no stream.
    pub fn pasted(&self, url: &str, site: &Site) -> Result<Pasted, PastedError> {
        let url = url.trim();
        let (scheme, _) = url.split_once("://").ok_or(PastedError::Scheme)?;
        match scheme.to_ascii_lowercase().as_str() {
            "rtmp" => self.rtmp_address(url, 1935),
            "rtmps" => self.rtmp_address(url, 443),
            "rtsp" => self.rtsp_address(url, 554),
            "rtsps" => self.rtsp_address(url, 322),
            "srt" => self.srt_address(url, site),
            "webrtc" => {
                let stream = StreamUrl::from_webrtc(None, url)?;
                let (_, query) = split_query(url);
                self.read(stream, &[query], Protocol::WebRtc, None)
            }
            "http" | "ws" => self.http_address(url, 80, site),
            "https" | "wss" => self.http_address(url, 443, site),
            _ => Err(PastedError::Scheme),
        }
    }

    fn read(
        &self,
        stream: StreamUrl,
        queries: &[&str],
        protocol: Protocol,
        action: Option<Action>,
    ) -> Result<Pasted, PastedError> {
        Ok(Pasted {
            stream: self.named(stream, queries)?,
            others: Vec::new(),
            owners: Owners::default(),
            protocol,
            action,
        })
    }

    fn rtmp_address(&self, url: &str, port: u16) -> Result<Pasted, PastedError> {
        let (tc_url, name) = split_name(url);
        let asked = RtmpAsked { tc_url, name };
        Ok(Pasted {
            stream: self.rtmp(&asked, port_of(asked.host(), port))?,
            others: Vec::new(),
            owners: Owners::default(),
            protocol: Protocol::Rtmp,
            action: None,
        })
    }

    fn rtsp_address(&self, url: &str, port: u16) -> Result<Pasted, PastedError> {
        let (host, _) = split_authority(url);
        let (dialect, _) = self.of(host, port_of(host, port));
        let (_, query) = split_query(url);
        self.read(dialect.rtsp(url)?, &[query], Protocol::Rtsp, None)
    }

    /// An SRT address has its stream id in a query, where programs read it up to the next `&`.
    fn srt_address(&self, url: &str, site: &Site) -> Result<Pasted, PastedError> {
        let (host, target) = split_authority(url);
        let (_, query) = target.split_once('?').unwrap_or_default();
        let mut ids = query
            .split('&')
            .filter_map(|pair| pair.strip_prefix("streamid="));
        let id = decode(ids.next_back().unwrap_or_default())?;
        let (dialect, action) = self.of(None, port_of(host, 0));
        let asked = dialect.srt(&id, &site.default_streamid, action)?;
        Ok(Pasted {
            stream: asked.stream,
            others: Vec::new(),
            owners: Owners::default(),
            protocol: Protocol::Srt,
            action: Some(asked.action),
        })
    }

    fn http_address(&self, url: &str, port: u16, site: &Site) -> Result<Pasted, PastedError> {
        let (host, target) = split_authority(url);
        let target = target.split('#').next().unwrap_or_default();
        let below = target.strip_prefix(site.base_path.as_str());
        let target = below.filter(|it| it.starts_with('/')).unwrap_or(target);
        let (dialect, _) = self.of(host, port_of(host, port));
        let (_, query) = target.split_once('?').unwrap_or_default();
        match Path::of_client(dialect, host, target, &site.call_paths) {
            Some(Path::Json(_)) => return Err(PastedError::Json),
            Some(Path::Resource(_)) => return Err(PastedError::Call),
            Some(Path::Offer(asked)) => {
                let action = Some(asked.action);
                return self.read(asked.stream?, &[query], Protocol::WebRtc, action);
            }
            None => {}
        }
        let play = Some(Action::Play);
        if dialect != Dialect::Srs {
            let file = dialect.file(host, target).ok_or(PastedError::NoStream)?;
            let protocol = protocol_of(file.route).ok_or(PastedError::NoStream)?;
            return self.read(file.stream?, &[query], protocol, play);
        }
        let protocol = protocol_of(Route::of(target)).ok_or(PastedError::NoStream)?;
        if protocol != Protocol::HttpSegments {
            let stream = StreamUrl::from_http(host, target)?;
            return Ok(Pasted {
                owners: Owners::of_live(protocol, host, target)?,
                ..self.read(stream, &[query], protocol, play)?
            });
        }
        let readings = Readings::of(host, target)?;
        let all = readings.all.into_iter();
        let others = all.filter_map(|stream| self.named(stream, &[query]).ok());
        Ok(Pasted {
            others: others.collect(),
            owners: Owners::of(host, target)?,
            ..self.read(readings.likely, &[query], protocol, play)?
        })
    }
}

const fn protocol_of(route: Route) -> Option<Protocol> {
    match route {
        Route::Live(protocol) => Some(protocol),
        Route::Piece(_) => Some(Protocol::HttpSegments),
        Route::Health(_) | Route::Other | Route::Versions => None,
    }
}

/// The port of an authority, or the `usual` one of its scheme.
fn port_of(host: Option<&str>, usual: u16) -> u16 {
    let port = host.and_then(|host| host.rsplit_once(':')?.1.parse().ok());
    port.unwrap_or(usual)
}

/// An RTMP address as encoders and players divide it: the last segment is the name, with what follows it. Where there is
/// only one segment before the query, and a slash in that, the query is the app's.
fn split_name(url: &str) -> (&str, &str) {
    let (_, target) = split_authority(url);
    let start = url.len() - target.len();
    let (path, query) = split_query(target);
    let path = path.trim_end_matches('/');
    let slash = match path.trim_start_matches('/').contains('/') {
        true => path.rfind('/'),
        false => query
            .rfind('/')
            .map(|slash| slash + target.len() - query.len()),
    };
    match slash.and_then(|slash| url.split_at_checked(start + slash)) {
        Some((tc_url, name)) => (tc_url, name.trim_start_matches('/')),
        None => (url, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(clients: &ClientDialects, url: &str) -> String {
        let site = Site {
            default_streamid: "#!::r=live/livestream,m=publish".to_owned(),
            call_paths: vec![Pattern::parse("/{app}/{stream}/whep").expect("a pattern")],
            base_path: "/media".parse().expect("a folder"),
        };
        match clients.pasted(url, &site) {
            Ok(pasted) => {
                let action = pasted.action.map_or("?", Action::as_str);
                format!("{} {} {action}", pasted.stream, pasted.protocol)
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_address_is_read_as_its_client_would_be() {
        let srs = ClientDialects::default();
        #[rustfmt::skip]
        let rows = [
            ("a token", "rtmp://h.example/live/a?token=x", "h.example/live/a rtmp ?"),
            ("deep", "rtmps://10.0.0.1:1936/studio/live/a", "__defaultVhost__/studio/live/a rtmp ?"),
            ("one segment", "rtmp://h.example/a", "no stream is named"),
            ("a query between app and name", "rtmp://h/live?vhost=v.example/a", "v.example/live/a rtmp ?"),
            ("a slash at its end", "RTMP://h/live/a/", "__defaultVhost__/live/a rtmp ?"),
            ("a slash in a token", "rtmp://h/live/a?token=x/y", "__defaultVhost__/live/a rtmp ?"),
            ("a playlist", "https://h.example/live/a.m3u8?token=x", "h.example/live/a http_segments play"),
            ("below a folder", "https://h.example/media/live/a.m3u8", "h.example/live/a http_segments play"),
            ("FLV", "http://10.0.0.1:8080/live/a.flv", "__defaultVhost__/live/a http_flv play"),
            ("FLV in a WebSocket", "wss://h.example/live/a.flv", "h.example/live/a http_flv play"),
            ("WHEP of SRS", "http://h:1985/rtc/v1/whep/?app=live&stream=a&token=x", "__defaultVhost__/live/a webrtc play"),
            ("WHIP of SRS", "https://h/rtc/v1/whip/?app=live&stream=a", "__defaultVhost__/live/a webrtc publish"),
            ("WHEP by its path", "https://h/live/a/whep?token=x", "__defaultVhost__/live/a webrtc play"),
            ("webrtc", "webrtc://h.example/live/a?token=x", "h.example/live/a webrtc ?"),
            ("RTSP", "rtsp://user:pass@h.example:8554/live/a?token=x", "h.example/live/a rtsp ?"),
            ("SRT", "srt://h:10080?streamid=#!::r=live/a,m=publish,token=x&latency=200", "__defaultVhost__/live/a srt publish"),
            ("SRT, escaped", "srt://h:10080?mode=caller&streamid=%23!::h=v.example%2Cr=live/a", "v.example/live/a srt play"),
            ("SRT without an id", "srt://h:10080", "__defaultVhost__/live/livestream srt publish"),
        ];
        for (cause, url, expected) in rows {
            assert_eq!(read(&srs, url), expected, "{cause}");
        }
    }

    #[test]
    fn the_dialect_of_its_clients_counts() {
        let clients = ClientDialects {
            usual: Dialect::MediaMtx,
            rules: vec![
                ":9999 ome publish".parse().expect("a rule"),
                "*.srs.example srs".parse().expect("a rule"),
            ],
            names: Vec::new(),
        };
        #[rustfmt::skip]
        let rows = [
            ("one segment", "rtmp://h/cam1?user=u&pass=p", "__defaultVhost__/cam1 rtmp ?"),
            ("a playlist in its folder", "http://h:8888/site/cam1/index.m3u8", "__defaultVhost__/site/cam1 http_segments play"),
            ("WHEP", "http://h:8889/cam1/whep", "__defaultVhost__/cam1 webrtc play"),
            ("SRT", "srt://h:8890?streamid=publish:cam1:u:p", "__defaultVhost__/cam1 srt publish"),
            ("SRT by its port", "srt://h:9999?streamid=default/app/a", "__defaultVhost__/app/a srt publish"),
            ("a host of SRS", "http://a.srs.example/live/a.flv", "a.srs.example/live/a http_flv play"),
        ];
        for (cause, url, expected) in rows {
            assert_eq!(read(&clients, url), expected, "{cause}");
        }
    }

    #[test]
    fn what_names_no_stream_is_refused_without_its_words() {
        let srs = ClientDialects::default();
        for (url, expected) in [
            ("ftp://h/live/a?token=x", PastedError::Scheme),
            ("live/a?token=x", PastedError::Scheme),
            ("https://h/console?token=x", PastedError::NoStream),
            ("https://h/rtc/v1/play/?token=x", PastedError::Json),
            ("rtmp://h?token=x", StreamError::EmptyStream.into()),
        ] {
            let read = srs.pasted(url, &Site::default());
            assert_eq!(read, Err(expected), "{url}");
            assert!(!expected.to_string().contains("token"), "{url}");
        }
    }
}
