//! Settings: what was written (a TOML file, `.env`, the environment) and what it means.
//!
//! [`TABLE`] names every setting once. [`Settings::load`] combines the layers (default, file, `.env`, process
//! environment; a later one wins), checks each value and returns typed settings, or every problem found at once.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `table` | every setting: its path, variables, default and documentation |
//! | `layers` | which layer set what, and unknown names |
//! | `lines` | at which line of the file something stands |
//! | `credentials` | credentials for the APIs of origins |
//! | `dotenv` | the grammar of `.env` |
//! | `secret_file` | what a file that holds one secret says |
//! | `duration`, `value` | the meaning of a text |
//! | `meaning` | the typed settings; `meaning/sections` reads them from the table, `meaning/values` reads each value |
//! | `certificates` | the list `[[tls.certificates]]`, and what keeps TLS from working |
//! | `sources` | the lists of the file, which are read again while the proxy runs |
//! | `tokens` | the list `[[system.tokens]]`: who may use the system API |
//! | `ports` | two listeners that want one port |
//! | `report` | what `sluicegate check` prints |

mod certificates;
mod credentials;
mod dotenv;
mod duration;
mod layers;
mod lines;
mod meaning;
mod mesh;
mod placement;
mod ports;
mod report;
mod secret_file;
mod sources;
mod table;
mod tokens;

pub use credentials::{Credential, Credentials};
pub use duration::{format_duration, parse_duration, parse_period};
pub use layers::{Environment, Source};
pub use meaning::{
    Acme, Api, Challenge, Cluster, Console, DefaultOrigin, Drain, Fanout, Health, Http,
    ListenerTls, Log, LogFormat, Mesh, Metrics, Origins, Placement, ProbeKind, Probing,
    ProxyProtocol, Rtc, Rtmp, Rtsp, SessionLimits, Settings, Shutdown, Srt, Store, System, Tls,
};
pub use placement::{NetworkZone, Unanswered};
pub use ports::PassedSocket;
pub use report::check;
pub use sources::{SourceKind, SourceSettings, Sources, read_sources};
pub(crate) use table::URL_VARIABLE;
pub use table::{Setting, Shape, TABLE, setting};
pub use tokens::{LiveTokens, Role, Tokens};

use sluicegate_core::access::table::Misread;
use sluicegate_core::counted::counted;
use sluicegate_core::fleet::origin::AddressRules;
use sluicegate_core::media::fanout::Mode;
use std::path::Path;

use crate::value::ValueError;

/// Valid settings, and their sources.
#[derive(Debug)]
pub struct Loaded {
    /// The typed settings.
    pub settings: Settings,
    /// Every setting in the order of [`TABLE`], for people to read.
    pub effective: Vec<Effective>,
    /// Warnings to log at start, one sentence each.
    pub warnings: Vec<String>,
}

/// The value of one setting in effect.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value as TOML; a secret is `"***"`.
    pub value: String,
    /// Where the value comes from.
    pub source: Source,
}

/// Invalid settings: every problem found, one line each.
#[derive(Debug)]
pub struct ConfigError {
    /// The problems; there is at least one.
    pub problems: Vec<Problem>,
}

/// What is wrong with the settings.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// Two settings contradict each other.
    #[error("{0}")]
    Conflict(String),
    /// An entry of a list in the file is not valid.
    #[error("{path}{}: {misread}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Entry {
        /// The file, as it was named.
        path: String,
        /// The line at which the entry begins, counted from 1.
        line: Option<usize>,
        /// Which entry, and what is wrong with it.
        misread: Misread,
    },
    /// A TOML value has a type that the setting does not accept.
    #[error("{name}: a value of the wrong kind; allowed: {allowed}")]
    Kind {
        /// The file, line and key.
        name: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A variable is not UTF-8.
    #[error("{0}: its value is not UTF-8 text")]
    NotText(String),
    /// The file is not TOML.
    #[error("{path}:{line}: not TOML: {message}")]
    Syntax {
        /// The file, as it was named.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// The parser's message.
        message: String,
    },
    /// A section or key of the file is unknown.
    #[error("{path}:{line}: unknown setting {key}{hint}")]
    UnknownKey {
        /// The file, as it was named.
        path: String,
        /// The line, counted from 1.
        line: usize,
        /// The unknown name.
        key: String,
        /// What may have been meant.
        hint: String,
    },
    /// One of our own variables is unknown.
    #[error("{0}: no such setting{1}")]
    UnknownVariable(Source, String),
    /// A file cannot be read.
    #[error("{0}: cannot be read: {1}")]
    Unreadable(String, #[source] std::io::Error),
    /// A value is not valid for its setting.
    #[error("{name} = {shown}: {why}; allowed: {allowed}")]
    Value {
        /// The variable, or the file, line and key.
        name: String,
        /// The value, masked if secret.
        shown: String,
        /// What is wrong with it.
        why: ValueError,
        /// What is allowed.
        allowed: &'static str,
    },
}

impl Settings {
    /// Loads settings from `file`, if one is named, and from `environment`, which wins. Nobody knows here which sockets a
    /// service manager will pass.
    ///
    /// # Errors
    /// Every problem found: an unreadable file, unknown names, invalid values, invalid entries of lists. What contradicts
    /// what is looked for once all of that reads.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        Self::read(file, environment, None)
    }

    /// The same, for a process to which these sockets were passed, and no others.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_for(
        passed: &[PassedSocket],
        file: Option<&Path>,
        environment: &Environment,
    ) -> Result<Loaded, ConfigError> {
        Self::read(file, environment, Some(passed))
    }

    fn read(
        file: Option<&Path>,
        environment: &Environment,
        passed: Option<&[PassedSocket]>,
    ) -> Result<Loaded, ConfigError> {
        let mut problems = Vec::new();
        let mut warnings = Vec::new();
        let entries = layers::gather(file, environment, &mut problems, &mut warnings);
        let secrets = entries.iter().filter(|entry| entry.setting.secret);
        for entry in secrets {
            let (at, text) = (
                format!("{} ({})", entry.setting.path, entry.source),
                entry.written.text(),
            );
            if is_placeholder(&text) {
                warnings.push(placeholder(&at));
            }
            if is_quoted(&text) {
                warnings.push(format!(
                    "{at} begins and ends with a quotation mark, which is taken as a part of it; docker run --env-file leaves them in"
                ));
            }
        }
        let effective = entries
            .iter()
            .map(|entry| Effective {
                setting: entry.setting,
                value: entry.setting.shown(&entry.written),
                source: entry.source.clone(),
            })
            .collect();
        if environment.variable("GO_PPROF").is_some() {
            warnings.push("GO_PPROF is ignored: it turns on a profiler of the Go proxy".to_owned());
        }
        let mut settings = meaning::read(&entries, &mut problems, &mut warnings);
        // A file that cannot be read has been reported already.
        let unread = problems.iter().any(|problem| {
            matches!(problem, Problem::Syntax { .. })
                || matches!(problem, Problem::Unreadable(path, _) if file.is_some_and(|file| file.display().to_string() == *path))
        });
        if let Some(file) = file.filter(|_| !unread) {
            let rules = settings.address_rules();
            settings.sources = sources::gather(file, &rules, &mut problems, &mut warnings);
            let listed = certificates::gather(file, &mut problems);
            settings.tls.certificates.extend(listed);
        }
        if problems.is_empty() {
            let is_tcp = |entry: &&layers::Entry| entry.setting.path == "rtc.tcp";
            let tcp = entries.iter().find(is_tcp);
            let is_tcp_asked_for = tcp.is_some_and(|entry| entry.source != Source::Default);
            ports::check(
                &mut settings,
                is_tcp_asked_for,
                passed,
                &mut problems,
                &mut warnings,
            );
            check_fanout(&settings, &mut problems);
            certificates::check(&settings, &mut problems);
        }
        if problems.is_empty() {
            Ok(Loaded {
                settings,
                effective,
                warnings,
            })
        } else {
            Err(ConfigError { problems })
        }
    }
}

/// Whether a secret names a variable whose value was to stand there, `${NAME}`. Nothing puts one in here.
fn is_placeholder(secret: &str) -> bool {
    secret.split("${").skip(1).any(|after| {
        let begins =
            after.starts_with(|letter: char| letter.is_ascii_alphabetic() || letter == '_');
        begins && after.contains('}')
    })
}

/// Whether a value stands in quotation marks, as files of variables are written for shells.
fn is_quoted(value: &str) -> bool {
    ['"', '\''].iter().any(|mark| {
        let rest = value.strip_prefix(*mark);
        rest.is_some_and(|rest| rest.ends_with(*mark))
    })
}

/// What is said of such a secret, which may be meant all the same.
fn placeholder(at: &str) -> String {
    format!(
        "{at} has ${{…}} in it, which is taken as it stands: no variable is put in; name a file that holds the secret, or set it by its own variable"
    )
}

impl Fanout {
    /// Whether streams are shown to viewers whom neither an origin nor `public` has let in: a rule has to, then.
    pub fn shows_without_asking(&self) -> bool {
        self.modes.names(Mode::Open) && !self.public
    }
}

/// Refuses to show streams to everyone unless somebody said so: nobody asks the origin about the viewers of a pull that
/// is shared in this mode.
fn check_fanout(settings: &Settings, problems: &mut Vec<Problem>) {
    if settings.fanout.shows_without_asking() && !settings.sources.rules.speak_of_players() {
        problems.push(Problem::Conflict(
            "fanout.mode is open, where the origin is not asked about viewers: say who may play in an [[access]] rule, \
             say fanout.public = true if anyone may watch, or leave it off"
                .to_owned(),
        ));
    }
}

impl Settings {
    /// Which addresses may be dialled.
    pub const fn address_rules(&self) -> AddressRules {
        AddressRules {
            allow_special: self.system.allow_special_addresses,
        }
    }
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, problem) in self.problems.iter().take(MOST_TOLD).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        match self.problems.len().saturating_sub(MOST_TOLD) {
            0 => Ok(()),
            more => write!(f, "\nand {}", counted(more, "more problem")),
        }
    }
}

impl std::error::Error for ConfigError {}

/// Problems that are told at once.
const MOST_TOLD: usize = 50;
