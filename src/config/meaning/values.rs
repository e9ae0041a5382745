//! Reads one setting: what its text means, or what is wrong with it.

use super::LogFormat;
use crate::config::layers::{Entry, Source};
use crate::config::table::Written;
use crate::config::{Problem, parse_duration, setting};
use crate::stream_names::StreamNames;
use crate::value::{
    Listen, Network, Opening, OriginNames, PortRange, Secret, ValueError, parse_port,
};
use sluicegate_core::access::networks::NotANetwork;
use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::origin::{Endpoint, Host};
use sluicegate_core::stream::{Action, Service, SrtStreamId, VhostRule};
use std::path::PathBuf;
use std::time::Duration;

pub(super) struct Reader<'a> {
    pub(super) entries: &'a [Entry],
    pub(super) problems: &'a mut Vec<Problem>,
}

impl<'a> Reader<'a> {
    pub(super) fn entry(&self, path: &str) -> &'a Entry {
        self.entries
            .iter()
            .find(|entry| entry.setting.path == path)
            .expect("the layers hold an entry for every row of the table")
    }

    pub(super) fn read<T>(
        &mut self,
        path: &str,
        parse: impl Fn(&Written) -> Result<T, ValueError>,
    ) -> T {
        match parse(&self.entry(path).written) {
            Ok(value) => value,
            Err(why) => {
                self.wrong(path, why);
                let default = setting(path).map(|setting| setting.default());
                default
                    .and_then(|default| parse(&default).ok())
                    .expect("every default is a value of its setting")
            }
        }
    }

    /// Where a listener binds that may be closed.
    pub(super) fn opening(&mut self, path: &str) -> Opening {
        let listen = self.read(path, |written| {
            let items = written.items();
            let is_open = items.iter().any(|item| !item.is_empty());
            is_open.then(|| Listen::parse(&items)).transpose()
        });
        match (listen, &self.entry(path).source) {
            (None, _) => Opening::Closed,
            (Some(listen), Source::Default) => Opening::Default(listen),
            (Some(listen), _) => Opening::Set(listen),
        }
    }

    pub(super) fn wrong(&mut self, path: &str, why: ValueError) {
        let Entry {
            setting,
            written,
            source,
        } = self.entry(path);
        let shown = setting.shown(written);
        self.problems.push(Problem::Value {
            name: source.name_of(setting),
            shown,
            why,
            allowed: setting.allowed,
        });
    }

    pub(super) fn conflict(&mut self, sentence: String) {
        self.problems.push(Problem::Conflict(sentence));
    }
}

/// A listener, and how clients reach it: `rtmp=rtmp://live.example.com`.
pub(super) fn public_listener(text: &str) -> Result<(String, String), ValueError> {
    let (name, url) = text.split_once('=').ok_or(ValueError::NotAListener)?;
    let is_known = ["api", "http", "rtmp", "rtsp", "srt"].contains(&name);
    let is_url = url
        .split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.is_empty());
    let is_plain = url.chars().all(|letter| letter.is_ascii_graphic());
    (is_known && is_url && is_plain)
        .then(|| (name.to_owned(), url.to_owned()))
        .ok_or(ValueError::NotAListener)
}

pub(super) fn listen(written: &Written) -> Result<Listen, ValueError> {
    Listen::parse(&written.items())
}

pub(super) fn period(written: &Written) -> Result<Duration, ValueError> {
    wait(written).and_then(|duration| {
        if duration.is_zero() {
            Err(ValueError::Zero)
        } else {
            Ok(duration)
        }
    })
}

pub(super) fn wait(written: &Written) -> Result<Duration, ValueError> {
    parse_duration(&written.text())
}

pub(super) fn flag(written: &Written) -> Result<bool, ValueError> {
    match written.text().as_str() {
        "on" | "true" => Ok(true),
        "off" | "false" => Ok(false),
        _ => Err(ValueError::NotAFlag),
    }
}

pub(super) fn networks(written: &Written) -> Result<Vec<Network>, ValueError> {
    let networks = written.items().into_iter().map(str::parse);
    Ok(networks.collect::<Result<_, NotANetwork>>()?)
}

pub(super) fn origin_names(written: &Written) -> Result<OriginNames, ValueError> {
    Ok(OriginNames::new(written.items()))
}

/// Names of query parameters, as they appear in a query.
pub(super) fn parameters(written: &Written) -> Result<Vec<String>, ValueError> {
    let is_name = |name: &str| {
        name.bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"&=#?\"".contains(&byte))
    };
    let names = written.items().into_iter();
    names
        .map(|name| {
            is_name(name)
                .then(|| name.to_owned())
                .ok_or(ValueError::NotAParameter)
        })
        .collect()
}

pub(super) fn directory(written: &Written) -> Result<Option<PathBuf>, ValueError> {
    let text = written.text();
    Ok((!text.is_empty()).then(|| PathBuf::from(text)))
}

pub(super) fn count(written: &Written, least: u64, most: u64) -> Result<usize, ValueError> {
    let number = number(written, least, most)?;
    usize::try_from(number).map_err(|_| ValueError::OutOfRange(least, most))
}

pub(super) fn number(written: &Written, least: u64, most: u64) -> Result<u64, ValueError> {
    let text = written.text();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ValueError::NotANumber);
    }
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(ValueError::OutOfRange(least, most))
}

/// A number from `least` to a hundred.
pub(super) fn few(written: &Written, least: u64) -> Result<u32, ValueError> {
    let number = number(written, least, 100)?;
    u32::try_from(number).map_err(|_| ValueError::OutOfRange(least, 100))
}

pub(super) fn port(written: &Written) -> Result<u16, ValueError> {
    match parse_port(&written.text())? {
        0 => Err(ValueError::NotAPort),
        port => Ok(port),
    }
}

pub(super) fn port_range(written: &Written) -> Result<Option<PortRange>, ValueError> {
    let text = written.text();
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some)
}

pub(super) fn endpoint(written: &Written, service: Service) -> Result<Vec<Endpoint>, ValueError> {
    let text = written.text();
    if text.is_empty() {
        return Ok(Vec::new());
    }
    Ok(vec![Endpoint::parse(&text, service)?])
}

pub(super) fn host(written: &Written) -> Result<Host, ValueError> {
    Ok(written.text().parse()?)
}

/// Maximum keys: a key change needs two at a time, or three if the next change has begun.
const MOST_KEYS: usize = 4;

/// The keys of a cluster. No key results in an empty list; an empty key among others would admit everybody, so it is
/// refused.
pub(super) fn cluster_keys(written: &Written) -> Result<Vec<Secret>, ValueError> {
    let keys = written.items();
    let empty = keys.iter().any(|key| key.is_empty());
    if empty || keys.len() > MOST_KEYS {
        return Err(ValueError::NotKeys);
    }
    Ok(keys.into_iter().map(Secret::new).collect())
}

/// A token. A line end from a file is refused, because it would never match what a header can carry.
pub(super) fn token(written: &Written) -> Result<Secret, ValueError> {
    let text = written.text();
    if text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(Secret::new(text))
    } else {
        Err(ValueError::NotAToken)
    }
}

/// A stream id for callers that send none; it has to be valid.
pub(super) fn stream_id(written: &Written) -> Result<String, ValueError> {
    let text = written.text();
    // Which clients' dialect counts depends on the port that is called.
    let reads = |dialect: Dialect| dialect.srt(&text, "", Some(Action::Play)).is_ok();
    if !text.is_empty() && !Dialect::ALL.into_iter().any(reads) {
        SrtStreamId::parse(&text, "")?;
    }
    Ok(text)
}

pub(super) fn dialect(written: &Written) -> Result<Dialect, ValueError> {
    Ok(written.text().parse::<Dialect>()?)
}

pub(super) fn vhosts(written: &Written) -> Result<VhostRule, ValueError> {
    match written.items().as_slice() {
        [] => Err(ValueError::NotAChoice),
        ["ignored"] => Ok(VhostRule::Ignored),
        ["separate"] => Ok(VhostRule::Separate),
        names => Ok(VhostRule::listed(names)?),
    }
}

pub(super) fn log_format(written: &Written) -> Result<LogFormat, ValueError> {
    match written.text().as_str() {
        "auto" => Ok(LogFormat::Auto),
        "json" => Ok(LogFormat::Json),
        "text" => Ok(LogFormat::Text),
        _ => Err(ValueError::NotAChoice),
    }
}

pub(super) fn stream_names(written: &Written) -> Result<StreamNames, ValueError> {
    match written.text().as_str() {
        "keep" => Ok(StreamNames::Keep),
        "hash" => Ok(StreamNames::Hash),
        "last4" => Ok(StreamNames::LastFour),
        _ => Err(ValueError::NotAChoice),
    }
}

pub(super) fn log_level(written: &Written) -> Result<tracing::Level, ValueError> {
    match written.text().as_str() {
        "error" => Ok(tracing::Level::ERROR),
        "warn" => Ok(tracing::Level::WARN),
        "info" => Ok(tracing::Level::INFO),
        "debug" => Ok(tracing::Level::DEBUG),
        "trace" => Ok(tracing::Level::TRACE),
        _ => Err(ValueError::NotAChoice),
    }
}
