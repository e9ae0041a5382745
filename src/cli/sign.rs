//! `sluicegate sign` and `sluicegate key`: what operators hand out to clients. Both work alone, without a proxy.

use std::io::{self, BufRead};
use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;
use sluicegate_core::access::rules::Rules;
use sluicegate_core::access::signed::ours::{Terms, sign};
use sluicegate_core::access::{digests, keys, passwords};
use sluicegate_core::stream::{Action, SrtStreamId, StreamError, StreamUrl};

use crate::cli::not_empty;
use crate::config::{ConfigError, Environment, Settings, parse_period};
use crate::random;
use crate::unix_time;

/// What to sign.
#[derive(Debug, Args)]
pub struct SignArguments {
    /// The address that the client uses, such as `rtmp://example.com/live/a` or `https://example.com/live/a.m3u8`.
    #[arg(value_parser = not_empty)]
    url: String,
    /// How long it may be used.
    #[arg(long = "for", value_name = "DURATION", default_value = "1h")]
    lifetime: String,
    /// Allow to publish; without it, to play.
    #[arg(long)]
    publish: bool,
    /// Who it is for, as logs and limits name the viewer.
    #[arg(long, value_name = "NAME")]
    viewer: Option<String>,
    /// The only address that may use it.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<IpAddr>,
    /// The settings file with the secret, in a [[check]] of the kind signed.
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
    /// The [[check]], if the settings have several that sign as sluicegate.
    #[arg(long, value_name = "NAME")]
    check: Option<String>,
}

/// Whose key to make.
#[derive(Debug, Args)]
pub struct KeyArguments {
    /// Who gets it.
    #[arg(value_parser = not_empty)]
    name: String,
    /// Read a password from standard input, one line, instead of making up a key.
    #[arg(long)]
    password: bool,
    /// For a check of the kind digest: the line holds hashes by which answers to challenges are checked.
    #[arg(long)]
    digest: bool,
}

/// Why nothing was signed or made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The settings cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The lifetime is none.
    #[error("--for: not a duration, such as 30m, 1h or 7d")]
    Duration,
    /// Standard input has no password.
    #[error("no password on standard input: {0}")]
    Input(io::Error),
    /// A name that cannot stand in a URL or in a line of the settings.
    #[error("a name of other than letters, digits, - _ and .")]
    Name,
    /// There is no such check, or there are several.
    #[error("{0}")]
    NoCheck(String),
    /// The address names no stream.
    #[error("the address cannot be signed: {0}")]
    Stream(#[from] StreamError),
    /// The address is of no protocol that is known.
    #[error("write the address with rtmp://, rtsp://, srt://, http:// or https://")]
    Url,
}

/// The address with its signature.
///
/// # Errors
/// [`SignError`]
pub fn signed(arguments: &SignArguments, environment: &Environment) -> Result<String, SignError> {
    let loaded = Settings::load(Some(&arguments.config), environment)?;
    let secret = secret(&loaded.settings.sources.rules, arguments.check.as_deref())?;
    let lifetime = parse_period(&arguments.lifetime).map_err(|_| SignError::Duration)?;
    let action = if arguments.publish {
        Action::Publish
    } else {
        Action::Play
    };
    if arguments
        .viewer
        .as_deref()
        .is_some_and(|viewer| !is_name(viewer))
    {
        return Err(SignError::Name);
    }
    let named = Named::read(&arguments.url)?;
    let query = sign(
        &Terms {
            action,
            stream: &named.stream,
            end: unix_time::now().saturating_add(lifetime).as_secs(),
            viewer: arguments.viewer.as_deref(),
            address: arguments.address,
        },
        secret,
    );
    Ok(named.with(&arguments.url, &query))
}

/// A key, and the line for the settings file; or only the line, of a password.
///
/// # Errors
/// [`SignError`]
pub fn key(arguments: &KeyArguments) -> Result<String, SignError> {
    if !is_name(&arguments.name) {
        return Err(SignError::Name);
    }
    let salt: [u8; 16] = random::bytes();
    if arguments.password {
        let password = read_password()?;
        let line = match arguments.digest {
            true => Some(digests::line(&arguments.name, &password)),
            false => passwords::line(&arguments.name, &salt, &password),
        };
        let line = line.ok_or_else(|| SignError::Input(io::ErrorKind::InvalidData.into()))?;
        return Ok(format!("{line}\n"));
    }
    let key = keys::text(&random::bytes::<24>());
    let line = match arguments.digest {
        true => digests::line(&arguments.name, &key),
        false => keys::line(&arguments.name, &salt, &key),
    };
    Ok(format!(
        "for the client, shown this once:   {key}\nfor the settings of the proxy:      {line}\n"
    ))
}

fn read_password() -> Result<String, SignError> {
    let mut password = String::new();
    let read = io::stdin().lock().read_line(&mut password);
    read.map_err(SignError::Input)?;
    match password.trim_end_matches(['\n', '\r']) {
        "" => Err(SignError::Input(io::ErrorKind::UnexpectedEof.into())),
        password => Ok(password.to_owned()),
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// The secret of the one check that signs as we do, or of the one that is named.
fn secret<'a>(rules: &'a Rules, wanted: Option<&str>) -> Result<&'a str, SignError> {
    let mut fitting = rules
        .own_secrets()
        .filter(|(name, _)| wanted.is_none_or(|wanted| wanted == *name));
    match (fitting.next(), fitting.next()) {
        (Some((_, secret)), None) => Ok(secret),
        (None, _) => Err(SignError::NoCheck(
            "the settings have no such [[check]] with kind = \"signed\" and scheme = \"sluicegate\"".to_owned(),
        )),
        (Some(_), Some(_)) => Err(SignError::NoCheck(
            "the settings have several [[check]]s that sign; name one with --check".to_owned(),
        )),
    }
}

/// A stream, and where its signature goes.
struct Named {
    stream: StreamUrl,
    /// The SRT stream id within the address.
    stream_id: Option<String>,
}

impl Named {
    fn read(url: &str) -> Result<Self, SignError> {
        let (scheme, rest) = url.split_once("://").ok_or(SignError::Url)?;
        let path_at = rest.find('/').unwrap_or(rest.len());
        let (host, target) = rest.split_at(path_at);
        let mut stream_id = None;
        let stream = match scheme {
            "rtmp" | "rtmps" => StreamUrl::from_rtmp(url, "")?,
            "rtsp" | "rtsps" => StreamUrl::from_rtsp(url)?,
            "http" | "https" if target.starts_with("/rtc/") => {
                StreamUrl::from_whip(Some(host), target)?
            }
            "http" | "https" => StreamUrl::from_http(Some(host), target)?,
            "srt" => {
                let id = url
                    .split_once("streamid=")
                    .map(|(_, id)| id)
                    .ok_or(SignError::Url)?;
                let id = if id.starts_with("#!::") {
                    id
                } else {
                    id.split('&').next().unwrap_or(id)
                };
                stream_id = Some(id.to_owned());
                SrtStreamId::parse(id, "")?.stream
            }
            _ => return Err(SignError::Url),
        };
        Ok(Self { stream, stream_id })
    }

    /// The address with `query` where its protocol takes one.
    fn with(&self, url: &str, query: &str) -> String {
        match &self.stream_id {
            Some(id) if id.starts_with("#!::") => format!("{url},{}", query.replace('&', ",")),
            Some(id) if id.contains('?') => format!("{url}&{query}"),
            Some(_) => format!("{url}?{query}"),
            None => {
                // A fragment stays with the player (RFC 3986 §3.5), and a signature within one would, too.
                let fragment_at = url.find('#').unwrap_or(url.len());
                let (url, fragment) = url.split_at(fragment_at);
                let mark = match url.split_once('?') {
                    None => "?",
                    Some((_, "")) => "",
                    Some(_) => "&",
                };
                format!("{url}{mark}{query}{fragment}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_goes_where_the_protocol_takes_it() {
        let rows = [
            (
                "RTMP",
                "rtmp://h.example/live/a",
                "h.example/live/a",
                "rtmp://h.example/live/a?Q=1",
            ),
            (
                "HLS",
                "https://h.example:8443/live/a.m3u8",
                "h.example/live/a",
                "https://h.example:8443/live/a.m3u8?Q=1",
            ),
            (
                "a query",
                "http://h.example/live/a.flv?x=1",
                "h.example/live/a",
                "http://h.example/live/a.flv?x=1&Q=1",
            ),
            (
                "an empty query",
                "http://h.example/live/a.flv?",
                "h.example/live/a",
                "http://h.example/live/a.flv?Q=1",
            ),
            (
                "a fragment",
                "http://h.example/live/a.flv#t=10",
                "h.example/live/a",
                "http://h.example/live/a.flv?Q=1#t=10",
            ),
            (
                "a query and a fragment",
                "http://h.example/live/x+y.m3u8?z=1#f?g",
                "h.example/live/x+y",
                "http://h.example/live/x+y.m3u8?z=1&Q=1#f?g",
            ),
            (
                "RTSP",
                "rtsp://h.example/live/a",
                "h.example/live/a",
                "rtsp://h.example/live/a?Q=1",
            ),
            (
                "WHEP",
                "http://h.example/rtc/v1/whep/?app=live&stream=a",
                "h.example/live/a",
                "http://h.example/rtc/v1/whep/?app=live&stream=a&Q=1",
            ),
            (
                "SRT",
                "srt://h.example:10080?streamid=#!::r=live/a,m=publish",
                "__defaultVhost__/live/a",
                "srt://h.example:10080?streamid=#!::r=live/a,m=publish,Q=1",
            ),
            (
                "a plain SRT id",
                "srt://h.example:10080?streamid=live/a",
                "__defaultVhost__/live/a",
                "srt://h.example:10080?streamid=live/a?Q=1",
            ),
        ];
        for (cause, url, stream, expected) in rows {
            let named = Named::read(url).unwrap_or_else(|error| panic!("{cause}: {error}"));
            assert_eq!(named.stream.to_string(), stream, "{cause}");
            assert_eq!(named.with(url, "Q=1"), expected, "{cause}");
        }
        assert!(matches!(Named::read("live/a"), Err(SignError::Url)));
        let unnamed = Named::read("http://h.example/").err();
        assert_eq!(
            unnamed.expect("it names nothing").to_string(),
            "the address cannot be signed: no stream is named"
        );
    }
}
