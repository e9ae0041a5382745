//! The layers of settings: defaults, the file, `.env`, the process environment. A later layer wins.

use super::lines::line_at;
use super::table::{
    OWN_PREFIX, Setting, Shape, TABLE, UPSTREAM_PREFIX, URL_VARIABLE, Written, secret_of_file,
};
use super::{ConfigError, Problem, dotenv, secret_file};
use crate::value::{Secret, ValueError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use sluicegate_core::near::{did_you_mean, nearest};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The variables from which settings are read.
#[derive(Clone, Default)]
pub struct Environment {
    process: BTreeMap<String, String>,
    dotenv: BTreeMap<String, String>,
    /// The numbers of the lines of `.env` that say nothing.
    unread: Vec<usize>,
}

/// Variables, and the source to name for a value from them.
type Layer<'a> = (&'a BTreeMap<String, String>, fn(String) -> Source);

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The default.
    Default,
    /// The `.env` file, with the name of the variable.
    Dotenv(String),
    /// The process environment, with the name of the variable.
    Environment(String),
    /// The settings file, at this line.
    File {
        /// The file, as it was named.
        path: String,
        /// The line, counted from 1.
        line: usize,
    },
    /// A file that holds this one secret.
    SecretFile {
        /// The file as it was named.
        path: String,
        /// Where it was named.
        named_by: Box<Self>,
    },
}

/// What one layer says of a setting.
#[derive(Clone)]
enum LayerValue {
    /// The value.
    Value(Written),
    /// The file that holds it; never empty.
    InFile(String),
}

/// A setting with what was written for it.
pub(super) struct Entry {
    pub(super) setting: &'static Setting,
    pub(super) written: Written,
    pub(super) source: Source,
}

impl Environment {
    /// The variables of this process, and of `.env` in the current directory, which may be missing.
    pub fn read() -> Result<Self, ConfigError> {
        let mut process = BTreeMap::new();
        let mut problems = Vec::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else {
                continue;
            };
            match value.into_string() {
                Ok(value) => drop(process.insert(name, value)),
                Err(_) if is_ours(&name) => problems.push(Problem::NotText(name)),
                Err(_) => {}
            }
        }
        let text = match std::fs::read_to_string(".env") {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                problems.push(Problem::Unreadable(".env".to_owned(), error));
                String::new()
            }
        };
        if problems.is_empty() {
            Ok(Self::new(process, &text))
        } else {
            Err(ConfigError { problems })
        }
    }

    /// The given process variables, and the text of a `.env` file.
    pub fn new(process: impl IntoIterator<Item = (String, String)>, dotenv: &str) -> Self {
        let process: BTreeMap<_, _> = process.into_iter().collect();
        let mut variables = BTreeMap::new();
        let (assignments, unread) = dotenv::parse(dotenv);
        for (name, value) in assignments {
            // A variable that the process has, even an empty one, is not overwritten by the file.
            if !process.contains_key(&name) {
                variables.insert(name, value);
            }
        }
        Self {
            process,
            dotenv: variables,
            unread,
        }
    }

    /// The same, with `value` for the setting at `path`, which wins over every layer.
    #[must_use]
    pub fn with(mut self, path: &str, value: &str) -> Self {
        let setting = super::setting(path).expect("a row of the table is set");
        self.process.insert(setting.variable(), value.to_owned());
        self
    }

    /// The value of `name`; an empty variable counts as not set.
    pub fn variable(&self, name: &str) -> Option<&str> {
        let value = self.process.get(name).or_else(|| self.dotenv.get(name));
        value.map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The secret at `path`, from its variables or the file they name; `None` where they say nothing. For commands that
    /// read no settings file.
    ///
    /// # Errors
    /// Two variables that contradict each other, and a file that cannot be read.
    pub fn secret(&self, path: &str) -> Result<Option<Secret>, ConfigError> {
        let mut problems = Vec::new();
        let setting = super::setting(path).expect("a row of the table is asked for");
        let found = from_environment(setting, self, &mut problems);
        let found = found.map(|(said, source)| resolve(setting, said, source, &mut problems));
        if !problems.is_empty() {
            return Err(ConfigError { problems });
        }
        let text = found.map(|(written, _)| written.text());
        Ok(text.filter(|text| !text.is_empty()).map(Secret::new))
    }

    /// The layers of variables, the stronger one last.
    fn layers(&self) -> [Layer<'_>; 2] {
        [
            (&self.dotenv, Source::Dotenv),
            (&self.process, Source::Environment),
        ]
    }
}

impl fmt::Debug for Environment {
    /// Shows names only: values may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("process", &self.process.keys())
            .field("dotenv", &self.dotenv.keys())
            .finish()
    }
}

impl Source {
    /// The name of `setting` for messages: the one that the reader can change.
    pub(super) fn name_of(&self, setting: &Setting) -> String {
        match self {
            Self::Default => setting.path.to_owned(),
            Self::Dotenv(name) => format!(".env: {name}"),
            Self::Environment(name) => name.clone(),
            Self::File { path, line } => format!("{path}:{line}: {}", setting.path),
            Self::SecretFile { path, named_by } => match named_by.as_ref() {
                Self::File { .. } => format!("{}_file {path}", named_by.name_of(setting)),
                _ => format!("{} {path}", named_by.name_of(setting)),
            },
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Dotenv(name) => write!(f, ".env {name}"),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::SecretFile { path, named_by } => write!(f, "{path}, named by {named_by}"),
        }
    }
}

/// Every setting with the value of its strongest layer. Unknown names go to `problems` and `warnings`.
pub(super) fn gather(
    file: Option<&Path>,
    environment: &Environment,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) -> Vec<Entry> {
    let mut from_file = file
        .map(|file| read_file(file, problems))
        .unwrap_or_default();
    for (variables, source) in environment.layers() {
        report_unknown_variables(variables, source, problems, warnings);
    }
    for line in &environment.unread {
        warnings.push(format!(
            ".env:{line} is ignored: it is neither NAME=value nor a comment"
        ));
    }
    let mut entry = |setting: &'static Setting| {
        let (said, source) = from_environment(setting, environment, problems)
            .or_else(|| from_file.remove(setting.path))
            .unwrap_or_else(|| (LayerValue::Value(setting.default()), Source::Default));
        let (written, source) = resolve(setting, said, source, problems);
        let written = listed(setting, written, &source, problems);
        Entry {
            setting,
            written,
            source,
        }
    };
    TABLE.iter().map(&mut entry).collect()
}

/// The value itself: where a file is said to hold it, what stands there. A file that does not hold one is a problem, and
/// the default stands in for it.
fn resolve(
    setting: &Setting,
    said: LayerValue,
    source: Source,
    problems: &mut Vec<Problem>,
) -> (Written, Source) {
    let path = match said {
        LayerValue::Value(written) => return (written, source),
        LayerValue::InFile(path) => path,
    };
    let read = secret_file::read(setting, &path);
    let source = Source::SecretFile {
        path,
        named_by: Box::new(source),
    };
    match read {
        Ok(written) => (written, source),
        Err(error) => {
            problems.push(Problem::Unreadable(source.name_of(setting), error));
            (setting.default(), source)
        }
    }
}

/// `written`, as the list that it is where a text in brackets stands for one.
fn listed(
    setting: &Setting,
    written: Written,
    source: &Source,
    problems: &mut Vec<Problem>,
) -> Written {
    match bracketed(setting, &written) {
        None => written,
        Some(Ok(list)) => list,
        Some(Err(why)) => {
            // As it was written, or it would be split at its commas.
            let whole = Written::List(vec![written.text()]);
            problems.push(Problem::Value {
                name: source.name_of(setting),
                shown: setting.shown(&whole),
                why,
                allowed: setting.allowed,
            });
            setting.default()
        }
    }
}

/// The list that a text in brackets stands for where a list may stand: `["a", "b"]`, as the file has it. An address in
/// brackets has a port after them, and a secret may look like anything.
fn bracketed(setting: &Setting, written: &Written) -> Option<Result<Written, ValueError>> {
    let Written::Text(text) = written else {
        return None;
    };
    let text = text.trim();
    let takes_lists = matches!(setting.shape, Shape::List | Shape::TextOrList);
    if !takes_lists || !text.starts_with('[') || !text.ends_with(']') {
        return None;
    }
    let list = DeValue::parse(text)
        .ok()
        .and_then(|value| write_down(setting, &value))
        .filter(|written| matches!(written, Written::List(_)));
    match list {
        Some(list) => Some(Ok(list)),
        None if setting.secret && setting.shape == Shape::TextOrList => None,
        None => Some(Err(ValueError::NotAList)),
    }
}

/// What the strongest layer of variables says of `setting`. A layer that says both a value and a file for it is a
/// problem.
fn from_environment(
    setting: &Setting,
    environment: &Environment,
    problems: &mut Vec<Problem>,
) -> Option<(LayerValue, Source)> {
    let own = setting.variable();
    for (variables, source) in environment.layers().into_iter().rev() {
        let in_file = setting.file_variable().and_then(|name| {
            let path = variables.get(&name).filter(|path| !path.is_empty())?;
            Some((name, path.clone()))
        });
        let is_meant = |name: &str| {
            variables
                .get(name)
                .filter(|value| !is_service_link(name, value))
        };
        let value = is_meant(&own);
        if let Some((name, path)) = in_file {
            if value.is_some_and(|value| !value.is_empty()) {
                problems.push(told_twice(&own, &name));
            }
            return Some((LayerValue::InFile(path), source(name)));
        }
        if let Some(value) = value {
            let value = LayerValue::Value(Written::Text(value.clone()));
            return Some((value, source(own)));
        }
        // Like the SRS proxy, treat an empty variable as not set.
        let Some(name) = setting.env else { continue };
        if let Some(value) = is_meant(name).filter(|value| !value.is_empty()) {
            let value = LayerValue::Value(Written::Text(value.clone()));
            return Some((value, source(name.to_owned())));
        }
    }
    None
}

/// A secret written out, and a file named for it as well.
fn told_twice(value: &str, file: &str) -> Problem {
    Problem::Conflict(format!("{value} and {file} are both set; keep one of them"))
}

fn report_unknown_variables(
    variables: &BTreeMap<String, String>,
    source: fn(String) -> Source,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<String>,
) {
    for (name, value) in variables {
        if !is_ours(name) || is_known_variable(name) || is_service_link(name, value) {
            continue;
        }
        let candidates = TABLE
            .iter()
            .flat_map(|setting| {
                [
                    Some(setting.variable()),
                    setting.file_variable(),
                    setting.env.map(str::to_owned),
                ]
            })
            .flatten();
        let hint = did_you_mean(name, candidates);
        if name.starts_with(OWN_PREFIX) {
            problems.push(Problem::UnknownVariable(source(name.clone()), hint));
        } else {
            warnings.push(format!(
                "{name} is not a setting of this version and is ignored{hint}"
            ));
        }
    }
}

fn is_ours(name: &str) -> bool {
    name.starts_with(OWN_PREFIX) || name.starts_with(UPSTREAM_PREFIX)
}

fn is_known_variable(name: &str) -> bool {
    // The environment of a running proxy may also name the proxy that an operator asks.
    name == URL_VARIABLE
        || TABLE.iter().any(|setting| {
            setting.env == Some(name)
                || setting.variable() == name
                || setting.file_variable().as_deref() == Some(name)
        })
}

/// Whether this is a variable that Kubernetes sets in every pod for a Service with a name such as `sluicegate` or
/// `proxy-rtmp`: `SLUICEGATE_SERVICE_HOST`, `SLUICEGATE_PORT=tcp://10.0.0.1:1935`, `SLUICEGATE_PORT_1935_TCP_ADDR`.
fn is_service_link(name: &str, value: &str) -> bool {
    let numbered_port = || {
        let (_, after) = name.split_once("_PORT_")?;
        let (port, protocol) = after.split_once('_')?;
        Some(
            port.parse::<u16>().is_ok()
                && ["TCP", "UDP", "SCTP"]
                    .iter()
                    .any(|known| protocol.starts_with(known)),
        )
    };
    name.contains("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || (name.ends_with("_PORT") && value.contains("://"))
        || numbered_port().unwrap_or(false)
}

/// What the file sets. Problems with its text and its keys are reported together.
fn read_file(
    file: &Path,
    problems: &mut Vec<Problem>,
) -> BTreeMap<&'static str, (LayerValue, Source)> {
    let path = file.display().to_string();
    let mut found: BTreeMap<&'static str, (LayerValue, Source)> = BTreeMap::new();
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            problems.push(Problem::Unreadable(path, error));
            return found;
        }
    };
    let line_at = |offset: usize| line_at(&text, offset);
    let document = match DeTable::parse(&text) {
        Ok(document) => document.into_inner(),
        Err(error) => {
            // Only the message: the full text of the error quotes the line, which may hold a secret.
            let line = error.span().map_or(1, |span| line_at(span.start));
            problems.push(Problem::Syntax {
                path,
                line,
                message: error.message().replace('\n', ", "),
            });
            return found;
        }
    };
    for (section, content) in &document {
        let line = line_at(section.span().start);
        let name = section.get_ref().as_ref();
        if super::sources::LISTS.contains(&name) {
            continue;
        }
        let is_section = TABLE.iter().any(|setting| setting.section() == name);
        let keys = match content.get_ref() {
            DeValue::Table(keys) if is_section => keys,
            content => {
                let (key, hint) = unknown_name(name, content, is_section);
                problems.push(Problem::UnknownKey {
                    path: path.clone(),
                    line,
                    key,
                    hint,
                });
                continue;
            }
        };
        for (key, value) in keys {
            let source = Source::File {
                path: path.clone(),
                line: line_at(key.span().start),
            };
            let full = format!("{name}.{}", key.get_ref());
            if [super::sources::TOKENS, super::certificates::LIST].contains(&full.as_str()) {
                continue;
            }
            match read_key(&full, value, source) {
                Ok((setting, said, source)) => add(&mut found, setting, said, source, problems),
                Err(problem) => problems.push(problem),
            }
        }
    }
    found
}

/// A name at the top of the file that is no section, as it stands there, and what may have been meant.
fn unknown_name(name: &str, content: &DeValue<'_>, is_section: bool) -> (String, String) {
    let is_list = |content: &DeValue<'_>| match content {
        DeValue::Array(items) => {
            let mut items = items.iter().map(Spanned::get_ref);
            items.len() > 0 && items.all(|item| matches!(item, DeValue::Table(_)))
        }
        _ => false,
    };
    let key = match content {
        DeValue::Table(_) => format!("[{name}]"),
        content if is_list(content) => format!("[[{name}]]"),
        _ => name.to_owned(),
    };
    if is_section {
        return (key, format!("; it is a section: write [{name}]"));
    }
    if key == name {
        let paths = TABLE.iter().map(|setting| setting.path.to_owned());
        return (key, did_you_mean(name, paths));
    }
    let sections: BTreeSet<_> = TABLE.iter().map(|setting| setting.section()).collect();
    let sections = sections
        .into_iter()
        .map(|section| (section.to_owned(), format!("[{section}]")));
    let lists = super::sources::LISTS.map(|list| (list.to_owned(), format!("[[{list}]]")));
    (key, nearest(name, sections.chain(lists)))
}

/// What a key of the file says, and of which setting.
fn read_key(
    full: &str,
    value: &Spanned<DeValue<'_>>,
    source: Source,
) -> Result<(&'static Setting, LayerValue, Source), Problem> {
    if let Some(setting) = secret_of_file(full) {
        let DeValue::String(path) = value.get_ref() else {
            return Err(Problem::Kind {
                name: format!("{}_file", source.name_of(setting)),
                allowed: "the name of a file",
            });
        };
        let said = if path.is_empty() {
            LayerValue::Value(setting.default())
        } else {
            LayerValue::InFile(path.to_string())
        };
        return Ok((setting, said, source));
    }
    let Some(setting) = super::setting(full) else {
        return Err(unknown_key(full, value.get_ref(), source));
    };
    match write_down(setting, value) {
        Some(written) => Ok((setting, LayerValue::Value(written), source)),
        None => Err(Problem::Kind {
            name: source.name_of(setting),
            allowed: setting.allowed,
        }),
    }
}

fn unknown_key(full: &str, value: &DeValue<'_>, source: Source) -> Problem {
    let settings = TABLE.iter().flat_map(|setting| {
        let file = setting.file_key();
        let file = file.map(|key| format!("{}.{key}", setting.section()));
        [Some(setting.path.to_owned()), file]
    });
    let settings = settings.flatten().map(|path| (path.clone(), path));
    let lists = [super::sources::TOKENS, super::certificates::LIST];
    let lists = lists.map(|list| (list.to_owned(), format!("[[{list}]]")));
    let (section, key) = full.split_once('.').unwrap_or((full, ""));
    let hint = match value {
        DeValue::Table(_) if TABLE.iter().any(|setting| setting.section() == key) => format!(
            "; it stands in [{section}]: write [{key}] with its keys below, or the dotted key before the first section"
        ),
        _ => nearest(full, settings.chain(lists)),
    };
    let (path, line) = match source {
        Source::File { path, line } => (path, line),
        other => (other.to_string(), 1),
    };
    Problem::UnknownKey {
        path,
        line,
        key: full.to_owned(),
        hint,
    }
}

/// Puts what a key says to the rest. An empty value says nothing beside a file that holds the secret.
fn add(
    found: &mut BTreeMap<&'static str, (LayerValue, Source)>,
    setting: &'static Setting,
    said: LayerValue,
    source: Source,
    problems: &mut Vec<Problem>,
) {
    let says_nothing =
        |said: &LayerValue| matches!(said, LayerValue::Value(written) if written.text().is_empty());
    match found.get(setting.path) {
        Some(_) if says_nothing(&said) => return,
        Some((earlier, _)) if !says_nothing(earlier) => {
            let value = source.name_of(setting);
            problems.push(told_twice(&value, &format!("{}_file", setting.path)));
            return;
        }
        _ => {}
    }
    found.insert(setting.path, (said, source));
}

/// The text of a TOML value, or `None` if its type does not fit the setting.
fn write_down(setting: &Setting, value: &Spanned<DeValue<'_>>) -> Option<Written> {
    match value.get_ref() {
        DeValue::Array(items) if matches!(setting.shape, Shape::List | Shape::TextOrList) => {
            let items: Option<Vec<String>> =
                items.iter().map(|item| scalar(item.get_ref())).collect();
            items.map(Written::List)
        }
        value => scalar(value).map(Written::Text),
    }
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::Boolean(flag) => Some(flag.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Array(_) | DeValue::Datetime(_) | DeValue::Table(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_links_of_kubernetes_are_not_ours() {
        for (name, value, is_link) in [
            ("SLUICEGATE_SERVICE_HOST", "10.0.0.1", true),
            ("SLUICEGATE_SERVICE_PORT_RTMP", "1935", true),
            ("SLUICEGATE_PORT", "tcp://10.0.0.1:1935", true),
            ("PROXY_PORT_1935_TCP_ADDR", "10.0.0.1", true),
            ("SLUICEGATE_EDGE_PORT_8000_UDP", "udp://10.0.0.1:8000", true),
            ("SLUICEGATE_STORE_REDIS_PORT", "6379", false),
            ("SLUICEGATE_RTMP_LISTEN", "1935", false),
        ] {
            assert_eq!(is_service_link(name, value), is_link, "{name}");
        }
    }
}
