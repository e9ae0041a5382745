//! The lists of a settings file: origins that do not register themselves (`[[origin]]` and `[[source]]`), who may publish
//! and watch (`[[access]]`, `[[check]]` and `[[limit]]`), and who may use the system API (`[[system.tokens]]`). They are read again
//! while the proxy runs.

use std::cell::LazyCell;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value};
use sluicegate_core::access::rules::Rules;
use sluicegate_core::access::table::Misread;
use sluicegate_core::fleet::listed::{KEYS, parse_entry};
use sluicegate_core::fleet::origin::{AddressRules, Host, Origin, OriginId};
use sluicegate_core::near::unknown_keys;

use super::lines::{EntryLines, line_at};
use super::tokens::Tokens;
use super::{ConfigError, Problem, is_placeholder, parse_duration, placeholder, secret_file};
use crate::value::{Secret, Url};

/// The lists of a settings file. Two of them are equal if they list the same, wherever they are written.
#[derive(Debug, Clone, Eq, Default)]
pub struct Sources {
    /// The file from which they are read again; `None` if there is no file.
    pub file: Option<PathBuf>,
    /// The files that it names for secrets and the like, with what they hold in the lists.
    pub named: Vec<PathBuf>,
    /// The origins of `[[origin]]`, each with its name.
    pub origins: Vec<(OriginId, Origin)>,
    /// The lists of `[[source]]`.
    pub lists: Vec<SourceSettings>,
    /// The rules of `[[access]]`, with the checks of `[[check]]`.
    pub rules: Rules,
    /// The tokens of `[[system.tokens]]`.
    pub tokens: Tokens,
}

impl PartialEq for Sources {
    fn eq(&self, other: &Self) -> bool {
        // Taken apart by name, so that a list that is added later has to be compared here.
        let Self {
            file: _,
            named: _,
            origins,
            lists,
            rules,
            tokens,
        } = self;
        *origins == other.origins
            && *lists == other.lists
            && *rules == other.rules
            && *tokens == other.tokens
    }
}

/// The settings of one `[[source]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceSettings {
    /// Where the list is.
    pub place: SourceKind,
    /// How long to wait between two requests.
    pub every: Duration,
    /// How long one request may take.
    pub time_limit: Duration,
    /// Endpoints and attributes that apply to every origin of the list.
    pub common: Map<String, Value>,
}

/// Where a list of origins is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// Each address of a name (A and AAAA), and the DNS server to ask instead of the system's.
    Dns(String, Option<SocketAddr>),
    /// Each target of a service, with its port and weight, and the DNS server to ask instead of the system's.
    Srv(String, Option<SocketAddr>),
    /// A JSON document over HTTP, and the token to send.
    Url(String, Option<Secret>),
}

impl fmt::Display for SourceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name, _) => write!(f, "dns:{name}"),
            Self::Srv(name, _) => write!(f, "srv:{name}"),
            // What follows the path may be a key.
            Self::Url(url, _) => f.write_str(url.split('?').next().unwrap_or_default()),
        }
    }
}

/// The sections of the file that are lists.
pub(super) const LISTS: [&str; 5] = ["access", "check", "limit", "origin", "source"];
/// The list within a section: `[[system.tokens]]`.
pub(super) const TOKENS: &str = "system.tokens";

/// Reads the lists of `file` again.
///
/// # Errors
/// Every problem found in the lists; the other settings are not checked.
pub fn read_sources(file: &Path, rules: &AddressRules) -> Result<Sources, ConfigError> {
    let mut problems = Vec::new();
    let sources = gather(file, rules, &mut problems, &mut Vec::new());
    if problems.is_empty() {
        Ok(sources)
    } else {
        Err(ConfigError { problems })
    }
}

/// The lists of `file`; problems with them are added to `problems`. If the file cannot be read or is not TOML, that is
/// also added, unless `problems` has it from reading the other settings. Secrets that hold none are told in `warnings`.
pub(super) fn gather(
    file: &Path,
    rules: &AddressRules,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Sources {
    let path = file.display().to_string();
    let mut sources = Sources {
        file: Some(file.to_owned()),
        ..Sources::default()
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::Unreadable(path, error));
            return sources;
        }
    };
    let document: Value = match toml::from_str(&text) {
        Ok(document) => document,
        Err(error) => {
            let offset = error.span().map_or(0, |span| span.start);
            problems.push(Problem::Syntax {
                path,
                line: line_at(&text, offset),
                message: error.message().replace('\n', ", "),
            });
            return sources;
        }
    };
    // Wanted only where something is wrong.
    let lines = LazyCell::new(|| EntryLines::of(&text));
    let mut note = |misread: Misread| {
        problems.push(Problem::Entry {
            path: path.clone(),
            line: lines.of_entry(misread.list, misread.number),
            misread,
        });
    };
    for (index, entry) in entries(&document, "origin").iter().enumerate() {
        match read_origin(entry, rules) {
            Ok((id, _)) if sources.origins.iter().any(|(known, _)| *known == id) => {
                note(Misread::new(
                    "origin",
                    index + 1,
                    format!("{id} is named twice"),
                ));
            }
            Ok(origin) => sources.origins.push(origin),
            Err(what) => note(Misread::new("origin", index + 1, what)),
        }
    }
    for (index, entry) in entries(&document, "source").iter().enumerate() {
        match read_source(entry, rules) {
            Ok(source) => sources.lists.push(source),
            Err(what) => note(Misread::new("source", index + 1, what)),
        }
    }
    sources.named = named_files(&document);
    let mut document = document;
    // Without what a file holds, an entry would be told to lack it.
    if let Err(found) = from_files(&mut document) {
        found.into_iter().for_each(note);
        return sources;
    }
    for (list, number, key) in placeholders(&document) {
        warnings.push(placeholder(&format!("{path}: [[{list}]] {number}: {key}")));
    }
    let is_url = |text: &str| match text.parse::<Url>() {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    match Rules::read(&document, &is_url) {
        Ok(rules) => sources.rules = rules,
        Err(found) => found.into_iter().for_each(&mut note),
    }
    match Tokens::read(&document) {
        Ok(tokens) => sources.tokens = tokens,
        Err(found) => found.into_iter().for_each(&mut note),
    }
    sources
}

/// Puts what stands in files of their own in its place: `secrets_file` becomes `secrets`, in checks and in tokens. The
/// problems are returned, one line each.
fn from_files(document: &mut Value) -> Result<(), Vec<Misread>> {
    let mut problems = Vec::new();
    let checks = document.get_mut("check").and_then(Value::as_array_mut);
    read_named_files(checks, "check", &mut problems);
    let tokens = document.pointer_mut("/system/tokens");
    let tokens = tokens.and_then(Value::as_array_mut);
    read_named_files(tokens, TOKENS, &mut problems);
    if problems.is_empty() {
        Ok(())
    } else {
        Err(problems)
    }
}

/// The files that keys which end in `_file` name, wherever they are.
fn named_files(document: &Value) -> Vec<PathBuf> {
    match document {
        Value::Object(fields) => {
            let each = fields.iter().flat_map(|(key, value)| match value {
                Value::String(file) if key.ends_with(FILE) => vec![PathBuf::from(file)],
                value => named_files(value),
            });
            each.collect()
        }
        Value::Array(values) => values.iter().flat_map(named_files).collect(),
        _ => Vec::new(),
    }
}

/// Where a text stands in place of a secret: the list, the number in it, and the key.
fn placeholders(document: &Value) -> Vec<(&'static str, usize, &'static str)> {
    let lists = [
        ("check", "/check"),
        ("source", "/source"),
        (TOKENS, "/system/tokens"),
    ];
    let mut found = Vec::new();
    for (list, at) in lists {
        let entries = document.pointer(at).and_then(Value::as_array);
        for (number, entry) in (1..).zip(entries.into_iter().flatten()) {
            for key in ["secrets", "token"] {
                let texts = match entry.get(key) {
                    Some(Value::Array(texts)) => texts.as_slice(),
                    Some(text) => std::slice::from_ref(text),
                    None => &[],
                };
                if texts.iter().filter_map(Value::as_str).any(is_placeholder) {
                    found.push((list, number, key));
                }
            }
        }
    }
    found
}

fn read_named_files(
    list: Option<&mut Vec<Value>>,
    section: &'static str,
    problems: &mut Vec<Misread>,
) {
    for (number, entry) in (1..).zip(list.into_iter().flatten()) {
        let Some(fields) = entry.as_object_mut() else {
            continue;
        };
        let named: Vec<String> = fields
            .keys()
            .filter(|key| key.ends_with(FILE))
            .cloned()
            .collect();
        for key in named {
            let held = match fields.remove(&key) {
                Some(Value::String(file)) => secret_file::read_text(Path::new(&file))
                    .map_err(|error| format!("{key} {file}: cannot be read: {error}")),
                _ => Err(format!("{key}: not the name of a file")),
            };
            let plain = key.trim_end_matches(FILE).to_owned();
            let outcome = held.and_then(|text| match fields.insert(plain.clone(), text.into()) {
                None => Ok(()),
                Some(_) => Err(format!("{plain} and {key} are both set; keep one of them")),
            });
            if let Err(what) = outcome {
                problems.push(Misread::new(section, number, what));
            }
        }
    }
}

/// Ends a key that names a file with the value.
const FILE: &str = "_file";

/// The entries of a list; a value that is not a list of tables counts as one invalid entry.
fn entries(document: &Value, list: &str) -> Vec<Value> {
    match document.get(list) {
        None => Vec::new(),
        Some(Value::Array(entries)) => entries.clone(),
        Some(_) => vec![Value::Null],
    }
}

fn read_origin(entry: &Value, rules: &AddressRules) -> Result<(OriginId, Origin), String> {
    let fields = entry.as_object().ok_or(NOT_TABLES)?;
    only(fields, &KEYS)?;
    parse_entry(entry, &Map::new(), rules).map_err(|error| error.to_string())
}

fn read_source(entry: &Value, rules: &AddressRules) -> Result<SourceSettings, String> {
    let mut common = entry.as_object().cloned().ok_or(NOT_TABLES)?;
    let mut take = |key: &str| match common.remove(key) {
        None => Ok(None),
        Some(Value::String(text)) if !text.is_empty() => Ok(Some(text)),
        Some(_) => Err(format!("{key}: not a text")),
    };
    let (dns, srv, url) = (take("dns")?, take("srv")?, take("url")?);
    let token = token(take("token")?, take("token_file")?)?;
    let resolver = take("resolver")?.map(|text| server(&text)).transpose()?;
    let every = period("every", take("every")?, EVERY)?;
    let time_limit = period("timeout", take("timeout")?, TIME_LIMIT)?;
    let name = |key: &str, name: String| match name.parse::<Host>() {
        Ok(Host::Name(name)) => Ok(name),
        _ => Err(format!("{key}: not a domain name")),
    };
    let place = match (dns, srv, url) {
        (Some(dns), None, None) => SourceKind::Dns(name("dns", dns)?, resolver),
        (None, Some(srv), None) => SourceKind::Srv(name("srv", srv)?, resolver),
        (None, None, Some(_)) if resolver.is_some() => {
            return Err("resolver: it is for dns and srv".to_owned());
        }
        (None, None, Some(url)) => {
            url.parse::<Url>()
                .map_err(|error| format!("url: {error}"))?;
            SourceKind::Url(url, token)
        }
        _ => return Err("a source has either dns, or srv, or url".to_owned()),
    };
    only(&common, &KEYS[2..])?;
    let any = Value::from(match place {
        SourceKind::Srv(..) => r"srv.example",
        SourceKind::Dns(..) | SourceKind::Url(..) => "192.0.2.1",
    });
    // What is common to all must be valid; whether it is enough shows when the list is read.
    let probe = serde_json::json!({"ip": any, "http": common.get("http").cloned().unwrap_or_else(|| "1".into())});
    parse_entry(&probe, &common, rules).map_err(|error| error.to_string())?;
    if matches!(place, SourceKind::Dns(..))
        && !KEYS[3..9].iter().any(|key| common.contains_key(*key))
    {
        return Err("a name has addresses and no ports: say rtmp, http or another".to_owned());
    }
    Ok(SourceSettings {
        place,
        every,
        time_limit,
        common,
    })
}

/// The token to show, written out or in a file of its own.
fn token(written: Option<String>, file: Option<String>) -> Result<Option<Secret>, String> {
    let text = match (written, file) {
        (Some(_), Some(_)) => {
            return Err("token and token_file are both set; keep one of them".to_owned());
        }
        (written, None) => written,
        (None, Some(file)) => {
            let read = secret_file::read_text(Path::new(&file));
            Some(read.map_err(|error| format!("token_file {file}: cannot be read: {error}"))?)
        }
    };
    Ok(text.map(Secret::new))
}

/// The address of a DNS server, with the default port if it names none.
fn server(text: &str) -> Result<SocketAddr, String> {
    let usual = |ip| SocketAddr::new(ip, DNS_PORT);
    let named = text.parse().or_else(|_| text.parse().map(usual));
    named.map_err(|_| "resolver: not an address such as 10.0.0.10:53".to_owned())
}

fn only(fields: &Map<String, Value>, known: &[&str]) -> Result<(), String> {
    unknown_keys(fields, known).map_or(Ok(()), Err)
}

fn period(key: &str, text: Option<String>, default: Duration) -> Result<Duration, String> {
    let Some(text) = text else { return Ok(default) };
    match parse_duration(&text) {
        Ok(period) if period >= SHORTEST => Ok(period),
        _ => Err(format!(
            "{key}: not a duration of at least 100ms, such as 30s"
        )),
    }
}

/// The default port of DNS servers (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;
const NOT_TABLES: &str = "not a table: write its keys under a line of its own in double brackets";
const EVERY: Duration = Duration::from_secs(30);
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// The minimum interval, so that a source is not flooded.
const SHORTEST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Sources, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let path = file.path().display().to_string();
        read_sources(file.path(), &AddressRules::default())
            .map_err(|error| error.to_string().replace(&path, "FILE"))
    }

    #[test]
    fn both_lists_are_read() {
        let text = "[origins]\nttl = \"60s\"\n\
            [[origin]]\nid = \"a\"\nip = \"10.0.0.1\"\nrtmp = 1935\nhttp = [\"8080\"]\nweight = 50\n\
            [[origin]]\nip = \"10.0.0.2\"\nrtmp = \"1935\"\n\
            [[source]]\ndns = \"origins.example\"\nrtmp = 1935\nevery = \"10s\"\nzone = \"a\"\n\
            [[source]]\nsrv = \"_rtmp._tcp.origins.example\"\nresolver = \"10.0.0.10\"\n\
            [[source]]\nurl = \"http://10.0.0.9/list?key=1\"\ntoken = \"t\"\ntimeout = \"1s\"\n";
        let sources = read(text).unwrap();
        let names: Vec<&str> = sources.origins.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["a", "10.0.0.2"]);
        let places: Vec<String> = sources
            .lists
            .iter()
            .map(|list| list.place.to_string())
            .collect();
        assert_eq!(
            places,
            [
                "dns:origins.example",
                "srv:_rtmp._tcp.origins.example",
                "http://10.0.0.9/list"
            ]
        );
        let asked = |list: &SourceSettings| match list.place {
            SourceKind::Dns(_, server) | SourceKind::Srv(_, server) => server,
            SourceKind::Url(..) => None,
        };
        let servers: Vec<_> = sources.lists.iter().map(asked).collect();
        assert_eq!(servers, [None, "10.0.0.10:53".parse().ok(), None]);
        assert_eq!(sources.lists[0].every, Duration::from_secs(10));
        assert_eq!(sources.lists[2].time_limit, Duration::from_secs(1));
        assert!(
            !format!("{:?}", sources.lists[2].place).contains("\"t\""),
            "a token is secret"
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let rows = [
            ("[origin]\nid = \"a\"\n", "FILE: [[origin]] 1: not a table"),
            (
                "[[origin]]\nid = \"a\"\n",
                "FILE:1: [[origin]] 1: ip: missing or empty",
            ),
            (
                "[[origin]]\nip = \"10.0.0.1\"\nrmtp = 1\n",
                "FILE:1: [[origin]] 1: unknown key rmtp",
            ),
            (
                "[[origin]]\nip = \"10.0.0.1\"\nrtmp = 1\n[[origin]]\nip = \"10.0.0.1\"\nrtmp = 2\n",
                "FILE:4: [[origin]] 2: 10.0.0.1 is named twice",
            ),
            (
                "[[source]]\nrtmp = 1\n",
                "FILE:1: [[source]] 1: a source has either dns",
            ),
            (
                "[[source]]\ndns = \"a.example\"\n",
                "FILE:1: [[source]] 1: a name has addresses and no ports",
            ),
            (
                "[[source]]\ndns = \"10.0.0.1\"\nrtmp = 1\n",
                "FILE:1: [[source]] 1: dns: not a domain name",
            ),
            (
                "[[source]]\nsrv = \"a.example\"\nresolver = \"dns.example\"\n",
                "FILE:1: [[source]] 1: resolver: not an address",
            ),
            (
                "[[source]]\nurl = \"http://a/\"\nresolver = \"10.0.0.10\"\n",
                "FILE:1: [[source]] 1: resolver: it is for dns and srv",
            ),
            (
                "[[source]]\nurl = \"ftp://a/\"\n",
                "FILE:1: [[source]] 1: url: write it as http",
            ),
            (
                "[[source]]\nurl = \"http://u:p@a/\"\n",
                "FILE:1: [[source]] 1: url: a user and a password",
            ),
            (
                "[[source]]\nurl = \"http://a/\"\nevery = \"1ms\"\n",
                "FILE:1: [[source]] 1: every: not a duration",
            ),
            (
                "[[source]]\nurl = \"http://a/\"\nrtmp = 0\n",
                "FILE:1: [[source]] 1: rtmp",
            ),
        ];
        for (text, expected) in rows {
            let error = read(text).unwrap_err();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }
}
