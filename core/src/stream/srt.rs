//! The stream ids of SRT callers.

use std::borrow::Cow;

use super::text::{decode, decode_name, split_query, unquote};
use super::{Action, DEFAULT_VHOST, Path, StreamError, StreamUrl, fold_vhost, vhost_of};
use crate::access::credentials::Credentials;

/// What an SRT caller asks for with its stream id, which also names the action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtStreamId {
    /// The stream asked for.
    pub stream: StreamUrl,
    /// Publish for `m=publish` and `m=bidirectional`, play for `m=request` and for ids without `m`.
    pub action: Action,
    /// What it says of the caller.
    pub credentials: Option<Box<Credentials>>,
}

impl SrtStreamId {
    /// Reads a stream id: either `#!::h=example.com,r=live/a,m=publish` (SRT access control) or a plain path `live/a`.
    /// A path of one segment is a stream of the app `live`. An empty `id` means `default`. A plain id in the form of another
    /// server says who publishes and shows secrets, so it is refused rather than taken for the name of a stream to play.
    ///
    /// `h` is the vhost. In an older form it has one slash and is the path instead; with more slashes, its first
    /// segment is the vhost and the rest the path. If there is an `r`, it is always the path.
    pub fn parse(id: &str, default: &str) -> Result<Self, StreamError> {
        let id = unescaped(given_or(id, default))?;
        match id.strip_prefix(SRT_PREFIX) {
            Some(pairs) => Self::from_pairs(pairs),
            None if is_of_another_dialect(&id) => Err(StreamError::Dialect {
                dialect: "srs",
                rule: OTHERS,
            }),
            None => {
                let (path, query) = split_query(&id);
                let stream = srt_stream(path, vhost_of([query, ""], None)?)?;
                Ok(Self {
                    stream,
                    action: Action::Play,
                    credentials: Credentials::of_target(&id).boxed(),
                })
            }
        }
    }

    /// Whether an id is of the form of SRT access control and names no stream, or there is none: `#!::bmd_uuid=…` of an encoder
    /// whose key was left empty. Such a device cannot leave the id out.
    pub(crate) fn names_nothing(id: &str) -> bool {
        let id = unescaped(unquote(id)).unwrap_or_default();
        let pairs = id.strip_prefix(SRT_PREFIX);
        id.is_empty()
            || pairs.is_some_and(|pairs| Self::from_pairs(pairs) == Err(StreamError::EmptyStream))
    }

    pub(crate) fn from_pairs(pairs: &str) -> Result<Self, StreamError> {
        let mut action = Action::Play;
        let (mut host, mut resource, mut user) = (None, None, None);
        let mut from_blackmagic = false;
        // SRS reads `r=live/a?secret=x` as two pairs.
        for pair in pairs.split([',', '?', '&']) {
            let Some((key, value)) = pair.split_once('=') else {
                continue;
            };
            let value = unquote(value);
            match key.trim() {
                "h" => host = Some(value),
                // A caller that sends and receives is a publisher in any case.
                "m" if ["publish", "bidirectional"]
                    .iter()
                    .any(|mode| value.eq_ignore_ascii_case(mode)) =>
                {
                    action = Action::Publish;
                }
                "m" if value.eq_ignore_ascii_case("request") => action = Action::Play,
                "m" => return Err(StreamError::SrtMode),
                "r" => resource = Some(value),
                // Blackmagic encoders name the stream as their user, and only ever send.
                "u" => user = Some(value),
                key if key.starts_with("bmd_") => from_blackmagic = true,
                _ => {}
            }
        }
        let (host, path) = match host.map(|host| (host, host.split_once('/'))) {
            Some((_, Some((vhost, path)))) if path.contains('/') => (Some(vhost), Some(path)),
            Some((path, Some(_))) => (None, Some(path)),
            Some((vhost, None)) => (Some(vhost), None),
            None => (None, None),
        };
        let vhost = match host.filter(|host| !host.is_empty()) {
            Some(host) => fold_vhost(host)?,
            None if pairs.contains("vhost") || pairs.contains("domain") => {
                vhost_of([&pairs.replace(',', "&"), ""], None)?
            }
            None => DEFAULT_VHOST.to_owned(),
        };
        let mut path = resource.or(path);
        let by_user = path.is_none() && from_blackmagic;
        if by_user {
            (path, action) = (user, Action::Publish);
        }
        let path = path.ok_or(StreamError::EmptyStream)?;
        let shown = pairs.split([',', '?', '&']);
        let shown = shown.filter_map(|pair| pair.split_once('='));
        let shown = shown.map(|(key, value)| (key.trim(), unquote(value)));
        let is_name = |key: &str| by_user && (key == "u" || key.starts_with("bmd_"));
        let shown = shown.filter(|(key, _)| !is_name(key));
        Ok(Self {
            stream: srt_stream(path, vhost)?,
            action,
            credentials: Credentials::of_srt(shown).boxed(),
        })
    }
}

/// The stream that an SRT path names: a single segment is a stream of [`SRT_APP`].
fn srt_stream(path: &str, vhost: String) -> Result<StreamUrl, StreamError> {
    let mut named = Path::default();
    named.push(&decode_name(path))?;
    if named.app.is_empty() {
        SRT_APP.clone_into(&mut named.app);
    }
    named.on(vhost)
}

/// The id as its sender meant it: some copy it from a URL and leave it escaped, all of it or the first character.
fn unescaped(id: &str) -> Result<Cow<'_, str>, StreamError> {
    let is_escaped =
        id.starts_with(ESCAPED_HASH) && decode(id).is_ok_and(|plain| plain.starts_with(SRT_PREFIX));
    match is_escaped {
        true => Ok(decode(id)?),
        false => Ok(Cow::Borrowed(id)),
    }
}

/// Whether a plain id is written for another server: `publish:live/a:user:pass` for MediaMTX, `a,mode:publish,token:x` for
/// datarhei's, a URL, escaped or not, for OvenMediaEngine.
fn is_of_another_dialect(id: &str) -> bool {
    let is_url = decode(split_query(id).0).is_ok_and(|path| path.contains("://"));
    let begins = |text: &str, words: [&str; 2]| {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        !rest.is_empty() && words.contains(&word.trim())
    };
    is_url
        || begins(id, ["publish", "read"])
        || id
            .split(',')
            .skip(1)
            .any(|pair| begins(pair, ["mode", "token"]))
}

/// The SRT id `id` without its quotes, or `default` for a caller that gave none.
pub(crate) fn given_or<'a>(id: &'a str, default: &'a str) -> &'a str {
    match unquote(id) {
        "" => unquote(default),
        given => given,
    }
}

/// The start of a structured stream id (SRT access control guidelines), and its first character as a URL carries it.
const SRT_PREFIX: &str = "#!::";
const ESCAPED_HASH: &str = "%23";

/// What such an id breaks.
const OTHERS: &str = "an SRT id is #!::r=APP/NAME,m=publish, or a path to play; this one is in the form of another server \
    (publish:, read:, mode:, token: or a URL)";

/// SRS's `default_app` for SRT.
const SRT_APP: &str = "live";
